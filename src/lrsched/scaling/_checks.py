"""Types and checks of the numbers that the laws and rules take."""

from __future__ import annotations

from typing import Annotated, Any, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np

from lrsched.arguments import FINITE_NUMBER, POSITIVE_NUMBER, is_traced, not_accepted

FiniteNumber: TypeAlias = Annotated[float, FINITE_NUMBER]
"""A finite number, not an array."""
PositiveNumber: TypeAlias = Annotated[float, POSITIVE_NUMBER]
"""A finite number above 0, not an array."""


def are_finite(values: Any, *, above_zero: bool = False) -> bool:
    """Return whether Python numbers or arrays are real, finite and, if so, above 0.

    Traced values count as such.
    """
    if is_traced(values):
        return True
    if not isinstance(values, int | float | np.number | np.ndarray | jax.Array):
        return False
    try:
        numbers = as_numbers("", "", values)
    except ValueError:
        return False
    return bool(np.all(np.isfinite(numbers) & ((numbers > 0) | (not above_zero))))


def as_numbers(function: str, name: str, values: Any) -> np.ndarray:
    """Return real numbers as a float64 array, or raise ``ValueError``."""
    try:
        numbers = np.asarray(values)
        # bfloat16 is no floating-point type of NumPy's own; booleans are no numbers here.
        if not any(jnp.issubdtype(numbers.dtype, kind) for kind in (jnp.integer, jnp.floating)):
            raise TypeError
        return numbers.astype(np.float64)
    except (TypeError, ValueError, OverflowError):
        raise not_accepted(function, name, values, "numbers") from None
