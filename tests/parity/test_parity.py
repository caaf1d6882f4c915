"""Every recorded call of every library at every step: ``abs(ported - original) <= 2e-6 * peak``."""

import importlib
import json
from pathlib import Path

import numpy as np
import pytest

from lrsched.compat import LIBRARIES
from tests.parity.record import NUMBERS

ROOT = Path(__file__).parents[2]
RECORDED = {
    library: json.loads((NUMBERS / f"{library}.json").read_text())["calls"] for library in LIBRARIES
}


@pytest.mark.parametrize(
    ("library", "call"), [(library, call) for library, calls in RECORDED.items() for call in calls]
)
def test_a_ported_function_has_the_values_of_the_original(library, call):
    values = np.array(RECORDED[library][call])
    schedule = eval(call, dict(vars(importlib.import_module(f"lrsched.compat.{library}"))))
    ported = np.asarray(schedule(np.arange(len(values))), np.float64)
    worst = np.max(np.abs(ported - values))
    assert worst <= 2e-6 * np.max(np.abs(values)), f"{call}: off by {worst:.2e}"


def test_the_page_counts_the_calls():
    count = sum(map(len, RECORDED.values()))
    assert f"At every step of {count} recorded" in (ROOT / "docs/porting.md").read_text()


def test_a_step_count_times_a_rounded_reciprocal_is_short_first_at_41():
    """The reason that staircases of optax and Keras jump a step late under jit."""
    counts = np.arange(1, 42, dtype=np.float32)
    assert np.flatnonzero(counts * (np.float32(1) / counts) < 1).tolist() == [40]


def test_a_remainder_of_restarts_is_not_0_first_at_22_cycles():
    """The reason that hard restarts of transformers give 0 at the first step of a cycle."""
    late = [n for n in range(1, 23) if any(n * (cycle / n) % 1.0 for cycle in range(n))]
    assert late == [22]


@pytest.mark.parametrize("library", LIBRARIES)
def test_every_call_was_recorded(library):
    module = importlib.import_module(f"tests.parity.peers.{library}")
    assert {call: len(values) for call, values in RECORDED[library].items()} == module.CALLS
