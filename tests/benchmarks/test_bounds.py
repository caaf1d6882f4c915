"""The programs behind docs/theory.md, on little."""

import numpy as np

from benchmarks import bounds, refinement


def test_the_comparison_of_shapes_is_printed_and_drawn(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(bounds, "HORIZONS", (400,))
    out = tmp_path / "bounds.svg"
    bounds.main(["--base", "200", "--times", "2", "--timed", "300", "--out", str(out)])
    printed = capsys.readouterr().out
    assert "0.018176" in printed
    assert "0.100630" in printed
    assert out.stat().st_size > 50_000


def test_a_run_is_recorded_and_refined(tmp_path, capsys):
    out = tmp_path / "refined.png"
    options = ["--workloads", "digits-mlp", "--compared", "--scale", "0.05", "--out", str(out)]
    refinement.main(options)
    assert "digits-mlp, l1: begins at" in capsys.readouterr().out
    assert out.stat().st_size > 20_000


def test_the_best_peak_is_the_minimum_between_the_peaks():
    peaks = np.geomspace(1e-3, 1.0, 13)
    wanted = np.array([0.02, 0.07])
    losses = np.exp((np.log(peaks)[:, None] - np.log(wanted)) ** 2)
    losses[-1] = np.nan
    np.testing.assert_allclose(bounds.minima(peaks, losses), wanted, rtol=1e-6)


def test_best_peaks_of_runs_are_compared_with_the_bound(capsys):
    bounds.main(["--runs", "--steps", "20", "--rates", "5", "--seeds", "1"])
    printed = capsys.readouterr().out
    assert "WSD, 20 % cooldown, twice as long" in printed
    assert "Best peaks over that of WSD of 20 updates" in printed
