"""Changing the rate of a running job: through any wrapper, and in a step that is compiled once."""

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx
from flax.training.train_state import TrainState

import lrsched

PARAMS = {"w": jnp.ones(3), "b": jnp.zeros(2)}
LINEAR = lrsched.linear(1.0, 0.0, steps=10)


def chain(schedule=LINEAR):
    return optax.chain(optax.scale_by_adam(), lrsched.scale_by_learning_rate(schedule))


OPTIMIZERS = {
    "chain": chain,
    "named chain": lambda s=LINEAR: optax.named_chain(
        ("adam", optax.scale_by_adam()), ("rate", lrsched.scale_by_learning_rate(s))
    ),
    "inject": lambda s=LINEAR: lrsched.inject_schedules(optax.adamw)(s, weight_decay=0.1),
    "inject around ours": lambda s=LINEAR: lrsched.inject_schedules(
        lambda b1: optax.chain(optax.scale_by_adam(b1), lrsched.scale_by_learning_rate(s))
    )(b1=lrsched.constant(0.9)),
    "masked": lambda s=LINEAR: optax.masked(chain(s), {"w": True, "b": True}),
    "one group": lambda s=LINEAR: optax.partition({"all": chain(s)}, {"w": "all", "b": "all"}),
    "apply_if_finite": lambda s=LINEAR: optax.apply_if_finite(chain(s), 3),
    "MultiSteps": lambda s=LINEAR: optax.MultiSteps(chain(s), 1).gradient_transformation(),
    "a controller after it": lambda s=LINEAR: optax.chain(chain(s), lrsched.reduce_on_plateau()),
    "dog": lambda s=LINEAR: lrsched.schedule_free_sgd(s),
    "the base of schedule_free": lambda s=LINEAR: lrsched.schedule_free(chain(s)),
}
every_optimizer = pytest.mark.parametrize("make", OPTIMIZERS.values(), ids=OPTIMIZERS)


class Job:
    """A compiled step that counts how often it was traced, and the rates that it applied."""

    def __init__(self, optimizer, params=PARAMS):
        self.optimizer = optax.with_extra_args_support(optimizer)
        self.params, self.state = params, self.optimizer.init(params)
        self.traces = 0
        self.step = jax.jit(self._step, donate_argnums=(0, 1))

    def _step(self, params, state):
        self.traces += 1
        gradients = jax.tree.map(jnp.ones_like, params)
        updates, state = self.optimizer.update(gradients, state, params)
        return optax.apply_updates(params, updates), state

    def run(self, steps=1):
        rates = []
        for _ in range(steps):
            params = jax.tree.map(jnp.array, self.params)
            self.params, self.state = self.step(params, jax.tree.map(jnp.array, self.state))
            rates.append(float(lrsched.learning_rate(self.state)))
        return np.float32(rates)

    def change(self, function, *args, **kwargs):
        self.state = function(self.state, *args, **kwargs)
        return self


@every_optimizer
def test_a_hand_changes_the_rate_of_a_compiled_step(make):
    job = Job(make())
    np.testing.assert_allclose(job.run(2), [1.0, 0.9], rtol=1e-6)
    job.change(lrsched.set_learning_rate, 0.25)
    np.testing.assert_allclose(job.run(2), [0.25, 0.25], rtol=1e-6)
    job.change(lrsched.scale_learning_rate, 0.5)
    np.testing.assert_allclose(job.run(), [0.125], rtol=1e-6)
    job.change(lrsched.set_learning_rate, None)
    np.testing.assert_allclose(job.run(), [0.25], rtol=1e-6)  # half of 0.5, at step 5
    job.change(lrsched.restart, 2).change(lrsched.scale_learning_rate, 2.0)
    np.testing.assert_allclose(job.run(), [0.8], rtol=1e-6)
    job.change(lrsched.set_schedule, lrsched.linear(0.5, 0.0, steps=5))
    np.testing.assert_allclose(job.run(), [0.2], rtol=1e-6)
    assert job.traces == 1


@every_optimizer
def test_extending_and_annealing_go_on_from_the_rate_of_now(make):
    job = Job(make())
    job.run(6)
    job.change(lrsched.extend, 14)
    np.testing.assert_allclose(job.run(2), [0.4, 0.35], rtol=1e-6)
    job.change(lrsched.start_cooldown, 2, ramp="linear", end=0.1)
    np.testing.assert_allclose(job.run(4), [0.3, 0.2, 0.1, 0.1], rtol=1e-6)
    assert job.traces == 1


def test_cooldowns_branch_off_one_checkpoint_as_often_as_one_likes():
    job = Job(chain(0.5))
    job.run(3)
    checkpoint = job.state
    for length in (2, 4):
        job.state = lrsched.start_cooldown(checkpoint, length, ramp="linear")
        np.testing.assert_allclose(job.run(length + 1), np.linspace(0.5, 0, length + 1), rtol=1e-6)
    assert job.traces == 1


def test_a_held_rate_is_annealed_and_a_scaled_one_stays_scaled():
    job = Job(chain())
    job.change(lrsched.set_learning_rate, 0.4).change(lrsched.scale_learning_rate, 0.5)
    job.change(lrsched.start_cooldown, 2, ramp="linear")
    np.testing.assert_allclose(job.run(3), [0.2, 0.1, 0.0], rtol=1e-6)


def test_changes_work_inside_jit():
    optimizer = chain()

    @jax.jit
    def changed(state, value, steps):
        held = lrsched.set_learning_rate(state, value)
        return held, lrsched.extend(lrsched.restart(state, 5), steps)

    held, extended = changed(optimizer.init(PARAMS), 0.25, 15)
    assert lrsched.learning_rate_schedule(held)(3) == 0.25
    rates = lrsched.learning_rate_schedule(extended)([5, 10, 15])
    np.testing.assert_allclose(rates, [0.5, 0.25, 0.0], rtol=1e-6)


def test_a_change_under_vmap_is_each_members_own():
    optimizer = lrsched.scale_by_learning_rate
    states = jax.vmap(lambda rate: optimizer(rate).init(PARAMS))(jnp.float32([0.1, 0.2]))
    halved = jax.vmap(lrsched.scale_learning_rate)(states, jnp.float32([0.5, 1.0]))
    _, after = jax.vmap(optimizer(0.0).update, (None, 0))(PARAMS, halved)
    np.testing.assert_allclose(lrsched.learning_rate(after), [0.05, 0.2], rtol=1e-6)


def test_the_states_dtypes_stay():
    state = chain().init(PARAMS)
    changed = lrsched.scale_learning_rate(
        lrsched.set_learning_rate(lrsched.restart(state, np.int64(3)), 1), np.float64(0.5)
    )
    described = [jax.tree.map(lambda x: (x.dtype, x.weak_type), s) for s in (state, changed)]
    assert described[0] == described[1]


def groups():
    return optax.partition(
        {name: lrsched.scale_by_learning_rate(0.5) for name in ("head", "body")},
        {"w": "body", "b": "head"},
    )


def test_a_group_is_changed_by_its_label():
    optimizer = groups()
    state = lrsched.set_learning_rate(optimizer.init(PARAMS), 0.25, group="head")
    state = lrsched.scale_learning_rate(state, 0.5)  # both
    _, state = optimizer.update(PARAMS, state)
    assert lrsched.learning_rates(state) == {"body": 0.25, "head": 0.125}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda s: lrsched.set_learning_rate(s, 0.1),
            "2 rates; group must be one of 'head', 'body'",
        ),
        (
            lambda s: lrsched.scale_learning_rate(s, 0.1, group="tail"),
            "group='tail' is not accepted; the state's rates have the groups 'head', 'body'",
        ),
        (
            lambda s: lrsched.set_learning_rate(s, -0.1, group="head"),
            "value=-0.1 is not accepted; value must be a number of 0 or more",
        ),
        (lambda s: lrsched.scale_learning_rate(s, -1), "factor=-1 is not accepted"),
        (
            lambda s: lrsched.extend(s, 10),
            "extend: .*constant.* no horizon, so .*set_schedule",
        ),
        (
            lambda s: lrsched.set_learning_rate(optax.adam(0.1).init(PARAMS), 0.1),
            "set_learning_rate: the state holds no rate that can be changed",
        ),
        (  # its rate says what sgd applies, and changing it would change the average alone
            lambda s: lrsched.scale_learning_rate(
                lrsched.schedule_free(optax.sgd(0.1), 0.1).init(PARAMS), 0.5
            ),
            "scale_learning_rate: the state holds no rate that can be changed",
        ),
        (lambda s: lrsched.restart(optax.adam(0.1).init(PARAMS)), "holds no schedule of lrsched"),
        (
            lambda s: lrsched.set_schedule(
                optax.chain(chain(), lrsched.scale_by_learning_rate(0.1)).init(PARAMS), 0.1
            ),
            "several schedules multiply in this state",
        ),
        (
            lambda s: lrsched.extend(lrsched.restart(chain().init(PARAMS), 10), 20),
            "reached its end at step 10",
        ),
    ],
)
def test_what_cannot_be_changed_is_an_error(change, message):
    with pytest.raises(ValueError, match=message):
        change(groups().init(PARAMS))


def test_it_works_in_a_linen_train_state():
    model = nn.Dense(2)
    variables = model.init(jax.random.key(0), jnp.ones((1, 3)))
    state = TrainState.create(apply_fn=model.apply, params=variables, tx=chain())
    state = lrsched.set_learning_rate(state, 0.25)
    state = jax.jit(lambda s: s.apply_gradients(grads=s.params))(state)
    assert lrsched.learning_rate(state) == 0.25


def test_it_works_in_an_nnx_optimizer_with_its_containers():
    model = nnx.Linear(3, 2, rngs=nnx.Rngs(0))
    optimizer = nnx.Optimizer(model, chain(), wrt=nnx.Param)

    @nnx.jit
    def step(model, optimizer):
        gradient = nnx.grad(lambda model: jnp.sum(model(jnp.ones((1, 3)))))(model)
        optimizer.update(model, gradient)

    changes = [
        (lambda s: lrsched.set_learning_rate(s, 0.25), 0.25),
        (lambda s: lrsched.set_learning_rate(s, None), 0.9),
        (lambda s: lrsched.set_schedule(s, lrsched.cosine(0.5, steps=4)), 0.25),
        (lambda s: lrsched.extend(lrsched.restart(s, 2), 6), 0.25),
        (lambda s: lrsched.start_cooldown(lrsched.restart(s, 2), 4), 0.25),
    ]
    for change, rate in changes:
        optimizer.opt_state = change(optimizer.opt_state)
        step(model, optimizer)
        np.testing.assert_allclose(lrsched.learning_rate(optimizer.opt_state), rate, rtol=1e-6)


def test_what_a_resumed_run_disagrees_on_is_said_in_words():
    job = Job(chain())
    job.run(4)
    assert lrsched.check_resume(job.state, LINEAR) == ""
    said = lrsched.check_resume(job.state, lrsched.linear(1.0, 0.0, steps=20))
    assert "at step 4 the saved schedule linear(init=1.0, end=0.0, steps=10) gives 0.6" in said
    assert "linear(init=1.0, end=0.0, steps=20) 0.8" in said
    job.change(lrsched.scale_learning_rate, 0.5)
    assert "changed at run time, edited(inner=linear" in lrsched.check_resume(job.state, LINEAR)
    assert "gives 0.3, the new one constant(value=0.1) 0.1" in lrsched.check_resume(job.state, 0.1)


@pytest.mark.parametrize("make", [chain, OPTIMIZERS["inject"], OPTIMIZERS["dog"]])
def test_the_clock_can_come_from_outside(make):
    optimizer = optax.with_extra_args_support(make())
    update = jax.jit(lambda state, step: optimizer.update(PARAMS, state, PARAMS, step=step))
    state = optimizer.init(PARAMS)
    for step in (7, 2):
        _, state = update(state, step)
        np.testing.assert_allclose(lrsched.learning_rate(state), LINEAR(step), rtol=1e-6)
    _, state = optimizer.update(PARAMS, state, PARAMS)
    np.testing.assert_allclose(lrsched.learning_rate(state), LINEAR(3), rtol=1e-6)


def test_numbers_of_another_shape_than_the_state_are_refused():
    optimizer = lrsched.scale_by_learning_rate(lrsched.linear(1.0, 0.0, steps=10))
    params = jnp.ones(3)
    state = optimizer.init(params)
    stacked = jax.vmap(optimizer.init)(jnp.ones((4, 3)))
    pair = np.array([20, 30])
    for change in (
        lambda: lrsched.restart(state, pair),
        lambda: lrsched.extend(state, pair),
        lambda: lrsched.set_learning_rate(stacked, pair),
        lambda: optimizer.update(params, state, params, step=pair),
    ):
        with pytest.raises(ValueError, match=r"a value of shape \(2,\) is not accepted for rates"):
            change()
    assert lrsched.restart(stacked, jnp.arange(4)).count.tolist() == [0, 1, 2, 3]


def moments_of(state):
    """Return the counts and moments of every Adam in a state."""
    nodes = jax.tree.leaves(state, is_leaf=lambda x: isinstance(x, optax.ScaleByAdamState))
    return [node for node in nodes if isinstance(node, optax.ScaleByAdamState)]


def test_a_restart_resets_the_moments_where_asked():
    params = {"w": jnp.ones(2), "b": jnp.ones(1)}
    for make in (
        lambda: optax.chain(optax.scale_by_adam(), lrsched.scale_by_learning_rate(LINEAR)),
        lambda: lrsched.inject_schedules(optax.adamw)(LINEAR),
        lambda: optax.MultiSteps(
            lrsched.inject_schedules(optax.adam)(LINEAR), 1
        ).gradient_transformation(),
    ):
        optimizer = optax.with_extra_args_support(make())
        fresh = optimizer.init(params)
        first, state = optimizer.update(params, fresh, params)
        (kept,) = moments_of(lrsched.restart(state))
        assert int(kept.count) == 1
        chex.assert_trees_all_equal(
            moments_of(lrsched.restart(state, reset=True)), moments_of(fresh)
        )
        reset = jax.jit(lambda s: lrsched.restart(s, reset=True))(state)
        chex.assert_trees_all_equal_shapes_and_dtypes(reset, state)
        chex.assert_trees_all_close(optimizer.update(params, reset, params)[0], first)


def test_a_restart_resets_the_moments_of_one_group():
    params = {"w": jnp.ones((2, 2)), "b": jnp.ones(1)}
    make = lambda: optax.chain(optax.scale_by_adam(), lrsched.scale_by_learning_rate(LINEAR))  # noqa: E731
    partition = optax.partition({"a": make(), "b": make()}, {"w": "a", "b": "b"})
    muon = lrsched.inject_schedules(optax.contrib.muon)(LINEAR, adam_learning_rate=LINEAR)
    for optimizer, group in ((partition, "b"), (muon, "adam")):
        _, state = optimizer.update(params, optimizer.init(params), params)
        reset = lrsched.restart(state, 0, group=group, reset=True)
        before, after = ([int(node.count) for node in moments_of(s)] for s in (state, reset))
        assert (before.count(0), after.count(0)) == (0, 1)
        old, new = (jax.tree_util.tree_flatten_with_path(s)[0] for s in (state, reset))
        changed = {
            jax.tree_util.keystr(path)
            for (path, x), (_, y) in zip(old, new, strict=True)
            if not jnp.array_equal(x, y)
        }
        assert any("mu" in name for name in changed)
        assert not any("'w'" in name or "['muon']" in name for name in changed)


ADAM = lrsched.inject_schedules(optax.adam)(LINEAR)


@pytest.mark.parametrize(
    ("optimizer", "group", "message"),
    [
        (lrsched.prodigy(0.1), None, "reset=True is not accepted for ProdigyMethodState, whose"),
        (
            optax.chain(
                optax.scale_by_adam(),
                lrsched.scale_by_learning_rate(LINEAR),
                lrsched.learning_rate_groups([("w", 2.0)]),
            ),
            "w",
            "group='w', which has no moments of its own; optax.partition gives",
        ),
        (lrsched.scale_by_learning_rate(LINEAR), None, "for a state without moments"),
        (ADAM, "head", "group='head' is not accepted; the state's rates have no groups"),
    ],
)
def test_moments_that_cannot_be_reset_are_an_error(optimizer, group, message):
    state = optimizer.init({"w": jnp.ones(2)})
    with pytest.raises(ValueError, match=message):
        lrsched.restart(state, group=group, reset=True)


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("b1", {"value": 2.0}, "value=2.0 .* from 0 to below 1"),
        ("b1", {"value": 1.0}, "value=1.0 .* from 0 to below 1"),
        ("b1", {"value": -0.1}, "value=-0.1 .* from 0 to below 1"),
        ("b1", {"scale": 1.5}, "scale=1.5 .* from 0 to 1"),
        ("b1", {"value": np.nan}, "value=nan"),
        ("weight_decay", {"value": -1e-3}, "value=-0.001 .* 0 or more"),
        ("weight_decay", {"value": np.inf}, "value=inf"),
        ("eps", {"value": -1e-8}, "value=-1e-08 .* 0 or more"),
    ],
)
def test_a_hyperparameter_that_would_diverge_is_refused(name, change, message):
    state = scheduled_adamw().init(jnp.ones(2))
    with pytest.raises(ValueError, match=f"set_hyperparameter: {message}"):
        lrsched.set_hyperparameter(state, name, **change)


def scheduled_adamw():
    """AdamW whose hyperparameters follow schedules, so that they can be changed."""
    schedule = lrsched.constant
    return lrsched.inject_schedules(optax.adamw)(
        0.1, b1=schedule(0.9), b2=schedule(0.99), eps=schedule(1e-8), weight_decay=schedule(0.1)
    )


@pytest.mark.parametrize("value", [2.0, 1.0, -3.0, np.inf, -np.inf, np.nan])
def test_traced_hyperparameters_are_clipped_to_what_is_legal(value):
    optimizer = scheduled_adamw()

    @jax.jit
    def edited_update(value):
        params, state = jnp.ones(2), optimizer.init(jnp.ones(2))
        for name in ("b1", "b2", "weight_decay", "eps"):
            state = lrsched.set_hyperparameter(state, name, value)
            state = lrsched.set_hyperparameter(state, name, scale=value)
        for _ in range(3):
            updates, state = optimizer.update(params, state, params)
        return updates, state

    updates, state = edited_update(value)
    assert np.all(np.isfinite(updates))
    assert np.all(np.asarray(updates) <= 0)
    for name in ("b1", "b2"):
        assert 0 <= lrsched.metrics(state)[name] < 1
    assert lrsched.metrics(state)["weight_decay"] >= 0


STACKED = {
    "chain": lambda: optax.chain(optax.scale_by_adam(), lrsched.scale_by_learning_rate(LINEAR)),
    "inject": lambda: lrsched.inject_schedules(optax.adamw)(LINEAR, weight_decay=LINEAR),
    "groups": lambda: optax.chain(
        lrsched.scale_by_learning_rate(LINEAR), lrsched.learning_rate_groups([("w", None)])
    ),
    "plateau": lambda: optax.chain(
        lrsched.scale_by_learning_rate(LINEAR), lrsched.reduce_on_plateau(0.5, patience=1)
    ),
    "average": lambda: optax.chain(
        lrsched.scale_by_learning_rate(LINEAR), lrsched.lawa(2, updates_per_snapshot=1)
    ),
    "schedule-free": lambda: lrsched.schedule_free_adamw(LINEAR),
}
ON_STACKS = {
    "set": lambda s: lrsched.set_learning_rate(s, 0.3),
    "restart": lambda s: lrsched.restart(s, 2),
    "reset": lambda s: lrsched.restart(s, 2, reset=True),
    "set_hyperparameter": lambda s: lrsched.set_hyperparameter(s, "weight_decay", 0.3),
    "thaw": lambda s: lrsched.set_hyperparameter(s, "multiplier", 0.3, group="w"),
    "observe": lambda s: lrsched.observe(lrsched.observe(s, 1.0), 1.0),
}


@pytest.mark.parametrize(
    ("form", "edit"),
    [
        *(("chain", name) for name in ("set", "restart", "reset")),
        *(("inject", name) for name in ("set_hyperparameter", "reset")),
        ("groups", "thaw"),
        ("plateau", "observe"),
    ],
)
def test_an_edit_of_stacked_states_is_that_of_each(form, edit):
    optimizer = STACKED[form]()
    stack = {"w": jnp.arange(12.0).reshape(2, 3, 2), "b": jnp.ones((2, 3, 1))}
    init, update = (jax.vmap(jax.vmap(f)) for f in (optimizer.init, optimizer.update))
    _, state = update(stack, init(stack), stack)
    edited = ON_STACKS[edit](state)
    one = jax.tree.map(lambda x: x[1, 2], state)
    chex.assert_trees_all_equal(jax.tree.map(lambda x: x[1, 2], edited), ON_STACKS[edit](one))


@pytest.mark.parametrize("form", ["average", "schedule-free"])
def test_averages_of_stacked_states_are_those_of_each(form):
    optimizer = STACKED[form]()
    stack = {"w": jnp.arange(12.0).reshape(2, 3, 2), "b": jnp.ones((2, 3, 1))}
    init, update = (jax.vmap(jax.vmap(f)) for f in (optimizer.init, optimizer.update))
    updates, state = update(stack, init(stack), stack)
    stack = optax.apply_updates(stack, updates)
    averages = lrsched.eval_params(state, stack)
    one, params = (jax.tree.map(lambda x: x[1, 2], tree) for tree in (state, stack))
    expected = lrsched.eval_params(one, params)
    chex.assert_trees_all_close(jax.tree.map(lambda x: x[1, 2], averages), expected, rtol=1e-6)


def test_metrics_of_stacked_runs_are_observed_one_by_one():
    optimizer = STACKED["plateau"]()
    state = jax.vmap(optimizer.init)(jnp.ones((3, 2)))
    for losses in ([1.0, 1.0, 1.0], [1.0, 0.5, 1.0], [1.0, 0.3, 0.4]):
        state = lrsched.observe(state, jnp.array(losses))
    assert state[1].scale.tolist() == [0.25, 1.0, 0.5]


def test_a_cooldown_at_the_largest_step_is_refused_as_it_would_never_act():
    state = lrsched.restart(chain().init(PARAMS), 2**31 - 1)
    with pytest.raises(ValueError, match=r"the step count is 2147483647.*restart\(opt_state, step"):
        lrsched.start_cooldown(state, 10)
    before = lrsched.start_cooldown(lrsched.restart(state, 2**31 - 2), 1)
    assert lrsched.learning_rate_schedule(before)(2**31 - 1) == 0


@pytest.mark.parametrize(
    "edit",
    [
        lambda s: lrsched.restart(s, 1, reset=True),
        lambda s: lrsched.set_schedule(s, lrsched.linear(0.5, 0.0, steps=5)),
        lambda s: lrsched.set_learning_rate(s, 0.1),
        lambda s: lrsched.start_cooldown(lrsched.extend(s, 40), 5),
        lambda s: lrsched.scale_learning_rate(lrsched.restart(s, 3), 0.5),
    ],
)
def test_an_edit_leaves_each_number_on_its_devices(edit):
    mesh = jax.sharding.Mesh(np.array(jax.devices()[:1]), ("data",))
    everywhere = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec())
    edited = edit(jax.device_put(chain().init(PARAMS), everywhere))
    assert {leaf.sharding for leaf in jax.tree.leaves(edited)} == {everywhere}


def test_a_number_for_another_count_of_runs_is_refused_in_words():
    optimizer = lrsched.scale_by_learning_rate(lrsched.linear(1.0, 0.0, 10))
    stacked = jax.vmap(lambda _: optimizer.init(jnp.ones(1)))(jnp.arange(3))
    with pytest.raises(ValueError, match=r"a value of shape \(2,\) is not accepted for rates of"):
        lrsched.extend(stacked, jnp.array([20, 30]))


def test_an_end_that_a_cooldown_reached_is_that_of_the_cooldown():
    optimizer = lrsched.scale_by_learning_rate(lrsched.linear(1.0, 0.0, 60))
    state = lrsched.start_cooldown(optimizer.init(jnp.ones(1)), 1)
    for _ in range(2):
        _, state = optimizer.update(jnp.ones(1), state)
    with pytest.raises(ValueError, match=r"the cooldown of the schedule .* its end at step 1"):
        lrsched.extend(state, 100)
