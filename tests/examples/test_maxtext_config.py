"""The example's schedules against MaxText's formula in float64, at every step."""

import runpy

import numpy as np
import pytest

from examples import maxtext_config
from examples.maxtext_config import CONFIG, schedule_of


def maxtext(config):
    peak, total = config["learning_rate"], config["learning_rate_schedule_steps"]
    end = peak * config["learning_rate_final_fraction"]
    warmup = int(total * config["warmup_steps_fraction"])
    is_wsd = config["lr_schedule_type"] == "wsd"
    decay = int(total * config["wsd_decay_steps_fraction"]) if is_wsd else total - warmup
    is_linear = is_wsd and config["wsd_decay_style"] == "linear"

    def at(step):
        if step < warmup:
            return peak * step / warmup
        if step < total - decay:
            return peak
        if step >= total:
            return 0.0
        done = (step - (total - decay)) / (decay - 1)
        left = 1 - done if is_linear else 0.5 * (1 + np.cos(np.pi * done))
        return end + (peak - end) * left

    return [at(step) for step in range(config["steps"])]


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"wsd_decay_style": "cosine"},
        {"wsd_decay_steps_fraction": 0.9},
        {"warmup_steps_fraction": 0.0},
        {"warmup_steps_fraction": 0.37, "wsd_decay_style": "cosine"},
        {"lr_schedule_type": "cosine"},
        {"lr_schedule_type": "cosine", "warmup_steps_fraction": 0.25, "steps": 100},
    ],
    ids=str,
)
def test_every_step_is_maxtexts(changes):
    config = CONFIG | changes
    schedule = schedule_of(config)
    steps = np.arange(config["steps"])
    np.testing.assert_allclose(schedule(steps), maxtext(config), rtol=1e-6, atol=1e-12)


def test_by_default_the_schedule_is_as_long_as_the_run():
    config = CONFIG | {"learning_rate_schedule_steps": -1}
    assert schedule_of(config) == schedule_of(config | {"learning_rate_schedule_steps": 120})


def test_the_script_prints_the_schedule_and_its_rates(capsys):
    runpy.run_path(maxtext_config.__file__, run_name="__main__")
    first, *rates = capsys.readouterr().out.splitlines()
    assert first == str(schedule_of(CONFIG))
    assert rates[0].split() == ["0", "0.00e+00"]
    assert rates[2].split() == ["50", "3.00e-04"]
