"""A checkpoint of plain optax is taken over in the trainers whose own file does not try it."""

import importlib
from functools import partial

import chex
import jax
import optax
import pytest

import lrsched
from tests.trainers import test_multi_steps as multi_steps
from tests.trainers import test_skip_step as skip_step
from tests.trainers.survival import Trainer, plain_schedule, steps

PLAIN = optax.adam(plain_schedule)


def of_module(module, plain, **options):
    """Return the trainers of plain optax and of lrsched."""
    return tuple(
        Trainer(
            partial(module.start, *own),
            jax.jit(lambda job, own=own: module.step(job, *own)),
            module.edit,
            module.save,
            module.restore,
            **options,
        )
        for own in ((plain,), ())
    )


def numpyro():
    pytest.importorskip("numpyro")
    module = importlib.import_module("tests.trainers.test_numpyro")
    return of_module(module, module.svi_of(PLAIN))


def optimistix():
    pytest.importorskip("optimistix")
    module = importlib.import_module("tests.trainers.test_optimistix")
    return of_module(module, module.solver_of(PLAIN), opt_state=lambda job: job[1].opt_state)


def second(job):
    return job[1]


TRAINERS = {
    "multi_steps": lambda: of_module(multi_steps, multi_steps.plain, opt_state=second),
    "numpyro": numpyro,
    "optimistix": optimistix,
    **{
        name: lambda wrap=wrap: tuple(
            skip_step.trainer_of(wrap, inner, jax.jit)._replace(opt_state=second)
            for inner in (PLAIN, skip_step.OURS)
        )
        for name, wrap in skip_step.WRAPPERS.items()
    },
}


@pytest.mark.parametrize("name", TRAINERS)
def test_a_checkpoint_of_plain_optax_is_taken_over(name, tmp_path):
    plain, ours = TRAINERS[name]()
    old = steps(plain, plain.start(), 2)
    plain.save(old, tmp_path)
    fresh = ours.opt_state(ours.start())
    new = ours.edit(
        plain.restore(plain.start(), tmp_path), lambda saved: lrsched.migrate(saved, fresh)
    )
    old, new = (steps(trainer, job, 2) for trainer, job in ((plain, old), (ours, new)))
    # The parameters; all that follows them in a job differs with the optimizer.
    parameters = [job.optim_state[1][0] if name == "numpyro" else job[0] for job in (old, new)]
    chex.assert_trees_all_close(*parameters, rtol=1e-5)
    assert all(rate > 0 for rate in lrsched.learning_rates(ours.opt_state(new)).values())
