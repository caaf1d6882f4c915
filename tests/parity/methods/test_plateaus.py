"""Controllers of other libraries: the rate after every metric of every recorded sequence."""

import functools
import json
import types
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import lrsched
from lrsched.compat import keras, torch, transformers
from tests.parity.methods import problem
from tests.parity.methods.record import NUMBERS

ROOT = Path(__file__).parents[3]
CALLS = json.loads((NUMBERS / "transformers.json").read_text())["calls"]
LIBRARIES = {
    "keras": keras,
    "optax": types.SimpleNamespace(reduce_on_plateau=lrsched.reduce_on_plateau),
    "torch": torch,
    "transformers": transformers,
}
NEVER_BELOW_1 = "optax.reduce_on_plateau(factor=0.5, patience=0)"
"""optax then lowers the rate at each improvement, and never otherwise; lrsched raises."""


def is_relative(call):
    """Return whether the margin is relative to the best value: libraries are wrong below 0."""
    is_absolute = call.startswith("keras") or "rtol=0.0" in call or "'abs'" in call
    return not is_absolute and ("transformers" not in call or "'rel'" in call)


def base_rate(call):
    return 1.0 if call.startswith("optax") else float(call.split("(")[1].split(",")[0].rstrip(")"))


@functools.partial(jax.jit, static_argnums=0)
def scales(optimizer, metrics):
    def step(state, metric):
        _, state = optimizer.update(jnp.ones([]), state, value=metric)
        return state, state.scale

    return jax.lax.scan(step, optimizer.init(jnp.ones([])), metrics)[1]


@pytest.mark.parametrize("call", sorted(CALLS.keys() - {NEVER_BELOW_1}))
def test_rates_equal_the_recorded_ones_after_every_metric(call):
    optimizer = eval(call, dict(LIBRARIES))
    for name, metrics in problem.metrics().items():
        if not (name == "negative" and is_relative(call)):
            ours = base_rate(call) * scales(optimizer, jnp.float32(metrics))
            np.testing.assert_allclose(ours, CALLS[call][name], rtol=1e-5, err_msg=name)


def test_a_patience_of_0_is_refused():
    with pytest.raises(ValueError, match="reduce_on_plateau: patience=0 is not accepted"):
        eval(NEVER_BELOW_1, dict(LIBRARIES))


@pytest.mark.parametrize("library", ["torch", "transformers", "optax"])
def test_only_lrsched_lowers_the_rate_for_a_negative_metric(library):
    call = {
        "torch": "torch.ReduceLROnPlateau(0.1, factor=0.5, patience=2, threshold=0.1)",
        "transformers": "transformers.GreedyLR(0.1, patience=2, threshold=0.1, "
        "threshold_mode='rel')",
        "optax": "optax.reduce_on_plateau(factor=0.5, patience=2, rtol=0.1)",
    }[library]
    metrics = jnp.float32(problem.metrics()["negative"])
    ours = scales(eval(call, dict(LIBRARIES)), metrics)
    assert not np.allclose(base_rate(call) * ours, CALLS[call]["negative"])
    constant = scales(eval(call, dict(LIBRARIES)), jnp.full(20, -1.0))
    assert float(constant[-1]) < 1


def test_a_patience_of_2_is_one_of_3_of_lrsched():
    theirs, ours = {"factor": 0.5, "patience": 2}, {"factor": 0.5, "patience": 3}
    metrics = jnp.float32(problem.metrics()["noisy"])
    for ported, original in (
        (
            torch.ReduceLROnPlateau(1.0, **theirs, threshold=0.1, eps=0.0),
            lrsched.reduce_on_plateau(**ours, rtol=0.1, atol=0.0),
        ),
        (
            transformers.GreedyLR(1.0, **theirs, threshold=0.1, min_lr=0.5, eps=0.0),
            lrsched.greedy(**ours, rtol=0.0, atol=0.1, min_scale=0.5, max_scale=1.0),
        ),
    ):
        found = scales(ported, metrics)
        assert float(found.min()) < 1
        np.testing.assert_array_equal(found, scales(original, metrics))


def test_the_page_counts_the_controllers():
    page = " ".join((ROOT / "docs/adaptive.md").read_text().split())
    assert f"and {len(CALLS) - 1} controllers of PyTorch, Keras, transformers and optax" in page
    assert "every metric of six sequences" in page
    assert len(problem.metrics()) == 6
