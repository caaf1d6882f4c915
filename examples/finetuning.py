"""Fine-tune with lower rates in lower layers, with frozen layers, and with one rate for all.

    python examples/finetuning.py --shots 20

Requires the extra ``bench``: flax, scikit-learn and tyro. An MLP learns the digits 0 to 4 and is
then tuned, with a new head, on a few images each of the digits 5 to 9. The peak of each variant is
the best of ten by the loss on a validation set, because a variant that lowers the rate of some
layers may need a higher peak. The accuracy on a test set is the mean of all seeds with its standard
error. On these few images, one rate for all layers is best; this depends on the task.
"""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import tyro
from sklearn.datasets import load_digits

import lrsched

DEPTHS = {"head": 0, "layer_2": 1, "layer_1": 2, "layer_0": 3}
FROZEN = [("layer_0", None), ("layer_1", 0.1)]
WAYS = {
    "one rate for all": optax.identity(),
    "layer-wise decay 0.75": lrsched.layerwise_decay(0.75, lambda path: DEPTHS[path.split("/")[0]]),
    "layer_0 frozen, layer_1 x 0.1": lrsched.learning_rate_groups(FROZEN),
    "head only": lrsched.learning_rate_groups([("head", 1.0)], default=None),
}


class MLP(nn.Module):
    @nn.compact
    def __call__(self, x):
        for i in range(3):
            x = nn.relu(nn.Dense(64, name=f"layer_{i}")(x))
        return nn.Dense(5, name="head")(x)


def init(key):
    return MLP().init(key, jnp.zeros((1, 64)))["params"]


def logits_of(params, x):
    return MLP().apply({"params": params}, x)


def loss_of(params, x, y):
    return optax.softmax_cross_entropy_with_integer_labels(logits_of(params, x), y).mean()


def trained(params, x, y, way, schedule, key, steps):
    """Train on mini-batches of 20 examples; return the parameters and the optimizer state."""
    optimizer = optax.chain(
        optax.scale_by_adam(), lrsched.scale_by_learning_rate(schedule), WAYS[way]
    )

    def step(carry, key):
        params, state = carry
        batch = jax.random.choice(key, len(x), (20,))
        updates, state = optimizer.update(jax.grad(loss_of)(params, x[batch], y[batch]), state)
        return (optax.apply_updates(params, updates), state), None

    start = params, optimizer.init(params)
    return jax.lax.scan(step, start, jax.random.split(key, steps))[0]


def main(
    shots: int = 20,
    steps: int = 200,
    seeds: int = 5,
    peaks: int = 10,
    ways: tuple[str, ...] = (*WAYS,),
):
    pixels, labels = load_digits(return_X_y=True)
    images, rng = np.float32(pixels / 16), np.random.default_rng(0)
    low, high = (rng.permutation(np.flatnonzero(labels // 5 == half)) for half in (0, 1))
    few = np.concatenate([high[labels[high] == digit][:shots] for digit in range(5, 10)])
    rest = high[~np.isin(high, few)]
    old, new, validation, test = (
        (jnp.asarray(images[part]), jnp.asarray(labels[part] % 5))
        for part in (low, few, rest[::2], rest[1::2])
    )
    key = jax.random.key(0)
    pretrain = functools.partial(trained, way="one rate for all", key=key, steps=300)
    body, _ = jax.jit(pretrain)(init(key), *old, schedule=lrsched.cosine(3e-3, steps=300))
    print(f"loss on the digits 0 to 4: {loss_of(body, *old):.4f}; the third way's groups:")
    print(lrsched.group_table(FROZEN, body), "\n")

    def run(way, peak, key):
        start = body | {"head": init(key)["head"]}
        params, state = trained(start, *new, way, lrsched.cosine(peak, steps), key, steps)
        is_right = logits_of(params, test[0]).argmax(-1) == test[1]
        return loss_of(params, *validation), is_right.mean(), lrsched.learning_rates(state)

    print(f"{'way':<30}  peak      loss   accuracy")
    grid, keys = np.float32(np.geomspace(1e-3, 1.0, peaks)), jax.random.split(key, seeds)
    results = {}
    for way in ways:
        runs = jax.vmap(jax.vmap(functools.partial(run, way), (None, 0)), (0, None))
        losses, accuracies, rates = jax.jit(runs)(grid, keys)
        best = int(jnp.argmin(losses.mean(axis=1)))
        mean, error = accuracies[best].mean(), accuracies[best].std() / seeds**0.5
        print(f"{way:<30}  {grid[best]:.1e}  {losses[best].mean():.4f}  {mean:.3f} ± {error:.3f}")
        results[way] = float(grid[best]), losses, accuracies, rates
    return results


if __name__ == "__main__":
    tyro.cli(main)
