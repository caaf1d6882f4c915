"""The programs behind docs/theory.md, on little."""

from benchmarks import bounds, refinement


def test_the_comparison_of_shapes_is_printed_and_drawn(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(bounds, "HORIZONS", (400,))
    out = tmp_path / "bounds.png"
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
