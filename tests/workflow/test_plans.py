"""What runs, and what runs again: job counts of dry runs."""

import os
from typing import Any

import pytest

# The digits have 9 arms (three tasks alone, two groups under three methods), two points and three seeds.
DIGITS = {"prepare": 1, "train": 18, "select": 9, "train_selected": 27, "analyse": 1, "figure_a1": 1}


def test_everything_can_be_planned_before_any_data_is_there(unpacked):
    drawn = dict.fromkeys(["figure_a2", "figure_a3", "figure_a4", "table_a1", "report_tables", "metrics", "demo"], 1)
    checked = dict.fromkeys(["check_claims", "table_published"], 1)
    grid = ["experiments", "figure_b2", "figure_b_a3", "table_b2"]
    refitted = ["corrupt", "corruption", "figure_b_a8", "table_b_a8"]
    # Their grid has two tasks alone and four pairs of method and optimizer with two rates, one seed; three arms are
    # refitted.
    assert unpacked.planned("demo") == {
        **DIGITS,
        "train": 18 + 2 + 4 * 2,
        "select": 9 + 3,
        "train_selected": 27 + 3,
        "measure": 27,
        "factors": 1,
        "refit": 3,
        **dict.fromkeys([*grid, *refitted], 1),
        **drawn,
        **checked,
    }
    # Fashion has 11 arms (three tasks alone, two groups under four methods) and sixteen points. Its grid has two tasks
    # alone (the noisy one has no baseline) with six rates, 23 pairs with ten, of which eight arms are refitted. Digit
    # pairs have three targets alone, two groups, and ten auxiliary sets of each target, which take the targets' points.
    # The grid of the digit traits has three tasks alone with two rates, 14 pairs with four, a watched arm.
    watched = ["similarity", "figure_b4", "figure_b_a5", "figure_b_a6", "figure_b_a7"]
    small = ["study_toy", "study_invariance", "figure_b1", "figure_b_a1", "figure_b_a2", "table_b1"]
    assert unpacked.planned("all") == {
        **dict.fromkeys(["prepare", "metrics"], 4),
        "train": 28 + 11 * 16 + 3 * (2 * 6 + 23 * 10) + 5 * 2 + 3 * (3 * 2 + 14 * 4),
        "select": 12 + 11 + 8 + 35 + 1,
        "train_selected": 30 + 33 + 3 * 8 + 105 + 3,
        "measure": 27 + 33 + 105,
        "refit": 3 + 3 * 8,
        **dict.fromkeys(["analyse", "factors", "figure_a1", "figure_a2", "figure_a3", "table_a1", "report_tables"], 3),
        **dict.fromkeys(grid, 3),
        **dict.fromkeys(["figure_a4", *refitted], 2),
        **dict.fromkeys(["figure_a5", "figure_a6", *watched, *small, "all"], 1),
        **checked,
    }
    assert not (unpacked.folder / "data").exists()


def test_the_targets_have_names(unpacked):
    for figure, settings in {"a1": 3, "a2": 3, "a3": 3, "a4": 2, "a5": 1, "a6": 1}.items():
        assert unpacked.planned(f"fig_{figure}")[f"figure_{figure}"] == settings
    for figure in ("b4", "b_a5", "b_a6", "b_a7", "b1", "b_a1", "b_a2"):
        assert unpacked.planned(f"fig_{figure}")[f"figure_{figure}"] == 1
    assert unpacked.planned("fig_b_a4")["figure_b2"] == unpacked.planned("tab_b_a2")["table_b2"] == 3
    for name, settings in {"fig_b2": 3, "fig_b_a3": 3, "fig_b_a8": 2}.items():
        assert unpacked.planned(name)[name.replace("fig", "figure")] == settings
    tables = {"a1": 3, "b1": 1, "b2": 3, "b_a8": 2}
    assert {name: unpacked.planned(f"tab_{name}")[f"table_{name}"] for name in tables} == tables
    assert unpacked.planned("check") == {"check": 1}
    assert unpacked.planned("results/figures/digits/fig_a1.png") == DIGITS
    assert unpacked.planned() == unpacked.planned("all")


def test_a_figure_that_no_setting_can_show_says_what_it_needs(finished):
    done = finished.snakemake("-n", "fig_a5", check=False)
    assert done.returncode != 0
    assert "fig_a5: no setting of the study can show it: a1 to a3 need groups, a4 two methods" in done.stdout


def test_a_finished_study_has_nothing_to_do(finished):
    assert finished.planned("all") == {}


def test_touched_data_reruns_nothing(finished):
    os.utime(finished.folder / "data/prepared/digits.safetensors")
    assert finished.planned("all") == {}


@pytest.mark.parametrize(
    "path",
    [
        "Snakefile",
        "workflow/rules/train.smk",
        "src/tasktrace/training/engine.py",
        "src/tasktrace/methods/umtg.py",
        "src/tasktrace/settings/digits.py",
    ],
)
def test_a_comment_reruns_nothing(finished, path):
    finished.append(path, "\n# A comment.\n")
    assert finished.planned("all") == {}


def test_a_default_written_out_reruns_nothing(finished):
    def spell_out(config: dict[str, Any]) -> None:
        config["methods"]["umtg"]["scale"] = "sum"
        config["optimizers"]["adam"]["beta1"] = 0.9

    finished.edit("config/config.yaml", spell_out)
    finished.edit("config/settings/digits.yaml", lambda block: block["data"].clear())
    assert finished.planned("all") == {}


def test_a_plotting_option_redraws_the_figure_alone(finished):
    finished.edit("config/config.yaml", lambda config: config["figures"]["a1"].update(width=4.0))
    assert finished.planned("fig_a1") == {"figure_a1": 1, "fig_a1": 1}


def test_an_analysis_option_repeats_the_analysis_alone(finished):
    finished.edit("config/config.yaml", lambda config: config["analysis"].update(grid_points=50))
    assert finished.planned("fig_a1") == {"analyse": 1, "figure_a1": 1, "fig_a1": 1}


def test_a_new_learning_rate_trains_the_new_points_and_what_depends_on_them(finished):
    finished.edit(
        "config/settings/digits.yaml", lambda block: block["sweep"].update(learning_rates=[0.001, 0.005, 1.0e30])
    )
    expected = {"train": 3, "select": 3, "train_selected": 6, "analyse": 1, "figure_a1": 1, "fig_a1": 1}
    assert finished.planned("fig_a1") == expected


def test_a_method_option_retrains_the_groups_but_no_task_alone(finished):
    finished.edit("config/config.yaml", lambda config: config["methods"]["umtg"].update(scale="mean"))
    plan = finished.planned("fig_a1")
    assert (plan["train"], plan["select"], plan["train_selected"]) == (2, 1, 2)


def test_another_measure_measures_and_trains_nothing(finished):
    finished.edit("config/config.yaml", lambda config: config["measures"]["fisher"].update(draws=2))
    assert finished.planned("fig_a3") == {"measure": 6, "factors": 1, "figure_a3": 1, "fig_a3": 1}
    assert finished.planned("fig_a1") == {}


def test_a_rule_of_aggregation_repeats_the_tables_alone(finished):
    finished.edit("config/config.yaml", lambda config: config["analysis"].update(aggregation="loss_bins"))
    assert finished.planned("tab_a1") == {"factors": 1, "table_a1": 1, "tab_a1": 1}


def test_a_raised_component_version_retrains_the_runs_that_use_it(finished):
    path = finished.folder / "src/tasktrace/methods/umtg.py"
    path.write_text(path.read_text().replace("VERSION = 1", "VERSION = 2"))
    plan = finished.planned("fig_a1")
    assert (plan["train"], plan["select"], plan["train_selected"]) == (2, 1, 2)


def test_another_split_prepares_and_trains_everything_anew(finished):
    finished.edit("config/settings/digits.yaml", lambda block: block["data"].update(seed=1))
    plan = finished.planned("fig_a1")
    assert (plan["prepare"], plan["train"], plan["train_selected"]) == (1, 6, 6)


def test_another_number_of_seeds_trains_the_new_seed_only(finished):
    finished.edit("config/config.yaml", lambda config: config.update(seeds=[0, 1, 2]))
    assert finished.planned("fig_a1") == {"train_selected": 3, "analyse": 1, "figure_a1": 1, "fig_a1": 1}


def test_a_key_that_stands_twice_stops_before_any_job(fresh):
    fresh.append("config/config.yaml", "\nseeds: [0, 1]\n")
    done = fresh.snakemake("-n", "demo", check=False)
    assert done.returncode != 0
    assert "key 'seeds' stands twice" in done.stdout + done.stderr


@pytest.mark.parametrize(
    ("path", "change", "parts"),
    [
        (
            "config/config.yaml",
            lambda config: config["settings"].append("mnist"),
            ["config/config.yaml", "unknown setting 'mnist'", "digits, fashion"],
        ),
        (
            "config/config.yaml",
            lambda config: config["methods"].update(pc={"method": "pcgard"}),
            ["methods.pc", "unknown method 'pcgard'", "umtg"],
        ),
        (
            "config/settings/digits.yaml",
            lambda block: block["groups"]["with_noisy"].update(tasks=["digits1", "digits9"]),
            ["config/settings/digits.yaml", "groups.with_noisy.tasks", "digits9", "noisy_digits"],
        ),
        (
            "config/settings/digits.yaml",
            lambda block: block["sweep"].update(learning_rates=["fast"]),
            ["sweep.learning_rates[0]", "expected number", "'fast'"],
        ),
    ],
)
def test_a_wrong_configuration_stops_before_any_job(fresh, path, change, parts):
    fresh.edit(path, change)
    done = fresh.snakemake("-n", "demo", check=False)
    assert done.returncode != 0
    for part in parts:
        assert part in done.stderr + done.stdout
    assert "Traceback" not in done.stderr
