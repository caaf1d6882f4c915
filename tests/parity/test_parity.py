"""Every recorded call of every peer, at every step: ``abs(ours - peer) <= 2e-6 * peak``."""

import importlib
import json

import numpy as np
import pytest

from tests.parity.record import NUMBERS

RECORDED = {path.stem: json.loads(path.read_text())["calls"] for path in NUMBERS.glob("*.json")}


@pytest.mark.parametrize(
    ("peer", "call"), [(peer, call) for peer, calls in RECORDED.items() for call in calls]
)
def test_our_twin_gives_the_peers_numbers(peer, call):
    values = np.array(RECORDED[peer][call])
    ours = eval(call, dict(vars(importlib.import_module(f"lrsched.compat.{peer}"))))
    worst = np.max(np.abs(np.asarray(ours(np.arange(len(values))), np.float64) - values))
    assert worst <= 2e-6 * np.max(np.abs(values)), f"{call}: off by {worst:.2e}"


def test_enough_was_recorded():
    assert sum(map(len, RECORDED.values())) >= 150


@pytest.mark.parametrize("peer", RECORDED)
def test_every_call_was_recorded(peer):
    module = importlib.import_module(f"tests.parity.peers.{peer}")
    assert {call: len(values) for call, values in RECORDED[peer].items()} == module.CALLS
