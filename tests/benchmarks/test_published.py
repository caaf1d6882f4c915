"""The sentences of docs/benchmarks.md, by the study that the repository has."""

import numpy as np
import pytest

from benchmarks.analysis import edge, interval
from benchmarks.report.findings import rivals
from docs.generate.benchmarks import study


@pytest.fixture(scope="module")
def findings():
    return study()


def test_ties(findings):
    leading = {name: rivals(findings.test_losses(name)) for name in findings.workloads}
    others = {name: len(findings.test_losses(name)) - 1 for name in findings.workloads}
    assert sum(len(near) for _, near in leading.values()) == 59
    assert sum(others.values()) == 187
    for name in ("mnist-vit", "topics-lm"):
        assert leading[name] == ("muon", ["schedule-free"])
    for name in ("digits-mlp", "digits-bf16"):
        assert leading[name][0] == "adamw"


def test_ranks(findings):
    by_budget = {
        budget: sorted(means, key=means.__getitem__) for budget, means in findings.ranks.items()
    }
    assert by_budget[0.25][:2] == ["muon", "one-cycle"]
    assert by_budget[1.0][:4] == ["one-cycle", "adamw", "adamc", "cautious"]
    assert by_budget[4.0][7] == "one-cycle"
    ranks = findings.ranks[1.0]
    assert ranks["cautious"] - ranks["adamw"] == pytest.approx(1.3, abs=0.05)
    controllers = ("overfitting", "plateau", "greedy", "constant")
    np.testing.assert_allclose(
        [ranks[name] for name in controllers], [13.2, 16.6, 16.9, 17.8], atol=0.05
    )


def test_usable_rates(findings):
    widths = {name: round(width, 1) for name, width in findings.widths.items()}
    assert sum(width == 1.1 for width in widths.values()) == 16
    assert all(widths[name] == 1.1 for name in widths if name.startswith("wsd"))
    assert (widths["adamw"], widths["dadapt"], widths["step"]) == (1.3, 0.4, 0.7)
    for name in ("prodigy", "mechanic", "dog"):
        assert sum(not width.decades for width, _ in findings.ranges[name].values()) == 4


def test_the_first_to_the_target(findings):
    costs = findings.costs(timed=False)
    least = np.min(list(costs.values()), axis=0)
    first = [{name for name in costs if costs[name][place] == least[place]} for place in range(6)]
    assert sum("muon" in names for names in first) == 4
    assert sum(names == {"muon", "schedule-free"} for names in first) == 2


def test_edges(findings):
    at_edge = [trial for trial in findings.trials if edge(trial)]
    assert (len(at_edge), len(findings.trials)) == (44, 470)
    mechanic = [trial for trial in findings.trials if trial.policy == "mechanic"]
    assert (sum(bool(edge(trial)) for trial in mechanic), len(mechanic)) == (13, 17)


def test_weight_decay_on_digits(findings):
    losses = [
        interval(findings.by_key["digits-mlp", name, 1.0].final["test_loss"]).median
        for name in ("adamw", "cosine")
    ]
    np.testing.assert_allclose(losses, [0.065, 0.102], atol=5e-4)
