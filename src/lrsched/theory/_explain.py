"""What the schedule of a finished run did, in sentences, and what the laws say of other endings."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

from lrsched.finding import Finding
from lrsched.theory._fit import fit_loss_law
from lrsched.theory._history import read_history
from lrsched.theory.bound import run_rates
from lrsched.theory.comparison import ComparisonResult, compare
from lrsched.theory.laws import LossCurve, validate_curves

if TYPE_CHECKING:
    import os

    from jax.typing import ArrayLike

# A rate counts as the peak from this fraction of it on.
_AT_PEAK: Final = 0.95
_PLATEAU: Final = 0.05
_COOLDOWN: Final = 0.1
_LAST_RATE: Final = 0.1
# In standard deviations of the noise of a record; and the least relative height.
_SPIKE: Final = 6.0
_SPIKE_HEIGHT: Final = 0.05
_RISE: Final = 0.02
_IDLE_RATE: Final = 0.01
_IDLE_LENGTH: Final = 0.05
_IDLE_CHANGE: Final = 0.005
_LEAST_CHANGE: Final = 1e-3
_LEAST_RECORDS: Final = 12
_LAW_RECORDS: Final = 20
# The law is fitted to medians over this number of bins: it does not need more, and the time of a
# fit grows with the records.
_BINS: Final = 120
_MAX_FINDINGS: Final = 4
_LONGER: Final = 1.25


class Explanation(NamedTuple):
    """Result of `explain`. ``print`` shows at most six sentences.

    Attributes:
      findings: Effects of the schedule, the most serious first, then the predictions. The kinds are
        ``"not finite"``, ``"rising loss"``, ``"spikes"``, ``"no cooldown"``, ``"short cooldown"``,
        ``"plateau"``, ``"idle rates"``, ``"endings"``, ``"longer"`` and ``"no law"``.
      num_updates: Number of updates of the run.
      endings: Predictions of a law for the run as it was and with other endings, all of one length;
        `None` if there are not enough data for a law.
    """

    findings: tuple[Finding, ...]
    num_updates: int
    endings: ComparisonResult | None

    @property
    def kinds(self) -> tuple[str, ...]:
        """The kinds of the findings, in order."""
        return tuple(each.kind for each in self.findings)

    def __str__(self) -> str:
        predictions = ("endings", "longer", "no law")
        is_clean = all(kind in predictions for kind in self.kinds)
        head = [f"No finding in {self.num_updates} updates."] if is_clean else []
        return "\n".join([*head, *map(str, self.findings)])


def explain(
    history: LossCurve | Mapping[str, ArrayLike] | str | os.PathLike[str],
    *,
    others: Sequence[LossCurve] = (),
    law: str | None = "auto",
) -> Explanation:
    """Say what the schedule of a finished run did, and what other endings would have given.

    The findings, each with its number, its threshold and the source of that:

    * "not finite": records that are not finite.
    * "rising loss": the median of the last records is more than 2 % and four standard errors above
      the lowest one of the run (heuristic).
    * "spikes": records 6 standard deviations of the noise, and 5 %, above the median of the 7
      records before (heuristic).
    * "no cooldown": the last rate is above a tenth of the peak (Bergsma et al.: a decay to zero is
      better than one to a tenth).
    * "short cooldown": the rate falls over less than 10 % of the updates (Hägele et al.: the gain
      of a cooldown grows up to about 20 %).
    * "plateau": at the constant rate before the cooldown, the loss fell less from the third to the
      fourth quarter of that phase than 5 % of what it fell from the first to the second
      (heuristic; a power law of exponent 1/2 has 16 %). The upper end of the error counts.
    * "idle rates": 5 % of the updates or more in one stretch had rates below 1 % of the peak, and
      the loss changed by less than 0.5 %, the upper end of its error included (heuristic).

    The noise of a record is the median absolute second difference of the logarithms of the losses,
    so that neither the trend nor spikes enter. The predictions are those of `fit_loss_law` for the
    run and ``others``; from one run alone, its error is an assumption (see `LossLaw.trust`).

    Args:
      history: The run: a `LossCurve`, or anything that `read_history` reads (columns by name, a
        CSV, a TensorBoard folder). It needs 12 finite records, and 20 after the warmup for a law.
      others: Curves of other runs of the same model and data, which make the intervals narrower.
      law: Law of `fit_loss_law`, or `None` for no predictions, which take most of the time. With
        "auto", runs in which no rate falls below half of its peak are fitted by "power", which
        predicts longer runs but no other endings.

    Returns:
      The findings and the predictions.

    Raises:
      ValueError: If there are fewer than 12 finite records, a loss is not above 0, a rate is
        negative, or as in `read_history`.

    Example:
      >>> import jax.numpy as jnp, lrsched
      >>> from lrsched import theory
      >>> truth = theory.LossLaw("power", {"L0": 2.0, "A": 1.0, "alpha": 0.5})
      >>> at, run = jnp.arange(20, 401, 20), lrsched.linear(0.1, 0.1, steps=400)
      >>> explanation = theory.explain(theory.LossCurve(run, at, truth.predict(run, at=at)))
      >>> explanation.kinds
      ('no cooldown', 'longer')
      >>> print(explanation.findings[0])
      no cooldown: the last rate is 100 % of the peak of 0.1; a decay to zero usually ends lower \
(1, threshold 0.1, arXiv 2502.15938).

    References:
      Hägele et al. 2024 (arXiv 2405.18392); Bergsma et al. 2025 (arXiv 2502.15938).
    """
    run = _Run.of(history if isinstance(history, LossCurve) else read_history(history))
    findings = [*_not_finite(run), *_rising(run), *_spikes(run), *_cooldown(run), *_plateau(run)]
    findings += _idle(run)
    predictions: list[Finding] = []
    endings = None
    if law is not None:
        predictions, endings = _predictions(run, others, law, is_broken=_is_broken(findings))
    return Explanation((*findings[:_MAX_FINDINGS], *predictions), len(run.rates), endings)


class _Run(NamedTuple):
    """A run without the records that are not finite; ``log_losses`` are natural logarithms."""

    rates: np.ndarray
    steps: np.ndarray
    log_losses: np.ndarray
    nonfinite_steps: np.ndarray
    noise: float
    peak: float
    # First and last update at the peak rate, and the number of updates before the first one.
    stable: tuple[int, int]

    @classmethod
    def of(cls, curve: LossCurve) -> _Run:
        (checked,) = validate_curves("explain", [curve], allow_nonfinite=True)
        order = np.argsort(checked.steps, kind="stable")
        steps, losses = checked.steps[order], checked.losses[order]
        # Only what was trained: planned rates beyond the last record did nothing.
        rates = checked.rates[: int(steps[-1])]
        is_finite = np.isfinite(losses)
        if is_finite.sum() < _LEAST_RECORDS:
            raise ValueError(
                f"explain: {is_finite.sum()} finite records are not enough; at least "
                f"{_LEAST_RECORDS} are needed."
            )
        peak = float(rates.max())
        if peak <= 0:
            raise ValueError("explain: every rate is 0; at least one must be above 0.")
        at_peak = np.flatnonzero(rates >= _AT_PEAK * peak)
        logs = np.log(losses[is_finite])
        # Second differences have 6 times the variance of a record; 1.4826 is the normal
        # distribution's standard deviation over its median absolute deviation.
        noise = 1.4826 * float(np.median(np.abs(np.diff(logs, 2)))) / np.sqrt(6)
        return cls(
            rates,
            steps[is_finite],
            logs,
            steps[~is_finite],
            noise,
            peak,
            (int(at_peak[0]), int(at_peak[-1])),
        )

    def between(self, first: float, last: float) -> np.ndarray:
        """Return the logarithms of the losses recorded after ``first`` to ``last`` updates."""
        return self.log_losses[(self.steps > first) & (self.steps <= last)]

    def fall(self, before: np.ndarray, after: np.ndarray) -> tuple[float, float]:
        """Return the fall of the median from one set of records to another, and its error."""
        # The standard error of a median is 1.2533 times that of a mean.
        error = 1.2533 * self.noise * np.sqrt(1 / len(before) + 1 / len(after))
        return float(np.median(before) - np.median(after)), float(error)

    def rate_at(self, step: int) -> float:
        return float(self.rates[step - 1])


def _percent(fraction: float, digits: int = 0) -> str:
    return f"{100 * fraction:.{digits}f} %"


def _not_finite(run: _Run) -> Iterator[Finding]:
    count = len(run.nonfinite_steps)
    if count:
        first = int(run.nonfinite_steps[0])
        yield Finding(
            "not finite",
            f"{count} records are not finite, the first at step {first} at a rate of "
            f"{run.rate_at(first):.3g}, {_percent(run.rate_at(first) / run.peak)} of the peak",
            float(count),
            0.0,
            "any",
        )


def _rising(run: _Run) -> Iterator[Finding]:
    size = max(3, len(run.steps) // 20)
    medians = np.array([np.median(block) for block in _blocks(run.log_losses, size)])
    lowest = int(np.argmin(medians))
    rise = float(np.exp(medians[-1] - medians[lowest]) - 1)
    error = 1.2533 * run.noise * np.sqrt(2 / size)
    if rise > max(_RISE, 4 * error):
        step = int(run.steps[min((lowest + 1) * size, len(run.steps)) - 1])
        yield Finding(
            "rising loss",
            f"the loss ended {_percent(rise, 1)} above its lowest median, reached by step {step} "
            f"at a rate of {run.rate_at(step):.3g}",
            rise,
            _RISE,
            "heuristic",
        )


def _blocks(values: np.ndarray, size: int) -> list[np.ndarray]:
    return [values[i : i + size] for i in range(0, len(values) - size + 1, size)]


def _spikes(run: _Run) -> Iterator[Finding]:
    window = 7
    before = np.lib.stride_tricks.sliding_window_view(run.log_losses, window)[:-1]
    heights = run.log_losses[window:] - np.median(before, axis=1)
    # Without noise every bend would be a spike, so the relative height counts as well.
    is_high = heights > max(_SPIKE * run.noise, np.log1p(_SPIKE_HEIGHT))
    starts = np.flatnonzero(is_high & ~np.concatenate([[False], is_high[:-1]]))
    if len(starts):
        first = int(run.steps[window + starts[0]])
        number = "1 spike" if len(starts) == 1 else f"{len(starts)} spikes"
        verb = "reaches" if len(starts) == 1 else "reach"
        yield Finding(
            "spikes",
            f"{number} of the loss {verb} up to {np.exp(heights.max()):.3g} times the median "
            f"before, the first at step {first} at {_percent(run.rate_at(first) / run.peak)} of "
            "the peak rate; the height is in standard deviations of the noise",
            float(heights.max() / max(run.noise, 1e-12)),
            _SPIKE,
            "heuristic",
        )


def _cooldown(run: _Run) -> Iterator[Finding]:
    total, (_, last) = len(run.rates), run.stable
    length, last_rate = total - 1 - last, float(run.rates[-1] / run.peak)
    if last_rate > _LAST_RATE:
        yield Finding(
            "no cooldown",
            f"the last rate is {_percent(last_rate)} of the peak of {run.peak:.3g}; a decay to "
            "zero usually ends lower",
            last_rate,
            _LAST_RATE,
            "arXiv 2502.15938",
        )
    elif length < _COOLDOWN * total:
        yield Finding(
            "short cooldown",
            f"the rate falls from the peak over the last {length} of {total} updates only; the "
            "gain of a cooldown grows up to about 20 % of the run",
            length / total,
            _COOLDOWN,
            "arXiv 2405.18392",
        )


def _plateau(run: _Run) -> Iterator[Finding]:
    first, last = run.stable
    if last - first < 0.2 * len(run.rates) or (
        np.mean(run.rates[first : last + 1] >= _AT_PEAK * run.peak) < 0.99
    ):
        return  # No constant phase: a cosine, or cycles.
    edges = np.linspace(first, last + 1, 5)
    quarters = [run.between(*edges[i : i + 2]) for i in range(4)]
    if min(map(len, quarters)) < 3:
        return
    early, _ = run.fall(quarters[0], quarters[1])
    late, error = run.fall(quarters[2], quarters[3])
    threshold = max(_PLATEAU * early, _LEAST_CHANGE)
    if late + 2 * error < threshold:
        yield Finding(
            "plateau",
            f"at the constant rate the loss fell by {_percent(late, 2)} ± {_percent(error, 2)} "
            f"from the third to the fourth quarter of that phase, up to step {last + 1}, after "
            f"{_percent(early, 2)} from the first to the second; an earlier cooldown, or a lower "
            "rate, would have used those updates",
            late / max(early, _LEAST_CHANGE),
            threshold / max(early, _LEAST_CHANGE),
            "heuristic",
        )


def _idle(run: _Run) -> Iterator[Finding]:
    total = len(run.rates)
    is_low = np.concatenate([[False], run.rates < _IDLE_RATE * run.peak, [False]])
    edges = np.flatnonzero(np.diff(is_low.astype(np.int8)))
    for start, end in sorted(edges.reshape(-1, 2), key=lambda pair: pair[0] - pair[1]):
        records = run.between(start, end)
        if end - start < _IDLE_LENGTH * total or len(records) < 4:
            continue
        change, error = run.fall(records[: len(records) // 2], records[len(records) // 2 :])
        if abs(change) + 2 * error < _IDLE_CHANGE:
            share = run.rates[start:end].sum() / run.rates.sum()
            yield Finding(
                "idle rates",
                f"updates {start} to {end} had rates below {_percent(_IDLE_RATE)} of the peak "
                f"and {_percent(share, 2)} of the sum of all rates, and the loss changed by "
                f"{_percent(-change, 2)} ± {_percent(error, 2)}; the run did not need them",
                (end - start) / total,
                _IDLE_LENGTH,
                "heuristic",
            )
            return


def _is_broken(findings: Sequence[Finding]) -> bool:
    return any(each.kind in ("not finite", "rising loss") for each in findings)


def _predictions(
    run: _Run, others: Sequence[LossCurve], law_name: str, is_broken: bool
) -> tuple[list[Finding], ComparisonResult | None]:
    after = run.steps > int(np.argmax(run.rates)) + 1
    if is_broken or after.sum() < _LAW_RECORDS:
        reason = (
            "the laws describe runs whose loss falls"
            if is_broken
            else "a law needs more records after the warmup"
        )
        text = f"other endings are not predicted, as {reason}"
        return [Finding("no law", text, float(after.sum()), _LAW_RECORDS, "heuristic")], None
    # Medians over bins: a law does not describe spikes, and its fit is least squares near zero.
    size = max(1, int(np.ceil(len(run.steps) / _BINS)))
    blocks = list(zip(_blocks(run.steps, size), _blocks(run.log_losses, size), strict=True))
    curve = LossCurve(
        run.rates,
        np.array([int(steps[len(steps) // 2]) for steps, _ in blocks]),
        np.exp([np.median(logs) for _, logs in blocks]),
    )
    # Where no rate falls, only the law in the sum of the rates can be fitted; it does not see the
    # shape of an ending.
    rates = [np.asarray(run_rates("explain", each.rates)) for each in (curve, *others)]
    if law_name == "auto" and all(each[-1] >= 0.5 * each.max() for each in rates):
        law_name = "power"
    law = fit_loss_law([curve, *others], law_name)
    longer = compare({"longer": _stretched(run, _LONGER), "as it was": run.rates}, law)
    result: list[Finding] = []
    endings = None
    if law.law != "power":
        endings = compare(_endings(run), law)
        result.append(_of_endings(endings, law.law))
    rows = {str(row["name"]): row for row in longer.table}
    long, own = rows["longer"], rows["as it was"]
    error = float(max(long["gap_error"], own["gap_error"]))
    result.append(
        Finding(
            "longer",
            f"{_percent(_LONGER - 1)} more updates with the same shape would have ended at "
            f"{long['loss']:.4g} ({long['low']:.4g} to {long['high']:.4g} at 95 %), "
            f"{own['loss'] - long['loss']:.2g} ± {error:.1g} lower; twice the error decides",
            float(own["loss"] - long["loss"]),
            2 * error,
            f"{law.law} law",
        )
    )
    return result, endings


def _of_endings(endings: ComparisonResult, law: str) -> Finding:
    rows = {str(row["name"]): row for row in endings.table}
    own = rows["as it ended"]
    best = min((row for name, row in rows.items() if name != "as it ended"), key=_loss)
    gain = float(own["loss"] - best["loss"])
    # The table's error is that of the gap to the best of all, so one of the two is zero.
    error = float(max(own["gap_error"], best["gap_error"]))
    if abs(gain) <= 2 * error:
        word = "not told apart from"
    else:
        word = "better than" if gain > 0 else "worse than"
    return Finding(
        "endings",
        f"the best other ending, {best['name']}, would have ended at {best['loss']:.4g} "
        f"({best['low']:.4g} to {best['high']:.4g} at 95 %), {gain:.2g} ± {error:.1g} lower, "
        f"{word} the run as it ended; twice the error decides",
        gain,
        2 * error,
        f"{law} law",
    )


def _loss(row: np.void) -> float:
    return float(row["loss"])


def _endings(run: _Run) -> dict[str, np.ndarray]:
    """Return the rates of the run, and of the same warmup and peak with other cooldowns."""
    total, (first, _) = len(run.rates), run.stable
    endings = {"as it ended": run.rates}
    for name, fraction in (
        ("a linear cooldown of 20 %", 0.2),
        ("a linear cooldown of 50 %", 0.5),
        ("a linear decay from the warmup on", 1.0),
    ):
        start = max(first, round((1 - fraction) * total))
        rates = np.full(total, run.peak)
        rates[:first] = run.rates[:first]
        rates[start:] = run.peak * np.linspace(1, 0, total - start, endpoint=False)
        endings[name] = rates
    return endings


def _stretched(run: _Run, factor: float) -> np.ndarray:
    """Return the rates of a run that is longer by a factor after the same warmup."""
    total, first = len(run.rates), run.stable[0]
    length = round(factor * total) - first
    places = first + np.linspace(0, total - 1 - first, length)
    return np.concatenate([run.rates[:first], np.interp(places, np.arange(total), run.rates)])
