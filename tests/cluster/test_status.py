import pytest

SQUEUE = "executor: slurm\nslurm-status-command: squeue\n"
FIRST = "slurm-init-seconds-before-status-checks"


@pytest.mark.parametrize(
    ("age", "text"),
    [(120, SQUEUE), (30, f"{SQUEUE}{FIRST}: 10\n"), (2, "executor: slurm\nslurm-status-command: sacct\n")],
)
def test_a_status_command_that_can_know_is_fine(commands, make_profile, check, age, text):
    commands("accounts", {"7200 sec": f"{age} sec"})
    faults, said = check(make_profile(text))
    assert faults == []
    assert not any("warning" in line for line in said)


@pytest.mark.parametrize(("text", "place"), [("slurm-status-command: sacct\n", ":2"), ("", "")])
def test_sacct_without_accounting_is_a_fault(commands, make_profile, check, text, place):
    commands()
    faults, _ = check(make_profile(f"executor: slurm\n{text}"))
    assert faults == [
        "Snakemake asks sacct for its jobs' states, and cluster local keeps no accounting, so it would wait for ever: "
        f"set slurm-status-command: squeue (slurm/config.yaml{place})"
    ]


def test_without_sacct_the_plugin_asks_squeue(commands, make_profile, check):
    commands(sacct=None)
    assert check(make_profile("executor: slurm\n"))[0] == []


@pytest.mark.parametrize(
    ("first", "age", "remedy"),
    [
        (None, 119, f"set {FIRST} to at most 39 (slurm/config.yaml)"),
        (20, 59, f"set {FIRST} to at most 19 (slurm/config.yaml:3)"),
        (None, 2, "ask the cluster's administrator for a MinJobAge of at least 120"),
    ],
)
def test_a_controller_that_forgets_jobs_early_is_a_fault_where_there_is_no_accounting(
    commands, make_profile, check, first, age, remedy
):
    commands(changes={"7200 sec": f"{age} sec"})
    faults, _ = check(make_profile(SQUEUE + (f"{FIRST}: {first}\n" if first else "")))
    assert faults == [
        f"squeue forgets a finished job after {age} s (MinJobAge), less than three times the first look at "
        f"{first or 40} s, and there is no accounting for sacct, so Snakemake could wait for ever: {remedy}"
    ]


def test_it_is_a_warning_where_sacct_can_be_asked(commands, make_profile, check):
    commands("accounts", {"7200 sec": "60 sec"})
    faults, said = check(make_profile(SQUEUE))
    assert faults == []
    assert said[-1] == (
        "warning: squeue forgets a finished job after 60 s (MinJobAge), less than three times the first look at 40 s: "
        f"Snakemake will ask sacct; set {FIRST} to at most 20 (slurm/config.yaml), or say slurm-status-command: sacct "
        "(slurm/config.yaml:2)"
    )
