"""Statistics of a study for the report, and sentences that state them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy.stats import spearmanr

from benchmarks.analysis import (
    Interval,
    Usable,
    bounded,
    by_key,
    diverged,
    edge,
    interval,
    least_loss,
    median_cost,
    overlap,
    ranks,
    shared,
    usable,
)
from benchmarks.policies import POLICIES
from benchmarks.protocol import Protocol, Trial
from benchmarks.study import FULL, QUICK
from benchmarks.workloads import WORKLOADS


@dataclass(frozen=True)
class Findings:
    """Study with the statistics that the report states.

    Attributes:
      name: Name of the study.
      protocol: Tuning budget and seeds.
      trials: Trials of any number of workloads, policies and budgets.
      data: Name of the file with the trials.
    """

    name: str
    protocol: Protocol
    trials: Sequence[Trial]
    data: str

    def __post_init__(self) -> None:
        if not self.trials:
            raise ValueError(f"the study {self.name!r} has no trials; a report needs at least one")
        for what, choices in (("policy", POLICIES), ("workload", WORKLOADS)):
            for name in {getattr(trial, what) for trial in self.trials} - choices.keys():
                raise ValueError(
                    f"the study has the {what} {name!r}, which these benchmarks do not know; "
                    f"known are {', '.join(choices)}"
                )

    @cached_property
    def workloads(self) -> list[str]:
        """Names of the workloads, in the order of `WORKLOADS`."""
        return [name for name in WORKLOADS if any(t.workload == name for t in self.trials)]

    @cached_property
    def policies(self) -> list[str]:
        """Names of the policies, in the order of `POLICIES`."""
        return [name for name in POLICIES if any(t.policy == name for t in self.trials)]

    @cached_property
    def budgets(self) -> list[float]:
        """Budgets, in ascending order."""
        return sorted({trial.budget for trial in self.trials})

    @cached_property
    def budget(self) -> float:
        """Budget of the tables and profiles: 1, or the nearest one."""
        return min(self.budgets, key=lambda budget: abs(np.log(budget)))

    @cached_property
    def by_key(self) -> Mapping[tuple[str, str, float], Trial]:
        """Trials by workload, policy and budget."""
        return by_key(self.trials)

    @cached_property
    def here(self) -> list[Trial]:
        """Trials at `budget`, ordered by workload and policy."""
        keys = [(w, p, self.budget) for w in self.workloads for p in self.policies]
        return [self.by_key[key] for key in keys if key in self.by_key]

    def of(self, workload: str) -> list[Trial]:
        """Return the trials of one workload at `budget`."""
        return [trial for trial in self.here if trial.workload == workload]

    @cached_property
    def least(self) -> dict[str, float]:
        """Lowest tuning loss of any policy and rate at `budget`, by workload."""
        names = dict.fromkeys(trial.workload for trial in self.here)
        return {name: least_loss(self.trials, name, self.budget) for name in names}

    @cached_property
    def whole(self) -> list[Trial]:
        """Trials at `budget` of the workloads that have all policies at it."""
        return shared(self.here)

    @cached_property
    def ranks(self) -> dict[float, dict[str, float]]:
        """Mean ranks by budget and policy, over the workloads with all policies at the budget."""
        return {budget: ranks(self.trials, budget) for budget in self.budgets}

    @cached_property
    def everywhere(self) -> list[str]:
        """Names of the workloads that have every policy at every budget."""
        complete = {trial.workload for trial in shared(self.trials)}
        return [name for name in self.workloads if name in complete]

    @cached_property
    def shared_ranks(self) -> dict[float, dict[str, float]]:
        """Mean ranks by budget and policy, over the workloads in `everywhere`."""
        trials = shared(self.trials)
        return {budget: ranks(trials, budget) for budget in self.budgets} if trials else {}

    @cached_property
    def ranges(self) -> dict[str, dict[str, tuple[Usable, bool]]]:
        """Usable range by policy and workload, and whether its ends are inside the tuned rates."""
        by_policy: dict[str, dict[str, tuple[Usable, bool]]] = {name: {} for name in self.policies}
        for trial in self.here:
            width = usable(trial, self.least[trial.workload])
            is_bounded = not width.decades or bounded(trial, width)
            by_policy[trial.policy][trial.workload] = width, is_bounded
        return {name: ranges for name, ranges in by_policy.items() if ranges}

    @cached_property
    def widths(self) -> dict[str, float]:
        """Median width of the usable range over the workloads in decades, by policy."""
        return {
            policy: float(np.median([width.decades for width, _ in ranges.values()]))
            for policy, ranges in self.ranges.items()
        }

    def costs(self, *, timed: bool) -> dict[str, list[float]]:
        """Return the median number of updates, or seconds, to each target, by policy."""
        by_policy: dict[str, list[float]] = {}
        for trial in self.whole:
            cost = median_cost(trial, WORKLOADS[trial.workload].target, timed=timed)
            by_policy.setdefault(trial.policy, []).append(cost)
        return by_policy

    def test_losses(self, workload: str) -> dict[str, Interval]:
        """Return the median test loss with its interval, by policy."""
        return {t.policy: interval(t.final["test_loss"]) for t in self.of(workload)}


def rivals(intervals: Mapping[str, Interval]) -> tuple[str, list[str]]:
    """Return the policy with the lowest median, and those whose interval overlaps its interval.

    >>> from benchmarks.analysis import Interval
    >>> from benchmarks.report.findings import rivals
    >>> rivals({"a": Interval(2, 1, 3, 0.9), "b": Interval(9, 8, 9, 0.9)})
    ('a', [])
    """
    best = min(intervals, key=lambda name: intervals[name].median)
    others = {name: value for name, value in intervals.items() if name != best}
    return best, [name for name, value in others.items() if overlap(value, intervals[best])]


def command(name: str, protocol: Protocol, trials: Sequence[Trial]) -> str:
    """Return the command that reproduces the study."""
    base = QUICK if name == "quick" else FULL
    options = {
        "workloads": tuple(dict.fromkeys(t.workload for t in trials)),
        "policies": tuple(dict.fromkeys(t.policy for t in trials)),
        "budgets": tuple(dict.fromkeys(t.budget for t in trials)),
        **{field: getattr(protocol, field) for field in ("rates", "seeds", "tuning_seeds", "seed")},
    }
    default = {(w, b) for w in options["workloads"] for b in base.budgets or WORKLOADS[w].budgets}
    if default == {(trial.workload, trial.budget) for trial in trials}:
        options["budgets"] = base.budgets
    words = [f"python -m benchmarks {'quick' if base is QUICK else 'full'}"]
    for field, value in options.items():
        if value != getattr(base, field):
            values = value if isinstance(value, tuple) else (value,)
            words.append(
                f"--{field.replace('_', '-')} "
                + " ".join(f"{v:g}" if isinstance(v, float) else str(v) for v in values)
            )
    return " ".join(words)


def sentences(findings: Findings) -> list[tuple[str, str]]:
    """Return sentences generated from the numbers, each with its topic."""
    return [(topic, text) for topic, say in TOPICS.items() if (text := say(findings))]


def _on_ranks(findings: Findings) -> str:
    means = findings.ranks[findings.budget]
    order = sorted((n for n in means if np.isfinite(means[n])), key=means.__getitem__)
    if len(order) < 3:
        return ""
    first, second, third = (f"{name} ({means[name]:.1f})" for name in order[:3])
    count = len({trial.workload for trial in findings.whole})
    return (
        f"At x{findings.budget:g}, over {number(count, 'workload')}, the lowest mean rank of the "
        f"test loss is that of {first}, then {second} and {third}; the highest is that of "
        f"{order[-1]} ({means[order[-1]]:.1f})."
    )


def _on_seeds(findings: Findings) -> str:
    counts = {}
    for workload in dict.fromkeys(trial.workload for trial in findings.here):
        losses = findings.test_losses(workload)
        counts[workload] = len(rivals(losses)[1]), len(losses) - 1
    if max(others for _, others in counts.values()) < 1:
        return ""
    listed = ", ".join(f"{near} of {others} on {name}" for name, (near, others) in counts.items())
    return (
        f"Policies whose interval of the test loss overlaps that of the best one: {listed}. "
        "The seeds do not separate these from the best policy."
    )


def _on_widths(findings: Findings) -> str:
    if len(findings.protocol.draw(1.0)) < 2 or len(findings.widths) < 2:
        return ""
    order = sorted(findings.widths, key=findings.widths.__getitem__, reverse=True)
    wide, narrow = (
        ", ".join(f"{name} ({findings.widths[name]:.1f})" for name in names)
        for names in (order[:3], order[: -min(4, len(order)) : -1])
    )
    return (
        f"The widest ranges of usable rates, in decades (of {findings.protocol.decades:g} tuned), "
        f"medians over the workloads: {wide}. The narrowest: {narrow}."
    )


def _on_budgets(findings: Findings) -> str:
    means = findings.shared_ranks
    if len(means) < 2 or len(findings.policies) < 3:
        return ""
    least, most = means[findings.budgets[0]], means[findings.budgets[-1]]
    names = list(least)
    correlation = spearmanr([least[name] for name in names], [most[name] for name in names])
    moves = {name: least[name] - most[name] for name in names}
    rises, falls = max(moves, key=moves.__getitem__), min(moves, key=moves.__getitem__)
    return (
        f"The orders at x{findings.budgets[0]:g} and x{findings.budgets[-1]:g} have a rank "
        f"correlation of {correlation.statistic:.2f}. ".replace("-", "\N{MINUS SIGN}")
        + f"With the greater budget, {rises} gains the most (from a mean rank of "
        f"{least[rises]:.1f} to {most[rises]:.1f}) and {falls} loses the most "
        f"({least[falls]:.1f} to {most[falls]:.1f})."
    )


def _on_edges(findings: Findings) -> str:
    if len(findings.protocol.draw(1.0)) < 2:
        return ""
    at_edge = [trial for trial in findings.trials if edge(trial)]
    return (
        f"{len(at_edge)} of {len(findings.trials)} selected rates are the lowest or the highest "
        "tuned rate, so a better rate may exist outside the range. Tables mark them."
    )


def _on_divergence(findings: Findings) -> str:
    runs = sum(len(trial.seeds) for trial in findings.trials)
    num_diverged = sum(map(diverged, findings.trials))
    return f"{num_diverged} of {runs} scored runs diverged; their losses count as infinite."


TOPICS: Mapping[str, Callable[[Findings], str]] = {
    "Ranks": _on_ranks,
    "Ties": _on_seeds,
    "Usable rates": _on_widths,
    "Budgets": _on_budgets,
    "Edges": _on_edges,
    "Divergence": _on_divergence,
}
"""Function of the sentence on each topic; an empty text if the study has nothing to say on it."""


def number(count: int, what: str) -> str:
    """Return a count with its noun in singular or plural.

    >>> from benchmarks.report.findings import number
    >>> number(1, "workload"), number(2, "workload"), number(2, "policy")
    ('1 workload', '2 workloads', '2 policies')
    """
    if count == 1:
        return f"{count} {what}"
    return f"{count} {what[:-1]}ies" if what.endswith("y") else f"{count} {what}s"
