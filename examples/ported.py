"""Port a PyTorch job: its scheduler, a checkpoint, an extension by one half, a cooldown.

    python examples/ported.py --steps 200

Requires the extra ``bench``: flax, orbax, scikit-learn and tyro. The PyTorch script has

    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)
    warmup = LinearLR(optimizer, start_factor=0.01, total_iters=20)
    cosine = CosineAnnealingLR(optimizer, T_max=180)
    scheduler = SequentialLR(optimizer, [warmup, cosine], milestones=[20])

and weights in bfloat16. The run is saved before its end. The restored run is extended beyond the
planned length and then cooled down; the rate is logged at every update.
"""

import functools
import tempfile
from pathlib import Path

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import orbax.checkpoint as ocp
import tyro
from flax.training.train_state import TrainState
from sklearn.datasets import load_digits

import lrsched
from lrsched.compat import torch

# The default weight decay of AdamW in PyTorch; that of optax is 1e-4.
PEAK, DECAY = 2e-3, 0.01
images, labels = load_digits(return_X_y=True)
images, labels = jnp.asarray(images / 16, jnp.bfloat16), jnp.asarray(labels)
training, held_out = np.split(np.random.default_rng(0).permutation(len(images)), [1400])
model = nn.Sequential([nn.Dense(64), nn.relu, nn.Dense(10)])


def pytorch_schedule(warmup, steps):
    """Return the schedule of the PyTorch script."""
    first = torch.LinearLR(PEAK, start_factor=0.01, total_iters=warmup)
    then = torch.CosineAnnealingLR(PEAK, T_max=steps - warmup)
    return torch.SequentialLR(PEAK, [first, then], milestones=[warmup])


def extensible_schedule(warmup, steps):
    """Return the same curve with an end: PyTorch's cosine rises again and cannot be extended."""
    return lrsched.linear(0.01 * PEAK, PEAK, warmup) >> lrsched.cosine(PEAK, steps - warmup)


def new_state(schedule):
    params = jax.tree.map(jnp.bfloat16, model.init(jax.random.key(0), images[:1]))
    optimizer = lrsched.inject_schedules(optax.adamw)(schedule, weight_decay=DECAY)
    return TrainState.create(apply_fn=model.apply, params=params, tx=optimizer)


def loss_of(params, part):
    logits = model.apply(params, images[part]).astype(jnp.float32)
    return optax.softmax_cross_entropy_with_integer_labels(logits, labels[part]).mean()


@jax.jit
def train_step(state, batch):
    loss, gradients = jax.value_and_grad(loss_of)(state.params, batch)
    return state.apply_gradients(grads=gradients), loss


def trained(state, until, log):
    """Train up to update ``until``; a batch depends on the step only, so a run can resume."""
    for step in range(int(state.step), until):
        batch = np.random.default_rng(step).choice(training, 64)
        state, _ = train_step(state, batch)
        log.append(float(lrsched.learning_rate(state)))
        if step % 40 == 39 or step + 1 == until:
            print(f"{step:7}  {log[-1]:.2e}  {float(loss_of(state.params, held_out)):8.4f}")
    return state


def main(steps: int = 200, warmup: int = 20, saved_at: int = 120, cooldown: int = 40):
    schedule, until = extensible_schedule(warmup, steps), np.arange(steps + 1)
    off = np.abs(schedule(until) - pytorch_schedule(warmup, steps)(until)).max() / PEAK
    print(f"{schedule}\nwithin {off:.0e} of PyTorch's\n update      rate  held out")

    log: list[float] = []
    with (
        tempfile.TemporaryDirectory() as folder,
        ocp.CheckpointManager(Path(folder).absolute()) as checkpoints,
    ):
        # The schedule must not be an argument of jit: TrainState returns the transform as static
        # data, which may not contain traced values.
        make_state = functools.partial(new_state, schedule)
        state = trained(jax.jit(make_state)(), saved_at, log)
        checkpoints.save(saved_at, args=ocp.args.StandardSave(state))
        checkpoints.wait_until_finished()

        described = jax.eval_shape(make_state)
        loaded = checkpoints.restore(saved_at, args=ocp.args.StandardRestore(described))
    assert not lrsched.check_resume(loaded, schedule)

    print(f"loaded; {steps} updates become {3 * steps // 2}")
    longer = trained(lrsched.extend(loaded, total_steps=3 * steps // 2), steps, log)
    print(f"and no more than that: to zero within {cooldown}")
    state = trained(lrsched.start_cooldown(longer, steps=cooldown), steps + cooldown, log)
    return log, float(loss_of(longer.params, held_out)), float(loss_of(state.params, held_out))


if __name__ == "__main__":
    tyro.cli(main)
