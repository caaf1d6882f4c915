"""What controllers have in common: when metrics are looked at, and `observe`."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

import lrsched

RULE = {"factor": 0.5, "patience": 1}


def scale_after(optimizer, metrics, **names):
    state = optimizer.init(jnp.ones(2))
    for metric in metrics:
        _, state = optimizer.update(jnp.ones(2), state, value=metric, **names)
    return float(state.scale)


def test_an_absent_metric_changes_nothing_but_the_clock():
    optimizer = lrsched.reduce_on_plateau(**RULE)
    state = optimizer.init(jnp.ones(2))
    _, state = optimizer.update(jnp.ones(2), state, value=1.0)
    _, after = optimizer.update(jnp.ones(2), state)
    assert int(after.count) == int(state.count) + 1
    jax.tree.map(np.testing.assert_array_equal, after._replace(count=state.count), state)


def test_a_validation_loss_once_an_epoch_counts_once():
    optimizer = optax.chain(
        lrsched.scale_by_learning_rate(0.5), lrsched.reduce_on_plateau(factor=0.5, patience=2)
    )

    @jax.jit
    def step(state):
        return optimizer.update(jnp.ones(2), state)[1]

    state, rates = optimizer.init(jnp.ones(2)), []
    for validation in [1.0, 1.0, 1.0, 1.0, 1.0]:
        for _ in range(7):
            state = step(state)
        state = lrsched.observe(state, validation)
        rates.append(float(lrsched.learning_rate(state)))
    assert rates == [0.5, 0.5, 0.25, 0.25, 0.125]


def test_nothing_is_judged_before_it_is_active():
    optimizer = lrsched.reduce_on_plateau(**RULE, active_from=5)
    rising = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]
    assert scale_after(optimizer, rising) == 1
    assert scale_after(optimizer, [*rising, 7.0]) == 0.5


def test_controllers_listen_to_the_metric_that_they_were_told():
    optimizer = optax.chain(
        lrsched.scale_by_learning_rate(1.0),
        lrsched.reduce_on_plateau(**RULE),
        lrsched.bold_driver(up=1.5, metric="accuracy"),
    )
    state = optimizer.init(jnp.ones(2))
    state = lrsched.observe(state, accuracy=1.0)
    state = lrsched.observe(state, accuracy=0.5)
    assert float(lrsched.learning_rate(state)) == 1.5
    state = lrsched.observe(lrsched.observe(state, 1.0), 2.0, accuracy=0.6)
    assert float(lrsched.learning_rate(state)) == 1.5 * 0.5 * 0.5


def test_a_metric_that_nobody_listens_to_is_named():
    state = lrsched.reduce_on_plateau(metric="loss").init(jnp.ones(2))
    with pytest.raises(ValueError, match="called 'value'; they look at loss"):
        lrsched.observe(state, 1.0)
    with pytest.raises(ValueError, match="none, as there is no controller"):
        lrsched.observe(optax.adam(0.1).init(jnp.ones(2)), 1.0)


def test_a_metric_must_be_one_number():
    optimizer = lrsched.reduce_on_plateau()
    with pytest.raises(ValueError, match=r"value must be one number, not .* shape \(3,\)"):
        optimizer.update(jnp.ones(2), optimizer.init(jnp.ones(2)), value=jnp.ones(3))


def test_the_rule_is_data_in_the_state():
    optimizer = lrsched.reduce_on_plateau(factor=0.5, patience=1)
    state = optimizer.init(jnp.ones(2))
    state = state._replace(rule=jax.tree.map(jnp.asarray, state.rule))
    state = lrsched.observe(state, 1.0)
    gentler = state._replace(
        rule=jax.tree.unflatten(
            jax.tree.structure(state.rule), [0.75, *jax.tree.leaves(state.rule)[1:]]
        )
    )
    assert float(lrsched.observe(gentler, 1.0).scale) == 0.75
    assert float(lrsched.observe(state, 1.0).scale) == 0.5


def nnx_optimizer(rule):
    model = nnx.Linear(3, 2, rngs=nnx.Rngs(0))
    tx = optax.chain(optax.scale_by_adam(), lrsched.scale_by_learning_rate(0.1), rule)
    return model, nnx.Optimizer(model, tx, wrt=nnx.Param)


@pytest.mark.parametrize(
    ("rule", "names"),
    [
        (lrsched.reduce_on_plateau(**RULE), ("value",)),
        (lrsched.reduce_on_overfitting(**RULE), ("value", "validation")),
        (lrsched.greedy(), ("value",)),
    ],
)
@pytest.mark.parametrize("wrap", [lambda f: f, nnx.jit])
def test_it_is_observed_in_an_nnx_optimizer_as_in_a_bare_state(rule, names, wrap):
    model, optimizer = nnx_optimizer(rule)
    state = optimizer.tx.init(nnx.state(model, nnx.Param))

    def told(optimizer, metric):
        shown = lrsched.observe(optimizer.opt_state, **dict.fromkeys(names, metric))
        optimizer.opt_state = shown

    containers = jax.tree.structure(optimizer.opt_state)
    for metric in [1.0, 0.5, 0.75, 0.75, float("nan"), 0.75]:
        wrap(told)(optimizer, jnp.float32(metric))
        state = lrsched.observe(state, **dict.fromkeys(names, metric))
    assert jax.tree.structure(optimizer.opt_state) == containers
    assert lrsched.metrics(optimizer.opt_state) == lrsched.metrics(state)
    assert lrsched.metrics(state)["ignored_metrics"] == 1
    for ours, theirs in zip(*map(jax.tree.leaves, (optimizer.opt_state[2], state[2])), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    optimizer.update(model, jax.tree.map(jnp.ones_like, nnx.state(model, nnx.Param)))


def test_it_is_observed_under_jit_and_vmap():
    state = lrsched.reduce_on_plateau(**RULE).init(jnp.ones(2))

    def after(metrics):
        return lrsched.observe(lrsched.observe(state, metrics[0]), metrics[1]).scale

    scales = jax.jit(jax.vmap(after))(jnp.array([[1.0, 2.0], [2.0, 1.0]]))
    assert scales.tolist() == [0.5, 1.0]


BASES = {
    "adagrad": optax.scale_by_rss(),
    "rmsprop": optax.scale_by_rms(),
    "adam": optax.scale_by_adam(),
}


@pytest.mark.parametrize("base", BASES.values(), ids=BASES)
def test_a_schedule_and_a_controller_drive_any_base(base):
    schedule = lrsched.linear(1.0, 0.5, steps=10)
    optimizer = optax.chain(
        base, lrsched.scale_by_learning_rate(schedule), lrsched.reduce_on_plateau(**RULE)
    )
    params = {"w": jnp.array([1.0, -2.0])}
    state = optimizer.init(params)
    for step, (loss, scale) in enumerate([(3.0, 1.0), (2.0, 1.0), (2.0, 0.5), (2.0, 0.25)]):
        bare, _ = base.update(params, state[0], params)
        updates, state = optimizer.update(params, state, params, value=loss)
        rate = schedule(step) * scale
        np.testing.assert_allclose(lrsched.learning_rate(state), rate, rtol=1e-6)
        np.testing.assert_allclose(updates["w"], -rate * bare["w"], rtol=1e-5)
