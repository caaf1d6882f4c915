"""The engine of adaptive methods: its errors for authors, its trees, its one reduction."""

import dataclasses
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
import optax
import pytest

import lrsched
from lrsched.adaptive.base import (
    AdaptiveMethod,
    MethodOutput,
    adaptive_transform,
    state_scalar,
    tree_descent,
    tree_square,
)
from tests.adaptive.methods import FINDERS

every_finder = pytest.mark.parametrize("make", FINDERS.values(), ids=FINDERS)


class NormState(NamedTuple):
    norm_sq: jax.Array


@dataclasses.dataclass(frozen=True)
class ByNorm(AdaptiveMethod[NormState]):
    """Gradient descent at a rate over the norm of the latest gradient."""

    learning_rate: float = 1.0

    def init(self, params: Any) -> Any:
        return NormState(state_scalar(0))

    def sums(self, inputs: Any) -> Any:
        return (tree_square(inputs.gradients),)

    def update(self, inputs: Any) -> Any:
        rate = inputs.outer_rate / jnp.sqrt(inputs.sums[0])
        return MethodOutput(
            lambda kept: tree_descent(inputs.gradients, rate), NormState(inputs.sums[0]), rate
        )


def run(cls):
    optimizer = adaptive_transform(cls)()
    params = {"a": jnp.array([3.0]), "b": jnp.array([4.0])}
    return optimizer.update(params, optimizer.init(params), params)


def test_a_method_is_a_class_with_three_functions():
    updates, state = run(ByNorm)
    chex.assert_trees_all_close(updates, {"a": jnp.array([-0.6]), "b": jnp.array([-0.8])})
    assert float(state.method_state.norm_sq) == 25
    assert adaptive_transform(ByNorm).__name__ == "by_norm"


MISTAKES = {
    "sums returns an array": (
        {"sums": lambda self, inputs: jnp.zeros(2)},
        r"ByNorm.sums returned a ArrayImpl; it must return a tuple of trees",
    ),
    "sums returns scalars": (
        {"sums": lambda self, inputs: (jnp.zeros([]),)},
        "ByNorm.sums returned a tree of another structure; each must be like the parameters",
    ),
    "update returns a tuple": (
        {"update": lambda self, inputs: (inputs.gradients, inputs.state)},
        "ByNorm.update returned a tuple; it must return a MethodOutput",
    ),
    "updates are no function": (
        {"update": lambda self, inputs: MethodOutput(inputs.gradients, inputs.state, 1.0)},
        "ByNorm.update returned updates that are no function",
    ),
    "a state that is a dict": (
        {"init": lambda self, params: {"norm_sq": state_scalar(0)}},
        "ByNorm.init returned a dict; it must return a NamedTuple",
    ),
    "a state of another structure": (
        {"init": lambda self, params: NormState(params)},
        "ByNorm.update returned a state of another structure than init",
    ),
    "a state of another shape": (
        {
            "update": lambda self, inputs: MethodOutput(
                lambda kept: inputs.gradients, NormState(jnp.ones(3)), 1.0
            )
        },
        r"a state whose .norm_sq has the shape \(3,\), where that of init has \(\)",
    ),
    "a rate with axes": (
        {
            "update": lambda self, inputs: MethodOutput(
                lambda kept: inputs.gradients, inputs.state, jnp.ones(2)
            )
        },
        r"a learning_rate of shape \(2,\); it must be a scalar",
    ),
    "updates of another structure": (
        {"update": lambda self, inputs: MethodOutput(lambda kept: 1.0, inputs.state, 1.0)},
        "updates of another structure; the function must return a tree like the parameters",
    ),
}


@pytest.mark.parametrize(("wrong", "message"), MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_of_an_author_is_named_at_the_first_trace(wrong, message):
    cls = dataclasses.dataclass(frozen=True)(type("ByNorm", (ByNorm,), wrong))
    with pytest.raises(TypeError, match=message):
        run(cls)


def test_a_class_that_is_no_method_is_refused():
    class Plain(AdaptiveMethod):
        learning_rate = 1.0

    with pytest.raises(TypeError, match=r"Plain must be decorated with @dataclasses\.dataclass"):
        adaptive_transform(Plain)
    with pytest.raises(TypeError, match="int must be a subclass of AdaptiveMethod"):
        adaptive_transform(int)

    @dataclasses.dataclass(frozen=True)
    class NoUpdate(AdaptiveMethod):
        learning_rate: float = 1.0

        def init(self, params):
            return NormState(state_scalar(0))

    with pytest.raises(TypeError, match="NoUpdate has no method update; it must define init and"):
        adaptive_transform(NoUpdate)

    @dataclasses.dataclass(frozen=True)
    class NoRate(ByNorm.__mro__[1]):
        init, update = ByNorm.init, ByNorm.update

    with pytest.raises(TypeError, match="NoRate has no field learning_rate"):
        adaptive_transform(NoRate)


@pytest.mark.parametrize("make", (FINDERS | {"kt": lrsched.kt}).values(), ids=FINDERS)
def test_groups_without_parameters_and_python_numbers_work(make):
    optimizer = optax.with_extra_args_support(make())
    for params in ({}, {"a": None}, {"a": 2.0}):
        updates, _ = optimizer.update(params, optimizer.init(params), params, value=1.0)
        assert jax.tree.structure(updates) == jax.tree.structure(params)
        chex.assert_tree_all_finite(updates)


def test_integer_parameters_are_refused():
    with pytest.raises(ValueError, match="prodigy: a parameter of dtype int32 is not accepted; pa"):
        lrsched.prodigy().init({"table": jnp.arange(3)})


@pytest.mark.parametrize("name", ["prodigy", "dadapt_adamw", "dog", "mechanize", "schedule_free"])
def test_complex_parameters_follow_their_real_and_imaginary_parts(name):
    target = jnp.array([1 + 2j, -3 + 0.5j])
    start = jnp.array([1.0 + 0j, 1.0])

    def gradients_of(params):
        return 2 * (params - target)

    def as_complex(pairs):
        return jax.lax.complex(pairs[..., 0], pairs[..., 1])

    def as_pairs(params):
        return jnp.stack([params.real, params.imag], axis=-1)

    optimizer = FINDERS[name](1.0)

    @jax.jit
    def step(carry, _):
        params, state, pairs, pair_state = carry
        updates, state = optimizer.update(gradients_of(params), state, params)
        params = optax.apply_updates(params, updates)
        gradients = as_pairs(gradients_of(as_complex(pairs)))
        updates, pair_state = optimizer.update(gradients, pair_state, pairs)
        return (params, state, optax.apply_updates(pairs, updates), pair_state), None

    pairs = as_pairs(start)
    carry = (start, optimizer.init(start), pairs, optimizer.init(pairs))
    (params, state, pairs, pair_state), _ = jax.lax.scan(step, carry, length=20)
    assert params.dtype == jnp.complex64
    chex.assert_trees_all_close(params, as_complex(pairs), rtol=1e-5)
    chex.assert_trees_all_close(
        lrsched.eval_params(state, params),
        as_complex(lrsched.eval_params(pair_state, pairs)),
        rtol=1e-5,
    )


@every_finder
def test_no_closure_reaches_itself(make):
    """Libraries that turn closures into pytrees do not end in one that does."""

    def check(function, seen=()):
        assert function not in seen
        for cell in getattr(function, "__closure__", None) or ():
            if callable(cell.cell_contents):
                check(cell.cell_contents, (*seen, function))

    check(make().init)
    check(make().update)


def scalar_concatenations(jaxpr):
    """The largest number of scalars that are stacked into one array."""
    sizes = [
        len(equation.invars)
        for equation in jaxpr.eqns
        if equation.primitive.name == "concatenate"
        and all(invar.aval.size == 1 for invar in equation.invars)
    ]
    inner = [
        scalar_concatenations(value.jaxpr)
        for equation in jaxpr.eqns
        for value in equation.params.values()
        if hasattr(value, "jaxpr")
    ]
    return max([*sizes, *inner], default=0)


@pytest.mark.parametrize(
    ("name", "num_arrays"),
    [
        ("prodigy", 132),
        ("cocob", 132),
        ("momo_adam", 132),
        ("dadapt_adagrad", 132),
        ("mechanize", 132),
    ],
)
def test_sums_are_added_scalar_by_scalar(name, num_arrays):
    """XLA merges all-reduces of added scalars; of stacked ones it keeps one operand per array."""
    optimizer = optax.with_extra_args_support(FINDERS[name](1.0))
    params = {str(i): jax.ShapeDtypeStruct((8,), jnp.float32) for i in range(num_arrays)}
    state = jax.eval_shape(optimizer.init, params)

    def update(params, state):
        return optimizer.update(params, state, params, value=1.0)

    jaxpr = jax.make_jaxpr(update)(params, state)
    assert scalar_concatenations(jaxpr.jaxpr) <= 16


@pytest.mark.parametrize("rows", [12, 13])
def test_prodigy_by_rows_estimates_as_if_only_these_rows_were_trained(rows):
    """The rate of a sliced estimate is the one that the chosen rows have by themselves."""
    params = jax.random.normal(jax.random.key(0), (rows, 5))
    chosen = params[::4]
    sliced = lrsched.prodigy(slice_p=4, slice_by="row")
    alone = lrsched.prodigy()
    states = sliced.init(params), alone.init(chosen)
    for _ in range(20):
        updates, sliced_state = sliced.update(jnp.sin(params), states[0], params)
        params = optax.apply_updates(params, updates)
        updates, alone_state = alone.update(jnp.sin(chosen), states[1], chosen)
        chosen = optax.apply_updates(chosen, updates)
        states = sliced_state, alone_state
    estimate = states[0].method_state.estimate
    assert estimate > 1e-5
    chex.assert_trees_all_close(estimate, states[1].method_state.estimate, rtol=1e-6)
    chex.assert_trees_all_close(params[::4], chosen, rtol=1e-6)
    assert states[0].method_state.grad_sum.shape == chosen.shape


def test_prodigy_slices_under_explicit_sharding():
    script = """
import jax, jax.numpy as jnp, lrsched
from jax.sharding import AxisType, NamedSharding, PartitionSpec as P
mesh = jax.make_mesh((8,), ("d",), axis_types=(AxisType.Explicit,))
with jax.set_mesh(mesh):
    for spec in (P(None, "d"), P("d", None)):
        params = jax.device_put(jnp.arange(64.0).reshape(8, 8), NamedSharding(mesh, spec))
        for optimizer in (
            lrsched.prodigy(slice_p=3),
            lrsched.prodigy(slice_p=3, slice_by="row"),
            lrsched.prodigy(slice_p=2, slice_by="row"),
            lrsched.prodigy(),
        ):
            updates, _ = jax.jit(optimizer.update)(params, optimizer.init(params), params)
            assert updates.sharding.spec == spec
"""
    flags = os.environ.get("XLA_FLAGS", "")
    environment = os.environ | {
        "XLA_FLAGS": f"{flags} --xla_force_host_platform_device_count=8",
        "PYTHONPATH": str(Path(__file__).parents[2]) + ":" + os.environ.get("PYTHONPATH", ""),
    }
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
