import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx
from hypothesis import given
from hypothesis import strategies as st

import lrsched
from lrsched import tuning
from tests.tuning.problems import digits, logistic

SCHEDULE = lrsched.linear(0.1, 0.0, steps=20)


def trained(run, schedule, steps, seed=0):
    """A plain loop over the pure functions; the state and the losses."""
    to_init, to_order = jax.random.split(jax.random.key(seed))
    state, losses = run.init(schedule, to_init), []
    step = jax.jit(run.step)
    for i in range(steps):
        state, loss = step(state, run.batch(run.data, to_order, jnp.int32(i)))
        losses.append(float(loss))
    return state, np.array(losses)


def evaluated(run, state):
    return run.evaluate(state, run.validation)[1]["loss"]


@given(
    examples=st.integers(1, 300),
    batch_size=st.sampled_from([1, 7, 300]),
    seed=st.integers(0, 2**32 - 1),
)
def test_every_epoch_is_a_permutation(examples, batch_size, seed):
    key, steps = jax.random.key(seed), jnp.arange(-(-900 // batch_size))
    order = jax.vmap(lambda step: tuning.shuffled_indices(key, step, examples, batch_size))(steps)
    for epoch in np.split(np.ravel(order)[: 3 * examples], 3):
        assert sorted(epoch) == list(range(examples))


def test_orders_are_uniform_and_differ_between_epochs_and_seeds():
    def first_epochs(seed):
        key = jax.random.key(seed)
        return jnp.concatenate([tuning.shuffled_indices(key, step, 20, 20) for step in range(2)])

    orders = np.asarray(jax.vmap(first_epochs)(jnp.arange(4000))).reshape(-1, 20)
    counts = np.array([np.bincount(place, minlength=20) for place in orders.T])
    expected = len(orders) / 20
    chi_square = np.sum((counts - expected) ** 2 / expected)
    assert chi_square < 361 + 5 * np.sqrt(2 * 361)  # 19 x 19 degrees of freedom, 5 deviations
    neighbours = np.mean(np.diff(orders, axis=1) == 1)
    np.testing.assert_allclose(neighbours, 1 / 20, atol=0.005)
    assert len(np.unique(orders, axis=0)) == len(orders)


def test_the_order_is_right_at_any_step_of_a_long_run():
    far = 2**31 - 1
    orders = [tuning.shuffled_indices(jax.random.key(0), far - i, 1000, 500) for i in range(2)]
    assert len(set(np.ravel(orders).tolist())) in range(500, 1001)
    assert all(0 <= int(i) < 1000 for i in np.ravel(orders))


@pytest.mark.parametrize(
    "optimizer",
    [
        optax.sgd,
        optax.adam,
        lambda rate: optax.chain(optax.clip_by_global_norm(1.0), optax.adamw(rate)),
        lambda rate: optax.chain(optax.scale_by_adam(), lrsched.scale_by_learning_rate(rate)),
        lrsched.prodigy,
    ],
    ids=["sgd", "adam", "a chain of optax's", "a chain with ours", "prodigy"],
)
def test_the_state_holds_the_schedule_whatever_the_optimizer(optimizer):
    state, losses = trained(logistic(optimizer), SCHEDULE, 10)
    assert int(lrsched.metrics(state)["schedule_step"]) == 9
    if optimizer is not lrsched.prodigy:
        assert losses[-1] < losses[0]
        assert lrsched.learning_rate(state) == SCHEDULE(9)


def test_it_is_the_training_that_one_would_write_by_hand():
    run = logistic(optax.adam)
    state, losses = trained(run, SCHEDULE, 10)
    to_init, to_order = jax.random.split(jax.random.key(0))
    optimizer = optax.adam(SCHEDULE)
    params = {"w": 0.1 * jax.random.normal(to_init, (30,)), "b": jnp.zeros(())}
    opt_state, by_hand = optimizer.init(params), []

    def loss_fn(params, x, y):
        return optax.sigmoid_binary_cross_entropy(x @ params["w"] + params["b"], y).mean()

    for step in range(10):
        chosen = tuning.shuffled_indices(to_order, jnp.int32(step), 400, 32)
        x, y = (array[chosen] for array in run.data)
        loss, gradients = jax.value_and_grad(loss_fn)(params, x, y)
        updates, opt_state = optimizer.update(gradients, opt_state, params)
        params = optax.apply_updates(params, updates)
        by_hand.append(float(loss))
    np.testing.assert_allclose(losses, by_hand, rtol=1e-5)
    np.testing.assert_allclose(state.params["w"], params["w"], rtol=1e-4, atol=1e-6)


def test_a_model_of_nnx_keeps_its_statistics_and_is_evaluated_in_its_mode():
    run = digits()
    state, losses = trained(run, SCHEDULE, 20)
    assert losses[-1] < 0.7 * losses[0]
    statistics = nnx.to_pure_dict(state.model_state)
    assert int(statistics["dropout"]["rngs"]["count"]) == 20
    assert np.any(np.asarray(statistics["norm"]["mean"]) != 0)
    first, again = (evaluated(run, state) for _ in range(2))
    assert first == again < losses[0]


def test_a_model_that_is_given_is_where_all_seeds_start_and_stays():
    model = nnx.Linear(30, 1, rngs=nnx.Rngs(0))
    kernel = np.asarray(model.kernel[...])

    def loss_fn(model, batch):
        x, y = batch
        return optax.sigmoid_binary_cross_entropy(model(x)[:, 0], y).mean()

    run = tuning.training(loss_fn, model, optax.sgd, logistic().data, batch_size=32)
    one, other = (trained(run, SCHEDULE, 3, seed)[1] for seed in (0, 1))
    assert one[0] != other[0]
    np.testing.assert_array_equal(run.init(SCHEDULE, jax.random.key(1)).params["kernel"], kernel)
    np.testing.assert_array_equal(model.kernel[...], kernel)


def test_controllers_are_told_the_loss_and_averages_are_evaluated():
    def optimizer(rate):
        rate = lrsched.scale_by_learning_rate(rate)
        plateau = lrsched.reduce_on_plateau(factor=0.5, patience=1, rtol=10.0)
        return optax.chain(rate, plateau, lrsched.ema_params(0.9))

    run = logistic(optimizer)
    state, _ = trained(run, lrsched.constant(0.1), 10)
    assert lrsched.learning_rate(state) < 0.01
    averaged = state._replace(params=lrsched.eval_params(state.opt_state, state.params))
    assert evaluated(run, state) == evaluated(run, averaged._replace(opt_state=()))


def test_batches_may_come_from_a_function():
    def batch(key, step):
        x = jax.random.normal(jax.random.fold_in(key, step), (8,))
        return x, 2 * x

    run = tuning.training(
        lambda w, batch: jnp.mean((batch[0] * w - batch[1]) ** 2), jnp.zeros(()), optax.sgd, batch
    )
    state, _ = trained(run, lrsched.constant(0.3), 30)
    np.testing.assert_allclose(state.params, 2.0, rtol=1e-2)


def test_of_several_metrics_one_is_the_loss():
    run = logistic(metric=lambda params, batch: {"accuracy": 0.5})
    with pytest.raises(ValueError, match="gives accuracy; one of them must be called loss"):
        evaluated(run, run.init(SCHEDULE, jax.random.key(0)))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"data": (jnp.zeros(3), jnp.zeros(4))}, r"lengths \[3, 4\]; all must have the same"),
        ({"data": jnp.zeros((0, 2))}, "at least one"),
        ({"data": jnp.zeros(4), "batch_size": 5}, "batch_size=5 is not accepted; batch_size must"),
        ({"data": jnp.zeros(4), "batch_size": 0}, "batch_size=0"),
        ({"data": lambda key, step: 0, "batch_size": 4}, "data is a function of the key"),
        ({"data": jnp.zeros(4), "metric": lambda w, batch: w}, "no validation"),
        ({"data": "train.csv"}, "'train.csv' in data is not accepted; data must be arrays"),
        ({"data": (["a"] * 3, jnp.zeros(3))}, "'a' in data is not accepted"),
        ({"data": None}, "None in data is not accepted"),
        ({"data": [(jnp.zeros(2),)], "batch_size": 2}, "data is an iterable of batches"),
        ({"loss_fn": jnp.zeros(())}, "the order is training.loss_fn, model, optimizer, data"),
        ({"optimizer": lrsched.cosine(0.1, 10)}, r"optimizer=cosine.* must be a function of the"),
    ],
)
def test_bad_input(change, message):
    arguments = {"loss_fn": lambda w, batch: w, "model": jnp.zeros(()), "optimizer": optax.sgd}
    with pytest.raises(ValueError, match=message) as caught:
        tuning.training(**{**arguments, "data": jnp.zeros(4), **change})
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("loss", "got"), [(1, "type int32"), (None, "returns nothing")])
def test_a_loss_without_a_gradient_is_refused(loss, got):
    run = tuning.training(lambda w, batch: loss, jnp.zeros(()), optax.sgd, jnp.zeros(4))
    with pytest.raises(ValueError, match=got):
        tuning.range_test(run, steps=3)


def test_a_list_of_batches_is_taken_as_they_come():
    batches = [(jnp.full(2, 1.0 + index), jnp.full(2, 2.0 + index)) for index in range(3)]
    run = tuning.training(
        lambda w, batch: jnp.mean((w * batch[0] - batch[1]) ** 2), jnp.zeros(()), optax.sgd, batches
    )
    assert run.data[0].shape == (3, 2)
