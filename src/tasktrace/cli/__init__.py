"""Train tasks alone and together, and analyse and draw their trajectories; every rule of the workflow is a verb.

A verb imports what it needs when it runs: a figure should start in a second, without torch.
"""

import argparse
import os
import sys
from collections.abc import Sequence

from tasktrace import __version__
from tasktrace.cli import figures, overview, runs, tables, versions
from tasktrace.errors import TasktraceError


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a verb.

    The exit status is 1 for an error that the user can put right or the system reports, 75 where another attempt
    continues.
    """
    parsed = _parser().parse_args(arguments)
    try:
        parsed.verb(parsed)
        sys.stdout.flush()
    except TasktraceError as error:
        print(f"tasktrace: {error}", file=sys.stderr)
        return error.exit_status
    except BrokenPipeError:
        # Whoever read has read enough; Python would complain once more when it closes what is left.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as error:
        print(f"tasktrace: {_described(error)}", file=sys.stderr)
        return 1
    return 0


def _described(error: OSError) -> str:
    """The file and what is wrong with it, where there is a file."""
    words = error.strerror or str(error) or type(error).__name__
    return words if error.filename is None else f"{error.filename}: {words}"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="tasktrace", description=__doc__.partition("\n")[0])
    parser.add_argument("--version", action="version", version=__version__)
    verbs = parser.add_subparsers(title="verbs", required=True, metavar="VERB")
    for module in (runs, tables, figures, overview, versions):
        module.add_verbs(verbs)
    return parser
