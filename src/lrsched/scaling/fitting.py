"""Measured scaling: the best rate of a sweep, and the power law through the best rates."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, NamedTuple

import jax
import numpy as np
from jax.scipy.special import betainc
from jax.typing import ArrayLike

from lrsched.arguments import (
    OPEN_UNIT_FLOAT,
    is_traced,
    not_accepted,
    short_repr,
    validate_arguments,
    whole_number,
)
from lrsched.scaling._checks import as_numbers

SIZE = "size"
"""Name of the variable of a law with a single one."""


class PowerLaw(NamedTuple):
    """``rate = factor * product of size**exponent``, as `fit_power_law` found it.

    Attributes:
      exponents: Exponent of each variable. 1 is the linear rule, 0 no dependence.
      intervals: Student's interval ``(low, high)`` of each exponent, from the scatter of the rates
        about the law.
      bootstrap_intervals: Percentile interval ``(low, high)`` of each exponent over resampled
        measurements, which does not assume normal errors.
      errors: Standard error of each exponent.
      factor: Rate where every size is 1.
      leave_one_out: Factor by which the law misses the rates of a size that is left out of the
        fit, as the exponential of the root mean square of the logarithms. NaN if the remaining
        sizes do not determine the law.
    """

    exponents: dict[str, float]
    intervals: dict[str, tuple[float, float]]
    bootstrap_intervals: dict[str, tuple[float, float]]
    errors: dict[str, float]
    factor: float
    leave_one_out: float

    @property
    def exponent(self) -> float:
        """The exponent of a law with one variable."""
        return self.exponents[self._single()]

    @property
    def interval(self) -> tuple[float, float]:
        """Student's interval of the exponent of a law with one variable."""
        return self.intervals[self._single()]

    @property
    def error(self) -> float:
        """The standard error of the exponent of a law with one variable."""
        return self.errors[self._single()]

    def _single(self) -> str:
        if len(self.exponents) > 1:
            raise ValueError(
                f"PowerLaw: the law has the variables {', '.join(self.exponents)}; read them in "
                "exponents, intervals and errors."
            )
        return next(iter(self.exponents))

    def __call__(self, size: ArrayLike | None = None, **sizes: ArrayLike) -> ArrayLike:
        """Return the rate at a size: a number or an array, by name if there are several.

        Raises:
          ValueError: If a size is not above 0, or the names are not those of the law.
        """
        if size is not None and (sizes or len(self.exponents) > 1):
            raise ValueError(
                f"PowerLaw: size={short_repr(size)} is not accepted; pass the sizes by name, as in "
                f"law({', '.join(f'{name}=...' for name in self.exponents)})."
            )
        if size is not None:
            sizes = {self._single(): size}
        if sizes.keys() != self.exponents.keys():
            raise not_accepted("PowerLaw", "sizes", list(sizes), ", ".join(self.exponents))
        rate: ArrayLike = self.factor
        for name, exponent in self.exponents.items():
            value = sizes[name]
            if not is_traced(value) and not np.all(as_numbers("PowerLaw", name, value) > 0):
                raise not_accepted("PowerLaw", name, value, "above 0")
            base = value if isinstance(value, int | float | jax.Array) else np.asarray(value)
            rate = rate * base**exponent
        return rate


@validate_arguments
def fit_power_law(
    sizes: ArrayLike | Mapping[str, ArrayLike],
    rates: ArrayLike,
    level: Annotated[float, OPEN_UNIT_FLOAT] = 0.95,
    *,
    num_resamples: Annotated[int, whole_number(10)] = 1000,
    seed: Annotated[int, whole_number(0)] = 0,
) -> PowerLaw:
    """Fit a power law through the best rates of several sizes, with intervals of its exponents.

    It is a plane through the logarithms by least squares. Rates of several seeds count as separate
    measurements.

    Args:
      sizes: Batch sizes, widths, depths or horizons, shape ``(sizes,)``; or several variables by
        name, such as ``{"N": ..., "D": ...}``, each of that shape.
      rates: Best rate at each size, shape ``(sizes,)`` or ``(sizes, seeds)``, as from `best_rate`.
      level: Probability that an interval contains its exponent.
      num_resamples: Number of bootstrap resamples of the measurements, at least 10.
      seed: Seed of the resampling.

    Returns:
      The law. It is a function of the size, or of the sizes by name.

    Raises:
      ValueError: If a size or rate is not finite and above 0, shapes do not match, ``level`` is
        not between 0 and 1, ``num_resamples`` is below 10, or there are too few different sizes or
        measurements for an interval.

    Example:
      >>> from lrsched import scaling
      >>> law = scaling.fit_power_law([32, 128, 512], [4e-3, 2.1e-3, 1e-3])
      >>> round(law.exponent, 3), [round(end, 2) for end in law.interval]
      (-0.5, [-0.76, -0.24])
      >>> round(law(64), 5), round(law.leave_one_out, 2)
      (0.00287, 1.09)
      >>> sizes = {"N": [1e6, 1e6, 1e7, 1e7, 1e8], "D": [1e8, 1e9, 1e8, 1e9, 1e9]}
      >>> joint = scaling.fit_power_law(sizes, [8e-3, 1.6e-2, 2e-3, 4.2e-3, 1e-3])
      >>> {name: round(exponent, 2) for name, exponent in joint.exponents.items()}
      {'N': -0.6, 'D': 0.31}
    """
    variables = dict(sizes) if isinstance(sizes, Mapping) else {SIZE: sizes}
    if not variables:
        raise ValueError("fit_power_law: sizes={} is not accepted; it must name a variable.")
    columns = {
        name: as_numbers("fit_power_law", "sizes" if name == SIZE else name, values)
        for name, values in variables.items()
    }
    y = as_numbers("fit_power_law", "rates", rates)
    for name, x in columns.items():
        if x.ndim != 1 or y.ndim not in (1, 2) or len(x) != len(y):
            raise ValueError(
                f"fit_power_law: sizes of shape {x.shape} and rates of shape {y.shape} do not "
                "match; they must be (sizes,) and (sizes,) or (sizes, seeds)."
            )
        _check_positive(name if name != SIZE else "sizes", x)
    _check_positive("rates", y)
    design = np.stack([np.ones(len(y)), *map(np.log, columns.values())], axis=1)
    num_terms = design.shape[1]
    if np.linalg.matrix_rank(design) < num_terms or y.size <= num_terms:
        raise ValueError(
            f"fit_power_law: {y.size} rates of {len(np.unique(design, axis=0))} sizes do not "
            f"determine an interval; pass more than {num_terms} rates, of {num_terms} sizes or "
            "more that differ in every variable independently."
        )
    size_index = np.repeat(np.arange(len(y)), y.size // len(y))
    rows, logs = design[size_index], np.log(y.ravel())
    # Centre the logarithms: sizes such as 1e9 tokens would make the normal matrix ill-conditioned.
    center = rows.mean(axis=0) * (np.arange(num_terms) > 0)
    rows = rows - center
    solution = _least_squares(rows, logs)
    residuals = logs - rows @ solution
    freedom = len(logs) - num_terms
    covariance = np.linalg.inv(rows.T @ rows) * np.sum(residuals**2) / freedom
    errors = np.sqrt(np.diag(covariance))[1:]
    reach = _student(level, freedom) * errors
    resampled = _bootstrap(rows, logs, num_resamples, seed)[:, 1:]
    quantiles = np.quantile(resampled, [(1 - level) / 2, (1 + level) / 2], axis=0)
    names, exponents = list(columns), solution[1:]

    def intervals(low: np.ndarray, high: np.ndarray) -> dict[str, tuple[float, float]]:
        pairs = zip(low.tolist(), high.tolist(), strict=True)
        return dict(zip(names, pairs, strict=True))

    return PowerLaw(
        dict(zip(names, exponents.tolist(), strict=True)),
        intervals(exponents - reach, exponents + reach),
        intervals(*quantiles),
        dict(zip(names, errors.tolist(), strict=True)),
        float(np.exp(solution[0] - exponents @ center[1:])),
        _leave_one_out(rows, logs, size_index),
    )


def _check_positive(name: str, values: np.ndarray) -> None:
    if not np.all(np.isfinite(values) & (values > 0)):
        raise not_accepted("fit_power_law", name, values.tolist(), "finite numbers above 0")


def _least_squares(rows: np.ndarray, logs: np.ndarray) -> np.ndarray:
    return np.linalg.lstsq(rows, logs, rcond=None)[0]


def _bootstrap(rows: np.ndarray, logs: np.ndarray, num_resamples: int, seed: int) -> np.ndarray:
    """Return the coefficients of each resample of the measurements that determines them."""
    rng = np.random.default_rng(seed)
    drawn = rng.integers(len(logs), size=(num_resamples, len(logs)))
    sampled, values = rows[drawn], logs[drawn]
    valid = np.linalg.matrix_rank(sampled) == rows.shape[1]
    if not valid.any():
        return np.full((1, rows.shape[1]), np.nan)  # no interval, rather than one of width 0
    sampled, values = sampled[valid], values[valid]
    normal = np.einsum("rni,rnj->rij", sampled, sampled)
    moments = np.einsum("rni,rn->ri", sampled, values)
    return np.linalg.solve(normal, moments[..., None])[..., 0]


def _leave_one_out(rows: np.ndarray, logs: np.ndarray, size_index: np.ndarray) -> float:
    errors = []
    for left_out in np.unique(size_index):
        others = size_index != left_out
        if np.linalg.matrix_rank(rows[others]) < rows.shape[1]:
            return float("nan")
        solution = _least_squares(rows[others], logs[others])
        errors.append(logs[~others] - rows[~others] @ solution)
    return float(np.exp(np.sqrt(np.mean(np.concatenate(errors) ** 2))))


def best_rate(rates: ArrayLike, losses: ArrayLike) -> np.ndarray:
    """Return the best rate of a sweep, between the rates that were tried.

    It is the minimum of a parabola in ``log(rate)`` through the lowest loss, its two
    neighbours and the two next best beside them, so that the grid does not quantise it. It stays
    within these points, and at most at the lowest loss if the neighbour above diverged.

    Args:
      rates: Rates of the sweep, increasing, shape ``(rates,)``. `lrsched.tuning.SweepResult.curve`
        returns them.
      losses: Losses, shape ``(rates,)`` or ``(rates, seeds)``. Infinity or NaN marks a run that
        diverged.

    Returns:
      A float64 array with the best rate of each seed, shape ``(seeds,)`` or ``()``.

    Raises:
      ValueError: If ``rates`` do not increase from above 0, the shapes do not match, or the lowest
        loss is at an end of the sweep, so that the best rate may be outside of it.

    >>> import numpy as np
    >>> from lrsched import scaling
    >>> rates = np.geomspace(1e-3, 1.0, 7)
    >>> round(float(scaling.best_rate(rates, np.log(rates / 0.02) ** 2)), 4)
    0.02
    """
    x, y = (
        as_numbers("best_rate", name, values)
        for name, values in (("rates", rates), ("losses", losses))
    )
    if x.ndim != 1 or y.ndim not in (1, 2) or not 0 < len(x) == len(y):
        raise ValueError(
            f"best_rate: rates of shape {x.shape} and losses of shape {y.shape} do not match; they "
            "must be (rates,) and (rates,) or (rates, seeds)."
        )
    if not (np.all(np.diff(x) > 0) and x[0] > 0):
        raise not_accepted("best_rate", "rates", x.tolist(), "numbers that increase, above 0")
    y = np.where(np.isfinite(y), y, np.inf)
    columns = y[:, None] if y.ndim == 1 else y
    best = np.exp([_bottom(np.log(x), column) for column in columns.T])
    return best.reshape(y.shape[1:])


def _bottom(x: np.ndarray, y: np.ndarray) -> float:
    least = int(np.argmin(y))
    if least in (0, len(x) - 1):
        raise ValueError(
            f"best_rate: the lowest loss is at the end of the sweep, at {np.exp(x[least]):.3g}; "
            "extend the sweep beyond it."
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
    """Return the quantile of Student's distribution with ``level`` between -t and t."""
    low, high = 0.0, 1.0  # of freedom / (freedom + t**2)
    for _ in range(50):
        middle = (low + high) / 2
        is_below = float(betainc(freedom / 2, 0.5, middle)) < 1 - level
        low, high = (middle, high) if is_below else (low, middle)
    return float(np.sqrt(freedom * (1 / low - 1)))
