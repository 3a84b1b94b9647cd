"""What of a setting is summed up in a few numbers."""

from typing import TYPE_CHECKING

from tasktrace.config.components import Spec

if TYPE_CHECKING:
    from tasktrace.config.study import Study


def summary_options(study: "Study", setting: str) -> Spec:
    """What a setting's summary has.

    Returns:
        ``groups``, which are the setting's own and not its auxiliary sets, since those are compared among themselves
        only; and ``experiments``, whether it has study B's.

    Raises:
        ConfigError: The study has no such setting.
    """
    block = study.find_setting(setting)
    return {"groups": list(block.get("groups", {})), "experiments": "experiments" in block}


def summary_tables(study: "Study", setting: str) -> list[str]:
    """The tables that a setting's summary is made of; every setting has groups or experiments, or both.

    Raises:
        ConfigError: The study has no such setting.
    """
    options = summary_options(study, setting)
    able = {"transfer.csv": bool(options["groups"]), "results.csv": options["experiments"]}
    return [table for table, is_there in able.items() if is_there]
