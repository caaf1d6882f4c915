"""The table of costs, on a tiny tree: what is counted there, not what is timed."""

import re
from pathlib import Path

import jax
import jax.numpy as jnp
import optax
import pytest

import lrsched
from benchmarks import cost, traffic

TINY = cost.shapes(width=16, blocks=1)


@pytest.mark.parametrize(
    ("name", "copies"), [("adam", 2), ("dog", 1), ("prodigy", 4), ("optax adam", 2)]
)
def test_the_state_is_counted_in_copies_of_the_parameters(name, copies):
    assert cost.state_size(cost.TRANSFORMS[name], TINY) == pytest.approx(copies, abs=0.1)


def test_the_page_has_the_state_of_a_billion_parameters():
    page = (Path(__file__).parents[2] / "docs/adaptive.md").read_text()
    (sentence,) = re.findall(r"With 1 billion parameters[^:|#]*?`\.", page)
    shown = re.findall(r"([\d.]+) GiB with\s`(.*?)`", sentence)
    params = cost.shapes(width=2048, blocks=19)  # 0.99 billion numbers
    assert len(shown) == 5
    for gibibytes, name in shown:
        copies = cost.state_size(cost.TRANSFORMS[name], params)
        assert round(copies * 4e9 / 2**30, 1) == float(gibibytes)


def test_a_step_compiles_and_moves_bytes():
    program = cost.compiled(lrsched.dog(), TINY)
    assert program.cost_analysis()["bytes accessed"] >= 4 * traffic.size(TINY)
    assert "all-reduce" not in program.as_text()


def test_every_method_has_its_row_and_its_twin_beside_it():
    numbers = {"state": 1.0, "bytes": 2.0, "all_reduces": 1}
    costs = {"all": dict.fromkeys(cost.TRANSFORMS, numbers)}
    (table,) = cost.of_transforms({"costs": costs, "versions": {}})
    assert [row[0] for row in table.rows] == [*cost.LRSCHED]
    assert {cost.twin(name) for name in cost.LRSCHED} >= {
        name for name in cost.TRANSFORMS if name.startswith("optax")
    }


def test_no_method_is_missing():
    made = {name.partition("(")[0] for name in cost.LRSCHED}
    takes_updates = {
        name
        for name in lrsched.__all__
        if isinstance(_made(getattr(lrsched, name)), optax.GradientTransformation)
    }
    averages = {"ema_params", "lawa", "polynomial_average", "annealing_average"}
    others = {"record_norms", "scale_by_learning_rate"}
    rules = {"greedy", "bold_driver", "adalrs", "backoff_on_spike", "reduce_on_overfitting"}
    rules |= {"adaptive_kl"}
    assert takes_updates - averages - rules - others <= made


def _made(factory):
    try:
        return factory()
    except (TypeError, ValueError):
        return None


def test_the_value_of_a_step_is_passed_on():
    step = jax.jit(cost.step_of(lrsched.polyak()))
    params = {"w": jnp.ones(2)}
    moved, _ = step(params, lrsched.polyak().init(params), params, jnp.float32(0.5))
    assert float(moved["w"][0]) < 1
