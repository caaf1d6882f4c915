"""Branches off one checkpoint: the cooldown ends below both the trunk and the checkpoint."""

import pytest
import tyro

from examples import language_model


@pytest.mark.slow
def test_a_cooldown_ends_below_the_trunk(tmp_path, monkeypatch):
    for name, size in {"WIDTH": 32, "LAYERS": 1, "LENGTH": 16, "BATCH": 8}.items():
        monkeypatch.setattr(language_model, name, size)
    arguments = ["--stable", "100", "--peak", "0.04", "--cooldowns", "80", "--shapes", "linear"]
    found = tyro.cli(language_model.main, args=[*arguments, "--directory", str(tmp_path)])
    assert {path.name for path in tmp_path.iterdir()} == {"stable-100"}
    checkpoint, trunk, branch = found.values()
    assert checkpoint[0] == trunk[0]
    assert branch[0] == pytest.approx(trunk[0] / 80, rel=1e-5)
    assert branch[1] < min(checkpoint[1], trunk[1])
