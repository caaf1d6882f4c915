"""Statistics of trials: medians with intervals, updates to a target, profiles, ranks and ranges."""

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple, TypeAlias

import numpy as np
from scipy.stats import binom

from benchmarks.protocol import Trial

Key: TypeAlias = tuple[str, str, float]
"""``(workload, policy, budget)``."""


class Interval(NamedTuple):
    """Median of a sample and a confidence interval of the true median.

    Attributes:
      median: Median of the sample.
      low: Lower end of the interval.
      high: Upper end of the interval.
      confidence: Probability that the interval contains the true median, between 0 and 1.
    """

    median: float
    low: float
    high: float
    confidence: float


def interval(values: np.ndarray, min_confidence: float = 0.9) -> Interval:
    """Return the median of a sample with a distribution-free interval of its order statistics.

    The true median lies between the k-th smallest and the k-th greatest of n values with
    probability ``1 - 2 P(Binomial(n, 1/2) < k)``, for any continuous distribution. k is the
    greatest number whose probability is at least ``min_confidence``, or 1. For five values, the
    interval extends from the least to the greatest, with 94 %.

    Args:
      values: Sample of shape ``(n,)``.
      min_confidence: Minimum confidence, between 0 and 1. A small sample may not reach it.

    Returns:
      The `Interval`.

    >>> import numpy as np
    >>> from benchmarks.analysis import interval
    >>> interval(np.array([3.0, 1.0, 2.0, 5.0, 4.0]))
    Interval(median=3.0, low=1.0, high=5.0, confidence=0.9375)
    """
    ordered = np.sort(values)
    k = 1
    while _confidence(len(values), k + 1) >= min_confidence:
        k += 1
    median = float(ordered[(len(values) - 1) // 2] / 2 + ordered[len(values) // 2] / 2)
    return Interval(median, float(ordered[k - 1]), float(ordered[-k]), _confidence(len(values), k))


def _confidence(n: int, k: int) -> float:
    return max(0.0, float(1 - 2 * binom.cdf(k - 1, n, 0.5)))


def overlap(one: Interval, other: Interval) -> bool:
    """Return whether two intervals share a value, so that the seeds do not separate the medians.

    Infinite ends count as values: two intervals that end at infinity overlap.
    """
    return one.low <= other.high and other.low <= one.high


def by_key(trials: Iterable[Trial]) -> dict[Key, Trial]:
    """Return the trials by workload, policy and budget."""
    return {(trial.workload, trial.policy, trial.budget): trial for trial in trials}


def steps_to(trial: Trial, target: float) -> np.ndarray:
    """Return the number of updates until the validation loss first reaches the target.

    Returns:
      Numbers of updates, float64 of shape ``(seeds,)``; inf if no evaluation was at or below the
      target.
    """
    reached = trial.curves["loss"] <= target
    steps = trial.evaluated[np.argmax(reached, axis=1)].astype(float)
    return np.where(reached.any(axis=1), steps, np.inf)


def diverged(trial: Trial) -> int:
    """Return the number of scored runs with a non-finite final loss."""
    return int(np.count_nonzero(~np.isfinite(trial.final["loss"])))


def score(trial: Trial) -> np.ndarray:
    """Return the final test metric of each scored run (higher is better); -inf if it diverged."""
    finite = np.isfinite(trial.final["loss"])
    scores: np.ndarray = np.where(finite, trial.final["test_metric"], -np.inf)
    return scores


def median_cost(trial: Trial, target: float, *, timed: bool = False) -> float:
    """Return the median over the seeds of the updates to the target, or of their time.

    Args:
      trial: Trial with the validation losses.
      target: Validation loss to reach.
      timed: Whether to return seconds instead of updates. The time of an update is
        ``trial.seconds["update"]``, measured while other runs execute beside it.

    Returns:
      The median; inf if at least half of the runs never reach the target.
    """
    steps = interval(steps_to(trial, target)).median
    return steps * trial.seconds["update"] if timed else steps


def profile(costs: Mapping[str, Sequence[float]], factors: np.ndarray) -> dict[str, np.ndarray]:
    """Compute performance profiles: the fraction of problems solved within a factor of the best.

    Args:
      costs: Costs of each competitor, one per problem in the same order; inf for a failure.
      factors: Factors of the lowest cost of a problem, at least 1, of shape ``(factors,)``.

    Returns:
      A dict from competitor to fractions of shape ``(factors,)``.

    References:
      Dolan and Moré 2002, "Benchmarking optimization software with performance profiles",
      arXiv cs/0102001.

    >>> import numpy as np
    >>> from benchmarks.analysis import profile
    >>> profile({"a": [1.0, 4.0], "b": [2.0, np.inf]}, np.array([1.0, 2.0]))
    {'a': array([1., 1.]), 'b': array([0. , 0.5])}
    """
    least = np.min([list(values) for values in costs.values()], axis=0)
    # If all competitors fail, 1 instead of inf keeps their ratios infinite (inf / inf is nan).
    least = np.where(np.isfinite(least), least, 1.0)
    ratios = {name: np.asarray(values) / least for name, values in costs.items()}
    return {name: np.mean(r <= factors[:, None], axis=1) for name, r in ratios.items()}


def ranks(trials: Sequence[Trial], budget: float) -> dict[str, float]:
    """Return the mean rank of each policy over the workloads at one budget.

    Policies are ranked by the median test loss; equal ones share the mean of their ranks. Only
    workloads with all policies count. Without such a workload, ranks are nan.
    """
    at_budget = [trial for trial in trials if trial.budget == budget]
    policies = list(dict.fromkeys(trial.policy for trial in at_budget))
    rows = []
    for workload in dict.fromkeys(trial.workload for trial in at_budget):
        medians = {
            t.policy: interval(t.final["test_loss"]).median
            for t in at_budget
            if t.workload == workload
        }
        if len(medians) == len(policies):
            values = np.array([medians[policy] for policy in policies])
            below = (values[None] < values[:, None]).sum(axis=1)
            equal = (values[None] == values[:, None]).sum(axis=1)
            rows.append(below + (equal + 1) / 2)
    means = np.mean(rows, axis=0) if rows else np.full(len(policies), np.nan)
    return dict(zip(policies, means.tolist(), strict=True))


def shared(trials: Sequence[Trial]) -> list[Trial]:
    """Return the trials of the workloads that have every policy at every budget.

    Ranks at different budgets are comparable only over the same workloads.
    """
    policies, budgets = ({getattr(t, name) for t in trials} for name in ("policy", "budget"))
    keys = by_key(trials)
    complete = {
        workload
        for workload in {t.workload for t in trials}
        if all((workload, policy, budget) in keys for policy in policies for budget in budgets)
    }
    return [t for t in trials if t.workload in complete]


class Usable(NamedTuple):
    """Lowest and highest usable rate of a policy, within the range of the tuned rates."""

    low: float
    high: float

    @property
    def decades(self) -> float:
        """Width of the range, in decades."""
        return float(np.log10(self.high / self.low)) if self.high > 0 else 0.0


def usable(trial: Trial, least: float, part: float = 0.95) -> Usable:
    """Return the range of rates whose decrease of the loss is close to the best one.

    The loss is interpolated linearly over the logarithm of the rate.

    Args:
      trial: Trial with the rates and their losses in the tuning.
      least: Lowest loss of any policy on the same workload and budget.
      part: Fraction of the decrease from ``trial.first`` to ``least`` that a usable rate reaches,
        between 0 and 1.

    Returns:
      The range; an empty one is ``Usable(1, 1)``.
    """
    threshold = trial.first - part * (trial.first - least)
    # The cap keeps the interpolation beside a diverged rate finite.
    x, y = np.log(trial.rates), np.minimum(trial.tuning["loss"].mean(axis=1), 10 * trial.first)
    fine = np.linspace(x[0], x[-1], 1000)
    good = fine[np.interp(fine, x, y) <= threshold]
    return Usable(float(np.exp(good[0])), float(np.exp(good[-1]))) if good.size else Usable(1, 1)


def bounded(trial: Trial, usable_range: Usable) -> bool:
    """Return whether both ends of a range are inside the tuned rates.

    If not, the true range may be wider.
    """
    ends = trial.rates[[0, -1]]
    return bool(usable_range.low > ends[0] * 1.001 and usable_range.high < ends[1] / 1.001)


def edge(trial: Trial) -> str:
    """Return ``"lowest"`` or ``"highest"`` if that rate was selected, as a better one may exist.

    Returns ``""`` for a rate inside the range, and if only one rate was tried.
    """
    if len(trial.rates) == 1 or trial.rates[0] < trial.rate < trial.rates[-1]:
        return ""
    return "lowest" if trial.rate <= trial.rates[0] else "highest"


def shares(trial: Trial, least: float) -> np.ndarray:
    """Return the decrease of the loss at each rate as a fraction of the best decrease.

    Args:
      trial: Trial with the rates and their losses; the losses are means over the tuning seeds.
      least: Lowest loss of any policy on the same workload and budget.

    Returns:
      Fractions between 0 (no decrease) and 1 (the best), float64 of shape ``(rates,)``.
    """
    decreases = trial.first - trial.tuning["loss"].mean(axis=1)
    best = max(trial.first - least, np.finfo(float).tiny)
    fractions: np.ndarray = np.clip(decreases / best, 0, 1)
    return fractions


def least_loss(trials: Iterable[Trial], workload: str, budget: float) -> float:
    """Return the lowest mean validation loss of any policy and rate in the tuning."""
    return min(
        float(trial.tuning["loss"].mean(axis=1).min())
        for trial in trials
        if trial.workload == workload and trial.budget == budget
    )
