import json
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from tasktrace.config import Arm, Run, Study, corruptions
from tasktrace.config.components import component_options
from tasktrace.config.declarations import _FOLDERS, declaration
from tasktrace.config.shown import figure_options, figures_of
from tasktrace.config.study import (
    REFIT_VERSION,
    SELECTED,
    TRAINING_VERSION,
    identity,
    parse_point,
    point_name,
    resolved,
)
from tasktrace.errors import ConfigError
from tasktrace.files import canonical_json

REPOSITORY = Path(__file__).resolve().parents[2]
CONFIG = "config/config.yaml"
DIGITS = "config/settings/digits.yaml"


def specs(study):
    """The canonical text of every run's spec, by the run's path."""
    return {path: canonical_json(study.run_spec(run)) for path, run in study.runs.items()}


def changed(before, after):
    assert before.keys() == after.keys()
    return {path for path in before if before[path] != after[path]}


def assert_refused(*parts):
    with pytest.raises(ConfigError) as caught:
        Study.load()
    for part in parts:
        assert part in str(caught.value)


# --- what is refused -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "parts"),
    [
        ({"settings": ["digits", "cityscape"]}, [f"{CONFIG}: unknown setting 'cityscape'", "has: ", "digits, fashion"]),
        ({"demo": ["cityscape"]}, [f"{CONFIG}: unknown setting 'cityscape'", "digits, fashion"]),
        ({"methods": {"mine": {"method": "sum"}}}, [f"{CONFIG}: methods.mine: unknown method 'sum'; ", "umtg"]),
        ({"methods": {"mine": {"scale": "sum"}}}, [f"{CONFIG}: methods.mine: missing 'method'; required: method"]),
        (
            {"methods": {"umtg": {"scale": "median"}}},
            [f"{CONFIG}: methods.umtg.scale: expected one of 'sum', 'mean', found 'median' (str)"],
        ),
        (
            {"methods": {"umtg": {"scales": "sum"}}},
            [f"{CONFIG}: methods.umtg: unknown option 'scales'; allowed: scale"],
        ),
        (
            {"optimizers": {"mine": {"optimizer": "adm"}}},
            [f"{CONFIG}: optimizers.mine: unknown optimizer 'adm'", "sgd"],
        ),
        (
            {"optimizers": {"adam": {"momentum": 0.9}}},
            [f"{CONFIG}: optimizers.adam: unknown option 'momentum'; allowed: beta1, beta2, eps, weight_decay"],
        ),
        (
            {"optimizers": {"adam": {"beta1": float("nan")}}},
            [f"{CONFIG}: optimizers.adam.beta1: expected a finite number, found nan (float)"],
        ),
        (
            {"optimizers": {"adam": {"eps": True}}},
            [f"{CONFIG}: optimizers.adam.eps: expected a finite number, found True (bool)"],
        ),
        ({"colour": "blue"}, [f"{CONFIG}: unknown key 'colour'; allowed: settings, demo, seeds, methods"]),
        ({"analysis": {"width": 2}}, [f"{CONFIG}: analysis: unknown key 'width'; allowed: factors"]),
        ({"analysis": {"band": True}}, [f"{CONFIG}: analysis.band: expected number, found True"]),
        ({"analysis": {"band": float("nan")}}, [f"{CONFIG}: analysis.band: ", "finite", "nan"]),
        ({"analysis": {"band": 0}}, [f"{CONFIG}: analysis.band: ", "minimum of 0"]),
        (
            {"measures": {"mine": {"measure": "flatness"}}},
            [f"{CONFIG}: measures.mine: unknown measure 'flatness'; ", "fisher"],
        ),
        (
            {"measures": {"fisher": {"draws": 0}}},
            [f"{CONFIG}: measures.fisher: draws must be at least 1, found 0"],
        ),
        (
            {"analysis": {"factors": {"fisher": "fishy.trace"}}},
            [f"{CONFIG}: analysis.factors.fisher: unknown measure 'fishy'; allowed: sharpness, fisher, coherence"],
        ),
        ({"analysis": {"factors": {"fisher": "fisher"}}}, [f"{CONFIG}: analysis.factors.fisher: ", "'fisher'"]),
        (
            {"analysis": {"early_bins": [4, 2]}},
            [
                f"{CONFIG}: analysis.early_bins: expected the first and the last of 20 bins, ",
                "counted from 1, found [4, 2]",
            ],
        ),
        ({"analysis": {"end_bins": [18, 21]}}, [f"{CONFIG}: analysis.end_bins: ", "[18, 21]"]),
        ({"seeds": [0]}, [f"{CONFIG}: seeds: ", "[0]"]),
        ({"seeds": [0, -1]}, [f"{CONFIG}: seeds[1]: ", "-1", "minimum of 0"]),
        ({"seeds": [0, "1"]}, [f"{CONFIG}: seeds[1]: expected integer, found '1'"]),
        ({"seeds": [0, 1.0]}, [f"{CONFIG}: seeds[1]: expected integer, found 1.0"]),
        ({"methods": {"Mine!": {"method": "umtg"}}}, [f"{CONFIG}: methods: ", "'Mine!'"]),
        ({"settings": [], "demo": []}, [f"{CONFIG}: ", "settings"]),
        (
            {"overrides": {"cityscape": {"training": {"epochs": 1}}}},
            [f"{CONFIG}: overrides.cityscape: not a setting of this study", "digits, fashion"],
        ),
        ({"overrides": {"digits": 3}}, [f"{CONFIG}: overrides.digits: expected object, found 3"]),
    ],
    ids=lambda value: json.dumps(value) if isinstance(value, dict) else "",
)
def test_a_fault_of_the_study_is_refused(configure, values, parts):
    configure("config.yaml", **values)
    assert_refused(*parts)


@pytest.mark.parametrize(
    ("values", "parts"),
    [
        (
            {"setting": "digit"},
            [f"{DIGITS}: setting: unknown setting 'digit'; available: "],
        ),
        ({"model": {"model": "vgg"}}, [f"{DIGITS}: model: unknown model 'vgg'; available: ", "small_cnn"]),
        ({"model": {"model": ["lenet"]}}, [f"{DIGITS}: model", "expected string, found ['lenet']"]),
        ({"model": {"chanels": 8}}, [f"{DIGITS}: model: unknown option 'chanels'; allowed: channels, features"]),
        ({"model": {"channels": 8.5}}, [f"{DIGITS}: model.channels: expected a whole number, found 8.5 (float)"]),
        ({"model": {"channels": 0}}, [f"{DIGITS}: model: channels must be at least 1, found 0"]),
        ({"data": {"sed": 1}}, [f"{DIGITS}: data: unknown option 'sed'; allowed: train, validation, test, seed"]),
        ({"data": {"train": "600"}}, [f"{DIGITS}: data.train: expected a whole number, found '600' (str)"]),
        ({"data": {"train": 0}}, [f"{DIGITS}: data", "train", "0"]),
        ({"data": {"validation": -130}}, [f"{DIGITS}: data", "validation", "-130"]),
        (
            {"groups": {"with_digits2": {"tasks": ["digits1", "digits3"]}}},
            [f"{DIGITS}: groups.with_digits2.tasks: unknown task 'digits3'; allowed: digits1, digits2, noisy_digits"],
        ),
        (
            {"groups": {"with_digits2": {"tasks": ["digits1"]}}},
            [f"{DIGITS}: groups.with_digits2.tasks: ", "['digits1']"],
        ),
        (
            {"groups": {"with_digits2": {"colour": "red"}}},
            [f"{DIGITS}: groups.with_digits2: unknown key 'colour'; allowed: tasks, label"],
        ),
        (
            {"groups": {"aux_own": {"tasks": ["digits1", "digits2"], "label": "own"}}},
            [f"{DIGITS}: groups.aux_own: names that begin with 'aux_' are those of the sets"],
        ),
        ({"methods": ["pcgard"]}, [f"{DIGITS}: methods: unknown method 'pcgard'; allowed: umtg"]),
        ({"optimizers": ["adamw"]}, [f"{DIGITS}: optimizers: unknown optimizer 'adamw'; allowed: adam, sgd, sgdm"]),
        ({"epochs": 3}, [f"{DIGITS}: unknown key 'epochs'; allowed: setting, data, model, groups"]),
        ({"training": {"epochs": True}}, [f"{DIGITS}: training.epochs: expected integer, found True"]),
        ({"training": {"epochs": 60.0}}, [f"{DIGITS}: training.epochs: expected integer, found 60.0"]),
        ({"training": {"epochs": 0}}, [f"{DIGITS}: training.epochs: ", "0", "minimum of 1"]),
        ({"sweep": {"batch_sizes": [16, 64.0]}}, [f"{DIGITS}: sweep.batch_sizes[1]: expected integer, found 64.0"]),
        ({"sweep": {"learning_rates": [float("nan")]}}, [f"{DIGITS}: sweep.learning_rates[0]: ", "finite", "nan"]),
        ({"sweep": {"learning_rates": [float("inf")]}}, [f"{DIGITS}: sweep.learning_rates[0]: ", "finite", "inf"]),
        ({"sweep": {"learning_rates": []}}, [f"{DIGITS}: sweep.learning_rates: ", "[]"]),
        ({"sweep": {"learning_rates": 0.1}}, [f"{DIGITS}: sweep.learning_rates: expected array, found 0.1"]),
        ({"figures": {"a1": {"task": "digits9"}}}, [f"{DIGITS}: figures.a1.task: unknown task 'digits9'; ", "digits1"]),
        (
            {"figures": {"a1": {"groups": ["with_fashion2"]}}},
            [f"{DIGITS}: figures.a1.groups: unknown group 'with_fashion2'; allowed: with_digits2, with_noisy"],
        ),
        (
            {"figures": {"a1": {"task": "digits2"}}},
            [f"{DIGITS}: figures.a1.groups: group 'with_noisy' does not train the figure's task 'digits2'"],
        ),
        (
            {"figures": {"a1": {"optimizer": "sgd"}}},
            [f"{DIGITS}: figures.a1.optimizer: unknown optimizer 'sgd'; allowed: adam"],
        ),
        ({"figures": {"a1": {"method": "pcgard"}}}, [f"{DIGITS}: figures.a1.method: unknown method 'pcgard'"]),
    ],
    ids=lambda value: json.dumps(value) if isinstance(value, dict) else "",
)
def test_a_fault_of_a_setting_is_refused(configure, values, parts):
    configure("settings/digits.yaml", **values)
    assert_refused(*parts)


@pytest.mark.parametrize(
    ("optimizer", "option", "value"),
    [
        ("adam", "beta1", 1.5),
        ("adam", "beta2", -0.1),
        ("adam", "eps", -1.0),
        ("adam", "weight_decay", -0.1),
        ("sgd", "momentum", -0.9),
        ("sgd", "weight_decay", -0.1),
    ],
)
def test_an_option_that_the_optimizer_would_refuse_later_is_refused_now(configure, optimizer, option, value):
    configure("config.yaml", optimizers={optimizer: {option: value}})
    assert_refused(f"{CONFIG}: optimizers.{optimizer}", option, str(value))


def test_a_learning_rate_that_yaml_reads_as_a_text_gets_a_hint(project):
    path = project / DIGITS
    text, count = re.subn(r"learning_rates: \[.*?\]", "learning_rates: [0.005, 1e-3]", path.read_text())
    assert count == 1
    path.write_text(text)
    assert_refused(
        f"{DIGITS}: sweep.learning_rates[1]: expected number, found '1e-3' "
        '(YAML reads "1e-3" as a text: write 0.001 or 1.0e-3)'
    )


def test_an_option_that_yaml_reads_as_a_text_gets_a_hint(configure):
    configure("config.yaml", optimizers={"adam": {"eps": "1e-6"}})
    assert_refused(f"{CONFIG}: optimizers.adam.eps: expected a finite number, found '1e-6'", "1.0e-")


@pytest.mark.parametrize(
    ("file", "key"), [("config.yaml", "seeds"), ("config.yaml", "analysis"), ("settings/digits.yaml", "model")]
)
def test_a_missing_key_is_named(project, file, key):
    path = project / "config" / file
    content = yaml.safe_load(path.read_text())
    del content[key]
    path.write_text(yaml.safe_dump(content))
    assert_refused(f"config/{file}: missing '{key}'; required: ", f", {key}")


def test_what_groups_need_is_named(project):
    content = yaml.safe_load((project / DIGITS).read_text())
    del content["training"]
    (project / DIGITS).write_text(yaml.safe_dump(content))
    assert_refused(f"{DIGITS}: missing 'training', which groups needs")


def test_a_setting_has_something_to_train(project):
    content = yaml.safe_load((project / DIGITS).read_text())
    del content["groups"]
    (project / DIGITS).write_text(yaml.safe_dump(content))
    assert_refused(f"{DIGITS}: nothing to train: give it groups (study A), experiments (study B), or both")


@pytest.mark.parametrize("file", [CONFIG, DIGITS])
def test_a_syntax_error_is_named_with_its_file_and_line(project, file):
    path = project / file
    path.write_text(path.read_text() + "\nbroken: [1, 2\n")
    assert_refused(f"{file}: not valid YAML", "line ")


def test_an_absent_configuration_is_named(project):
    (project / CONFIG).unlink()
    assert_refused(f"{CONFIG}: no such file; run tasktrace from the folder that holds config/")


def test_a_fault_of_an_override_is_found_where_the_override_is_written(configure):
    configure("config.yaml", overrides={"digits": {"training": {"epochs": "many"}}})
    assert_refused(CONFIG, "overrides", "training.epochs: expected integer, found 'many'")


def test_an_override_goes_on_top_of_its_setting_alone(configure, study):
    before = study.settings
    configure("config.yaml", overrides={"digits": {"sweep": {"batch_sizes": [32]}}})
    after = Study.load().settings
    assert after["digits"]["sweep"] == {**before["digits"]["sweep"], "batch_sizes": [32]}
    assert {**after["digits"], "sweep": None} == {**before["digits"], "sweep": None}
    assert after["fashion"] == before["fashion"]


# --- what a study costs to read ------------------------------------------------------------------------------------


def test_building_a_study_imports_neither_torch_nor_pandas_nor_numpy(project):
    script = (
        "import sys\n"
        "from tasktrace.config import Study\n"
        "from tasktrace.config.shown import figure_options, figures_of\n"
        "study = Study.load()\n"
        "count = len([study.run_spec(run) for run in study.runs.values()])\n"
        "for setting in study.settings:\n"
        "    figures = [figure_options(study, name, setting) for name in figures_of(study, setting)]\n"
        "print(count, sorted({'torch', 'pandas', 'numpy', 'sklearn', 'matplotlib'} & set(sys.modules)))\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == f"{len(Study.load().runs)} []\n"


# --- runs and their places -----------------------------------------------------------------------------------------


def test_the_runs_of_the_shipped_digits(study):
    arms = study.arms("digits")
    assert [arm.path for arm in arms] == [
        "digits/stl.digits1/adam",
        "digits/stl.digits2/adam",
        "digits/stl.noisy_digits/adam",
        "digits/mtl.with_digits2/umtg/adam",
        "digits/mtl.with_noisy/umtg/adam",
    ]
    sweep, seeds = study.settings["digits"]["sweep"], study.config["seeds"]
    for arm in arms:
        assert len(study.sweep_runs(arm)) == len(sweep["learning_rates"]) * len(sweep["batch_sizes"])
        assert {run.seed for run in study.sweep_runs(arm)} == {sweep["seed"]}
        assert [(run.point, run.seed) for run in study.selected_runs(arm)] == [(SELECTED, seed) for seed in seeds]
    run = Run(arms[3], "lr0.001_bs64", 0)
    assert run.path == "digits/mtl.with_digits2/umtg/adam/lr0.001_bs64/seed0"
    assert study.runs[run.path] == run


def test_run_paths_are_unique(configure):
    configure("config.yaml", methods={"umtg_mean": {"method": "umtg", "scale": "mean"}})
    configure("settings/digits.yaml", methods=["umtg", "umtg_mean"], optimizers=["adam", "sgd", "sgdm"])
    study = Study.load()
    arms = [arm for setting in study.settings for arm in study.arms(setting)]
    runs = [run for arm in arms for run in study.sweep_runs(arm) + study.selected_runs(arm)]
    assert len({run.path for run in runs}) == len(runs) == len(study.runs)
    assert len({arm.path for arm in arms}) == len(arms) == len(study.arms_by_path)


def test_single_task_runs_carry_no_method_and_are_shared_between_methods(configure, study):
    configure("config.yaml", methods={"umtg_mean": {"method": "umtg", "scale": "mean"}})
    configure("settings/digits.yaml", methods=["umtg", "umtg_mean"])
    more = Study.load()
    alone = {path: spec for path, spec in specs(more).items() if "/stl." in path}
    assert alone == {path: spec for path, spec in specs(study).items() if "/stl." in path}
    assert all(json.loads(spec)["method"] is None for spec in alone.values())
    assert all("umtg" not in path for path in alone)
    added = specs(more).keys() - specs(study).keys()
    assert added == {path.replace("/umtg/", "/umtg_mean/") for path in specs(study) if path.startswith("digits/mtl.")}


def test_every_task_of_the_groups_is_trained_alone_once_per_optimizer(configure):
    configure("settings/digits.yaml", optimizers=["adam", "sgd"])
    alone = Counter(arm.tasks for arm in Study.load().arms("digits") if arm.group.startswith("stl."))
    assert alone == {("digits1",): 2, ("digits2",): 2, ("noisy_digits",): 2}


def test_a_setting_of_both_targets_is_there_once(configure):
    configure("config.yaml", settings=["fashion", "digits"], demo=["digits"])
    assert Study.load().setting_names() == ["fashion", "digits"]


def test_a_run_is_found_by_its_folder_in_every_way_to_write_it(study):
    for path, run in study.runs.items():
        for folder in (path, f"results/runs/{path}", f"results/runs/{path}/"):
            assert study.find_run(folder) == run


def test_a_folder_of_no_run_is_refused_with_an_example(study):
    with pytest.raises(ConfigError) as caught:
        study.find_run("results/runs/digits/stl.digits1/adam/lr3.0_bs1/seed0")
    message = str(caught.value)
    assert message.startswith("results/runs/digits/stl.digits1/adam/lr3.0_bs1/seed0: not a run of this study; ")
    assert f"results/runs/{next(iter(study.runs))}" in message


def test_an_arm_is_found_by_its_path(study):
    assert study.find_arm("digits/stl.digits1/adam") == Arm("digits", "stl.digits1", ("digits1",), None, "adam")
    with pytest.raises(ConfigError) as caught:
        study.find_arm("digits/stl.digits1/sgd")
    assert str(caught.value).startswith("digits/stl.digits1/sgd: not an arm of this study; it has: ")
    assert all(path in str(caught.value) for path in study.arms_by_path)


@given(
    st.floats(min_value=0, exclude_min=True, allow_infinity=False) | st.integers(1, 10**6),
    st.integers(min_value=1),
)
def test_a_point_is_read_back_from_its_name(rate, size):
    name = point_name(rate, size)
    assert parse_point(name) == {"learning_rate": float(rate), "batch_size": size}
    assert re.fullmatch(r"lr[^/]+_bs\d+", name)


def test_the_name_of_a_point_is_short_and_the_same_for_equal_rates():
    assert point_name(0.001, 64) == "lr0.001_bs64"
    assert point_name(1, 2) == point_name(1.0, 2) == "lr1.0_bs2"


# --- what makes a run stale ----------------------------------------------------------------------------------------


def test_the_spec_of_a_sweep_run(study):
    spec = study.run_spec(study.runs["digits/mtl.with_noisy/umtg/adam/lr0.001_bs64/seed0"])
    assert spec == {
        "training": TRAINING_VERSION,
        "setting": "digits",
        "group": "mtl.with_noisy",
        "tasks": ["digits1", "noisy_digits"],
        "data": {"name": "digits", "version": 1},
        "model": {"name": "small_cnn", "version": 1},
        "method": {"name": "umtg", "version": 1},
        "optimizer": {"name": "adam", "version": 1},
        "point": {"learning_rate": 0.001, "batch_size": 64},
        "epochs": study.settings["digits"]["sweep"]["epochs"],
        "checkpoint_every": 0,
        "seed": 0,
    }


def test_every_spec_survives_json(study):
    for run in study.runs.values():
        spec = study.run_spec(run)
        again = json.loads(json.dumps(spec))
        assert again == spec
        assert canonical_json(again) == canonical_json(spec)


def test_every_run_has_a_spec_of_its_own(study):
    assert len(set(specs(study).values())) == len(study.runs)


def test_options_written_at_their_defaults_change_no_run(configure, study):
    configure(
        "config.yaml",
        methods={"umtg": {"method": "umtg", "scale": "sum"}},
        optimizers={"adam": {"beta1": 0.9, "beta2": 0.999, "eps": 1e-08, "weight_decay": 0}},
    )
    configure("settings/digits.yaml", data={"seed": 0}, model={"channels": 8, "features": 32})
    assert changed(specs(study), specs(Study.load())) == set()


def test_options_left_out_change_no_run(project, study):
    path = project / DIGITS
    path.write_text(re.sub(r"data: \{.*\}", "data: {}", path.read_text()))
    assert Study.load().settings["digits"]["data"] == {}
    assert changed(specs(study), specs(Study.load())) == set()


def test_a_change_of_the_learning_rates_touches_only_their_runs(configure, study):
    before = specs(study)
    configure("settings/digits.yaml", sweep={"learning_rates": [0.001, 0.02]})
    after = specs(Study.load())
    assert before.keys() - after.keys() == {path for path in before if re.match(r"digits/.*/lr0\.005_", path)}
    assert after.keys() - before.keys() == {
        path.replace("lr0.005_", "lr0.02_") for path in before if re.match(r"digits/.*/lr0\.005_", path)
    }
    common = before.keys() & after.keys()
    assert {path: before[path] for path in common} == {path: after[path] for path in common}


def test_another_seed_adds_runs_and_touches_none(configure, study):
    before = specs(study)
    configure("config.yaml", seeds=[*study.config["seeds"], 17])
    after = specs(Study.load())
    assert before.items() <= after.items()
    assert {path.rpartition("/")[2] for path in after.keys() - before.keys()} == {"seed17"}


def test_a_method_option_touches_the_runs_of_the_method(configure, study):
    configure("config.yaml", methods={"umtg": {"scale": "mean"}})
    mine = {path for path, run in study.runs.items() if run.arm.method == "umtg"}
    assert mine
    assert changed(specs(study), specs(Study.load())) == mine


def test_an_optimizer_option_touches_the_runs_of_the_optimizer(configure):
    configure("settings/digits.yaml", optimizers=["adam", "sgd", "sgdm"])
    study = Study.load()
    configure("config.yaml", optimizers={"sgdm": {"momentum": 0.95}})
    mine = {path for path, run in study.runs.items() if run.arm.optimizer == "sgdm"}
    assert mine
    assert changed(specs(study), specs(Study.load())) == mine


@pytest.mark.parametrize("values", [{"data": {"seed": 1}}, {"data": {"train": 500}}, {"model": {"channels": 16}}])
def test_a_data_or_model_option_touches_the_runs_of_its_setting(configure, study, values):
    configure("config.yaml", overrides={"digits": values})
    mine = {path for path in study.runs if path.startswith("digits/")}
    assert changed(specs(study), specs(Study.load())) == mine


@pytest.mark.parametrize(
    ("values", "is_selected"),
    [
        ({"training": {"epochs": 61}}, True),
        ({"training": {"checkpoint_every": 2}}, True),
        ({"sweep": {"epochs": 21}}, False),
    ],
)
def test_epochs_of_the_sweep_and_of_the_selected_runs_are_apart(configure, study, values, is_selected):
    configure("settings/digits.yaml", **values)
    digits = {path: run for path, run in study.runs.items() if run.arm.setting == "digits"}
    mine = {path for path, run in digits.items() if (run.point == SELECTED) == is_selected}
    assert mine
    assert changed(specs(study), specs(Study.load())) == mine


def test_labels_and_the_look_of_figures_touch_no_run(configure, study):
    configure("config.yaml", figures={"a1": {"width": 9.0}}, analysis={"band": 1.0})
    configure("settings/digits.yaml", groups={"with_noisy": {"label": "+N"}})
    assert changed(specs(study), specs(Study.load())) == set()


def test_a_raised_version_touches_the_runs_of_the_component(add_component, configure):
    configure("settings/digits.yaml", optimizers=["adam", "sgd"])
    study = Study.load()
    before = specs(study)
    source = (_FOLDERS["optimizer"] / "sgd.py").read_text()
    add_component("optimizer", "sgd", source.replace("VERSION = 1", "VERSION = 2"))
    mine = {path for path, run in study.runs.items() if run.arm.optimizer == "sgd"}
    assert mine
    assert changed(before, specs(Study.load())) == mine


def test_a_new_option_with_a_default_touches_no_run(add_component, project, study):
    before = specs(study)
    source = (_FOLDERS["optimizer"] / "adam.py").read_text()
    add_component("optimizer", "adam", source.replace("    eps: float", "    amsgrad: bool = False\n    eps: float"))
    study = Study.load()
    assert study.run_spec(next(iter(study.runs.values())))["optimizer"] == {"name": "adam", "version": 1}
    assert changed(before, specs(study)) == set()


def test_sweep_runs_keep_no_checkpoints(study):
    kept = {(run.point == SELECTED, study.run_spec(run)["checkpoint_every"]) for run in study.runs.values()}
    assert kept == {(False, 0), (True, 1)}


def test_a_selected_run_takes_its_point_from_the_selection(study, tmp_path):
    spec = study.run_spec(study.runs["digits/stl.digits1/adam/selected/seed1"])
    assert spec["point"] is None
    selection = tmp_path / "selection.json"
    with pytest.raises(ConfigError) as caught:
        resolved(spec, selection)
    assert str(caught.value) == f"{selection}: no selection for this run yet; run `snakemake --cores 1 {selection}`"
    point = {"learning_rate": 0.005, "batch_size": 16}
    selection.write_text(json.dumps({"point": point, "value": 0.9}))
    assert resolved(spec, selection) == {**spec, "point": point}


def test_a_sweep_run_needs_no_selection(study, tmp_path):
    spec = study.run_spec(study.runs["digits/stl.digits1/adam/lr0.005_bs16/seed0"])
    assert spec["point"] == {"learning_rate": 0.005, "batch_size": 16}
    assert resolved(spec, tmp_path / "absent.json") == spec


def test_the_options_of_a_component_are_what_is_neither_name_nor_version():
    assert component_options({"name": "sgd", "version": 1, "momentum": 0.9}) == {"momentum": 0.9}


# --- figures -------------------------------------------------------------------------------------------------------


def test_figure_a1_has_the_task_alone_first_and_then_its_groups(study):
    figure = figure_options(study, "a1", "digits")
    assert (figure["task"], figure["method"], figure["optimizer"]) == ("digits1", "umtg", "adam")
    assert figure["curves"] == [
        {"group": "stl.digits1", "label": "STL"},
        {"group": "mtl.with_digits2", "label": "+Digits2"},
        {"group": "mtl.with_noisy", "label": "+NoisyDigits"},
    ]
    assert {key: figure[key] for key in ("width", "height", "dpi")} == study.config["figures"]["a1"]


def test_figure_a1_can_name_its_method_and_optimizer(configure):
    configure("config.yaml", methods={"umtg_mean": {"method": "umtg", "scale": "mean"}})
    configure(
        "settings/digits.yaml",
        methods=["umtg", "umtg_mean"],
        optimizers=["adam", "sgdm"],
        figures={"a1": {"method": "umtg_mean", "optimizer": "sgdm"}},
    )
    figure = figure_options(Study.load(), "a1", "digits")
    assert (figure["method"], figure["optimizer"]) == ("umtg_mean", "sgdm")


def test_alone_limits_the_tasks_that_are_trained_alone(configure):
    configure("settings/digits.yaml", alone=["digits1"])
    alone = [arm.group for arm in Study.load().arms("digits") if arm.method is None]
    assert alone == ["stl.digits1"]


def test_the_task_of_a_figure_has_to_be_trained_alone(configure):
    configure("settings/digits.yaml", alone=["digits2"])
    with pytest.raises(ConfigError, match=r"figures\.a1\.task: unknown task 'digits1'; allowed: digits2"):
        Study.load()


def test_a_figure_is_offered_where_the_setting_can_show_it(configure, study):
    assert figures_of(study, "digits") == ["a1", "a2", "a3"]
    configure("config.yaml", methods={"mgda": {"method": "mgda"}})
    configure("settings/digits.yaml", methods=["umtg", "mgda"], auxiliary={**AUXILIARY, "sets": 1, "size": 1})
    both = Study.load()
    assert figures_of(both, "digits") == ["a1", "a2", "a3", "a4", "a5", "a6"]
    assert (figure_options(both, "a4", "digits")["baseline"], figure_options(both, "a4", "digits")["methods"]) == (
        "umtg",
        ["mgda"],
    )
    assert list(figure_options(both, "a5", "digits")["auxiliary"]) == ["digits1"]


# --- measuring -----------------------------------------------------------------------------------------------------


def test_measures_are_named_checked_and_without_their_defaults(configure):
    configure(
        "config.yaml", measures={"sharpness": {"rhos": [0.002], "samples": 512}, "wide": {"measure": "sharpness"}}
    )
    configure("settings/digits.yaml", measuring={"measures": ["sharpness", "wide"], "every": 3})
    spec = Study.load().measure_spec("digits")
    version = declaration("measure", "sharpness").version
    assert spec == {
        "every": 3,
        "measures": {
            "sharpness": {"name": "sharpness", "version": version, "samples": 512},
            "wide": {"name": "sharpness", "version": version},
        },
    }


def test_a_setting_can_have_options_of_its_own_for_a_measure(configure):
    own = {"measures": ["sharpness", "fisher"], "every": 1, "options": {"sharpness": {"samples": 256}}}
    configure("settings/digits.yaml", measuring=own)
    measures = Study.load().measure_spec("digits")["measures"]
    assert (measures["sharpness"]["samples"], measures["fisher"].get("samples")) == (256, None)
    assert "samples" not in Study.load().measure_spec("fashion")["measures"]["sharpness"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sharpness": {"sample": 1}}, r"digits\.yaml: measuring\.options\.sharpness: unknown option 'sample'"),
        ({"conflict": {"pairs": False}}, r"measuring\.options: unknown measure 'conflict'; allowed: sharpness"),
    ],
)
def test_a_wrong_option_of_a_settings_measure_is_refused(configure, options, message):
    configure("settings/digits.yaml", measuring={"measures": ["sharpness"], "options": options})
    with pytest.raises(ConfigError, match=message):
        Study.load()


def test_what_is_measured_is_no_part_of_a_run(configure, study):
    before = {path: study.run_spec(run) for path, run in study.runs.items()}
    configure("config.yaml", measures={"sharpness": {"samples": 128}})
    configure("settings/digits.yaml", measuring={"measures": ["fisher"], "every": 7})
    after = Study.load()
    assert {path: after.run_spec(run) for path, run in after.runs.items()} == before


# --- auxiliary sets ------------------------------------------------------------------------------------------------

AUXILIARY = {"targets": ["digits1"], "sets": 2, "size": 1, "seed": 0}


def pairs(**changed):
    """The shipped setting of digit pairs."""
    config = yaml.safe_load((REPOSITORY / "config/config.yaml").read_text())
    config.update(settings=["digit_pairs"], demo=[], overrides={"digit_pairs": {"auxiliary": changed}})
    return Study(config, REPOSITORY)


def test_auxiliary_sets_are_different_seeded_and_of_other_tasks():
    study = pairs()
    groups = study.auxiliary["digit_pairs"]
    block = study.settings["digit_pairs"]["auxiliary"]
    assert list(groups) == block["targets"]
    for target, sets in groups.items():
        assert list(sets) == [f"aux_{target}_{number:02d}" for number in range(block["sets"])]
        others = [tuple(tasks[1:]) for tasks in sets.values()]
        assert len(set(others)) == block["sets"]
        assert all(tasks[0] == target for tasks in sets.values())
        assert all(target not in own and len(set(own)) == block["size"] for own in others)
    assert pairs().auxiliary == study.auxiliary
    assert pairs(seed=1).auxiliary != study.auxiliary


def test_more_sets_leave_the_first_ones_as_they_are():
    fewer, more = pairs(sets=3).auxiliary["digit_pairs"], pairs(sets=5).auxiliary["digit_pairs"]
    for target, sets in fewer.items():
        assert list(more[target].items())[:3] == list(sets.items())


def test_all_sets_of_a_target_take_the_point_that_suits_it_alone():
    study = pairs()
    arm = study.find_arm("digit_pairs/mtl.aux_pair_4_9_03/umtg/adam")
    assert [run.arm.group for run in study.sweep_runs(arm)] == ["stl.pair_4_9"] * len(study.sweep_runs(arm))
    assert {run.arm.group for run in study.selected_runs(arm)} == {"mtl.aux_pair_4_9_03"}
    assert len(study.runs) == len(set(study.runs))


def test_all_possible_sets_can_be_asked_for_and_no_more(configure):
    configure("settings/digits.yaml", auxiliary=AUXILIARY)
    groups = Study.load().auxiliary["digits"]["digits1"]
    assert sorted(groups.values()) == [("digits1", "digits2"), ("digits1", "noisy_digits")]
    configure("settings/digits.yaml", auxiliary={**AUXILIARY, "sets": 3})
    with pytest.raises(ConfigError, match=r"auxiliary: 3 different sets of 1 are asked for, but .* which make 2"):
        Study.load()


def test_a_target_has_to_be_a_task_of_the_setting(configure):
    configure("settings/digits.yaml", auxiliary={**AUXILIARY, "targets": ["digits9"]})
    with pytest.raises(ConfigError, match=r"auxiliary\.targets: unknown task 'digits9'; allowed: digits1"):
        Study.load()


def test_a_grid_can_decay_the_weights_of_all_its_optimizers(configure, study):
    experiments = {
        "tasks": ["digits1", "digits2"],
        "methods": {"umtg": ["adam", "sgdm"]},
        "learning_rates": [0.01],
        "batch_size": 16,
        "epochs": 2,
        "alone": {"optimizers": ["adam"], "learning_rates": [0.01]},
    }
    configure("settings/digits.yaml", experiments=experiments)
    before = specs(Study.load())
    configure("settings/digits.yaml", experiments={"weight_decay": 1e-5})
    after = Study.load()
    grid = {run.path for run in after.grid_runs_of("digits")}
    assert changed(before, specs(after)) == grid
    assert {after.run_spec(after.runs[path])["optimizer"]["weight_decay"] for path in grid} == {1e-5}


def test_what_a_block_says_of_its_training_is_in_its_specs_unless_it_is_the_default(configure, study):
    before = specs(study)
    configure("settings/digits.yaml", training={"precision": "float32", "augmentation": "none"})
    assert not changed(before, specs(Study.load()))
    schedule = {"factor": 0.5, "every": 10}
    configure("settings/digits.yaml", training={"precision": "bf16", "schedule": schedule})
    after = Study.load()
    assert changed(before, specs(after)) == {path for path in before if path.startswith("digits/")}
    assert {
        json.dumps(after.run_spec(run).get("schedule")) for run in after.runs.values() if run.arm.setting == "digits"
    } == {json.dumps(schedule)}


# --- corruption ----------------------------------------------------------------------------------------------------

REFIT = {"optimizer": "sgdm", "learning_rate": 0.01, "batch_size": 20, "epochs": 4}
CORRUPTION = {"methods": ["uw", "umtg"], "optimizer": "adam", "leave_out": ["snow", "glass_blur"], "refit": REFIT}
GRID = {
    "tasks": ["digits1", "digits2"],
    "methods": {"umtg": ["adam", "sgdm"], "uw": ["adam"], "pcgrad": ["adam"]},
    "learning_rates": [0.05, 0.005],
    "batch_size": 16,
    "epochs": 10,
    "seeds": [0, 3],
    "alone": {"optimizers": ["sgdm", "adam"], "learning_rates": [0.005]},
}


@pytest.fixture
def refitting(configure):
    """A function that gives the study with a grid of the digits whose heads are refitted, its block changed."""
    configure("config.yaml", methods={"uw": {"method": "uw"}, "pcgrad": {"method": "pcgrad"}})
    configure("settings/digits.yaml", experiments={**GRID, "corruption": CORRUPTION})

    def study_with(**corruption):
        configure("settings/digits.yaml", experiments={"corruption": corruption})
        return Study.load()

    return study_with


@pytest.mark.parametrize(
    ("values", "parts"),
    [
        (
            {"leave_out": ["snow", "rain"]},
            ["leave_out: unknown corruption 'rain'; allowed: gaussian_noise, shot_noise"],
        ),
        ({"leave_out": list(corruptions.NAMES)}, ["leave_out: all corruptions are left out; take the block out"]),
        ({"methods": ["umtg", "mgda"]}, ["methods: unknown method 'mgda'; allowed: umtg, uw, pcgrad"]),
        ({"methods": []}, ["methods: ", "[]"]),
        ({"optimizer": "signsgd"}, ["optimizer: unknown optimizer of tasks alone 'signsgd'; allowed: sgdm, adam"]),
        ({"optimizer": "sgdm"}, ["optimizer: unknown optimizer of uw 'sgdm'; allowed: adam"]),
        ({"refit": {"optimizer": "adamw"}}, ["refit.optimizer: unknown optimizer 'adamw'; allowed: adam, sgd, sgdm"]),
        ({"refit": {"learning_rate": 0}}, ["refit.learning_rate: ", "0"]),
        ({"refit": {"rate": 0.1}}, ["refit: unknown key 'rate'; allowed: optimizer, learning_rate, batch_size"]),
        ({"test": 0}, ["test: ", "0"]),
        ({"severity": 3}, ["unknown key 'severity'; allowed: methods, optimizer, leave_out, test, refit"]),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_a_fault_of_the_corruption_block_is_refused_with_its_place(refitting, values, parts):
    with pytest.raises(ConfigError) as caught:
        refitting(**values)
    for part in (f"{DIGITS}: experiments.corruption", *parts):
        assert part in str(caught.value)


def test_the_tasks_alone_and_the_named_methods_are_refitted_with_the_named_optimizer(refitting):
    study = refitting()
    runs = study.refitted_runs_of("digits")
    arms = ["grid_stl.digits1/adam", "grid_stl.digits2/adam", "grid/umtg/adam", "grid/uw/adam"]
    assert [run.path for run in runs] == [f"digits/{arm}/{SELECTED}/seed{seed}" for arm in arms for seed in (0, 3)]
    assert all(study.find_run(run.path) == run for run in runs)
    assert study.refitted_runs_of("fashion") == []
    assert study.watched_runs_of("digits") == []


def test_a_grid_without_corruption_trains_no_arm_once_more(configure, refitting):
    with_block = specs(refitting())
    path = Path(DIGITS)
    content = yaml.safe_load(path.read_text())
    del content["experiments"]["corruption"]
    path.write_text(yaml.safe_dump(content))
    study = Study.load()
    without = specs(study)
    assert study.refitted_runs_of("digits") == []
    assert with_block.keys() - without.keys() == {
        run.path for run in refitting(**CORRUPTION).refitted_runs_of("digits")
    }
    assert all(with_block[path] == spec for path, spec in without.items())
    for make in (study.corruption_spec, study.refit_spec):
        with pytest.raises(ConfigError, match=rf"{DIGITS}: no experiments\.corruption"):
            make("digits")


def test_the_spec_of_a_refitted_run_asks_for_the_checkpoint_of_its_best_epoch(refitting):
    study = refitting()
    spec = study.run_spec(study.runs[f"digits/grid/uw/adam/{SELECTED}/seed3"])
    assert spec == {
        "training": TRAINING_VERSION,
        "setting": "digits",
        "group": "grid",
        "tasks": ["digits1", "digits2"],
        "data": study.data_spec("digits"),
        "model": {"name": "small_cnn", "version": declaration("model", "small_cnn").version},
        "method": {"name": "uw", "version": declaration("method", "uw").version},
        "optimizer": {"name": "adam", "version": declaration("optimizer", "adam").version},
        "point": None,
        "best_epoch": None,
        "epochs": 10,
        "checkpoint_every": 0,
        "seed": 3,
    }
    kept = {run.path for run in study.runs.values() if "best_epoch" in study.run_spec(run)}
    assert kept == {run.path for run in study.refitted_runs_of("digits")}


def test_a_run_that_is_watched_and_refitted_is_one(configure, refitting):
    watched = {"method": "umtg", "optimizer": "adam", "every": 5, "most": 8}
    refitting()
    digit_traits = {**GRID, "tasks": ["digit", "ink"], "corruption": CORRUPTION, "similarity": watched}
    configure("config.yaml", settings=["digits", "fashion", "digit_traits"])
    path = Path("config/settings/digit_traits.yaml")
    path.write_text(yaml.safe_dump({**yaml.safe_load(path.read_text()), "experiments": digit_traits}))
    study = Study.load()
    both = study.watched_runs_of("digit_traits")
    assert [run.path for run in both] == [f"digit_traits/grid/umtg/adam/{SELECTED}/seed{seed}" for seed in (0, 3)]
    refitted = study.refitted_runs_of("digit_traits")
    assert len(set(refitted)) == len(refitted) == 8
    assert set(both) < set(refitted)
    spec = study.run_spec(both[0])
    assert (spec["similarity"], spec["best_epoch"]) == ({"every": 5, "most": 8}, None)
    assert "similarity" not in study.run_spec(refitted[0])


def test_what_is_corrupted_and_how_heads_are_refitted(refitting):
    study = refitting()
    corruption = study.corruption_spec("digits")
    assert corruption == {
        "version": corruptions.VERSION,
        "data": study.data_spec("digits"),
        "tasks": ["digits1", "digits2"],
        "names": [name for name in corruptions.NAMES if name not in ("snow", "glass_blur")],
        "test": None,
    }
    sgdm = {"name": "sgd", "version": declaration("optimizer", "sgd").version, "momentum": 0.9}
    expected = {"version": REFIT_VERSION, "corruption": corruption, **REFIT, "optimizer": sgdm}
    assert study.refit_spec("digits") == expected
    assert refitting(test=30).corruption_spec("digits") == {**corruption, "test": 30}


@pytest.mark.parametrize("values", [{"refit": {"epochs": 9, "optimizer": "adam"}}, {"leave_out": []}, {"test": 7}])
def test_how_heads_are_refitted_changes_no_run(refitting, values):
    before = refitting()
    after = refitting(**values)
    assert changed(specs(before), specs(after)) == set()
    assert before.refit_spec("digits") != after.refit_spec("digits")


def test_a_point_is_chosen_from_the_arms_own_runs_and_together_from_the_baselines_as_well(refitting):
    study = refitting()

    def arms(path):
        return list(dict.fromkeys(run.arm.path for run in study.candidate_runs(study.find_arm(path))))

    alone = [f"digits/grid_stl.{task}/{optimizer}" for optimizer in ("sgdm", "adam") for task in ("digits1", "digits2")]
    assert arms("digits/grid/uw/adam") == [*alone, "digits/grid/uw/adam"]
    assert arms(alone[0]) == [alone[0]]
    own = study.candidate_runs(study.find_arm("digits/grid/uw/adam"))
    assert len(own) == (len(alone) + 2) * 2
    assert SELECTED not in {run.point for run in own}
    of_study_a = study.find_arm("digits/mtl.with_noisy/umtg/adam")
    assert study.candidate_runs(of_study_a) == study.sweep_runs(of_study_a)


def test_a_refitted_run_takes_point_and_best_epoch_of_its_seed_from_the_selection(refitting, tmp_path):
    study = refitting()
    spec = study.run_spec(study.runs[f"digits/grid/uw/adam/{SELECTED}/seed3"])
    selection, point = tmp_path / "selection.json", {"learning_rate": 0.05, "batch_size": 16}
    selection.write_text(json.dumps({"point": point, "epochs": {"0": 9, "3": 4}}))
    chosen = resolved(spec, selection)
    assert chosen == {**spec, "point": point, "best_epoch": 4}
    assert identity(chosen) == identity(spec)
    assert identity({**chosen, "epochs": 11}) != identity(spec)


@pytest.mark.parametrize("epochs", [{}, {"epochs": {"0": 9}}], ids=["no epochs", "other seeds"])
def test_a_selection_without_the_best_epoch_of_a_seed_is_named_with_the_remedy(refitting, tmp_path, epochs):
    study = refitting()
    spec = study.run_spec(study.runs[f"digits/grid/uw/adam/{SELECTED}/seed3"])
    selection = tmp_path / "selection.json"
    selection.write_text(json.dumps({"point": {"learning_rate": 0.05, "batch_size": 16}, **epochs}))
    with pytest.raises(ConfigError) as caught:
        resolved(spec, selection)
    assert str(caught.value).startswith(f"{selection}: names no best epoch of seed 3")
    assert f"delete it and run `snakemake --cores 1 {selection}`" in str(caught.value)


def test_gradients_of_tasks_with_inputs_of_their_own_are_not_compared(configure):
    watched = {"method": "umtg", "optimizer": "adam", "every": 5, "most": 8}
    grid = {**GRID, "methods": {"umtg": ["adam"]}, "similarity": watched}
    configure("settings/digits.yaml", experiments=grid)
    assert_refused(f"{DIGITS}: experiments.similarity", "tasks of this setting have inputs of their own; take it out")


def test_a_task_whose_labels_are_noise_has_no_baseline(configure):
    grid = {**GRID, "methods": {"umtg": ["adam"]}, "tasks": ["digits1", "noisy_digits"]}
    configure("settings/digits.yaml", experiments=grid)
    arms = Study.load().grid_arms("digits")
    assert [arm.group for arm in arms] == ["grid_stl.digits1", "grid_stl.digits1", "grid"]
    assert arms[-1].tasks == ("digits1", "noisy_digits")
    configure("settings/digits.yaml", experiments={"tasks": ["noisy_digits", "noisy_digits"]})
    with pytest.raises(ConfigError):
        Study.load()
