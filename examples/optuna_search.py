"""Search peak, warmup and cooldown of a WSD with Optuna, sixteen trials in one program.

    python examples/optuna_search.py --trials 64

Requires the extra ``bench``: optuna, flax, scikit-learn and tyro. All trials share one compiled
program, because the numbers of a schedule are data. The best of many trials is partly luck, so the
winner is compared again with two other schedules, with new seeds and on a test set. One of them has
the same peak and the usual phases, which shows the effect of the phases.
"""

import numpy as np
import optax
import optuna
import tyro
from flax import nnx
from sklearn.datasets import load_digits

import lrsched
from lrsched import tuning


def model(key):
    rngs = nnx.Rngs(key)
    return nnx.Sequential(nnx.Linear(64, 64, rngs=rngs), nnx.relu, nnx.Linear(64, 10, rngs=rngs))


def loss_fn(model, batch):
    x, y = batch
    return optax.softmax_cross_entropy_with_integer_labels(model(x), y).mean()


def evaluate(model, held_out):
    """Return the validation loss, which ranks the trials, and the test loss."""
    validation, test = held_out
    return {"loss": loss_fn(model, validation), "test": loss_fn(model, test)}


def main(trials: int = 64, batch: int = 16, steps: int = 200, seeds: int = 8):
    pixels, labels = load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(labels))
    data, validation, test = (
        (np.float32(pixels[part] / 16), labels[part]) for part in np.split(order, [1000, 1400])
    )

    def propose(trial):
        return lrsched.wsd(
            trial.suggest_float("peak", 1e-4, 1.0, log=True),
            steps,
            warmup=trial.suggest_float("warmup", 0.01, 0.3),
            cooldown=trial.suggest_float("cooldown", 0.01, 0.7),
        )

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=0))
    run = tuning.training(
        loss_fn,
        model,
        optax.adam,
        data,
        batch_size=32,
        validation=(validation, test),
        metric=evaluate,
    )
    tuning.search(run, study, propose, n_trials=trials, trials_per_batch=batch, progress=False)

    print("trial  validation loss     peak  warmup  cooldown")
    for trial in sorted(study.trials, key=lambda trial: trial.value)[:5]:
        peak, warmup, cooldown = trial.params.values()
        print(f"{trial.number:>5}  {trial.value:15.4f}  {peak:.1e}  {warmup:6.2f}  {cooldown:8.2f}")

    contenders = {
        "found": propose(optuna.trial.FixedTrial(study.best_params)),
        "its peak, usual phases": lrsched.wsd(study.best_params["peak"], steps, 0.1, 0.2),
        "usual peak and phases": lrsched.wsd(1e-3, steps, warmup=0.1, cooldown=0.2),
    }
    again = tuning.sweep(run, [*contenders.values()], seeds=range(1, 1 + seeds), progress=False)
    losses = again.table["test"].reshape(-1, seeds)
    print(f"\ntest loss with {seeds} other seeds")
    for name, found in zip(contenders, losses, strict=True):
        print(f"{name:<22}  {found.mean():.4f} ± {found.std() / seeds**0.5:.4f}")
    return study, losses


if __name__ == "__main__":
    tyro.cli(main)
