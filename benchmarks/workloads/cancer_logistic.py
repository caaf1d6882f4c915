"""Logistic regression on scikit-learn's breast-cancer data: a convex problem."""

import numpy as np
from flax import nnx
from sklearn.datasets import load_breast_cancer

from benchmarks.workloads.base import Data, Split, Workload, accuracy, cross_entropy, split


def load() -> Data:
    """Return 30 standardised features and labels: 369 training, 100 + 100 held-out examples."""
    features, labels = load_breast_cancer(return_X_y=True)
    data = split(features.astype(np.float32), labels.astype(np.int32), held_out=100)
    mean, deviation = data.train.inputs.mean(axis=0), data.train.inputs.std(axis=0)
    return Data(*(Split((each.inputs - mean) / deviation, each.targets) for each in data))


def logistic(rngs: nnx.Rngs) -> nnx.Module:
    """Return a linear layer with two logits and zero initial weights: 62 parameters."""
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
