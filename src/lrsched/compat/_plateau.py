"""What the peers' rules that follow a metric have in common: absolute rates become scales."""

from typing import Annotated, TypeAlias

from lrsched.arguments import one_of

ThresholdMode: TypeAlias = Annotated[str, one_of("ThresholdMode", ("rel", "abs"))]
"""Whether a threshold is a part of the best metric, or absolute."""


def tolerances(threshold: float, threshold_mode: str) -> tuple[float, float]:
    """A threshold as ``rtol`` and ``atol``."""
    return (threshold, 0.0) if threshold_mode == "rel" else (0.0, threshold)


def min_scale_of(function: str, min_lr: float, base_lr: float) -> float:
    """``min_lr`` as a part of ``base_lr``."""
    if not 0 <= min_lr <= base_lr:
        raise ValueError(
            f"{function}: min_lr={min_lr!r} is not accepted; min_lr must be from 0 to "
            f"base_lr={base_lr!r}."
        )
    return min_lr / base_lr
