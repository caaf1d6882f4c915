import copy
import importlib
import inspect
import json
import pickle
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import lrsched
from lrsched._schedule import REGISTRY
from lrsched.arguments import FiniteFloat, PositiveInt
from lrsched.numerics import MAX_STEP
from tests.catalogue import cases, name

CASES = cases(1000)
every_case = pytest.mark.parametrize("case", CASES, ids=name)

# A sample of steps: fence-posts, every tenth step, far beyond.
STEPS = np.unique(np.r_[0:12, 90:110, 325:340, 0:1010:10, 980:1020, 10**6, MAX_STEP])


@lrsched.schedule(horizon="steps")
def triangle(
    step, peak: FiniteFloat, steps: PositiveInt, label: str = "plain", mirrored: bool = False
):
    """Up and down: a schedule of the tests' own."""
    half = steps / 2
    height = peak * (1 - jnp.abs(step - half) / half)
    return peak - height if mirrored else height


def nested() -> lrsched.Schedule:
    return lrsched.warmup(10) * (
        lrsched.join(triangle(0.1, 50), lrsched.multistep(0.1, [30, 60])) + 0.01
    )


# Evaluation


def worst_error(case, steps, values=None) -> float:
    got = np.asarray(case.schedule(steps) if values is None else values, np.float64)
    exact = case.reference(steps)
    return float(np.max(np.abs(got - exact) / np.maximum(np.abs(exact), case.floor)))


@every_case
def test_the_closed_form_in_float64_however_it_is_evaluated(case):
    schedule, steps = case.schedule, jnp.asarray(STEPS, jnp.int32)
    for values in (
        schedule(STEPS),
        [schedule(int(step)) for step in STEPS],
        jax.jit(schedule)(steps),
        jax.vmap(schedule)(steps),
        jax.lax.map(schedule, steps),
        jax.jit(lambda s, t: s(t))(schedule, steps),
    ):
        assert worst_error(case, STEPS, values) <= 1e-6


@pytest.mark.parametrize("horizon", [20, 10**6, 2**24 + 3, 10**8, MAX_STEP])
def test_relative_error_is_within_1e_6_at_any_horizon(horizon):
    rng = np.random.default_rng(0)
    for case in cases(horizon):
        posts = [0, horizon // 10, horizon // 3, horizon // 2, horizon - horizon // 3, case.steps]
        steps = np.concatenate([np.arange(-200, 200) + post for post in posts])
        steps = np.clip(np.r_[steps, rng.integers(0, horizon, 500)], 0, MAX_STEP)
        assert worst_error(case, steps) <= 1e-6, case.schedule


@pytest.mark.parametrize("evaluate", [lambda s, t: s(t), lambda s, t: np.array([*map(s, t)])])
def test_boundaries_are_exact_to_the_last_bit(evaluate):
    for steps in range(1, 400, 7):
        rise, fall = steps // 3, steps // 4
        for schedule, values in (
            (lrsched.linear(0.3, 0.07, steps), {0: 0.3, steps: 0.07}),
            (lrsched.cosine(0.3, steps, end=0.07), {0: 0.3, steps: 0.07}),
            (lrsched.polynomial(0.3, 0.07, steps, power=3.0), {0: 0.3, steps: 0.07}),
            (lrsched.warmup(steps, "1-sqrt", init=0.1), {0: 0.1, steps: 1.0}),
            (
                lrsched.wsd(0.3, steps, rise, fall, end=0.07, init=0.01),
                {0: 0.01 if rise else 0.3, rise: 0.3, steps - fall: 0.3}
                | {steps: 0.07 if fall else 0.3},
            ),
            (lrsched.triangular(0.1, 0.3, steps), {0: 0.1, steps: 0.3, 2 * steps: 0.1}),
            (lrsched.one_cycle(0.3, steps, rise, 2, 2), {rise: 0.3, steps: 0.3 / 4}),
            (lrsched.cosine_restarts(0.3, steps, growth=2), {0: 0.3, steps: 0.3, 3 * steps: 0.3}),
        ):
            got = evaluate(schedule, list(values))
            np.testing.assert_array_equal(got, np.float32([*values.values()]), repr(schedule))


@every_case
@pytest.mark.parametrize(
    "step",
    [
        *(7, 7.0, [7, 8], np.arange(6).reshape(2, 3)),
        *(np.int8(7), np.uint32(7), np.int64(7), np.float16(7)),
        *(jnp.int16(7), jnp.uint32(7), jnp.float32(7), jnp.bfloat16(7)),
    ],
    ids=lambda step: f"{type(step).__name__}{getattr(step, 'dtype', '')}",
)
def test_any_number_of_any_shape_is_a_step(case, step):
    value = case.schedule(step)
    assert value.dtype == jnp.float32
    assert value.shape == np.shape(step)
    np.testing.assert_allclose(np.ravel(value)[-1], case.schedule(int(np.ravel(step)[-1])), 1e-6)


@every_case
def test_steps_before_the_start_and_beyond_int32_are_held(case):
    assert case.schedule(-5) == case.schedule(0) == case.schedule(np.int64(-(2**40)))
    assert case.schedule(2**40) == case.schedule(MAX_STEP) == case.schedule(np.uint32(2**32 - 1))


@every_case
def test_the_last_value_is_held_after_the_horizon(case):
    horizon = case.schedule.horizon
    if horizon is not None:
        after = case.schedule([horizon, horizon + 1, horizon + 1000, MAX_STEP])
        np.testing.assert_array_equal(after, after[0])


@every_case
def test_nothing_changes_under_x64(case):
    with jax.enable_x64(True):
        wide = case.schedule(STEPS)
        assert wide.dtype == jnp.float32
        assert worst_error(case, STEPS) <= 1e-6
        value = jax.jit(case.schedule)(jnp.int64(2**40))
    assert value.dtype == jnp.float32
    np.testing.assert_allclose(value, case.schedule(MAX_STEP), rtol=1e-6)


@every_case
def test_gradients_by_every_number_are_finite(case):
    steps = np.r_[0:12, 95:105, 330:337, 990:1002]
    slope = jax.grad(lambda schedule: schedule(steps).sum(), allow_int=True)(case.schedule)
    for leaf in jax.tree.leaves(slope):
        assert leaf.dtype == jax.dtypes.float0 or np.all(np.isfinite(leaf))


def test_gradients_are_the_derivatives():
    assert jax.grad(lambda peak: lrsched.linear(peak, 0.0, 10)(4))(1.0) == pytest.approx(0.6)
    slope = jax.grad(lambda steps: lrsched.linear(1.0, 0.0, steps)(5))(20.0)
    assert slope == pytest.approx(5 / 20**2, rel=1e-6)


def test_vmap_over_peaks_and_horizons():
    peaks, horizons = jnp.array([0.1, 0.2, 0.3]), jnp.array([10, 100, 1000])
    values = jax.vmap(lambda peak, steps: lrsched.cosine(peak, steps)(5))(peaks, horizons)
    apart = [lrsched.cosine(float(p), int(n))(5) for p, n in zip(peaks, horizons, strict=True)]
    np.testing.assert_array_equal(values, apart)


def test_one_compilation_serves_other_numbers():
    traces = []

    @jax.jit
    def value(schedule, step):
        traces.append(schedule)
        return schedule(step)

    for schedule in (lrsched.cosine(0.1, 100), lrsched.cosine(3, 7), lrsched.cosine(0, 10**9, 1)):
        value(schedule, 3)
    assert len(traces) == 1


def test_a_step_that_is_no_number_is_refused():
    with pytest.raises(TypeError, match="step='now' is not a step"):
        lrsched.linear(1.0, 0.0, 10)("now")


# The value


@every_case
def test_pytree_json_pickle_copy_and_repr_round_trips(case):
    schedule = case.schedule
    leaves, tree = jax.tree.flatten(schedule)
    assert jax.tree.unflatten(tree, leaves) == schedule
    assert lrsched.from_dict(json.loads(json.dumps(lrsched.to_dict(schedule)))) == schedule
    assert pickle.loads(pickle.dumps(schedule)) == schedule
    assert copy.deepcopy(schedule) == schedule
    again = eval(repr(schedule), vars(lrsched))
    assert again == schedule
    assert hash(again) == hash(schedule)


def test_schedules_of_other_numbers_kinds_or_strings_differ():
    cosine = lrsched.cosine(0.1, 100)
    assert cosine == lrsched.cosine(np.float32(0.1), np.int64(100), 0)
    assert cosine != lrsched.cosine(0.1, 101)
    assert cosine != lrsched.linear(0.1, 0.0, 100)
    assert lrsched.warmup(5, "cosine") != lrsched.warmup(5, "linear")
    assert cosine != 0.1


def test_a_schedule_of_arrays_equals_the_one_of_numbers():
    schedule = lrsched.multistep(0.1, [3, 4])
    arrays = jax.tree.map(jnp.asarray, schedule)
    assert arrays == schedule
    assert hash(arrays) == hash(schedule)
    assert repr(arrays) == repr(schedule) == "multistep(init=0.1, milestones=[3, 4])"
    assert json.dumps(lrsched.to_dict(arrays)) == json.dumps(lrsched.to_dict(schedule))


def test_leaves_are_named():
    paths = [jax.tree_util.keystr(p) for p, _ in jax.tree_util.tree_leaves_with_path(nested())]
    assert ".operands[1].operands[0].operands[0].peak" in paths


def test_a_schedule_may_hold_anything_as_leaves():
    schedule = lrsched.cosine(0.1, 100)
    axes = jax.tree.map(lambda leaf: "axis", schedule)
    assert jax.tree.leaves(axes) == ["axis"] * 4
    assert jax.tree.structure(axes) == jax.tree.structure(schedule)


def test_parameters_are_read_and_replaced_but_not_written():
    schedule = lrsched.cosine(0.1, 100)
    assert (schedule.peak, schedule.steps, schedule.end) == (0.1, 100, 0.0)
    assert "peak" in dir(schedule)
    assert schedule.replace(peak=0.2, steps=50) == lrsched.cosine(0.2, 50)
    assert nested().replace(operands=(2.0, 3.0)) == lrsched.multiply(2.0, 3.0)
    with pytest.raises(AttributeError, match=r"use \.replace\(peak=\.\.\.\)"):
        schedule.peak = 0.2
    with pytest.raises(AttributeError, match="cosine has no parameter 'summit'"):
        _ = schedule.summit
    with pytest.raises(ValueError, match="cosine has no parameter 'summit'; it has peak, steps"):
        schedule.replace(summit=1)
    with pytest.raises(ValueError, match="steps=0 is not accepted"):
        schedule.replace(steps=0)


def test_numbers_inside_cannot_be_written_through():
    boundaries = np.array([3, 4])
    schedule = lrsched.multistep(0.1, boundaries)
    boundaries[0] = 99
    assert schedule == lrsched.multistep(0.1, [3, 4])
    with pytest.raises(ValueError, match="read-only"):
        schedule.milestones[0] = 1


def test_the_horizon_is_an_int_a_tracer_or_none():
    assert lrsched.cosine(0.1, 100).horizon == 100
    assert type(jax.tree.map(jnp.asarray, lrsched.cosine(0.1, 100)).horizon) is int
    assert lrsched.inverse_sqrt(0.1, 10).horizon is None
    assert jax.jit(lambda steps: lrsched.cosine(0.1, steps).horizon + 1)(41) == 42


# The decorator


def test_the_factory_keeps_signature_docstring_and_name():
    signature = inspect.signature(triangle)
    assert list(signature.parameters) == ["peak", "steps", "label", "mirrored"]
    assert str(signature) == (
        "(peak: FiniteFloat, steps: PositiveInt, label: str = 'plain', mirrored: bool = False)"
        " -> lrsched._schedule.Schedule"
    )
    assert triangle.__doc__.startswith("Up and down")
    assert triangle.__name__ == "triangle"


def test_a_user_schedule_has_what_ours_have():
    schedule = triangle(1, steps=10, label="mine", mirrored=True)
    assert repr(schedule) == "triangle(peak=1.0, steps=10, label='mine', mirrored=True)"
    assert schedule([0, 5, 10]).tolist() == [1.0, 0.0, 1.0]
    assert len(jax.tree.leaves(schedule)) == 2
    assert lrsched.from_dict(lrsched.to_dict(nested())) == nested()
    assert pickle.loads(pickle.dumps(nested())) == nested()


def test_bare_and_unannotated_functions_are_schedules():
    @lrsched.schedule
    def ramp_up(step, slope, offsets, inner=None):
        return slope * step + jnp.sum(offsets) + sum(part(step) for part in inner or ())

    schedule = ramp_up(0.5, [1, 2], (lrsched.constant(1.0), lrsched.constant(2.0)))
    assert schedule(4) == 8.0
    assert len(jax.tree.leaves(schedule)) == 4
    assert lrsched.from_dict(lrsched.to_dict(schedule)) == schedule
    assert ramp_up(0.5, [1.0]).inner is None
    with pytest.raises(
        ValueError, match="slope=inf is not accepted; slope must be a finite number"
    ):
        ramp_up(float("inf"), [1.0])


def test_positional_keyword_and_default_arguments_bind_as_in_the_function():
    assert triangle(0.1, 5) == triangle(steps=5, peak=0.1) == triangle(0.1, steps=5, label="plain")
    with pytest.raises(TypeError, match=r"triangle: missing .* argument: 'steps'; it takes peak"):
        triangle(0.1)
    with pytest.raises(
        TypeError, match="triangle: got an unexpected keyword argument 'total_steps'; it takes peak"
    ):
        triangle(0.1, total_steps=5)


def test_two_functions_of_one_name_are_an_error():
    with pytest.raises(ValueError, match=r"'cosine' is already defined in lrsched\.schedules"):

        @lrsched.schedule
        def cosine(step, peak):
            return peak

    @lrsched.schedule(name="tests.cosine")
    def cosine(step, peak):
        return peak

    assert lrsched.to_dict(cosine(1.0)) == {"schedule": "tests.cosine", "peak": 1.0}


def test_a_cell_run_twice_and_a_reloaded_module_are_not_an_error():
    cell = "@lrsched.schedule\ndef of_a_cell(step, peak):\n    return peak * {factor}\n"
    notebook = {"lrsched": lrsched, "__name__": "notebook"}
    exec(compile(cell.format(factor=1), "<cell 1>", "exec"), notebook)
    first = notebook["of_a_cell"](1.0)
    exec(compile(cell.format(factor=2), "<cell 2>", "exec"), notebook)
    second = notebook["of_a_cell"](1.0)
    assert (first(0), second(0)) == (1.0, 2.0)
    assert first != second
    assert lrsched.from_dict(lrsched.to_dict(first)) == second


@pytest.mark.parametrize("reserved", ["schedule", "horizon", "replace", "parameters"])
def test_reserved_parameter_names_are_refused(reserved):
    namespace = {}
    exec(f"def taken(step, {reserved}): return step", namespace)
    with pytest.raises(ValueError, match=f"may not be called '{reserved}'"):
        lrsched.schedule(namespace["taken"])


def test_a_horizon_that_is_no_parameter_is_refused():
    with pytest.raises(
        ValueError, match=r"horizon='length' is not accepted; .* behind the step: peak"
    ):

        @lrsched.schedule(horizon="length")
        def wrong(step, peak):
            return peak


def test_no_failed_definition_stays_registered():
    assert {"wrong", "taken"}.isdisjoint(REGISTRY)


# JSON and pickle


def test_json_is_plain_and_takes_defaults():
    data = lrsched.to_dict(lrsched.linear(1, 0, 10) >> 0.5)
    assert data == {
        "schedule": "join",
        "operands": [{"schedule": "linear", "init": 1.0, "end": 0.0, "steps": 10}, 0.5],
    }
    assert lrsched.from_dict({"schedule": "cosine", "peak": 1, "steps": 5}).end == 0.0


def test_errors_of_from_dict_teach():
    with pytest.raises(ValueError, match=r"no schedule is called 'cosin'; the nearest are cosine"):
        lrsched.from_dict({"schedule": "cosin"})
    with pytest.raises(ValueError, match="must be a mapping with a key 'schedule'"):
        lrsched.from_dict({"name": "cosine"})
    with pytest.raises(ValueError, match="cosine has no parameter 'top'; it has peak"):
        lrsched.from_dict({"schedule": "cosine", "top": 1, "peak": 1, "steps": 5})
    with pytest.raises(ValueError, match="missing a required argument: 'steps'"):
        lrsched.from_dict({"schedule": "cosine", "peak": 1})
    with pytest.raises(ValueError, match="cosine has no parameter 'peek'; it has peak, steps"):
        lrsched.from_dict({"schedule": "cosine", "peek": 1, "steps": 5})


def test_functions_and_tracers_cannot_be_written_down():
    with pytest.raises(ValueError, match=r"warmup: ramp=sqrt cannot be written as JSON"):
        lrsched.to_dict(lrsched.warmup(5, ramp=jnp.sqrt))
    with pytest.raises(ValueError, match=r"cosine: peak=.* cannot be written as JSON"):
        jax.jit(lambda peak: lrsched.to_dict(lrsched.cosine(peak, 5)) and peak)(1.0)


def test_a_pickle_finds_the_module_that_defines_the_schedule(tmp_path):
    (tmp_path / "mine.py").write_text(
        "import lrsched\n@lrsched.schedule\ndef of_mine(step, peak):\n    return peak * step\n"
    )
    sys.path.insert(0, str(tmp_path))
    try:
        pickled = pickle.dumps(importlib.import_module("mine").of_mine(2.0))
    finally:
        sys.path.remove(str(tmp_path))
    script = f"import pickle; print(float(pickle.loads({pickled!r})(3)))"
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert done.stdout == "6.0\n"


# Bad input


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: lrsched.cosine("a", 5), "cosine: peak='a' is not accepted; peak must be a finite"),
        (lambda: lrsched.cosine(float("nan"), 5), "peak=nan is not accepted"),
        (lambda: lrsched.cosine(float("inf"), 5), "peak=inf is not accepted"),
        (lambda: lrsched.cosine(1e40, 5), r"peak=1e\+40 is not accepted"),
        (lambda: lrsched.cosine(True, 5), "peak=True is not accepted"),
        (lambda: lrsched.cosine(None, 5), "peak=None is not accepted"),
        (lambda: lrsched.cosine(1j, 5), "peak=1j is not accepted"),
        (lambda: lrsched.cosine(0.1, 0), "steps=0 is not accepted; steps must be a whole number"),
        (lambda: lrsched.cosine(0.1, -3), "steps=-3 is not accepted"),
        (lambda: lrsched.cosine(0.1, 2.5), "steps=2.5 is not accepted"),
        (lambda: lrsched.cosine(0.1, 2**31), "steps=2147483648 is not accepted"),
        (lambda: lrsched.cosine(0.1, np.array([5, 0])), "is not accepted; steps must be"),
        (lambda: lrsched.cosine(jnp.array([0.1, jnp.nan]), 5), "is not accepted; peak must be"),
        (lambda: triangle(0.1, 5, label=3), "label=3 is not accepted; label must be a string"),
        (lambda: triangle(0.1, 5, mirrored=1), "mirrored=1 is not accepted; mirrored must be True"),
    ],
)
def test_bad_arguments_are_refused_in_one_sentence(make, message):
    with pytest.raises(ValueError, match=message) as refused:
        make()
    assert "\n" not in str(refused.value)


def test_whole_floats_are_lengths():
    assert lrsched.cosine(0.1, 1e4) == lrsched.cosine(0.1, 10_000)


@given(st.floats(1e-10, 1e3), st.integers(1, MAX_STEP), st.integers(0, MAX_STEP))
def test_json_keeps_every_digit(peak, steps, step):
    schedule = lrsched.cosine(peak, steps)
    again = lrsched.from_dict(json.loads(json.dumps(lrsched.to_dict(schedule))))
    assert again.peak == peak
    assert again(step) == schedule(step)


@pytest.mark.parametrize("case", cases(100), ids=name)
def test_it_can_be_made_while_jax_traces(case):
    made = []

    @jax.jit
    def value(step):
        made.append(eval(repr(case.schedule), dict(vars(lrsched))))
        return made[0](step)

    np.testing.assert_allclose(value(7), case.schedule(7), rtol=1e-6)
    assert made[0].horizon == case.schedule.horizon


@pytest.mark.parametrize(("value", "reason"), [(3e38, "it overflows"), (1e-45, "it is 0")])
def test_a_number_that_float32_does_not_have_is_refused_with_the_reason(value, reason):
    with pytest.raises(ValueError, match=rf"in magnitude, {reason} in float32\); .* finite number"):
        lrsched.one_cycle(1.0, 100, final_div_factor=value)


def test_a_function_that_returns_nothing_is_named():
    @lrsched.schedule(name="returns_nothing")
    def returns_nothing(step, peak: float):
        pass

    with pytest.raises(ValueError, match="returns_nothing: its function returned None; it must"):
        returns_nothing(1.0)(3)
