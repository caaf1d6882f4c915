"""Logistic regression on scikit-learn's breast-cancer data: convex, where theory applies."""

import numpy as np
from flax import nnx
from sklearn.datasets import load_breast_cancer

from benchmarks.workloads.base import Data, Split, Workload, accuracy, cross_entropy, split


def load() -> Data:
    """Returns 30 standardised numbers of each: 369 to train on, 100 + 100 held out."""
    numbers, labels = load_breast_cancer(return_X_y=True)
    data = split(numbers.astype(np.float32), labels.astype(np.int32), held_out=100)
    mean, deviation = data.train.inputs.mean(axis=0), data.train.inputs.std(axis=0)
    return Data(*(Split((part.inputs - mean) / deviation, part.targets) for part in data))


def logistic(rngs: nnx.Rngs) -> nnx.Module:
    """Two logits of one linear layer that begins at zero: 62 parameters."""
    return nnx.Linear(30, 2, kernel_init=nnx.initializers.zeros_init(), rngs=rngs)


WORKLOAD = Workload(
    name="cancer-logistic",
    title="Logistic regression on breast cancer",
    source="scikit-learn's breast_cancer, BSD-3",
    data=load,
    model=logistic,
    loss=cross_entropy,
    metric=accuracy,
    batch_size=32,
    steps=400,
    around=1e-2,
    target=0.13,
)
