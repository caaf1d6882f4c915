"""A run that goes on under another optimizer's state is the run that would have gone on."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import orbax.checkpoint
import pytest

import lrsched

PARAMS = {"w": jnp.array([3.0, -2.0]), "b": jnp.array([1.0])}
COSINE, LINEAR = lrsched.cosine(0.1, steps=20), lrsched.linear(0.1, 0.0, steps=20)


def train(optimizer, params, state, steps=5):
    optimizer = optax.with_extra_args_support(optimizer)
    for _ in range(steps):
        updates, state = optimizer.update(params, state, params, value=1.0)
        params = optax.apply_updates(params, updates)
    return params, state


def ours(schedule):
    return optax.chain(optax.scale_by_adam(), lrsched.scale_by_learning_rate(schedule))


def wrapped(make):
    return optax.chain(
        optax.clip_by_global_norm(1.0),
        optax.partition({"a": make(), "b": optax.masked(make(), {"b": True, "w": True})}, LABELS),
    )


LABELS = {"w": "a", "b": "b"}
OF_OPTAX = {
    "adam with a schedule": (lambda: optax.adam(COSINE), lambda: ours(COSINE)),
    "adam with a number": (lambda: optax.adam(0.1), lambda: ours(0.1)),
    "inject_hyperparams": (
        lambda: optax.inject_hyperparams(optax.sgd)(COSINE, momentum=0.9),
        lambda: lrsched.inject_schedules(optax.sgd)(COSINE, momentum=0.9),
    ),
    "wrapped": (
        lambda: wrapped(lambda: optax.adam(COSINE)),
        lambda: wrapped(lambda: ours(COSINE)),
    ),
    "MultiSteps": (
        lambda: optax.MultiSteps(optax.adam(COSINE), 2).gradient_transformation(),
        lambda: optax.MultiSteps(ours(COSINE), 2).gradient_transformation(),
    ),
}


@pytest.mark.parametrize(("theirs", "ours"), OF_OPTAX.values(), ids=OF_OPTAX)
def test_a_run_of_optax_goes_on_as_if_nothing_had_happened(theirs, ours):
    params, saved = train(theirs(), PARAMS, theirs().init(PARAMS))
    state = lrsched.migrate(saved, ours().init(params))
    expected, _ = train(theirs(), params, saved)
    found, _ = train(ours(), params, state)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), found, expected)


def test_the_rate_that_was_applied_can_be_read_at_once():
    params, saved = train(optax.adam(COSINE), PARAMS, optax.adam(COSINE).init(PARAMS))
    state = lrsched.migrate(saved, ours(COSINE).init(params))
    assert lrsched.learning_rate(state) == COSINE(4)


OF_OURS = {
    "chain": ours,
    "inject": lambda s: lrsched.inject_schedules(optax.adamw)(s),
    "prodigy": lrsched.prodigy,
    "mechanize": lambda s: lrsched.mechanize(ours(s)),
    "a controller": lambda s: optax.chain(ours(s), lrsched.reduce_on_plateau()),
}
SCHEDULES = [0.1, COSINE, LINEAR, lambda step: 0.1 / (1 + step)]


@pytest.mark.parametrize("make", OF_OURS.values(), ids=OF_OURS)
@pytest.mark.parametrize("new", SCHEDULES[1:], ids=["cosine", "linear", "callable"])
def test_constants_schedules_and_callables_become_one_another(make, new):
    params, saved = train(make(0.1), PARAMS, make(0.1).init(PARAMS))
    state = lrsched.migrate(saved, make(new).init(params))
    expected = lrsched.set_schedule(saved, new)
    for taken in (state, lrsched.migrate(saved, make(0.1).init(params), schedule="saved")):
        wanted = expected if taken is state else saved
        assert jax.tree.structure(taken) == jax.tree.structure(wanted)
        jax.tree.map(np.testing.assert_array_equal, taken, wanted)


def test_a_hand_comes_with_the_saved_schedule_only():
    saved = lrsched.scale_learning_rate(ours(COSINE).init(PARAMS), 0.5)
    fresh = ours(LINEAR).init(PARAMS)
    assert lrsched.migrate(saved, fresh, schedule="saved")[1].rate.edits.scale == 0.5
    with pytest.warns(UserWarning, match="saved learning_rate was changed .*schedule='saved'"):
        assert lrsched.learning_rate_schedule(lrsched.migrate(saved, fresh)) == LINEAR


def test_the_clock_can_be_given():
    optimizer = optax.sgd(0.1)
    new = optax.chain(optax.identity(), lrsched.scale_by_learning_rate(COSINE))
    with pytest.raises(ValueError, match=r"no step count .* at 1, .*; step must say"):
        lrsched.migrate(optimizer.init(PARAMS), new.init(PARAMS))
    state = lrsched.migrate(optimizer.init(PARAMS), new.init(PARAMS), step=7)
    assert int(state[1].count) == 7


def test_it_goes_through_a_checkpoint(tmp_path):
    _, saved = train(optax.adam(COSINE), PARAMS, optax.adam(COSINE).init(PARAMS))
    with orbax.checkpoint.StandardCheckpointer() as checkpointer:
        checkpointer.save(tmp_path / "state", saved)
        checkpointer.wait_until_finished()
        abstract = jax.eval_shape(optax.adam(COSINE).init, PARAMS)
        restored = checkpointer.restore(tmp_path / "state", abstract)
    state = lrsched.migrate(restored, ours(COSINE).init(PARAMS))
    assert int(state[1].count) == 5


@pytest.mark.parametrize(
    ("saved", "arguments", "message"),
    [
        (optax.adam(0.1), {"schedule": "old"}, "schedule='old' is not accepted; .* 'new', 'saved'"),
        (optax.sgd(0.1), {"step": 1}, "fresh state has ScaleByAdamState, .* has nothing of it"),
        (optax.adagrad(0.1), {"step": 1}, "nothing of it, but ScaleByRssState"),
        (optax.lion(0.1), {}, "nothing of it, but ScaleByLionState"),
        (optax.chain(optax.scale_by_belief(), optax.scale(-0.1)), {}, "but ScaleByBeliefState"),
    ],
)
def test_other_states_are_refused(saved, arguments, message):
    with pytest.raises(ValueError, match=message):
        lrsched.migrate(saved.init(PARAMS), ours(COSINE).init(PARAMS), **arguments)


def test_other_shapes_are_refused():
    saved = optax.adam(0.1).init({"w": jnp.ones(3), "b": jnp.ones(1)})
    with pytest.raises(ValueError, match=r"w, saved is an array of shape \(3,\) and fresh"):
        lrsched.migrate(saved, ours(COSINE).init(PARAMS))
