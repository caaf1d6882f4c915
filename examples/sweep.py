"""Train 64 runs in one compiled program, 16 peaks with 4 seeds each, and plot their losses.

    python examples/sweep.py --steps 200 --picture sweep.png

Requires the extra ``bench``: matplotlib, rich, scikit-learn and tyro. The numbers of a schedule are
data, so one program trains all runs. The width of the minimum shows how exactly the rate must be
known.
"""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import tyro
from sklearn.datasets import load_breast_cancer
from sklearn.preprocessing import StandardScaler

import lrsched
from lrsched import tuning


def loss_fn(params, batch):
    x, y = batch
    return optax.sigmoid_binary_cross_entropy(x @ params["w"] + params["b"], y).mean()


def params(key):
    return {"w": 0.1 * jax.random.normal(key, (30,)), "b": jnp.zeros(())}


def main(steps: int = 200, peaks: int = 16, seeds: int = 4, picture: Path = Path("sweep.png")):
    features, labels = load_breast_cancer(return_X_y=True)
    features = np.float32(StandardScaler().fit_transform(features))
    shuffled = np.random.default_rng(0).permutation(len(labels))
    train, held_out = shuffled[:400], shuffled[400:]
    run = tuning.training(
        loss_fn,
        params,
        optax.adam,
        (features[train], labels[train]),
        batch_size=32,
        validation=(features[held_out], labels[held_out]),
    )
    schedules = [lrsched.cosine(float(peak), steps) for peak in np.geomspace(1e-4, 10.0, peaks)]
    found = tuning.sweep(run, schedules, seeds=seeds)
    print(f"{len(found.table)} members: {found.compile_seconds:.1f} s to compile, ", end="")
    print(
        f"{found.run_seconds:.1f} s to run\n   peak  validation loss, least and most of the seeds"
    )
    for peak, losses in zip(*found.curve(), strict=True):
        print(f"{peak:.1e}  {losses.mean():15.4f}  {losses.min():.4f}  {losses.max():.4f}")
    print(f"best: {found.best()}")
    found.plot().figure.savefig(picture)
    return found


if __name__ == "__main__":
    tyro.cli(main)
