"""NumPyro: stochastic variational inference with an optax optimizer, and pickle."""

import pickle

import jax
import optax
import pytest

import lrsched
from tests.trainers.survival import SCHEDULE, Trainer, check_survival, one_trace, regression

numpyro = pytest.importorskip("numpyro")
distributions = pytest.importorskip("numpyro.distributions")
infer = pytest.importorskip("numpyro.infer")


def model(x, y):
    weights = numpyro.sample("weights", distributions.Normal(0.0, 1.0).expand([4]).to_event(1))
    numpyro.sample("y", distributions.Normal(x @ weights, 0.5), obs=y[:, 0])


def svi_of(optimizer):
    return infer.SVI(
        model,
        infer.autoguide.AutoNormal(model),
        numpyro.optim.optax_to_numpyro(optimizer),
        loss=infer.Trace_ELBO(),
    )


OURS = svi_of(optax.chain(optax.scale_by_adam(), lrsched.scale_by_learning_rate(SCHEDULE)))


def start(svi=OURS):
    return svi.init(jax.random.key(0), *regression())


def step(state, svi=OURS):
    return svi.update(state, *regression())[0]


def edit(state, change):
    return change(state)


def save(state, path):
    # A random key is no plain array; its data is.
    plain = state._replace(rng_key=jax.random.key_data(state.rng_key))
    (path / "state.pickle").write_bytes(pickle.dumps(plain))


def restore(state, path):
    del state  # Pickle keeps the structure.
    plain = pickle.loads((path / "state.pickle").read_bytes())
    return plain._replace(rng_key=jax.random.wrap_key_data(plain.rng_key))


def test_a_killed_run_continues(tmp_path):
    trainer = Trainer(start, one_trace(step), edit, save, restore, lambda state: state.optim_state)
    check_survival(trainer, tmp_path)
