"""Ranges of options, checked where the options are declared."""


def check_range(options: object, *names: str, low: float, below: float = float("inf")) -> None:
    """Hold the options ``names`` against low <= value < below.

    Raises:
        ValueError: Names the option, its range and what was found; the configuration's checks add file and key.
    """
    for name in names:
        value = getattr(options, name)
        if not low <= value < below:
            upper = "" if below == float("inf") else f" and below {below:g}"
            raise ValueError(f"{name} must be at least {low:g}{upper}, found {value!r}")
