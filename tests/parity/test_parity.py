"""Every recorded call of every library at every step: ``abs(ported - original) <= 2e-6 * peak``."""

import importlib
import json

import numpy as np
import pytest

from lrsched.compat import LIBRARIES
from tests.parity.record import NUMBERS

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


def test_enough_was_recorded():
    assert sum(map(len, RECORDED.values())) >= 150


@pytest.mark.parametrize("library", LIBRARIES)
def test_every_call_was_recorded(library):
    module = importlib.import_module(f"tests.parity.peers.{library}")
    assert {call: len(values) for call, values in RECORDED[library].items()} == module.CALLS
