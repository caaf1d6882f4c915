"""What a restored state and the configuration disagree on is said in words, and nothing else."""

import jax
import jax.numpy as jnp
import optax
import pytest
from flax import serialization

import lrsched

PARAMS = {"w": jnp.array([3.0, -2.0]), "b": jnp.array([1.0])}
COSINE = lrsched.cosine(0.1, steps=20)


def ours(schedule=COSINE):
    return optax.chain(optax.scale_by_adam(), lrsched.scale_by_learning_rate(schedule))


def train(optimizer, steps=3):
    state = optimizer.init(PARAMS)
    for _ in range(steps):
        _, state = optax.with_extra_args_support(optimizer).update(PARAMS, state, PARAMS)
    return state


def partitioned(a=COSINE, b=0.1):
    return optax.partition({"a": ours(a), "b": ours(b)}, {"w": "a", "b": "b"})


def scheduled(weight_decay=0.1, learning_rate=COSINE):
    return lrsched.inject_schedules(optax.adamw)(
        learning_rate, weight_decay=lrsched.linear(weight_decay, 0.0, steps=9)
    )


def grouped(*groups):
    return optax.chain(ours(), lrsched.learning_rate_groups(list(groups)))


FORMS = {
    "one rate": ours,
    "groups": partitioned,
    "inject": scheduled,
    "multipliers": lambda: grouped(("w", 2.0), ("b", None)),
    "layerwise": lambda: optax.chain(ours(), lrsched.layerwise_decay(0.5, {"w": 0, "b": 1}.get)),
    "method": lambda: lrsched.prodigy(COSINE),
    "multi_steps": lambda: optax.MultiSteps(ours(), 5).gradient_transformation(),
    "constant": lambda: ours(0.1),
}


@pytest.mark.parametrize("make", FORMS.values(), ids=FORMS)
def test_nothing_is_said_of_the_state_of_the_same_configuration(make):
    assert lrsched.check_resume(train(make()), make().init(PARAMS)) == ""
    assert lrsched.check_resume(make().init(PARAMS), make().init(PARAMS)) == ""


MISMATCHES = {
    "kind": (
        ours(),
        ours(lrsched.linear(0.1, 0.0, steps=20)),
        "at step 3 .*cosine.*linear.* 0.085",
    ),
    "numbers": (ours(), ours(lrsched.cosine(0.1, steps=40)), "gives 0.0945.*steps=40.* 0.0986"),
    "one group": (partitioned(), partitioned(b=0.2), "^the rate of 'b': at step 3 .* 0.1, .* 0.2;"),
    "weight decay": (scheduled(), scheduled(0.2), "^weight_decay: at step 3 .*linear.*linear"),
    "multiplier": (grouped(("w", 2.0)), grouped(("w", 3.0)), "^the multiplier of 'w': .* 2, .* 3;"),
    "thawed": (grouped(("w", None)), grouped(("w", 1.0)), "'w': the group is frozen .* trained"),
    "other groups": (
        grouped(("w", 2.0)),
        grouped(("b", 2.0)),
        "has the multiplier of 'w' that .* lacks the multiplier of 'b' of it; migrate",
    ),
}


@pytest.mark.parametrize(("saved", "configured", "said"), MISMATCHES.values(), ids=MISMATCHES)
def test_a_changed_configuration_is_said(saved, configured, said):
    lines = lrsched.check_resume(train(saved), configured.init(PARAMS)).splitlines()
    assert len(lines) == 1
    with pytest.raises(AssertionError, match=said):
        raise AssertionError(lines[0])


EDITS = {
    "extend": (ours, lambda s: lrsched.extend(s, 50), "inner=.*pace_step=3"),
    "hold": (ours, lambda s: lrsched.set_learning_rate(s, 0.3), "override=0.3"),
    "scale": (ours, lambda s: lrsched.scale_learning_rate(s, 0.5), "scale=0.5"),
    "multiplier": (
        lambda: grouped(("w", 2.0)),
        lambda s: lrsched.scale_learning_rate(s, 0.5, group="w"),
        "^the multiplier of 'w': at step 3 .*scale=0.5",
    ),
    "depth": (
        FORMS["layerwise"],
        lambda s: lrsched.scale_learning_rate(s, 0.5, group="depth 1"),
        "^the multiplier of 'depth 1': at step 3 .*scale=0.5",
    ),
    "hyperparameter": (
        scheduled,
        lambda s: lrsched.set_hyperparameter(s, "weight_decay", 0.3),
        "^weight_decay: at step 3 .*override=0.3",
    ),
}


@pytest.mark.parametrize(("make", "edit", "said"), EDITS.values(), ids=EDITS)
def test_run_time_changes_are_said_beside_a_state_and_beside_a_schedule(make, edit, said):
    state = edit(train(make()))
    for configured in (make().init(PARAMS), COSINE):
        (line,) = lrsched.check_resume(state, configured).splitlines()
        with pytest.raises(AssertionError, match=f"{said}.*the changes stay"):
            raise AssertionError(line)
    assert lrsched.check_resume(state, edit(train(make()))) == ""


def test_the_edited_schedule_is_that_of_the_state():
    state = lrsched.extend(train(ours()), 50)
    assert lrsched.check_resume(state, lrsched.learning_rate_schedule(state)) == ""


LOST = {
    "count": (
        lambda s: (s[0], s[1]._replace(count=jnp.int32(9))),
        "applied 0.0975528, but the schedule gives 0.0654508 at the step 8 before the count",
    ),
    "count of the rate": (
        lambda s: (s[0], s[1]._replace(count=jnp.int32(0))),
        "the rate's count is 0, and that of ScaleByAdamState 3: the schedule starts again",
    ),
    "count of Adam": (
        lambda s: (s[0]._replace(count=jnp.int32(0)), s[1]),
        "the count of ScaleByAdamState is 0, and the rate's 3: it was not restored",
    ),
    "moments": (
        lambda s: (s[0]._replace(nu=optax.tree.zeros_like(s[0].nu)), s[1]),
        "nu of ScaleByAdamState is 0 everywhere after 3 updates: it was not restored",
    ),
    "edits": (
        lambda s: (s[0], s[1]._replace(rate=ours().init(PARAMS)[1].rate)),
        "applied 0.04877[0-9]*, but the schedule gives 0.0975528 .*its changes were not restored",
    ),
}


@pytest.mark.parametrize(("lose", "said"), LOST.values(), ids=LOST)
def test_what_a_restore_has_lost_is_said(lose, said):
    state = train(ours())
    if "0.0487" in said:
        optimizer = ours()
        state = lrsched.scale_learning_rate(train(optimizer, 2), 0.5)
        _, state = optimizer.update(PARAMS, state, PARAMS)
    for configured in (COSINE, ours().init(PARAMS)):
        with pytest.raises(AssertionError, match=said):
            raise AssertionError(lrsched.check_resume(lose(state), configured))


@pytest.mark.parametrize("make", [ours, scheduled, partitioned])
def test_stacked_states_are_checked_run_by_run(make):
    stacked = jax.tree.map(lambda x: jnp.stack([x, 2 * x, 3 * x]), PARAMS)
    optimizer = make()
    state = jax.vmap(optimizer.init)(stacked)
    _, state = jax.vmap(optimizer.update)(stacked, state, stacked)
    fresh = optimizer.init(PARAMS)
    assert lrsched.check_resume(state, fresh) == ""
    assert lrsched.check_resume(state, jax.vmap(optimizer.init)(stacked)) == ""
    group = "a" if make is partitioned else None
    state = lrsched.scale_learning_rate(state, jnp.array([1.0, 0.5, 0.5]), group=group)
    assert "in 2 of 3 runs, such as [1], at step 1" in lrsched.check_resume(state, fresh)
    if make is ours:
        assert "in 3 of 3 runs, such as [0], at step 1" in lrsched.check_resume(state, 0.2)
        replicated = jax.tree.map(lambda x: x[None], state)
        assert "2 of 3 runs, such as [0, 1], at" in lrsched.check_resume(replicated, fresh)


def test_what_cannot_be_compared_is_an_error():
    state = train(partitioned())
    with pytest.raises(
        ValueError, match="the 2 rates of the state \\('a', 'b'\\); configured must be"
    ):
        lrsched.check_resume(state, COSINE)
    with pytest.raises(ValueError, match="configured holds a ShapeDtypeStruct"):
        lrsched.check_resume(state, jax.eval_shape(partitioned().init, PARAMS))
    with pytest.raises(ValueError, match=r"opt_state holds a .*Tracer.* outside of jit"):
        jax.jit(lambda s: lrsched.check_resume(s, COSINE) or s)(state)


def test_the_state_of_another_optimizer_is_said():
    state = train(optax.chain(optax.trace(0.9), lrsched.scale_by_learning_rate(COSINE)))
    said = "has TraceState that the configuration lacks, and lacks ScaleByAdamState of it; migrate"
    assert said in lrsched.check_resume(state, ours().init(PARAMS))


def test_a_function_with_other_numbers_is_said_after_a_restore():
    old, new = (ours(optax.cosine_decay_schedule(peak, 20)) for peak in (0.1, 0.2))
    data = serialization.to_bytes(train(old))
    for optimizer, said in ((old, ""), (new, "as a Python function is by that of the conf")):
        restored = serialization.from_bytes(optimizer.init(PARAMS), data)
        line = lrsched.check_resume(restored, optimizer.init(PARAMS))
        assert said in line
        assert bool(said) == bool(line)


WRONG = {
    "a list": [0.1],
    "a string": "adam",
    "an optimizer": ours(),
    "nothing": None,
    "a number": jnp.pi,
    "a function": ours().init,
    "a description": jax.eval_shape(ours().init, PARAMS),
}
FUNCTIONS = {
    "check_resume": lambda wrong, state: lrsched.check_resume(wrong, state),
    "check_resume, configured": lambda wrong, state: lrsched.check_resume(state, wrong),
    "migrate": lambda wrong, state: lrsched.migrate(wrong, state),
    "migrate, fresh": lambda wrong, state: lrsched.migrate(state, wrong),
    "set_schedule": lambda wrong, state: lrsched.set_schedule(wrong, 0.1),
    "set_schedule, schedule": lambda wrong, state: lrsched.set_schedule(state, wrong),
    "extend": lambda wrong, state: lrsched.extend(wrong, 40),
    "restart": lambda wrong, state: lrsched.restart(wrong),
    "set_hyperparameter": lambda wrong, state: lrsched.set_hyperparameter(wrong, "b1", 0.5),
    "learning_rate": lambda wrong, state: lrsched.learning_rate(wrong),
    "check_optimizer": lambda wrong, state: lrsched.check_optimizer(wrong, PARAMS),
}
ARE_RIGHT = {
    ("a number", "check_resume, configured"),
    ("a number", "set_schedule, schedule"),
    ("an optimizer", "check_optimizer"),
}


@pytest.mark.parametrize("function", FUNCTIONS)
@pytest.mark.parametrize("wrong", WRONG)
def test_what_is_no_state_is_named(wrong, function):
    state = train(ours())
    if (wrong, function) in ARE_RIGHT:
        FUNCTIONS[function](WRONG[wrong], state)
        return
    causes = "is not accepted.*must be|must come from .*(without an array|an optimizer;)|descript"
    with pytest.raises(ValueError, match=f"({causes}|it has none.*(without|an optimizer;))"):
        FUNCTIONS[function](WRONG[wrong], state)


def test_parameters_are_no_state():
    state = train(ours())
    for saved, fresh, name in ((PARAMS, state, "saved"), (state, PARAMS, "fresh")):
        with pytest.raises(ValueError, match=f"migrate: {name} holds b, w, and no state of a tr"):
            lrsched.migrate(saved, fresh)
