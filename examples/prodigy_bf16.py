"""Train a bfloat16 model with Prodigy: a WSD from a warmup at zero as the outer rate.

    python examples/prodigy_bf16.py --steps 600

Requires the extra ``bench``: flax, scikit-learn and tyro. An MLP learns the digits with all
parameters and layers in bfloat16, then in float32. The applied rate is the schedule times the
``estimate`` of Prodigy, a float32 scalar in both cases. The state keeps the rounding errors of
bfloat16 parameters; otherwise the first updates, of about 1e-6, would be lost. Arithmetic with 8
significand bits gives another estimate and another final loss than with 24: compare the two.
"""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import tyro
from flax import nnx
from sklearn.datasets import load_digits

import lrsched

pixels, labels = load_digits(return_X_y=True)
images = np.float32(pixels / 16)
order = np.random.default_rng(0).permutation(len(images))
training, held_out = order[:1200], order[1200:]


def loss_fn(model, x, y):
    # In bfloat16, the logarithm and the mean of the loss would lose most of their accuracy.
    logits = model(x).astype(jnp.float32)
    loss = optax.softmax_cross_entropy_with_integer_labels(logits, y).mean()
    return loss, jnp.mean(logits.argmax(-1) == y)


@nnx.jit
def train_step(model, optimizer, x, y):
    gradients = nnx.grad(loss_fn, has_aux=True)(model, x, y)[0]
    optimizer.update(model, gradients)
    return lrsched.metrics(optimizer.opt_state)


def train(dtype, steps, lines, seed):
    kind = {"dtype": dtype, "param_dtype": dtype, "rngs": nnx.Rngs(seed)}
    model = nnx.Sequential(
        nnx.Linear(64, 128, **kind),
        nnx.relu,
        nnx.Linear(128, 128, **kind),
        nnx.relu,
        nnx.Linear(128, 10, **kind),
    )
    schedule = lrsched.wsd(1.0, steps, warmup=0.1, cooldown=0.4)
    optimizer = nnx.Optimizer(model, lrsched.prodigy(schedule), wrt=nnx.Param)
    evaluate = nnx.jit(loss_fn)
    print(f"{dtype.name}\n update  schedule  estimate   applied  held out  accuracy")
    history = []
    for step in range(steps):
        batch = jax.random.choice(jax.random.key(step), training, (64,))
        found = train_step(model, optimizer, images[batch], labels[batch])
        if step == 0 or (step + 1) % (steps // lines) == 0:
            loss, accuracy = evaluate(model, images[held_out], labels[held_out])
            rates = float(schedule(step)), float(found["estimate"]), float(found["learning_rate"])
            history.append((step + 1, *rates, float(loss), float(accuracy)))
            print(f"{step + 1:>7}" + "".join(f"{x:>10.3g}" for x in history[-1][1:]))
    return history


def main(
    steps: int = 600,
    lines: int = 10,
    seed: int = 0,
    dtypes: tuple[str, ...] = ("bfloat16", "float32"),
):
    return [train(jnp.dtype(dtype), steps, lines, seed) for dtype in dtypes]


if __name__ == "__main__":
    tyro.cli(main)
