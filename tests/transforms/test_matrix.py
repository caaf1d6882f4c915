"""Muon beside optax's to the last bit and the authors' formulas; fixed-norm matrices."""

import functools
import inspect

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import optax.contrib
import pytest
from flax import nnx

import lrsched
from lrsched.transforms.matrix import muon_direction
from tests.parity.frontier import cases

RATE = lrsched.linear(0.02, 0.0, steps=50)
ADAM_RATE = lrsched.linear(0.0, 3e-3, steps=50)


@pytest.fixture
def params():
    keys = jax.random.split(jax.random.key(0), 3)
    return {
        "wide": jax.random.normal(keys[0], (4, 7)),
        "tall": jax.random.normal(keys[1], (6, 3)),
        "bias": jax.random.normal(keys[2], (7,)),
    }


def trained(optimizer, params, steps=50):
    @jax.jit
    def step(params, state):
        grads = jax.tree.map(lambda p: jnp.sin(3 * p), params)
        updates, state = optimizer.update(grads, state, params)
        return optax.apply_updates(params, updates), state

    state = optimizer.init(params)
    for _ in range(steps):
        params, state = step(params, state)
    return params, state


@pytest.mark.parametrize("scale", ["width", "rms"])
def test_fifty_updates_are_those_of_optax_to_the_last_bit(params, scale):
    options = {"weight_decay": 0.1, "adam_weight_decay": 0.01}
    ours = lrsched.muon(0.02, 3e-3, scale=scale, **options)
    rms = 0.2 if scale == "rms" else None
    theirs = optax.contrib.muon(0.02, adam_learning_rate=3e-3, consistent_rms=rms, **options)
    # Numbers as rates: XLA evaluates a schedule in another fusion, and rounds it differently.
    # Without optimisation: LLVM contracts different products and sums into fused operations.
    exact = {"xla_backend_optimization_level": 0}
    updates_of = [jax.jit(one.update, compiler_options=exact) for one in (ours, theirs)]
    states = [ours.init(params), theirs.init(params)]
    for _ in range(50):
        grads = jax.tree.map(lambda p: jnp.sin(3 * p), params)
        found = [of(grads, one, params) for of, one in zip(updates_of, states, strict=True)]
        chex.assert_trees_all_equal(found[0][0], found[1][0])
        states = [state for _, state in found]
        params = optax.apply_updates(params, found[0][0])


def test_both_rates_are_read(params):
    _, state = trained(lrsched.muon(RATE, ADAM_RATE), params, steps=7)
    rates = lrsched.learning_rates(state)
    expected = {"": float(RATE(6)), "adam": float(ADAM_RATE(6))}
    assert {label: float(rate) for label, rate in rates.items()} == expected


def test_bfloat16_is_within_the_rounding_of_the_rate(params):
    params = jax.tree.map(lambda p: p.astype(jnp.bfloat16), params)
    grads = jax.tree.map(jnp.sin, params)
    found = []
    for optimizer in (
        lrsched.muon(0.02, 3e-3),
        optax.contrib.muon(0.02, adam_learning_rate=3e-3),
    ):
        updates, _ = optimizer.update(grads, optimizer.init(params), params)
        chex.assert_trees_all_equal_dtypes(updates, params)
        found.append(jax.tree.map(lambda u: u.astype(jnp.float32), updates))
    chex.assert_trees_all_close(*found, rtol=2**-7)


def test_each_rate_moves_its_parameters_alone(params):
    for rates, moving in (
        ((0.0, 0.0), set()),
        ((0.1, 0.0), {"wide"}),
        ((0.0, 0.1), {"bias", "tall"}),
    ):
        optimizer = lrsched.muon(*rates, matrices="wide", weight_decay=0.1)
        found, _ = trained(optimizer, params, steps=2)
        assert {name for name in params if jnp.any(found[name] != params[name])} == moving


def test_rates_are_cooled_down_together_or_apart(params):
    optimizer = lrsched.muon(0.02, 1e-3)
    state = optimizer.init(params)

    def rates(state):
        _, state = optimizer.update(params, state, params)
        return {label: float(rate) for label, rate in lrsched.learning_rates(state).items()}

    both = rates(lrsched.scale_learning_rate(state, 0.5))
    assert both == pytest.approx({"": 0.01, "adam": 5e-4})
    one = rates(lrsched.scale_learning_rate(state, 0.5, group="adam"))
    assert one == pytest.approx({"": 0.02, "adam": 5e-4})


def test_a_missing_second_rate_is_the_first_one(params):
    rates = lrsched.learning_rates(lrsched.muon(1e-3, scale="rms").init(params))
    assert {label: float(rate) for label, rate in rates.items()} == pytest.approx(
        {"": 1e-3, "adam": 1e-3}
    )


def test_the_momentum_follows_a_schedule(params):
    beta = lrsched.linear(0.85, 0.95, steps=3)
    optimizer = lrsched.muon(0.02, 1e-3, beta=beta)
    _, state = trained(optimizer, params, steps=3)
    assert float(lrsched.metrics(state)["beta"]) == float(beta(2))


NAMES = {"width": "width", "rms": "rms", "unit_rms": "unit-rms"}


@pytest.mark.parametrize(("inputs", "expected", "rtol"), cases("muon_shape_scale"))
def test_the_factor_of_a_shape(inputs, expected, rtol):
    del rtol

    # A matrix of rank 1 has one singular value, which Newton-Schulz maps independently of shapes.
    def size(scale, fan_in, fan_out):
        weight = {"w": jnp.ones((fan_in, fan_out))}
        optimizer = lrsched.muon(1.0, scale=scale)
        updates, _ = optimizer.update(weight, optimizer.init(weight), weight)
        return float(jnp.linalg.norm(updates["w"]))

    found = size(NAMES[inputs["kind"]], inputs["fan_in"] // 16, inputs["fan_out"] // 16)
    unscaled = size("width", 8, 8)
    shrink = 4 if inputs["kind"] == "rms" else 1
    assert found * shrink / unscaled == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize(
    ("scale", "inputs", "expected", "rtol"),
    [
        pytest.param(scale, *case.values, id=f"{name}-{index}")
        for name, scale in (("jordan_muon", "width"), ("moonlight_muon", "rms"))
        for index, case in enumerate(cases(name))
    ],
)
def test_the_authors_conventions(scale, inputs, expected, rtol):
    with jax.enable_x64(True):
        # The authors' layout is (out, in).
        params = {"w": jnp.array(inputs["param"], float).T}
        optimizer = lrsched.muon(
            inputs["rate"],
            scale=scale,
            beta=inputs.get("beta", inputs.get("momentum", 0.95)),
            weight_decay=inputs.get("weight_decay", 0.0),
            bias_correction=False,
            eps=1e-12,
        )
        state = optimizer.init(params)
        for grad, after in zip(inputs["grads"], expected, strict=True):
            grads = {"w": jnp.array(grad, float).T}
            updates, state = optimizer.update(grads, state, params)
            params = optax.apply_updates(params, updates)
            # Rates and decays are float32 in the state; the authors' eps is 1e-7.
            np.testing.assert_allclose(params["w"].T, after, rtol=max(rtol, 2e-6), atol=1e-7)


@pytest.mark.parametrize(("inputs", "expected", "rtol"), cases("newton_schulz"))
def test_newton_schulz(inputs, expected, rtol):
    options = {"ns_steps": inputs.get("steps", 5)}
    if "coeffs" in inputs:
        options["ns_coeffs"] = tuple(map(tuple, inputs["coeffs"]))
    if "scaling" in inputs:
        if "preconditioning" not in inspect.signature(optax.contrib.muon).parameters:
            pytest.skip("the argument preconditioning came with optax 0.2.8")
        options["preconditioning"] = inputs["scaling"]
    with jax.enable_x64(True):
        weight = {"w": jnp.array(inputs["matrix"], float)}
        direction = muon_direction(0.0, **options)
        updates, _ = direction.update(weight, direction.init(weight), weight)
        fan_in, fan_out = weight["w"].shape
        found = updates["w"] / max(1.0, fan_out / fan_in) ** 0.5
        np.testing.assert_allclose(found, expected, rtol=max(rtol, 1e-7), atol=1e-7)


@pytest.mark.parametrize(
    ("leaf", "inputs", "expected", "rtol"),
    [
        pytest.param(leaf, *case.values, id=f"{name}-{index}")
        for name, leaf in (("optax_muon", "matrix"), ("optax_muon_adam_leaf", "bias"))
        for index, case in enumerate(cases(name))
    ],
)
def test_the_formulas_of_optax(leaf, inputs, expected, rtol):
    rms = inputs.get("consistent_rms")
    scale = {} if rms is None else {"scale": "rms", "rms": rms}
    decay = inputs.get("weight_decay", 0.0)
    optimizer = lrsched.muon(inputs["rate"], weight_decay=decay, adam_weight_decay=decay, **scale)
    with jax.enable_x64(True):
        params = {"matrix": jnp.eye(2), leaf: jnp.array(inputs["param"], float)}
        state = optimizer.init(params)
        for grad, after in zip(inputs["grads"], expected, strict=True):
            grads = {"matrix": jnp.eye(2), leaf: jnp.array(grad, float)}
            updates, state = optimizer.update(grads, state, params)
            params = optax.apply_updates(params, updates)
            # Rates and decays are float32 in the state.
            np.testing.assert_allclose(params[leaf], after, rtol=rtol, atol=1e-9)


@pytest.mark.parametrize(("inputs", "expected", "rtol"), cases("muon_momentum"))
def test_the_momentum_schedules_of_published_runs(inputs, expected, rtol):
    if inputs["recipe"] == "nanochat":
        recipe = lrsched.recipes.nanochat_d12(inputs["total"])
        momentum = recipe.schedules["muon_momentum"]
    else:
        recipe = lrsched.recipes.modded_nanogpt_track1(inputs["total"] - 15, extension=15)
        momentum = recipe.schedules["normuon_momentum"]
    assert float(momentum(inputs["step"])) == pytest.approx(expected, rel=max(rtol, 1e-6))


BAD_ARGUMENTS = (
    ({"scale": "jordan"}, "scale='jordan' is not accepted; scale must be one of"),
    ({"rms": 0.0}, "rms=0.0 is not accepted; rms must be a finite number above 0"),
    ({"beta": 1.5}, "beta=1.5 is not accepted; beta must be a number from 0 to below 1, or a"),
    ({"beta": "x"}, "beta='x' is not accepted; beta must be a number"),
    ({"eps": -1e-8}, "eps=-1e-08 is not accepted; eps must be a number of 0 or more"),
    ({"weight_decay": -0.1}, "weight_decay=-0.1 is not accepted; weight_decay must be a number of"),
    ({"adam_weight_decay": None}, "adam_weight_decay=None is not accepted"),
    ({"nesterov": 1}, "nesterov=1 is not accepted; nesterov must be True or False"),
    ({"ns_steps": 0}, "ns_steps=0 is not accepted; ns_steps must be a whole number from 1"),
    ({"ns_coeffs": "x"}, "ns_coeffs='x' is not accepted by optax"),
    ({"preconditioning": 3}, "preconditioning=3 is not accepted; preconditioning must be a string"),
    ({"learning_rate": None}, "learning_rate=None is not accepted; learning_rate must be a number"),
    ({"matrices": "("}, r"matrices='\(' .*; matrices must be a regular"),
    ({"matrices": 1}, "matrices=1 is not accepted; matrices must be a regular"),
    ({"nonfinite": "keep"}, "nonfinite='keep' is not accepted; nonfinite must be one of 'skip'"),
)


@pytest.mark.parametrize(("arguments", "message"), BAD_ARGUMENTS)
def test_muon_refuses_bad_arguments_when_it_is_made(arguments, message):
    with pytest.raises(ValueError, match=f"muon: {message}"):
        lrsched.muon(**{"learning_rate": 0.1, **arguments})


@pytest.mark.parametrize("rates", [(None, 0.1), (0.1, None)])
def test_hyperball_refuses_a_missing_rate(rates):
    with pytest.raises(ValueError, match="learning_rate=None is not accepted"):
        lrsched.hyperball(optax.scale_by_adam(), *rates)


def test_muon_refuses_parameters_without_matrices(params):
    optimizer = lrsched.hyperball(optax.identity(), 0.1, 0.1)
    with pytest.raises(ValueError, match="hyperball needs the parameters"):
        optimizer.update(params, optimizer.init(params))
    for matrices in ("nothing", lambda path, leaf: False):
        with pytest.raises(ValueError, match=r"chooses no parameter; .* the paths are bias, "):
            lrsched.muon(0.1, matrices=matrices).init(params)
    with pytest.raises(ValueError, match=r"matrices chooses 'bias' of shape .*two axes"):
        lrsched.muon(0.1, matrices="").init(params)
    with pytest.raises(ValueError, match=r"hyperball: matrices=None .* chooses no parameter"):
        lrsched.hyperball(optax.identity(), 0.1, 0.1).init({"bias": jnp.ones(3)})


def test_paths_of_nnx_are_those_of_the_variables():
    seen = []
    model = nnx.Linear(2, 3, rngs=nnx.Rngs(0))
    optimizer = lrsched.muon(
        0.1, matrices=lambda path, leaf: seen.append(path) or path.endswith("kernel")
    )
    optimizer.init(nnx.state(model, nnx.Param))
    assert set(seen) == {"bias", "kernel"}


def sign_descent():
    """Return a base that makes NaN of a gradient of 0."""
    return optax.stateless(lambda updates, _: jax.tree.map(lambda g: g / jnp.abs(g), updates))


GUARDED = {
    "muon": functools.partial(lrsched.muon, 0.02, 1e-3),
    "muon, uncorrected": functools.partial(lrsched.muon, 0.02, 1e-3, bias_correction=False),
    "hyperball": functools.partial(lrsched.hyperball, optax.scale_by_adam(), 0.02, 1e-3),
}


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
@pytest.mark.parametrize("bad", [np.nan, np.inf, 1e30])
@pytest.mark.parametrize("name", GUARDED)
def test_a_bad_gradient_poisons_no_state(params, name, bad, dtype):
    params = jax.tree.map(lambda p: p.astype(dtype), params)
    grads = jax.tree.map(jnp.sin, params)
    poisoned = jax.tree.map(lambda g: g.at[(0,) * g.ndim].set(bad), grads)
    zeroed = jax.tree.map(lambda g: g.at[(0,) * g.ndim].set(0), grads)
    for nonfinite, expected_grads in (("skip", None), ("zero", zeroed)):
        optimizer = GUARDED[name](nonfinite=nonfinite)
        update = jax.jit(optimizer.update)
        state = update(grads, optimizer.init(params), params)[1]
        updates, after = update(poisoned, state, params)
        assert int(lrsched.metrics(after)["nonfinite_updates"]) == 1
        if expected_grads is None:
            chex.assert_trees_all_equal(updates, jax.tree.map(jnp.zeros_like, params))
            expected = state
        else:
            expected_updates, expected = update(expected_grads, state, params)
            chex.assert_trees_all_equal(updates, expected_updates)
        chex.assert_trees_all_equal(after.inner_state, expected.inner_state)


@pytest.mark.parametrize("name", GUARDED)
def test_propagate_keeps_a_bad_gradient(params, name):
    optimizer = GUARDED[name](nonfinite="propagate")
    grads = jax.tree.map(lambda p: p.at[(0,) * p.ndim].set(np.nan), params)
    updates, state = optimizer.update(grads, optimizer.init(params), params)
    assert jnp.isnan(updates["bias"]).any()
    assert int(lrsched.metrics(state)["nonfinite_updates"]) == 0


def test_the_policies_do_not_change_finite_updates(params):
    found = [trained(lrsched.muon(0.02, nonfinite=policy), params, 5)[0] for policy in POLICIES]
    for one in found[1:]:
        chex.assert_trees_all_close(one, found[0], rtol=1e-6)


POLICIES = ("propagate", "skip", "zero")


def test_hyperball_ignores_nan_that_its_base_makes_of_zeros(params):
    grads = jax.tree.map(lambda p: p.at[(0,) * p.ndim].set(0.0), params)
    optimizer = lrsched.hyperball(sign_descent(), 0.1, 0.1)
    updates, _ = optimizer.update(grads, optimizer.init(params), params)
    chex.assert_tree_all_finite(updates)
    assert all(jnp.any(update) for update in updates.values())


def test_an_uncorrected_momentum_of_a_changing_beta_is_jordans():
    beta = lrsched.linear(0.5, 0.9, steps=4)
    # Of rank 1, whose direction Newton-Schulz keeps: the sign tells which momentum it is.
    optimizer = lrsched.muon(0.1, beta=beta, nesterov=False, bias_correction=False)
    params = {"w": jnp.ones((1, 1))}
    state, average = optimizer.init(params), 0.0
    for step, grad in enumerate((1.0, -0.62, -0.3, 0.05)):
        updates, state = optimizer.update({"w": jnp.full((1, 1), grad)}, state, params)
        decay = float(beta(step))
        average = decay * average + (1 - decay) * grad
        trace = next(leaf for leaf in jax.tree.leaves(state) if jnp.shape(leaf) == (1, 1))
        assert float(trace[0, 0]) == pytest.approx(average, rel=1e-5)
        assert float(updates["w"][0, 0]) * average < 0


@pytest.mark.parametrize(("inputs", "expected", "rtol"), cases("hyperball_step"))
def test_hyperball(inputs, expected, rtol):
    with jax.enable_x64(True):
        params = {"w": jnp.array(inputs["param"], float)}
        direction = {"w": jnp.array(inputs["update"], float)}
        optimizer = lrsched.hyperball(optax.identity(), inputs["rate"], 0.0)
        updates, _ = optimizer.update(direction, optimizer.init(params), params)
        found = optax.apply_updates(params, updates)["w"]
        np.testing.assert_allclose(found, expected["param"], rtol=max(rtol, 1e-6), atol=1e-7)
        assert float(jnp.linalg.norm(found)) == pytest.approx(expected["norm"], rel=1e-7)


def test_hyperball_keeps_norms_and_leaves_the_rest_to_the_base(params):
    optimizer = lrsched.hyperball(optax.scale_by_adam(), 0.05, 0.01)
    found, state = trained(optimizer, params)
    for name in ("wide", "tall"):
        norms = [float(jnp.linalg.norm(tree[name])) for tree in (found, params)]
        assert norms[0] == pytest.approx(norms[1], rel=1e-5)
        assert jnp.any(found[name] != params[name])
    expected, _ = trained(optax.adam(0.01), params)
    np.testing.assert_allclose(found["bias"], expected["bias"], rtol=1e-6)
    rates = lrsched.learning_rates(state)
    assert {k: float(v) for k, v in rates.items()} == pytest.approx({"": 0.05, "rest": 0.01})


def test_hyperball_refuses_zero_matrices_and_survives_zero_directions(params):
    optimizer = lrsched.hyperball(optax.identity(), 0.1, 0.1)
    with pytest.raises(ValueError, match="the matrix 'tall' is zero, which is not accepted"):
        optimizer.init(params | {"tall": jnp.zeros((6, 3))})
    zeros = jax.tree.map(jnp.zeros_like, params)
    updates, _ = optimizer.update(zeros, optimizer.init(params), params)
    chex.assert_trees_all_close(updates, zeros, atol=1e-6)
    jax.eval_shape(functools.partial(optimizer.init), params)


@pytest.mark.parametrize("value", [0.0, 300.0])
@pytest.mark.parametrize("name", ["muon", "hyperball"])
def test_float16_neither_divides_by_zero_nor_freezes(params, name, value):
    """In float16, eps=1e-8 is 0, and the square of 300 is infinite for all later steps."""
    make = {
        "muon": lambda: lrsched.muon(0.02, 1e-3),
        "hyperball": lambda: lrsched.hyperball(optax.scale_by_adam(), 0.02, 1e-3),
    }[name]
    half = jax.tree.map(lambda p: p.astype(jnp.float16), params)
    optimizer = make()
    state = optimizer.init(half)
    updates, state = optimizer.update(
        jax.tree.map(lambda p: jnp.full_like(p, value), half), state, half
    )
    chex.assert_tree_all_finite(updates)
    updates, state = optimizer.update(half, state, half)
    chex.assert_tree_all_finite((updates, state))
    for update in jax.tree.leaves(updates):
        assert update.dtype == jnp.float16
        assert jnp.any(update != 0)


@pytest.mark.parametrize("value", [jnp.nan, 1e25, 1e-25])
def test_hyperball_refuses_norms_that_float32_does_not_hold(value):
    optimizer = lrsched.hyperball(optax.scale_by_adam(), 0.1, 0.1)
    with pytest.raises(ValueError, match=r"the matrix 'w' has the norm (nan|inf|0) in float32"):
        optimizer.init({"w": jnp.full((2, 2), value)})


@pytest.mark.parametrize(
    "arguments",
    [
        {"beta": lrsched.linear(0.9, 1.5, steps=10)},
        {"beta": lrsched.linear(0.9, 1.0, steps=10)},
        {"beta": jnp.array([0.9, 0.8])},
        {"adam_b2": lrsched.constant(0.9, steps=5) >> lrsched.constant(2.0, steps=5)},
        {"weight_decay": lrsched.linear(0.1, -0.1, steps=10)},
        {"adam_weight_decay": np.array([0.1, 0.2])},
    ],
)
def test_muon_refuses_schedules_that_leave_their_range(arguments):
    (name,) = arguments
    with pytest.raises(ValueError, match=f"muon: {name}=.* is not accepted.*; {name} must"):
        lrsched.muon(0.02, **arguments)


QUERY = optax.contrib.MuonDimensionNumbers(0, (1, 2))
OUT = optax.contrib.MuonDimensionNumbers((-3, -2), -1)
AXES = {"query": QUERY, "out": OUT, "up": True}


class TestAttentionKernels:
    """Flax's attention keeps its kernels in three axes: model, heads, width of a head."""

    @pytest.fixture
    def kernels(self):
        model = nnx.MultiHeadAttention(4, 32, decode=False, rngs=nnx.Rngs(0))
        return {
            "query": model.query.kernel[...],
            "out": model.out.kernel[...],
            "up": jnp.sin(jnp.arange(32.0 * 48)).reshape(32, 48),
            "bias": model.query.bias[...],
        }

    @staticmethod
    def flat(tree):
        return tree | {"query": tree["query"].reshape(32, 32), "out": tree["out"].reshape(32, 32)}

    @pytest.mark.parametrize("scale", ["width", "rms", "unit-rms"])
    def test_their_updates_are_those_of_the_reshaped_kernels(self, kernels, scale):
        chosen = lrsched.muon(
            0.02, 1e-3, scale=scale, matrices=lambda path, _: AXES.get(path, False)
        )
        reshaped = lrsched.muon(0.02, 1e-3, scale=scale, matrices="query|out|up")
        params, _ = trained(chosen, kernels, steps=3)
        expected, _ = trained(reshaped, self.flat(kernels), steps=3)
        chex.assert_trees_all_close(self.flat(params), expected, rtol=1e-6, atol=1e-6)

    def test_the_first_update_is_that_of_optax(self, kernels):
        axes = {"query": QUERY, "out": OUT, "bias": None}
        axes["up"] = optax.contrib.MuonDimensionNumbers()
        ours = lrsched.muon(
            0.02, 1e-3, matrices=lambda path, _: axes[path] or False, nonfinite="propagate"
        )
        theirs = optax.contrib.muon(
            0.02, adam_learning_rate=1e-3, muon_weight_dimension_numbers=axes
        )
        grads = jax.tree.map(jnp.cos, kernels)
        updates = [one.update(grads, one.init(kernels), kernels)[0] for one in (ours, theirs)]
        chex.assert_trees_all_close(*updates, rtol=1e-6)

    def test_hyperball_keeps_their_norms(self, kernels):
        optimizer = lrsched.hyperball(
            optax.scale_by_adam(), 0.01, 1e-3, matrices=lambda path, _: AXES.get(path, False)
        )
        params, _ = trained(optimizer, kernels, steps=3)
        for name in AXES:
            norms = [jnp.linalg.norm(tree[name].ravel()) for tree in (params, kernels)]
            np.testing.assert_allclose(*norms, rtol=1e-6)
            assert not np.allclose(params[name], kernels[name])

    @pytest.mark.parametrize("axes", [(0, 0), (0, 3), (0, ()), (0, "x"), (-3, 0)])
    def test_axes_that_do_not_fit_are_refused(self, kernels, axes):
        numbers = optax.contrib.MuonDimensionNumbers(*axes)
        optimizer = lrsched.muon(0.02, matrices=lambda path, _: path == "query" and numbers)
        with pytest.raises(ValueError, match=r"'query' of shape \(32, 4, 8\).*different axes"):
            optimizer.init(kernels)
