"""The CNN learns, at the rates of its schedule."""

import tyro

from examples import nnx_images


def test_the_cnn_learns_under_its_schedule():
    history = tyro.cli(nnx_images.main, args=["--steps", "40", "--lines", "4"])
    rates, losses, accuracies = zip(*(row[1:] for row in history), strict=True)
    assert rates[0] == rates[1] == max(rates) > rates[2] > rates[3] > 0
    assert losses[-1] < 0.6 * losses[0]
    assert accuracies[-1] > 0.75
