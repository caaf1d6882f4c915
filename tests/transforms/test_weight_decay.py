"""Weight decay of each coupling, beside optax, PyTorch's formulas and the paper's algorithm."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

import lrsched
from lrsched import tuning
from lrsched.transforms.weight_decay import COUPLINGS
from tests.parity.frontier import cases

SCHEDULE = lrsched.wsd(0.25, steps=30, warmup=5, cooldown=10)
PARAMS = {"w": jnp.array([1.0, -2.0, 0.5]), "b": jnp.array([4.0])}


def gradients_of(params):
    return jax.tree.map(lambda p: jnp.sin(3 * p), params)


def trained(optimizer, steps=30, params=PARAMS):
    @functools.partial(jax.jit, static_argnums=2)
    def run(params, state, steps):
        def step(carry, _):
            params, state = carry
            updates, state = optimizer.update(gradients_of(params), state, params)
            return (optax.apply_updates(params, updates), state), None

        return jax.lax.scan(step, (params, state), length=steps)[0]

    return run(params, optimizer.init(params), steps)


def test_decoupled_is_adamw():
    ours = lrsched.with_weight_decay(optax.scale_by_adam(), SCHEDULE, 0.1)
    theirs = optax.adamw(SCHEDULE, weight_decay=0.1)
    ours_state, theirs_state = ours.init(PARAMS), theirs.init(PARAMS)
    for _ in range(10):
        updates, ours_state = ours.update(gradients_of(PARAMS), ours_state, PARAMS)
        expected, theirs_state = theirs.update(gradients_of(PARAMS), theirs_state, PARAMS)
        jax.tree.map(np.testing.assert_array_equal, updates, expected)


def closed_form(coupling, decay, peak=0.25):
    """Momentum in float64 as the papers write it."""
    rates = np.asarray(SCHEDULE(np.arange(30)), np.float64)
    params = {name: np.asarray(p, np.float64) for name, p in PARAMS.items()}
    momentum = {name: np.zeros_like(p) for name, p in params.items()}
    for rate in rates:
        for name, p in params.items():
            coupled = decay * p if coupling == "coupled" else 0.0
            momentum[name] = 0.9 * momentum[name] + np.sin(3 * p) + coupled
            shrink = {"coupled": 0.0, "decoupled": rate, "relative": rate / peak}[coupling]
            params[name] = p - rate * momentum[name] - shrink * decay * p
    return params


@pytest.mark.parametrize("coupling", ["coupled", "decoupled", "relative"])
def test_each_coupling_is_its_formula(coupling):
    optimizer = lrsched.with_weight_decay(optax.trace(0.9), SCHEDULE, 0.01, coupling)
    with jax.enable_x64(True):
        params, state = trained(optimizer, params=jax.tree.map(np.float64, PARAMS))
        expected = closed_form(coupling, 0.01)
        jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=1e-6), params, expected)
    assert float(lrsched.learning_rate(state)) == float(SCHEDULE(29))


def test_the_peak_of_the_rate_does_not_count_where_the_decay_is_relative():
    def shrinkage(peak, coupling):
        schedule = lrsched.cosine(peak, steps=20)
        optimizer = lrsched.with_weight_decay(optax.set_to_zero(), schedule, 0.01, coupling)
        return trained(optimizer, steps=20)[0]["w"] / PARAMS["w"]

    np.testing.assert_allclose(shrinkage(1e-3, "relative"), shrinkage(1.0, "relative"), rtol=1e-6)
    assert np.all(shrinkage(1e-3, "decoupled") > 0.999)
    np.testing.assert_allclose(shrinkage(1.0, "decoupled"), shrinkage(1.0, "relative"), rtol=1e-6)


def test_a_hand_on_the_rate_changes_the_decay_with_it():
    optimizer = lrsched.with_weight_decay(optax.set_to_zero(), SCHEDULE, 0.5, "relative")
    state = lrsched.set_learning_rate(optimizer.init(PARAMS), 0.125)
    updates, _ = optimizer.update(PARAMS, state, PARAMS)
    np.testing.assert_array_equal(updates["w"], -0.25 * PARAMS["w"])


def test_the_decay_can_follow_a_schedule_and_a_mask():
    optimizer = lrsched.with_weight_decay(
        optax.set_to_zero(), 1.0, lrsched.linear(0.5, 0.0, steps=2), mask={"w": True, "b": False}
    )
    state = optimizer.init(PARAMS)
    for factor in (0.5, 0.25, 0.0):
        updates, state = optimizer.update(PARAMS, state, PARAMS)
        np.testing.assert_array_equal(updates["w"], -factor * PARAMS["w"])
        np.testing.assert_array_equal(updates["b"], 0.0)


REFERENCE = {"coupled": "decoupled", "corrected": "corrected", "schedule": "relative"}


def shrinkages(rates, decay, **options):
    """The factor of the parameters at each update, without a gradient."""
    schedule = lrsched.table([*rates, 0.0])
    optimizer = lrsched.with_weight_decay(optax.set_to_zero(), schedule, decay, **options)
    state, found = optimizer.init(jnp.ones(())), []
    for _ in rates:
        updates, state = optimizer.update(jnp.ones(()), state, jnp.ones(()))
        found.append(-float(updates))
    return found


@pytest.mark.parametrize(
    ("inputs", "expected", "rtol"),
    [case for case in cases("decay_coefficient") if case.values[0]["kind"] in REFERENCE],
)
def test_the_factor_of_each_coupling(inputs, expected, rtol):
    del rtol  # The factors are float32.
    found = shrinkages(inputs["rates"], inputs["decay"], coupling=REFERENCE[inputs["kind"]])
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_the_squared_coupling_is_the_squared_rate():
    rates = [0.0, 0.5, 1.0, 0.25]
    found = shrinkages(rates, 0.1, coupling="squared")
    np.testing.assert_allclose(found, 0.1 * np.square(rates), rtol=1e-6)


@pytest.mark.parametrize("coupling", ["decoupled", "relative", "corrected", "squared"])
def test_a_timescale_is_the_averaging_time_at_the_peak(coupling):
    rates = [0.0, 0.5e-3, 1e-3, 0.25e-3]
    found = shrinkages(rates, None, coupling=coupling, timescale=400.0)
    assert found[2] == pytest.approx(1 / 400, rel=1e-6)
    power = 2 if coupling in ("corrected", "squared") else 1
    np.testing.assert_allclose(found, (np.array(rates) / 1e-3) ** power / 400, rtol=1e-5)


@pytest.mark.parametrize(
    ("inputs", "expected", "rtol"),
    [case for case in cases("cautious_step") if not case.values[0]["strict"]],
)
def test_cautious_decay(inputs, expected, rtol):
    with jax.enable_x64(True):
        params, direction = (jnp.array(inputs[key], float) for key in ("param", "update"))
        optimizer = lrsched.with_weight_decay(
            optax.identity(), inputs["rate"], inputs["decay"], cautious=True
        )
        updates, _ = optimizer.update(direction, optimizer.init(params), params)
        # The rate is float32 in the state.
        np.testing.assert_allclose(params + updates, expected, rtol=max(rtol, 1e-7))


def test_cautious_decay_needs_the_parameters():
    optimizer = lrsched.with_weight_decay(optax.identity(), 0.1, 0.1, cautious=True)
    with pytest.raises(ValueError, match="with_weight_decay needs the parameters"):
        optimizer.update(jnp.ones(2), optimizer.init(jnp.ones(2)))


def test_cautious_decay_compares_signs_where_products_underflow():
    params = jnp.array([1e-30, -1e-30], jnp.bfloat16)
    direction = jnp.array([1e-30, 1e-30], jnp.bfloat16)
    optimizer = lrsched.with_weight_decay(optax.identity(), 1.0, 1.0, cautious=True)
    updates, _ = optimizer.update(direction, optimizer.init(params), params)
    np.testing.assert_array_equal(updates, -direction * jnp.array([2, 1], jnp.bfloat16))


def test_groups_have_their_own_decays_and_schedules():
    decays = [("w", lrsched.linear(0.5, 0.0, steps=2))]
    for mask, expected in ((None, (0.5, 0.25)), ({"w": False, "b": True}, (0.0, 0.0))):
        optimizer = lrsched.with_weight_decay(optax.set_to_zero(), 1.0, decays, mask=mask)
        state = optimizer.init(PARAMS)
        for factor in expected:
            updates, state = optimizer.update(PARAMS, state, PARAMS)
            np.testing.assert_array_equal(updates["w"], -factor * PARAMS["w"])
            np.testing.assert_array_equal(updates["b"], 0.0)


def test_patterns_are_searched_in_the_paths_of_nnx_variables():
    params = nnx.state(nnx.Linear(2, 3, rngs=nnx.Rngs(0)), nnx.Param)
    optimizer = lrsched.with_weight_decay(
        optax.set_to_zero(), 1.0, [("kernel$", 0.1), ("bias$", 0.0)], coupling="decoupled"
    )
    ones = jax.tree.map(jnp.ones_like, params)
    updates, _ = optimizer.update(ones, optimizer.init(ones), ones)
    np.testing.assert_allclose(updates["kernel"][...], -0.1, rtol=1e-6)
    assert not updates["bias"][...].any()


def test_the_first_pattern_that_is_found_gives_the_decay():
    decays = [("w", 0.5), ("", 0.25)]
    optimizer = lrsched.with_weight_decay(optax.set_to_zero(), 1.0, decays, cautious=True)
    updates, _ = optimizer.update(PARAMS, optimizer.init(PARAMS), PARAMS)
    np.testing.assert_array_equal(updates["w"], -0.5 * PARAMS["w"])
    np.testing.assert_array_equal(updates["b"], -0.25 * PARAMS["b"])


@pytest.mark.parametrize("coupling", COUPLINGS)
@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
def test_dtypes_stay(coupling, dtype):
    optimizer = lrsched.with_weight_decay(optax.scale_by_adam(), SCHEDULE, 0.1, coupling)
    params = jax.tree.map(lambda p: p.astype(dtype), PARAMS)
    new, state = trained(optimizer, params=params)
    assert {p.dtype for p in jax.tree.leaves(new)} == {jnp.dtype(dtype)}
    assert jax.tree.structure(state) == jax.tree.structure(jax.eval_shape(optimizer.init, params))
    assert all(bool(jnp.all(jnp.isfinite(p))) for p in jax.tree.leaves(new))


def test_peaks_are_swept():
    def run(peak):
        schedule = lrsched.cosine(peak, steps=20)
        optimizer = lrsched.with_weight_decay(optax.scale_by_adam(), schedule, 0.01, "relative")
        return trained(optimizer, steps=5)[0]["b"][0]

    peaks = jnp.array([0.01, 0.1])
    np.testing.assert_allclose(jax.vmap(run)(peaks), [run(0.01), run(0.1)], rtol=1e-6)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"weight_decay": -0.1}, "weight_decay=-0.1 is not accepted"),
        ({"weight_decay": "much"}, "weight_decay='much' is not accepted"),
        (
            {"coupling": "l2"},
            "coupling='l2' is not accepted; coupling must be one of 'coupled', 'decoupled'",
        ),
        ({"peak": 0.1}, "peak=0.1 .*coupling='decoupled'.*; peak must be left out"),
        ({"peak": 0.0, "coupling": "relative"}, "peak=0.0 is not accepted"),
        ({"coupling": "relative", "learning_rate": lambda t: 0.1}, "has no known horizon"),
        ({"timescale": 9.0}, "weight_decay=0.1 with timescale=9.0 is not accepted; pass exactly"),
        ({"weight_decay": None}, "weight_decay=None with timescale=None is not accepted"),
        ({"cautious": True, "coupling": "coupled"}, "cautious is not accepted with coupling='cou"),
        (
            {"weight_decay": None, "timescale": 9.0, "coupling": "coupled"},
            "timescale is not accepted with coupling='coupled'",
        ),
        ({"weight_decay": [("(", 0.1)]}, "weight_decay=.* is not accepted"),
        ({"weight_decay": [("w", -0.1)]}, "weight_decay=.* is not accepted"),
        ({"weight_decay": []}, "an empty list decays nothing; pass 0.0 for no decay"),
        ({"weight_decay": [("w", 0.1), ("w", 0.2)]}, "'w' occurs twice"),
        ({"weight_decay": ["w", 0.1]}, "'w' is no pair"),
        ({"weight_decay": [(1, 0.1)]}, r"\(1, 0.1\) is no pair"),
        (
            {"coupling": "relative", "learning_rate": 0.0 * SCHEDULE},
            "the largest rate of .* is 0.0",
        ),
    ],
)
def test_bad_input(arguments, message):
    given = {"learning_rate": SCHEDULE, "weight_decay": 0.1} | arguments
    with pytest.raises(ValueError, match=message):
        lrsched.with_weight_decay(optax.scale_by_adam(), **given)


@pytest.mark.parametrize("pairs", [[("kernel", 0.1)], [("", 0.1), ("w", 0.2)]])
def test_a_pattern_that_gives_no_parameter_its_decay_is_refused_with_the_names(pairs):
    optimizer = lrsched.with_weight_decay(optax.scale_by_adam(), SCHEDULE, pairs)
    with pytest.raises(ValueError, match=f"the patterns '{pairs[-1][0]}' choose no .* are b, w"):
        optimizer.init(PARAMS)


@pytest.mark.parametrize("value", [0.1, "adam", optax.scale_by_adam])
def test_a_direction_that_is_no_transform_is_named(value):
    with pytest.raises(ValueError, match=r"with_weight_decay: direction=.* an optax transform"):
        lrsched.with_weight_decay(value, 0.1, 0.1)
    with pytest.raises(ValueError, match=r"hyperball: base=.* an optax transform"):
        lrsched.hyperball(value, 0.1, 0.1)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"mask": "w"}, "mask='w' .*'w' is no boolean"),
        ({"mask": {"w": 0.5, "b": True}}, "0.5 is no boolean"),
        ({"mask": {"w": True}}, "a mask of the structure .* is not accepted; it must be that of"),
        ({"mask": lambda _: {"w": "no", "b": True}}, "'no' is no boolean"),
        ({"weight_decay": lrsched.linear(0.1, -0.1, steps=5)}, "weight_decay=.* is not accepted"),
        ({"weight_decay": [("w", lrsched.linear(0.1, -0.1, steps=5))]}, "is not accepted"),
        ({"weight_decay": jnp.array([0.1, 0.2])}, "several values; use jax.vmap"),
    ],
)
def test_a_mask_of_no_booleans_and_a_decay_below_zero_are_refused(arguments, message):
    given = {"weight_decay": 0.1} | arguments
    with pytest.raises(ValueError, match=f"with_weight_decay: .*{message}"):
        lrsched.with_weight_decay(optax.scale_by_adam(), SCHEDULE, **given).init(PARAMS)


def test_schedules_are_read_within_a_trace_as_well():
    def update(peak):
        decay = lrsched.linear(0.5, 0.0, steps=4)
        optimizer = lrsched.with_weight_decay(optax.set_to_zero(), peak, decay)
        return optimizer.update(PARAMS, optimizer.init(PARAMS), PARAMS)[0]["b"]

    np.testing.assert_allclose(jax.jit(update)(0.25), [-0.5])


@pytest.mark.parametrize("options", [{"coupling": "corrected"}, {"timescale": 8.0}])
def test_a_constant_rate_is_its_own_peak(options):
    given = {"weight_decay": None if "timescale" in options else 0.5} | options
    optimizer = lrsched.with_weight_decay(optax.set_to_zero(), 0.25, **given)
    updates, _ = optimizer.update(PARAMS, optimizer.init(PARAMS), PARAMS)
    np.testing.assert_allclose(updates["b"], [-0.5])  # 0.25 * 0.5 of 4, and an eighth of it


SWEPT = {
    "relative": {"weight_decay": 0.1, "coupling": "relative"},
    "corrected": {"weight_decay": 0.1, "coupling": "corrected"},
    "timescale": {"timescale": 50.0},
    "timescale, relative": {"timescale": 50.0, "coupling": "relative"},
    "timescale, squared": {"timescale": 50.0, "coupling": "squared"},
}


CONSTANT = lrsched.constant(0.03)


@pytest.mark.parametrize(
    ("options", "rate"),
    [
        *((options, CONSTANT) for options in SWEPT.values()),
        (SWEPT["relative"], lrsched.warmup(6) * 0.01 >> lrsched.cosine(0.01, 50)),
    ],
    ids=[*SWEPT, "relative, cosine"],
)
def test_a_sweep_decays_by_the_peak_of_each_of_its_schedules(options, rate):
    def optimizer(rate):
        return lrsched.with_weight_decay(optax.scale_by_adam(), rate, **options)

    def loss_fn(w, batch):
        return jnp.mean((batch * w - 0.1) ** 2)

    batch = jnp.array([1.0, 2.0])
    run = tuning.training(loss_fn, jnp.ones(()), optimizer, batch)
    swept = tuning.sweep(run, [rate], steps=30, num_loss_records=30, progress=False)
    one, w, losses = optimizer(rate), jnp.ones(()), []
    state = one.init(w)
    for _ in range(30):
        loss, gradient = jax.value_and_grad(loss_fn)(w, batch)
        updates, state = one.update(gradient, state, w)
        w = w + updates
        losses.append(loss)
    np.testing.assert_allclose(swept.train_loss[0], losses, rtol=1e-5)


@pytest.mark.parametrize(
    ("schedule", "peak"),
    [
        (lrsched.wsd(0.3, 3000, warmup=0.05, cooldown=0.2), 0.3),
        (lrsched.one_cycle(2.0, 1000), 2.0),
        (lrsched.warmup(1_234_567) * 0.7 >> lrsched.cosine(0.7, 5_000_000), 0.7),
        (lrsched.linear(0.0, 1.0, steps=100), 1.0),
        (lrsched.linear(0.5, 0.0, steps=2**31 - 2), 0.5),
    ],
)
def test_the_peak_of_a_traced_schedule_is_its_largest_value(schedule, peak):
    params, at = jnp.ones(()), schedule.horizon // 3

    @jax.jit
    def decay(schedule):
        one = lrsched.with_weight_decay(optax.identity(), schedule, 1.0, "relative")
        state = one.init(params)
        return one.update(jnp.zeros(()), state, params, step=at)[0]

    np.testing.assert_allclose(-decay(schedule), schedule(at) / peak, rtol=1e-6)
