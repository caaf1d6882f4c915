"""What the trials say: medians with intervals, targets reached, profiles, ranks, usable rates."""

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple, TypeAlias

import numpy as np
from scipy.stats import binom

from benchmarks.protocol import Trial

Key: TypeAlias = tuple[str, str, float]
"""``(workload, policy, budget)``."""


class Interval(NamedTuple):
    """A median and the interval that holds the true one with at least this confidence."""

    median: float
    low: float
    high: float
    confidence: float


def interval(values: np.ndarray, wanted: float = 0.9) -> Interval:
    """The median of a sample with an interval of its order statistics, whatever the distribution.

    The true median lies between the k-th smallest and the k-th greatest of n with probability
    ``1 - 2 P(Binomial(n, 1/2) < k)``; k is the greatest for which that is what is wanted, or 1. Of
    five values it is the least and the greatest, with 94 %.

    >>> import numpy as np
    >>> from benchmarks.analysis import interval
    >>> interval(np.array([3.0, 1.0, 2.0, 5.0, 4.0]))
    Interval(median=3.0, low=1.0, high=5.0, confidence=0.9375)
    """
    ordered = np.sort(values)
    k = 1
    while _confidence(len(values), k + 1) >= wanted:
        k += 1
    median = float(ordered[(len(values) - 1) // 2] / 2 + ordered[len(values) // 2] / 2)
    return Interval(median, float(ordered[k - 1]), float(ordered[-k]), _confidence(len(values), k))


def _confidence(n: int, k: int) -> float:
    return max(0.0, float(1 - 2 * binom.cdf(k - 1, n, 0.5)))


def overlap(one: Interval, other: Interval) -> bool:
    """Whether two intervals share a value: the seeds do not tell the two apart.

    Two that are infinite share infinity.
    """
    return one.low <= other.high and other.low <= one.high


def by_key(trials: Iterable[Trial]) -> dict[Key, Trial]:
    """The trials by workload, policy and budget."""
    return {(trial.workload, trial.policy, trial.budget): trial for trial in trials}


def steps_to(trial: Trial, target: float) -> np.ndarray:
    """The updates until the validation loss was first seen at the target or below, for each seed.

    Infinite where it never was.
    """
    reached = trial.curves["loss"] <= target
    steps = trial.evaluated[np.argmax(reached, axis=1)].astype(float)
    return np.where(reached.any(axis=1), steps, np.inf)


def diverged(trial: Trial) -> int:
    """How many of the scored runs ended with a loss that is not finite."""
    return int(np.count_nonzero(~np.isfinite(trial.final["loss"])))


def score(trial: Trial) -> np.ndarray:
    """The test metric at the end of each run, higher is better; that of a diverged run is -inf."""
    finite = np.isfinite(trial.final["loss"])
    found: np.ndarray = np.where(finite, trial.final["test_metric"], -np.inf)
    return found


def median_cost(trial: Trial, target: float, *, timed: bool = False) -> float:
    """The median over the seeds of the updates to the target, or of their seconds.

    Infinite where half of the runs or more never reach it. An update's seconds are those of
    ``trial.seconds``: of one run while others run beside it.
    """
    steps = interval(steps_to(trial, target)).median
    return steps * trial.seconds["update"] if timed else steps


def profile(costs: Mapping[str, Sequence[float]], factors: np.ndarray) -> dict[str, np.ndarray]:
    """Performance profiles: the part of the problems that each one solves within a factor.

    Args:
      costs: of each competitor on each problem, in the same order; infinite where it fails.
      factors: of the least cost of a problem, 1 and above.

    Source: Dolan and Moré 2002 ("Benchmarking optimization software with performance profiles").

    >>> import numpy as np
    >>> from benchmarks.analysis import profile
    >>> profile({"a": [1.0, 4.0], "b": [2.0, np.inf]}, np.array([1.0, 2.0]))
    {'a': array([1., 1.]), 'b': array([0. , 0.5])}
    """
    least = np.min([list(values) for values in costs.values()], axis=0)
    least = np.where(np.isfinite(least), least, 1.0)  # nobody solves it: all stay infinite
    ratios = {name: np.asarray(values) / least for name, values in costs.items()}
    return {name: np.mean(r <= factors[:, None], axis=1) for name, r in ratios.items()}


def ranks(trials: Sequence[Trial], budget: float) -> dict[str, float]:
    """The mean rank of each policy over the workloads at one budget, by its median test loss."""
    here = [trial for trial in trials if trial.budget == budget]
    policies = list(dict.fromkeys(trial.policy for trial in here))
    rows = []
    for workload in dict.fromkeys(trial.workload for trial in here):
        medians = {
            t.policy: interval(t.final["test_loss"]).median for t in here if t.workload == workload
        }
        if len(medians) == len(policies):
            values = np.array([medians[policy] for policy in policies])
            below = (values[None] < values[:, None]).sum(axis=1)
            equal = (values[None] == values[:, None]).sum(axis=1)
            rows.append(below + (equal + 1) / 2)
    means = np.mean(rows, axis=0) if rows else np.full(len(policies), np.nan)
    return dict(zip(policies, means.tolist(), strict=True))


def shared(trials: Sequence[Trial]) -> list[Trial]:
    """Those of the workloads that have every policy at every budget, so that ranks compare alike.

    A workload without the greatest budget would change the ranks at all others but that one.
    """
    policies, budgets = ({getattr(t, name) for t in trials} for name in ("policy", "budget"))
    found = by_key(trials)
    whole = {
        workload
        for workload in {t.workload for t in trials}
        if all((workload, policy, budget) in found for policy in policies for budget in budgets)
    }
    return [t for t in trials if t.workload in whole]


class Usable(NamedTuple):
    """The rates between which a policy is usable; the ends of what was tried bound it."""

    low: float
    high: float

    @property
    def decades(self) -> float:
        """The width."""
        return float(np.log10(self.high / self.low)) if self.high > 0 else 0.0


def usable(trial: Trial, least: float, part: float = 0.95) -> Usable:
    """The rates whose loss falls by this part of what the best of all policies' falls.

    Between two rates that were tried the loss is taken to be a straight line over the logarithm.

    Args:
      trial: gives the rates and their losses.
      least: the lowest loss of any policy on that workload and budget.
      part: of the fall from the loss before the first update.
    """
    bar = trial.first - part * (trial.first - least)
    x, y = np.log(trial.rates), np.minimum(trial.tuning["loss"].mean(axis=1), 10 * trial.first)
    fine = np.linspace(x[0], x[-1], 1000)
    good = fine[np.interp(fine, x, y) <= bar]
    return Usable(float(np.exp(good[0])), float(np.exp(good[-1]))) if good.size else Usable(1, 1)


def bounded(trial: Trial, found: Usable) -> bool:
    """Whether the range ends on both sides inside of what was tried; else it is wider than seen."""
    ends = trial.rates[[0, -1]]
    return bool(found.low > ends[0] * 1.001 and found.high < ends[1] / 1.001)


def edge(trial: Trial) -> str:
    """``"lowest"`` or ``"highest"`` if that of the rates was chosen: a better one may lie beyond.

    Empty otherwise, and where there was no choice.
    """
    if len(trial.rates) == 1 or trial.rates[0] < trial.rate < trial.rates[-1]:
        return ""
    return "lowest" if trial.rate <= trial.rates[0] else "highest"


def shares(trial: Trial, least: float) -> np.ndarray:
    """How far the loss fell at each rate, of the fall to the least loss; 1 is the best, 0 no fall.

    Args:
      trial: gives the rates and their losses, the means over the tuning seeds.
      least: the lowest loss of any policy on that workload and budget.
    """
    falls = trial.first - trial.tuning["loss"].mean(axis=1)
    found: np.ndarray = np.clip(falls / max(trial.first - least, np.finfo(float).tiny), 0, 1)
    return found


def least_loss(trials: Iterable[Trial], workload: str, budget: float) -> float:
    """The lowest mean loss of any rate of any policy when they were tuned."""
    return min(
        float(trial.tuning["loss"].mean(axis=1).min())
        for trial in trials
        if trial.workload == workload and trial.budget == budget
    )
