"""Checks of the numbers that the laws and rules take."""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from lrsched.arguments import is_traced, short_repr


def check_sizes(function: str, **sizes: Any) -> None:
    """Raise ``ValueError`` if one of the sizes is not a finite number above 0."""
    for name, size in sizes.items():
        if not (_is_finite_scalar(size) and size > 0):
            raise ValueError(
                f"{function}: {name}={short_repr(size)} is not accepted; {name} must be a finite "
                "number above 0."
            )


def check_finite(function: str, **numbers: Any) -> None:
    """Raise ``ValueError`` if one of the numbers is not finite."""
    for name, number in numbers.items():
        if not _is_finite_scalar(number):
            raise ValueError(
                f"{function}: {name}={short_repr(number)} is not accepted; {name} must be a finite "
                "number."
            )


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
        if not is_real(numbers.dtype):
            raise TypeError
        return numbers.astype(np.float64)
    except (TypeError, ValueError, OverflowError):
        raise ValueError(
            f"{function}: {name}={short_repr(values)} is not accepted; {name} must be numbers."
        ) from None


def _is_finite_scalar(value: Any) -> bool:
    if isinstance(value, bool) or not isinstance(
        value, int | float | np.number | np.ndarray | jax.Array
    ):
        return False
    if np.ndim(value) or jnp.iscomplexobj(value):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:  # an int that no float holds
        return False


def is_real(dtype: np.dtype) -> bool:
    """Return whether a dtype is of real numbers, bfloat16 included; booleans are not."""
    return jnp.issubdtype(dtype, jnp.integer) or jnp.issubdtype(dtype, jnp.floating)
