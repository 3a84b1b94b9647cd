import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tasktrace.cluster.expressions import Unknown
from tasktrace.cluster.profile import find_profile, read_profile
from tasktrace.errors import ConfigError


def put(folder, name="config.yaml", text="executor: slurm\n"):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(text)


def snakemakes(name):
    """The file that Snakemake takes for a profile; asked in a process of its own, since Snakemake is large."""
    program = f"from snakemake.cli import get_profile_dir; found = get_profile_dir({name!r}); print(found and found[1])"
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    return None if done.stdout == "None\n" else Path(done.stdout.strip())


@pytest.fixture
def here(tmp_path, monkeypatch):
    """An empty current folder."""
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def users(tmp_path, monkeypatch):
    """The folder of the user's own profiles."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "settings"))
    return tmp_path / "settings/snakemake"


def test_a_profile_is_found_where_snakemake_finds_it(here, users):
    put(users / "slurm")
    assert find_profile("slurm") == users / "slurm/config.yaml" == snakemakes("slurm")
    put(here / "slurm")
    assert find_profile("slurm") == Path("slurm/config.yaml")
    assert find_profile("slurm").samefile(snakemakes("slurm"))


@pytest.mark.parametrize(
    ("names", "taken"),
    [
        (["profile.yaml"], "profile.yaml"),
        (["config.yaml", "profile.v9+.yaml"], "profile.v9+.yaml"),
        (["config.yaml", "config.v8+.yaml", "config.v9+.yaml", "config.v99+.yaml"], "config.v9+.yaml"),
        (["config.yaml", "config.yml", "other.yaml"], "config.yaml"),
    ],
)
def test_the_file_for_this_snakemake_is_taken(here, names, taken):
    for name in names:
        put(here / "slurm", name)
    assert find_profile("slurm") == Path("slurm") / taken
    assert snakemakes("slurm").name == taken


def test_a_path_is_a_profile_too(here):
    put(here / "deep/slurm", "own.yaml")
    assert find_profile("deep/slurm/own.yaml") == Path("deep/slurm/own.yaml")
    put(here / "deep/slurm")
    assert find_profile(str(here / "deep/slurm")) == here / "deep/slurm/config.yaml"


def test_a_link_to_a_profile_is_one(here):
    put(here / "workflow/profiles/slurm")
    (here / "slurm").symlink_to("workflow/profiles/slurm")
    assert find_profile("slurm") == Path("slurm/config.yaml")


def test_a_profile_that_is_nowhere_is_named_with_where_it_was_sought(here, users):
    with pytest.raises(ConfigError) as caught:
        find_profile("slurn")
    assert str(caught.value).startswith("slurn: not a profile: no config.yaml or profile.yaml in slurn, ")
    assert str(users / "slurn") in str(caught.value)


def test_a_folder_without_a_profile_is_not_looked_past(here, users):
    put(users / "slurm")
    (here / "slurm").mkdir()
    with pytest.raises(ConfigError, match=r"no config\.yaml or profile\.yaml in slurm;"):
        find_profile("slurm")
    assert snakemakes("slurm") is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: [1", "cannot be read as a profile: "),
        ("__use_yte__: true\na: ?1 / 0\n", "cannot be read as a profile: "),
        ("- a\n", "expected options and their values, found list"),
        ("", "expected options and their values, found NoneType"),
        ("default-resources: [mem_mb]\n", "expected name=value, found 'mem_mb'"),
        ("set-resources: {train: 3}\n", "set-resources: expected rule: {name: value}, found {'train': 3}"),
        ("set-resources: ['mem_mb=3']\n", "set-resources: expected rule:name=value, found 'mem_mb=3'"),
    ],
)
def test_what_is_no_profile_is_refused(make_profile, text, message):
    with pytest.raises(ConfigError, match=f"^slurm/config.yaml: {re.escape(message)}"):
        make_profile(text)


def test_templates_are_filled_in_only_where_the_profile_says_so(make_profile):
    text = "slurm-qos: ?'a' + 'b'\n?if True:\n  jobs: 3\n"
    assert make_profile(text).options["slurm-qos"] == "?'a' + 'b'"
    profile = make_profile(f"__use_yte__: true\n{text}")
    assert profile.options["slurm-qos"] == "ab"
    assert profile.options["jobs"] == "3"


def test_choices_come_from_the_environment(make_profile):
    profile = make_profile(QOS="long", ACCOUNT="lab", CPU_PARTITION="cpu-1", GPU_PARTITION="gpu", GPU_TYPE="a100")
    assert profile.executor == "slurm"
    assert profile.options["slurm-qos"] == "long"
    run = profile.resources("train", "digits")
    assert run == {"slurm_account": "lab", "slurm_partition": "gpu", "gpu_model": "a100"}
    assert profile.resources("prepare", "digits") == {**run, "slurm_partition": "cpu-1", "gpu_model": ""}


def test_what_is_not_chosen_is_left_to_the_cluster(make_profile):
    profile = make_profile()
    assert "slurm-qos" not in profile.options
    assert profile.resources("train", "digits") == {"slurm_account": "", "slurm_partition": ""}


def test_a_rules_own_resources_are_on_top(make_profile):
    text = "default-resources: {mem_mb: 100, runtime: 5}\nset-resources: {train: {mem_mb: attempt * 4000}}\n"
    profile = make_profile(text)
    assert profile.resources("train", "digits") == {"mem_mb": 4000, "runtime": 5}
    assert profile.resources("measure", "digits") == {"mem_mb": 100, "runtime": 5}
    assert profile.overrules("train", "mem_mb")
    assert not profile.overrules("train", "runtime")
    assert not profile.overrules("measure", "mem_mb")


def test_lists_say_the_same_as_mappings(make_profile):
    text = """
default-resources: [mem_mb=100, "slurm_partition='a=b'"]
set-resources: ["train:mem_mb=300", "train:runtime=5"]
group-components: [train_digits=4]
"""
    profile = make_profile(text)
    assert profile.resources("train", "digits") == {"mem_mb": 300, "slurm_partition": "a=b", "runtime": 5}
    assert profile.table("group-components") == {"train_digits": "4"}
    assert profile.place("train", "mem_mb") == "slurm/config.yaml:3"
    assert profile.place("measure", "mem_mb") == "slurm/config.yaml:2"


def test_places_are_lines_of_the_file(make_profile):
    profile = make_profile()
    assert profile.place("train", "slurm_partition") == "slurm/config.yaml:11"
    assert profile.place("train", "gpu_model") == "slurm/config.yaml:13"
    assert profile.option_place("slurm-qos") == "slurm/config.yaml:8"
    assert profile.place("train", "runtime") == profile.option_place("slurm-logdir") == "slurm/config.yaml"


def test_a_size_is_found_under_either_of_its_names(make_profile):
    profile = make_profile("default-resources: {mem: 2GB}\nset-resources:\n  train:\n    mem: 4 GB\n")
    assert profile.resources("train", "digits") == {"mem_mb": 4000}
    assert profile.overrules("train", "mem_mb")
    assert profile.place("train", "mem_mb") == "slurm/config.yaml:4"
    assert profile.place("measure", "mem_mb") == "slurm/config.yaml:1"


def test_the_variables_that_it_takes_choices_from_are_known(make_profile):
    assert make_profile().variables == {
        *("TASKTRACE_CPU_PARTITION", "TASKTRACE_GPU_PARTITION", "TASKTRACE_GPU_TYPE"),
        *("TASKTRACE_ACCOUNT", "TASKTRACE_QOS"),
    }


def test_an_option_that_is_nothing_is_left_out_and_an_empty_one_becomes_the_folder(make_profile):
    """As Snakemake has it: an option that is the name of something beside the profile is a path."""
    profile = make_profile("slurm-qos: ''\nslurm-reservation: null\nslurm-logdir: config.yaml\n")
    assert profile.options == {"slurm-qos": "slurm", "slurm-logdir": "slurm/config.yaml"}


def test_a_wildcard_that_a_rule_has_not_is_named_with_the_line(make_profile):
    profile = make_profile("default-resources:\n  slurm_partition: \"'gpu' if wildcards.arm else 'cpu'\"\n")
    with pytest.raises(ConfigError) as caught:
        profile.resources("prepare", "digits")
    assert str(caught.value).startswith(
        "slurm/config.yaml:2: slurm_partition: 'gpu' if wildcards.arm else 'cpu': fails"
    )
    assert "no wildcard arm, only setting" in str(caught.value)
    assert "hasattr(wildcards, 'arm')" in str(caught.value)


def test_a_name_of_pythons_is_no_partition(make_profile):
    profile = make_profile("default-resources: {slurm_partition: all}\n")
    with pytest.raises(ConfigError, match=r"not a builtin_function_or_method; .* second pair of quotes, \"'all'\""):
        profile.resources("train", "digits")


AS_SNAKEMAKE = {
    "a": "'run' if hasattr(wildcards, 'arm') else 'other'",
    "b": "wildcards.get('setting', 'none')",
    "c": "'arm' in wildcards.keys()",
    "d": "os.environ['HOME'] if hasattr(wildcards, 'arm') else 'no'",
    "e": "gpu-large",
    "f": 3.7,
    "g": "1e3",
    "h": "12",
    "i": "$CHOSEN/x",
    "j": "'quoted'",
    "k": "attempt * 2 + threads",
    "l": "",
    "m": None,
    "n": "10-2",
    "o": "max(3",
    "mem": "1.5 GB",
    "runtime": "2h",
}
SNAKEFILE = """
wildcard_constraints: setting="[a-z]+"

rule prepare:
    output: "{setting}.txt"
    threads: 2
    shell: "touch {output}"

rule train:
    output: "runs/{arm}/{point}/{seed}.txt"
    shell: "touch {output}"
"""


def test_expressions_come_to_what_snakemake_makes_of_them(make_profile, monkeypatch):
    monkeypatch.setenv("CHOSEN", "/chosen")
    lines = [f"  {name}: {'null' if value is None else repr(value)}" for name, value in AS_SNAKEMAKE.items()]
    text = "\n".join(["cores: 2", "default-resources:", *lines, "set-resources: {train: {e: 3 * 4}}", ""])
    profile = make_profile(text)
    Path("Snakefile").write_text(SNAKEFILE)
    command = [Path(sys.executable).with_name("snakemake"), "-n", "--profile", "slurm", "digits.txt", "runs/a/b/c.txt"]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ)
    assert done.returncode == 0, done.stderr
    output = done.stdout + done.stderr
    shown = dict(re.findall(r"^rule (\w+):\n(?:    .*\n)*?    resources: (.*)$", output, flags=re.MULTILINE))
    for kind, threads in (("prepare", 2), ("train", 1)):
        values = profile.resources(kind, "digits", threads)
        printed = f", {shown[kind]},"
        for name, value in values.items():
            assert value is None or f", {name}={value}," in printed, (name, value, printed)
    assert values["mem_mb"] == 1500
    assert values["runtime"] == 120
    assert values["e"] == 12


@pytest.mark.parametrize(
    ("expression", "why"),
    [
        ("input.size_mb * 2", "input"),
        ("max(2 * input.size_mb, 100)", "input"),
        ("exists('a')", "exists"),
        ("branch", "branch"),
        ("'a' if wildcards.arm.startswith('digits') else 'b'", "wildcards.arm"),
        ("'a' if wildcards.arm == 'digits' else 'b'", "wildcards.arm"),
        ("'a' if 'digits' in wildcards.arm else 'b'", "wildcards.arm"),
        ("wildcards.arm + 'a'", "wildcards.arm"),
        ("f'{wildcards.arm}'", "wildcards.arm"),
        ("str(wildcards.arm)", "wildcards.arm"),
        ("{'digits': 1}.get(wildcards.arm, 2)", "wildcards.arm"),
        ("int(wildcards.seed)", "wildcards.seed"),
        ("wildcards.arm", "wildcards.arm"),
        ("wildcards[0]", "wildcards"),
    ],
)
def test_what_only_a_running_workflow_knows_is_not_guessed(make_profile, expression, why):
    profile = make_profile(f'default-resources: {{a: "{expression}"}}\n')
    assert profile.resources("train", "digits") == {"a": Unknown(why)}


def test_packed_runs_are_runs(make_profile):
    profile = make_profile("default-resources: {a: \"'arm' in wildcards.keys()\"}\n")
    kinds = ("train", "train_packed_2", "train_selected_packed_1", "refit", "measure", "prepare", "analyse", "trained")
    found = {kind: profile.resources(kind, "digits")["a"] for kind in kinds}
    assert [kind for kind in kinds if found[kind]] == list(kinds[:5])


def test_the_shipped_profiles_are_read():
    folder = Path(__file__).resolve().parents[2] / "workflow/profiles"
    assert {path.name: read_profile(str(path)).executor for path in folder.iterdir()} == {
        "slurm": "slurm",
        "workstation": None,
    }
