"""Every recorded run of every official package, at every update, in float64."""

import functools
import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import lrsched
from lrsched.transforms.rate import evaluate_rate
from tests.parity.methods import problem
from tests.parity.methods.record import NUMBERS

FILES = [
    "dadaptation",
    "dog-optimizer",
    "mechanic-pytorch",
    "momo-opt",
    "parameterfree",
    "prodigyopt",
    "pytorch_optimizer",
    "schedulefree",
]
LEFT_OUT = ("prodigy(learning_rate=1.0, b1=0.0)", "schedule_free(prodigy(", "schedule_free(dadapt")
"""The package's own `b1=0` has the new `d` in one factor, and so have the weights of the average in
the wrapper: ours are of the rate that was applied."""
PROBLEMS = {"calls": problem.DIGITS, "convex": problem.CANCER}
ROOT = Path(__file__).parents[3]
RECORDED = {
    (kind, call): series
    for file in FILES
    for kind, calls in json.loads((NUMBERS / f"{file}.json").read_text()).items()
    if kind in PROBLEMS
    for call, series in calls.items()
    if not call.startswith(LEFT_OUT)
}
CHAOTIC = {
    "dadapt_sgd(learning_rate=drop, d0=1e-3)": 28,
    "dadapt_adamw(learning_rate=pauses)": 41,
    "dadapt_adamw(learning_rate=warmup_cosine)": 40,
}
"""Updates after which a change of 1e-9 in the parameters has become one of 1e-7: the rates of these
are schedules, which are float32."""


def polynomial_decay_average(method, gamma):
    return optax.chain(method, lrsched.polynomial_average(gamma))


def sgd(learning_rate, momentum=0.0):
    return optax.chain(optax.trace(momentum), lrsched.scale_by_learning_rate(learning_rate))


def adamw(learning_rate, weight_decay):
    return optax.chain(
        optax.scale_by_adam(),
        optax.add_decayed_weights(weight_decay),
        lrsched.scale_by_learning_rate(learning_rate),
    )


NAMESPACE = {
    **{name: getattr(lrsched, name) for name in lrsched.__all__},
    "polynomial_decay_average": polynomial_decay_average,
    "sgd": sgd,
    "adamw": adamw,
    **{name: lrsched.table(rate(np.arange(200))) for name, rate in problem.RATES.items()},
}


def estimates(state, params):
    """What the packages call by the names of `record.ESTIMATES`."""
    while not isinstance(state, lrsched.AdaptiveState):
        state = state[0]
    memory, applied = state.method_state, state.learning_rate
    found = {"eta": applied, "rate": applied, "scheduled_rate": applied}
    if hasattr(memory, "estimate"):
        found |= {"d": memory.estimate}
    if hasattr(memory, "lower_bound"):
        found |= {"lb": memory.lower_bound}
    if hasattr(memory, "scales"):
        found |= {"s": jnp.sum(memory.scales)}
    if hasattr(memory, "max_distance") and isinstance(memory.max_distance, dict):
        rate = evaluate_rate(state.rate, state.count - 1)
        for name in params:
            eta = rate * memory.max_distance[name] / jnp.sqrt(memory.grad_sq_sum[name])
            found[f"eta_{name}"] = jnp.where(memory.max_distance[name] > 0, eta, applied)
    return found


def norm(params):
    return jnp.sqrt(sum(jnp.sum(leaf**2) for leaf in jax.tree.leaves(params)))


@functools.partial(jax.jit, static_argnums=(0, 1))
def run(trained, optimizer, params, batches):
    def loss(params, batch):
        return trained.loss(params, *batch, tanh=jnp.tanh, log_softmax=jax.nn.log_softmax)

    def step(carry, batch):
        params, state = carry
        value, gradients = jax.value_and_grad(loss)(params, batch)
        updates, state = optimizer.update(gradients, state, params, value=value)
        params = optax.apply_updates(params, updates)
        average = norm(lrsched.eval_params(state, params))
        seen = {"loss": value, "norm": norm(params), "x_norm": average, "average_norm": average}
        return (params, state), seen | estimates(state, params)

    return jax.lax.scan(step, (params, optimizer.init(params)), batches)[1]


@pytest.mark.parametrize(("kind", "call"), RECORDED)
def test_a_run_is_the_official_one(kind, call):
    theirs, trained = RECORDED[kind, call], PROBLEMS[kind]
    steps = len(theirs["loss"])
    with jax.enable_x64(True):
        batches = jax.tree.map(
            lambda *arrays: jnp.stack(arrays), *[trained.batch(step) for step in range(steps)]
        )
        params = jax.tree.map(jnp.asarray, trained.parameters())
        optimizer = optax.with_extra_args_support(eval(call, dict(NAMESPACE)))
        ours = run(trained, optimizer, params, batches)
    known = slice(CHAOTIC.get(call, steps) if kind == "calls" else steps)
    first = theirs["loss"][0]
    np.testing.assert_allclose(ours["loss"][known], theirs["loss"][known], atol=1e-5 * first)
    for name in theirs.keys() - {"loss", "sum", "x_sum", "average_sum"}:
        np.testing.assert_allclose(ours[name][known], theirs[name][known], rtol=1e-5, err_msg=name)


def test_the_page_counts_the_runs():
    page = (ROOT / "docs/adaptive.md").read_text()
    assert f"compares {len(RECORDED)} recorded runs of the official packages" in page
