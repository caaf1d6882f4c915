"""Run by `test_averaging.py` on 8 host devices: averages and records of sharded parameters."""

import re

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, NamedSharding, PartitionSpec

import lrsched

SPEC = PartitionSpec(None, "data")


def check_snapshots(mesh):
    """Snapshots have the sharding of their parameter, at `init` and after a compiled update."""
    params = jax.device_put(jnp.arange(64.0).reshape(8, 8), NamedSharding(mesh, SPEC))
    optimizer = lrsched.lawa(num_snapshots=3, updates_per_snapshot=2)
    state = optimizer.init(params)
    for _ in range(5):
        assert state.snapshots.sharding.spec == PartitionSpec(None, *SPEC), state.snapshots.sharding
        _, state = jax.jit(optimizer.update)(params, state, params)
    expected = np.arange(64.0).reshape(8, 8) * 2
    np.testing.assert_array_equal(jax.jit(lrsched.eval_params)(state, params), expected)


def check_reductions(mesh):
    """The norms of sharded arrays are one all-reduce, of scalars only.

    XLA for GPU and TPU then adds the scalars of each norm before it reduces them; XLA for CPU keeps
    one operand per array.
    """
    grads = [
        jax.device_put(jnp.ones((8, 8)), NamedSharding(mesh, SPEC)),
        jax.device_put(jnp.ones((4, 16)), NamedSharding(mesh, SPEC)),
    ]
    optimizer = lrsched.record_norms()
    compiled = jax.jit(optimizer.update).lower(grads, optimizer.init(grads)).compile()
    (operands,) = re.findall(r"= (.*) all-reduce(?:-start)?\(", compiled.as_text())
    assert set(re.findall(r"f32\[.*?\]", operands)) == {"f32[]"}, operands
    _, state = compiled(grads, optimizer.init(grads))
    assert lrsched.recorded_norms(state).l1.tolist() == [128.0]


for axis_type in (AxisType.Auto, AxisType.Explicit):
    devices = jax.make_mesh((8,), ("data",), axis_types=(axis_type,))
    with jax.set_mesh(devices):
        check_snapshots(devices)
        check_reductions(devices)
