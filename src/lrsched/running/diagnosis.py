"""What a run's health says: sentences, each with its number, its threshold and what to try."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

from lrsched.adaptive.health import RecordedHealth, recorded_health
from lrsched.arguments import not_accepted, whole_number
from lrsched.finding import Finding

if TYPE_CHECKING:
    from collections.abc import Iterator

    import chex

MAX_FINDINGS: Final = 5
"""Largest number of findings of a diagnosis."""


class Diagnosis(NamedTuple):
    """Findings of `diagnose`, the most serious first; ``print`` shows a sentence for each.

    Attributes:
      findings: At most five findings, of the kinds ``"not finite"``, ``"frozen group"``, ``"early
        decay"``, ``"exploding group"``, ``"no warmup"``, ``"too high"``, ``"too low"``,
        ``"spikes"``, ``"idle decay"`` and ``"short memory"``.
      num_updates: Number of updates that they are about.
      judges_rate: Whether there was evidence on the rate: losses of at least 20 updates, or a
        ``rate_over_critical``.

    Example:
      >>> import lrsched
      >>> diagnosis = lrsched.Diagnosis((), 100)
      >>> print(diagnosis, diagnosis.verdict)
      no finding in 100 updates. good
    """

    findings: tuple[Finding, ...]
    num_updates: int
    judges_rate: bool = True

    @property
    def verdict(self) -> str:
        """The verdict on the rate: "too high", "too low", "good", or "unknown" without evidence."""
        kinds = {finding.kind for finding in self.findings}
        if kinds & {"too high", "not finite"}:
            return "too high"
        if "too low" in kinds:
            return "too low"
        return "good" if self.judges_rate else "unknown"

    def __str__(self) -> str:
        lines = list(map(str, self.findings)) or [f"no finding in {self.num_updates} updates."]
        if self.verdict == "unknown":
            lines.append(
                "The rate is not judged: that takes the losses, update(..., value=loss), of "
                f"{_MIN_UPDATES} updates."
            )
        return "\n".join(lines)


def diagnose(
    opt_state: chex.ArrayTree,
    *,
    steps: int | None = None,
    weight_decay: float | None = None,
    steps_per_epoch: int | None = None,
    rate_over_critical: float | None = None,
) -> Diagnosis:
    """Say what is wrong with a run, by what `record_health` recorded.

    The rate is judged by the realised fraction of the descent: the fall of the loss over the fall
    that the gradients promised to first order, summed over the run. On one batch it is ``1 - rate /
    critical rate``: 1 for tiny steps, 1/2 at GeN's optimal rate, 0 at the critical rate. Noise of
    the gradients lowers it, so that small batches hide a rate that is too low. It needs the loss
    (``update(..., value=loss)``). The thresholds called heuristic were set on the small models of
    ``python -m benchmarks diagnose``, whose table says how often they are right.

    Args:
      opt_state: State of the optimizer, or a container of one such as a ``TrainState``.
      steps: Planned number of updates of the run. Before a fifth of them, no rate is called too
        low: early in a run every rate looks so. Before 20 updates none is judged. Defaults to the
        number recorded.
      weight_decay: Decoupled weight decay. If ``None``, its timescale is not judged.
      steps_per_epoch: Number of updates of an epoch, to which that timescale is compared.
      rate_over_critical: `lrsched.tuning.CriticalRate.ratio` of a probe of this run.

    Returns:
      At most five findings, the most serious first.

    Raises:
      ValueError: If the state does not hold one record, or it is empty, or an argument is out of
        range.

    Example:
      >>> import jax, jax.numpy as jnp, lrsched, optax
      >>> optimizer = lrsched.record_health(lrsched.scale_by_learning_rate(1e-4))
      >>> params = jnp.ones(3)
      >>> state = optimizer.init(params)
      >>> for _ in range(20):
      ...     loss, grads = jax.value_and_grad(lambda w: jnp.sum(w**2))(params)
      ...     updates, state = optimizer.update(grads, state, params, value=loss)
      ...     params = optax.apply_updates(params, updates)
      >>> lrsched.diagnose(state).verdict
      'too low'

    References:
      Optimal rate: arXiv 2407.02772; critical rate: arXiv 2601.16979; timescale of weight decay:
      Wang & Aitchison 2024 (arXiv 2405.13698); warmup: Ma & Yarats 2019 (arXiv 1910.04209).
    """
    if steps is not None:
        whole_number().validate("diagnose", "steps", steps)
    if steps_per_epoch is not None:
        whole_number().validate("diagnose", "steps_per_epoch", steps_per_epoch)
    for name, value in (
        ("weight_decay", weight_decay),
        ("rate_over_critical", rate_over_critical),
    ):
        # A ratio of infinity is that of a probe whose loss rises at every rate.
        if value is not None and not value >= 0:
            raise not_accepted("diagnose", name, value, "a number of 0 or more")
    health = recorded_health(opt_state)
    planned = health.num_updates if steps is None else steps
    if health.num_updates == 0:
        return Diagnosis(tuple(_nonfinite(health)), 0, judges_rate=False)
    findings = [
        *_nonfinite(health),
        *_frozen_groups(health),
        *_early_decay(health, planned),
        *_exploding_groups(health),
        *_rate(health, planned),
        *_critical(rate_over_critical),
        *_no_warmup(health),
        *_spikes(health),
        *_timescale(health, planned, weight_decay, steps_per_epoch),
    ]
    judges_rate = rate_over_critical is not None or (
        health.num_updates >= _MIN_UPDATES and bool(np.isfinite(realised_descent(health)))
    )
    return Diagnosis(tuple(findings[:MAX_FINDINGS]), health.num_updates, judges_rate)


def realised_descent(health: RecordedHealth) -> float:
    """Return the fall of the loss over the fall that the gradients promised to first order.

    Args:
      health: A record.

    Returns:
      The fraction; NaN without losses, or where nothing was promised.

    Example:
      >>> import jax.numpy as jnp, lrsched, optax
      >>> from lrsched.running.diagnosis import realised_descent
      >>> optimizer = lrsched.record_health(lrsched.scale_by_learning_rate(0.25))
      >>> w = jnp.ones(1)
      >>> state = optimizer.init(w)
      >>> for _ in range(40):  # The critical rate of the loss w**2 / 2 is 2.
      ...     updates, state = optimizer.update(w, state, w, value=w[0] ** 2 / 2)
      ...     w = optax.apply_updates(w, updates)
      >>> round(realised_descent(lrsched.recorded_health(state)), 3)
      0.875
    """
    promised = -float(np.mean(health.descent)) * health.num_updates
    # The mean of the last tenth: single losses are noisy.
    last = float(np.mean(health.loss[-max(1, len(health.loss) // 10) :]))
    return (health.first_loss - last) / promised if promised > 0 else float("nan")


def _nonfinite(health: RecordedHealth) -> Iterator[Finding]:
    share = health.num_nonfinite / (health.num_updates + health.num_nonfinite)
    if share > _MAX_NONFINITE:
        yield Finding(
            "not finite",
            f"{health.num_nonfinite} updates were not finite, as a fraction of all",
            share,
            _MAX_NONFINITE,
            "heuristic",
            "lrsched.scale_learning_rate(state, 0.3) on an earlier checkpoint",
        )


def _frozen_groups(health: RecordedHealth) -> Iterator[Finding]:
    # NaN where a parameter is 0, such as a bias before its first update.
    largest = {
        group: float(np.nanmax(ratio))
        for group, ratio in health.update_ratio.items()
        if not np.isnan(ratio).all()
    }
    moving = [ratio for ratio in largest.values() if ratio > 0]
    for group, ratio in largest.items():
        if moving and ratio == 0:
            gradient = float(np.max(health.gradient_rms[group]))
            yield Finding(
                "frozen group",
                f"no update moves {group!r}"
                + ("" if gradient > 0 else ", which receives no gradient"),
                ratio,
                0.0,
                "by definition",
                "lrsched.group_table to see its rate"
                if gradient > 0
                else "the path from this group to the loss (a stop_gradient?)",
            )


def _early_decay(health: RecordedHealth, planned: int) -> Iterator[Finding]:
    if not health.largest_rate > 0:
        return
    is_over = health.rate <= _OVER * health.largest_rate
    num_over = int(np.argmin(is_over[::-1])) if not is_over.all() else len(is_over)
    share = num_over * health.num_updates / len(is_over)
    share = (share + max(0, planned - health.num_updates) * bool(is_over[-1])) / planned
    if share > _MAX_OVER:
        yield Finding(
            "early decay",
            f"the rate is below {_OVER:g} of its peak for this fraction of the run",
            share,
            _MAX_OVER,
            "heuristic",
            f"lrsched.extend(state, {planned}) before it ends",
        )


def _exploding_groups(health: RecordedHealth) -> Iterator[Finding]:
    growth = {group: _growth(rms) for group, rms in health.param_rms.items()}
    for group, factor in growth.items():
        others = float(np.median([other for name, other in growth.items() if name != group] or 1.0))
        # Where all groups grow, the rate as a whole is too high, not that of one group.
        if others < _MAX_COMMON_GROWTH and factor > _MAX_GROWTH * max(1.0, others):
            yield Finding(
                "exploding group",
                f"the parameters of {group!r} have grown by this factor over the others",
                factor / max(1.0, others),
                _MAX_GROWTH,
                "heuristic",
                f"lrsched.learning_rate_groups([({group!r}, 0.1)]) after the optimizer",
            )


def _growth(rms: np.ndarray) -> float:
    return float(rms[-1] / rms[0]) if rms[0] > 0 else 1.0


def _rate(health: RecordedHealth, planned: int) -> Iterator[Finding]:
    if health.num_updates < _MIN_UPDATES:
        return
    fraction = realised_descent(health)
    if fraction < _MIN_DESCENT:
        yield Finding(
            "too high",
            "the loss fell by this fraction of what the gradients promised",
            fraction,
            _MIN_DESCENT,
            "heuristic",
            "lrsched.scale_learning_rate(state, 0.3)",
        )
    elif fraction > _MAX_DESCENT and health.num_updates >= _MIN_DONE * planned:
        yield Finding(
            "too low",
            "the loss fell by this fraction of what the gradients promised, as for steps shorter "
            "than the optimal one",
            fraction,
            _MAX_DESCENT,
            "arXiv 2407.02772",
            "lrsched.scale_learning_rate(state, 3.0)",
        )


def _critical(ratio: float | None) -> Iterator[Finding]:
    if ratio is not None and ratio > 1:
        yield Finding(
            "too high",
            "the rate over the critical rate of the probed batch",
            ratio,
            1.0,
            "arXiv 2601.16979",
            f"lrsched.scale_learning_rate(state, {0.5 / ratio:.2g})",
        )


def _no_warmup(health: RecordedHealth) -> Iterator[Finding]:
    ratios = [ratio[0] for ratio in health.update_ratio.values() if np.isfinite(ratio[0])]
    first = float(max(ratios, default=0.0))
    if health.first_rate > 0.5 * health.largest_rate and first > _MAX_FIRST_RATIO:
        yield Finding(
            "no warmup",
            "the run began at its full rate, and its first updates changed a group by this "
            "fraction of its size",
            first,
            _MAX_FIRST_RATIO,
            "heuristic",
            "lrsched.untuned_warmup(b2), 2 / (1 - b2) updates (arXiv 1910.04209)",
        )


def _spikes(health: RecordedHealth) -> Iterator[Finding]:
    if health.loss_spikes >= _MIN_SPIKES:
        yield Finding(
            "spikes",
            "the number of losses more than 6 deviations above the window's mean",
            health.loss_spikes,
            _MIN_SPIKES,
            "rule of levanter",
            "optax.clip_by_global_norm(1.0) before, or lrsched.backoff_on_spike() after the rate",
        )


def _timescale(
    health: RecordedHealth, planned: int, weight_decay: float | None, epoch: int | None
) -> Iterator[Finding]:
    if not weight_decay or not health.largest_rate > 0:
        return
    timescale = 1 / (health.largest_rate * weight_decay)
    if timescale > planned:
        yield Finding(
            "idle decay",
            "weight decay averages over 1 / (rate x decay) updates, more than the run has",
            timescale,
            planned,
            "arXiv 2405.13698",
            f"a weight decay of {1 / (health.largest_rate * 0.2 * planned):.2g}",
        )
    elif epoch is not None and timescale < epoch:
        yield Finding(
            "short memory",
            "weight decay averages over 1 / (rate x decay) updates, fewer than an epoch has",
            timescale,
            epoch,
            "arXiv 2405.13698",
            f"a weight decay of {1 / (health.largest_rate * epoch):.2g}",
        )


_MAX_NONFINITE: Final = 0.01
# The last tenth of a cubic decay to 0 is below a thousandth of its peak, 2 % of a cosine's.
_OVER: Final = 1e-3
_MAX_OVER: Final = 0.1
_MAX_GROWTH: Final = 2.5
_MAX_COMMON_GROWTH: Final = 3.0
_MIN_DESCENT: Final = 0.05
_MAX_DESCENT: Final = 0.5
# After one update the loss has not fallen yet at any rate.
_MIN_UPDATES: Final = 20
_MIN_DONE: Final = 0.2
_MAX_FIRST_RATIO: Final = 0.01
_MIN_SPIKES: Final = 3
