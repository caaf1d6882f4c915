"""The state of a rate: one structure under every edit, through every checkpoint library."""

import contextlib
import pickle

import chex
import flax.serialization
import jax
import jax.numpy as jnp
import numpy as np
import optax
import orbax.checkpoint
import pytest
from flax.training import checkpoints

import lrsched

PARAMS = {"w": jnp.ones(3)}
COSINE = lrsched.cosine(0.1, steps=100)
EDITS = {
    "hold": lambda s: lrsched.set_learning_rate(s, 0.3),
    "release": lambda s: lrsched.set_learning_rate(s, None),
    "scale": lambda s: lrsched.scale_learning_rate(s, 0.5),
    "extend": lambda s: lrsched.extend(s, 300),
    "shorten": lambda s: lrsched.extend(s, 40),
    "cool": lambda s: lrsched.start_cooldown(s, 20, ramp="cosine"),
    "cool by a power": lambda s: lrsched.start_cooldown(s, 20, ramp="power:1.2"),
    "cool from below": lambda s: lrsched.start_cooldown(s, 20, ramp="linear", start=0.7),
    "stretch the cooldown": lambda s: lrsched.extend(lrsched.start_cooldown(s, 9), 60),
    "restart": lambda s: lrsched.restart(s, 3),
    "another peak": lambda s: lrsched.set_schedule(s, COSINE.replace(peak=0.2)),
}


def make(schedule=COSINE):
    return optax.chain(optax.scale_by_adam(), lrsched.scale_by_learning_rate(schedule))


def run(optimizer, state, steps):
    rates = []
    for _ in range(steps):
        _, state = optimizer.update(PARAMS, state, PARAMS)
        rates.append(float(lrsched.learning_rate(state)))
    return rates, state


@pytest.mark.parametrize("seed", [0, 1])
def test_edits_in_any_order_and_number_keep_the_structure_and_the_compiled_step(seed):
    optimizer = make()
    fresh = optimizer.init(PARAMS)
    step = jax.jit(chex.assert_max_traces(lambda s: optimizer.update(PARAMS, s, PARAMS)[1], n=1))
    state = step(step(fresh))
    chex.clear_trace_counter()
    for name in np.random.default_rng(seed).choice(list(EDITS), 12):
        with contextlib.suppress(ValueError):  # what is over cannot be stretched
            state = step(EDITS[name](state))
        chex.assert_trees_all_equal_shapes_and_dtypes(state, fresh)
        assert jax.tree.structure(state) == jax.tree.structure(fresh)
        assert np.isfinite(lrsched.learning_rate(state))


def by_orbax(state, fresh, path):
    with orbax.checkpoint.StandardCheckpointer() as checkpointer:
        checkpointer.save(path / "state", state)
        checkpointer.wait_until_finished()
        return checkpointer.restore(path / "state", jax.eval_shape(lambda: fresh))


def by_flax(state, fresh, path):
    checkpoints.save_checkpoint_multiprocess(path, state, 1)
    return checkpoints.restore_checkpoint(path, fresh)


def by_equinox(state, fresh, path):
    equinox = pytest.importorskip("equinox")
    equinox.tree_serialise_leaves(path / "state.eqx", state)
    return equinox.tree_deserialise_leaves(path / "state.eqx", fresh)


LIBRARIES = {
    "orbax": by_orbax,
    "flax checkpoints": by_flax,
    "msgpack": lambda state, fresh, path: flax.serialization.from_bytes(
        fresh, flax.serialization.to_bytes(state)
    ),
    "pickle": lambda state, fresh, path: pickle.loads(pickle.dumps(state)),
    "equinox": by_equinox,
}


@pytest.mark.parametrize("library", LIBRARIES.values(), ids=LIBRARIES)
def test_an_edited_run_restores_into_a_fresh_state_and_continues_bit_for_bit(library, tmp_path):
    optimizer = make()
    _, state = run(optimizer, optimizer.init(PARAMS), 5)
    for name in ("extend", "scale", "shorten", "stretch the cooldown", "cool by a power"):
        _, state = run(optimizer, EDITS[name](state), 2)
    restored = library(state, optimizer.init(PARAMS), tmp_path)
    restored = jax.tree.map(jnp.asarray, restored)
    chex.assert_trees_all_equal(restored, state)
    assert run(optimizer, restored, 5)[0] == run(optimizer, state, 5)[0]
    assert "changed at run time" in lrsched.check_resume(restored, COSINE)


def test_two_kinds_of_schedule_never_merge_silently(tmp_path):
    saved = make().init(PARAMS)
    other = make(lrsched.linear(0.2, 0.0, steps=50)).init(PARAMS)
    with pytest.raises(ValueError, match="schedule"):
        flax.serialization.from_bytes(other, flax.serialization.to_bytes(saved))
    merged = other[1]._replace(rate=other[1].rate._replace(fingerprint=saved[1].rate.fingerprint))
    for function in (
        lrsched.learning_rate,
        lambda s: lrsched.scale_learning_rate(s, 0.5),
        lambda s: lrsched.check_resume(s, COSINE),
    ):
        with pytest.raises(ValueError, match="numbers of a schedule of another kind"):
            function((other[0], merged))


def test_the_fingerprint_does_not_depend_on_numbers_or_the_process():
    fingerprints = [
        int(make(schedule).init(PARAMS)[1].rate.fingerprint)
        for schedule in (COSINE, lrsched.cosine(1.0, 7), lrsched.linear(1.0, 0.0, 7))
    ]
    assert fingerprints[0] == fingerprints[1] != fingerprints[2]


@pytest.mark.parametrize("horizon", [50, 2**30])
@pytest.mark.parametrize("total", [1.5, 1.99])
def test_an_extended_schedule_is_exact_to_its_last_steps(horizon, total):
    optimizer = lrsched.scale_by_learning_rate(lrsched.linear(1.0, 0.0, steps=horizon))
    now, end = horizon // 3, int(horizon * total)
    state = lrsched.extend(lrsched.restart(optimizer.init(PARAMS), now), end)
    schedule = lrsched.learning_rate_schedule(state)
    left = np.unique(np.minimum([0, 1, 2, 3, 7, 30, end // 2, end - now], end - now))
    exact = left * ((horizon - now) / (end - now)) / horizon
    values = jnp.stack([schedule(int(end - count)) for count in left])
    np.testing.assert_allclose(values, exact, rtol=1e-6)


@pytest.mark.parametrize("power", [0.5, 1.2, 3.0])
@pytest.mark.parametrize(("start", "end"), [(1.0, 0.0), (0.7, 0.1)])
def test_a_cooldown_by_a_formula_is_numbers_and_reads_back(power, start, end):
    optimizer = lrsched.scale_by_learning_rate(0.5)
    stable = lrsched.restart(optimizer.init(PARAMS), 100)
    state = lrsched.start_cooldown(stable, 1000, ramp=f"power:{power}", start=start, end=end)
    chex.assert_trees_all_equal_structs(state, stable)
    remaining = 1 - np.arange(1001) / 1000
    exact = end + start * (0.5 - end) * remaining**power
    schedule = lrsched.learning_rate_schedule(state)
    np.testing.assert_allclose(schedule(np.arange(100, 1101)), exact, rtol=1e-6)
    assert lrsched.from_dict(lrsched.to_dict(schedule)) == schedule
    assert f"cooldown_ramp='power:{power}'" in repr(schedule)


def test_a_function_as_ramp_changes_the_structure_once():
    optimizer = lrsched.scale_by_learning_rate(0.5)
    state = lrsched.restart(optimizer.init(PARAMS), 100)
    states = [state]
    for steps in (10, 20):
        ramp = jnp.square
        states.append(lrsched.start_cooldown(states[-1], steps, ramp=ramp, start=0.5))
    structures = [jax.tree.structure(state) for state in states]
    assert structures[0] != structures[1] == structures[2]
    rates = lrsched.learning_rate_schedule(states[2])(np.array([100, 110, 120]))
    np.testing.assert_allclose(rates, [0.125, 0.125 / 4, 0.0])


def test_extensions_replace_each_other():
    optimizer = lrsched.scale_by_learning_rate(lrsched.linear(1.0, 0.0, steps=100))
    state = optimizer.init(PARAMS)
    position = 0.0
    for total in (200, 150, 400, 300):
        rates, state = run(optimizer, lrsched.extend(state, total), 20)
        pace = (100 - position) / (total - int(state.count) + 20)
        np.testing.assert_allclose(rates, 1 - (position + pace * np.arange(20)) / 100, rtol=1e-6)
        position += 20 * pace


FACTORIES = {
    "chain": lambda learning_rate: make(learning_rate),
    "adaptive": lrsched.prodigy,
    "inject": lambda learning_rate: lrsched.inject_schedules(optax.sgd)(learning_rate),
    "groups": lambda learning_rate: optax.chain(
        lrsched.scale_by_learning_rate(0.5), lrsched.learning_rate_groups([("w", learning_rate)])
    ),
    "layers": lambda learning_rate: optax.chain(
        lrsched.scale_by_learning_rate(0.5), lrsched.layerwise_decay(learning_rate, lambda _: 1)
    ),
    "in a schedule": lambda learning_rate: make(lrsched.warmup(3) * learning_rate),
}


@pytest.mark.parametrize("inject", ["lrsched", "optax"])
@pytest.mark.parametrize("factory", FACTORIES.values(), ids=FACTORIES)
def test_injected_numbers_are_followed_at_every_update(factory, inject):
    numbers = [0.1, 0.4, 0.2, 0.3]

    def named(learning_rate):
        return factory(learning_rate)

    if inject == "lrsched":
        optimizer = lrsched.inject_schedules(named)(lrsched.table(numbers))
    else:
        optimizer = optax.inject_hyperparams(named)(
            learning_rate=lambda step: jnp.asarray(numbers)[step]
        )
    state, by_hand = optimizer.init(PARAMS), None
    for number in numbers:
        updates, state = optimizer.update(PARAMS, state, PARAMS)
        made = optax.with_extra_args_support(named(jnp.float32(number)))
        by_hand = made.init(PARAMS) if by_hand is None else by_hand
        expected, by_hand = made.update(PARAMS, by_hand, PARAMS)
        chex.assert_trees_all_close(updates, expected, rtol=1e-6)


def test_the_owner_of_an_injected_number_is_named():
    optimizer = optax.inject_hyperparams(lrsched.scale_by_learning_rate)(learning_rate=0.1)
    state = optimizer.init(PARAMS)
    for change in (
        lambda s: lrsched.set_schedule(s, COSINE),
        lambda s: lrsched.extend(s, 10),
    ):
        with pytest.raises(ValueError, match=r"hyperparams of optax.inject_hyperparams"):
            change(state)
    updates, _ = optimizer.update(PARAMS, lrsched.scale_learning_rate(state, 0.5), PARAMS)
    chex.assert_trees_all_close(updates, {"w": jnp.full(3, -0.05)})


def test_traced_numbers_are_clamped_to_legal_ones():
    optimizer = lrsched.scale_by_learning_rate(lrsched.linear(1.0, 0.0, steps=10))
    state = lrsched.restart(optimizer.init(PARAMS), 5)
    bad = [jnp.nan, jnp.inf, -jnp.inf, -1.0]
    changes = [
        lrsched.set_learning_rate,
        lrsched.scale_learning_rate,
        lrsched.extend,
        lrsched.start_cooldown,
        lambda s, x: lrsched.start_cooldown(s, 5, end=x),
        lrsched.restart,
    ]
    for change in changes:
        for number in bad:
            changed = jax.jit(change)(state, number)
            rates, _ = run(optimizer, changed, 3)
            assert np.all(np.isfinite(rates))
            assert min(rates) >= 0


def test_stacked_states_are_edited_and_read_along_their_leading_axes():
    optimizer = make()
    states = jax.vmap(optimizer.init)({"w": jnp.ones((4, 3))})
    for edit in EDITS.values():
        edited = edit(states)
        _, after = jax.vmap(optimizer.update)({"w": jnp.ones((4, 3))}, edited)
        assert lrsched.metrics(after)["learning_rate"].shape == (4,)
    factors = jnp.arange(4.0)
    _, after = jax.vmap(optimizer.update)(
        {"w": jnp.ones((4, 3))}, lrsched.scale_learning_rate(states, factors)
    )
    np.testing.assert_allclose(lrsched.learning_rate(after), 0.1 * factors, rtol=1e-6)
