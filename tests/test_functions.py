"""Functions that are made alike are one function, in the process and through a pickle."""

import copy
import functools
import pickle

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import lrsched
from lrsched import _functions
from lrsched._functions import intern_function

PARAMS = {"w": jnp.ones(3)}
FACTORIES = {
    "optax": lambda: optax.cosine_decay_schedule(0.1, 10),
    "joined": lambda: optax.warmup_cosine_decay_schedule(0.0, 0.1, 3, 10),
    "lambda": lambda: lambda step: 1 / (1 + step),
    "nested": lambda: (lambda inner: lambda step: 0.5 * inner(step))(lambda step: 0.1 / (1 + step)),
    "array": lambda: (lambda rates: lambda step: jnp.asarray(rates)[step])(np.array([0.3, 0.2])),
}


def decorated(function):
    @functools.wraps(function)
    def wrapper(step):
        return jnp.asarray(function(step))

    return wrapper


def power_of(peak):
    def schedule(step, power):
        return peak / (1 + step) ** power

    return schedule


FACTORIES |= {
    "partial": lambda: functools.partial(power_of(0.1), power=2.0),
    "nested partial": lambda: decorated(functools.partial(power_of(0.1), power=2.0)),
    "jitted": lambda: jax.jit(lambda step: 0.1 / (1 + step)),
    "jitted inside": lambda: (lambda inner: lambda step: inner(step, 2))(jax.jit(power_of(0.1))),
    # A function of another module with the name of its argument's.
    "vectorized": lambda: jnp.vectorize(lambda step: 0.1 / (1 + step)),
}
OPTIMIZERS = {
    "rate": lambda f: optax.chain(optax.scale_by_adam(), lrsched.scale_by_learning_rate(f)),
    "inject": lambda f: lrsched.inject_schedules(optax.adamw)(f, weight_decay=f),
    "method": lrsched.prodigy,
    "algebra": lambda f: lrsched.scale_by_learning_rate(lrsched.warmup(3) * f),
    "groups": lambda f: lrsched.learning_rate_groups([("w", f)]),
}


@pytest.mark.parametrize("function", FACTORIES.values(), ids=FACTORIES)
def test_functions_made_alike_are_one(function):
    assert intern_function(function()) is intern_function(function())


@pytest.mark.parametrize("make", OPTIMIZERS.values(), ids=OPTIMIZERS)
def test_an_optimizer_that_is_built_again_has_the_same_structure(make):
    for function in (FACTORIES["optax"], FACTORIES["nested"]):
        first, second = (make(function()).init(PARAMS) for _ in range(2))
        chex.assert_trees_all_equal_structs(first, second)


def test_a_step_is_not_compiled_again_for_an_optimizer_that_is_built_again():
    @jax.jit
    @chex.assert_max_traces(n=1)
    def step(state):
        return lrsched.learning_rate(state)

    for _ in range(3):
        step(OPTIMIZERS["rate"](optax.cosine_decay_schedule(0.1, 10)).init(PARAMS))


def scaled(factor, offset=0.0):
    return lambda step: factor * step + offset


DIFFERENT = {
    "number": (lambda: scaled(0.1), lambda: scaled(0.2)),
    "type": (lambda: scaled(1), lambda: scaled(1.0)),
    "default": (lambda: lambda step, x=1.0: x * step, lambda: lambda step, x=2.0: x * step),
    "code": (lambda: lambda step: step * 1.0, lambda: lambda step: step * 2.0),
    "array": (lambda: scaled(np.ones(2)), lambda: scaled(np.zeros(2))),
    "uncomparable": (lambda: scaled(jnp.ones(2)), lambda: scaled(jnp.ones(2))),
    "partial": (
        lambda: scaled(functools.partial(max, 1)),
        lambda: scaled(functools.partial(max, 2)),
    ),
}


@pytest.mark.parametrize(("first", "second"), DIFFERENT.values(), ids=DIFFERENT)
def test_other_functions_stay_others(first, second):
    one, other = first(), second()
    assert intern_function(one) is not intern_function(other)


def test_a_number_of_a_notebook_that_is_assigned_anew_is_not_an_old_one():
    namespace = {"lrsched": lrsched, "__name__": "notebook"}
    cell = "schedule = lrsched.as_schedule(lambda step: peak * step)"
    values = []
    for peak in (0.1, 0.2, 0.1):
        namespace["peak"] = peak
        exec(cell, namespace)
        values.append(float(namespace["schedule"](1)))
    np.testing.assert_allclose(values, [0.1, 0.2, 0.1], rtol=1e-6)


@pytest.mark.parametrize("make", OPTIMIZERS.values(), ids=OPTIMIZERS)
@pytest.mark.parametrize("is_new_process", [False, True])
def test_a_state_with_a_function_is_pickled_and_continues(make, is_new_process):
    optimizer = make(FACTORIES["joined"]())
    _, state = optimizer.update(PARAMS, optimizer.init(PARAMS), PARAMS)
    data = pickle.dumps(state)
    if is_new_process:
        _functions._INTERNED.clear()
        optimizer = make(FACTORIES["joined"]())
    restored = pickle.loads(data)
    chex.assert_trees_all_equal_structs(restored, optimizer.init(PARAMS))
    expected, actual = (optimizer.update(PARAMS, s, PARAMS)[0] for s in (state, restored))
    chex.assert_trees_all_equal(actual, expected)


@pytest.mark.parametrize("function", FACTORIES.values(), ids=FACTORIES)
def test_every_function_is_pickled_with_its_numbers(function):
    schedule = lrsched.as_schedule(function())
    data = pickle.dumps(schedule)
    assert pickle.loads(data) == schedule
    expected = schedule(1)
    del schedule
    _functions._INTERNED.clear()
    assert pickle.loads(data)(1) == expected


def test_a_deep_copy_has_the_same_structure():
    state = OPTIMIZERS["inject"](FACTORIES["joined"]()).init(PARAMS)
    chex.assert_trees_all_equal_structs(copy.deepcopy(state), state)


def test_a_cooldown_along_a_function_is_pickled():
    state = lrsched.scale_by_learning_rate(0.1).init(PARAMS)
    cooled = lrsched.start_cooldown(state, 4, ramp=lambda x: x * x)
    restored = pickle.loads(pickle.dumps(cooled))
    assert jax.tree.structure(restored) == jax.tree.structure(cooled)
    assert lrsched.learning_rate_schedule(restored)(2) == jnp.float32(0.1) / 4


def test_what_cannot_be_pickled_names_what_to_use(monkeypatch):
    schedule = lrsched.as_schedule(optax.cosine_decay_schedule(0.1, 10))
    data = pickle.dumps(schedule)
    monkeypatch.setattr(_functions.importlib.util, "MAGIC_NUMBER", b"none")
    with pytest.raises(ValueError, match=r"another version of Python. Use .* lrsched\.cosine for"):
        pickle.loads(data)
