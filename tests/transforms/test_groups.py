"""Groups of parameters: which they are, what they are multiplied by, and how that is read."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

import lrsched
from tests.adaptive.methods import CONTROLLERS

PARAMS = {
    "embed": jnp.ones(2),
    "layers": [{"kernel": jnp.ones((2, 2)), "bias": jnp.ones(2)} for _ in range(2)],
    "head": {"kernel": jnp.ones((2, 3))},
}
GROUPS = [(r"layers/1/", 3.0), (r"kernel$", lrsched.linear(2.0, 0.0, steps=4)), ("embed", None)]
ONES = jax.tree.map(jnp.ones_like, PARAMS)


def optimizer_with(groups=GROUPS, rate=0.5, **options):
    return optax.chain(
        lrsched.scale_by_learning_rate(rate), lrsched.learning_rate_groups(groups, **options)
    )


def rates_of(state):
    return {name: float(rate) for name, rate in lrsched.learning_rates(state).items()}


def test_the_first_pattern_that_matches_decides_and_its_schedule_runs():
    optimizer = optimizer_with()
    state = optimizer.init(PARAMS)
    for multiplier in (2.0, 1.5, 1.0):
        updates, state = optimizer.update(ONES, state, PARAMS)
        applied = jax.tree.map(lambda u: float(u.ravel()[0]), updates)
        assert applied == {
            "embed": 0.0,
            "layers": [
                {"kernel": -0.5 * multiplier, "bias": -0.5},
                {"kernel": -1.5, "bias": -1.5},
            ],
            "head": {"kernel": -0.5 * multiplier},
        }
        rates = {"default": 0.5, "embed": 0.0, "kernel$": 0.5 * multiplier, "layers/1/": 1.5}
        assert rates_of(state) == rates


@pytest.mark.parametrize("make", CONTROLLERS.values(), ids=CONTROLLERS)
@pytest.mark.parametrize("is_first", [True, False])
def test_it_works_beside_every_controller(make, is_first):
    groups = lrsched.learning_rate_groups(GROUPS)
    beside = (groups, make()) if is_first else (make(), groups)
    optimizer, alone = optax.chain(*beside), make()
    state, state_alone = optimizer.init(PARAMS), alone.init(PARAMS)
    for value in (1.0, 2.0, 3.0):
        metrics = {"value": jnp.float32(value), "train_value": jnp.float32(0.5)}
        updates, state = optimizer.update(ONES, state, PARAMS, **metrics)
        expected, state_alone = alone.update(ONES, state_alone, PARAMS, **metrics)
        np.testing.assert_array_equal(updates["embed"], 0.0)
        of_head, of_bias = updates["head"]["kernel"], updates["layers"][0]["bias"]
        np.testing.assert_allclose(of_bias, expected["layers"][0]["bias"], rtol=1e-6)
        kernel_rate = rates_of(state)["kernel$"]
        assert kernel_rate / rates_of(state)["default"] == pytest.approx(
            float(of_head[0, 0] / of_bias[0]), rel=1e-6
        )


def test_a_frozen_group_stays_whatever_its_gradients():
    optimizer = optimizer_with([("embed", None)])
    poisoned = {**ONES, "embed": jnp.array([jnp.nan, jnp.inf])}
    updates, _ = optimizer.update(poisoned, optimizer.init(PARAMS), PARAMS)
    np.testing.assert_array_equal(updates["embed"], 0.0)
    masked = optax.masked(optax.sgd(0.1), {"embed": False, "layers": True, "head": True})
    climbs, _ = masked.update(ONES, masked.init(PARAMS), PARAMS)
    np.testing.assert_array_equal(climbs["embed"], 1.0)  # what optax does: the raw gradient


def test_one_compiled_step_serves_other_multipliers():
    traces = []
    optimizer = optimizer_with()

    @functools.partial(jax.jit, donate_argnums=0)
    def step(state, updates):
        traces.append(1)
        return optimizer.update(updates, state, PARAMS)

    _, state = step(optimizer.init(PARAMS), ONES)
    state = lrsched.scale_learning_rate(state, 0.5, group="layers/1/")
    updates, state = step(state, ONES)
    np.testing.assert_array_equal(updates["layers"][1]["bias"], -0.75)
    np.testing.assert_array_equal(updates["layers"][0]["kernel"], -0.75)
    state = lrsched.scale_learning_rate(state, 0.5)  # of all
    updates, state = step(lrsched.restart(state), ONES)
    np.testing.assert_array_equal(updates["layers"][1]["bias"], -0.375)
    np.testing.assert_array_equal(updates["layers"][0]["kernel"], -0.5)
    assert len(traces) == 1


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16, jnp.float32])
def test_dtypes_stay_and_the_state_is_of_numbers(dtype):
    params = jax.tree.map(lambda p: p.astype(dtype), PARAMS)
    optimizer = optimizer_with()
    described = jax.eval_shape(optimizer.init, params)
    state = optimizer.init(params)
    assert all(x.size <= 8 and x.dtype in (jnp.float32, jnp.int32) for x in jax.tree.leaves(state))
    updates, new = jax.eval_shape(optimizer.update, params, state, params)
    assert {u.dtype for u in jax.tree.leaves(updates)} == {jnp.dtype(dtype)}
    assert jax.tree.structure(new) == jax.tree.structure(described)


WRAPPERS = {
    "masked": lambda inner: optax.masked(inner, jax.tree.map(lambda _: True, PARAMS)),
    "partition": lambda inner: optax.partition(
        {"all": inner}, jax.tree.map(lambda _: "all", PARAMS)
    ),
    "apply_if_finite": lambda inner: optax.apply_if_finite(inner, 3),
    "MultiSteps": lambda inner: optax.MultiSteps(inner, 1).gradient_transformation(),
    "inject": lambda inner: lrsched.inject_schedules(
        lambda decay: optax.chain(optax.add_decayed_weights(decay), inner)
    )(decay=lrsched.constant(0.0)),
}


@pytest.mark.parametrize("wrap", WRAPPERS.values(), ids=WRAPPERS)
def test_it_works_and_is_read_and_changed_within_every_wrapper(wrap):
    plain, wrapped = optimizer_with(), wrap(optimizer_with())
    state, expected_state = wrapped.init(PARAMS), plain.init(PARAMS)
    label = "all/embed" if "all/embed" in rates_of(state) else "embed"
    head = label.replace("embed", "kernel$")
    state = lrsched.scale_learning_rate(state, 0.1, group=head)
    expected_state = lrsched.scale_learning_rate(expected_state, 0.1, group="kernel$")
    updates, state = wrapped.update(ONES, state, PARAMS)
    expected, _ = plain.update(ONES, expected_state, PARAMS)
    jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=1e-6), updates, expected)
    assert rates_of(state)[head] == pytest.approx(0.1)
    assert rates_of(state)[label] == 0.0


def test_multipliers_are_vmapped_and_differentiated():
    def last(multiplier):
        optimizer = optimizer_with([("head", multiplier)])
        updates, _ = optimizer.update(ONES, optimizer.init(PARAMS), PARAMS)
        return updates["head"]["kernel"][0, 0]

    np.testing.assert_array_equal(jax.vmap(last)(jnp.array([1.0, 2.0])), [-0.5, -1.0])
    assert jax.grad(last)(2.0) == -0.5


def test_the_step_may_come_from_outside():
    optimizer = optimizer_with(rate=1.0)
    updates, state = optimizer.update(ONES, optimizer.init(PARAMS), PARAMS, step=3)
    np.testing.assert_array_equal(updates["head"]["kernel"], -0.5)
    assert lrsched.metrics(state)["schedule_step"] == 3


def test_after_a_method_that_finds_its_own_rate():
    optimizer = optax.chain(lrsched.prodigy(), lrsched.learning_rate_groups([("head", 0.25)]))
    updates, state = optimizer.update(ONES, optimizer.init(PARAMS), PARAMS)
    np.testing.assert_allclose(
        updates["head"]["kernel"][0, 0], 0.25 * updates["embed"][0], rtol=1e-6
    )
    assert rates_of(state)["head"] == pytest.approx(0.25 * rates_of(state)["default"])


def test_paths_of_nnx_are_those_of_the_variables():
    model = nnx.Linear(2, 3, rngs=nnx.Rngs(0))
    tx = optimizer_with([("^kernel$", None)])
    optimizer = nnx.Optimizer(model, tx, wrt=nnx.Param)
    before = model.kernel[...]
    optimizer.update(model, jax.tree.map(jnp.ones_like, nnx.state(model, nnx.Param)))
    np.testing.assert_array_equal(model.kernel[...], before)
    np.testing.assert_array_equal(model.bias[...], -0.5)
    assert rates_of(optimizer.opt_state) == {"^kernel$": 0.0, "default": 0.5}
    optimizer.opt_state = lrsched.scale_learning_rate(optimizer.opt_state, 0.5, group="default")
    optimizer.update(model, jax.tree.map(jnp.ones_like, nnx.state(model, nnx.Param)))
    np.testing.assert_array_equal(model.bias[...], -0.75)


def test_layers_have_lower_rates_the_deeper_they_are():
    def depth(path):
        place = path.split("/")
        return {"head": 0, "embed": 3}[place[0]] if len(place) < 3 else 2 - int(place[1])

    optimizer = lrsched.layerwise_decay(0.5, depth)
    updates, _ = optimizer.update(ONES, optimizer.init(PARAMS), PARAMS)
    found = jax.tree.map(lambda u: float(u.ravel()[0]), updates)
    assert found["head"]["kernel"] == 1.0
    assert [layer["bias"] for layer in found["layers"]] == [0.25, 0.5]
    assert found["embed"] == 0.125


def test_mup_groups_are_those_of_the_hidden_matrices():
    def shapes(width):
        class Model(nnx.Module):
            def __init__(self, rngs):
                self.inward = nnx.Linear(8, width, rngs=rngs)
                self.hidden = nnx.List([nnx.Linear(width, width, rngs=rngs) for _ in range(2)])
                self.outward = nnx.Linear(width, 3, rngs=rngs)

        return jax.eval_shape(lambda: nnx.state(Model(nnx.Rngs(0)), nnx.Param))

    groups = lrsched.mup_groups(shapes(256), shapes(64))
    assert groups == [("^hidden/0/kernel$", 0.25), ("^hidden/1/kernel$", 0.25)]
    state = lrsched.learning_rate_groups(groups).init(shapes(256))
    assert float(state.multipliers["^hidden/1/kernel$"]) == 0.25


def test_mup_groups_take_the_fan_in_of_attention_from_a_function():
    def shapes(width):
        def model():
            return nnx.MultiHeadAttention(4, width, decode=False, rngs=nnx.Rngs(0))

        return jax.eval_shape(lambda: nnx.state(model(), nnx.Param))

    groups = dict(
        lrsched.mup_groups(
            shapes(64), shapes(32), fan_in_axis=lambda path: (0, 1) if "out/" in path else 0
        )
    )
    assert groups == {f"^{name}/kernel$": 0.5 for name in ("key", "out", "query", "value")}


def test_a_dry_run_shows_every_parameter():
    assert lrsched.group_table(GROUPS, PARAMS).splitlines() == [
        "path             shape   group      multiplier",
        "embed            (2,)    embed      frozen",
        "head/kernel      (2, 3)  kernel$    linear(init=2.0, end=0.0, steps=4)",
        "layers/0/bias    (2,)    default    1.0",
        "layers/0/kernel  (2, 2)  kernel$    linear(init=2.0, end=0.0, steps=4)",
        "layers/1/bias    (2,)    layers/1/  3.0",
        "layers/1/kernel  (2, 2)  layers/1/  3.0",
    ]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: lrsched.learning_rate_groups([("(", 1.0)]), "not a regular expression"),
        (lambda: lrsched.learning_rate_groups([(3, 1.0)]), "not a regular expression"),
        (lambda: lrsched.learning_rate_groups([("a", 1.0), ("a", 2.0)]), "'a' twice"),
        (lambda: lrsched.learning_rate_groups([("default", 1.0)]), "not be 'default'"),
        (
            lambda: lrsched.learning_rate_groups([("a", -1.0)]),
            "multiplier of 'a'=-1.0",
        ),
        (lambda: lrsched.learning_rate_groups([("a", float("nan"))]), "multiplier of 'a'=nan"),
        (lambda: lrsched.learning_rate_groups([("a", "fast")]), "fast"),
        (lambda: lrsched.learning_rate_groups({"a": 2.0}), r"must be a list of \(pattern, mult"),
        (lambda: lrsched.learning_rate_groups("a"), "groups='a' is not accepted"),
        (lambda: lrsched.learning_rate_groups([("a",)]), "groups=.* is not accepted"),
        (lambda: lrsched.learning_rate_groups([], default="all"), "all"),
        (lambda: optimizer_with([("nothing", 1.0)]).init(PARAMS), "'nothing' choose no parameter"),
        (
            lambda: optimizer_with([("head", 1.0), ("head/k", 1.0)]).init(PARAMS),
            "'head/k' choose no parameter",
        ),
        (
            lambda: optimizer_with([("head", 1.0)], default="error").init(PARAMS),
            "matches embed, layers/0/bias",
        ),
        (lambda: lrsched.group_table([("x", 1.0)], PARAMS), "'x' choose no parameter"),
        (lambda: lrsched.layerwise_decay(0.0, len), "decay=0.0"),
        (lambda: lrsched.layerwise_decay("half", len), "decay='half'"),
        (lambda: lrsched.layerwise_decay(0.5, {}.get).init(PARAMS), r"'embed'\) = None"),
        (lambda: lrsched.mup_groups({"a": jnp.ones(1)}, {"b": jnp.ones(1)}), "a, b are in one"),
        (lambda: lrsched.mup_groups({"a": jnp.ones(1)}, {"a": jnp.ones((1, 1))}), "shapes"),
        (
            lambda: lrsched.mup_groups({"a": jnp.ones((4, 1, 4))}, {"a": jnp.ones((2, 1, 2))}),
            "fan_in_axis=-2 of a has not grown",
        ),
    ],
)
def test_bad_input(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_parameters_that_are_grouped_twice_have_no_one_rate():
    twice = optax.chain(optimizer_with(), lrsched.layerwise_decay(0.5, lambda path: 0))
    with pytest.raises(ValueError, match="cross"):
        lrsched.learning_rates(twice.init(PARAMS))
    labels = {"embed": "a", "layers": "b", "head": "b"}
    parted = optax.partition(
        {"a": optax.sgd(1.0), "b": lrsched.scale_by_learning_rate(1.0)}, labels
    )
    with pytest.raises(ValueError, match="and b cross"):
        lrsched.learning_rates(
            optax.chain(parted, lrsched.learning_rate_groups(GROUPS)).init(PARAMS)
        )


def test_a_group_that_is_not_there_is_an_error():
    state = optimizer_with().init(PARAMS)
    with pytest.raises(ValueError, match="group='tail' is not accepted"):
        lrsched.scale_learning_rate(state, 0.5, group="tail")
    with pytest.raises(ValueError, match="group='head' is not accepted"):
        lrsched.set_learning_rate(state, 0.5, group="head")
