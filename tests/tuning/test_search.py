import inspect
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import optax
import optuna
import pytest

import lrsched
from lrsched import tuning
from tests.tuning import shared_study
from tests.tuning.problems import logistic, runners_of
from tests.tuning.test_training import evaluated, trained

PEAKS = [float(peak) for peak in np.logspace(-4, 0, 9)]
COSINES = [lrsched.cosine(peak, steps=90) for peak in PEAKS]


def test_halving_trains_a_third_three_times_as_long_and_finds_the_best():
    run = logistic()
    found = tuning.successive_halving(run, COSINES, steps=90)
    assert found.steps == [10, 30, 90]
    assert np.sum(~np.isnan(found.losses), axis=1).tolist() == [9, 3, 1]
    assert found.updates == 9 * 10 + 3 * 20 + 1 * 60
    whole = tuning.sweep(run, COSINES, progress=False)
    place = COSINES.index(found.best())
    assert whole.mean_losses()[place] < 1.1 * whole.mean_losses().min()


def test_what_halving_goes_on_with_is_the_run_that_it_began():
    run = logistic()
    found = tuning.successive_halving(run, COSINES, steps=90)
    state, _ = trained(run, found.best(), 90)
    np.testing.assert_allclose(np.nanmin(found.losses[-1]), evaluated(run, state), rtol=1e-4)


def test_a_population_copies_its_best_and_finds_a_schedule():
    run = logistic(optax.sgd)
    starts = [lrsched.constant(rate) for rate in np.logspace(-4, -1, 8)]
    found = tuning.population_based_training(run, starts, steps=60, num_rounds=6)
    assert found.steps == [10, 20, 30, 40, 50, 60]
    assert np.all(np.sort(found.parents, axis=1)[1:, 0] >= 0)
    replaced = np.sum(found.parents[1:] != np.arange(8), axis=1)
    assert np.all((replaced >= 1) & (replaced <= 2))
    assert set(np.round(found.factors[1], 6)) <= {1.0, 0.8, 1.25}
    assert found.losses[-1].max() < found.losses[0].max()


def test_the_schedule_of_the_best_member_leads_to_it_again():
    run = logistic(optax.sgd)
    starts = [lrsched.constant(rate) for rate in np.logspace(-4, -1, 8)]
    found = tuning.population_based_training(run, starts, steps=60, num_rounds=6, seed=3)
    state, _ = trained(run, found.best(), 60, seed=3)
    np.testing.assert_allclose(evaluated(run, state), found.losses[-1].min(), rtol=1e-4)


def test_optuna_proposes_and_is_told():
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=0))

    def propose(trial):
        peak = trial.suggest_float("peak", 1e-5, 1e3, log=True)
        return lrsched.wsd(peak, steps=40, warmup=trial.suggest_int("warmup", 1, 10), cooldown=10)

    run = logistic()
    tuning.search(run, study, propose, n_trials=24, trials_per_batch=8, progress=False)
    assert len(study.trials) == 24
    assert len(runners_of(run)) == 1
    assert 1e-3 < study.best_params["peak"] < 3


@pytest.mark.slow
def test_two_processes_share_a_study_in_a_storage(tmp_path):
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    storages = shared_study.storages(tmp_path)
    studies = {
        kind: optuna.create_study(study_name="rates", storage=storage)
        for kind, storage in storages.items()
    }
    words = [sys.executable, "-m", "tests.tuning.shared_study", str(tmp_path)]
    other = subprocess.Popen(words, cwd=Path(__file__).parents[2])
    for kind in storages:
        shared_study.search(tmp_path, kind)
    assert other.wait(timeout=300) == 0
    for study in studies.values():
        trials = study.trials
        assert len(trials) == 2 * shared_study.NUM_TRIALS
        assert {trial.state.name for trial in trials} == {"COMPLETE"}
        processes = [trial.user_attrs["process"] for trial in trials]
        assert {processes.count(each) for each in processes} == {shared_study.NUM_TRIALS}
        assert len({trial.params["peak"] for trial in trials}) == len(trials)
        assert study.best_value == min(trial.value for trial in trials)


def test_trials_that_end_with_an_error_are_told_as_failed():
    study = optuna.create_study()

    def propose(trial):
        raise RuntimeError("no schedule")

    with pytest.raises(RuntimeError, match="no schedule"):
        tuning.search(logistic(), study, propose, n_trials=4, trials_per_batch=2)
    assert [trial.state.name for trial in study.trials] == ["FAIL", "FAIL"]


@pytest.mark.slow
def test_auto_is_near_the_best_by_brute_force():
    run = logistic()
    found = tuning.auto(run, steps=300)
    assert found.schedule.horizon == 300
    grid = [float(peak) for peak in np.logspace(-4, 1, 21)]
    brute = tuning.sweep(
        run, [lrsched.linear(peak, 0.0, steps=300) for peak in grid], seeds=2, progress=False
    )
    ours = tuning.sweep(run, [found.schedule], seeds=2, progress=False)
    assert ours.mean_losses()[0] < 1.1 * brute.mean_losses().min()
    assert tuning.auto(run, steps=100, family="wsd").schedule(100) == 0


def test_a_controller_is_told_the_validation_loss_along_the_way():
    def optimizer(rate):
        return optax.chain(
            optax.scale_by_adam(),
            lrsched.scale_by_learning_rate(rate),
            lrsched.reduce_on_overfitting(factor=0.1, patience=1),
        )

    rising = logistic(optimizer, metric=lambda params, batch: jax.numpy.sum(params["w"] ** 2))
    steady = logistic(optimizer, metric=lambda params, batch: -jax.numpy.sum(params["w"] ** 2))
    one, other = (
        tuning.sweep(run, [lrsched.constant(0.1)], steps=100, num_evaluations=10, progress=False)
        for run in (rising, steady)
    )
    growth = np.diff(np.abs(one.validation_loss[0])), np.diff(np.abs(other.validation_loss[0]))
    assert growth[0][-1] < 0.1 * growth[1][-1]


@pytest.mark.parametrize(
    ("function", "others", "message"),
    [
        (tuning.successive_halving, {"schedules": COSINES[:1]}, "1 schedules are not accepted"),
        (tuning.successive_halving, {"keep": 1.0}, "keep=1.0 is not accepted"),
        (tuning.successive_halving, {"schedules": [COSINES[0], lrsched.constant(0.1)]}, "2 struct"),
        (tuning.population_based_training, {"num_rounds": 0}, "num_rounds=0 is not accepted"),
        (tuning.population_based_training, {"replace_fraction": 0.6}, "replace_fraction=0.6"),
        (tuning.successive_halving, {"training": logistic(validation=None)}, "no validation set"),
        (tuning.auto, {"family": "round"}, "family='round' is not accepted"),
        (tuning.auto, {"num_probes": 1}, "num_probes=1"),
    ],
)
def test_bad_input(function, others, message):
    arguments = {"training": logistic(), "schedules": COSINES, "steps": 90} | others
    if function is tuning.auto:
        del arguments["schedules"]
    with pytest.raises(ValueError, match=message):
        function(**arguments)


def test_the_page_has_the_costs_of_the_defaults():
    page = (Path(__file__).parents[2] / "docs/tuning.md").read_text()
    steps = inspect.signature(tuning.range_test).parameters["steps"].default
    of_auto = inspect.signature(tuning.auto).parameters
    probes, fraction, seeds = (
        of_auto[name].default for name in ("num_probes", "probe_fraction", "seeds")
    )
    page = " ".join(page.split())
    assert f"It costs {steps} updates for each seed" in page
    assert f"{probes} short runs, which cost {probes * fraction * seeds} budgets" in page
