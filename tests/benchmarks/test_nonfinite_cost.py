"""The cost of the non-finite policies: the command measures ratios of a whole step."""

import json

from benchmarks import nonfinite_cost


def test_the_command_writes_the_ratio_of_each_policy(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(nonfinite_cost, "WIDTHS", (8, 4, 10))
    nonfinite_cost.main(["--methods", "dog", "--rounds", "2", "--out", str(tmp_path)])
    table = json.loads((tmp_path / "nonfinite-cost.json").read_text())
    assert table["columns"][1:4] == list(nonfinite_cost.POLICIES)
    ((name, *ratios),) = table["rows"]
    assert name == "dog"
    assert all(float(ratio) > 0 for ratio in ratios)
    assert "Whole step over optax's" in capsys.readouterr().out
