"""What a study found, ready to be written: its trials in order, and sentences about them."""

from collections.abc import Mapping, Sequence
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
    """A study and all that its page says of it.

    Attributes:
      name: of the study.
      protocol: how policies were tuned.
      trials: what came of each, any number of workloads, policies and budgets.
      data: the name of the file with the trials.
    """

    name: str
    protocol: Protocol
    trials: Sequence[Trial]
    data: str

    def __post_init__(self) -> None:
        if not self.trials:
            raise ValueError(f"the study {self.name!r} has no trials; a report needs at least one")
        for what, known in (("policy", POLICIES), ("workload", WORKLOADS)):
            for name in {getattr(trial, what) for trial in self.trials} - known.keys():
                raise ValueError(
                    f"the study has the {what} {name!r}, which these benchmarks do not know; "
                    f"known are {', '.join(known)}"
                )

    @cached_property
    def workloads(self) -> list[str]:
        """In the order of `WORKLOADS`."""
        return [name for name in WORKLOADS if any(t.workload == name for t in self.trials)]

    @cached_property
    def policies(self) -> list[str]:
        """In the order of `POLICIES`."""
        return [name for name in POLICIES if any(t.policy == name for t in self.trials)]

    @cached_property
    def budgets(self) -> list[float]:
        """From the least."""
        return sorted({trial.budget for trial in self.trials})

    @cached_property
    def budget(self) -> float:
        """The one that tables and profiles are of: 1, or the nearest to it."""
        return min(self.budgets, key=lambda budget: abs(np.log(budget)))

    @cached_property
    def by_key(self) -> Mapping[tuple[str, str, float], Trial]:
        """The trials by workload, policy and budget."""
        return by_key(self.trials)

    @cached_property
    def here(self) -> list[Trial]:
        """The trials at that budget, by workload and policy."""
        keys = [(w, p, self.budget) for w in self.workloads for p in self.policies]
        return [self.by_key[key] for key in keys if key in self.by_key]

    def of(self, workload: str) -> list[Trial]:
        """Those of one workload."""
        return [trial for trial in self.here if trial.workload == workload]

    @cached_property
    def least(self) -> dict[str, float]:
        """The lowest loss of any rate of any policy at that budget, by workload."""
        names = dict.fromkeys(trial.workload for trial in self.here)
        return {name: least_loss(self.trials, name, self.budget) for name in names}

    @cached_property
    def whole(self) -> list[Trial]:
        """The trials at that budget on the workloads that have all policies there."""
        return shared(self.here)

    @cached_property
    def ranks(self) -> dict[float, dict[str, float]]:
        """Mean ranks by budget and policy, over the workloads that have all policies there."""
        return {budget: ranks(self.trials, budget) for budget in self.budgets}

    @cached_property
    def everywhere(self) -> list[str]:
        """The workloads that have every policy at every budget."""
        found = {trial.workload for trial in shared(self.trials)}
        return [name for name in self.workloads if name in found]

    @cached_property
    def shared_ranks(self) -> dict[float, dict[str, float]]:
        """The same over the workloads that have all of them at every budget."""
        found = shared(self.trials)
        return {budget: ranks(found, budget) for budget in self.budgets} if found else {}

    @cached_property
    def ranges(self) -> dict[str, dict[str, tuple[Usable, bool]]]:
        """The usable rates by policy and workload, and whether what was tried bounds them."""
        found: dict[str, dict[str, tuple[Usable, bool]]] = {name: {} for name in self.policies}
        for trial in self.here:
            width = usable(trial, self.least[trial.workload])
            is_bounded = not width.decades or bounded(trial, width)
            found[trial.policy][trial.workload] = width, is_bounded
        return {name: ranges for name, ranges in found.items() if ranges}

    @cached_property
    def widths(self) -> dict[str, float]:
        """The medians of the usable decades over the workloads, by policy."""
        return {
            policy: float(np.median([width.decades for width, _ in ranges.values()]))
            for policy, ranges in self.ranges.items()
        }

    def costs(self, *, timed: bool) -> dict[str, list[float]]:
        """The median updates, or seconds, to each workload's target, by policy."""
        found: dict[str, list[float]] = {}
        for trial in self.whole:
            cost = median_cost(trial, WORKLOADS[trial.workload].target, timed=timed)
            found.setdefault(trial.policy, []).append(cost)
        return found

    def test_losses(self, workload: str) -> dict[str, Interval]:
        """By policy."""
        return {t.policy: interval(t.final["test_loss"]) for t in self.of(workload)}


def rivals(found: Mapping[str, Interval]) -> tuple[str, list[str]]:
    """The policy with the lowest median, and those whose interval overlaps its own.

    >>> from benchmarks.analysis import Interval
    >>> from benchmarks.report.findings import rivals
    >>> rivals({"a": Interval(2, 1, 3, 0.9), "b": Interval(9, 8, 9, 0.9)})
    ('a', [])
    """
    best = min(found, key=lambda name: found[name].median)
    return best, [name for name, of in found.items() if name != best and overlap(of, found[best])]


def command(name: str, protocol: Protocol, trials: Sequence[Trial]) -> str:
    """The command that makes the study again."""
    base = QUICK if name == "quick" else FULL
    given = {
        "workloads": tuple(dict.fromkeys(t.workload for t in trials)),
        "policies": tuple(dict.fromkeys(t.policy for t in trials)),
        "budgets": tuple(dict.fromkeys(t.budget for t in trials)),
        **{field: getattr(protocol, field) for field in ("rates", "seeds", "tuning_seeds", "seed")},
    }
    own = {(w, b) for w in given["workloads"] for b in base.budgets or WORKLOADS[w].budgets}
    if own == {(trial.workload, trial.budget) for trial in trials}:
        given["budgets"] = base.budgets
    parts = [f"python -m benchmarks {'quick' if base is QUICK else 'full'}"]
    for field, value in given.items():
        if value != getattr(base, field):
            values = value if isinstance(value, tuple) else (value,)
            parts.append(
                f"--{field.replace('_', '-')} "
                + " ".join(f"{v:g}" if isinstance(v, float) else str(v) for v in values)
            )
    return " ".join(parts)


def sentences(found: Findings) -> list[tuple[str, str]]:
    """What the numbers say, each with what it is about; nothing here is written by hand."""
    lines = [
        _on_ranks(found),
        _on_seeds(found),
        _on_widths(found),
        _on_budgets(found),
        _on_edges(found),
        _on_divergence(found),
    ]
    return [line for line in lines if line[1]]


def _on_ranks(found: Findings) -> tuple[str, str]:
    means = found.ranks[found.budget]
    order = sorted((n for n in means if np.isfinite(means[n])), key=means.__getitem__)
    if len(order) < 3:
        return "Ranks", ""
    first, second, third = (f"{name} ({means[name]:.1f})" for name in order[:3])
    count = len({trial.workload for trial in found.whole})
    return (
        "Ranks",
        f"At x{found.budget:g}, over {number(count, 'workload')}, the lowest mean rank of the test "
        f"loss is that of {first}, then {second} and {third}; the highest is that of "
        f"{order[-1]} ({means[order[-1]]:.1f}).",
    )


def _on_seeds(found: Findings) -> tuple[str, str]:
    counts = {}
    for workload in dict.fromkeys(trial.workload for trial in found.here):
        losses = found.test_losses(workload)
        counts[workload] = len(rivals(losses)[1]), len(losses) - 1
    if max(others for _, others in counts.values()) < 1:
        return "Ties", ""
    listed = ", ".join(f"{near} of {others} on {name}" for name, (near, others) in counts.items())
    return (
        "Ties",
        f"Policies whose interval of the test loss overlaps that of the best one: {listed}. "
        "The seeds do not tell these from the best.",
    )


def _on_widths(found: Findings) -> tuple[str, str]:
    if len(found.protocol.draw(1.0)) < 2 or len(found.widths) < 2:
        return "Usable rates", ""
    order = sorted(found.widths, key=found.widths.__getitem__, reverse=True)
    wide, narrow = (
        ", ".join(f"{name} ({found.widths[name]:.1f})" for name in names)
        for names in (order[:3], order[: -min(4, len(order)) : -1])
    )
    return (
        "Usable rates",
        f"The widest ranges of usable rates, in decades of {found.protocol.decades:g} tried, "
        f"medians over the workloads: {wide}; the narrowest: {narrow}.",
    )


def _on_budgets(found: Findings) -> tuple[str, str]:
    means = found.shared_ranks
    if len(means) < 2 or len(found.policies) < 3:
        return "Budgets", ""
    least, most = means[found.budgets[0]], means[found.budgets[-1]]
    names = list(least)
    alike = spearmanr([least[name] for name in names], [most[name] for name in names]).statistic
    moves = {name: least[name] - most[name] for name in names}
    rises, falls = max(moves, key=moves.__getitem__), min(moves, key=moves.__getitem__)
    return (
        "Budgets",
        f"The orders at x{found.budgets[0]:g} and x{found.budgets[-1]:g} have a rank correlation "
        f"of {alike:.2f}. ".replace("-", "\N{MINUS SIGN}")
        + f"With the greater budget {rises} gains the most (from a mean rank of "
        f"{least[rises]:.1f} to {most[rises]:.1f}) and {falls} loses the most "
        f"({least[falls]:.1f} to {most[falls]:.1f}).",
    )


def _on_edges(found: Findings) -> tuple[str, str]:
    if len(found.protocol.draw(1.0)) < 2:
        return "Edges", ""
    at = [trial for trial in found.trials if edge(trial)]
    return (
        "Edges",
        f"{len(at)} of {len(found.trials)} chosen rates are the lowest or the highest of those "
        "tried, so a better one may lie beyond; tables mark them.",
    )


def _on_divergence(found: Findings) -> tuple[str, str]:
    runs = sum(len(trial.seeds) for trial in found.trials)
    lost = sum(map(diverged, found.trials))
    return "Divergence", f"{lost} of {runs} scored runs diverged; they count as infinite losses."


def number(count: int, what: str) -> str:
    """A count with its noun.

    >>> from benchmarks.report.findings import number
    >>> number(1, "workload"), number(2, "workload"), number(2, "policy")
    ('1 workload', '2 workloads', '2 policies')
    """
    if count == 1:
        return f"{count} {what}"
    return f"{count} {what[:-1]}ies" if what.endswith("y") else f"{count} {what}s"
