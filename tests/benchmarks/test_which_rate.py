import json

import numpy as np
import pytest

from benchmarks import which_rate
from benchmarks.runs import best_and_usable
from lrsched import tuning


def test_usable_rates_fall_by_95_percent_of_the_best_fall():
    rates = np.array([1e-4, 1e-3, 1e-2, 1e-1, 1.0])
    losses = np.array([[2.0], [0.45], [0.3], [0.39], [np.inf]])
    assert best_and_usable(rates, losses, first=2.3) == (1e-2, 1e-1 / 10, 1e-1)


@pytest.mark.slow
def test_it_runs_from_end_to_end(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(
        which_rate, "OPTIMIZERS", {name: which_rate.OPTIMIZERS[name] for name in ("Adam",)}
    )
    monkeypatch.setattr(which_rate, "sizes", lambda options, console: [])
    out = tmp_path / "found.png"
    options = "--steps 40 --rates 4 --seeds 1 --workloads digits-mlp --out"
    which_rate.main([*options.split(), str(out)])
    assert "Usable rates" in capsys.readouterr().out
    (first, second) = json.loads(out.with_suffix(".json").read_text())["optimizers"]
    assert (first["shape"], second["shape"]) == ("constant", "linear to zero")
    assert out.stat().st_size > 10_000
    assert second["best"] == pytest.approx(second["rates"][np.argmin(second["validation"])])


def test_a_verdict_is_right_where_the_final_losses_agree():
    rates, losses = np.geomspace(1e-3, 1, 50), np.linspace(2, 1, 50)[None]
    tested = tuning.RangeTestResult(rates, losses, losses)
    low = tested.range.low
    assert which_rate.right_verdicts(tested, np.array([low / 9, low * 2]), low, 1.0) == [2, 2]
    assert which_rate.right_verdicts(tested, np.array([low / 9, low * 2]), low / 10, low) == [0, 2]
