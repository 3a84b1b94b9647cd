"""Raw data from its original sources, held against what ``data.dvc`` names."""

from collections.abc import Callable
from pathlib import Path

from tasktrace.config import Study
from tasktrace.errors import DataError
from tasktrace.places import raw_path
from tasktrace.settings import setting_module
from tasktrace.settings.raw import download, missing, raw_folder, raw_state
from tasktrace.versioning.pointers import DATA, Content, content_of, is_named, name_content, naming, read_pointer


def fetch(study: Study, setting: str, say: Callable[[str], None]) -> None:
    """Fetch what is missing of a setting's raw data, where its terms allow it, and see that it is what was published.

    A folder that ``data.dvc`` does not name yet is named there.

    Args:
        study: The study.
        setting: The setting's name.
        say: Told in a line what there is.

    Raises:
        DataError: The data cannot be fetched or has to be put there by its user; or a file is not what was published,
            or the folder not what ``data.dvc`` names.
        ConfigError: There is no such setting.
        BusyError: Another process is naming data.
    """
    raw = raw_folder(study, setting)
    path = raw.relative_to(study.root).as_posix()
    _download(setting, study.find_setting(setting)["setting"], raw)
    state, faults = raw_state(study, setting)
    if faults:
        other = f"\n{DATA} names {path}: `dvc pull {path}` brings it, if it was pushed"
        raise DataError("\n".join(faults) + (other if path in read_pointer(study.root / DATA) else ""))
    if not raw.exists():
        say(f"{setting}: {state}")
        return
    say(f"{setting}: {path}: {state}; {_held(study.root, path, content_of(raw))}")


def check_raw(root: Path, module: str) -> None:
    """Refuse raw data other than what ``data.dvc`` names, if it names any for a setting's module.

    What is missing of it is fetched first, where its terms allow it.

    Args:
        root: The project's folder.
        module: The module's name.

    Raises:
        DataError: The data cannot be fetched, or is not what is named.
    """
    path = raw_path(module).as_posix()
    if read_pointer(root / DATA).get(path) is not None:
        _download(module, module, root / path)
        if not (root / path).exists():
            placed = getattr(setting_module(module), "PLACED_BY_USER", "")
            otherwise = f"; otherwise put there {placed}" if placed else ""
            raise DataError(
                f"{path}: not here, and {DATA} names it: `dvc pull {path}` brings it, if it was pushed{otherwise}"
            )
        is_named(root / DATA, path, content_of(root / path))


def _download(what: str, name: str, raw: Path) -> None:
    module = setting_module(name)
    if not getattr(module, "PLACED_BY_USER", "") and missing(module.sources(raw)):
        download(what, raw, module.sources(raw))


def _held(root: Path, path: str, found: Content) -> str:
    with naming(root):
        if is_named(root / DATA, path, found):
            return f"as {DATA} names it"
        name_content(root / DATA, path, found)
        return f"{DATA} names it now: commit that file"
