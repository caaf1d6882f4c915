"""A loop in the manner of PPO: epochs in ``lax.scan``, a rate that follows the KL divergence."""

import chex
import jax
import jax.numpy as jnp
import optax
import orbax.checkpoint as ocp

import lrsched
from tests.trainers.survival import SCHEDULE, Trainer, check_survival, one_trace, plain_schedule

OURS = optax.chain(
    optax.clip_by_global_norm(0.5),
    optax.scale_by_adam(eps=1e-5),
    lrsched.scale_by_learning_rate(SCHEDULE),
    lrsched.adaptive_kl(0.01, metric="kl"),
)
PLAIN = optax.chain(optax.clip_by_global_norm(0.5), optax.adam(plain_schedule, eps=1e-5))
OBSERVATIONS = jnp.linspace(-1.0, 1.0, 24).reshape(8, 3)
ACTIONS = jnp.arange(8) % 4
ADVANTAGES = jnp.where(ACTIONS == 2, 1.0, -0.5)


def log_policy(params):
    return jax.nn.log_softmax(OBSERVATIONS @ params)


def start(optimizer=OURS):
    params = jnp.zeros((3, 4))
    return params, optimizer.init(params)


def step(job, optimizer=OURS):
    old = log_policy(job[0])
    optimizer = optax.with_extra_args_support(optimizer)

    def loss(params):
        new = log_policy(params)
        rows = jnp.arange(8)
        ratio = jnp.exp(new[rows, ACTIONS] - old[rows, ACTIONS])
        clipped = jnp.clip(ratio, 0.8, 1.2)
        return -jnp.mean(jnp.minimum(ratio * ADVANTAGES, clipped * ADVANTAGES))

    def epoch(job, _):
        params, state = job
        divergence = jnp.mean(jnp.sum(jnp.exp(old) * (old - log_policy(params)), axis=1))
        updates, state = optimizer.update(jax.grad(loss)(params), state, params, kl=divergence)
        return (optax.apply_updates(params, updates), state), None

    return jax.lax.scan(epoch, job, length=2)[0]


def edit(job, change):
    return job[0], change(job[1])


def save(job, path):
    with ocp.StandardCheckpointer() as checkpointer:
        checkpointer.save(path / "job", job)


def restore(job, path):
    with ocp.StandardCheckpointer() as checkpointer:
        return checkpointer.restore(path / "job", jax.eval_shape(lambda: job))


def test_a_killed_run_continues(tmp_path):
    check_survival(Trainer(start, one_trace(step), edit, save, restore), tmp_path)


def test_a_checkpoint_of_plain_optax_is_taken_over(tmp_path):
    old = step(start(PLAIN), PLAIN)
    save(old, tmp_path)
    params, state = restore(start(PLAIN), tmp_path)
    unscaled = optax.chain(
        *(
            optax.clip_by_global_norm(0.5),
            optax.chain(optax.scale_by_adam(eps=1e-5), lrsched.scale_by_learning_rate(SCHEDULE)),
        )
    )
    new = params, lrsched.migrate(state, unscaled.init(params))
    chex.assert_trees_all_close(step(new, unscaled)[0], step(old, PLAIN)[0], rtol=1e-5)
