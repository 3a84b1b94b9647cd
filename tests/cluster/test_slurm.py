import pytest

from tasktrace.cluster import slurm
from tasktrace.cluster.slurm import ClusterError, ask, parse_config, parse_gpus, parse_minutes, parse_partitions


@pytest.fixture
def mixed(captured):
    return parse_partitions(captured("mixed", "partitions"), captured("mixed", "nodes").replace("|", "\x1f"))


@pytest.mark.parametrize(
    ("gres", "gpus"),
    [
        ("(null)", {}),
        ("", {}),
        ("gpu", {"": 1}),
        ("gpu:2", {"": 2}),
        ("gpu:a100:4(S:0-1)", {"a100": 4}),
        ("gpu:a100:4,gpu:v100:2", {"a100": 4, "v100": 2}),
        ("gpu:tesla:1,gpu:v100:1(S:0)", {"tesla": 1, "v100": 1}),
        ("gpu:a100:2(S:0,2),gpu:a100:2(S:1,3)", {"a100": 4}),
        ("gpu:a100_3g.20gb:2(S:0),shard:8", {"a100_3g.20gb": 2}),
        ("fpga:1,gpu:h100", {"h100": 1}),
        ("mps:400", {}),
    ],
)
def test_gpus_are_counted_by_type(gres, gpus):
    assert parse_gpus(gres) == gpus


@pytest.mark.parametrize(
    ("text", "minutes"),
    [
        ("UNLIMITED", None),
        ("NONE", None),
        ("", None),
        ("00:30:00", 30),
        ("12:00:30", 720),
        ("1-00:00:00", 1440),
        ("14-02:05:00", 14 * 1440 + 125),
    ],
)
def test_times_come_in_minutes(text, minutes):
    assert parse_minutes(text) == minutes


def test_partitions_come_with_their_nodes(mixed):
    assert list(mixed) == ["cpu", "gpu", "scavenge", "off", "hole"]
    assert [node.name for node in mixed["cpu"].nodes] == ["h1", "h2"]
    first, second = mixed["gpu"].nodes
    assert (first.cpus, first.memory_mb, first.gpus, first.state) == (2, 4000, {"tesla": 1, "v100": 1}, "idle")
    assert (second.cpus, second.memory_mb, second.gpus) == (1, 3000, {})
    assert mixed["hole"].nodes == ()


def test_a_partition_has_its_limits(mixed):
    assert mixed["scavenge"].max_minutes == 30
    assert mixed["cpu"].max_minutes is None
    assert mixed["cpu"].max_mb is None
    assert (mixed["scavenge"].tier, mixed["cpu"].tier) == (1, 10)


def test_a_limit_below_what_nodes_have_is_read():
    line = "PartitionName=cpu MaxMemPerNode=2000 MaxCPUsPerNode=8 State=UP"
    partition = parse_partitions(line, "")["cpu"]
    assert (partition.max_mb, partition.max_cpus) == (2000, 8)


def test_nodes_whose_numbers_are_rounded_up_from_are_read():
    nodes = "cpu\x1fn1\x1f32+\x1f64000+\x1f(null)\x1fmixed\n"
    [node] = parse_partitions("PartitionName=cpu State=UP", nodes)["cpu"].nodes
    assert (node.cpus, node.memory_mb) == (32, 64000)


@pytest.mark.parametrize(
    ("state", "usable"),
    [
        *((state, True) for state in ("idle", "mixed-", "allocated+", "idle~", "planned")),
        *((state, False) for state in ("idle*", "down*", "down", "drained", "draining", "down$")),
    ],
)
def test_a_node_takes_jobs_by_its_state(state, usable):
    nodes = f"cpu\x1fn1\x1f1\x1f1000\x1f(null)\x1f{state}"
    assert parse_partitions("PartitionName=cpu State=UP", nodes)["cpu"].nodes[0].is_usable == usable


@pytest.mark.parametrize(
    ("facts", "names", "allowed"),
    [
        ("AllowAccounts=ALL", {"a"}, True),
        ("", {"a"}, True),
        ("AllowAccounts=a,b", {"b", "c"}, True),
        ("AllowAccounts=a,b", {"c"}, False),
        ("DenyAccounts=a,b", {"b"}, False),
        ("DenyAccounts=a,b", {"c"}, True),
    ],
)
def test_a_partition_is_open_to_whom_it_names(facts, names, allowed):
    partition = parse_partitions(f"PartitionName=cpu {facts} State=UP", "")["cpu"]
    assert partition.allows("Accounts", names) == allowed


@pytest.mark.parametrize(
    ("line", "seconds"),
    [
        ("MinJobAge               = 300 sec", 300),
        ("MinJobAge = 2", 2),
        ("MinJobAge = 1h", 3600),
        ("MinJobAge = ?", None),
        ("", None),
    ],
)
def test_what_squeue_remembers_is_read(line, seconds):
    assert slurm.Cluster(parse_config(line), {}).min_job_age == seconds


@pytest.mark.parametrize(
    ("kind", "keeps"),
    [("accounting_storage/slurmdbd", True), ("accounting_storage/none", False), ("(null)", False), ("", False)],
)
def test_accounting_is_on_or_off(kind, keeps):
    assert slurm.Cluster({"AccountingStorageType": kind}, {}).keeps_accounts == keeps


def test_hidden_partitions_are_asked_for_too(commands):
    asking = 'echo "$0 $@" >> asked'
    printed = commands(scontrol=asking, sinfo=asking)
    slurm.read_cluster()
    asked = [line.split() for line in (printed / "asked").read_text().splitlines()]
    assert ["--all" in line for line in asked if "config" not in line] == [True, True]


def test_the_controllers_own_words_are_kept(commands):
    commands(scontrol="echo 'slurm_load_ctl_conf error: Unable to contact slurm controller' >&2; exit 1")
    with pytest.raises(ClusterError) as caught:
        ask("scontrol", "show", "config")
    expected = "`scontrol show config` failed: slurm_load_ctl_conf error: Unable to contact slurm controller"
    assert str(caught.value) == expected


def test_a_command_that_does_not_answer_is_given_up(commands, monkeypatch):
    commands(sinfo="exec sleep 60")
    monkeypatch.setattr(slurm, "_SECONDS", 0.2)
    with pytest.raises(ClusterError, match=r"`sinfo` did not answer within 0\.2 s"):
        ask("sinfo", "--noheader")


def test_an_absent_command_is_named_with_what_to_do(commands):
    commands(sacctmgr=None)
    with pytest.raises(ClusterError, match=r"sacctmgr: no such command; .*login node.*module load slurm"):
        ask("sacctmgr", "show", "qos")


def test_a_users_own_formats_and_filters_are_left_out(commands, monkeypatch):
    commands(squeue='echo "$SQUEUE_STATES$SINFO_FORMAT$SLURM_CONF"')
    monkeypatch.setenv("SQUEUE_STATES", "PENDING")
    monkeypatch.setenv("SINFO_FORMAT", "%P")
    monkeypatch.setenv("SLURM_CONF", "/etc/own.conf")
    assert ask("squeue") == "/etc/own.conf\n"
