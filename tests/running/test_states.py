"""States as other people's code treats them: mapped by optax, walked by Equinox, saved by Flax."""

import subprocess
import sys
import typing
from types import FunctionType

import jax
import jax.numpy as jnp
import optax
import pytest

import lrsched

PARAMS = {"w": jnp.ones((8, 2)), "b": jnp.ones(2)}
COSINE = lrsched.cosine(0.1, steps=9)


def ours():
    return optax.chain(optax.scale_by_adam(), lrsched.scale_by_learning_rate(COSINE))


OPTIMIZERS = {
    "chain": ours,
    "groups": lambda: optax.chain(ours(), lrsched.learning_rate_groups([("w", 2.0), ("b", None)])),
    "layerwise": lambda: optax.chain(ours(), lrsched.layerwise_decay(0.5, {"w": 0, "b": 3}.get)),
    "inject": lambda: lrsched.inject_schedules(optax.adamw)(COSINE, weight_decay=COSINE),
    "muon": lambda: lrsched.muon(COSINE, COSINE),
    "plateau": lambda: optax.chain(ours(), lrsched.reduce_on_plateau()),
    "prodigy": lambda: lrsched.prodigy(COSINE),
    "schedule_free": lambda: lrsched.schedule_free(ours()),
    "lawa": lambda: optax.chain(ours(), lrsched.lawa()),
}
EDITS = {
    "fresh": lambda s: s,
    "edited": lambda s: lrsched.scale_learning_rate(lrsched.start_cooldown(s, 5), 0.5),
}


@pytest.mark.parametrize("make", OPTIMIZERS.values(), ids=OPTIMIZERS)
@pytest.mark.parametrize("edit", EDITS.values(), ids=EDITS)
def test_optax_maps_the_parameters_in_a_state(make, edit):
    if edit is EDITS["edited"] and make is OPTIMIZERS["schedule_free"]:
        pytest.skip("a cooldown of schedule_free goes to its base")
    optimizer = make()
    state = edit(optimizer.init(PARAMS))
    mapped = optax.tree_utils.tree_map_params(optimizer, lambda x: "spec", state)
    specs = sum(leaf == "spec" for leaf in jax.tree.leaves(mapped) if isinstance(leaf, str))
    assert specs >= len(PARAMS)


def visit(function, path=()):
    """Return the number of functions that a function reaches, none of which is on the way to it."""
    assert function not in path, f"{function.__qualname__} refers to itself"
    cells = [cell.cell_contents for cell in function.__closure__ or ()]
    inner = [cell for cell in cells if isinstance(cell, FunctionType)]
    return 1 + sum(visit(cell, (*path, function)) for cell in inner)


@pytest.mark.parametrize("make", OPTIMIZERS.values(), ids=OPTIMIZERS)
def test_no_closure_of_a_transform_refers_to_itself(make):
    optimizer = make()
    assert visit(optimizer.init) >= 1
    assert visit(optimizer.update) >= 1


class ActorCritic(typing.NamedTuple):
    policy: jax.Array
    value: jax.Array


def test_a_parameter_called_value_keeps_its_name():
    params = {"net": ActorCritic(jnp.ones(2), jnp.ones(3)), "value": jnp.ones(1)}
    table = lrsched.group_table([("net/value", 10.0), ("^value", None)], params)
    groups = {line.split()[0]: line.split()[-1] for line in table.splitlines()[1:]}
    assert groups == {"net/policy": "1.0", "net/value": "10.0", "value": "frozen"}
    saved = optax.adam(COSINE).init(params)
    state = lrsched.migrate(saved, ours().init(params))
    assert state[0].mu["net"].value is saved[0].mu["net"].value


def test_flax_may_be_imported_after_init():
    program = """
import sys
import jax.numpy as jnp
import optax
import lrsched

params = {"w": jnp.ones(3)}
optimizer = optax.chain(
    lrsched.scale_by_learning_rate(optax.cosine_decay_schedule(0.1, 10)),
    lrsched.reduce_on_plateau(),
    lrsched.annealing_average(lrsched.cosine(0.1, 9)),
)
state = optimizer.init(params)
assert "flax" not in sys.modules
import flax.serialization

print(flax.serialization.from_bytes(state, flax.serialization.to_bytes(state)) is not None)
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert done.stdout == "True\n", done.stderr
