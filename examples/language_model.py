"""Train a linen language model of open length: several cooldowns branch off one checkpoint.

    python examples/language_model.py --stable 500

Requires the extra ``bench``: flax, orbax and tyro. A small causal transformer learns the help
topics of Python, character by character. It warms up, stays at the peak (the stable phase of WSD)
and is saved once. Each branch restores that checkpoint and ends with a cooldown of another length
and shape; one continues without a cooldown. All branches reuse the compiled step, because lengths
and rates are data.
"""

import functools
import tempfile
from pathlib import Path
from pydoc_data.topics import topics

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import orbax.checkpoint as ocp
import tyro

import lrsched
from lrsched.flax import TrainState

LENGTH, WIDTH, LAYERS, BATCH = 64, 64, 2, 16
TEXT = "\n".join(topics[name] for name in sorted(topics)).encode("ascii", "ignore")
CODES = jnp.asarray(np.frombuffer(TEXT, np.uint8), jnp.int32)
TRAINING, HELD_OUT = CODES[:-20_000], CODES[-20_000:]


class Block(nn.Module):
    @nn.compact
    def __call__(self, x):
        mask = nn.make_causal_mask(x[..., 0])
        x = x + nn.MultiHeadDotProductAttention(num_heads=4)(nn.LayerNorm()(x), mask=mask)
        return x + nn.Dense(WIDTH)(nn.gelu(nn.Dense(4 * WIDTH)(nn.LayerNorm()(x))))


class Transformer(nn.Module):
    @nn.compact
    def __call__(self, characters):
        places = self.param("places", nn.initializers.normal(0.02), (LENGTH, WIDTH))
        x = nn.Embed(128, WIDTH)(characters) + places
        for _ in range(LAYERS):
            x = Block()(x)
        return nn.Dense(128)(nn.LayerNorm()(x))


model = Transformer()


# The peak must be static: TrainState returns the transform as static data, which may not contain a
# traced value.
@functools.partial(jax.jit, static_argnames="peak")
def fresh_state(peak):
    transform = optax.chain(
        optax.scale_by_adam(b2=0.99),
        # A schedule without a horizon: the length of the run is not fixed yet.
        lrsched.scale_by_learning_rate(lrsched.warmup(40) * peak),
    )
    params = model.init(jax.random.key(0), jnp.zeros((1, LENGTH), jnp.int32))
    return TrainState.create(apply_fn=model.apply, params=params, tx=transform)


def loss_of(params, windows):
    logits = model.apply(params, windows[:, :-1])
    return optax.softmax_cross_entropy_with_integer_labels(logits, windows[:, 1:]).mean()


@jax.jit
def train_step(state, text):
    starts = jax.random.randint(
        jax.random.fold_in(jax.random.key(1), state.step), (BATCH, 1), 0, len(text) - LENGTH
    )
    gradients = jax.grad(loss_of)(state.params, text[starts + jnp.arange(LENGTH + 1)])
    return state.apply_gradients(grads=gradients)


@jax.jit
def validation_loss(params):
    windows = (len(HELD_OUT) - 1) // LENGTH
    starts = LENGTH * jnp.arange(windows)[:, None]
    return loss_of(params, HELD_OUT[starts + jnp.arange(LENGTH + 1)])


def trained(state, updates):
    for _ in range(updates):
        state = train_step(state, TRAINING)
    return state


def main(
    stable: int = 500,
    peak: float = 3e-3,
    cooldowns: tuple[int, ...] = (50, 120),
    shapes: tuple[str, ...] = ("1-sqrt", "linear"),
    directory: Path | None = None,
):
    state = trained(fresh_state(peak), stable)
    path = (directory or Path(tempfile.mkdtemp())).absolute() / f"stable-{stable}"
    with ocp.StandardCheckpointer() as checkpointer:
        checkpointer.save(path, state)

    def annealed(updates, shape):
        with ocp.StandardCheckpointer() as checkpointer:
            restored = checkpointer.restore(path, jax.eval_shape(lambda: fresh_state(peak)))
        return trained(lrsched.start_cooldown(restored, updates, ramp=shape), updates)

    print(f"checkpoint {path}\n branch               updates  last rate  validation loss")
    results = {}

    def report(name, updates, state):
        results[name] = float(lrsched.learning_rate(state)), float(validation_loss(state.params))
        print(" {:<20} {:>7}  {:9.2e}  {:15.4f}".format(name, stable + updates, *results[name]))

    report("checkpoint", 0, state)
    for updates in cooldowns:
        report(f"none over {updates}", updates, trained(state, updates))
        for shape in shapes:
            report(f"{shape} over {updates}", updates, annealed(updates, shape))
    return results


if __name__ == "__main__":
    tyro.cli(main)
