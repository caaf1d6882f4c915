"""What the search found is better than the usual where the search has not looked."""

import numpy as np
import tyro

from examples import optuna_search


def test_the_winner_is_better_on_other_seeds_and_other_images():
    arguments = ["--trials", "12", "--batch", "6", "--steps", "50", "--seeds", "2"]
    study, (found, _, usual) = tyro.cli(optuna_search.main, args=arguments)
    values = np.array([trial.value for trial in study.trials])
    assert len(values) == 12
    assert study.best_value < 0.5 * np.median(values)
    assert (found < usual).all()
