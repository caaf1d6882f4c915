"""Fitting a loss law to the curves of a few runs."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Final, NamedTuple, TypeAlias

import numpy as np
from scipy.optimize import nnls

from lrsched.arguments import (
    NON_NEGATIVE_FLOAT,
    POSITIVE_FLOAT,
    one_of,
    validate_arguments,
    whole_number,
)
from lrsched.theory._binned import (
    DIFFERENCE,
    BinnedCurves,
    Problem,
    areas,
    bin_curves,
    binned_losses,
    columns,
    law_rates,
    solve,
)
from lrsched.theory.laws import (
    LAWS,
    CheckedCurve,
    LawTerm,
    LossCurve,
    validate_curves,
)
from lrsched.theory.loss_law import Calibration, FittedRuns, LossLaw

# The errors along a curve are correlated: however many records it has, it counts as this many.
_RECORDS: Final = 3.0
_PRIORS: Final[dict[str, tuple[float, float]]] = {
    "alpha": (0.5, 0.1),
    "gamma": (0.5, 0.1),
    "beta": (0.5, 2.0),
    "memory": (1000.0, 3.0),
    "relaxation": (10.0, 3.0),
    # AdamW's usual weight decay, and the squared norm of a usual initialisation: an equilibrium of
    # a rate of 3e-4. Both are logarithmic, and wide enough for a factor of 4.
    "decay": (0.1, 0.7),
    "norm0": (3e-4, 0.7),
    "norm_power": (0.5, 0.1),
}
# Priors that describe the optimizer, not the shape of a law, do not widen with more curves.
_FIXED_WIDTHS: Final = ("decay", "norm0", "norm_power")
_B_WIDTH: Final = 0.02
_NORM: Final[dict[str, float]] = {name: _PRIORS[name][0] for name in _FIXED_WIDTHS}
# From so few left-out curves, the choice between two laws is mostly noise.
_CHOICE: Final = 6
_AUTO: Final = ("norm-aware", "multi-power")
_FOLDS: Final = 4
# A more complex answer must win by this factor in the cross-validation, which is itself noisy.
_MARGIN: Final = 0.8
_KNOTS: Final = 64
# The error of a law is estimated from few left-out curves. It is therefore averaged with a typical
# one, the misfit of the fitted records times this factor, which counts as this many curves. The
# numbers come from fits to 244 subsets of the curves of docs/theory.md, which predicted the others:
# with them the 95 % intervals hold 94 to 99.8 % in each set of curves. Without an average they
# held 99 to 100 % and were up to 2.5 times as wide.
_TYPICAL_ERROR: Final = 0.5
_TYPICAL_CURVES: Final = 12.0
# Where the left-out curves deviate by more than this many of the standard errors that the fit
# claims, the law is wrong there and what is typical counts less.
_CONFLICT: Final = 1.5
# Relative error of a law for one or two curves, where there is no cross-validation.
_ASSUMED_ERROR: Final = 0.01
# No loss is predicted better than the noise of a record.
_LEAST_ERROR: Final = 3e-4


@validate_arguments
def fit_loss_law(
    curves: Sequence[LossCurve],
    law: Annotated[str, one_of("Law", ("auto", *LAWS))] = "auto",
    *,
    fixed: Mapping[str, float] | None = None,
    after: int | None = None,
    huber: Annotated[float, POSITIVE_FLOAT] = 1e-3,
    starts: Annotated[int, whole_number()] = 2,
    seed: int = 0,
) -> LossLaw:
    """Fit the parameters of a loss law to the curves of a few runs.

    Three curves suffice that differ in shape: a constant rate, a cosine, a step down. The fit
    minimises the Huber loss of the relative errors in float64. A few curves do not determine all
    parameters of a law; logarithmic normal priors decide the rest, and their widths grow with the
    square root of the number of curves:

    * The errors along a curve are correlated: each curve counts as 3 independent records.
    * ``alpha`` and ``gamma`` are 0.5 within 10 %, ``beta`` 0.5 within a factor of 7, ``memory``
      1000 and the number of updates at the peak in which a drop begins to act,
      ``1 / (C peak**(1 - gamma))``, 10 within a factor of 20.
    * ``B`` is the value that a law whose drops act at once would have, within 2 %, as in the code
      of Luo et al.; the width grows faster than the others, as the power 3/2.
    * Of "norm-aware", ``decay`` is 0.1 and ``norm0`` 3e-4 within a factor of 2, ``norm_power`` 0.5
      within 10 %. Pass the weight decay as ``fixed={"decay": ...}`` if you know it.

    From three curves on, the curves are left out in turn (in at most 4 groups) and predicted from
    the others. These errors

    * widen the intervals. As a few errors are a poor estimate, they are averaged with the misfit of
      the fit, which counts as 12 more curves unless the two disagree.
    * choose between the laws under ``law="auto"``.
    * correct a law that does worse than the mean of the other curves: the prediction is then a
      mixture of that mean and the law, see `Calibration`.

    Args:
      curves: The curves. The rate falls in at least one of them, unless ``law="power"``.
      law: "auto" ("norm-aware", unless "multi-power" is better by a fifth in the cross-validation
        of six curves or more), "multi-power", "norm-aware", "annealing" or "power", see `LossLaw`.
      fixed: Known parameters by name.
      after: Records after this number of updates or fewer are left out. Defaults to the warmup:
        the updates until the rate first reaches its largest value.
      huber: Relative error above which errors count linearly, above 0.
      starts: Number of starts of the search, at least 1. The first is at the centres of the priors.
      seed: Seed of the other starts.

    Returns:
      The law with the covariance of its parameters, its cross-validated error and, in
      ``LossLaw.trust()``, sentences on its validity.

    Raises:
      ValueError: If ``law`` or a name in ``fixed`` is unknown, a curve is malformed or has no
        record after the warmup, or no rate falls.

    >>> import jax.numpy as jnp, lrsched
    >>> from lrsched import theory
    >>> at = jnp.array([50, 100, 150, 200])
    >>> runs = [lrsched.linear(0.1, 0.1, steps=200), lrsched.linear(0.1, 0.0, steps=200)]
    >>> truth = theory.LossLaw("power", {"L0": 2.0, "A": 1.0, "alpha": 0.5})
    >>> curves = [theory.LossCurve(run, at, truth.predict(run, at=at)) for run in runs]
    >>> law = theory.fit_loss_law(curves, law="power")
    >>> {name: round(value, 3) for name, value in law.numbers.items()}
    {'L0': 2.0, 'A': 1.0, 'alpha': 0.5}
    """
    known = {
        name: float(
            np.asarray(NON_NEGATIVE_FLOAT.validate("fit_loss_law", f"fixed[{name!r}]", value))
        )
        for name, value in (fixed or {}).items()
    }
    laws = _AUTO if law == "auto" else (law,)
    names = {name for each in laws for name in LAWS[each].names}
    if unknown := known.keys() - names:
        raise ValueError(
            f"fit_loss_law: fixed has {sorted(unknown)[0]!r}; the law {law!r} has "
            f"{', '.join(sorted(names))}."
        )
    checked = [
        _without_warmup(place, curve, after)
        for place, curve in enumerate(validate_curves("fit_loss_law", curves))
    ]
    # A copy would be predicted without error from its original when it is left out.
    distinct = {tuple(array.tobytes() for array in curve): curve for curve in checked}
    num_copies, checked = len(checked) - len(distinct), [*distinct.values()]
    if law != "power" and not any((np.diff(curve.rates) < 0).any() for curve in checked):
        raise ValueError(
            "fit_loss_law: the rate falls in none of the curves, so that the law "
            f"{law!r} cannot be fitted; add a curve under another schedule, or take law='power'."
        )
    # NumPy computes in float64 also without jax_enable_x64; parameters this correlated need it.
    data = bin_curves(checked)
    if law == "auto" and len(checked) < _CHOICE:
        laws = _AUTO[:1]
    candidates = [
        _candidate(
            name,
            {key: value for key, value in known.items() if key in LAWS[name].names},
            data,
            huber,
            starts,
            np.random.default_rng(seed),
        )
        for name in laws
    ]
    # The cross-validation of few curves is noisy: the law that explains several peaks stays unless
    # another wins by the margin.
    best = min(
        candidates, key=lambda each: each.score * (1 if each.law == _AUTO[0] else 1 / _MARGIN)
    )
    copies = [f"{num_copies} of the curves repeat others and do not count."] if num_copies else []
    return _finished(best, checked, data, copies)


class _Solution(NamedTuple):
    """The end of a search.

    Attributes:
      numbers: All parameters.
      covariance: Covariance of the logarithms of all parameters.
      misfit: Root mean square error over ``huber``, at least 1.
    """

    numbers: dict[str, float]
    covariance: np.ndarray
    misfit: float
    cost: float


class _Candidate(NamedTuple):
    """A fitted law with its cross-validation.

    Attributes:
      errors: Relative error along left-out curves and at their ends, or `None` without folds.
      baseline: Errors of the mean of the other curves.
      strength: Strength of the calibration, or `None` without one.
      score: Criterion by which a law is chosen; lower is better.
    """

    law: str
    solution: _Solution
    huber: float
    errors: tuple[float, float] | None
    baseline: tuple[float, float]
    strength: float | None
    score: float


def _without_warmup(place: int, curve: CheckedCurve, after: int | None) -> CheckedCurve:
    first = int(np.argmax(curve.rates)) if after is None else after
    is_kept = curve.steps > first
    if not is_kept.any():
        raise ValueError(
            f"fit_loss_law: curve {place} has no records after {first} updates; give after=, the "
            "number of updates of the warmup, whose records are left out."
        )
    return CheckedCurve(curve.rates, curve.steps[is_kept], curve.losses[is_kept])


def _candidate(
    law: str,
    known: Mapping[str, float],
    data: BinnedCurves,
    huber: float,
    starts: int,
    random: np.random.Generator,
) -> _Candidate:
    count = len(data.rates)
    solution = _fit_once(law, known, data, huber, starts, random)
    if count < 3:
        return _Candidate(law, solution, huber, None, (math.nan, math.nan), None, solution.cost)
    folds = min(_FOLDS, count)
    left_out: list[_Squares] = []
    for fold in range(folds):
        left = [place for place in range(count) if place % folds == fold]
        # The folds start at the solution for all curves and so need few iterations. The result is
        # the optimum without the left-out curves; only the choice among optima has seen them.
        part = data.without(left)
        numbers = _fit_once(law, known, part, huber, 0, random, solution.numbers, 5).numbers
        left_out += _squared_errors(law, numbers, data, left, set(range(count)) - set(left))
    errors = {each: _root_mean([squares[each] for squares in left_out]) for each in _STRENGTHS}
    # The robust fit ignores a curve that the law cannot describe, such as the only long one. If it
    # is left out, no strength predicts it; the fitted curves show which strength follows it.
    fitted = _squared_errors(law, solution.numbers, data, range(count), range(count))
    residuals = {each: _root_mean([squares[each] for squares in fitted]) for each in _STRENGTHS}
    scores = {each: math.hypot(*errors[each], *residuals[each]) for each in _STRENGTHS}
    corrected = min(_STRENGTHS[1:], key=lambda each: scores[each])
    strength = corrected if scores[corrected] < _MARGIN * scores[None] else None
    along, final = (float(each) for each in errors[strength])
    base = float(errors[0.0][0]), float(errors[0.0][1])
    return _Candidate(law, solution, huber, (along, final), base, strength, scores[strength])


_Squares: TypeAlias = dict[float | None, np.ndarray]
"""Mean squared log error along a curve and at its end, by the strength of the calibration."""
_STRENGTHS: Final = (None, 0.0, 0.25, 0.5, 0.75, 1.0)


def _squared_errors(
    law: str,
    numbers: Mapping[str, float],
    data: BinnedCurves,
    places: Iterable[int],
    averaged: Iterable[int],
) -> list[_Squares]:
    """Return the errors at some curves of a law that is corrected by the mean of others."""
    log_laws = np.log(np.maximum(_losses(LAWS[law], numbers, data), 1e-3 * data.losses))
    curves = [_records(data, log_laws, place) for place in averaged]
    rows = []
    for place in places:
        at, log_loss, log_law = _records(data, log_laws, place)
        mean_loss, mean_law = _means(curves, at)
        squares: _Squares = {}
        for strength in _STRENGTHS:
            guess = log_law if strength is None else mean_loss + strength * (log_law - mean_law)
            error = guess - log_loss
            squares[strength] = np.array([np.mean(error**2), error[-1] ** 2])
        rows.append(squares)
    return rows


def _root_mean(squares: Sequence[np.ndarray]) -> np.ndarray:
    root: np.ndarray = np.sqrt(np.mean(squares, axis=0))
    return root


def _finished(
    best: _Candidate, curves: Sequence[CheckedCurve], data: BinnedCurves, warnings: list[str]
) -> LossLaw:
    """Build the public result."""
    solution, count = best.solution, len(curves)
    noise = solution.misfit * best.huber
    dof = 0.0
    if best.errors is None:
        spread = np.full(2, max(noise, _ASSUMED_ERROR))
    else:
        claimed_sq = _end_variance(best.law, solution, data) + noise**2
        agreement = min(1.0, _CONFLICT**2 * claimed_sq / max(best.errors[1], _LEAST_ERROR) ** 2)
        # The misfit of a law says nothing about a prediction that is corrected by the mean.
        typical = _TYPICAL_CURVES * agreement if best.strength is None else 0.0
        dof = count - 1 + typical
        total = (count - 1) * np.square(best.errors) + typical * (_TYPICAL_ERROR * noise) ** 2
        spread = np.maximum(np.sqrt(total / dof), _LEAST_ERROR)
        if best.strength is not None and best.strength < 1:
            warnings.append(
                "The law does not describe these runs: the prediction is "
                f"{1 - best.strength:.0%} the mean of the curves."
            )
        elif best.errors[1] > 0.7 * best.baseline[1]:
            warnings.append("The law is hardly better than the mean of the other curves.")
    peaks = [float(curve.rates.max()) for curve in curves]
    if max(peaks) < 1.05 * min(peaks):
        warnings.append("Only one peak was seen, so the effect of another is an assumption.")
    lengths = [int(curve.steps.max()) for curve in curves]
    lowest = min(float(curve.rates[int(curve.steps.max()) - 1]) / max(peaks) for curve in curves)
    runs = FittedRuns(
        count,
        (min(peaks), max(peaks)),
        (min(lengths), max(lengths)),
        lowest,
        dof,
        best.errors or (math.nan, math.nan),
        best.baseline[1],
        tuple(warnings),
    )
    calibration = None
    if best.strength is not None:
        log_laws = np.log(np.maximum(_losses(LAWS[best.law], solution.numbers, data), 1e-300))
        records = [_records(data, log_laws, place) for place in range(count)]
        # The mean jumps where a curve ends, so there is a knot on each side of every end.
        ends = np.array([_end_of_cover(each[0]) for each in records])
        first = min(each[0][0] for each in records)
        between = np.rint(np.geomspace(first, max(lengths), _KNOTS))
        knots = np.unique([*between, *np.floor(ends), *np.floor(ends) + 1])
        # float32, as a compiled program of jax 0.10 that was called in another precision before may
        # take float64 arrays of NumPy as they are, and fails.
        steps, log_loss, log_law = map(np.float32, (knots, *_means(records, knots)))
        calibration = Calibration(steps, log_loss, log_law, best.strength)
    return LossLaw(best.law, solution.numbers, solution.covariance, spread, calibration, runs)


def _end_variance(law: str, solution: _Solution, data: BinnedCurves) -> float:
    """Return the mean variance of the log final losses that the covariance implies."""
    terms, last = LAWS[law], (data.weights > 0).sum(axis=1)[:, None] - 1

    def ends(numbers: Mapping[str, float]) -> np.ndarray:
        losses = np.take_along_axis(_losses(terms, numbers, data), last, axis=1)[:, 0]
        log_ends: np.ndarray = np.log(np.maximum(losses, 1e-300))
        return log_ends

    now = ends(solution.numbers)
    slopes = np.stack(
        [
            ends({**solution.numbers, name: value * np.exp(DIFFERENCE)}) - now
            for name, value in solution.numbers.items()
        ]
    )
    slopes /= DIFFERENCE
    return float(np.mean(np.einsum("ik,ij,jk->k", slopes, solution.covariance, slopes)))


def _records(
    data: BinnedCurves, log_laws: np.ndarray, place: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return updates, log losses and the law's log losses of one curve, without padding."""
    real = data.weights[place] > 0
    return data.at[place][real], np.log(data.losses[place][real]), log_laws[place][real]


def _means(
    records: Sequence[tuple[np.ndarray, np.ndarray, np.ndarray]], at: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return the means of the log losses and of the law's log losses of curves, see `_records`."""
    losses, laws = (mean_curve([(each[0], each[i]) for each in records], at) for i in (1, 2))
    return losses, laws


def mean_curve(curves: Sequence[tuple[np.ndarray, np.ndarray]], at: np.ndarray) -> np.ndarray:
    """Average curves up to their ends; beyond all of them, hold the longest one's value."""
    values = np.stack([np.interp(at, steps, losses) for steps, losses in curves])
    ends = np.array([_end_of_cover(steps) for steps, _ in curves])
    covers = (at <= ends[:, None]) | (ends == ends.max())[:, None]
    mean: np.ndarray = np.sum(values * covers, axis=0) / np.sum(covers, axis=0)
    return mean


def _end_of_cover(steps: np.ndarray) -> float:
    """Return the number of updates up to which the last record of a curve stands for its loss.

    A run of 400 updates may have its last record at 395: its end is one interval of records later
    at most.
    """
    return float(steps[-1] + (steps[-1] - steps[-2] if len(steps) > 1 else 0))


def _losses(terms: LawTerm, numbers: Mapping[str, float], data: BinnedCurves) -> np.ndarray:
    return binned_losses(terms, numbers, data)


def _fit_once(
    law: str,
    known: Mapping[str, float],
    data: BinnedCurves,
    huber: float,
    starts: int,
    random: np.random.Generator,
    near: Mapping[str, float] | None = None,
    iterations: int = 40,
) -> _Solution:
    terms, more = LAWS[law], max(1.0, math.sqrt(float(data.weights.sum()) / 3))
    names = tuple(name for name in terms.names if name not in known)
    priors = {
        name: (centre, width if name in _FIXED_WIDTHS else width * more)
        for name, (centre, width) in _PRIORS.items()
        if name in names or (name == "relaxation" and {"C", "gamma"} <= set(terms.names))
    }
    if terms.scale == "B" and "B" in names:
        priors["B"] = (_instant_scale(terms, data, huber), _B_WIDTH * more**3)
    problem = Problem(
        law,
        names,
        tuple(priors),
        np.log([centre for centre, _ in priors.values()]),
        np.array([width for _, width in priors.values()]),
        _RECORDS,
        huber,
        known,
    )
    begins = (
        [dict(near)]
        if near
        else [_start(law, data, huber, random, place) for place in range(starts)]
    )
    ends = []
    for begin in begins:
        if terms.normalised and near is None:
            # The norm's parameters are released last: from far away the search explains any misfit
            # by them and ends in a poor optimum.
            begin = solve(problem, data, begin, 15, held=_FIXED_WIDTHS).numbers
        ends.append(solve(problem, data, begin, iterations))
    end = min(ends, key=lambda end: end.cost)
    count = data.weights.size
    used = _RECORDS * float(data.weights.sum())
    misfit = max(1.0, math.sqrt(float(np.sum(end.residuals[:count] ** 2)) / used))
    rows = end.jacobian.copy()
    rows[:count] /= misfit
    free = [terms.names.index(name) for name in names]
    covariance = np.zeros((len(terms.names),) * 2)
    covariance[np.ix_(free, free)] = np.linalg.pinv(rows.T @ rows)
    return _Solution(end.numbers, covariance, misfit, end.cost)


def _start(
    law: str, data: BinnedCurves, huber: float, random: np.random.Generator, place: int
) -> dict[str, float]:
    """Draw a shape, at first the centres of the priors, with its best linear coefficients."""
    terms = LAWS[law]
    shape = {
        name: centre * float(np.exp((place > 0) * random.normal() * min(width, 0.7)))
        for name, (centre, width) in _PRIORS.items()
    }
    rates = law_rates(terms, _NORM, data)
    shape["C"] = float(rates.max()) ** (shape["gamma"] - 1) / shape["relaxation"]
    shape = {name: shape[name] for name in terms.names if name in shape and name != terms.scale}
    names = ("L0", "A", *((terms.scale,) if terms.scale else ()))
    found = _linear(columns(law, shape, data), data, huber)[0]
    return {**shape, **dict(zip(names, found.tolist(), strict=True))}


def _linear(parts: np.ndarray, data: BinnedCurves, huber: float) -> tuple[np.ndarray, float]:
    """Fit positive coefficients to relative errors under Huber's loss, and return its value."""
    counts = data.weights.ravel()
    scaled = parts.reshape(len(parts), -1).T / data.losses.ravel()[:, None]
    weights, found, cost = counts, np.ones(len(parts)), math.inf
    for _ in range(8):
        # Least squares, reweighted: one outlier would otherwise move the centre of B's prior.
        root = np.sqrt(weights)
        found, _ = nnls(scaled * root[:, None], root)
        errors = np.abs(scaled @ found - 1) / huber
        cost = float(counts @ np.where(errors > 1, 2 * errors - 1, errors**2))
        weights = counts / np.maximum(errors, 1)
    least = 1e-3 / np.maximum(np.abs(scaled).max(axis=0), 1e-300)
    return np.maximum(found, least), cost


def _instant_scale(terms: LawTerm, data: BinnedCurves, huber: float) -> float:
    """Fit ``B`` of ``L0 + A S**-alpha + B rate``, a law whose drops act at once."""
    rates = law_rates(terms, _NORM, data)
    now, until = np.take_along_axis(rates, data.place, axis=1), areas(rates, data)[1]
    ends = [
        _linear(np.stack([np.ones_like(now), until**-alpha, now]), data, huber)
        for alpha in np.linspace(0.35, 0.65, 13)
    ]
    return float(min(ends, key=lambda end: end[1])[0][2])
