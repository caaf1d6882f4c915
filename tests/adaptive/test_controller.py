"""Behaviour that all controllers share: when metrics are observed, live numbers and `observe`."""

import dataclasses
import functools
import inspect
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

import lrsched
from lrsched.adaptive.controller import controller_dataclass, scale_by_controller
from lrsched.arguments import NonNegativeInt, PositiveFloat

RULE = {"factor": 0.5, "patience": 1}


def scale_after(optimizer, metrics, **names):
    state = optimizer.init(jnp.ones(2))
    for metric in metrics:
        _, state = optimizer.update(jnp.ones(2), state, value=metric, **names)
    return float(state.scale)


def test_an_absent_metric_changes_only_the_count():
    optimizer = lrsched.reduce_on_plateau(**RULE)
    state = optimizer.init(jnp.ones(2))
    _, state = optimizer.update(jnp.ones(2), state, value=1.0)
    _, after = optimizer.update(jnp.ones(2), state)
    assert int(after.count) == int(state.count) + 1
    chex.assert_trees_all_equal(after._replace(count=state.count), state)


def test_a_validation_loss_once_an_epoch_counts_once():
    optimizer = optax.chain(
        lrsched.scale_by_learning_rate(0.5), lrsched.reduce_on_plateau(factor=0.5, patience=2)
    )

    @jax.jit
    def step(state):
        return optimizer.update(jnp.ones(2), state)[1]

    state, rates = optimizer.init(jnp.ones(2)), []
    for validation in [1.0, 1.0, 1.0, 1.0, 1.0]:
        for _ in range(7):
            state = step(state)
        state = lrsched.observe(state, validation)
        rates.append(float(lrsched.learning_rate(state)))
    assert rates == [0.5, 0.5, 0.25, 0.25, 0.125]


def test_no_metric_is_observed_before_active_from():
    optimizer = lrsched.reduce_on_plateau(**RULE, active_from=5)
    rising = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]
    assert scale_after(optimizer, rising) == 1
    assert scale_after(optimizer, [*rising, 7.0]) == 0.5


def test_controllers_observe_the_metric_of_their_name():
    optimizer = optax.chain(
        lrsched.scale_by_learning_rate(1.0),
        lrsched.reduce_on_plateau(**RULE),
        lrsched.bold_driver(up_factor=1.5, metric="accuracy"),
    )
    state = optimizer.init(jnp.ones(2))
    state = lrsched.observe(state, accuracy=1.0)
    state = lrsched.observe(state, accuracy=0.5)
    assert float(lrsched.learning_rate(state)) == 1.5
    state = lrsched.observe(lrsched.observe(state, 1.0), 2.0, accuracy=0.6)
    assert float(lrsched.learning_rate(state)) == 1.5 * 0.5 * 0.5


def test_a_metric_that_no_controller_observes_is_refused():
    state = lrsched.reduce_on_plateau(metric="loss").init(jnp.ones(2))
    with pytest.raises(ValueError, match=r"value=1.0 .* observes 'value' .*names are loss"):
        lrsched.observe(state, 1.0)
    with pytest.raises(ValueError, match="the state holds no controller"):
        lrsched.observe(optax.adam(0.1).init(jnp.ones(2)), 1.0)


@pytest.mark.parametrize(
    "number",
    [2, 2.0, np.float64(2), np.float32(2), np.array(2), jnp.bfloat16(2), jnp.float16(2)],
    ids=lambda number: type(number).__name__,
)
def test_a_metric_of_any_real_type_is_a_float32_scalar(number):
    optimizer = lrsched.bold_driver()
    _, state = optimizer.update(jnp.ones(2), optimizer.init(jnp.ones(2)), value=number)
    assert state.controller_state.prev_value == 2
    assert state.controller_state.prev_value.dtype == jnp.float32
    with jax.enable_x64(True):
        state = lrsched.observe(optimizer.init(jnp.ones(2)), jnp.asarray(number, jnp.float64))
        assert state.controller_state.prev_value.dtype == jnp.float32


def test_a_float64_metric_beyond_float32_counts_as_nonfinite():
    state = lrsched.bold_driver().init(jnp.ones(2))
    assert int(lrsched.observe(state, np.float64(1e300)).nonfinite_count) == 1


@pytest.mark.parametrize(
    ("metric", "message"),
    [
        (jnp.ones(1), r"value of shape \(1,\) is not accepted; .* one number of shape \(\)"),
        (np.ones((2, 3)), r"value of shape \(2, 3\)"),
        ([1.0], r"value of shape \(1,\)"),
        (1j, "value=1j is not accepted; value must be one real number"),
        ("0.5", "value='0.5' is not accepted; value must be one real number"),
        (10**400, "value must be one real number"),
    ],
)
def test_a_metric_that_is_not_one_real_number_is_refused(metric, message):
    optimizer = lrsched.reduce_on_plateau()
    state = optimizer.init(jnp.ones(2))
    with pytest.raises(ValueError, match=message):
        optimizer.update(jnp.ones(2), state, value=metric)
    with pytest.raises(ValueError, match=message):
        lrsched.observe(state, metric)


def test_metrics_show_that_a_controller_never_received_its_metric():
    optimizer = optax.chain(
        lrsched.scale_by_learning_rate(0.1), lrsched.reduce_on_plateau(**RULE, active_from=5)
    )

    def received(**names):
        state = optimizer.init(jnp.ones(2))
        for _ in range(3):
            _, state = optimizer.update(jnp.ones(2), state, jnp.ones(2), **names)
        return int(lrsched.metrics(state)["received_metrics"])

    assert received(val_loss=1.0) == 0
    assert received(value=1.0) == received(value=np.nan) == 3


def test_of_two_metrics_the_one_that_arrived_least_often_counts():
    optimizer = optax.chain(lrsched.scale_by_learning_rate(0.1), lrsched.reduce_on_overfitting())
    state = optimizer.init(jnp.ones(2))
    for _ in range(3):
        _, state = optimizer.update(jnp.ones(2), state, value=1.0, val=1.0)
    assert int(lrsched.metrics(state)["received_metrics"]) == 0
    state = lrsched.observe(state, validation=1.0)
    assert int(lrsched.metrics(state)["received_metrics"]) == 1
    assert state[1].received_count.tolist() == [3, 1]


CONTROLLERS = {
    "adalrs": (lrsched.adalrs, {"window": 3}, {"up_factor": 3.0}),
    "adaptive_kl": (lrsched.adaptive_kl, {"target": 0.5, "min_scale": 0.0}, {"factor": 3.0}),
    "backoff_on_spike": (
        lrsched.backoff_on_spike,
        {"patience": 2, "threshold": 1.0},
        {"factor": 0.25},
    ),
    "bold_driver": (lrsched.bold_driver, {}, {"down_factor": 0.25}),
    "greedy": (lrsched.greedy, {"patience": 1}, {"factor": 0.25}),
    "reduce_on_overfitting": (
        lrsched.reduce_on_overfitting,
        {"patience": 1, "training_metric": "training"},
        {"factor": 0.25},
    ),
    "reduce_on_plateau": (lrsched.reduce_on_plateau, {"patience": 1}, {"factor": 0.25}),
}
"""Factory, options, and another value of one of its thresholds."""
every_controller = pytest.mark.parametrize(
    ("factory", "options", "other"), CONTROLLERS.values(), ids=CONTROLLERS
)
LOSSES = jnp.float32([5.0, 4.0, 3.5, 6.0, 3.0, 3.1, 3.2, 2.0, 9.0, 1.9, 1.8, 2.2])


@functools.partial(jax.jit, static_argnums=0)
def scales_of(optimizer, state):
    """The scale after each of `LOSSES`; the training loss beside a validation always falls."""

    def step(state, loss):
        metrics = {"value": loss, "validation": loss, "training": -state[1]}
        _, controlled = optimizer.update(jnp.ones(2), state[0], jnp.ones(2), **metrics)
        (node,) = (
            node
            for node in jax.tree.leaves(controlled, is_leaf=is_controller)
            if is_controller(node)
        )
        return (controlled, state[1] + 1), node.scale

    return jax.lax.scan(step, (state, 0.0), LOSSES)[1]


def is_controller(node):
    return isinstance(node, lrsched.ControllerState)


def scales_from_init(optimizer):
    return scales_of(optimizer, optimizer.init(jnp.ones(2)))


@every_controller
@pytest.mark.parametrize("inject", [lrsched.inject_schedules, optax.inject_hyperparams])
def test_a_scheduled_threshold_is_followed_at_each_update(factory, options, other, inject):
    ((name, after),) = other.items()
    before = inspect.signature(factory).parameters[name].default
    start = 6
    schedule = {name: lambda count: jnp.where(count < start, before, after)}
    scales = scales_from_init(inject(factory)(**options, **schedule))
    constant = scales_from_init(factory(**options))
    np.testing.assert_allclose(scales[:start], constant[:start], rtol=1e-6)
    assert not np.allclose(scales[start:], constant[start:])


@every_controller
def test_an_array_for_any_number_is_written_into_the_same_leaf(factory, options, other):
    state = factory(**options).init(jnp.ones(2))
    numbers = {
        field.name: getattr(state.controller, field.name)
        for field in dataclasses.fields(state.controller)
        if not field.metadata.get("static")
    }
    # Twice each default is legal for every argument, except factors of at most 1.
    is_factor = {
        name: np.asarray(x).dtype.kind == "f" and 0 < x <= 1 for name, x in numbers.items()
    }
    numbers = {name: x * (0.875 if is_factor[name] else 2) for name, x in numbers.items()}

    @jax.jit
    def step(numbers, state):
        return factory(**numbers).update(jnp.ones(2), state, value=1.0, validation=1.0)[1]

    after = step(numbers, state)
    chex.assert_trees_all_equal_shapes_and_dtypes(after, state)
    chex.assert_trees_all_close(
        jax.tree.leaves(after.controller),
        [
            jnp.asarray(x, old.dtype)
            for x, old in zip(numbers.values(), jax.tree.leaves(state.controller), strict=True)
        ],
    )


@every_controller
def test_runs_under_vmap_with_a_threshold_each_equal_single_runs(factory, options, other):
    ((name, after),) = other.items()
    values = jnp.float32([inspect.signature(factory).parameters[name].default, after])
    batched = jax.vmap(lambda value: scales_from_init(factory(**options, **{name: value})))(values)
    for value, scales in zip(values.tolist(), batched, strict=True):
        single = scales_from_init(factory(**options, **{name: value}))
        np.testing.assert_allclose(scales, single, rtol=1e-6)
    assert not np.allclose(*batched)


@every_controller
def test_the_state_keeps_its_own_python_numbers(factory, options, other):
    state = factory(**options, **other).init(jnp.ones(2))
    scales = scales_of(factory(**options), state)
    np.testing.assert_array_equal(scales, scales_from_init(factory(**options, **other)))


@pytest.mark.parametrize("factor", [np.nan, -1.0, np.inf])
def test_a_traced_factor_that_is_not_legal_leaves_the_scale_legal(factor):
    @jax.jit
    def after(factor):
        optimizer = lrsched.reduce_on_plateau(factor, patience=1)
        state = optimizer.init(jnp.ones(2))
        for _ in range(4):
            _, state = optimizer.update(jnp.ones(2), state, value=1.0)
        return state.scale

    assert 0 <= float(after(factor)) <= 1


def test_a_threshold_with_axes_is_refused():
    with pytest.raises(ValueError, match=r"factor of shape \(2,\) .* jax.vmap"):
        lrsched.reduce_on_plateau(np.array([0.5, 0.25]))


def test_a_window_whose_size_is_traced_is_refused():
    injected = optax.inject_hyperparams(lrsched.reduce_on_plateau)()
    with pytest.raises(ValueError, match=r"static_args=\('window_size',\)"):
        jax.jit(injected.init)(jnp.ones(2))
    injected = optax.inject_hyperparams(lrsched.reduce_on_plateau, static_args="window_size")()
    jax.jit(injected.init)(jnp.ones(2))


def test_the_controller_is_data_in_the_state():
    optimizer = lrsched.reduce_on_plateau(factor=0.5, patience=1)
    state = optimizer.init(jnp.ones(2))
    state = state._replace(controller=jax.tree.map(jnp.asarray, state.controller))
    state = lrsched.observe(state, 1.0)
    gentler = state._replace(
        controller=jax.tree.unflatten(
            jax.tree.structure(state.controller), [0.75, *jax.tree.leaves(state.controller)[1:]]
        )
    )
    assert float(lrsched.observe(gentler, 1.0).scale) == 0.75
    assert float(lrsched.observe(state, 1.0).scale) == 0.5


def nnx_optimizer(controller):
    model = nnx.Linear(3, 2, rngs=nnx.Rngs(0))
    tx = optax.chain(optax.scale_by_adam(), lrsched.scale_by_learning_rate(0.1), controller)
    return model, nnx.Optimizer(model, tx, wrt=nnx.Param)


@pytest.mark.parametrize(
    ("controller", "names"),
    [
        (lrsched.reduce_on_plateau(**RULE), ("value",)),
        (lrsched.reduce_on_overfitting(**RULE), ("value", "validation")),
        (lrsched.greedy(), ("value",)),
    ],
)
@pytest.mark.parametrize("wrap", [lambda f: f, nnx.jit])
def test_observe_in_an_nnx_optimizer_equals_observe_of_a_bare_state(controller, names, wrap):
    model, optimizer = nnx_optimizer(controller)
    state = optimizer.tx.init(nnx.state(model, nnx.Param))

    def observe(optimizer, metric):
        metrics = dict.fromkeys(names, metric)
        optimizer.opt_state = lrsched.observe(optimizer.opt_state, **metrics)

    containers = jax.tree.structure(optimizer.opt_state)
    for metric in [1.0, 0.5, 0.75, 0.75, float("nan"), 0.75]:
        wrap(observe)(optimizer, jnp.float32(metric))
        state = lrsched.observe(state, **dict.fromkeys(names, metric))
    assert jax.tree.structure(optimizer.opt_state) == containers
    assert lrsched.metrics(optimizer.opt_state) == lrsched.metrics(state)
    assert lrsched.metrics(state)["nonfinite_metrics"] == 1
    for ours, theirs in zip(*map(jax.tree.leaves, (optimizer.opt_state[2], state[2])), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    optimizer.update(model, jax.tree.map(jnp.ones_like, nnx.state(model, nnx.Param)))


def test_observe_works_under_jit_and_vmap():
    state = lrsched.reduce_on_plateau(**RULE).init(jnp.ones(2))

    def after(metrics):
        return lrsched.observe(lrsched.observe(state, metrics[0]), metrics[1]).scale

    scales = jax.jit(jax.vmap(after))(jnp.array([[1.0, 2.0], [2.0, 1.0]]))
    assert scales.tolist() == [0.5, 1.0]


BASES = {
    "adagrad": optax.scale_by_rss(),
    "rmsprop": optax.scale_by_rms(),
    "adam": optax.scale_by_adam(),
}


@pytest.mark.parametrize("base", BASES.values(), ids=BASES)
def test_a_schedule_and_a_controller_drive_any_base(base):
    schedule = lrsched.linear(1.0, 0.5, steps=10)
    optimizer = optax.chain(
        base, lrsched.scale_by_learning_rate(schedule), lrsched.reduce_on_plateau(**RULE)
    )
    params = {"w": jnp.array([1.0, -2.0])}
    state = optimizer.init(params)
    for step, (loss, scale) in enumerate([(3.0, 1.0), (2.0, 1.0), (2.0, 0.5), (2.0, 0.25)]):
        bare, _ = base.update(params, state[0], params)
        updates, state = optimizer.update(params, state, params, value=loss)
        rate = schedule(step) * scale
        np.testing.assert_allclose(lrsched.learning_rate(state), rate, rtol=1e-6)
        np.testing.assert_allclose(updates["w"], -rate * bare["w"], rtol=1e-5)


class CountState(NamedTuple):
    count: jax.Array


class Counted:
    """Halve the rate at each metric."""

    factor: PositiveFloat = 0.5
    active_from: NonNegativeInt = 0

    @property
    def metric_names(self):
        return ("value",)

    def init(self):
        return CountState(jnp.zeros([], jnp.int32))

    def observe(self, state, scale, metrics):
        return CountState(state.count + 1), scale * self.factor


MISTAKES = {
    "a plain dataclass": (
        {},
        dataclasses.dataclass(frozen=True),
        "must be decorated with @controller_dataclass",
    ),
    "a name": (
        {"metric_names": property(lambda self: "value")},
        controller_dataclass,
        "metric_names is 'value'; it must be a property that returns a tuple",
    ),
    "a method": (
        {"metric_names": lambda self: ("value",)},
        controller_dataclass,
        "it must be a property that returns a tuple",
    ),
    "the scale alone": (
        {"observe": lambda self, state, scale, metrics: scale},
        controller_dataclass,
        "it must return a pair, the state and the scale",
    ),
    "a swapped pair": (
        {"observe": lambda self, state, scale, metrics: (scale, state)},
        controller_dataclass,
        "a pair whose state has another structure",
    ),
    "a scale with axes": (
        {"observe": lambda self, state, scale, metrics: (state, jnp.ones(2))},
        controller_dataclass,
        "a pair whose scale has another structure or other shapes",
    ),
}


@pytest.mark.parametrize(("wrong", "decorate", "message"), MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_of_an_author_is_named(wrong, decorate, message):
    fields = {"__annotations__": Counted.__annotations__, "factor": 0.5, "active_from": 0}
    cls = decorate(type("Mistaken", (Counted,), {**fields, **wrong}))
    with pytest.raises(TypeError, match=message):
        scale_after(scale_by_controller(cls()), [1.0])


def test_a_finished_controller_has_no_mistake():
    assert scale_after(scale_by_controller(controller_dataclass(Counted)()), [1.0, 2.0]) == 0.25
