"""Lower the rate when the validation accuracy stops rising, and compare with a constant rate.

    python examples/plateau.py --epochs 20

Requires the extra ``bench``: flax, scikit-learn and tyro. SGD with momentum trains a linen MLP on
the digits at a rate that is slightly too high. Once an epoch, ``observe`` passes the validation
accuracy to the controller in the state, without a callback or a recompilation. The accuracies that
are compared are those on a test set.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import tyro
from sklearn.datasets import load_digits

import lrsched
from lrsched.flax import TrainState

pixels, labels = load_digits(return_X_y=True)
order = np.random.default_rng(0).permutation(len(labels))
images, labels = jnp.float32(pixels[order] / 16), jnp.array(labels[order])
TRAINING, BATCH = 1200, 8
VALIDATION, TEST = slice(TRAINING, 1500), slice(1500, None)
model = nn.Sequential([nn.Dense(64), nn.relu, nn.Dense(10)])


def loss_of(params, batch):
    logits = model.apply(params, images[batch])
    return optax.softmax_cross_entropy_with_integer_labels(logits, labels[batch]).mean()


@jax.jit
def train_epoch(state, key):
    def train_step(state, batch):
        return state.apply_gradients(grads=jax.grad(loss_of)(state.params, batch)), None

    batches = jax.random.permutation(key, TRAINING).reshape(-1, BATCH)
    return jax.lax.scan(train_step, state, batches)[0]


@jax.jit
def accuracies(state):
    is_right = model.apply(state.params, images).argmax(-1) == labels
    return is_right[VALIDATION].mean(), is_right[TEST].mean()


def train(observes, epochs, rate, patience, seed):
    transform = optax.chain(
        optax.trace(decay=0.9),
        lrsched.scale_by_learning_rate(rate),
        lrsched.reduce_on_plateau(factor=0.3, patience=patience, mode="max"),
    )
    params = model.init(jax.random.key(seed), images[:1])
    state = TrainState.create(apply_fn=model.apply, params=params, tx=transform)
    history = []
    for epoch in range(epochs):
        state = train_epoch(state, jax.random.fold_in(jax.random.key(seed), epoch))
        validation, test = accuracies(state)
        history.append((float(lrsched.learning_rate(state)), float(validation), float(test)))
        # A controller without observations keeps its scale at 1.
        if observes:
            state = lrsched.observe(state, validation)
    return history


def main(epochs: int = 20, rate: float = 0.1, patience: int = 3, seed: int = 0):
    plateau = train(True, epochs, rate, patience, seed)
    constant = train(False, epochs, rate, patience, seed)
    print(" epoch      rate  validation  test   |  constant  validation  test")
    for epoch, rows in enumerate(zip(plateau, constant, strict=True), start=1):
        left, right = (
            f"{rate:8.2e}  {validation:10.3f}  {test:.3f}" for rate, validation, test in rows
        )
        print(f"{epoch:>6}  {left}  |  {right}")
    return plateau, constant


if __name__ == "__main__":
    tyro.cli(main)
