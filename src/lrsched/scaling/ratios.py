"""The learning rate at another size, by one rule of a paper at a time.

The rules are pure functions of the rate and the two sizes, for Python numbers and arrays.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from jax.typing import ArrayLike

from lrsched.arguments import not_accepted, one_of, short_repr
from lrsched.scaling._checks import are_finite

_RULES: Final[dict[str, Callable[[Any], Any]]] = {"linear": lambda x: x, "sqrt": lambda x: x**0.5}


def batch_size(
    rate: ArrayLike, size: ArrayLike, base_size: ArrayLike, rule: str = "linear"
) -> ArrayLike:
    """Return the rate at another batch size: ``rate size / base_size``, or its square root.

    Args:
      rate: Learning rate that is good at ``base_size``.
      size: New batch size. An array gives the rates of a batch-size ramp.
      base_size: Batch size that the rate was found at.
      rule: "linear" for SGD, "sqrt" for Adam and its relatives.

    Returns:
      The rate: a Python number for Python numbers, otherwise an array.

    Raises:
      ValueError: If ``rule`` is not one of the two, or a size is not above 0.

    References:
      Linear: Goyal et al. 2017 (arXiv 1706.02677). Square root: Krizhevsky 2014 (arXiv 1404.5997),
      Malladi et al. 2022 (arXiv 2205.10287) for adaptive methods. Both end at the critical batch
      size.

    >>> from lrsched import scaling
    >>> scaling.batch_size(0.1, 1024, base_size=256)
    0.4
    >>> scaling.batch_size(1e-3, 1024, base_size=256, rule="sqrt")
    0.002
    """
    one_of("Rule", tuple(_RULES)).validate("batch_size", "rule", rule)
    return rate * _RULES[rule](_ratio("batch_size", rate, size, base_size))


def mup_width(rate: ArrayLike, width: ArrayLike, base_width: ArrayLike) -> ArrayLike:
    """Return the rate of a hidden matrix under muP with Adam: ``rate base_width / width``.

    Input and output layers, biases and gains keep their rate; the output's multiplier or initial
    scale changes instead. Under SGD hidden matrices keep their rate.

    Args:
      rate: Learning rate that is good at ``base_width``.
      width: New fan-in.
      base_width: Fan-in that the rate was found at.

    Returns:
      The rate, as in `batch_size`.

    Raises:
      ValueError: If a width is not above 0.

    References:
      Yang et al. 2022 (arXiv 2203.03466), table 3.

    >>> from lrsched import scaling
    >>> scaling.mup_width(8e-3, width=1024, base_width=128)
    0.001
    """
    return rate / _ratio("mup_width", rate, width, base_width)


def mup_depth(rate: ArrayLike, depth: ArrayLike, base_depth: ArrayLike) -> ArrayLike:
    """Return the rate at another depth with Adam: ``rate sqrt(base_depth / depth)`` (Depth-muP).

    For residual networks of blocks of one layer whose branches are scaled by ``1 / sqrt(depth)``.

    Args:
      rate: Learning rate that is good at ``base_depth``.
      depth: New number of blocks.
      base_depth: Number of blocks that the rate was found at.

    Returns:
      The rate, as in `batch_size`.

    Raises:
      ValueError: If a depth is not above 0.

    References:
      Yang et al. 2023 (arXiv 2310.02244).

    >>> from lrsched import scaling
    >>> scaling.mup_depth(1e-3, depth=64, base_depth=16)
    0.0005
    """
    return rate / _ratio("mup_depth", rate, depth, base_depth) ** 0.5


def horizon(
    rate: ArrayLike, steps: ArrayLike, base_steps: ArrayLike, exponent: ArrayLike = 0.32
) -> ArrayLike:
    """Return the rate for another length of training: ``rate (steps / base_steps)**-exponent``.

    Args:
      rate: Learning rate that is good for ``base_steps``.
      steps: New length, in steps or tokens.
      base_steps: Length that the rate was found for, in the same unit.
      exponent: Exponent of the power law. 0.32 is the one of language models whose other sizes
        stay.

    Returns:
      The rate, as in `batch_size`.

    Raises:
      ValueError: If a length is not above 0.

    References:
      Bjorck et al. 2025 (arXiv 2409.19913).

    >>> from lrsched import scaling
    >>> round(scaling.horizon(1e-3, steps=400, base_steps=100), 6)
    0.000642
    """
    _check_finite("horizon", "exponent", exponent)
    return rate / _ratio("horizon", rate, steps, base_steps) ** exponent


def _ratio(function: str, rate: ArrayLike, size: ArrayLike, base_size: ArrayLike) -> Any:
    """Return the ratio of two sizes, and check them and the rate."""
    _check_finite(function, "rate", rate)
    for number in (size, base_size):
        if not are_finite(number, above_zero=True):
            raise ValueError(
                f"{function}: {short_repr(number)} is not accepted; a size must be a number above "
                "0."
            )
    return size / base_size


def _check_finite(function: str, name: str, value: ArrayLike) -> None:
    if not are_finite(value):
        raise not_accepted(function, name, value, "finite")
