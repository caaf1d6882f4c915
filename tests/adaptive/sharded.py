"""Run by `test_contract.py` on 8 host devices: each method sharded, beside itself unsharded.

Muon and `hyperball` too, whose matrix products need parameters to travel.
"""

import re
import sys

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import NamedSharding, PartitionSpec

import lrsched
from tests.adaptive.methods import METHODS, gradients_of

MESH = jax.make_mesh((8,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))


def place(tree):
    """Every array cut over the devices along its axis of 16, the rest on each of them."""

    def put(leaf):
        spec = PartitionSpec(*("data" if size == 16 else None for size in leaf.shape))
        return jax.device_put(leaf, NamedSharding(MESH, spec))

    return jax.tree.map(put, tree)


MATRIX_OPTIMIZERS = {
    "muon": lambda rate: lrsched.muon(0.02 * rate, 1e-3, weight_decay=0.1),
    "muon, rms": lambda rate: lrsched.muon(1e-3 * rate, scale="rms", bias_correction=False),
    "hyperball": lambda rate: lrsched.hyperball(optax.scale_by_adam(), 0.02 * rate, 1e-3),
}


def problems(name, make):
    rng = np.random.default_rng(0)
    params = {
        "w": jnp.float32(rng.standard_normal((16, 4))),
        "b": jnp.float32(rng.standard_normal(16)),
    }
    optimizer = optax.with_extra_args_support(make(1.0))

    def step(params, state, gradients):
        updates, state = optimizer.update(gradients, state, params, value=1.0, validation=1.0)
        return optax.apply_updates(params, updates), state

    alone = (params, optimizer.init(params))
    apart = place(alone)
    run_alone = jax.jit(step)
    run_apart = (
        jax.jit(step, out_shardings=jax.tree.map(lambda leaf: leaf.sharding, apart))
        .lower(*apart, place(gradients_of(params)))
        .compile()
    )
    if name not in MATRIX_OPTIMIZERS:
        text = run_apart.as_text()
        reductions = len(re.findall(r"= \S+ all-reduce(?:-start)?\(", text))
        if reductions > 1:
            yield f"{reductions} all-reduces"
        if re.search(r"all-gather|all-to-all|collective-permute", text):
            yield "parameters travel between the devices"
    for _ in range(5):
        alone = run_alone(*alone, gradients_of(alone[0]))
        apart = run_apart(*apart, place(gradients_of(apart[0])))
    for a, b in zip(jax.tree.leaves(alone), jax.tree.leaves(apart), strict=True):
        if not np.allclose(a, b, rtol=1e-5, atol=1e-6):
            yield f"differs by {np.max(np.abs(a - b))}"


OPTIMIZERS = METHODS | MATRIX_OPTIMIZERS
found = [
    f"{name}: {problem}" for name, make in OPTIMIZERS.items() for problem in problems(name, make)
]
print("\n".join(found))
sys.exit(bool(found))
