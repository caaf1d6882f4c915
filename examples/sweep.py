"""One compiled program for many schedules: vmap runs over their peaks and their horizons."""

import jax
import jax.numpy as jnp
import optax
from sklearn.datasets import load_breast_cancer
from sklearn.preprocessing import StandardScaler

import lrsched

features, labels = load_breast_cancer(return_X_y=True)
features = jnp.asarray(StandardScaler().fit_transform(features), jnp.float32)
labels = jnp.asarray(labels)
UPDATES = 200


def loss(weights):
    return optax.sigmoid_binary_cross_entropy(features @ weights, labels).mean()


@jax.jit
def final_loss(peak, steps):
    schedule = lrsched.warmup(10) * lrsched.cosine(peak, steps)
    optimizer = optax.chain(optax.scale_by_adam(), lrsched.scale_by_learning_rate(schedule))

    def step(carry, _):
        weights, state = carry
        updates, state = optimizer.update(jax.grad(loss)(weights), state)
        return (optax.apply_updates(weights, updates), state), None

    start = jnp.zeros(features.shape[1])
    (weights, _), _ = jax.lax.scan(step, (start, optimizer.init(start)), length=UPDATES)
    return loss(weights)


peaks, horizons = jnp.logspace(-4, 0, 9), jnp.array([50, 100, 200])
losses = jax.vmap(jax.vmap(final_loss, in_axes=(0, None)), in_axes=(None, 0))(peaks, horizons)
print("peak      " + "  ".join(f"T={int(steps):>4}" for steps in horizons))
for peak, row in zip(peaks, losses.T, strict=True):
    print(f"{float(peak):.1e}   " + "  ".join(f"{float(value):.4f}" for value in row))
