"""Verbs that look at the whole study, as they are typed."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tasktrace.cli import main


def test_the_status_of_a_study_where_nothing_has_run(project, capsys):
    assert main(["status", "--setting", "digits", "--by", "seed"]) == 0
    output = capsys.readouterr().out
    assert "0 of 35 runs done, 35 waiting" in output
    assert "fashion" not in output
    assert main(["status", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["counts"]["waiting"] > 35


def test_the_plan_of_a_study_where_nothing_has_run(project, capsys):
    assert main(["plan", "--setting", "digits", "--gpus", "4", "--device", "cpu"]) == 0
    output = capsys.readouterr().out
    assert "train: sweep" in output
    assert "wall time with 4 jobs at a time" in output
    assert main(["plan", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["device"]["at_once"] == 1


@pytest.mark.parametrize("verb", ["status", "plan"])
def test_a_setting_that_there_is_not_is_told(project, capsys, verb):
    assert main([verb, "--setting", "mnist"]) == 1
    assert "mnist: not a setting of this study; it has: digits, fashion" in capsys.readouterr().err


def test_a_configuration_can_be_given(project, capsys):
    import yaml

    config = yaml.safe_load((project / "config/config.yaml").read_text()) | {"settings": ["digits"]}
    assert main(["status", "--config", json.dumps(config)]) == 0
    assert "0 of 35 runs done" in capsys.readouterr().out


def test_a_file_can_be_put_on_top_of_the_configuration(project, capsys):
    (project / "my.yaml").write_text("settings: [digits]\n")
    assert main(["status", "--config", "my.yaml"]) == 0
    assert "0 of 35 runs done" in capsys.readouterr().out
    (project / "my.yaml").write_text("settings: [mnist]\n")
    assert main(["plan", "--config", "my.yaml"]) == 1
    assert "my.yaml with config/config.yaml: unknown setting 'mnist'" in capsys.readouterr().err
    assert main(["check", "--config", "yours.yaml"]) == 1
    assert "yours.yaml: no such file; --config takes a YAML file" in capsys.readouterr().err


def test_a_reader_may_stop_reading(project):
    program = "from tasktrace.cli import main; raise SystemExit(main(['status', '--json']))"
    command = f'{sys.executable} -c "{program}" | head -c 10'
    done = subprocess.run(command, shell=True, capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ('{"counts":', "")


def test_what_the_system_refuses_is_told_in_a_line_that_names_the_file(project, capsys):
    assert main(["check", "--config", "config"]) == 1
    assert capsys.readouterr().err == "tasktrace: config: Is a directory\n"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="the system has no device that is always full")
def test_what_the_system_refuses_is_told_where_no_file_is_known(project):
    program = "from tasktrace.cli import main; main(['status'])"
    with Path("/dev/full").open("w") as full:
        done = subprocess.run([sys.executable, "-c", program], stdout=full, stderr=subprocess.PIPE, text=True)
    assert done.stderr.splitlines()[0] == "tasktrace: No space left on device"
    assert "Traceback" not in done.stderr


def test_a_profile_that_there_is_not_is_told(project, capsys):
    assert main(["check", "--profile", "nowhere"]) == 1
    assert "nowhere: not a profile" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["plan", "--gpus", "0"], "expected a whole number of at least 1, found 0"),
        (["train", "results/runs/a", "--minutes", "-1"], "expected minutes, 0 or more, found -1"),
        (["train"], "the following arguments are required: RUN"),
    ],
)
def test_arguments_that_cannot_be_are_told(capsys, arguments, message):
    with pytest.raises(SystemExit) as raised:
        main(arguments)
    assert raised.value.code == 2
    assert message in capsys.readouterr().err


def test_to_look_at_a_study_takes_no_torch(project):
    program = (
        "import sys; from tasktrace.cli import main; main(['status']); "
        "sys.exit(bool({'torch', 'pandas', 'pyarrow'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", program], capture_output=True).returncode == 0
