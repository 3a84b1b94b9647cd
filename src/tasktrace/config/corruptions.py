"""The corruptions' names and severities, for the workflow's process: without NumPy, whose import it does not need.

Source: Hendrycks and Dietterich, "Benchmarking Neural Network Robustness to Common Corruptions and Perturbations"
(2019), section 4: the 15 corruptions of ImageNet-C in four families, at five severities.
"""

from numbers import Integral

from tasktrace.errors import ConfigError

VERSION = 1
"""Raised whenever a corruption's results change."""

FAMILIES: dict[str, tuple[str, ...]] = {
    "noise": ("gaussian_noise", "shot_noise", "impulse_noise"),
    "blur": ("defocus_blur", "glass_blur", "motion_blur", "zoom_blur"),
    "weather": ("snow", "frost", "fog", "brightness"),
    "digital": ("contrast", "elastic_transform", "pixelate", "jpeg_compression"),
}
NAMES: tuple[str, ...] = tuple(name for names in FAMILIES.values() for name in names)
SEVERITIES = (1, 2, 3, 4, 5)


def check_corruption(name: str, severity: int) -> None:
    """Refuse a corruption that does not exist.

    Raises:
        ConfigError: Unknown name or severity.
    """
    if name not in NAMES:
        raise ConfigError(f"unknown corruption {name!r}; available: {', '.join(NAMES)}")
    if not isinstance(severity, Integral) or isinstance(severity, bool) or severity not in SEVERITIES:
        allowed = ", ".join(map(str, SEVERITIES))
        raise ConfigError(f"severity of {name} must be one of {allowed}, found {severity!r}")
