"""Data that is iterated, and arguments that are not what they should be."""

import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen, nnx

import lrsched
from lrsched import tuning

# In a random order: batches of sorted numbers would have losses of different sizes.
X = np.random.default_rng(0).permutation(np.linspace(-1, 1, 64)).astype(np.float32)


def loss_fn(w, batch):
    return jnp.mean((batch[0] * w - batch[1]) ** 2)


def batches():
    for start in np.arange(40) % 4 * 16:
        x = X[start : start + 16]
        yield x, 2 * x


class Loader:
    """Like PyTorch's ``DataLoader``: iterated often, of known length, its last batch smaller."""

    def __iter__(self):
        return iter([(X[:24], 2 * X[:24]), (X[24:48], 2 * X[24:48]), (X[48:], 2 * X[48:])])

    def __len__(self):
        return 3


@pytest.mark.parametrize("data", [batches, batches(), Loader()], ids=["function", "iter", "loader"])
def test_a_range_test_takes_whatever_can_be_iterated(data):
    run = tuning.training(loss_fn, jnp.zeros(()), optax.sgd, data)
    result = tuning.range_test(run, steps=60, seeds=1)
    assert result.range.low < result.suggestion() < result.range.high


def test_a_torch_loader_is_read():
    torch = pytest.importorskip("torch")
    from torch.utils.data import DataLoader, TensorDataset

    loader = DataLoader(TensorDataset(torch.tensor(X), torch.tensor(2 * X)), batch_size=16)
    run = tuning.training(loss_fn, jnp.zeros(()), optax.sgd, loader)
    assert [x.shape for x in run.data] == [(4, 16), (4, 16)]


def test_batches_are_read_as_far_as_they_are_wanted_and_a_smaller_last_one_is_left_out():
    run = tuning.training(loss_fn, jnp.zeros(()), optax.sgd, Loader())
    assert [x.shape for x in run.data] == [(2, 24), (2, 24)]
    run = tuning.training(loss_fn, jnp.zeros(()), optax.sgd, batches(), num_batches=5)
    assert run.data[0].shape == (5, 16)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"optimizer": optax.adam(1e-3)}, "must be a function of the rate, such as optax.adam"),
        ({"optimizer": 0.1}, "optimizer=0.1 is not accepted"),
        ({"model": nnx.Linear}, r"model=Linear is not accepted: it is a class; .*lambda key: Lin"),
        ({"model": linen.Dense(1)}, "flax.linen module, which holds no parameters; pass lambda"),
        ({"data": iter([])}, "it has no batch left"),
        (
            {"data": batches(), "batch_size": 4},
            "batch_size=4 is not accepted where data is an iter",
        ),
        ({"data": batches(), "num_batches": 0}, "num_batches=0 is not accepted"),
        ({"data": iter([X[:3], X[:4], X[:3]])}, r"batch 1 of data has arrays of the shapes"),
    ],
)
def test_a_training_names_the_remedy(change, message):
    arguments = {"model": jnp.zeros(()), "optimizer": optax.sgd, "data": (X, 2 * X)} | change
    with pytest.raises(ValueError, match=message) as refused:
        tuning.training(loss_fn, **arguments)
    assert "\n" not in str(refused.value)


def test_a_loss_with_further_values_is_refused_when_it_is_traced():
    run = tuning.training(
        lambda w, batch: (loss_fn(w, batch), {}), jnp.zeros(()), optax.sgd, (X, 2 * X)
    )
    with pytest.raises(ValueError, match="returns a tuple; it must return a scalar loss and"):
        tuning.range_test(run)
    run = tuning.training(lambda w, batch: batch[0] * w, jnp.zeros(()), optax.sgd, (X, 2 * X))
    with pytest.raises(ValueError, match=r"returns an array of shape \(64,\).*take the mean"):
        tuning.range_test(run)


@pytest.mark.parametrize("seeds", [-1, 1.5, [0, -1], ["a"], True, [2**32]])
def test_seeds_are_whole_numbers(seeds):
    run = tuning.training(loss_fn, jnp.zeros(()), optax.sgd, (X, 2 * X))
    with pytest.raises(ValueError, match=r"seeds=.* is not accepted; seeds must be the number of"):
        tuning.sweep(run, [lrsched.constant(0.1)], steps=2, seeds=seeds)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((0, 0), "vmap_size=0 is not accepted; vmap_size must be a whole number of at least 1"),
        ((2, 3), "lanes=3 is not accepted; lanes must be a positive multiple of vmap_size=2"),
        ((1, 0), "lanes=0"),
        ((1, 1, "tpu"), "loop='tpu' is not accepted; loop must be 'device' or 'host'"),
    ],
)
def test_an_execution_plan_is_checked(arguments, message):
    with pytest.raises(ValueError, match=message):
        tuning.ExecutionPlan(*arguments)


def test_a_plain_number_among_schedules_is_refused():
    run = tuning.training(loss_fn, jnp.zeros(()), optax.sgd, (X, 2 * X))
    with pytest.raises(ValueError, match=r"schedules=0.1 is not accepted; .*constant\(0.1\)"):
        tuning.sweep(run, [0.1], steps=2)


RUN = tuning.training(loss_fn, jnp.zeros(()), optax.sgd, (X, 2 * X))
RATES = [lrsched.linear(rate, 0.0, steps=7) for rate in (0.01, 0.02)]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: tuning.sweep(loss_fn, RATES), "sweep: training=.*must be a Training"),
        (lambda: tuning.range_test(loss_fn), "range_test: training=.*must be a Training"),
        (lambda: tuning.search(loss_fn, None, None), "search: training=.*must be a Training"),
        (lambda: tuning.search(RUN, None, None), "search: study=None .*must be a study of Optuna"),
        (
            lambda: tuning.successive_halving(3, RATES, steps=9),
            "successive_halving: training=3 .* must be a Training",
        ),
        (
            lambda: tuning.population_based_training(RUN, [0.1, *RATES], steps=90),
            r"population_based_training: schedules=0\.1 is not accepted",
        ),
        (lambda: tuning.auto(RUN, steps=0), "auto: steps=0 is not accepted"),
        (lambda: tuning.sweep(RUN, RATES, plan=4), "plan=4 .* ExecutionPlan or None"),
        (lambda: tuning.sweep(RUN, RATES, mesh=2), "mesh=2 .* Mesh or None"),
        (lambda: tuning.sweep(RUN, RATES, checkpoint=""), "checkpoint='' .* path of a directory"),
        (lambda: tuning.sweep(RUN, RATES, checkpoint=5), "checkpoint=5 .* path of a directory"),
        (
            lambda: tuning.sweep(RUN, RATES, checkpoint_seconds=-2.0),
            "checkpoint_seconds=-2.0 .* 0 or more",
        ),
        (
            lambda: tuning.training(loss_fn, "weights.npz", optax.sgd, (X, X)),
            "'weights.npz' in model is not accepted",
        ),
        (
            lambda: tuning.training(loss_fn, jnp.zeros(3, jnp.int32), optax.sgd, (X, X)),
            "parameters of type int32",
        ),
        (
            lambda: tuning.training(loss_fn, 0.0, lambda rate: None, (X, X)),
            "optimizer returns None; it must return an optax transform",
        ),
        (
            lambda: tuning.training(loss_fn, 0.0, lambda rate: optax.sgd(float(rate)), (X, X)),
            "optimizer fails with a schedule as its rate",
        ),
    ],
)
def test_what_is_no_training_or_no_option_is_refused_at_once(call, message):
    with pytest.raises(ValueError, match=message):
        call()
