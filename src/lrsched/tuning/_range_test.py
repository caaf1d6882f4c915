"""Smith's range test: one short run with a growing rate shows which rates are usable."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Annotated, Final

import jax
import numpy as np

from lrsched._plotting import plot
from lrsched._schedule import Schedule
from lrsched.arguments import DecayRate, GrowthLimit, one_of, validate_arguments, whole_number
from lrsched.schedules.decay import exponential, linear
from lrsched.tuning._critical_rate import critical_rate_at_init
from lrsched.tuning._progress import Show, progress_bar
from lrsched.tuning._training import TRAINING, Training
from lrsched.tuning.batched_runner import make_run_spec, normalize_seeds, start_all
from lrsched.tuning.results import RateRange, Verdict, judge_rate, repr_with_shapes, text_table

if TYPE_CHECKING:
    import chex
    from matplotlib.axes import Axes

RANGES: Final[dict[str, tuple[float, float]]] = {
    "sgd": (1e-5, 100.0),
    "adagrad": (1e-5, 10.0),
    "rmsprop": (1e-6, 1.0),
    "adam": (1e-6, 1.0),
    "adamw": (1e-6, 1.0),
    "lion": (1e-7, 0.1),
    "muon": (1e-5, 10.0),
}
"""Rates to test for each optimizer, from far below to far above the recommended one.

Each range is wide around the default of the paper or the library: 0.01 for SGD and Adagrad (PyTorch
and Keras), 0.01 and 0.001 for RMSprop, 0.001 for Adam (Kingma & Ba 2015), a tenth of that for Lion
(Chen et al. 2023), 0.02 for Muon (Jordan et al. 2024).
"""
ANY_RANGE: Final = (1e-7, 10.0)
"""Rates to test for all other optimizers: those of fastai's ``lr_find`` and of torch-lr-finder."""


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class RangeTestResult:
    """The result of a `range_test`. ``print`` shows the usable range and every suggestion.

    Attributes:
      rates: Rate of each update, of shape ``(steps,)``.
      losses: Loss before each update, of shape ``(seeds, steps)``; NaN after divergence.
      smoothed: The losses, averaged with a centred Gaussian whose standard deviation is a fiftieth
        of the test. Unlike an exponential average it does not shift the curve to higher rates.
    """

    rates: np.ndarray
    losses: np.ndarray
    smoothed: np.ndarray

    __repr__ = repr_with_shapes

    def __str__(self) -> str:
        tested = (
            f"rates {self.rates[0]:.2g} to {self.rates[-1]:.2g}, {len(self.rates)} updates, "
            f"{len(self.losses)} seeds"
        )
        try:
            usable = self.range
        except ValueError as error:
            return f"{tested}\n{error}"
        rows = [
            [method, self.suggestion(method), *self.confidence(method)]
            for method in _SUGGESTION_METHODS
        ]
        table = text_table(["method", "suggestion", "lowest seed", "highest seed"], rows)
        return (
            f"suggestion: {self.suggestion():.2g}; usable: {usable.low:.2g} to {usable.high:.2g} "
            f"({tested})\n{table}"
        )

    def suggestion(self, method: str = "90%") -> float:
        """Return a rate to train at, the geometric mean over the seeds.

        ``"90%"``
            the rate at which nine tenths of the fall of the loss are done; it was in the usable
            range on every problem of ``python -m benchmarks which-rate``;
        ``"steepest"``
            the rate at which the loss falls fastest per unit of the logarithm of the rate;
        ``"minimum/10"``
            a tenth of the rate with the lowest loss;
        ``"valley"``
            halfway along the longest descent (the default of fastai);
        ``"slide"``
            the end of the flat part, searched from the right (fastai's "interval slide rule").

        Args:
          method: One of these names.

        Returns:
          The rate.

        Raises:
          ValueError: If ``method`` has another value, or the loss of no seed falls.
        """
        return float(np.exp(np.mean(np.log(self._suggestions_of_seeds(method)))))

    def confidence(self, method: str = "90%") -> RateRange:
        """Return the lowest and the highest rate that a single seed suggests.

        Args:
          method: A method of `suggestion`.

        Returns:
          The lowest and the highest suggestion.

        Raises:
          ValueError: If ``method`` has another value, or the loss of no seed falls.
        """
        rates = self._suggestions_of_seeds(method)
        return RateRange(float(np.min(rates)), float(np.max(rates)))

    @property
    def range(self) -> RateRange:
        """Usable rates, from a tenth of the fall to the lowest loss, medians over the seeds."""
        ends = [
            (_rate_after_fall(rates, losses, 0.1), rates[np.argmin(losses)])
            for rates, losses in self._curves_that_fall()
        ]
        low, high = np.exp(np.median(np.log(ends), axis=0))
        return RateRange(float(low), float(high))

    def verdict(self, rate: float) -> Verdict:
        """Say whether a rate is too low, good or too high, by `range`.

        Args:
          rate: The rate in question.

        Returns:
          The verdict, with the factor to the usable range; ``print`` shows a sentence.

        Raises:
          ValueError: If ``rate`` is not a finite number above 0, or the loss of no seed falls.

        Example:
          >>> import numpy as np
          >>> from lrsched import tuning
          >>> rates, losses = np.geomspace(1e-3, 1, 50), np.linspace(2, 1, 50)[None]
          >>> verdict = tuning.RangeTestResult(rates, losses, losses).verdict(1e-4)
          >>> verdict.verdict, round(verdict.factor)
          ('too low', 20)
        """
        usable, last = self.range, float(self.rates[-1])
        # A loss whose smoothed minimum is that near the end was still falling there.
        end = (
            usable.high if usable.high > 0.9 * last and np.ndim(rate) == 0 and rate > last else last
        )
        return judge_rate(
            rate,
            usable,
            "from 10 % of the fall of the loss to its minimum, "
            f"median of {len(self._curves_that_fall())} seeds of the range test",
            RateRange(float(self.rates[0]), end),
        )

    def plot(self, ax: "Axes | None" = None, *, mine: float | None = None) -> "Axes":
        """Draw the losses over the rates, with the usable range and the suggestion.

        Args:
          ax: Matplotlib axes. Defaults to new ones.
          mine: A rate to mark, with its `verdict`.

        Returns:
          The axes.
        """
        drawn: Axes = plot("plot_range_test", self, ax, mine)
        return drawn

    def _suggestions_of_seeds(self, method: str) -> list[float]:
        one_of("Method", tuple(_SUGGESTION_METHODS)).validate("suggestion", "method", method)
        suggest = _SUGGESTION_METHODS[method]
        return [float(suggest(rates, losses)) for rates, losses in self._curves_that_fall()]

    def _curves_that_fall(self) -> list[tuple[np.ndarray, np.ndarray]]:
        """Return the rates and smoothed losses of each seed up to its divergence."""
        curves = [(self.rates[~np.isnan(x)], x[~np.isnan(x)]) for x in self.smoothed]
        falling = [(rates, x) for rates, x in curves if len(x) > 2 and x.min() < x[0]]
        if not falling:
            raise ValueError(
                f"no rate from {self.rates[0]:.2g} to {self.rates[-1]:.2g} lowers the loss: "
                f"{_why_no_fall(self.losses)}"
            )
        return falling


@validate_arguments
def range_test(
    training: Training,
    *,
    low: float | None = None,
    high: float | str | None = None,
    steps: Annotated[int, whole_number(3)] = 200,
    rate_spacing: Annotated[str, one_of("RateSpacing", ("exponential", "linear"))] = "exponential",
    seeds: int | Sequence[int] = 3,
    ema_decay: DecayRate = 0.9,
    divergence_factor: GrowthLimit = 4.0,
    progress: bool = False,
) -> RangeTestResult:
    """Train for ``steps`` updates while the rate grows from ``low`` to ``high``.

    ``rate_i = low (high / low)**(i / (steps - 1))``, or linear in ``i``. The loss is flat while the
    rate is too low, falls where it is good, and rises where it is too high. All seeds run in one
    compiled loop, which ends when each of them has diverged: when its smoothed loss exceeds
    ``divergence_factor`` times its minimum, or its loss is not finite. The caller's model and state
    are not modified.

    Args:
      training: The training, with any optimizer.
      low: First rate. Defaults to that of `RANGES` for the optimizer, or of `ANY_RANGE`.
      high: Last rate, or ``"critical"``: 30 times the `critical_rate` of the first update, a few
        forward passes, for an optimizer or a loss whose scale is not known. Defaults to that of
        `RANGES` for the optimizer, or of `ANY_RANGE`.
      steps: Number of updates. At least 3.
      rate_spacing: ``"exponential"`` or ``"linear"``.
      seeds: Number of seeds, or the seeds. Each has initial parameters (if ``training`` makes them)
        and an order of the batches of its own.
      ema_decay: Decay of the exponential moving average that detects divergence, from 0 to below 1.
      divergence_factor: Factor of the smoothed loss over its minimum that counts as divergence.
        Above 1.
      progress: Whether to show a bar on stderr, if ``rich`` is installed.

    Returns:
      The rates and losses, with suggestions, the usable range and verdicts.

    Raises:
      ValueError: If ``0 < low < high`` does not hold, or another argument is out of range.

    Example:
      >>> import jax.numpy as jnp, optax
      >>> from lrsched import tuning
      >>> loss_fn = lambda w, batch: jnp.mean((batch[0] * w - batch[1]) ** 2)
      >>> x = jnp.linspace(-1, 1, 64)
      >>> run = tuning.training(loss_fn, jnp.zeros(()), optax.sgd, (x, 2 * x), batch_size=16)
      >>> result = tuning.range_test(run)
      >>> result.range.low < result.suggestion() < result.range.high
      True

    References:
      Smith 2017 (arXiv 1506.01186). Divergence at four times the lowest loss is fastai's.
    """
    TRAINING.validate("range_test", "training", training)
    default_low, default_high = RANGES.get(training.name or "", ANY_RANGE)
    low = default_low if low is None else low
    high = default_high if high is None else high
    if isinstance(high, str):
        if high != "critical":
            raise ValueError(
                f"range_test: high={high!r} is not accepted; high must be a rate or 'critical'."
            )
        listed = normalize_seeds("range_test", seeds)
        high = _ABOVE_CRITICAL * critical_rate_at_init(training, _GUESS, listed)
    if not 0 < low < high < np.inf:
        raise ValueError(
            f"range_test: low={low!r}, high={high!r} are not accepted; they must be finite numbers "
            "above 0, the lower first."
        )
    schedule = _RATE_SPACINGS[rate_spacing](low, high, steps - 1)
    seeds = normalize_seeds("range_test", seeds)

    def has_diverged(losses: np.ndarray) -> np.ndarray:
        return _has_diverged(_ema(losses, ema_decay), divergence_factor)

    with progress_bar("range test", steps, progress) as show:
        losses = _run_losses(training, schedule, steps, seeds, has_diverged, show)
    losses[has_diverged(losses)] = np.nan
    width = max(1.0, steps / 50)
    smoothed = np.stack([_gaussian_average(of_seed, width) for of_seed in losses])
    return RangeTestResult(np.asarray(schedule(np.arange(steps))), losses, smoothed)


# The highest usable rate was 0.3 to 2.5 times the critical rate of the first update on six problems
# of `python -m benchmarks which-rate`, and a test must reach rates that diverge.
_ABOVE_CRITICAL: Final = 30
_GUESS: Final = 1e-3
_RATE_SPACINGS: Final[dict[str, Callable[[float, float, int], Schedule]]] = {
    "exponential": lambda low, high, steps: exponential(low, high / low, every=steps),
    "linear": linear,
}


def _run_losses(
    training: Training,
    schedule: Schedule,
    steps: int,
    seeds: Sequence[int],
    has_diverged: Callable[[np.ndarray], np.ndarray],
    show: Show,
) -> np.ndarray:
    """Return the losses of every seed; NaN after the step at which all of them have diverged."""
    specs = [make_run_spec(schedule, seed, steps, num_records=steps) for seed in seeds]
    devices = jax.local_devices()[: len(specs)]
    runner, states = start_all(training, specs, steps, steps, devices, batched=True)
    for stop in np.unique(np.linspace(0, steps, _DIVERGENCE_CHECKS + 1, dtype=np.int32))[1:]:
        stops = runner.shard(np.full(runner.lanes, stop, np.int32))
        states = runner.advance(states._replace(stop_step=stops), steps)
        losses, done = (np.array(x)[: len(specs)] for x in (states.loss_sums, states.step))
        losses[np.arange(steps) >= done[:, None]] = np.nan
        show(int(stop))
        if np.all(has_diverged(losses[:, :stop])[:, -1]):
            break
    return losses


# Each check waits for the device; five of them cost little and save up to 80 % of the updates.
_DIVERGENCE_CHECKS: Final = 5


def _ema(losses: np.ndarray, decay: float) -> np.ndarray:
    """Return the bias-corrected exponential moving average along the steps."""
    average, averages = np.zeros(len(losses)), []
    for step, loss in enumerate(losses.T):
        average = decay * average + (1 - decay) * loss
        averages.append(average / (1 - decay ** (step + 1)))
    return np.stack(averages, axis=1)


def _gaussian_average(losses: np.ndarray, width: float) -> np.ndarray:
    """Average the losses that are not NaN, with the edge values repeated beyond both ends."""
    averages, is_present = np.full_like(losses, np.nan), ~np.isnan(losses)
    if is_present.any():
        reach = int(4 * width)
        weights = np.exp(-0.5 * (np.arange(-reach, reach + 1) / width) ** 2)
        padded = np.pad(losses[is_present], reach, mode="edge")
        averages[is_present] = np.convolve(padded, weights / weights.sum(), "valid")
    return averages


def _has_diverged(smoothed: np.ndarray, divergence_factor: float) -> np.ndarray:
    """Return whether each seed has diverged by each step."""
    lowest = np.fmin.accumulate(np.where(np.isnan(smoothed), np.inf, smoothed), axis=1)
    lowest_before = np.concatenate([np.full((len(lowest), 1), np.inf), lowest[:, :-1]], axis=1)
    # Written as "not below": a comparison with NaN is false, and a NaN has diverged.
    is_beyond = ~(smoothed <= divergence_factor * np.abs(lowest_before))
    return np.logical_or.accumulate(is_beyond, axis=1)


def _rate_after_fall(rates: np.ndarray, losses: np.ndarray, fraction: float) -> "chex.Scalar":
    """Return the rate at which this fraction of the whole fall is done."""
    return rates[np.argmax(losses <= losses[0] - fraction * (losses[0] - losses.min()))]


def _nine_tenths(rates: np.ndarray, losses: np.ndarray) -> "chex.Scalar":
    return _rate_after_fall(rates, losses, 0.9)


def _steepest(rates: np.ndarray, losses: np.ndarray) -> "chex.Scalar":
    return rates[np.argmin(np.gradient(losses, np.log10(rates)))]


def _tenth_of_minimum(rates: np.ndarray, losses: np.ndarray) -> "chex.Scalar":
    return rates[np.argmin(losses)] / 10


def _valley(rates: np.ndarray, losses: np.ndarray) -> "chex.Scalar":
    """Return the rate halfway along the longest decreasing subsequence, as fastai counts it."""
    lengths = np.ones(len(losses), int)
    for i in range(1, len(losses)):
        higher = losses[:i] > losses[i]
        lengths[i] = 1 + max(lengths[:i][higher], default=0)
    end = int(np.argmax(lengths))
    start = end - int(lengths[end])
    # fastai divides by three and adds half of a third; the roundings are kept.
    third = (end - start) / 3
    return rates[max(0, start) + int(third) + int(third / 2)]


def _slide(rates: np.ndarray, losses: np.ndarray) -> "chex.Scalar":
    """Return the first rate from the right where slopes 15 updates apart are alike (fastai)."""
    slopes = np.gradient(losses)
    distance = min(15, len(losses) // 2)
    right = len(losses) - 1
    while right - distance > 0 and abs(slopes[right] - slopes[right - distance]) > 0.005:
        right -= 1
    return rates[right - distance]


_SUGGESTION_METHODS: Final[dict[str, Callable[[np.ndarray, np.ndarray], "chex.Scalar"]]] = {
    "90%": _nine_tenths,
    "steepest": _steepest,
    "minimum/10": _tenth_of_minimum,
    "valley": _valley,
    "slide": _slide,
}


def _why_no_fall(losses: np.ndarray) -> str:
    if not np.isfinite(losses).any():
        return "every loss is NaN from the first update on; look at the data and the loss function."
    return "start lower if it only rises, end higher if it does not move."
