"""Whether a lock in a folder holds on other machines too."""

import re
from pathlib import Path
from typing import NamedTuple

_MOUNTS = Path("/proc/self/mountinfo")


class Mount(NamedTuple):
    """A line of ``/proc/self/mountinfo``."""

    point: Path
    kind: str
    options: frozenset[str]


def lock_reach(path: Path, mountinfo: str | None = None) -> str | None:
    """What to warn of if ``flock`` below ``path`` does not reach other machines.

    Two machines could then work in the same run's folder. BeeGFS is such a file system too, unless its
    ``tuneUseGlobalFileLocks`` is on, but its mount options do not say it.

    Args:
        path: A folder or file, which need not exist yet.
        mountinfo: The content of ``/proc/self/mountinfo``, read if it is not given.

    Returns:
        A sentence, or None: locks reach as far as the folder does, or nothing is known (not on Linux).
    """
    if mountinfo is None:
        if not _MOUNTS.exists():
            return None
        mountinfo = _MOUNTS.read_text(encoding="utf-8", errors="surrogateescape")
    mount = _mount_of(path.resolve(), parse_mounts(mountinfo))
    if mount is None:
        return None
    fault = _fault(mount)
    return fault and (
        f"{path}: {mount.kind} at {mount.point}: {fault}; ask for it to be mounted otherwise, or keep the project on "
        "another file system: two machines could work on the same run"
    )


def _fault(mount: Mount) -> str | None:
    """What is wrong with a file system's locks, with the mount option that would put it right."""
    options = mount.options
    match mount.kind:
        case "lustre" if "localflock" in options:
            return "locks do not reach other machines (localflock; wanted: flock)"
        case "lustre" if "flock" not in options:  # what Lustre before 2.13 does unless told, without saying so
            return "there are no locks (noflock; wanted: flock)"
        case "nfs" | "nfs4" if found := sorted(options & {"nolock", "local_lock=flock", "local_lock=all"}):
            return f"locks do not reach other machines ({', '.join(found)}; wanted: lock, local_lock=none)"
        case "cifs" | "smb3" if "nobrl" in options:
            return "locks do not reach other machines (nobrl; wanted: mounted without it)"
        case _:
            return None


def parse_mounts(mountinfo: str) -> list[Mount]:
    """The mounts of ``/proc/self/mountinfo``, in their order; options are those of mount and file system."""
    mounts = []
    for line in mountinfo.splitlines():
        place, separator, source = line.partition(" - ")
        own, about = place.split(" "), source.split(" ")
        if separator and len(own) > 5 and len(about) > 2:
            options = frozenset([*own[5].split(","), *about[2].split(",")])
            mounts.append(Mount(Path(_unescaped(own[4])), about[0], options))
    return mounts


def _unescaped(text: str) -> str:
    r"""A path in which blanks and the like stand as ``\040``."""
    return re.sub(r"\\([0-7]{3})", lambda found: chr(int(found[1], 8)), text)


def _mount_of(path: Path, mounts: list[Mount]) -> Mount | None:
    """The mount that a path is on: the deepest, and of several at one place the last."""
    above = [mount for mount in mounts if path.is_relative_to(mount.point)]
    return max(reversed(above), key=lambda mount: len(mount.point.parts), default=None)
