"""PyTorch's curves, recorded by `python -m tests.benchmarks.record_torch`, and ours over them."""

import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks import twins

RECORDED = json.loads((Path(__file__).parent / "torch_losses.json").read_text())


@pytest.mark.parametrize("name", ["OneCycleLR", "ReduceLROnPlateau"])
def test_the_training_loss_is_that_of_pytorch(name):
    theirs = np.array(RECORDED[name])
    ours = twins.losses(twins.like_torch(name), len(theirs))
    assert twins.apart(ours, theirs)[1] < 1e-4


def test_curves_apart_are_seen():
    curve = np.linspace(2, 1, 200)
    assert twins.apart(curve, curve) == (0, 0)
    late = curve + np.where(np.arange(200) == 150, 0.15, 0)
    assert twins.apart(late, curve) == (0, pytest.approx(0.1))


def test_every_pair_is_of_two_transforms():
    for twin in twins.OPTAX:
        for optimizer in (twin.ours, twin.theirs):
            assert callable(optimizer(0.1).update)
    assert set(RECORDED) <= set(twins.TORCH)
