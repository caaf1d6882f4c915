"""An ``nnx.Optimizer`` on a mesh of 8 devices, with donation and an Orbax ``CheckpointManager``.

Run in a process of its own, as the number of devices is fixed when a backend starts.
"""

import sys
from pathlib import Path

import chex
import jax
import jax.numpy as jnp
import optax
import orbax.checkpoint as ocp
from flax import nnx
from jax.sharding import AxisType, NamedSharding, PartitionSpec

import lrsched
from tests.trainers.survival import (
    SCHEDULE,
    Trainer,
    check_survival,
    one_trace,
    plain_schedule,
    regression,
)

jax.config.update("jax_num_cpu_devices", 8)


def main(path: Path) -> None:
    mesh = jax.make_mesh((8,), ("data",), axis_types=(AxisType.Auto,))
    replicated = NamedSharding(mesh, PartitionSpec())
    x, y = (jax.device_put(a, NamedSharding(mesh, PartitionSpec("data"))) for a in regression())

    transform = optax.chain(optax.scale_by_adam(), lrsched.scale_by_learning_rate(SCHEDULE))

    def start(transform=transform):
        model = nnx.Linear(4, 1, rngs=nnx.Rngs(0))
        return split(model, nnx.Optimizer(model, transform, wrt=nnx.Param))

    # The graph is the same for every job, so that one compiled step serves all of them.
    graphs = []

    def split(model, optimizer):
        graph, state = nnx.split((model, optimizer))
        graphs.append(graph)
        return jax.device_put(state, replicated)

    def advance(state):
        model, optimizer = nnx.merge(graphs[0], state)
        gradient = nnx.grad(lambda model: jnp.mean((model(x) - y) ** 2))(model)
        optimizer.update(model, gradient)
        return nnx.state((model, optimizer))

    compiled = one_trace(advance, donate_argnums=0, out_shardings=replicated)

    def step(state):
        # The step donates its argument, and the job before it is still compared.
        return compiled(jax.tree.map(jnp.copy, state))

    def edit(state, change):
        model, optimizer = nnx.merge(graphs[0], state)
        optimizer.opt_state = change(optimizer.opt_state)
        return jax.device_put(nnx.state((model, optimizer)), replicated)

    manager = ocp.CheckpointManager(path)

    def save(state, _):
        manager.save(1, args=ocp.args.StandardSave(nnx.to_pure_dict(state)))
        manager.wait_until_finished()

    def restore(state, _):
        target = jax.tree.map(ocp.utils.to_shape_dtype_struct, nnx.to_pure_dict(state))
        restored = manager.restore(1, args=ocp.args.StandardRestore(target))
        nnx.replace_by_pure_dict(state, restored)
        return state

    def read(state):
        return nnx.merge(graphs[0], state)[1].opt_state

    check_survival(Trainer(start, step, edit, save, restore, read), path)

    # A checkpoint of plain optax, restored without a target.
    old = start(optax.adam(plain_schedule))
    graph = graphs[-1]

    @jax.jit
    def plain_step(state):
        model, optimizer = nnx.merge(graph, state)
        gradient = nnx.grad(lambda model: jnp.mean((model(x) - y) ** 2))(model)
        optimizer.update(model, gradient)
        return nnx.state((model, optimizer))

    old = plain_step(plain_step(old))
    manager.save(2, args=ocp.args.StandardSave(nnx.to_pure_dict(old)))
    manager.wait_until_finished()
    model, optimizer = nnx.merge(graphs[0], start())
    restored = manager.restore(2, args=ocp.args.StandardRestore())
    optimizer.opt_state = lrsched.migrate(restored["1"]["opt_state"], optimizer.opt_state)
    nnx.update(model, nnx.state(nnx.merge(graph, old)[0]))
    new = jax.device_put(nnx.state((model, optimizer)), replicated)
    models = nnx.state(nnx.merge(graph, plain_step(old))[0]), step(new)[0]
    chex.assert_trees_all_close(*map(nnx.to_pure_dict, models), rtol=1e-5)
    manager.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
