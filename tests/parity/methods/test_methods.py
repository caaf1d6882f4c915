"""Every recorded run of every official package, at every update, in float64."""

import functools
import json

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import lrsched
from tests.parity.methods import problem
from tests.parity.methods.record import NUMBERS

FILES = ["dadaptation", "dog-optimizer", "prodigyopt"]
LEFT_OUT = ("prodigy(learning_rate=1.0, b1=0.0)", "polynomial_decay_average(")
"""The package's own `b1=0` has the new `d` in one factor, and the average is not there yet."""
RECORDED = {
    (file, call): values
    for file in FILES
    for call, values in json.loads((NUMBERS / f"{file}.json").read_text())["calls"].items()
    if not call.startswith(LEFT_OUT)
}
CHAOTIC = {
    "dadapt_sgd(learning_rate=drop, d0=1e-3)": 28,
    "dadapt_adamw(learning_rate=pauses)": 41,
    "dadapt_adamw(learning_rate=warmup_cosine)": 40,
}
"""Updates after which a change of 1e-9 in the parameters has become one of 1e-7: the rates of these
are schedules, which are float32."""
NAMESPACE = {
    **{name: getattr(lrsched, name) for name in lrsched.__all__},
    **{name: lrsched.table(rate(np.arange(200))) for name, rate in problem.RATES.items()},
}


def loss(params, images, labels):
    return problem.loss(params, images, labels, tanh=jnp.tanh, log_softmax=jax.nn.log_softmax)


def estimates(state):
    memory = state.memory
    if hasattr(memory, "estimate"):
        return {"d": memory.estimate}
    return {"eta": state.learning_rate}


@functools.partial(jax.jit, static_argnums=0)
def run(optimizer, params, batches):
    def step(carry, batch):
        params, state = carry
        value, gradients = jax.value_and_grad(loss)(params, *batch)
        updates, state = optimizer.update(gradients, state, params, value=value)
        params = optax.apply_updates(params, updates)
        leaves = jax.tree.leaves(params)
        norm = jnp.sqrt(sum(jnp.sum(leaf**2) for leaf in leaves))
        return (params, state), {"loss": value, "norm": norm, **estimates(state)}

    return jax.lax.scan(step, (params, optimizer.init(params)), batches)[1]


@pytest.mark.parametrize(("file", "call"), RECORDED)
def test_a_run_is_the_official_one(file, call):
    theirs = RECORDED[file, call]
    steps = len(theirs["loss"])
    with jax.enable_x64(True):
        batches = jax.tree.map(
            lambda *arrays: jnp.stack(arrays), *[problem.batch(step) for step in range(steps)]
        )
        params = jax.tree.map(jnp.asarray, problem.parameters())
        ours = run(eval(call, dict(NAMESPACE)), params, batches)
    known = slice(CHAOTIC.get(call, steps))
    first = theirs["loss"][0]
    np.testing.assert_allclose(ours["loss"][known], theirs["loss"][known], atol=1e-5 * first)
    for name in ours.keys() & theirs.keys() - {"loss"}:
        np.testing.assert_allclose(ours[name][known], theirs[name][known], rtol=1e-5, err_msg=name)
