"""How the options of a method are checked: in one sentence, when it is made."""

from typing import Any

import numpy as np

from lrsched.arguments import is_traced


def check_number(
    function: str,
    name: str,
    given: Any,
    *,
    least: float = -np.inf,
    above: float = -np.inf,
    below: float | None = None,
    whole: bool = False,
) -> None:
    """``ValueError`` unless ``given`` is a number within these bounds; traced ones pass."""
    if is_traced(given):
        return
    is_number = isinstance(given, int | float | np.number | np.ndarray) or hasattr(given, "dtype")
    if is_number and not isinstance(given, bool):
        value = np.asarray(given, np.float64)
        is_within = (value >= least) & (value > above)
        if below is not None:
            is_within &= value < below
        is_known = ~np.isnan(value) & ((value == np.rint(value)) | (not whole))
        if np.all(is_within & is_known):
            return
    bounds = [
        f"{word} {bound:g}"
        for word, bound in [("at least", least), ("above", above), ("below", below)]
        if bound is not None and np.isfinite(bound)
    ]
    kind = "a whole number" if whole else "a number"
    raise ValueError(
        f"{function}: {name}={given!r} is not accepted; {name} must be {kind} "
        f"{' and '.join(bounds)}".rstrip()
        + "."
    )
