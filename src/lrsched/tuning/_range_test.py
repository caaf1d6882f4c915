"""Smith's range test: one short run under a growing rate tells which rates are usable."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple

import jax
import numpy as np

from lrsched._schedule import Schedule
from lrsched.schedules.decay import exponential, linear
from lrsched.tuning import batched_runner as fleets
from lrsched.tuning._training import Training
from lrsched.tuning.results import brief

RANGES: Final[dict[str, tuple[float, float]]] = {
    "sgd": (1e-5, 100.0),
    "adagrad": (1e-5, 10.0),
    "rmsprop": (1e-6, 1.0),
    "adam": (1e-6, 1.0),
    "adamw": (1e-6, 1.0),
    "lion": (1e-7, 0.1),
    "muon": (1e-5, 10.0),
}
"""Where to look for each optimizer's rate: from far below what is recommended for it to far above.

Each is wide around its paper's or library's default: PyTorch's and Keras's 0.01 for SGD and
Adagrad, 0.01 and 0.001 for RMSprop, 0.001 for Adam (Kingma & Ba 2015), a tenth of that for Lion
(Chen et al. 2023), 0.02 for Muon (Jordan et al. 2024).
"""
ANY_RANGE: Final = (1e-7, 10.0)
"""For all others: the range of fastai's ``lr_find`` and of torch-lr-finder."""


class Range(NamedTuple):
    """The rates in between are usable: below ``low`` nothing moves, above ``high`` it diverges."""

    low: float
    high: float


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class RangeTest:
    """What came of a `range_test`.

    Attributes:
      rates: the rate of each update, ``(steps,)``.
      losses: the loss before it, for each seed, ``(seeds, steps)``; NaN after divergence.
      smoothed: a centred average of them, with the weights of a Gaussian as wide as a fiftieth of
        the test, so that nothing is shifted to higher rates as by an exponential average.
    """

    rates: np.ndarray
    losses: np.ndarray
    smoothed: np.ndarray

    __repr__ = brief

    def suggestion(self, method: str = "90%") -> float:
        """A rate to train at, the geometric mean of the seeds'.

        ``"90%"``
            the rate at which nine tenths of the fall are done: in the usable range wherever we
            looked (``python -m benchmarks which-rate``);
        ``"steepest"``
            where the loss falls fastest by the logarithm of the rate;
        ``"minimum/10"``
            a tenth of the rate with the least loss;
        ``"valley"``
            halfway down the longest descent (fastai's default);
        ``"slide"``
            the end of the flat part, looked for from the right (fastai's "interval slide rule").

        Args:
          method: one of these.

        Raises:
          ValueError: another method, or no seed whose loss falls.
        """
        return float(np.exp(np.mean(np.log(self._of_seeds(method)))))

    def confidence(self, method: str = "90%") -> Range:
        """The least and the greatest rate that one seed alone would suggest.

        Args:
          method: as for `suggestion`.
        """
        found = self._of_seeds(method)
        return Range(float(np.min(found)), float(np.max(found)))

    @property
    def range(self) -> Range:
        """The usable rates: from a tenth of the fall to the least loss, medians over the seeds."""
        ends = [
            (_fallen(rates, losses, 0.1), rates[np.argmin(losses)])
            for rates, losses in self._descents()
        ]
        low, high = np.exp(np.median(np.log(ends), axis=0))
        return Range(float(low), float(high))

    def plot(self, ax: Any = None) -> Any:
        """The losses over the rates, with the usable range and the suggestion.

        Args:
          ax: matplotlib's axes; by default new ones.

        Returns:
          The axes.
        """
        from lrsched.pictures.plots import plot_range_test

        return plot_range_test(self, ax)

    def _of_seeds(self, method: str) -> list[float]:
        if method not in _METHODS:
            raise ValueError(
                f"suggestion: method={method!r} is not accepted; method must be one of "
                f"{', '.join(map(repr, _METHODS))}."
            )
        return [float(_METHODS[method](rates, losses)) for rates, losses in self._descents()]

    def _descents(self) -> list[tuple[np.ndarray, np.ndarray]]:
        """The rates and smoothed losses of each seed, up to where it diverged."""
        found = [(self.rates[~np.isnan(x)], x[~np.isnan(x)]) for x in self.smoothed]
        falls = [(rates, x) for rates, x in found if len(x) > 2 and x.min() < x[0]]
        if not falls:
            raise ValueError(
                f"no rate from {self.rates[0]:.2g} to {self.rates[-1]:.2g} lowers the loss: "
                f"{_why(self.losses)}"
            )
        return falls


def range_test(
    training: Training,
    *,
    low: float | None = None,
    high: float | None = None,
    steps: int = 200,
    growth: str = "exponential",
    seeds: int | Sequence[int] = 3,
    smoothing: float = 0.9,
    diverged: float = 4.0,
) -> RangeTest:
    """Smith's range test: train for ``steps`` updates while the rate grows from low to high.

    ``rate_i = low (high / low)**(i / (steps - 1))``, or linear in ``i``. The loss is flat while the
    rate is too low, falls where it is good, and rises where it is too high. All seeds run at once
    in one compiled loop, which ends when each of them has diverged: when its smoothed loss is
    ``diverged`` times its least, or its loss is not finite. The caller's model and state stay as
    they are.

    Args:
      training: what is trained; with whatever optimizer.
      low: the first rate; by default that of `RANGES` for the optimizer, or of `ANY_RANGE`.
      high: the last rate.
      steps: the number of updates.
      growth: "exponential" or "linear".
      seeds: how many, or which: each has initial parameters (if ``training`` makes them) and an
        order of the batches of its own.
      smoothing: the decay of the average that tells whether it has diverged.
      diverged: how many times its least a smoothed loss may be.

    Raises:
      ValueError: a range that is not above 0 or does not rise, fewer than 3 steps, or another
        growth.

    Source: Smith 2017 (arXiv 1506.01186); the end at four times the least loss is fastai's.

    >>> import jax.numpy as jnp, optax
    >>> from lrsched import tuning
    >>> loss_fn = lambda w, batch: jnp.mean((batch[0] * w - batch[1]) ** 2)
    >>> x = jnp.linspace(-1, 1, 64)
    >>> run = tuning.training(loss_fn, jnp.zeros(()), optax.sgd, (x, 2 * x), batch_size=16)
    >>> found = tuning.range_test(run)
    >>> found.range.low < found.suggestion() < found.range.high
    True
    """
    default = RANGES.get(training.name or "", ANY_RANGE)
    low, high = (
        given if given is not None else known
        for given, known in zip((low, high), default, strict=True)
    )
    if not 0 < low < high < np.inf:
        raise ValueError(
            f"range_test: low={low!r}, high={high!r} are not accepted; they must be finite numbers "
            "above 0, the lower first."
        )
    if not (isinstance(steps, int) and steps >= 3):
        raise ValueError(f"range_test: steps={steps!r} is not accepted; at least 3 are needed.")
    if growth not in _GROWTHS:
        raise ValueError(
            f"range_test: growth={growth!r} is not accepted; growth must be one of "
            f"{', '.join(map(repr, _GROWTHS))}."
        )
    if not (0 <= smoothing < 1 and diverged > 1):
        raise ValueError(
            f"range_test: smoothing={smoothing!r}, diverged={diverged!r} are not accepted; "
            "smoothing must be from 0 to below 1, diverged above 1."
        )
    schedule = _GROWTHS[growth](low, high, steps - 1)
    seeds = fleets.listed_seeds("range_test", seeds)

    def is_over(losses: np.ndarray) -> np.ndarray:
        return _is_beyond(_smoothed(losses, smoothing), diverged)[:, -1]

    losses = _losses(training, schedule, steps, seeds, is_over)
    losses[_is_beyond(_smoothed(losses, smoothing), diverged)] = np.nan
    centred = np.stack([_centred(of_seed, width=max(1.0, steps / 50)) for of_seed in losses])
    return RangeTest(np.asarray(schedule(np.arange(steps))), losses, centred)


_GROWTHS: Final[dict[str, Callable[[float, float, int], Schedule]]] = {
    "exponential": lambda low, high, steps: exponential(low, high / low, every=steps),
    "linear": linear,
}


def _losses(
    training: Training,
    schedule: Schedule,
    steps: int,
    seeds: Sequence[int],
    is_over: Callable[[np.ndarray], np.ndarray],
) -> np.ndarray:
    """The loss of every update of every seed; NaN after all of those that run together are over."""
    starts = [fleets.start(schedule, seed, steps, records=steps) for seed in seeds]
    devices = jax.local_devices()[: len(starts)]
    fleet, members = fleets.all_begun(training, starts, steps, steps, devices, batched=True)
    for stop in np.linspace(0, steps, _LOOKS + 1, dtype=np.int32)[1:]:
        until = np.full(fleet.slots, stop, np.int32)
        members = fleet.advance(members._replace(until=fleet.spread(until)), steps)
        losses, done = (np.array(x)[: len(starts)] for x in (members.sums, members.step))
        losses[np.arange(steps) >= done[:, None]] = np.nan
        if np.all(is_over(losses[:, :stop])):
            break
    return losses


_LOOKS: Final = 5
"""How often it is asked whether all seeds have diverged."""


def _smoothed(losses: np.ndarray, decay: float) -> np.ndarray:
    average, out = np.zeros(len(losses)), []
    for step, now in enumerate(losses.T):
        average = decay * average + (1 - decay) * now
        out.append(average / (1 - decay ** (step + 1)))
    return np.stack(out, axis=1)


def _centred(losses: np.ndarray, width: float) -> np.ndarray:
    """A Gaussian average of the losses that are there, the ends held beyond them."""
    out, there = np.full_like(losses, np.nan), ~np.isnan(losses)
    if there.any():
        reach = int(4 * width)
        weights = np.exp(-0.5 * (np.arange(-reach, reach + 1) / width) ** 2)
        padded = np.pad(losses[there], reach, mode="edge")
        out[there] = np.convolve(padded, weights / weights.sum(), "valid")
    return out


def _is_beyond(smoothed: np.ndarray, diverged: float) -> np.ndarray:
    """Whether a seed has diverged by a step."""
    least = np.fmin.accumulate(np.where(np.isnan(smoothed), np.inf, smoothed), axis=1)
    before = np.concatenate([np.full((len(least), 1), np.inf), least[:, :-1]], axis=1)
    return np.logical_or.accumulate(~(smoothed <= diverged * np.abs(before)), axis=1)


def _fallen(rates: np.ndarray, losses: np.ndarray, part: float) -> Any:
    """The rate at which this part of the whole fall is done."""
    return rates[np.argmax(losses <= losses[0] - part * (losses[0] - losses.min()))]


def _nine_tenths(rates: np.ndarray, losses: np.ndarray) -> Any:
    return _fallen(rates, losses, 0.9)


def _steepest(rates: np.ndarray, losses: np.ndarray) -> Any:
    return rates[np.argmin(np.gradient(losses, np.log10(rates)))]


def _tenth_of_the_minimum(rates: np.ndarray, losses: np.ndarray) -> Any:
    return rates[np.argmin(losses)] / 10


def _valley(rates: np.ndarray, losses: np.ndarray) -> Any:
    """Halfway along the longest decreasing subsequence, as fastai counts it."""
    lengths = np.ones(len(losses), int)
    for i in range(1, len(losses)):
        higher = losses[:i] > losses[i]
        lengths[i] = 1 + max(lengths[:i][higher], default=0)
    end = int(np.argmax(lengths))
    start = end - int(lengths[end])
    third = (end - start) / 3
    return rates[max(0, start) + int(third) + int(third / 2)]


def _slide(rates: np.ndarray, losses: np.ndarray) -> Any:
    """From the right, the first place where the slopes 15 updates apart are alike."""
    slopes = np.gradient(losses)
    apart = min(15, len(losses) // 2)
    right = len(losses) - 1
    while right - apart > 0 and abs(slopes[right] - slopes[right - apart]) > 0.005:
        right -= 1
    return rates[right - apart]


_METHODS: Final[dict[str, Callable[[np.ndarray, np.ndarray], Any]]] = {
    "90%": _nine_tenths,
    "steepest": _steepest,
    "minimum/10": _tenth_of_the_minimum,
    "valley": _valley,
    "slide": _slide,
}


def _why(losses: np.ndarray) -> str:
    if not np.isfinite(losses).any():
        return "every loss is NaN from the first update on; look at the data and the loss function."
    return "start lower if it only rises, end higher if it does not move."
