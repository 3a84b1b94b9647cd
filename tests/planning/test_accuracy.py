"""Trials before a study against what its runs then took."""

from tasktrace.planning.calibration import calibrate
from tasktrace.planning.jobs import MEASURE
from tasktrace.planning.timings import Timings

TOLERANCE = 0.3


def test_trials_foretell_what_training_and_measuring_take(finished, copied, cpu, jobs_on_runs):
    done = jobs_on_runs(finished.study)
    assert all(job.is_done for job in done)
    found = [finished.expected.timings]
    for is_measuring in (False, True):
        taken = _taken(done, is_measuring, finished.shares)
        if not _is_foretold(taken, [_expected(finished.before, own, is_measuring) for own in found]):
            # The machine may have become slower or faster between the trials and the runs: they lie between two trials.
            found.append(calibrate(copied, finished.before, cpu, Timings(), fresh=True).timings)
        assert _is_foretold(taken, [_expected(finished.before, own, is_measuring) for own in found])


def _is_foretold(taken, expected):
    return min(expected) * (1 - TOLERANCE) <= taken <= max(expected) * (1 + TOLERANCE)


def _items(jobs, is_measuring):
    return [(job.stage, item) for job in jobs if (job.stage == MEASURE) == is_measuring for item in job.items]


def _expected(jobs, timings, is_measuring):
    """Seconds of a processor: on a machine that does other things besides, others mean little."""
    return sum(
        timings.seconds(item) * timings.shapes[item.shapes[0].key].share for _, item in _items(jobs, is_measuring)
    )


def _taken(jobs, is_measuring, shares):
    return sum(
        sum(item.record["seconds"].values()) * shares[stage, item.run.path]
        for stage, item in _items(jobs, is_measuring)
    )
