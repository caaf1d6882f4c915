"""Loss curves of the ports against those that `tests.benchmarks.record_torch` recorded."""

import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks import twins

RECORDED = json.loads((Path(__file__).parent / "torch_losses.json").read_text())


@pytest.mark.parametrize("name", ["OneCycleLR", "ReduceLROnPlateau"])
def test_the_training_loss_is_that_of_pytorch(name):
    original = np.array(RECORDED[name])
    port = twins.losses(twins.port_of_torch(name), len(original))
    assert twins.max_differences(port, original)[1] < 1e-4


def test_curves_apart_are_seen():
    curve = np.linspace(2, 1, 200)
    assert twins.max_differences(curve, curve) == (0, 0)
    late = curve + np.where(np.arange(200) == 150, 0.15, 0)
    assert twins.max_differences(late, curve) == (0, pytest.approx(0.1))


def test_every_pair_is_of_two_transforms():
    for twin in twins.OPTAX:
        for optimizer in (twin.port, twin.original):
            assert callable(optimizer(0.1).update)
    assert set(RECORDED) <= set(twins.TORCH)
