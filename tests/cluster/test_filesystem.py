from pathlib import Path

import pytest

from tasktrace.cluster.filesystem import lock_reach

ROOT = "27 1 254:0 / / rw,relatime - ext4 /dev/vda rw,discard"
LUSTRE = "90 27 0:50 / /lustre rw,nosuid shared:5 master:1 - lustre 10.0.0.1@o2ib:/fs rw,{},lazystatfs"
NFS = "91 27 0:51 / /home rw,relatime shared:6 - nfs4 server:/home rw,vers=4.2,proto=tcp,local_lock=none,addr=10.0.0.2"
OLD_NFS = "92 27 0:52 / /home rw,relatime - nfs server:/home rw,vers=3,{},addr=10.0.0.2"
CIFS = "93 27 0:53 / /share rw,relatime - cifs //server/share rw,vers=3.1.1,{},rsize=4194304"


def reach(path, *mounts):
    return lock_reach(Path(path), "\n".join([ROOT, *mounts]))


@pytest.mark.parametrize("mount", [LUSTRE.format("flock"), NFS, OLD_NFS.format("local_lock=none"), CIFS.format("brl")])
def test_file_systems_whose_locks_reach_other_machines_are_fine(mount):
    place = mount.split()[4]
    assert reach(f"{place}/project", mount) is None


@pytest.mark.parametrize(
    ("mount", "option"),
    [
        (LUSTRE.format("localflock"), "localflock"),
        (LUSTRE.format("noflock"), "noflock"),
        (LUSTRE.format("checksum"), "noflock"),
        (OLD_NFS.format("nolock,local_lock=all"), "local_lock=all, nolock"),
        (OLD_NFS.format("local_lock=flock"), "local_lock=flock"),
        (CIFS.format("nobrl"), "nobrl"),
    ],
)
def test_a_file_system_whose_locks_stay_on_one_machine_is_named_with_the_option(mount, option):
    kind, place = mount.split(" - ")[1].split()[0], mount.split()[4]
    warning = reach(f"{place}/project", mount)
    assert warning.startswith(f"{place}/project: {kind} at {place}: ")
    assert f"({option}; wanted: " in warning


def test_locks_for_byte_ranges_only_are_fine_on_nfs():
    assert reach("/home/project", OLD_NFS.format("local_lock=posix")) is None


def test_the_deepest_mount_counts():
    local = "94 90 254:1 / /lustre/scratch rw - xfs /dev/vdb rw"
    mounts = (LUSTRE.format("localflock"), local)
    assert reach("/lustre/scratch/project", *mounts) is None
    assert reach("/lustre/scratchy", *mounts) is not None


def test_of_mounts_at_one_place_the_last_counts():
    over = "95 90 254:1 / /lustre rw - xfs /dev/vdb rw"
    assert reach("/lustre/project", LUSTRE.format("localflock"), over) is None


def test_a_mount_with_blanks_in_its_path_is_found():
    mount = LUSTRE.format("localflock").replace(" /lustre ", r" /our\040lustre ")
    assert "at /our lustre: " in reach("/our lustre/project", mount)


def test_a_link_is_followed(tmp_path):
    (tmp_path / "project").symlink_to("/lustre/project")
    assert reach(tmp_path / "project", LUSTRE.format("localflock")) is not None


def test_this_machines_mounts_are_read(tmp_path):
    assert lock_reach(tmp_path) is None or "wanted" in lock_reach(tmp_path)


def test_nothing_is_said_without_knowledge(tmp_path, monkeypatch):
    monkeypatch.setattr("tasktrace.cluster.filesystem._MOUNTS", tmp_path / "absent")
    assert lock_reach(tmp_path) is None
    assert lock_reach(tmp_path, "") is None
