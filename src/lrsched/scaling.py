"""How a rate found at one size goes to another: the papers' rules, as pure functions of numbers.

Each takes the rate and the two sizes, and works on Python numbers and arrays alike.
"""

from collections.abc import Callable
from typing import Any, Final

_RULES: Final[dict[str, Callable[[Any], Any]]] = {"linear": lambda x: x, "sqrt": lambda x: x**0.5}


def batch_size(rate: Any, size: Any, base_size: Any, rule: str = "linear") -> Any:
    """The rate at another batch size: ``rate size / base_size``, or its square root's multiple.

    Args:
      rate: the rate that is good at ``base_size``.
      size: the new batch size; an array gives the rates of a batch-size ramp.
      base_size: the batch size that the rate was found at.
      rule: "linear" for SGD, "sqrt" for Adam and its kin.

    Raises:
      ValueError: another rule, or a size that is not above 0.

    Source: linear: Goyal et al. 2017 (arXiv 1706.02677); square root: Krizhevsky 2014 (arXiv
    1404.5997), Malladi et al. 2022 (arXiv 2205.10287) for adaptive methods. Both end at the
    critical batch size.

    >>> from lrsched import scaling
    >>> scaling.batch_size(0.1, 1024, base_size=256)
    0.4
    >>> scaling.batch_size(1e-3, 1024, base_size=256, rule="sqrt")
    0.002
    """
    if rule not in _RULES:
        raise ValueError(f"batch_size: rule={rule!r} is none of {', '.join(_RULES)}.")
    return rate * _RULES[rule](_ratio("batch_size", size, base_size))


def mup_width(rate: Any, width: Any, base_width: Any) -> Any:
    """The rate of a hidden matrix under muP with Adam: ``rate base_width / width``.

    Input and output layers, biases and gains keep their rate; the output's multiplier or initial
    scale changes instead. Under SGD hidden matrices keep their rate.

    Args:
      rate: the rate that is good at ``base_width``.
      width: the new fan-in.
      base_width: the fan-in that the rate was found at.

    Raises:
      ValueError: a width that is not above 0.

    Source: Yang et al. 2022 (arXiv 2203.03466), table 3.

    >>> from lrsched import scaling
    >>> scaling.mup_width(8e-3, width=1024, base_width=128)
    0.001
    """
    return rate / _ratio("mup_width", width, base_width)


def mup_depth(rate: Any, depth: Any, base_depth: Any) -> Any:
    """The rate at another depth under Depth-muP with Adam: ``rate sqrt(base_depth / depth)``.

    For residual networks of blocks of one layer whose branches are scaled by ``1 / sqrt(depth)``.

    Args:
      rate: the rate that is good at ``base_depth``.
      depth: the new number of blocks.
      base_depth: the number of blocks that the rate was found at.

    Raises:
      ValueError: a depth that is not above 0.

    Source: Yang et al. 2023 (arXiv 2310.02244).

    >>> from lrsched import scaling
    >>> scaling.mup_depth(1e-3, depth=64, base_depth=16)
    0.0005
    """
    return rate / _ratio("mup_depth", depth, base_depth) ** 0.5


def horizon(rate: Any, steps: Any, base_steps: Any, exponent: Any = 0.32) -> Any:
    """The rate for another length of training: ``rate (steps / base_steps)**-exponent``.

    Args:
      rate: the rate that is good for ``base_steps``.
      steps: the new length, in steps or tokens.
      base_steps: the length that the rate was found for, in the same unit.
      exponent: 0.32 for language models whose other sizes stay.

    Raises:
      ValueError: a length that is not above 0.

    Source: Bjorck et al. 2025 (arXiv 2409.19913).

    >>> from lrsched import scaling
    >>> round(scaling.horizon(1e-3, steps=400, base_steps=100), 6)
    0.000642
    """
    return rate * _ratio("horizon", steps, base_steps) ** -exponent


def _ratio(function: str, size: Any, base_size: Any) -> Any:
    for number in (size, base_size):
        if isinstance(number, str | bool) or (isinstance(number, int | float) and not number > 0):
            raise ValueError(f"{function}: {number!r} is not accepted; a size must be above 0.")
    return size / base_size
