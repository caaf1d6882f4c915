"""What a record of a run's health costs: the command measures ratios of a step."""

from benchmarks import health_cost


def test_the_command_prints_the_ratio_of_each_variant(monkeypatch, capsys):
    names = ("adam", "record_health(adam)")
    few = {name: health_cost.VARIANTS[name] for name in names}
    monkeypatch.setattr(health_cost, "VARIANTS", few)
    sizes = {"width": 8, "layers": 1, "tokens": 4, "batch": 1, "turns": 2}
    health_cost.main([text for k, v in sizes.items() for text in (f"--{k}", str(v))])
    printed = capsys.readouterr().out
    assert "record_health(adam)" in printed
    assert "quartile" in printed
