"""Conversions shared by the ported controllers: thresholds, and absolute rates as scales."""

from typing import Annotated, TypeAlias

from lrsched.arguments import POSITIVE_FLOAT, check_below, one_of

ThresholdMode: TypeAlias = Annotated[str, one_of("ThresholdMode", ("rel", "abs"))]
"""Whether a threshold is relative to the best metric, or absolute."""
Rate: TypeAlias = Annotated[float, POSITIVE_FLOAT]
"""A learning rate as a Python number: controllers compare it when they are made."""


def tolerances(threshold: float, threshold_mode: str) -> tuple[float, float]:
    """Return a threshold as the pair ``(rtol, atol)``."""
    return (threshold, 0.0) if threshold_mode == "rel" else (0.0, threshold)


def min_scale_of(function: str, min_lr: float, base_lr: float) -> float:
    """Return ``min_lr`` as a fraction of ``base_lr``.

    Raises:
      ValueError: If ``min_lr > base_lr``.
    """
    check_below(function, "min_lr", min_lr, "base_lr", base_lr, allow_equal=True)
    return min_lr / base_lr
