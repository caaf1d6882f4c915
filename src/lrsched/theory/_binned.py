"""Least squares for loss laws on binned curves, in float64."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, Literal, NamedTuple

import numpy as np

from lrsched.theory.laws import (
    LAWS,
    CheckedCurve,
    LawTerm,
    Numbers,
)

# A fit evaluates bins x groups terms per curve. With 160 bins the law of a run of 50,000 updates
# differs from the exact one by less than 1e-3, and 20 curves fit within seconds.
_BINS: Final = 160
_GROUPS: Final = 16
# The last records stay single: they decide how schedules rank.
_LAST: Final = 8
# Change of the logarithm of a parameter in forward differences.
DIFFERENCE: Final = 1e-6


class BinnedCurves(NamedTuple):
    """Curves as arrays of one shape.

    Attributes:
      rates: Mean rate of each bin, ``(curves, bins)``.
      width: Updates in each bin, ``(curves, bins)``.
      begin: First update of each bin, ``(curves, bins)``.
      at: Mean number of updates of each group of records, ``(curves, groups)``.
      place: Bin of each group, ``(curves, groups)``.
      losses: Median loss of each group, ``(curves, groups)``.
      weights: 1 over the number of groups of the curve, and 0 for padding, ``(curves, groups)``.
    """

    rates: np.ndarray
    width: np.ndarray
    begin: np.ndarray
    at: np.ndarray
    place: np.ndarray
    losses: np.ndarray
    weights: np.ndarray

    def without(self, places: Sequence[int]) -> BinnedCurves:
        """Return the curves with a weight of 0 for these ones."""
        weights = self.weights.copy()
        weights[list(places)] = 0
        return self._replace(weights=weights)


def bin_curves(curves: Sequence[CheckedCurve]) -> BinnedCurves:
    """Average the rates in bins, and take the records in groups."""
    rows, groups = [], []
    for curve in curves:
        order = np.argsort(curve.steps, kind="stable")
        steps, losses = curve.steps[order].astype(np.float64), curve.losses[order]
        # What happens after the last record of an unfinished run does not matter to the fit.
        rates = curve.rates[: int(steps[-1])]
        edges = _edges(len(rates))
        width = np.diff(edges)
        rows.append((np.add.reduceat(rates, edges[:-1]) / width, width.astype(np.float64)))
        single = min(_LAST, len(steps))
        num_grouped = len(steps) - single
        # Few records stay single, and groups are represented by their median: an outlier would
        # otherwise spoil a group, and Huber's loss could no longer ignore it.
        parts = num_grouped if num_grouped <= 2 * _GROUPS else _GROUPS
        cuts = [] if parts == 0 else np.array_split(np.arange(len(steps) - single), parts)
        cuts = [*cuts, *np.arange(len(steps) - single, len(steps))[:, None]]
        groups.append(
            (
                np.array([steps[cut].mean() for cut in cuts]),
                np.array([np.median(losses[cut]) for cut in cuts]),
            )
        )
    bins, most = max(len(row) for row, _ in rows), max(len(at) for at, _ in groups)

    def padded(
        values: np.ndarray, length: int, mode: Literal["edge", "constant"] = "edge"
    ) -> np.ndarray:
        return np.pad(values, (0, length - len(values)), mode=mode)

    widths = np.stack([padded(width, bins) for _, width in rows])
    begin = np.cumsum(widths, axis=1) - widths
    at = np.stack([padded(at, most) for at, _ in groups])
    place = [
        np.clip(np.searchsorted(starts, updates, "left") - 1, 0, bins - 1)
        for starts, updates in zip(begin, at, strict=True)
    ]
    return BinnedCurves(
        np.stack([padded(row, bins) for row, _ in rows]),
        widths,
        begin,
        at,
        np.stack(place),
        np.stack([padded(losses, most) for _, losses in groups]),
        np.stack([padded(np.full(len(at), 1 / len(at)), most, "constant") for at, _ in groups]),
    )


def _edges(updates: int) -> np.ndarray:
    """Return the edges of the bins: fine in the warmup, whose rises weigh most, then equal."""
    widest, edges = -(-updates // _BINS), [0]
    while edges[-1] < updates:
        edges.append(edges[-1] + int(np.clip(0.15 * edges[-1], 1, widest)))
    return np.array([*edges[:-1], updates])


def law_rates(terms: LawTerm, numbers: Numbers, curves: BinnedCurves) -> np.ndarray:
    """Compute the rates of the bins that a law sees, see `effective_rates`, ``(curves, bins)``."""
    if not terms.normalised:
        return curves.rates
    exponent = -2 * numbers["decay"] * curves.rates * curves.width
    decayed, added = np.exp(exponent), -curves.rates * np.expm1(exponent)
    norm_sq = np.empty_like(curves.rates)
    latest = np.full(len(curves.rates), float(numbers["norm0"]))
    for place in range(curves.rates.shape[1]):
        latest = decayed[:, place] * latest + added[:, place]
        norm_sq[:, place] = latest
    return curves.rates * np.maximum(norm_sq, 1e-30) ** -numbers["norm_power"]


def areas(rates: np.ndarray, curves: BinnedCurves) -> tuple[np.ndarray, np.ndarray]:
    """Compute the sum of the rates before each bin and before each group of records."""
    area = np.cumsum(rates * curves.width, axis=1) - rates * curves.width
    within = curves.at - np.take_along_axis(curves.begin, curves.place, axis=1)
    within = within * np.take_along_axis(rates, curves.place, axis=1)
    return area, np.take_along_axis(area, curves.place, axis=1) + within


def binned_losses(
    terms: LawTerm, numbers: Numbers, curves: BinnedCurves, rates: np.ndarray | None = None
) -> np.ndarray:
    """Compute the losses of a law at the groups of records, ``(curves, groups)``.

    The same sums as in `lrsched.theory.laws`, exact for rates that are constant in a bin. NumPy, as
    a fit of few curves would otherwise spend most of its time in XLA's compiler.
    """
    rates = law_rates(terms, numbers, curves) if rates is None else rates
    at, begin = curves.at, curves.begin
    area, until = areas(rates, curves)
    losses: np.ndarray = numbers["L0"] + numbers["A"] * until ** -numbers["alpha"]
    if terms.scale is None:
        return losses
    drops = -np.diff(rates, axis=1, prepend=0)
    if terms.scale == "C":
        age = np.maximum(at[:, :, None] - begin[:, None], 0)
        memory = numbers["memory"]
        gain = np.expm1(-age / memory) / np.expm1(-1 / memory)
    else:
        floor = 1e-4 * rates.max(axis=1, keepdims=True)
        weights = numbers["C"] * np.maximum(rates, floor) ** -numbers["gamma"]
        passed = np.maximum(until[:, :, None] - area[:, None], 0)
        gain = -np.expm1(-numbers["beta"] * np.log1p(weights[:, None] * passed))
    losses -= numbers[terms.scale] * (gain @ drops[:, :, None])[:, :, 0]
    return losses


class Problem(NamedTuple):
    """A least-squares problem in the logarithms of the parameters.

    Attributes:
      law: Name of the law.
      names: Names of the parameters that are not known.
      priors: Names of what has a prior.
      centres: Logarithm of the centre of each prior, ``(priors,)``.
      widths: Standard deviation of each prior, ``(priors,)``.
      records: Number of independent records that a curve counts for.
      huber: Relative error from which on the penalty is linear.
      known: The other parameters.
    """

    law: str
    names: tuple[str, ...]
    priors: tuple[str, ...]
    centres: np.ndarray
    widths: np.ndarray
    records: float
    huber: float
    known: Mapping[str, float]


class Solution(NamedTuple):
    """The end of a search: all parameters, the cost, the residuals and their Jacobian."""

    numbers: dict[str, float]
    cost: float
    residuals: np.ndarray
    jacobian: np.ndarray


def solve(
    problem: Problem,
    curves: BinnedCurves,
    start: Mapping[str, float],
    iterations: int = 40,
    held: Sequence[str] = (),
) -> Solution:
    """Minimise by Levenberg and Marquardt's method.

    Args:
      problem: The problem.
      curves: The data. Curves of weight 0 are left out: every fold has one shape, and nothing is
        compiled again for it.
      start: A start for the parameters that are not known.
      iterations: Maximum number of accepted moves.
      held: Names of parameters that stay at their start.

    Returns:
      The solution.
    """
    names = problem.names
    is_free = np.array([name not in held for name in names])
    logs = np.log([start[name] for name in names])
    values = _residuals(problem, curves, logs)
    cost = 0.5 * float(values @ values)
    slopes = np.zeros((len(values), len(names)))
    damping = 1e-2
    for _ in range(iterations):
        # Forward differences: a Jacobian costs as many evaluations as there are parameters, and no
        # compilation. Their error, 1e-7, is far below the damping.
        steps = np.eye(len(names)) * DIFFERENCE
        slopes = np.stack(
            [(_residuals(problem, curves, logs + step) - values) / DIFFERENCE for step in steps],
            axis=1,
        )
        free = slopes * is_free
        gradient, curvature = free.T @ values, free.T @ free
        diagonal = np.diag(np.diag(curvature) + 1e-12)
        for _ in range(10):
            # A law is far from linear in its shape: no parameter moves by more than a factor of e.
            move = np.clip(np.linalg.solve(curvature + damping * diagonal, -gradient), -1, 1)
            tried = _residuals(problem, curves, logs + move)
            lower = 0.5 * float(tried @ tried)
            if np.isfinite(lower) and lower < cost:
                break
            damping *= 5
        else:
            break
        is_done = cost - lower < 1e-5 * cost
        logs, damping, values, cost = logs + move, max(damping / 5, 1e-9), tried, lower
        if is_done:
            break
    numbers = {**problem.known, **dict(zip(names, np.exp(logs).tolist(), strict=True))}
    numbers = {name: numbers[name] for name in LAWS[problem.law].names}
    return Solution(numbers, cost, values, slopes)


def _residuals(problem: Problem, curves: BinnedCurves, logs: np.ndarray) -> np.ndarray:
    """Return residuals whose squares are twice the Huber losses, and those of the priors."""
    terms, huber = LAWS[problem.law], problem.huber
    free = np.exp(np.clip(logs, -60, 60)).tolist()
    numbers = {**problem.known, **dict(zip(problem.names, free, strict=True))}
    # A trial far from the optimum may overflow; it is then not accepted.
    with np.errstate(all="ignore"):
        rates = law_rates(terms, numbers, curves)
        predicted = binned_losses(terms, numbers, curves, rates)
        # A law far from its optimum may be below zero somewhere.
        errors = np.log(np.maximum(predicted, 1e-3 * curves.losses) / curves.losses) / huber
        large = np.abs(errors) > 1
        linear = np.sign(errors) * np.sqrt(np.where(large, 2 * np.abs(errors) - 1, 1))
        robust = np.sqrt(problem.records * curves.weights) * np.where(large, linear, errors)
        if "relaxation" in problem.priors:
            numbers["relaxation"] = rates.max() ** (numbers["gamma"] - 1) / numbers["C"]
    values = np.log([numbers[name] for name in problem.priors])
    return np.concatenate([robust.ravel(), (values - problem.centres) / problem.widths])


def columns(law: str, numbers: Mapping[str, float], curves: BinnedCurves) -> np.ndarray:
    """Compute the factor of each linear coefficient, ``(coefficients, curves, groups)``."""
    terms = LAWS[law]
    names = ("L0", "A", *((terms.scale,) if terms.scale else ()))
    return np.stack(
        [
            binned_losses(terms, {**numbers, **dict(zip(names, row, strict=True))}, curves)
            for row in np.eye(len(names))
        ]
    )
