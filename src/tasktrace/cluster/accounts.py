"""The accounts and qualities of service (QOS) that a cluster's accounting lets a user ask for."""

import os
import pwd
from collections.abc import Mapping
from dataclasses import dataclass

from tasktrace.cluster.slurm import ask, parse_minutes


@dataclass(frozen=True)
class Accounts:
    """What the accounting knows of a user. SLURM keeps these names in small letters, and takes others for the same.

    Attributes:
        user: The user's name.
        default: The account of jobs that name none; None if the user has none.
        qos: By account of the user the QOS that its jobs may ask for.
        max_minutes: By QOS of the cluster the longest time that a job in it may ask for; None if there is no limit.
    """

    user: str
    default: str | None
    qos: Mapping[str, frozenset[str]]
    max_minutes: Mapping[str, int | None]


def user_name() -> str:
    """The user whose jobs they are, as SLURM sees it: not what the environment says."""
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:  # in a container there may be no name
        return str(os.geteuid())


def read_accounts(cluster: str) -> Accounts:
    """What the accounting of a cluster knows of the user.

    Args:
        cluster: The cluster's name; one database may serve several.

    Raises:
        ClusterError: The accounting does not answer.
    """
    user = user_name()
    sacctmgr = ("sacctmgr", "--noheader", "--parsable2", "show")
    own = ask(*sacctmgr, "associations", f"user={user}", f"cluster={cluster}", "format=account,qos")
    default = ask(*sacctmgr, "user", user, "format=defaultaccount")
    qos = ask(*sacctmgr, "qos", "format=name,maxwall")
    return parse_accounts(user, own, default, qos)


def parse_accounts(user: str, associations: str, default: str, qos: str) -> Accounts:
    """The accounts of a user.

    Args:
        user: The user's name.
        associations: What ``sacctmgr --parsable2 show associations`` prints of account and QOS.
        default: What ``sacctmgr --parsable2 show user`` prints of the default account.
        qos: What ``sacctmgr --parsable2 show qos`` prints of name and MaxWall.
    """
    allowed: dict[str, frozenset[str]] = {}
    for line in associations.splitlines():
        account, _, names = line.strip().partition("|")
        # A user may stand in one account several times, once for each partition.
        allowed[account] = allowed.get(account, frozenset()) | frozenset(filter(None, names.split(",")))
    limits = (line.strip().partition("|") for line in qos.splitlines() if line.strip())
    return Accounts(
        user=user,
        default=next(iter(default.split()), None),
        qos={account: names for account, names in allowed.items() if account},
        max_minutes={name: parse_minutes(longest) for name, _, longest in limits},
    )
