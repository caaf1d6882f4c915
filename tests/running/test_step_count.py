"""The table of docs/runtime.md: what a schedule counts under each order of the wrappers."""

import re
from pathlib import Path

import jax
import jax.numpy as jnp
import optax
import pytest

import lrsched

PAGE = (Path(__file__).parents[2] / "docs/runtime.md").read_text()
ROWS = dict(re.findall(r"^\| `(.+)` \| ([\d ]+) \|", PAGE, re.MULTILINE))
SCHEDULE = lrsched.linear(1.0, 0.0, steps=100)
NAMES = {
    **vars(lrsched),
    "adam": optax.scale_by_adam(),
    "rate": lrsched.scale_by_learning_rate(SCHEDULE),
    "schedule": SCHEDULE,
    "is_even": lambda step: step % 2 == 0,
    "optax": optax,
    **{
        name: getattr(optax, name)
        for name in (
            "MultiSteps",
            "apply_every",
            "apply_if_finite",
            "chain",
            "conditionally_mask",
            "conditionally_transform",
            "masked",
            "partition",
        )
    },
}


def steps_seen(optimizer, **extra):
    """The step at which the schedule was read by the latest update, after each of eight."""
    params = {"w": jnp.ones(3)}
    state, seen = optimizer.init(params), []
    update = jax.jit(optimizer.update)
    for call in range(8):
        gradient = jnp.nan if call == 2 else 1.0
        told = {name: values[call] for name, values in extra.items()}
        _, state = update({"w": jnp.full(3, gradient)}, state, params, **told)
        found = lrsched.metrics(state).items()
        (step,) = {int(x) for name, x in found if name.startswith("schedule_step")}
        seen.append(step)
    return seen


def test_the_table_was_found():
    assert len(ROWS) == 14


@pytest.mark.parametrize(("optimizer", "seen"), ROWS.items(), ids=ROWS)
def test_the_clock_of_the_table(optimizer, seen):
    assert " ".join(map(str, steps_seen(eval(optimizer, dict(NAMES))))) == seen


def test_an_outside_clock_takes_the_place_of_the_count():
    frames = [0, 5, 5, 9, 9, 9, 20, 21]
    assert steps_seen(NAMES["rate"], step=frames) == frames
    assert steps_seen(lrsched.inject_schedules(optax.adam)(SCHEDULE), step=frames) == frames
