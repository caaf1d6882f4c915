"""The small problems on which adaptive methods are recorded, and later tested, in float64.

Nothing here knows a framework: arrays are numpy's, and a loss is given the functions it needs.
"""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Problem:
    """A model, its data in batches of ``size``, and its loss."""

    load: Callable[..., Any]
    size: int
    parameters: Callable[[], dict[str, np.ndarray]]
    loss: Callable[..., Any]

    def batch(self, step: int) -> tuple[np.ndarray, np.ndarray]:
        """The inputs and the labels of the update after ``step`` updates."""
        inputs, labels = _shuffled(self.load)
        rows = np.arange(step * self.size, step * self.size + self.size) % len(labels)
        return inputs[rows], labels[rows]


@functools.cache
def _shuffled(load: Callable[..., Any]) -> tuple[np.ndarray, np.ndarray]:
    inputs, labels = load()
    order = np.random.default_rng(1).permutation(len(labels))
    return inputs[order], labels[order]


def _digits() -> tuple[np.ndarray, np.ndarray]:
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    return images / 16, labels


def _cancer() -> tuple[np.ndarray, np.ndarray]:
    from sklearn.datasets import load_breast_cancer

    features, labels = load_breast_cancer(return_X_y=True)
    return (features - features.mean(0)) / features.std(0), labels


def _network() -> dict[str, np.ndarray]:
    """A hidden layer of 16 units, and 10 classes."""
    rng = np.random.default_rng(0)
    return {
        "w1": rng.standard_normal((64, 16)) / np.sqrt(64),
        "b1": np.zeros(16),
        "w2": rng.standard_normal((16, 10)) / np.sqrt(16),
        "b2": np.zeros(10),
    }


def _network_loss(parameters, images, labels, *, tanh, log_softmax):
    """The mean cross entropy; ``log_softmax`` works on the last axis."""
    hidden = tanh(images @ parameters["w1"] + parameters["b1"])
    scores = log_softmax(hidden @ parameters["w2"] + parameters["b2"])
    return -scores[np.arange(len(labels)), labels].mean()


def _linear() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(3)
    return {"b": np.zeros(2), "w": rng.standard_normal((30, 2)) / 10}


def _linear_loss(parameters, features, labels, *, tanh, log_softmax):
    """The mean cross entropy of two classes: convex."""
    del tanh
    scores = log_softmax(features @ parameters["w"] + parameters["b"])
    return -scores[np.arange(len(labels)), labels].mean()


DIGITS = Problem(_digits, 64, _network, _network_loss)
"""A network with a hidden layer for scikit-learn's digits."""
CANCER = Problem(_cancer, 100, _linear, _linear_loss)
"""A logistic regression of the Wisconsin breast cancer data: convex."""


def warmup_cosine(step):
    """From 0.1 to 1 in 10 updates, then half a cosine to 0 at update 110."""
    step = np.asarray(step, np.float64)
    cosine = 0.5 + 0.5 * np.cos(np.pi * np.clip((step - 10) / 100, 0, 1))
    return np.where(step < 10, 0.1 + 0.09 * step, cosine)


def drop(step):
    """1, and 0.1 from update 40 on."""
    return np.where(np.asarray(step) < 40, 1.0, 0.1)


def pauses(step):
    """1, but exactly 0 in the updates 0, 1 and 30 ... 33."""
    step = np.asarray(step)
    return np.where((step < 2) | ((step >= 30) & (step < 34)), 0.0, 1.0)


def small_warmup_cosine(step):
    """One hundredth of `warmup_cosine`."""
    return 0.01 * warmup_cosine(step)


def small_pauses(step):
    """One hundredth of `pauses`."""
    return 0.01 * pauses(step)


# The rates that the names in a recorded call mean.
RATES = {
    rate.__name__: rate for rate in (warmup_cosine, drop, pauses, small_warmup_cosine, small_pauses)
}


def metrics() -> dict[str, np.ndarray]:
    """Six sequences of 60 metrics, in steps of 2**-12 so that float32 holds them exactly."""
    step = np.arange(60)
    noise = np.random.default_rng(2).standard_normal(60)
    sequences = {
        "decreasing": 2 * 0.95**step,
        "plateau": np.maximum(2 * 0.9**step, 2 * 0.9**18),
        "noisy": 1.5 * 0.96**step + 0.15 * noise,
        "negative": -1 - 0.05 * np.minimum(step, 35) + 0.1 * noise,
        "rising": 0.5 + 0.02 * step,
        "ties": 0.25 + 0.5 ** (step // 7) + 0.25 * (step % 5 == 3),
    }
    return {name: np.round(values * 2**12) / 2**12 for name, values in sequences.items()}
