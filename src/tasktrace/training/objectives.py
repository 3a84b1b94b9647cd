"""The losses and metrics that tasks name.

Targets say what is predicted:

- ``(n,)``: one class (int64) or number (float32) per sample. All are known: a sample that has none is not among its
  task's. Outputs are (n, O), and for numbers and for binary classes (n, 1);
- ``(n, H, W)``: a class per pixel, as integers of any width, ``VOID`` where there is none; or a number, not finite
  where it is unknown. Outputs are (n, O, H, W) or, for numbers, (n, 1, H, W);
- ``(n, 3, H, W)``: a vector per pixel, not finite where it is unknown. Outputs have the same shape.

The losses wait for nothing from a GPU and may be differentiated twice and sample by sample with ``torch.func``: what is
unknown is masked, never selected, and has no gradient. Where nothing is known a loss is 0 with zero gradient.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from tasktrace.errors import ConfigError

Objective = Callable[[Tensor, Tensor], Tensor]
"""Outputs (n, O, ...) and targets (n, ...) to a scalar tensor."""

VOID = -1
"""The class of pixels that have none."""

_BINS_PER_DEGREE = 100

_LIMITS = (11.25, 22.5, 30.0)
"""Of ``within_11``, ``within_22`` and ``within_30``, in degrees."""


def known(targets: Tensor) -> Tensor:
    """Where there is something to predict: shape (n, ...) without the vectors' dimension, bool."""
    if not targets.is_floating_point():
        return targets != VOID
    finite = targets.isfinite()
    return finite.all(dim=1) if targets.ndim == 4 else finite


# Losses


def cross_entropy(outputs: Tensor, targets: Tensor) -> Tensor:
    """Mean negative log-likelihood of the classes, in nats."""
    if targets.ndim == 1:
        return functional.cross_entropy(outputs, targets)
    # Not ignore_index with a mean, which is NaN where all is void, and on a GPU sums in no fixed order.
    each = functional.cross_entropy(outputs, targets.long(), ignore_index=VOID, reduction="none")
    return _mean(each, targets)


def binary_cross_entropy(outputs: Tensor, targets: Tensor) -> Tensor:
    """Mean negative log-likelihood of classes 0 and 1 by the only output, the log-odds of class 1; in nats."""
    return functional.binary_cross_entropy_with_logits(outputs.squeeze(1), targets.to(outputs.dtype))


def mse(outputs: Tensor, targets: Tensor) -> Tensor:
    """Mean squared difference of the only output and the target, in the target's units squared."""
    return _mean(_differences(outputs, targets).square(), targets)


def l1(outputs: Tensor, targets: Tensor) -> Tensor:
    """Mean absolute difference of the only output and the target, in the target's units."""
    return _mean(_differences(outputs, targets).abs(), targets)


def cosine(outputs: Tensor, targets: Tensor) -> Tensor:
    """Mean of 1 - cosine of the angle between output and target vectors, whatever their lengths."""
    return _mean(torch.where(known(targets), 1 - _cosines(outputs, targets), 0), targets)


LOSSES: dict[str, Objective] = {
    "cross_entropy": cross_entropy,
    "binary_cross_entropy": binary_cross_entropy,
    "mse": mse,
    "l1": l1,
    "cosine": cosine,
}
"""Means over samples, or over the known pixels of all samples."""


def _mean(values: Tensor, targets: Tensor) -> Tensor:
    """The mean of values (n, ...) that are 0 where the target is unknown."""
    if targets.ndim == 1:
        return values.mean()
    return values.sum() / known(targets).sum().clamp(min=1)


def _differences(outputs: Tensor, targets: Tensor) -> Tensor:
    """Output minus target; 0 where that is unknown."""
    differences = outputs.squeeze(1) - targets
    return differences if targets.ndim == 1 else torch.where(known(targets), differences, 0)


def _cosines(outputs: Tensor, targets: Tensor) -> Tensor:
    """Cosines of angles between vectors (n, 3, H, W), shape (n, H, W); 0 for a vector of length 0."""
    # In the outputs' type: each is normalised in its own.
    finite = torch.where(targets.isfinite(), targets, 0).to(outputs.dtype)
    return functional.cosine_similarity(outputs, finite, dim=1)


# Metrics of samples


def accuracy(outputs: Tensor, targets: Tensor) -> Tensor:
    """Share of samples whose class is predicted."""
    return (_predicted(outputs) == targets).double().mean()


def balanced_accuracy(outputs: Tensor, targets: Tensor) -> Tensor:
    """Mean over the classes that occur of the share of their samples whose class is predicted."""
    confusion = _confusion(outputs, targets).double()
    occurring = confusion.sum(dim=1)
    recalls = confusion.diagonal() / occurring.clamp(min=1)
    return recalls.sum() / (occurring > 0).sum()


def f1(outputs: Tensor, targets: Tensor) -> Tensor:
    """F1 of class 1 against all others: harmonic mean of its precision and recall, 0 where it is not even predicted."""
    confusion = _confusion(outputs, targets).double()
    return 2 * confusion[1, 1] / (confusion[1].sum() + confusion[:, 1].sum()).clamp(min=1)


def matthews(outputs: Tensor, targets: Tensor) -> Tensor:
    """Matthews' correlation, for any number of classes (Gorodkin 2004); 0 where targets or predictions are constant."""
    confusion = _confusion(outputs, targets).double()
    true, predicted, total = confusion.sum(dim=1), confusion.sum(dim=0), confusion.sum()
    covariance = confusion.trace() * total - true @ predicted
    variances = (total.square() - true @ true) * (total.square() - predicted @ predicted)
    return torch.where(variances > 0, covariance / variances.clamp(min=1).sqrt(), 0)


def pearson(outputs: Tensor, targets: Tensor) -> Tensor:
    """Pearson's correlation of output and target; 0 where one of them is constant, as at a collapsed start."""
    return _correlation("pearsonr", outputs, targets)


def spearman(outputs: Tensor, targets: Tensor) -> Tensor:
    """Pearson's correlation of the ranks of output and target, ties sharing their mean; 0 where one is constant."""
    return _correlation("spearmanr", outputs, targets)


def relative_error(outputs: Tensor, targets: Tensor) -> Tensor:
    """Mean absolute difference over the target's size, for targets other than zero."""
    sized = targets != 0
    return ((outputs.squeeze(1) - targets)[sized] / targets[sized]).abs().mean()


METRICS: dict[str, Objective] = {
    "accuracy": accuracy,
    "balanced_accuracy": balanced_accuracy,
    "f1": f1,
    "matthews": matthews,
    "pearson": pearson,
    "spearman": spearman,
    "absolute_error": l1,
    "relative_error": relative_error,
}
"""For targets (n,)."""


def _predicted(outputs: Tensor) -> Tensor:
    """Classes from outputs (n, O, ...), shape (n, ...), int64; an only output is the log-odds of class 1."""
    return (outputs.squeeze(1) > 0).long() if outputs.shape[1] == 1 else outputs.argmax(dim=1)


def _confusion(outputs: Tensor, targets: Tensor) -> Tensor:
    """How many samples or known pixels of each class (row) are predicted to be of each (column), int64, (C, C)."""
    classes = max(2, outputs.shape[1])
    cells = torch.where(known(targets), targets.long() * classes + _predicted(outputs), classes**2)
    return cells.flatten().bincount(minlength=classes**2 + 1)[:-1].view(classes, classes)


def _correlation(function: str, outputs: Tensor, targets: Tensor) -> Tensor:
    from scipy import stats  # type: ignore[import-untyped]  # takes a second, which few tasks need

    pair = [own.double().cpu().numpy() for own in (outputs.squeeze(1), targets)]
    if not all(bool(torch.isfinite(own).all()) for own in (outputs, targets)):
        value = torch.nan
    elif any(own.min() == own.max() for own in pair):
        value = 0.0
    else:
        value = float(getattr(stats, function)(*pair).statistic)
    return torch.tensor(value, dtype=torch.float64, device=outputs.device)


# Metrics of maps


@dataclass(frozen=True)
class Additive:
    """What is computed over a whole split from numbers of its chunks, as no one can hold the outputs of all pixels.

    Attributes:
        statistics: From outputs and targets of some samples to numbers that are summed over the split.
        value: From the sums to a scalar, float64; NaN for a metric where no pixel is known.
    """

    statistics: Objective
    value: Callable[[Tensor], Tensor]


def additive_loss(name: str) -> Additive:
    """A loss over the known pixels of a whole split."""

    def statistics(outputs: Tensor, targets: Tensor) -> Tensor:
        pixels = known(targets).sum()
        return torch.stack([LOSSES[name](outputs, targets) * pixels, pixels]).double()

    return Additive(statistics, lambda sums: sums[0] / sums[1].clamp(min=1))


def _errors(outputs: Tensor, targets: Tensor) -> Tensor:
    """Sums over known pixels: of absolute differences and of ones; the same over the target's size, where not zero."""
    distances = _differences(outputs, targets).abs().double()
    sized = known(targets) & (targets != 0)
    relative = torch.where(sized, distances / torch.where(sized, targets, 1).abs(), 0)
    return torch.stack([distances.sum(), known(targets).sum(), relative.sum(), sized.sum()])


def _angles(outputs: Tensor, targets: Tensor) -> Tensor:
    """Over known pixels: number, sum of angles (degrees), numbers below each of ``_LIMITS``, and a histogram."""
    there = known(targets)
    angles = _cosines(outputs.double(), targets).clamp(-1, 1).acos().rad2deg()
    bins = 180 * _BINS_PER_DEGREE
    # Angles that are NaN go somewhere: the mean says that they are.
    places = (angles.nan_to_num(nan=180) * _BINS_PER_DEGREE).long().clamp(max=bins - 1)
    histogram = torch.where(there, places, bins).flatten().bincount(minlength=bins + 1)[:-1]
    below = [(there & (angles < limit)).sum() for limit in _LIMITS]
    return torch.cat([torch.stack([there.sum(), torch.where(there, angles, 0).sum(), *below]), histogram])


def _median_angle(sums: Tensor) -> Tensor:
    """The median from the histogram: the middle of the bin that it is in, so good to half a bin."""
    rank = sums[0].long() - 1
    ends = sums[2 + len(_LIMITS) :].long().cumsum(dim=0)
    # An even number has two in the middle.
    places = torch.searchsorted(ends, torch.stack([rank // 2, (rank + 1) // 2]), right=True)
    median = (places.double().mean() + 0.5) / _BINS_PER_DEGREE
    return torch.where(sums[0] > 0, median, torch.nan)


def _mean_iou(confusion: Tensor) -> Tensor:
    """Mean intersection over union of the classes that occur among targets or predictions.

    As scikit-learn and TorchMetrics have it; LibMTL's is NaN where a class does not occur.
    """
    matrix = confusion.double()
    intersections = matrix.diagonal()
    unions = matrix.sum(dim=0) + matrix.sum(dim=1) - intersections
    return (intersections / unions.clamp(min=1)).sum() / (unions > 0).sum()


def _pixel_accuracy(confusion: Tensor) -> Tensor:
    return confusion.trace().double() / confusion.sum()


def _quotient(above: int, below: int) -> Callable[[Tensor], Tensor]:
    return lambda sums: sums[above] / sums[below]


MAP_METRICS: dict[str, Additive] = {
    "absolute_error": Additive(_errors, _quotient(0, 1)),
    "relative_error": Additive(_errors, _quotient(2, 3)),
    "mean_iou": Additive(_confusion, _mean_iou),
    "pixel_accuracy": Additive(_confusion, _pixel_accuracy),
    "mean_angle": Additive(_angles, _quotient(1, 0)),
    "median_angle": Additive(_angles, _median_angle),
    "within_11": Additive(_angles, _quotient(2, 0)),
    "within_22": Additive(_angles, _quotient(3, 0)),
    "within_30": Additive(_angles, _quotient(4, 0)),
}
"""For maps of targets: over all known pixels of all samples, each of the same weight."""


def map_metric(name: str) -> Additive:
    """A metric of maps.

    Raises:
        ConfigError: There is none of this name.
    """
    if name not in MAP_METRICS:
        raise ConfigError(f"metric {name!r} is not one of maps of targets; those are: {', '.join(MAP_METRICS)}")
    return MAP_METRICS[name]


def metric_value(name: str, outputs: Tensor, targets: Tensor) -> Tensor:
    """A metric of a whole split, whose outputs are all at hand; scalar.

    Raises:
        ConfigError: The metric is not for targets of this shape.
    """
    if targets.ndim > 1:
        metric = map_metric(name)
        return metric.value(metric.statistics(outputs, targets))
    if name not in METRICS:
        raise ConfigError(f"metric {name!r} is not one of single targets; those are: {', '.join(METRICS)}")
    return METRICS[name](outputs, targets)
