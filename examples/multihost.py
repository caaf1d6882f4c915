"""Train in two processes with a sharded batch: rate and plateau state are the same in both.

    python examples/multihost.py --steps 100

Requires the extra ``bench``: mlxtend and tyro. The script starts itself twice; the processes meet
on localhost, as the hosts of a pod meet at their coordinator. The irises are sorted by species and
each process has one half of them, so the losses of the halves differ. The controller observes the
loss of the jitted step, which is the mean over the global batch. Schedule and scale are replicated
scalars of the state, so the processes need not exchange their rates.
"""

import functools
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import tyro
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from mlxtend.data import iris_data

import lrsched


@jax.jit
def loss_of(params, batch):
    x, y = batch
    logits = x @ params["w"] + params["b"]
    return optax.softmax_cross_entropy_with_integer_labels(logits, y).mean()


def train(process: int, port: int, steps: int, peak: float):
    # Two processes cannot share one accelerator.
    jax.config.update("jax_platforms", "cpu")
    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    jax.distributed.initialize(f"localhost:{port}", num_processes=2, process_id=process)
    mesh = Mesh(np.array(jax.devices()), ("data",))
    split = NamedSharding(mesh, PartitionSpec("data"))
    everywhere = NamedSharding(mesh, PartitionSpec())

    optimizer = optax.chain(
        lrsched.scale_by_learning_rate(lrsched.wsd(peak, steps, warmup=0.1, cooldown=0.2)),
        lrsched.reduce_on_plateau(factor=0.5, patience=2, accumulation_size=5),
    )

    @functools.partial(jax.jit, out_shardings=everywhere)
    def init():
        params = {"w": jnp.zeros((4, 3)), "b": jnp.zeros(3)}
        return params, optimizer.init(params)

    @jax.jit
    def train_step(params, state, batch):
        loss, gradients = jax.value_and_grad(loss_of)(params, batch)
        updates, state = optimizer.update(gradients, state, params, value=loss)
        return optax.apply_updates(params, updates), state, loss

    features, kinds = iris_data()
    features = np.float32((features - features.mean(axis=0)) / features.std(axis=0))
    mine = np.array_split(np.arange(len(kinds)), 2)[process]
    rng, history = np.random.default_rng(process), []
    params, state = init()
    for _ in range(steps):
        chosen = rng.choice(mine, 16)
        part = features[chosen], kinds[chosen]
        part_loss = loss_of(jax.tree.map(lambda x: x.addressable_data(0), params), part)
        batch = jax.tree.map(lambda x: jax.make_array_from_process_local_data(split, x), part)
        params, state, loss = train_step(params, state, batch)
        seen = lrsched.metrics(state)
        history.append((part_loss, loss, seen["controller_scale"], seen["learning_rate"]))
    return np.float32(history)


def main(steps: int = 100, peak: float = 4.0):
    with socket.socket() as free, tempfile.TemporaryDirectory() as directory:
        free.bind(("localhost", 0))
        arguments = [str(free.getsockname()[1]), str(steps), str(peak), directory]
        free.close()
        command = [sys.executable, __file__, "--process"]
        started = [subprocess.Popen([*command, str(i), *arguments]) for i in range(2)]
        if any([process.wait() for process in started]):
            raise SystemExit("a process failed; its error is above")
        found = np.stack([np.load(Path(directory) / f"{i}.npy") for i in range(2)])
    print("step   loss of part 0, 1, both     process 0: scale, rate  process 1: scale, rate")
    for step in range(0, steps, max(1, steps // 10)):
        (part, loss, *rates), (other, _, *others) = found[:, step]
        losses = "".join(f"{x:9.3f}" for x in (part, other, loss))
        print(f"{step:>4}{losses}", *("{:14.4f}  {:.2e}".format(*x) for x in (rates, others)))
    return found


if __name__ == "__main__":
    if sys.argv[1:2] == ["--process"]:
        process, port, steps, peak, directory = sys.argv[2:]
        history = train(int(process), int(port), int(steps), float(peak))
        np.save(Path(directory) / f"{process}.npy", history)
    else:
        tyro.cli(main)
