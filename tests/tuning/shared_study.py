"""Run by `test_search.py` beside itself: ``python -m tests.tuning.shared_study FOLDER``."""

import os
import sys
from pathlib import Path

import jax.numpy as jnp
import optax
import optuna

import lrsched
from lrsched import tuning

NUM_TRIALS = 4


def storages(folder):
    """A storage of each kind that several processes can share."""
    backend = optuna.storages.journal.JournalFileBackend(str(folder / "journal.log"))
    return {
        "journal": optuna.storages.JournalStorage(backend),
        "sqlite": f"sqlite:///{folder / 'study.db'}",
    }


def search(folder, kind):
    """Train trials of a study that others train as well; each names its process."""
    study = optuna.load_study(
        study_name="rates",
        storage=storages(folder)[kind],
        sampler=optuna.samplers.TPESampler(seed=os.getpid(), constant_liar=True),
    )
    x = jnp.linspace(-1, 1, 64)

    def propose(trial):
        trial.set_user_attr("process", os.getpid())
        return lrsched.linear(trial.suggest_float("peak", 1e-4, 1, log=True), 0.0, steps=20)

    def loss_fn(w, batch):
        return jnp.mean((batch[0] * w - batch[1]) ** 2)

    run = tuning.training(loss_fn, jnp.zeros(()), optax.adam, (x, 2 * x), batch_size=16)
    options = {"n_trials": NUM_TRIALS, "trials_per_batch": 2, "progress": False}
    return tuning.search(run, study, propose, **options)


if __name__ == "__main__":
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    for each in storages(Path(sys.argv[1])):
        search(Path(sys.argv[1]), each)
