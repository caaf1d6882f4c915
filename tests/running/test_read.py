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


def test_groups_keep_their_rates_apart():
    optimizer = optax.partition(
        {"a": lrsched.scale_by_learning_rate(0.1), "b": lrsched.inject_schedules(optax.sgd)(0.2)},
        {"w": "a", "b": "b"},
    )
    state = optimizer.init(PARAMS)
    with pytest.raises(ValueError, match=r"2 groups: 'a', 'b'; learning_rates\(opt_state\) gives"):
        lrsched.learning_rate(state)
    assert lrsched.learning_rate(state.inner_states["b"]) == np.float32(0.2)
    assert lrsched.learning_rates(state) == {"a": np.float32(0.1), "b": np.float32(0.2)}


def test_the_rate_is_the_product_along_a_chain_and_of_each_group():
    outer = lrsched.scale_by_learning_rate(0.5, flip_sign=False)
    groups = optax.partition(
        {"a": lrsched.scale_by_learning_rate(0.1), "b": lrsched.scale_by_learning_rate(0.2)},
        {"w": "a", "b": "b"},
    )
    single = optax.chain(lrsched.scale_by_learning_rate(0.1), outer)
    assert lrsched.learning_rate(single.init(PARAMS)) == np.float32(0.1) / 2
    named = optax.named_chain(("rate", lrsched.scale_by_learning_rate(0.1)), ("outer", outer))
    assert lrsched.learning_rate(named.init(PARAMS)) == np.float32(0.1) / 2
    state = optax.chain(groups, outer).init(PARAMS)
    assert lrsched.learning_rates(state) == {"a": np.float32(0.05), "b": np.float32(0.1)}


def test_optimizers_side_by_side_are_groups():
    states = {
        name: lrsched.scale_by_learning_rate(0.5).init(PARAMS) for name in ("actor", "critic")
    }
    assert lrsched.learning_rates(states) == {"actor": 0.5, "critic": 0.5}
    assert lrsched.learning_rate({"actor": states["actor"], "other": {"steps": 3}}) == 0.5


def test_a_rate_that_was_injected_into_a_transform_of_ours_counts_once():
    factory = lrsched.inject_schedules(lrsched.scale_by_learning_rate)
    assert lrsched.learning_rate(factory(0.1).init(PARAMS)) == np.float32(0.1)


@pytest.mark.parametrize(
    "optimizer",
    [
        optax.inject_hyperparams(optax.sgd)(0.1),
        optax.chain(
            lrsched.scale_by_learning_rate(0.1), optax.contrib.reduce_on_plateau(0.5, patience=1)
        ),
        optax.chain(optax.scale(-1.0), optax.scale_by_backtracking_linesearch(10)),
        optax.chain(optax.scale(-1.0), optax.scale_by_zoom_linesearch(10)),
    ],
    ids=["inject_hyperparams", "reduce_on_plateau", "backtracking", "zoom"],
)
def test_what_optax_keeps_is_read(optimizer):
    def loss(params):
        return 3.0 * sum(jnp.sum(leaf**2) for leaf in jax.tree.leaves(params))

    params, state = PARAMS, optimizer.init(PARAMS)
    for _ in range(3):
        value, grad = jax.value_and_grad(loss)(params)
        metrics = {"value": jnp.maximum(value, 1.0), "grad": grad, "value_fn": loss}
        updates, state = optax.with_extra_args_support(optimizer).update(
            grad, state, params, **metrics
        )
        applied = -updates["w"][0] / grad["w"][0]
        np.testing.assert_allclose(lrsched.learning_rate(state), applied, rtol=1e-6)
        params = optax.apply_updates(params, jax.tree.map(lambda u: 0.1 * u, updates))


@pytest.mark.parametrize(
    "optimizer",
    [optax.adam(0.1), optax.chain(optax.adam(0.1), optax.contrib.reduce_on_plateau())],
    ids=["adam", "only a scale"],
)
def test_no_rate_is_an_error(optimizer):
    with pytest.raises(ValueError, match="holds no learning rate; it must come from"):
        lrsched.learning_rate(optimizer.init(PARAMS))


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


def test_metrics_are_flat_and_named_by_group():
    def tuned(rate):
        return optax.chain(lrsched.scale_by_learning_rate(rate), lrsched.reduce_on_plateau())

    optimizer = optax.partition(
        {"a": tuned(0.5), "b": lrsched.dog(reps_rel=0.1)}, {"w": "a", "b": "b"}
    )
    params = {"w": jnp.ones(3), "b": jnp.ones(2)}
    state = optimizer.init(params)
    for value in (1.0, np.nan):
        gradients = {"w": params["w"], "b": jnp.full(2, value)}
        _, state = optimizer.update(gradients, state, params, value=value)
    found = jax.jit(lrsched.metrics)(state)
    assert sorted(found) == [
        "controller_scale/a",
        "learning_rate/a",
        "learning_rate/b",
        "nonfinite_metrics/a",
        "nonfinite_updates/b",
        "received_metrics/a",
        "schedule_step/a",
        "schedule_step/b",
    ]
    assert all(value.ndim == 0 for value in found.values())
    assert found["learning_rate/a"] == 0.5
    assert [int(found[f"schedule_step/{group}"]) for group in "ab"] == [1, 0]
    assert int(found["nonfinite_metrics/a"]) == int(found["nonfinite_updates/b"]) == 1


def test_a_second_metric_of_its_kind_is_numbered():
    optimizer = optax.chain(
        lrsched.scale_by_learning_rate(0.5), lrsched.reduce_on_plateau(), lrsched.greedy()
    )
    found = lrsched.metrics(optimizer.init(PARAMS))
    assert {"controller_scale", "controller_scale_2", "learning_rate"} <= found.keys()


def test_metrics_of_a_method_show_its_estimate():
    optimizer = lrsched.prodigy(0.5, d0=1e-3)
    assert lrsched.metrics(optimizer.init(PARAMS))["estimate"] == np.float32(1e-3)


def test_an_abstract_state_is_read_abstractly():
    optimizer = optax.chain(optax.scale_by_adam(), lrsched.scale_by_learning_rate(SCHEDULE))
    abstract = jax.eval_shape(optimizer.init, PARAMS)
    found = jax.eval_shape(lrsched.metrics, abstract)
    assert {name: (x.shape, x.dtype) for name, x in found.items()} == {
        "learning_rate": ((), jnp.float32),
        "schedule_step": ((), jnp.int32),
        "schedule_done": ((), jnp.bool),
    }


def test_a_replicated_state_is_read_on_its_devices_without_waiting_for_them():
    mesh = jax.sharding.Mesh(np.array(jax.devices()), ("data",))
    everywhere = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec())
    optimizer = lrsched.prodigy(SCHEDULE)
    state = jax.device_put(optimizer.init(PARAMS), everywhere)
    with jax.transfer_guard("disallow"):
        read = lrsched.learning_rate(state)
        compiled = jax.jit(lrsched.learning_rate)(state)
    assert read.sharding == state.learning_rate.sharding == everywhere
    assert compiled == read


def test_metrics_tell_when_the_schedule_is_through():
    optimizer = lrsched.scale_by_learning_rate(lrsched.linear(1.0, 0.0, steps=3))
    state, done = optimizer.init(PARAMS), []
    for _ in range(4):
        _, state = optimizer.update(PARAMS, state)
        done.append(bool(lrsched.metrics(state)["schedule_done"]))
    assert done == [False, False, True, True]
    assert "schedule_done" not in lrsched.metrics(lrsched.scale_by_learning_rate(1.0).init(PARAMS))


def test_metrics_of_an_nnx_optimizer_with_its_containers():
    model = nnx.Linear(3, 2, rngs=nnx.Rngs(0))
    optimizer = nnx.Optimizer(model, lrsched.prodigy(SCHEDULE), wrt=nnx.Param)
    found = lrsched.metrics(optimizer.opt_state)
    assert sorted(found) == [
        "estimate",
        "learning_rate",
        "nonfinite_updates",
        "schedule_done",
        "schedule_step",
    ]
    assert all(isinstance(x, jax.Array) and x.ndim == 0 for x in found.values())
