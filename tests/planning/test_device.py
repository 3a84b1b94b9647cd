"""Which device a plan is for."""

import subprocess
import sys

import pytest

from tasktrace.errors import ConfigError
from tasktrace.planning import device
from tasktrace.planning.device import planned_device


@pytest.fixture
def without_gpu(monkeypatch):
    """A machine without a GPU, as a login node is."""
    monkeypatch.setattr(device, "_gpu_here", lambda: None)


@pytest.mark.parametrize(
    ("asked", "known", "name"),
    [
        ("cpu", ["NVIDIA H200"], "cpu"),
        ("auto", [], "cpu"),
        ("auto", ["cpu", "NVIDIA H200"], "NVIDIA H200"),
        ("cuda", ["cpu", "NVIDIA H200"], "NVIDIA H200"),
        ("cuda", ["cpu"], ""),
        ("NVIDIA L4", ["NVIDIA H200"], "NVIDIA L4"),
    ],
)
def test_a_gpu_that_is_not_here_is_the_one_that_is_known(without_gpu, asked, known, name):
    found = planned_device(asked, 1, known)
    assert found.name == name
    assert found.is_gpu == (name != "cpu")


def test_of_several_gpus_one_has_to_be_named(without_gpu):
    with pytest.raises(ConfigError, match="NVIDIA H200, NVIDIA L4 are known; name one of them, or cpu"):
        planned_device("auto", 1, ["NVIDIA L4", "cpu", "NVIDIA H200"])


def test_the_gpu_here_has_the_name_that_torch_gives_it():
    names = "import torch; print(torch.cuda.get_device_name(0) if torch.cuda.is_available() else None)"
    done = subprocess.run([sys.executable, "-c", names], capture_output=True, text=True, check=True)
    assert str(device._gpu_here()) == done.stdout.strip()
