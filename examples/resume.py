"""Resume a killed run with identical bits: schedule and step count are part of its state.

Start it, kill it, start it again: ``python examples/resume.py [DIRECTORY]``.
"""

import hashlib
import sys
from pathlib import Path

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
import orbax.checkpoint as ocp
from sklearn.datasets import load_digits

import lrsched
from lrsched.flax import TrainState

STEPS = 60
images, labels = load_digits(return_X_y=True)
images, labels = jnp.float32(images / 16), jnp.array(labels)
training, validation = slice(0, 1500), slice(1500, None)
model = nn.Sequential([nn.Dense(32), nn.relu, nn.Dense(10)])
schedule = lrsched.wsd(peak=1e-2, steps=STEPS, warmup=0.1, cooldown=0.5)


def fresh_state():
    optimizer = optax.chain(
        optax.scale_by_adam(),
        lrsched.scale_by_learning_rate(schedule),
        lrsched.reduce_on_plateau(factor=0.5, patience=1, active_from=10),
    )
    params = model.init(jax.random.key(0), images[:1])
    return TrainState.create(apply_fn=model.apply, params=params, tx=optimizer)


def loss_of(params, part):
    logits = model.apply(params, images[part])
    return optax.softmax_cross_entropy_with_integer_labels(logits, labels[part]).mean()


@jax.jit
def train_step(state):
    batch = jax.random.choice(jax.random.fold_in(jax.random.key(1), state.step), 1500, (64,))
    grads = jax.grad(loss_of)(state.params, batch)
    return state.apply_gradients(grads=grads, value=loss_of(state.params, validation))


directory = Path(sys.argv[1] if len(sys.argv) > 1 else "checkpoints").absolute()
options = ocp.CheckpointManagerOptions(save_interval_steps=5, max_to_keep=2)
with ocp.CheckpointManager(directory, options=options) as checkpoints:
    state = jax.jit(fresh_state)()
    if checkpoints.latest_step() is not None:
        described = jax.eval_shape(fresh_state)
        state = checkpoints.restore(
            checkpoints.latest_step(), args=ocp.args.StandardRestore(described)
        )
        print("#", lrsched.check_resume(state, schedule) or f"goes on at step {state.step}")
    for step in range(int(state.step), STEPS):
        state = train_step(state)
        rate = float(lrsched.learning_rate(state))
        print(step, rate.hex(), f"{rate:.2e}", flush=True)
        checkpoints.save(step + 1, args=ocp.args.StandardSave(state))

print(f"validation loss {loss_of(state.params, validation):.4f}")
weights = b"".join(leaf.tobytes() for leaf in jax.device_get(jax.tree.leaves(state)))
print("sha256 of the state", hashlib.sha256(weights).hexdigest())
