"""A real SLURM of two nodes on this machine: daemons of one's own, on loopback, in a folder of their own."""

import dataclasses
import importlib.util
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml

REPOSITORY = Path(__file__).resolve().parents[2]

# The plugin's job steps drop every SLURM_* variable, and with SLURM_CONF the way to any other place.
CONFIGURATION = Path("/etc/slurm/slurm.conf")

DAEMONS = ("munged", "slurmctld", "slurmd")

NODES = ("node1", "node2")

SLURM_CONF = """
ClusterName=tests
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
# A requeued job may start again when its old credential has expired.
AuthInfo=socket={folder}/run/munge.socket,cred_expire=15
CredType=cred/munge
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool/%n
SlurmctldPidFile={folder}/run/slurmctld.pid
SlurmdPidFile={folder}/run/slurmd-%n.pid
SlurmctldLogFile={folder}/log/slurmctld.log
SlurmdLogFile={folder}/log/slurmd-%n.log
ProctrackType=proctrack/pgid
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
SlurmdParameters=config_overrides
ReturnToService=2
SchedulerParameters=bf_interval=5
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
PriorityType=priority/basic
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
JobRequeue=1
KillWait=5
MinJobAge=7200
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
GresTypes=gpu
NodeName=node1 NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[1]} CPUs=4 RealMemory=6000 Gres=gpu:tesla:1
NodeName=node2 NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[2]} CPUs=4 RealMemory=6000 Gres=gpu:tesla:1
PartitionName=DEFAULT Nodes=node1,node2 State=UP DefaultTime=60 MaxTime=1-00:00:00 PriorityTier=10
PartitionName=cpu Default=YES
PartitionName=gpu
PartitionName=scavenge PriorityTier=1 PreemptMode=REQUEUE
"""

GRES_CONF = "AutoDetect=off\nNodeName=node[1-2] Name=gpu Type=tesla File={folder}/gpu0\n"


@dataclasses.dataclass(frozen=True)
class Slurm:
    """A running cluster.

    Attributes:
        folder: Its configuration, state and logs.
        environment: Of processes that submit to it: with Snakemake's plugin, wherever that is installed.
    """

    folder: Path
    environment: dict[str, str]

    def ask(self, *command: str) -> str:
        """What a command of SLURM prints."""
        return subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout.strip()

    def jobs(self) -> list[dict[str, str]]:
        """The jobs that are queued, running or ending: id, state, node and comment."""
        listed = self.ask("squeue", "-h", "-t", "PENDING,RUNNING,COMPLETING", "-o", "%A|%T|%N|%k").splitlines()
        return [dict(zip(("id", "state", "node", "comment"), line.split("|"), strict=True)) for line in listed]

    def cancel_all(self) -> None:
        """End every job and wait until it has gone."""
        self.ask("scancel", "--user", "root")
        wait_until(lambda: not self.jobs(), "cancelled jobs to end", 60)


def wait_until(true: Callable[[], object], what: str, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, f"waited {seconds:g} s for {what}"
        time.sleep(0.1)


def _what_is_missing() -> str | None:
    """Why no cluster can be started here."""
    absent = [name for name in DAEMONS if shutil.which(name, path=_path()) is None]
    if absent:
        return f"{', '.join(absent)} not installed: apt-get install slurmctld slurmd slurm-client munge"
    if os.geteuid() != 0:
        return "SLURM's daemons need root to start jobs"
    if CONFIGURATION.exists():
        return f"{CONFIGURATION} exists: this machine belongs to a cluster, or these tests run already"
    if _plugin() is None:
        return "snakemake-executor-plugin-slurm not installed: make test puts it beside the environment"
    return None


def _path() -> str:
    return f"{Path(sys.executable).parent}:{os.environ['PATH']}:/usr/sbin:/sbin"


def _plugin() -> Path | None:
    """Where the plugin is: in the environment, or beside it, so that the other tests' Snakemake does without it."""
    beside = Path(sys.prefix) / "slurm"
    if importlib.util.find_spec("snakemake_executor_plugin_slurm") is not None:
        return Path()
    return beside if (beside / "snakemake_executor_plugin_slurm").is_dir() else None


@pytest.fixture(scope="session")
def slurm(tmp_path_factory) -> Iterator[Slurm]:
    """The cluster, for all tests that need one; they are skipped, saying why, where none can be started."""
    missing = _what_is_missing()
    if missing is not None:
        pytest.skip(f"no SLURM: {missing}")
    folder = tmp_path_factory.mktemp("slurm")
    for name in ("etc", "log", "run", "state", *(f"spool/{node}" for node in NODES)):
        (folder / name).mkdir(parents=True)
    _write_configuration(folder)
    environment = {**os.environ, "PATH": _path()}
    if _plugin() != Path():
        environment["PYTHONPATH"] = os.pathsep.join(filter(None, [str(_plugin()), os.environ.get("PYTHONPATH")]))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", environment["PATH"])
        patch.delenv("SLURM_CONF", raising=False)
        CONFIGURATION.parent.mkdir(exist_ok=True)
        CONFIGURATION.unlink(missing_ok=True)  # what a killed test session left points nowhere
        CONFIGURATION.symlink_to(folder / "etc/slurm.conf")
        cluster = Slurm(folder, environment)
        try:
            _start(cluster)
            yield cluster
        finally:
            _stop(cluster)
            CONFIGURATION.unlink()


def _write_configuration(folder: Path) -> None:
    ports = []
    listening = [socket.create_server(("127.0.0.1", 0)) for _ in range(3)]
    for server in listening:
        ports.append(server.getsockname()[1])
        server.close()
    host = socket.gethostname().partition(".")[0]
    (folder / "etc/slurm.conf").write_text(SLURM_CONF.format(folder=folder, host=host, ports=ports))
    # slurmd asks for a device behind every GPU that it hands out; this one is /dev/null by another name.
    os.mknod(folder / "gpu0", 0o666 | 0o020000, os.makedev(1, 3))
    (folder / "etc/gres.conf").write_text(GRES_CONF.format(folder=folder))
    (folder / "etc/cgroup.conf").write_text("CgroupPlugin=cgroup/v1\nCgroupMountpoint=/sys/fs/cgroup\n")
    key = folder / "run/munge.key"
    key.touch(0o600)
    key.write_bytes(os.urandom(1024))


def _start(cluster: Slurm) -> None:
    run, log = cluster.folder / "run", cluster.folder / "log"
    run.chmod(0o755)
    cluster.ask(
        *("munged", f"--key-file={run}/munge.key", f"--seed-file={run}/munge.seed", f"--socket={run}/munge.socket"),
        *(f"--pid-file={run}/munged.pid", f"--log-file={log}/munged.log", "--num-threads=2", "--force"),
    )
    # The daemons look for gres.conf beside the file that they are given.
    configuration = str(cluster.folder / "etc/slurm.conf")
    cluster.ask("slurmctld", "-f", configuration)
    wait_until(lambda: not subprocess.run(["scontrol", "ping"], capture_output=True).returncode, "slurmctld", 30)
    for node in NODES:
        cluster.ask("slurmd", "-f", configuration, "-N", node)
    wait_until(lambda: set(cluster.ask("sinfo", "-h", "-N", "-o", "%T").split()) == {"idle"}, "idle nodes", 30)


def _stop(cluster: Slurm) -> None:
    """End the daemons by their process ids, the jobs first."""
    if (cluster.folder / "run/slurmctld.pid").exists():
        cluster.cancel_all()
    for name in (*(f"slurmd-{node}" for node in NODES), "slurmctld", "munged"):
        pid = cluster.folder / f"run/{name}.pid"
        if pid.exists():
            number = int(pid.read_text())
            os.kill(number, signal.SIGTERM)
            wait_until(lambda number=number: not _is_running(number), f"{name} to end", 30)


def _is_running(pid: int) -> bool:
    """Whether a process is there and not merely waiting to be reaped."""
    try:
        return "State:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except FileNotFoundError:
        return False


@pytest.fixture
def make_project(tmp_path, slurm) -> Iterator[Callable[..., Path]]:
    """A function that makes a project with a small study of the digits; its jobs end with the test."""

    def make(name: str = "project", **digits: object) -> Path:
        folder = tmp_path / name
        for part in ("workflow", "config"):
            shutil.copytree(REPOSITORY / part, folder / part)
        shutil.copy(REPOSITORY / "Snakefile", folder)
        (folder / "slurm").symlink_to("workflow/profiles/slurm")
        _update(folder / "config/config.yaml", settings=["digits"], seeds=[0, 1], methods={"umtg": {"method": "umtg"}})
        _update(folder / "config/settings/digits.yaml", **SMALL, **digits)
        return folder

    yield make
    slurm.cancel_all()


SMALL = {
    "methods": ["umtg"],
    "groups": {"with_digits2": {"tasks": ["digits1", "digits2"], "label": "+Digits2"}},
    "figures": {"a1": {"task": "digits1", "groups": ["with_digits2"]}},
    "experiments": None,
}


def _update(path: Path, **values: object) -> None:
    content = {**yaml.safe_load(path.read_text()), **values}
    given = {name: value for name, value in content.items() if value is not None}
    path.write_text(yaml.safe_dump(given, sort_keys=False))


@pytest.fixture(scope="session")
def snakemake(slurm) -> Callable[..., subprocess.Popen]:
    """A function that starts Snakemake in a folder; its output goes to the folder's file ``output``."""

    def start(folder: Path, *arguments: str, **environment: str) -> subprocess.Popen:
        # Away from the shell's own session, so that nothing but this process gets a signal meant for it.
        with (folder / "output").open("w") as output:
            return subprocess.Popen(
                ["snakemake", *arguments],
                cwd=folder,
                env={**slurm.environment, **environment},
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    return start
