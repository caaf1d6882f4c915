"""Every line of code in docs/catalogue.md runs, and every schedule has one."""

import inspect
import re
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import optax
import pytest

import lrsched as lr
from docs.generate import pages
from lrsched import scaling, units
from lrsched.compat import keras, timm, torch, transformers

PAGE = (Path(__file__).parent.parent / "docs/catalogue.md").read_text()
NAMESPACE = {
    "jnp": jnp,
    "keras": keras,
    "lr": lr,
    "optax": optax,
    "scaling": scaling,
    "timm": timm,
    "torch": torch,
    "transformers": transformers,
    "units": units,
}
ROWS = re.findall(r"^\| ([^|]+) \| [^|]+ \| `([^|]+)` \|$", PAGE, re.MULTILINE)


@pytest.mark.parametrize("code", [pytest.param(code, id=what) for what, code in ROWS])
def test_every_line_runs(code):
    made = eval(code, NAMESPACE)
    if isinstance(made, lr.Schedule):
        steps = np.arange(0, 3000, 7)
        values = np.asarray(made(steps))
        assert np.all(np.isfinite(values))
        assert np.all(values >= 0)
        assert np.max(values) > 0
    else:
        is_optimizer = hasattr(made, "init") and hasattr(made, "update")
        assert is_optimizer or (isinstance(made, int | float) and made > 0)


def test_every_row_has_its_line():
    tables, _, _ = PAGE.partition("## Left out")
    rows = [line for line in tables.splitlines() if line.startswith("| ")]
    headers = [line for line in rows if line.startswith(("| what |", "| --- |"))]
    assert len(ROWS) == len(rows) - len(headers) >= 90


def test_every_schedule_is_in_it():
    functions = {name: getattr(lr, name) for name in lr.__all__ if name.islower()}
    schedules = {
        name
        for name, function in functions.items()
        if callable(function) and inspect.signature(function).return_annotation is lr.Schedule
    }
    operators = {"as_schedule", "join", "multiply", "add", "minimum", "learning_rate_schedule"}
    assert len(schedules) > 40
    page = pages.complete("catalogue.md", PAGE)
    assert not {name for name in schedules - operators if f"lr.{name}(" not in page}
