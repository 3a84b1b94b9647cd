"""What checkpoints take on a file system that shares blocks between copies."""

import os
import shutil
import subprocess

import pytest


@pytest.fixture
def sharing(tmp_path):
    """A folder on a btrfs of our own."""
    if os.geteuid() != 0 or shutil.which("mkfs.btrfs") is None:
        pytest.skip("making a btrfs takes root and mkfs.btrfs")
    image, folder = tmp_path / "image", tmp_path / "mounted"
    folder.mkdir()
    with image.open("wb") as stream:
        stream.truncate(300 << 20)
    subprocess.run(["mkfs.btrfs", "-q", image], check=True, capture_output=True)
    mounted = subprocess.run(["mount", "-o", "loop", image, folder], check=False, capture_output=True, text=True)
    if mounted.returncode:
        pytest.skip(f"no loop device can be mounted here: {mounted.stderr.strip()}")
    yield folder
    subprocess.run(["umount", folder], check=True)


def used(folder):
    os.sync()
    return shutil.disk_usage(folder).used


def test_archived_checkpoints_take_their_space_once_and_stay_apart(reproduced, sharing):
    """DVC's default link type here: a clone of the blocks, so that writing to the file leaves the cache alone."""
    station = reproduced.copy(sharing / "station")
    bulk = os.urandom(60 << 20)
    (station.folder / "checkpoints/final-epochs").mkdir()
    (station.folder / "checkpoints/final-epochs/bulk.safetensors").write_bytes(bulk)
    before = used(sharing)
    station.tasktrace("archive")
    assert used(sharing) - before < 20 << 20
    with (station.folder / "checkpoints/final-epochs/bulk.safetensors").open("r+b") as stream:
        stream.write(b"written in place")
    assert any(path.read_bytes() == bulk for path in station.folder.glob(".dvc/cache/files/md5/??/*"))
