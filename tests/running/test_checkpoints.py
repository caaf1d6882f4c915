"""The table of edits and checkpoint libraries in docs/runtime.md, cell by cell; the version."""

from pathlib import Path

import chex
import flax.serialization
import jax
import jax.numpy as jnp
import optax
import pytest

import lrsched
from lrsched.transforms import rate
from tests.transforms.test_rate import LIBRARIES

PAGE = Path(__file__).parents[2] / "docs" / "runtime.md"
PARAMS = {"w": jnp.ones(3)}
LINEAR = lrsched.linear(0.1, 0.01, steps=30)


def square(x):
    return x * x


EDITS = {
    "hold": lambda s: lrsched.set_learning_rate(s, 0.3),
    "release": lambda s: lrsched.set_learning_rate(lrsched.set_learning_rate(s, 0.3), None),
    "scale": lambda s: lrsched.scale_learning_rate(s, 0.5),
    "restart": lambda s: lrsched.restart(s, 1),
    "extend": lambda s: lrsched.extend(s, 50),
    "shorten": lambda s: lrsched.extend(s, 10),
    "cool down": lambda s: lrsched.start_cooldown(s, 7, ramp="cosine"),
    "extend a cooldown": lambda s: lrsched.extend(lrsched.start_cooldown(s, 7), 20),
    "`set_schedule`, the same kind": lambda s: lrsched.set_schedule(s, LINEAR.replace(init=0.2)),
    "`set_schedule`, another kind": lambda s: lrsched.set_schedule(s, lrsched.cosine(0.2, 40)),
    "a function as `ramp`": lambda s: lrsched.start_cooldown(s, 7, ramp=square),
}


def table():
    """Return the rows of the table on the page: the edit, and the target for each library."""
    lines = PAGE.read_text().splitlines()
    first = next(index for index, line in enumerate(lines) if line.startswith("| edit | Orbax |"))
    rows = []
    for line in lines[first + 2 :]:
        if not line.startswith("|"):
            break
        rows.append([cell.strip() for cell in line.strip("|").split("|")])
    return [(row[0], dict(zip(LIBRARIES, row[1:], strict=True))) for row in rows]


OPTIMIZER = lrsched.inject_schedules(optax.adamw)(LINEAR)


@chex.assert_max_traces(n=3)
def update(state):
    return OPTIMIZER.update(PARAMS, state, PARAMS)


# One trace for the structure of all edits, and one for each edit that says that it has its own.
step = jax.jit(update)


@pytest.mark.parametrize(("edit", "targets"), table(), ids=[edit for edit, _ in table()])
def test_every_cell_restores_and_continues_bit_for_bit(edit, targets, tmp_path):
    fresh = OPTIMIZER.init(PARAMS)
    _, state = step(step(fresh)[1])
    edited = EDITS[edit](state)
    same = jax.tree.structure(edited) == jax.tree.structure(fresh)
    assert set(targets.values()) == {"none", "fresh" if same else "edited"}
    if same:
        chex.assert_trees_all_equal_shapes_and_dtypes(edited, fresh)
    expected = step(step(edited)[1])
    for library, target in targets.items():
        template = {"fresh": fresh, "edited": EDITS[edit](fresh), "none": None}[target]
        path = tmp_path / library
        path.mkdir()
        restored = LIBRARIES[library](edited, template, path)
        chex.assert_trees_all_equal(step(step(restored)[1]), expected)


def test_the_table_has_every_edit():
    assert [edit for edit, _ in table()] == list(EDITS)


def test_a_later_version_refuses_an_older_record_and_migrate_takes_it_over(monkeypatch):
    _, state = step(OPTIMIZER.init(PARAMS))
    data = flax.serialization.to_bytes(state)
    raw = flax.serialization.msgpack_restore(data)
    monkeypatch.setattr(rate, "RATE_VERSION", rate.RATE_VERSION + 1)
    fresh = OPTIMIZER.init(PARAMS)
    for function in (
        lrsched.learning_rate,
        lambda s: lrsched.extend(s, 40),
        lambda s: lrsched.check_resume(s, LINEAR),
    ):
        with pytest.raises(ValueError, match=r"saved with version 1 .* this is version 2; migrate"):
            function(state)
    with pytest.raises(ValueError, match="call migrate"):
        flax.serialization.from_bytes(fresh, data)
    with pytest.raises(ValueError, match=r"an earlier version saved it.*pass schedule='new'"):
        lrsched.migrate(raw, fresh, schedule="saved")
    for saved in (raw, state):
        taken = lrsched.migrate(saved, fresh)
        assert int(taken.count) == 1
        chex.assert_trees_all_equal(taken.inner_state[0], state.inner_state[0])
        assert lrsched.learning_rate_schedule(taken) == LINEAR
