"""Every factory and every ported function with extreme numbers, to the last int32 step.

Whatever is legal gives finite values in float32 of the shape of the step, with 64-bit numbers
enabled or not, constant from the horizon on, and never negative where no number is.
"""

import functools
import zlib
from collections import defaultdict

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import lrsched
from lrsched._schedule import REGISTRY
from lrsched.arguments import in_range
from lrsched.compat import optax, torch
from lrsched.numerics import MAX_STEP
from tests.fuzz import PORTS, STEPS, Fuzzer, evaluate_eagerly

NAMES = [name for name, d in REGISTRY.items() if d.function.__module__.startswith("lrsched.")]
HAS_A_FUNCTION = ("torch.lambda", "torch.product", "torch.scaled_triangles", "from_function")
NUM_DRAWS = 32


def steps_for(*names: str) -> np.ndarray:
    # A product of a function has one factor for each step: 2**31 of them take minutes.
    return STEPS[STEPS <= 10**5] if any("torch.product" in name for name in names) else STEPS


def structure_of(schedule):
    leaves, treedef = jax.tree.flatten(schedule)
    return treedef, tuple((np.shape(leaf), np.asarray(leaf).dtype.kind) for leaf in leaves)


def draw(name: str) -> list[lrsched.Schedule]:
    """Return schedules of one structure with extreme numbers, so that one program suits all."""
    fuzzer = Fuzzer(zlib.crc32(name.encode()), evaluate=False, wrong=0, names=["linear"])
    groups = defaultdict(list)
    for _ in range(400):
        schedule = fuzzer.schedule(1, name)
        if schedule is not None:
            group = groups[structure_of(schedule)]
            group.append(schedule)
            if len(group) == NUM_DRAWS:
                return group
    assert groups, f"no random numbers are legal for {name}"
    return max(groups.values(), key=len)


def stack(schedules):
    def stacked(*leaves):
        array = np.stack([np.asarray(leaf) for leaf in leaves])
        return array.astype(np.float32 if array.dtype.kind == "f" else np.int32)

    return jax.tree.map(stacked, *schedules)


def check(schedules, steps, values):
    assert values.dtype == np.float32
    assert values.shape == (len(schedules), *steps.shape)
    for schedule, rates in zip(schedules, values, strict=True):
        assert np.all(np.isfinite(rates)), f"{schedule!r} at {steps[~np.isfinite(rates)]}"
        if not any(np.any(np.asarray(leaf) < 0) for leaf in jax.tree.leaves(schedule)):
            assert np.all(rates >= 0), f"{schedule!r}: {rates}"
        if schedule.horizon is not None:
            after = rates[steps >= schedule.horizon]
            assert np.all(after == after[:1]), f"{schedule!r}: {after}"


@pytest.mark.parametrize("is_wide", [False, True], ids=["", "x64"])
@pytest.mark.parametrize("name", NAMES)
def test_every_factory_is_finite_not_negative_and_held(name, is_wide):
    schedules, steps = draw(name), steps_for(name)
    with jax.enable_x64(is_wide):
        if jax.tree.leaves(schedules):
            values = jax.jit(jax.vmap(lambda schedule: schedule(steps)))(stack(schedules))
        else:  # a function alone
            values = [schedule(steps) for schedule in schedules[:1]]
    check(schedules[: len(values)], steps, np.asarray(values))


@pytest.mark.parametrize("function", PORTS, ids=lambda function: function.__name__)
def test_every_ported_function_is_finite_not_negative_and_held(function):
    fuzzer = Fuzzer(zlib.crc32(function.__name__.encode()), False, wrong=0, names=["linear"])
    made = [fuzzer.call(function) for _ in range(30)]
    assert fuzzer.failures == []
    schedules = [schedule for schedule in made if isinstance(schedule, lrsched.Schedule)][:3]
    for number, schedule in enumerate(schedules):
        steps = steps_for(repr(schedule))
        with jax.enable_x64(bool(number % 2)):
            check([schedule], steps, evaluate_eagerly(schedule, steps)[None])


OPERANDS = {
    "a growth without an end": lrsched.exponential(0.0, 2.0, 1),
    "large": lrsched.linear(8e37, 0.0, MAX_STEP),
    "one_cycle": lrsched.one_cycle(1e-30, 1000, final_div_factor=1e30),
    "torch.one_cycle": torch.OneCycleLR(8e37, 1000, final_div_factor=1e30),
    "join_schedules": optax.join_schedules(
        [lrsched.warmup(10), lambda step: jnp.exp(1.0 * step)], [MAX_STEP - 1]
    ),
    "torch.lambda": torch.LambdaLR(0.0, lambda step: jnp.exp(1.0 * step)),
    "torch.product": torch.MultiplicativeLR(1.0, lambda step: jnp.where(step < 99, 1e10, 0.0)),
    "from_function": lrsched.from_function(lambda step: jnp.exp(1.0 * step)),
    "triangles": lrsched.triangular(0.0, 1.0, 2**30, cycle_factor=9.0),
}
COMPOSITIONS = {
    "join": lambda a, b: lrsched.shift(a, 3) >> b if a.horizon and a.horizon < 2000 else a * b,
    "multiply": lambda a, b: a * b * 0.0,
    "add": lambda a, b: a + b,
    "minimum": lrsched.minimum,
    "maximum": lrsched.maximum,
    "clip": lambda a, b: lrsched.clip(a * b, 0.0, 1e-30),
    "shift": lambda a, b: lrsched.shift(a, 2**30) * b,
    "staircase": lambda a, b: lrsched.staircase(a, 2**30) * b,
    "noise": lambda a, b: lrsched.noise(a, seed=0, scale=8e37) * b,
    "cooldown": lambda a, b: lrsched.cooldown(a, 1000, MAX_STEP - 1000) * b,
    "stretch": lambda a, b: lrsched.stretch(a, MAX_STEP) * b if a.horizon else a * b,
    "repeat": lambda a, b: lrsched.repeat(a) * b if a.horizon else a * b,
}


@pytest.mark.parametrize("compose", COMPOSITIONS.values(), ids=COMPOSITIONS)
def test_compositions_are_finite_not_negative_and_held(compose):
    # The loop of a product is compiled at each evaluation, so that few of them take part.
    is_cheap = compose in (COMPOSITIONS["multiply"], COMPOSITIONS["join"], COMPOSITIONS["clip"])
    operands = [b for name, b in OPERANDS.items() if is_cheap or name != "torch.product"]
    for number, (a, b) in enumerate(zip(operands, operands[1:] + operands[:1], strict=True)):
        schedule = compose(a, b)
        steps = steps_for(repr(schedule))
        with jax.enable_x64(bool(number % 2)):
            check([schedule], steps, evaluate_eagerly(schedule, steps)[None])


def test_one_operation_at_a_time_gives_the_compiled_values():
    for schedule in OPERANDS.values():
        steps = steps_for(repr(schedule))
        np.testing.assert_allclose(evaluate_eagerly(schedule, steps), schedule(steps), rtol=1e-5)


@pytest.mark.parametrize("is_wide", [False, True], ids=["", "x64"])
@pytest.mark.parametrize("shape", [(), (1,), (2, 3)])
def test_functions_have_the_shape_and_dtype_of_a_schedule(shape, is_wide):
    with jax.enable_x64(is_wide):
        for name in (*HAS_A_FUNCTION[:2], "from_function"):
            for function in (lambda step: 0.5, lambda step: 1 / (1 + step), lambda step: step):
                make = functools.partial(REGISTRY[name].create)
                schedule = make(function) if name == "from_function" else make(0.5, function)
                value = schedule(np.full(shape, 7))
                assert value.dtype == jnp.float32, name
                assert value.shape == shape, name


@pytest.mark.parametrize("number", [-3, 0])
@pytest.mark.parametrize(
    "make",
    [
        lambda n: lrsched.cosine(0.2, n, exponent=1.0 * n),
        lambda n: lrsched.inverse_sqrt(0.2, timescale=n),
        lambda n: lrsched.inverse_time(0.2, 1.0 * n, every=n),
        lambda n: lrsched.exponential(0.2, 1.0 * n, every=n),
        lambda n: lrsched.exp_hyperbolic(0.2, 9, max_steps=12, end=1.0 * n),
        lambda n: lrsched.noam(0.2, n, warmup=n),
        lambda n: lrsched.rex(0.2, 9, beta=1.0 - n),
        lambda n: lrsched.wsd(0.2, n, warmup=n, cooldown=n),
        lambda n: lrsched.stretch(lrsched.cosine(0.2, 9), n),
        lambda n: lrsched.staircase(lrsched.cosine(0.2, 9), n),
        lambda n: lrsched.cosine_restarts(0.2, 5, growth=n),
        lambda n: torch.StepLR(0.2, n),
        lambda n: torch.ExponentialLR(0.2, gamma=1.0 * n),
    ],
)
def test_traced_numbers_out_of_range_are_clamped(make, number):
    steps = jnp.array([0, 1, 4, 100, MAX_STEP])
    rates = jax.jit(lambda n: make(n)(steps))(number)
    assert np.isfinite(rates).all()
    assert (rates >= 0).all()
    assert (rates <= 0.2 * (1 + 1e-6)).all()


def test_a_schedule_whose_function_has_an_if_names_the_way():
    @lrsched.schedule(name="edges.stairs")
    def stairs(step, peak):
        return peak if step < 3 else 0.5 * peak

    with pytest.raises(ValueError, match=r"edges.stairs: .*jnp.where.*lrsched.table"):
        stairs(0.2)(5)
    REGISTRY.pop("edges.stairs")


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda step: {0: 0.2, 1: 0.1}[step], "jnp.where"),
        (lambda step: step[0], "calling it with a step fails"),
        (lambda step: [][3], "calling it with a step fails: list index out of range"),
        (np.cos, "jnp.where"),
    ],
)
def test_a_function_that_fails_is_refused_when_it_is_passed(function, message):
    with pytest.raises(ValueError, match=message) as error:
        lrsched.from_function(function)
    assert "\n" not in str(error.value)


def test_lists_that_are_no_numbers_are_refused():
    for values in ([True, 0.2], [[1.0], [1.0, 2.0]]):
        with pytest.raises(ValueError, match="a list of one or more finite numbers"):
            lrsched.table(values)
    with pytest.raises(TypeError, match="is not a step"):
        lrsched.cosine(0.2, 9)([[1], [2, 3]])


def test_clamping_keeps_the_gradient_at_a_bound():
    parse = in_range(ge=0, le=1)
    for bound in (0.0, 1.0):
        assert jax.grad(lambda x: 3 * parse(x))(bound) == 3
    assert jnp.isnan(jax.jit(parse)(jnp.nan))
    assert jax.jit(parse)(jnp.float32(-2)) == 0
    assert jax.jit(parse)(jnp.float32(2)) == 1
