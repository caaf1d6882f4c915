import json

import numpy as np
import pytest

from benchmarks import which_rate
from benchmarks.runs import best_and_usable
from benchmarks.scaling_rules import _bottom, _power


def test_usable_rates_fall_by_95_percent_of_the_best_fall():
    rates = np.array([1e-4, 1e-3, 1e-2, 1e-1, 1.0])
    losses = np.array([[2.0], [0.45], [0.3], [0.39], [np.inf]])
    assert best_and_usable(rates, losses, first=2.3) == (1e-2, 1e-1 / 10, 1e-1)


def test_a_power_law_gives_its_exponent():
    slope, error = _power([8, 32, 128], [0.1, 0.2, 0.4])
    np.testing.assert_allclose(slope, 0.5)
    np.testing.assert_allclose(error, 0.0, atol=1e-12)


def test_the_bottom_of_a_basin_is_its_middle():
    rates = np.array([0.01, 0.1, 1.0, 10.0])
    np.testing.assert_allclose(_bottom(rates, np.array([1.0, 0.105, 0.1, 5.0])), 10**-0.5)


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
