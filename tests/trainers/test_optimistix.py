"""Optimistix: ``OptaxMinimiser``, step by step, and ``eqx.tree_serialise_leaves``."""

import jax
import jax.numpy as jnp
import optax
import pytest

import lrsched
from tests.trainers.survival import (
    SCHEDULE,
    Trainer,
    check_survival,
    loss_of,
    one_trace,
    parameters,
)

eqx = pytest.importorskip("equinox")
optimistix = pytest.importorskip("optimistix")


# The solver makes a pytree of the closures of the transform (Equinox's `closure_to_pytree`).
def solver_of(optimizer):
    return optimistix.OptaxMinimiser(optimizer, 1e-8, 1e-8)


SOLVER = solver_of(optax.chain(optax.scale_by_adam(), lrsched.scale_by_learning_rate(SCHEDULE)))
SCALAR = jax.ShapeDtypeStruct((), jnp.float32)


def objective(params, args):
    del args
    return loss_of(params), None


def start(solver=SOLVER):
    params = parameters()
    state = solver.init(objective, params, None, {}, SCALAR, None, frozenset())
    # Optimistix counts its steps in a weakly typed integer, and Equinox restores no weak types.
    return params, eqx.tree_at(lambda s: s.step, state, jnp.zeros([], jnp.int32))


def step(job, solver=SOLVER):
    params, state = job
    params, state, _ = solver.step(objective, params, None, {}, state, frozenset())
    return params, state


def edit(job, change):
    params, state = job
    return params, eqx.tree_at(lambda s: s.opt_state, state, change(state.opt_state))


def save(job, path):
    eqx.tree_serialise_leaves(path / "job.eqx", job)


def restore(job, path):
    return eqx.tree_deserialise_leaves(path / "job.eqx", job)


def test_a_killed_run_continues(tmp_path):
    def opt_state(job):
        return job[1].opt_state

    check_survival(Trainer(start, one_trace(step), edit, save, restore, opt_state), tmp_path)


def test_a_solve_follows_the_schedule_to_its_end():
    found = optimistix.minimise(
        objective, SOLVER, parameters(), has_aux=True, max_steps=8, throw=False
    )
    assert float(lrsched.learning_rate(found.state.opt_state)) == float(SCHEDULE(7))
