import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx
from flax.training.train_state import TrainState

import lrsched

SCHEDULE = lrsched.linear(0.1, 0.0, 10)
PARAMS = {"w": jnp.ones(3), "b": jnp.zeros(2)}


def test_it_is_found_in_a_linen_train_state():
    model = nn.Dense(2)
    state = TrainState.create(
        apply_fn=model.apply,
        params=model.init(jax.random.key(0), jnp.ones((1, 3))),
        tx=optax.chain(optax.scale_by_adam(), lrsched.scale_by_learning_rate(SCHEDULE)),
    )
    step = jax.jit(lambda state: state.apply_gradients(grads=state.params))
    state = step(step(state))
    assert lrsched.learning_rate(state) == SCHEDULE(1)


def test_it_is_found_in_an_nnx_optimizer_inside_and_outside_jit():
    model = nnx.Linear(3, 2, rngs=nnx.Rngs(0))
    optimizer = nnx.Optimizer(
        model, lrsched.inject_schedules(optax.adamw)(SCHEDULE, b1=0.8), wrt=nnx.Param
    )

    @nnx.jit
    def step(model, optimizer, x):
        gradient = nnx.grad(lambda model: jnp.sum(model(x) ** 2))(model)
        optimizer.update(model, gradient)
        return lrsched.learning_rate(optimizer.opt_state)

    rates = [step(model, optimizer, jnp.ones((1, 3))) for _ in range(3)]
    np.testing.assert_allclose(rates, SCHEDULE([0, 1, 2]), rtol=5e-7)
    assert lrsched.learning_rate(optimizer.opt_state) == rates[-1]


def test_it_is_found_beneath_an_injection_of_something_else():
    def factory(b1):
        return optax.chain(optax.scale_by_adam(b1), lrsched.scale_by_learning_rate(SCHEDULE))

    optimizer = lrsched.inject_schedules(factory)(b1=lrsched.constant(0.9))
    assert lrsched.learning_rate(optimizer.init(PARAMS)) == SCHEDULE(0)


def test_it_is_found_by_type_whatever_the_parameters_are_called():
    optimizer = lrsched.inject_schedules(optax.adam)(SCHEDULE)
    assert lrsched.learning_rate(optimizer.init({"learning_rate": jnp.ones(2)})) == SCHEDULE(0)


def test_it_is_batched_under_vmap():
    init = jax.vmap(lambda peak: lrsched.scale_by_learning_rate(peak).init(PARAMS))
    assert lrsched.learning_rate(init(jnp.array([1.0, 2.0]))).tolist() == [1.0, 2.0]


def test_several_rates_are_listed():
    optimizer = optax.partition(
        {"a": lrsched.scale_by_learning_rate(0.1), "b": lrsched.inject_schedules(optax.sgd)(0.2)},
        {"w": "a", "b": "b"},
    )
    state = optimizer.init(PARAMS)
    with pytest.raises(ValueError, match=r"2 learning rates, at .*\['a'\].*, .*\['b'\].*; pass"):
        lrsched.learning_rate(state)
    assert lrsched.learning_rate(state.inner_states["b"]) == np.float32(0.2)


def test_none_of_ours_is_an_error():
    with pytest.raises(ValueError, match="holds no learning rate of lrsched; it must come from"):
        lrsched.learning_rate(optax.adam(0.1).init(PARAMS))


@pytest.mark.parametrize(
    "optimizer",
    [
        lambda: optax.adam(SCHEDULE),
        lambda: optax.inject_hyperparams(optax.adam)(SCHEDULE),
        lambda: optax.chain(optax.scale_by_adam(), optax.scale_by_schedule(-1.0 * SCHEDULE)),
        lambda: optax.MultiSteps(optax.sgd(SCHEDULE), every_k_schedule=2).gradient_transformation(),
    ],
    ids=["adam", "inject_hyperparams", "scale_by_schedule", "MultiSteps"],
)
def test_a_schedule_goes_wherever_optax_takes_one(optimizer):
    optimizer = optimizer()

    def step(carry, _):
        p, state = carry
        change, state = optimizer.update({"w": jnp.ones(3), "b": jnp.ones(2)}, state, p)
        return (optax.apply_updates(p, change), state), None

    (p, _), _ = jax.jit(lambda p: jax.lax.scan(step, (p, optimizer.init(p)), None, length=4))(
        PARAMS
    )
    assert np.all(p["b"] < 0)
