"""Run by `test_gradient_noise.py` on 4 host devices: the gradients of the devices of a mesh."""

import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import PartitionSpec as P

import lrsched

MESH = jax.make_mesh((4,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
OPTIMIZER = lrsched.noise_scale(optax.sgd(1.0), 2, axis_name="data")
x = jnp.asarray(np.random.default_rng(0).normal(size=(8, 3)), jnp.float32)
params = {"w": jnp.ones(3), "b": jnp.zeros(())}


def loss_fn(params, x):
    return jnp.mean((x @ params["w"] + params["b"]) ** 2)


for check_vma in (True, False):

    @jax.jit
    @functools.partial(
        jax.shard_map,
        mesh=MESH,
        in_specs=(P(), P(), P("data")),
        out_specs=(P(), P()),
        check_vma=check_vma,
    )
    def step(params, state, x):
        local = jax.lax.pcast(params, "data", to="varying")
        return OPTIMIZER.update(jax.grad(loss_fn)(local, x), state, params)

    state = OPTIMIZER.init(params)
    text = step.lower(params, state, x).compile().as_text()
    reductions = re.findall(r"= \S.* all-reduce(?:-start)?\(", text)
    assert len(reductions) <= 2, reductions
    updates, state = step(params, state, x)

    grads = [jax.grad(loss_fn)(params, part) for part in jnp.split(x, 4)]
    mean = jax.tree.map(lambda *leaves: sum(leaves) / 4, *grads)
    norm = lambda tree: sum(float(jnp.sum(leaf**2)) for leaf in jax.tree.leaves(tree))  # noqa: E731
    small, big = np.mean([norm(g) for g in grads]), norm(mean)
    result = lrsched.critical_batch_size(state)
    np.testing.assert_allclose(result.trace, (small - big) / (1 / 2 - 1 / 8), rtol=1e-5)
    np.testing.assert_allclose(result.gradient_norm_sq, (8 * big - 2 * small) / 6, rtol=1e-4)
    np.testing.assert_allclose(updates["w"], -mean["w"], rtol=1e-5)
