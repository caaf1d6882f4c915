"""64 members in one compiled program: peaks x seeds, with the bar, the table and the U-curve."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
from sklearn.datasets import load_breast_cancer
from sklearn.preprocessing import StandardScaler

import lrsched
from lrsched import tuning

features, labels = load_breast_cancer(return_X_y=True)
features = np.float32(StandardScaler().fit_transform(features))
shuffled = np.random.default_rng(0).permutation(len(labels))
train, held_out = shuffled[:400], shuffled[400:]


def loss_fn(params, batch):
    x, y = batch
    return optax.sigmoid_binary_cross_entropy(x @ params["w"] + params["b"], y).mean()


def params(key):
    return {"w": 0.1 * jax.random.normal(key, (30,)), "b": jnp.zeros(())}


run = tuning.training(
    loss_fn,
    params,
    optax.adam,
    (features[train], labels[train]),
    batch_size=32,
    validation=(features[held_out], labels[held_out]),
)
peaks = np.logspace(-4, 1, 16)
found = tuning.sweep(run, [lrsched.cosine(float(peak), steps=200) for peak in peaks], seeds=4)
print(found.table[:5])
print(f"best: {found.best()}; {found.compile_seconds:.1f} s to compile, {found.run_seconds:.1f} s")
found.plot().figure.savefig("sweep.png")
