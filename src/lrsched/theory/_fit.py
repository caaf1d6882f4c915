"""Fitting a loss law to the curves of a few runs."""

import functools
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from scipy.optimize import least_squares, nnls

from lrsched.theory.laws import (
    LAWS,
    CheckedCurve,
    LawTerm,
    LossCurve,
    LossLaw,
    loss_along,
    validate_curves,
)

_RECORDS: Final = 3.0
_PRIORS: Final[dict[str, tuple[float, float]]] = {
    "alpha": (0.5, 0.1),
    "gamma": (0.5, 0.1),
    "beta": (0.5, 2.0),
    "memory": (1000.0, 3.0),
    "relaxation": (10.0, 3.0),
}
_HELD: Final = 0.02
_RANGES: Final[dict[str, tuple[float, float]]] = {
    "alpha": (0.2, 1.0),
    "beta": (0.2, 1.0),
    "gamma": (0.2, 1.0),
    "memory": (30.0, 3000.0),
    "relaxation": (1.0, 100.0),
}
# Where every drop has had its whole effect: what the drops do in the long run is well seen.
_QUASI_STATIC: Final = LawTerm(
    "B", (), lambda _, rates, at: -rates[at - 1], lambda _, rates: -rates[-1]
)


def fit_loss_law(
    curves: Sequence[LossCurve],
    law: str = "multi-power",
    *,
    fixed: Mapping[str, float] | None = None,
    after: int | None = None,
    huber: float = 1e-3,
    starts: int = 4,
    seed: int = 0,
) -> LossLaw:
    """The numbers of a law from the curves of a few runs; three are enough that differ in shape.

    It minimises the Huber loss of the relative errors. The law is flexible, and a few curves do not
    settle all of its numbers: what they leave open is settled as follows.

    * The errors along a curve go together, so that each curve counts as 3 independent records,
      however many it has.
    * ``alpha`` and ``gamma`` are near a half, give or take 10 %. ``beta`` is near 0.5, within a
      factor of 7 or so; the number of updates at the peak in which a drop begins to work,
      ``1 / (C peak**(1 - gamma))``, near 10, within a factor of 20; ``memory`` near the paper's
      1000, within 20 too.
    * ``B`` is what it is, give or take 2 %, where every drop has had its whole effect: a law with
      four numbers that is fitted first, as in the code of Luo et al.

    These are logarithmic normal priors, and with more curves they matter less. Everything is done
    in float64, from random shapes whose linear coefficients are least squares; the best end wins.

    Args:
      curves: what was seen of each run. The rates fall in one of them, unless the law is "power".
      law: "multi-power", "annealing" or "power", as in `LossLaw`.
      fixed: numbers that are known, by their names.
      after: records of so many updates or fewer are left out; by default those of the warmup: until
        the rate is first at its largest.
      huber: relative errors above this count linearly.
      starts: from how many starts.
      seed: of the starts.

    Returns:
      The law, with the covariance of its numbers at the optimum.

    Raises:
      ValueError: another law, an unknown fixed number, a curve that is malformed or has no records
        after the warmup, or no rate that falls.

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
    if law not in LAWS:
        raise ValueError(
            f"fit_loss_law: law={law!r} is not accepted; law must be one of "
            f"{', '.join(map(repr, LAWS))}."
        )
    terms, held = LAWS[law], dict(fixed or {})
    if unknown := held.keys() - set(terms.names):
        raise ValueError(
            f"fit_loss_law: fixed has {sorted(unknown)[0]!r}; the law {law!r} has "
            f"{', '.join(terms.names)}."
        )
    if not (isinstance(starts, int) and starts >= 1):
        raise ValueError(f"fit_loss_law: starts={starts!r} is not accepted; it must be 1 or more.")
    if not huber > 0:
        raise ValueError(f"fit_loss_law: huber={huber!r} is not accepted; huber must be above 0.")
    seen = [
        _after(place, curve, after)
        for place, curve in enumerate(validate_curves("fit_loss_law", curves))
    ]
    if terms.scale and not any((np.diff(curve.rates) < 0).any() for curve in seen):
        raise ValueError(
            f"fit_loss_law: the rate falls in none of the curves, so that the law {law!r} cannot be "
            f"fitted; add a curve under another schedule, or take law='power'."
        )
    with jax.enable_x64(True):
        data, random = _data(seen, huber), np.random.default_rng(seed)
        priors = dict(_PRIORS)
        if law == "multi-power" and "B" not in held:
            first = _best(_QUASI_STATIC, data, {}, priors, starts, random)
            priors["B"] = (float(first.numbers["B"]), _HELD)
        found = _best(terms, data, held, priors, starts, random)
    return LossLaw(law, found.numbers, found.covariance, found.spread)


class _Data(NamedTuple):
    """Curves, padded to one shape; ``weights`` are 0 where there is no record."""

    rates: np.ndarray
    at: np.ndarray
    losses: np.ndarray
    weights: np.ndarray
    huber: float

    @property
    def peak(self) -> float:
        return float(self.rates.max())


class _Found(NamedTuple):
    numbers: dict[str, float]
    covariance: np.ndarray
    spread: float


def _after(place: int, curve: CheckedCurve, after: int | None) -> CheckedCurve:
    least = int(np.argmax(curve.rates)) if after is None else after
    kept = curve.steps > least
    if not kept.any():
        raise ValueError(
            f"fit_loss_law: curve {place} has no records after {least} updates; give after=, the "
            "number of updates of the warmup, whose records are left out."
        )
    return CheckedCurve(curve.rates, curve.steps[kept], curve.losses[kept])


def _data(curves: Sequence[CheckedCurve], huber: float) -> _Data:
    steps = max(len(curve.rates) for curve in curves)
    records = max(len(curve.steps) for curve in curves)
    rates, at, losses, weights = zip(
        *(
            (
                np.pad(curve.rates, (0, steps - len(curve.rates)), mode="edge"),
                np.pad(curve.steps, (0, records - len(curve.steps)), mode="edge"),
                np.pad(curve.losses, (0, records - len(curve.losses)), mode="edge"),
                np.pad(
                    np.full(len(curve.steps), _RECORDS / len(curve.steps)),
                    (0, records - len(curve.steps)),
                ),
            )
            for curve in curves
        ),
        strict=True,
    )
    return _Data(np.stack(rates), np.stack(at), np.stack(losses), np.stack(weights), huber)


def _best(
    terms: LawTerm,
    data: _Data,
    held: Mapping[str, float],
    priors: Mapping[str, tuple[float, float]],
    starts: int,
    random: np.random.Generator,
) -> _Found:
    """The end with the least cost of all starts, and what is known of it."""
    names = tuple(name for name in terms.names if name not in held)
    known = {name: float(value) for name, value in held.items()}
    kept = {
        name: prior
        for name, prior in priors.items()
        if name in names or (name == "relaxation" and {"C", "gamma"} <= set(terms.names))
    }
    # SciPy asks for the residuals and then for their slopes at the same place.
    at = functools.lru_cache(maxsize=1)(
        lambda logs: _residuals(terms, names, tuple(kept), known, kept, data, np.array(logs))
    )
    ends = []
    for _ in range(starts):
        start = {**_start(terms, data, random), **known}
        ends.append(
            least_squares(
                lambda logs: np.asarray(at(tuple(logs))[1]),
                np.log([start[name] for name in names]),
                jac=lambda logs: np.asarray(at(tuple(logs))[0]),
                x_scale="jac",
                max_nfev=300,
            )
        )
    end = min(ends, key=lambda end: float(end.cost))
    numbers = {**dict(zip(names, np.exp(end.x).tolist(), strict=True)), **known}
    records = data.weights.size
    noise = np.sqrt(np.sum(end.fun[:records] ** 2) / np.sum(data.weights))
    rows = end.jac.copy()
    rows[:records] /= max(1.0, noise)
    covariance = np.zeros((len(terms.names),) * 2)
    free = [terms.names.index(name) for name in names]
    covariance[np.ix_(free, free)] = np.linalg.pinv(rows.T @ rows)
    ordered = {name: numbers[name] for name in terms.names}
    return _Found(ordered, covariance, float(max(1.0, noise) * data.huber))


def _start(terms: LawTerm, data: _Data, random: np.random.Generator) -> dict[str, float]:
    """A random shape, with the coefficients that are best for it."""
    drawn = {name: float(np.exp(random.uniform(*np.log(ends)))) for name, ends in _RANGES.items()}
    drawn["C"] = data.peak ** (drawn["gamma"] - 1) / drawn["relaxation"]
    shape = {name: drawn[name] for name in ("alpha", *terms.shape)}
    coefficients = ("L0", "A", *((terms.scale,) if terms.scale else ()))
    columns = np.asarray(_columns(terms, len(coefficients), shape, data))
    losses, weights = data.losses.ravel(), np.sqrt(data.weights.ravel())
    scaled = columns.reshape(len(coefficients), -1).T / losses[:, None]
    found, _ = nnls(scaled * weights[:, None], weights)
    least = 1e-3 / np.maximum(np.abs(scaled).max(axis=0), 1e-300)
    return {**dict(zip(coefficients, np.maximum(found, least).tolist(), strict=True)), **shape}


@functools.partial(jax.jit, static_argnums=(0, 1))
def _columns(terms: LawTerm, count: int, shape: Any, data: _Data) -> jax.Array:
    """What each coefficient is multiplied by, ``(coefficients, curves, records)``."""

    def of(which: jax.Array) -> jax.Array:
        names = ("L0", "A", *((terms.scale,) if terms.scale else ()))
        numbers = {**shape, **dict(zip(names, which, strict=True))}
        return _of_all(terms, numbers, data)

    return jnp.stack([of(row) for row in jnp.eye(count)])


def _of_all(terms: LawTerm, numbers: Any, data: _Data) -> jax.Array:
    along = functools.partial(loss_along, terms, numbers)
    losses: jax.Array = jax.vmap(along)(jnp.asarray(data.rates), jnp.asarray(data.at))
    return losses


@functools.partial(jax.jit, static_argnums=(0, 1, 2))
@functools.partial(jax.jacfwd, argnums=6, has_aux=True)
def _residuals(
    terms: LawTerm,
    names: tuple[str, ...],
    priors: tuple[str, ...],
    known: Any,
    centres: Any,
    data: _Data,
    logs: jax.Array,
) -> tuple[jax.Array, jax.Array]:
    """Whose squares are twice the Huber loss of each record, and twice each prior's penalty."""
    numbers = {**known, **dict(zip(names, jnp.exp(logs), strict=True))}
    predicted = _of_all(terms, numbers, data)
    # A law far from its optimum may be below zero somewhere.
    errors = jnp.log(jnp.maximum(predicted, 1e-3 * data.losses) / data.losses) / data.huber
    large = jnp.abs(errors) > 1
    linear = jnp.sign(errors) * jnp.sqrt(jnp.where(large, 2 * jnp.abs(errors) - 1, 1))
    robust = jnp.sqrt(data.weights) * jnp.where(large, linear, errors)
    if "relaxation" in priors:
        peak = jnp.max(data.rates)
        numbers["relaxation"] = peak ** (numbers["gamma"] - 1) / numbers["C"]
    penalties = [jnp.log(numbers[name] / centres[name][0]) / centres[name][1] for name in priors]
    residuals = jnp.concatenate([robust.ravel(), jnp.asarray(penalties)])
    return residuals, residuals
