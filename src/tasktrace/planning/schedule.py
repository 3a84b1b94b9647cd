"""How long jobs take on so many devices."""

from collections.abc import Sequence


def stage_seconds(jobs: Sequence[float], devices: int) -> float:
    """Wall time of a stage whose jobs wait for nothing: no less than the longest, no less than an even share of all.

    Args:
        jobs: Seconds of each job.
        devices: Jobs that run at the same time, one on each device.
    """
    return max(max(jobs, default=0.0), sum(jobs) / devices)


def setting_seconds(stages: Sequence[Sequence[float]], devices: int) -> float:
    """Wall time of a setting alone on the devices: its stages wait for each other.

    A sweep and a grid do not, nor do measuring and corrupting; that they could fill each other's gaps is left out.

    Args:
        stages: Seconds of each job, by stage.
        devices: Jobs that run at the same time.
    """
    return sum(stage_seconds(jobs, devices) for jobs in stages)


def study_seconds(settings: Sequence[Sequence[Sequence[float]]], devices: int) -> float:
    """Wall time of settings side by side: no less than that of any of them alone, no less than an even share of all.

    Args:
        settings: Seconds of each job, by setting and stage.
        devices: Jobs that run at the same time.
    """
    in_all = sum(seconds for stages in settings for jobs in stages for seconds in jobs)
    return max([in_all / devices, *(setting_seconds(stages, devices) for stages in settings)])
