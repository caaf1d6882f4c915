"""How a rate found at one size goes to another: the papers' rules, and a rule of one's own.

The papers' are pure functions of the rate and the two sizes, on Python numbers and arrays alike.
`fit` measures the exponent of such a rule, with its interval, from the best rates of some sizes.
"""

from collections.abc import Callable
from typing import Any, Final, NamedTuple

import numpy as np
from jax.scipy.special import betainc
from jax.typing import ArrayLike

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


class PowerLaw(NamedTuple):
    """``rate = factor * size**exponent``, as `fit` found it.

    Attributes:
      exponent: 1 is the linear rule, 0 none.
      interval: of the exponent, ``(low, high)``.
      error: the exponent's standard error.
      factor: the rate at size 1.
    """

    exponent: float
    interval: tuple[float, float]
    error: float
    factor: float

    def __call__(self, size: Any) -> Any:
        """The rate at a size, a number or an array."""
        return self.factor * size**self.exponent


def fit(sizes: ArrayLike, rates: ArrayLike, level: float = 0.95) -> PowerLaw:
    """The power law through the best rates of several sizes, with the interval of its exponent.

    A line through the logarithms by least squares; the interval is Student's, from what the rates
    scatter about the line. Rates of several seeds count as measurements of their own.

    Args:
      sizes: batch sizes, widths, depths or horizons, ``(sizes,)``.
      rates: the best rate at each, ``(sizes,)`` or ``(sizes, seeds)``, as from `best_rate`.
      level: how often such an interval holds the exponent.

    Raises:
      ValueError: fewer than three rates or two sizes, one that is not above 0 and finite, shapes
        that do not match, or a level that is not between 0 and 1.

    >>> from lrsched import scaling
    >>> law = scaling.fit([32, 128, 512], [4e-3, 2.1e-3, 1e-3])
    >>> round(law.exponent, 3), [round(end, 2) for end in law.interval]
    (-0.5, [-0.76, -0.24])
    >>> round(law(64), 5)
    0.00287
    """
    x, y = np.asarray(sizes, np.float64), np.asarray(rates, np.float64)
    if x.ndim != 1 or y.ndim not in (1, 2) or len(x) != len(y):
        raise ValueError(
            f"fit: sizes of shape {x.shape} and rates of shape {y.shape} do not match; they must "
            "be (sizes,) and (sizes,) or (sizes, seeds)."
        )
    for name, values in (("sizes", x), ("rates", y)):
        if not np.all(np.isfinite(values) & (values > 0)):
            raise ValueError(f"fit: {name}={values.tolist()} must all be finite and above 0.")
    if y.size < 3 or len(np.unique(x)) < 2:
        raise ValueError(
            f"fit: {y.size} rates of {len(np.unique(x))} sizes have no interval; it takes three "
            "rates or more, of two sizes or more."
        )
    if not 0 < level < 1:
        raise ValueError(f"fit: level={level!r} is not accepted; it must be between 0 and 1.")
    x, y = np.log(np.repeat(x, y.size // len(x))), np.log(y.ravel())
    away = x - x.mean()
    exponent = float(np.sum(away * y) / np.sum(away**2))
    left = y - y.mean() - exponent * away
    error = float(np.sqrt(np.sum(left**2) / (len(x) - 2) / np.sum(away**2)))
    reach = _student(level, len(x) - 2) * error
    factor = float(np.exp(y.mean() - exponent * x.mean()))
    return PowerLaw(exponent, (exponent - reach, exponent + reach), error, factor)


def best_rate(rates: ArrayLike, losses: ArrayLike) -> np.ndarray:
    """The best rate of a sweep, between the rates that were tried.

    The bottom of a parabola in ``log(rate)`` through the least loss, its two neighbours and the two
    next best beside them, so that the grid does not quantise it. It stays among these; where the
    neighbour above diverged, at most at the least loss.

    Args:
      rates: those of the sweep, increasing, ``(rates,)``; `lrsched.tuning.SweepResult.curve` gives
        them.
      losses: ``(rates,)`` or ``(rates, seeds)``; of a run that diverged, infinity or NaN.

    Returns:
      The rate of each seed, ``(seeds,)``, or a scalar.

    Raises:
      ValueError: the rates do not increase from above 0, the shapes do not match, or the least loss
        is at an end of the sweep, so that the best rate may be beyond.

    >>> import numpy as np
    >>> from lrsched import scaling
    >>> rates = np.geomspace(1e-3, 1.0, 7)
    >>> round(float(scaling.best_rate(rates, np.log(rates / 0.02) ** 2)), 4)
    0.02
    """
    x, y = np.asarray(rates, np.float64), np.asarray(losses, np.float64)
    if x.ndim != 1 or y.ndim not in (1, 2) or len(x) != len(y):
        raise ValueError(
            f"best_rate: rates of shape {x.shape} and losses of shape {y.shape} do not match; they "
            "must be (rates,) and (rates,) or (rates, seeds)."
        )
    if not (np.all(np.diff(x) > 0) and x[0] > 0):
        raise ValueError(f"best_rate: rates={x.tolist()} must increase, from above 0.")
    y = np.where(np.isfinite(y), y, np.inf)
    columns = y[:, None] if y.ndim == 1 else y
    found = np.exp([_bottom(np.log(x), column) for column in columns.T])
    return found.reshape(y.shape[1:])


def _bottom(x: np.ndarray, y: np.ndarray) -> float:
    least = int(np.argmin(y))
    if least in (0, len(x) - 1):
        raise ValueError(
            f"best_rate: the least loss is at the end of the sweep, at {np.exp(x[least]):.3g}; it "
            "must go further."
        )
    first, last = least - 1, least + 1
    for _ in range(2):
        below = y[first - 1] if first > 0 else np.inf
        above = y[last + 1] if last + 1 < len(x) else np.inf
        if np.isfinite(min(below, above)):
            first, last = (first - 1, last) if below <= above else (first, last + 1)
    used = np.arange(first, last + 1)
    used = used[np.isfinite(y[used])]
    square, slope = np.polyfit(x[used] - x[least], y[used], 2)[:2] if len(used) > 2 else (0, 0)
    if square <= 0:
        return float(x[least])
    end = used[-1] if np.isfinite(y[least + 1]) else least
    return float(np.clip(x[least] - slope / (2 * square), x[used[0]], x[end]))


def _student(level: float, freedom: int) -> float:
    """The ``t`` beyond which Student's distribution has ``1 - level``, on both sides together."""
    low, high = 0.0, 1.0  # of freedom / (freedom + t**2)
    for _ in range(50):
        middle = (low + high) / 2
        is_below = float(betainc(freedom / 2, 0.5, middle)) < 1 - level
        low, high = (middle, high) if is_below else (low, middle)
    return float(np.sqrt(freedom * (1 / low - 1)))


def _ratio(function: str, size: Any, base_size: Any) -> Any:
    for number in (size, base_size):
        if isinstance(number, str | bool) or (isinstance(number, int | float) and not number > 0):
            raise ValueError(f"{function}: {number!r} is not accepted; a size must be above 0.")
    return size / base_size
