import os

import pytest

from tasktrace.cluster import slurm
from tasktrace.cluster.accounts import user_name

USER = user_name()


def test_jobs_that_fit_have_no_fault_and_what_was_found_is_said(commands, make_profile, check):
    commands()
    faults, said = check(make_profile(GPU_PARTITION="gpu"))
    assert faults == []
    nodes = "2 nodes, on one at most 2 CPUs, 4000 MB, 1 tesla GPU and 1 v100 GPU; no time limit"
    assert said == [
        "cluster local: SLURM 22.05.8, partitions cpu (default), gpu, scavenge, off, hole",
        f"partition gpu: {nodes}; for digits (train)",
        f"partition cpu: {nodes}; for digits (prepare)",
    ]


def test_a_profile_without_a_cluster_asks_none(commands, make_profile, check):
    commands(scontrol=None, sinfo=None)
    faults, said = check(make_profile("cores: 2\n"))
    assert faults == []
    assert said == ["jobs are run by executor local (slurm/config.yaml): there is no cluster to ask"]


def test_absent_commands_are_named(commands, make_profile, check):
    commands(sinfo=None, sbatch=None)
    faults, said = check(make_profile())
    assert faults == [
        "no sinfo, sbatch on PATH: log in to the cluster's login node, or load its module, `module load slurm`"
    ]
    assert said == []


def test_a_controller_that_is_away_is_told_in_its_commands_words(commands, make_profile, check):
    commands(scontrol="echo 'Unable to contact slurm controller (connect failure)' >&2; exit 1")
    faults, _ = check(make_profile())
    assert faults == ["`scontrol show config` failed: Unable to contact slurm controller (connect failure)"]


def test_a_controller_that_does_not_answer_is_not_waited_for(commands, make_profile, check, monkeypatch):
    commands(sinfo="exec sleep 60")
    monkeypatch.setattr(slurm, "_SECONDS", 0.3)
    faults, _ = check(make_profile())
    assert faults == ["`sinfo` did not answer within 0.3 s; is the cluster's controller up?"]


def test_the_absent_plugin_is_told_with_how_to_get_it(commands, make_profile, check, no_plugin):
    commands()
    faults, _ = check(make_profile())
    assert faults == ["Snakemake has no plugin for SLURM here: pip install '.[slurm]'"]


@pytest.mark.parametrize(
    ("choice", "who"), [("GPU_PARTITION", "digits (train)"), ("CPU_PARTITION", "digits (prepare)")]
)
def test_an_unknown_partition_is_named_with_those_there_are(commands, make_profile, check, choice, who):
    commands()
    faults, _ = check(make_profile(**{choice: "gpus"}))
    assert faults == [
        f"{who}: no partition 'gpus'; the cluster has cpu, gpu, scavenge, off, hole; set TASKTRACE_{choice} "
        "(slurm/config.yaml:11)"
    ]


def test_hidden_partitions_can_be_asked_for_but_are_not_offered(commands, make_profile, check):
    printed = commands()
    lines = (printed / "partitions.txt").read_text().splitlines()
    lines[1] = lines[1].replace("Hidden=NO", "Hidden=YES")
    (printed / "partitions.txt").write_text("\n".join(lines))
    assert check(make_profile(GPU_PARTITION="gpu"))[0] == []
    faults, _ = check(make_profile(GPU_PARTITION="x"))
    assert "the cluster has cpu, scavenge, off, hole; set" in faults[0]


def test_a_partition_of_other_groups_is_told(commands, make_profile, check, monkeypatch):
    commands(changes={"PartitionName=gpu AllowGroups=ALL": "PartitionName=gpu AllowGroups=physics,staff"})
    profile = make_profile(GPU_PARTITION="gpu")
    assert check(profile)[0] == [] or os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: 65534)
    faults, _ = check(profile)
    assert faults == [
        "digits (train): partition gpu is for the groups physics, staff only; set TASKTRACE_GPU_PARTITION "
        "(slurm/config.yaml:11) to another"
    ]


@pytest.mark.parametrize("state", ["DOWN", "DRAIN", "INACTIVE"])
def test_a_partition_that_starts_no_jobs_is_told(commands, make_profile, check, state):
    commands(changes={"State=DOWN": f"State={state}"})
    faults, _ = check(make_profile(GPU_PARTITION="off"))
    assert faults == [
        f"digits (train): partition off is {state}: jobs do not start in it; set TASKTRACE_GPU_PARTITION "
        "(slurm/config.yaml:11) to another"
    ]


def test_a_partition_without_nodes_is_told(commands, make_profile, check):
    commands()
    faults, said = check(make_profile(CPU_PARTITION="hole"))
    assert faults == [
        "digits (prepare): partition hole has no nodes; set TASKTRACE_CPU_PARTITION (slurm/config.yaml:11) to another"
    ]
    assert "partition hole: no nodes; for digits (prepare)" in said


def test_a_cluster_without_a_default_partition_wants_one(commands, make_profile, check, make_request):
    commands(changes={"Default=YES": "Default=NO"})
    faults, _ = check(make_profile(GPU_PARTITION="gpu"))
    assert faults == [
        "digits (prepare): the cluster has no default partition, and none is asked for; it has cpu, gpu, scavenge, "
        "off, hole; set TASKTRACE_CPU_PARTITION (slurm/config.yaml:11)"
    ]


def test_a_partition_without_gpus_is_told_with_those_that_have_them(commands, make_profile, check, make_request):
    commands(changes={"MaxTime=00:30:00": "MaxTime=UNLIMITED"})
    settings = [make_request("measure", "fashion"), make_request("train", "digits"), make_request("measure", "digits")]
    faults, _ = check(make_profile(GPU_PARTITION="scavenge"), *settings)
    assert faults == [
        "fashion (measure), digits (train, measure): no node of partition scavenge has a GPU; partitions with one: "
        "cpu, gpu, off; set TASKTRACE_GPU_PARTITION (slurm/config.yaml:11), or say `resources: {gpu: 0}` in "
        "config/settings/fashion.yaml, config/settings/digits.yaml to go without"
    ]


def test_a_setting_without_a_gpu_needs_none(commands, make_profile, check, make_request):
    commands()
    assert check(make_profile(GPU_PARTITION="scavenge"), make_request(gpu=0))[0] == []


@pytest.mark.parametrize("kind", ["a100", "Tesla"])
def test_a_type_of_gpu_that_is_not_there_is_told_with_those_that_are(commands, make_profile, check, kind):
    commands()
    faults, _ = check(make_profile(GPU_PARTITION="gpu", GPU_TYPE=kind))
    assert faults == [
        f"digits (train): no node of partition gpu has a GPU of type '{kind}' (capital letters count), only tesla, "
        "v100; partitions with one: none; set TASKTRACE_GPU_TYPE (slurm/config.yaml:13)"
    ]


def test_a_type_of_gpu_that_is_there_is_fine(commands, make_profile, check):
    commands()
    assert check(make_profile(GPU_PARTITION="gpu", GPU_TYPE="v100"))[0] == []


def test_gpus_without_a_type_are_none_of_a_type(commands, make_profile, check):
    commands(changes={"gpu:tesla:1,gpu:v100:1(S:0)": "gpu:2"})
    faults, _ = check(make_profile(GPU_TYPE="v100"))
    assert "of type 'v100' (capital letters count), only GPUs without a type; " in faults[0]


def test_a_type_that_snakemake_does_not_take_is_told(commands, make_profile, check):
    commands(changes={"tesla": "nvidia-l4"})
    faults, _ = check(make_profile(GPU_TYPE="nvidia-l4"))
    assert faults == [
        "digits (train): GPU type 'nvidia-l4': Snakemake takes letters, digits, _ and . only; set TASKTRACE_GPU_TYPE "
        "(slurm/config.yaml:13)"
    ]


def test_a_type_of_gpu_for_jobs_without_one_is_told(commands, make_profile, check):
    commands()
    profile = make_profile("executor: slurm\nslurm-status-command: squeue\ndefault-resources: {gpu_model: v100}\n")
    faults, _ = check(profile)
    assert faults == [
        "digits (prepare): the GPU type 'v100' makes Snakemake ask for a GPU for rule prepare, which uses none: say "
        "gpu_model in slurm/config.yaml:3 for runs only, if hasattr(wildcards, 'arm')"
    ]


def test_more_gpus_than_a_node_has_are_told(commands, make_profile, check, make_request):
    commands()
    faults, _ = check(make_profile(), make_request(gpu=3))
    assert faults == [
        "digits (train): 3 GPUs are more than any node of partition cpu has, 2: say `resources: {gpu: 2}` in "
        "config/settings/digits.yaml"
    ]


def test_more_memory_than_a_node_has_is_told_with_the_setting(commands, make_profile, check, make_request):
    commands()
    requests = [make_request(kind, "cifar100", mem_mb=4001, gpu=0) for kind in ("train", "prepare")]
    faults, _ = check(make_profile(), *requests)
    assert faults == [
        "cifar100 (train, prepare): 4001 MB are more than any node of partition cpu has, 4000 MB: lower "
        "`resources: {mem_mb: ...}` in config/settings/cifar100.yaml"
    ]
    assert check(make_profile(), make_request(mem_mb=4000))[0] == []


def test_memory_and_gpu_have_to_be_on_the_same_node(commands, make_profile, check, make_request):
    commands(changes={"h1|2|4000": "h1|2|2000"})
    faults, _ = check(make_profile(), make_request(mem_mb=2500))
    assert faults == [
        "digits (train): 2500 MB are more than any node with such a GPU of partition cpu has, 2000 MB: lower "
        "`resources: {mem_mb: ...}` in config/settings/digits.yaml"
    ]
    assert check(make_profile(), make_request(mem_mb=2500, gpu=0))[0] == []


def test_a_partitions_own_limit_of_memory_counts(commands, make_profile, check, make_request):
    commands(changes={"MaxMemPerNode=UNLIMITED": "MaxMemPerNode=1000"})
    assert "has, 1000 MB: lower" in check(make_profile(), make_request())[0][0]


def test_too_little_memory_for_snakemake_itself_is_told(commands, make_profile, check, make_request):
    commands()
    faults, _ = check(make_profile(), make_request(mem_mb=599), make_request("analyse", gpu=0, mem_mb=500))
    assert faults == [
        "digits (train): 599 MB are too little: Snakemake's own processes in the job take 600 MB; raise "
        "`resources: {mem_mb: ...}` in config/settings/digits.yaml",
        "digits (analyse): 500 MB are too little: Snakemake's own processes in the job take 600 MB; raise "
        "`set-resources: {analyse: {mem_mb: ...}}` in slurm/config.yaml",
    ]
    assert check(make_profile(), make_request(mem_mb=600))[0] == []


def test_more_time_than_the_partition_gives_is_told(commands, make_profile, check, make_request):
    commands()
    requests = [make_request("train_selected", gpu=0, runtime=31), make_request("prepare", runtime=31)]
    faults, _ = check(make_profile(GPU_PARTITION="scavenge", CPU_PARTITION="scavenge"), *requests)
    assert faults == [
        "digits (train_selected): 31 minutes are more than partition scavenge lets a job take, 30 (MaxTime): lower "
        "`resources: {minutes: {train: ...}}` in config/settings/digits.yaml, or set TASKTRACE_GPU_PARTITION "
        "(slurm/config.yaml:11) to another",
        "digits (prepare): 31 minutes are more than partition scavenge lets a job take, 30 (MaxTime): lower "
        "`set-resources: {prepare: {runtime: ...}}` in slurm/config.yaml, or set TASKTRACE_CPU_PARTITION "
        "(slurm/config.yaml:11) to another",
    ]
    assert check(make_profile(GPU_PARTITION="scavenge"), make_request(gpu=0, runtime=30))[0] == []


def test_more_threads_than_a_node_with_enough_memory_has_are_told(commands, make_profile, check, make_request):
    commands(changes={"h2|1|3000": "h2|8|3000"})
    faults, _ = check(make_profile(), make_request("prepare", threads=3, mem_mb=3500))
    assert faults == [
        "digits (prepare): 3 threads are more than any such node of partition cpu has CPUs, 2: set "
        "`set-threads: {prepare: 2}` in slurm/config.yaml"
    ]
    assert check(make_profile(), make_request("prepare", threads=8))[0] == []


def test_one_of_several_partitions_is_enough(commands, make_profile, check, make_request):
    commands()
    faults, _ = check(make_profile(GPU_PARTITION="scavenge,gpu"), make_request(runtime=60))
    assert faults == []
    faults, _ = check(make_profile(GPU_PARTITION="scavenge,off"), make_request(runtime=60))
    assert [fault.split(": ")[1].split(" set ")[0] for fault in faults] == [
        "no node of partition scavenge has a GPU; partitions with one",
        "60 minutes are more than partition scavenge lets a job take, 30 (MaxTime)",
        "partition off is DOWN",
    ]


def test_what_the_profile_sets_for_a_rule_counts_and_is_named(commands, make_profile, check):
    commands()
    text = "executor: slurm\nslurm-status-command: squeue\nset-resources:\n  train:\n    mem_mb: attempt * 9000\n"
    faults, _ = check(make_profile(f"{text}set-threads: {{prepare: 5}}\n"))
    assert faults == [
        "digits (train): 9000 MB are more than any node with such a GPU of partition cpu has, 4000 MB: lower mem_mb "
        "(slurm/config.yaml:5)",
        "digits (prepare): 5 threads are more than any such node of partition cpu has CPUs, 2: set "
        "`set-threads: {prepare: 2}` in slurm/config.yaml",
    ]


GROUPS = """\
executor: slurm
slurm-status-command: squeue
group-components: {train_digits_alone: 2, train_digits_together: 4}
resources: {gpu: 1}
"""


def test_jobs_of_a_group_that_take_turns_need_their_time_together(commands, make_profile, check, make_request):
    commands(changes={"MaxTime=UNLIMITED": "MaxTime=01:00:00"})
    text = f"{GROUPS}set-resource-scopes: {{gpu: local}}\n"
    faults, _ = check(make_profile(text), make_request(), make_request("measure"))
    assert faults == [
        "digits (train): 80 minutes (of 4 jobs in one: slurm/config.yaml:3) are more than partition cpu lets a job "
        "take, 60 (MaxTime): lower `resources: {minutes: {train: ...}}` in config/settings/digits.yaml, or set "
        "slurm_partition (slurm/config.yaml) to another"
    ]


def test_jobs_of_a_group_without_a_gpu_need_their_memory_together(commands, make_profile, check, make_request):
    commands(changes={"|2|4000|": "|4|4000|"})
    text = f"{GROUPS}set-resource-scopes: {{gpu: local}}\n"
    faults, _ = check(make_profile(text), make_request(gpu=0))
    assert faults == [
        "digits (train): 6000 MB (of 4 jobs in one: slurm/config.yaml:3) are more than any node of partition cpu has, "
        "4000 MB: lower `resources: {mem_mb: ...}` in config/settings/digits.yaml"
    ]


def test_jobs_of_a_group_without_a_gpu_need_their_threads_together(commands, make_profile, check, make_request):
    commands(changes={"|2|4000|": "|3|9000|"})
    faults, _ = check(make_profile(GROUPS), make_request(gpu=0))
    assert [fault.partition(": set")[0] for fault in faults] == [
        "digits (train): 4 threads (of 4 jobs in one: slurm/config.yaml:3) are more than any such node of partition "
        "cpu has CPUs, 3"
    ]


def test_a_group_without_a_limit_of_its_own_asks_for_a_gpu_per_job(commands, make_profile, check, make_request):
    commands(changes={"|2|4000|": "|4|9000|"})
    faults, _ = check(make_profile(GROUPS), make_request())
    assert [fault.partition(": say")[0] for fault in faults] == [
        "digits (train): 4 GPUs (of 4 jobs in one: slurm/config.yaml:3) are more than any node of partition cpu has, 2"
    ]


def test_a_number_that_is_none_is_told_with_its_line(commands, make_profile, check):
    commands()
    faults, _ = check(make_profile(GROUPS.replace("4", "four")))
    assert faults == [
        "slurm/config.yaml:3: group-components: train_digits_together: expected a whole number, found four"
    ]


def test_an_expression_that_is_taken_for_a_text_is_told_once_for_each_rule(commands, make_profile, check, make_request):
    commands()
    text = "executor: slurm\nslurm-status-command: squeue\ndefault-resources:\n  slurm_partition: os.environ.get('A')\n"
    requests = [make_request(kind, setting) for kind in ("train", "prepare") for setting in ("digits", "fashion")]
    faults, _ = check(make_profile(text), *requests)
    assert [fault.partition(": Snakemake")[0] for fault in faults] == [
        f"slurm/config.yaml:4: slurm_partition for rule {kind} is the text os.environ.get('A')"
        for kind in ("train", "prepare")
    ]


def test_what_cannot_be_known_is_not_checked_and_said(commands, make_profile, check):
    commands()
    text = "executor: slurm\nslurm-status-command: squeue\ndefault-resources: {slurm_partition: wildcards.get('arm')}\n"
    faults, said = check(make_profile(text))
    assert faults == []
    assert said[-1] == "warning: slurm_partition of rule train depends on wildcards.arm: not checked"


def test_a_partition_whose_jobs_are_pushed_out_for_good_is_warned_of(commands, make_profile, check, make_request):
    printed = commands()
    profile = make_profile(CPU_PARTITION="scavenge")
    assert [line for line in check(profile)[1] if "warning" in line] == [
        "warning: partition scavenge: a job that another pushes out is cancelled, not queued again "
        "(PreemptMode=CANCEL), and Snakemake waits for it for ever: end Snakemake and start it again, or take another "
        "partition"
    ]
    config = printed / "config.txt"
    config.write_text(config.read_text().replace("preempt/partition_prio", "preempt/none"))
    assert not any("warning" in line for line in check(profile)[1])


def test_the_highest_partition_is_pushed_out_by_none(commands, make_profile, check):
    commands(changes={"PreemptMode=REQUEUE": "PreemptMode=CANCEL"})
    assert not any("warning" in line for line in check(make_profile())[1])


def test_a_partition_all_of_whose_nodes_are_away_is_warned_of(commands, make_profile, check):
    printed = commands(changes={"|idle": "|down*"})
    faults, said = check(make_profile())
    assert faults == []
    assert said[-1] == "warning: partition cpu: none of its nodes takes jobs now (down*); jobs wait until one does"
    nodes = printed / "nodes.txt"
    nodes.write_text(nodes.read_text().replace("down*", "mixed", 1))
    assert not any("warning" in line for line in check(make_profile())[1])


def test_without_accounting_an_account_and_a_qos_have_no_effect(commands, make_profile, check):
    commands()
    faults, said = check(make_profile(ACCOUNT="lab", QOS="long"))
    assert faults == []
    assert [line for line in said if "warning" in line] == [
        "warning: slurm_account 'lab' has no effect, since cluster local keeps no accounting; unset TASKTRACE_ACCOUNT "
        "(slurm/config.yaml:10)",
        "warning: qos 'long' has no effect, since cluster local keeps no accounting; unset TASKTRACE_QOS "
        "(slurm/config.yaml:8)",
    ]


def test_without_accounting_an_account_that_snakemake_refuses_is_told(commands, make_profile, check):
    commands(sshare="echo 'no accounting' >&2; exit 1")
    faults, _ = check(make_profile(ACCOUNT="lab"))
    assert faults == [
        "account 'lab' is asked for, but cluster local keeps no accounting, and Snakemake will refuse to submit "
        "(`sshare` failed: no accounting); unset TASKTRACE_ACCOUNT (slurm/config.yaml:10)"
    ]


@pytest.mark.parametrize(
    "choices",
    [{}, {"ACCOUNT": "other"}, {"ACCOUNT": "MTL", "QOS": "LONG", "GPU_PARTITION": "gpu"}, {"ACCOUNT": "mtl,other"}],
)
def test_what_the_accounting_allows_has_no_fault(commands, make_profile, check, choices):
    commands("accounts")
    faults, said = check(make_profile(**choices))
    assert faults == []
    assert said[-1] == f"user {USER}: accounts other, mtl, default mtl"


def test_an_unknown_account_is_told_with_the_users(commands, make_profile, check):
    commands("accounts")
    faults, _ = check(make_profile(ACCOUNT="lab"))
    assert faults == [
        f"digits (train, prepare): user {USER} has no account 'lab', only mtl, other; set TASKTRACE_ACCOUNT "
        "(slurm/config.yaml:10)"
    ]


def test_a_user_without_a_default_account_has_to_name_one(commands, make_profile, check):
    printed = commands("accounts")
    (printed / "user.txt").write_text("\n")
    faults, _ = check(make_profile())
    assert faults == [
        f"digits (train, prepare): the cluster wants an account, and user {USER} has no default one; set "
        "TASKTRACE_ACCOUNT (slurm/config.yaml:10) to one of mtl, other"
    ]
    assert check(make_profile(ACCOUNT="mtl"))[0] == []


def test_a_user_whom_the_accounting_does_not_know_is_told(commands, make_profile, check):
    printed = commands("accounts")
    for name in ("user.txt", "associations.txt"):
        (printed / name).write_text("")
    faults, _ = check(make_profile())
    assert faults == [
        f"digits (train, prepare): user {USER} has no account in the accounting of cluster local; ask its administrator"
    ]


def test_where_accounts_are_kept_but_not_wanted_none_is_needed(commands, make_profile, check):
    printed = commands("accounts", {"associations,limits,qos": "none"})
    for name in ("user.txt", "associations.txt"):
        (printed / name).write_text("")
    assert check(make_profile(QOS="gpu-short"))[0] == []


def test_an_accounting_that_is_away_is_told(commands, make_profile, check):
    commands("accounts", sacctmgr="echo 'Connection refused' >&2; exit 1")
    faults, _ = check(make_profile(GPU_PARTITION="x"))
    assert faults[0] == "`sacctmgr show associations` failed: Connection refused"
    assert "no partition 'x'" in faults[1]


@pytest.mark.parametrize(
    ("choices", "fault"),
    [
        ({"QOS": "fast"}, "no QOS 'fast'; the cluster has normal, long, gpu-short; set TASKTRACE_QOS"),
        (
            {"QOS": "gpu-short"},
            f"QOS 'gpu-short' is not for account mtl of user {USER}, which may ask for long, normal; set TASKTRACE_QOS",
        ),
        (
            {"QOS": "long", "ACCOUNT": "other"},
            f"QOS 'long' is not for account other of user {USER}, which may ask for normal; set TASKTRACE_QOS",
        ),
    ],
)
def test_a_qos_that_is_not_to_be_had_is_told(commands, make_profile, check, choices, fault):
    commands("accounts")
    assert check(make_profile(**choices))[0] == [f"digits (train, prepare): {fault} (slurm/config.yaml:8)"]


def test_more_time_than_the_qos_gives_is_told(commands, make_profile, check, make_request):
    commands("accounts")
    faults, _ = check(make_profile(QOS="long"), make_request(runtime=2881))
    assert faults == [
        "digits (train): 2881 minutes are more than QOS 'long' lets a job take, 2880 (MaxWall): set TASKTRACE_QOS "
        "(slurm/config.yaml:8) to another, or ask for less time"
    ]


def test_a_partition_that_an_account_or_a_qos_may_not_use_is_told(commands, make_profile, check, make_request):
    scavenge = "PartitionName=scavenge AllowGroups=ALL AllowAccounts=ALL"
    commands("accounts", {f"{scavenge} AllowQos=ALL": f"{scavenge} DenyQos=long"})
    faults, _ = check(make_profile(GPU_PARTITION="gpu", ACCOUNT="other"))
    assert faults == [
        "digits (train): partition gpu is not for account other; set TASKTRACE_GPU_PARTITION (slurm/config.yaml:11) "
        "to another"
    ]
    faults, _ = check(make_profile(GPU_PARTITION="scavenge", ACCOUNT="mtl", QOS="long"))
    assert faults == [
        "digits (train): partition scavenge is not for QOS long; set TASKTRACE_GPU_PARTITION (slurm/config.yaml:11) "
        "to another"
    ]
    assert check(make_profile(GPU_PARTITION="gpu,cpu", ACCOUNT="other", QOS=""))[0] == []
