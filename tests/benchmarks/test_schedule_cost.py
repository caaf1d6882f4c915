import json

import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks import schedule_cost
from benchmarks.costs import CostTable


@pytest.mark.parametrize("name", schedule_cost.PAIRS)
def test_pairs_are_the_same_schedule(name):
    lrsched_schedule, optax_schedule = schedule_cost.PAIRS[name]
    for step in (0, 7, 499, 2999, 3001, 9000):
        if "restarts" in name and step > 900:
            continue
        tolerance = 0.02 if "restarts" in name or name == "one cycle" else 1e-5
        expected = optax_schedule(jnp.int32(step))
        np.testing.assert_allclose(lrsched_schedule(step), expected, atol=tolerance)


def test_restarts_are_one_program_however_many():
    ten, many = (
        schedule_cost.program_size(schedule_cost.PAIRS[f"cosine restarts, {count} cycles"][0])
        for count in (10, 400)
    )
    assert ten == many


def test_no_change_of_a_schedule_of_lrsched_traces_a_step_again():
    table = schedule_cost.traces()
    assert [row[1] for row in table.rows] == ["0"] * len(schedule_cost.CHANGES)
    assert [row[2] for row in table.rows] == ["1", "1", "1", "1", "8"]


def test_every_call_is_timed_in_every_round():
    times = schedule_cost.interleaved_calls([lambda: None, lambda: sum(range(10_000))], 3, 1e-4)
    assert times.shape == (3, 2)
    assert (times > 0).all()


def test_a_table_is_written_as_it_is_shown(tmp_path):
    table = CostTable("T", "python -m this", "C", ["a", "b"], [["1", "2"]], {"jax": "0"})
    table.write(tmp_path / "deep" / "t.json")
    assert CostTable(**json.loads((tmp_path / "deep" / "t.json").read_text())) == table
    assert table.render().row_count == 1
