"""Each depth has its rate, and the tuned model knows the digits that it was not pretrained on."""

import numpy as np
import tyro

from examples import finetuning


def test_layers_have_their_rates_and_the_new_digits_are_learnt(capsys):
    way = "layer-wise decay 0.75"
    arguments = ["--steps", "60", "--seeds", "2", "--peaks", "4", "--shots", "10", "--ways"]
    _, losses, accuracies, rates = tyro.cli(finetuning.main, args=[*arguments, way])[way]
    assert losses.shape == accuracies.shape == (4, 2)
    head = rates["depth 0"]
    for depth in range(1, 4):
        np.testing.assert_allclose(rates[f"depth {depth}"], 0.75**depth * head, rtol=1e-5)
    assert accuracies.max() > 0.6, "one in five is chance"
    assert "layer_0/kernel  (64, 64)  layer_0  frozen" in capsys.readouterr().out
