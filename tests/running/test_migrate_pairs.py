"""Every form of one optimizer is taken over into every other form, and the run continues."""

import functools
import itertools
import warnings

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import orbax.checkpoint
import pytest
from flax import nnx, serialization
from flax.training import train_state

import lrsched

PARAMS = {"w": jnp.array([3.0, -2.0]), "b": jnp.array([1.0])}
LABELS = {"w": "a", "b": "b"}
COSINE = lrsched.cosine(0.1, steps=20)
OPTAX_COSINE = optax.cosine_decay_schedule(0.1, 20)


def train(optimizer, params, state, steps=2):
    optimizer = optax.with_extra_args_support(optimizer)
    for _ in range(steps):
        updates, state = optimizer.update(params, state, params, value=jnp.float32(1.0))
        params = optax.apply_updates(params, updates)
    return params, state


def migrated(saved, fresh, **arguments):
    """Return the migrated state; nothing may be missing."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return lrsched.migrate(saved, fresh, **arguments)


def ours():
    return optax.chain(optax.scale_by_adam(), lrsched.scale_by_learning_rate(COSINE))


def partitioned(make):
    return optax.partition({"a": make(), "b": make()}, LABELS)


THEIRS = {
    "adam": lambda: optax.adam(OPTAX_COSINE),
    "inject_hyperparams": lambda: optax.inject_hyperparams(optax.adam)(OPTAX_COSINE),
    "chain": lambda: optax.chain(
        optax.clip_by_global_norm(1e6), optax.scale_by_adam(), optax.scale_by_schedule(OPTAX_COSINE)
    ),
    "partition": lambda: partitioned(lambda: optax.adam(OPTAX_COSINE)),
    "partition of inject": lambda: partitioned(
        lambda: optax.inject_hyperparams(optax.adam)(OPTAX_COSINE)
    ),
    "inject of partition": lambda: optax.inject_hyperparams(
        lambda learning_rate: partitioned(lambda: optax.adam(learning_rate))
    )(OPTAX_COSINE),
    "masked": lambda: optax.chain(
        optax.masked(optax.adam(OPTAX_COSINE), {"w": True, "b": False}),
        optax.masked(optax.adam(OPTAX_COSINE), {"w": False, "b": True}),
    ),
    "apply_if_finite": lambda: optax.apply_if_finite(optax.adam(OPTAX_COSINE), 3),
    "named_chain": lambda: optax.named_chain(("moments", optax.scale_by_adam()), ("rate", rate())),
}
OURS = {
    "chain": ours,
    "inject": lambda: lrsched.inject_schedules(optax.adam)(COSINE),
    "reversed": lambda: optax.chain(
        lrsched.inject_schedules(lambda learning_rate: optax.adam(learning_rate))(COSINE),
        optax.clip_by_global_norm(1e6),
    ),
    "partition": lambda: partitioned(ours),
    "inject of partition": lambda: lrsched.inject_schedules(
        lambda learning_rate: partitioned(lambda: optax.adam(learning_rate))
    )(COSINE),
    "masked": lambda: optax.masked(ours(), {"w": True, "b": True}),
    "apply_if_finite": lambda: optax.apply_if_finite(
        lrsched.inject_schedules(optax.adam)(COSINE), 3
    ),
    "groups": lambda: optax.chain(ours(), lrsched.learning_rate_groups([("w", 1.0)])),
}


def rate():
    return optax.scale_by_learning_rate(OPTAX_COSINE)


@functools.cache
def optimizer_of(make):
    """Return an optimizer whose update is compiled once for all tests."""
    optimizer = optax.with_extra_args_support(make())
    return optimizer.init, jax.jit(optimizer.update)


def step(make, params, state):
    return optimizer_of(make)[1](PARAMS, state, params)


@functools.cache
def trained(make, steps=2):
    """Return the parameters and the state after some updates."""
    params, state = PARAMS, optimizer_of(make)[0](PARAMS)
    for _ in range(steps):
        updates, state = step(make, params, state)
        params = optax.apply_updates(params, updates)
    return params, state


def check_pair(old, new, saved=None, sign=1.0, **arguments):
    """Check that the next update under the new optimizer is that of the old one."""
    params, state = trained(old)
    fresh = optimizer_of(new)[0](params)
    result = migrated(state if saved is None else saved, fresh, **arguments)
    chex.assert_trees_all_equal_structs(result, fresh)
    chex.assert_trees_all_equal_dtypes(result, fresh)
    expected, _ = step(old, params, state)
    updates, _ = step(new, params, result)
    chex.assert_trees_all_close(updates, optax.tree.scale(sign, expected), rtol=1e-5)
    return result


@pytest.mark.parametrize("old", THEIRS)
def test_every_form_of_optax_becomes_every_form_of_ours(old):
    for make in OURS.values():
        state = check_pair(THEIRS[old], make, sign=-1.0 if old == "chain" else 1.0)
        assert all(rate == COSINE(1) for rate in lrsched.learning_rates(state).values())


def test_every_form_of_ours_becomes_every_other_and_keeps_the_count():
    for old, new in itertools.product(OURS.values(), OURS.values()):
        check_pair(old, new)


@pytest.mark.parametrize("new", ["adam", "partition of inject"])
def test_a_state_of_ours_becomes_one_of_optax(new):
    check_pair(ours, THEIRS[new])
    check_pair(OURS["partition"], THEIRS[new])


# Without a target, checkpoint libraries restore dictionaries and lists.


def orbax_raw(state, path):
    with orbax.checkpoint.StandardCheckpointer() as checkpointer:
        checkpointer.save(path, state)
        checkpointer.wait_until_finished()
        return checkpointer.restore(path)


RAW = {
    **{name: THEIRS[name] for name in ("adam", "inject of partition", "masked")},
    "ours": OURS["inject of partition"],
}


@pytest.mark.parametrize("old", RAW)
def test_a_tree_that_was_restored_without_a_target_is_taken_over(old, tmp_path):
    _, state = trained(RAW[old])
    for raw in (
        orbax_raw(state, tmp_path / "state"),
        serialization.msgpack_restore(serialization.to_bytes(state)),
    ):
        for new in ("chain", "inject", "partition"):
            check_pair(RAW[old], OURS[new], raw)


def test_the_edits_of_a_raw_tree_come_with_the_saved_schedule(tmp_path):
    params, state = trained(OURS["inject"])
    saved = lrsched.extend(lrsched.scale_learning_rate(state, 0.5), 40)
    for raw in (
        orbax_raw(saved, tmp_path / "state"),
        serialization.msgpack_restore(serialization.to_bytes(saved)),
    ):
        for new in (ours, OURS["inject"]):
            result = migrated(raw, optimizer_of(new)[0](params), schedule="saved")
            expected = lrsched.learning_rate_schedule(saved)
            assert lrsched.learning_rate_schedule(result) == expected
        fresh = lrsched.inject_schedules(optax.adam)(lrsched.linear(0.1, 0.0, steps=20)).init(
            params
        )
        with pytest.raises(ValueError, match=r"another kind than linear.*pass schedule='new'"):
            lrsched.migrate(raw, fresh, schedule="saved")


# Containers.


def test_a_linen_train_state_is_taken_over_whole():
    def create(tx):
        return train_state.TrainState.create(apply_fn=None, params=PARAMS, tx=tx)

    old = create(optax.adamw(OPTAX_COSINE)).apply_gradients(grads=PARAMS)
    fresh = create(lrsched.inject_schedules(optax.adamw)(COSINE))
    raw = serialization.msgpack_restore(serialization.to_bytes(old))
    for saved in (old, raw):
        state = migrated(saved, fresh)
        assert state.tx is fresh.tx
        assert int(state.step) == 1
        chex.assert_trees_all_equal(state.params, old.params)
        expected = old.apply_gradients(grads=PARAMS).params
        chex.assert_trees_all_close(state.apply_gradients(grads=PARAMS).params, expected)
    state = migrated(old.opt_state, fresh.opt_state)
    assert int(state.count) == 1


def labels_of(params):
    return jax.tree.map(lambda p: "a" if p.ndim > 1 else "b", params)


def is_matrix(params):
    return jax.tree.map(lambda p: p.ndim > 1, params)


def injected():
    return lrsched.inject_schedules(optax.adam)(COSINE)


NNX = {
    "chain": (optax.adam(OPTAX_COSINE), ours()),
    "inject": (optax.inject_hyperparams(optax.adam)(OPTAX_COSINE), injected()),
    "masked": (
        optax.masked(optax.adam(OPTAX_COSINE), is_matrix),
        optax.masked(injected(), is_matrix),
    ),
    "partition": (
        optax.partition({"a": optax.adam(OPTAX_COSINE), "b": optax.sgd(OPTAX_COSINE)}, labels_of),
        optax.partition({"a": injected(), "b": lrsched.scale_by_learning_rate(COSINE)}, labels_of),
    ),
    "muon": (
        optax.contrib.muon(OPTAX_COSINE, adam_learning_rate=OPTAX_COSINE),
        lrsched.inject_schedules(optax.contrib.muon)(COSINE, adam_learning_rate=COSINE),
    ),
}


def nnx_pair(old, new):
    """Return two models with their optimizers, the first one after two updates, and gradients."""
    models = [nnx.Linear(2, 1, rngs=nnx.Rngs(0)) for _ in range(2)]
    gradients = jax.tree.map(jnp.ones_like, nnx.state(models[0], nnx.Param))
    optimizers = [
        nnx.Optimizer(model, optimizer, wrt=nnx.Param)
        for model, optimizer in zip(models, (old, new), strict=True)
    ]
    for _ in range(2):
        optimizers[0].update(models[0], gradients)
    nnx.update(models[1], nnx.state(models[0]))
    return models, optimizers, gradients


@pytest.mark.parametrize("form", NNX)
def test_an_nnx_optimizer_is_taken_over_in_place_and_as_a_pure_state(form, tmp_path):
    hows = ("opt_state", "pure", *(("optimizer", "orbax", "dict") if form == "chain" else ()))
    for how in hows:
        models, (old, new), gradients = nnx_pair(*NNX[form])
        if how == "opt_state":
            new.opt_state = migrated(old.opt_state, new.opt_state)
        elif how == "optimizer":
            new = migrated(old, new)
        elif how == "dict":
            state = nnx.state(new)
            saved, fresh = (nnx.to_pure_dict(x) for x in (nnx.state(old), state))
            nnx.replace_by_pure_dict(state, migrated(saved, fresh))
            nnx.update(new, state)
        else:
            state = nnx.state(old)
            saved = state if how == "pure" else orbax_raw(state, tmp_path / "state")
            nnx.update(new, migrated(saved, nnx.state(new)))
        for model, optimizer in zip(models, (old, new), strict=True):
            optimizer.update(model, gradients)
        chex.assert_trees_all_close(*map(nnx.state, models), rtol=1e-5)
        rates = lrsched.learning_rates(new.opt_state)
        assert all(rate == COSINE(2) for rate in rates.values())


def test_run_time_changes_of_a_pure_nnx_state_are_kept_or_named():
    linear = lrsched.inject_schedules(optax.adam)(lrsched.linear(0.1, 0.0, steps=9))
    hold = optax.inject_hyperparams(optax.adam)(learning_rate=0.02)
    for old_form, said in ((injected(), "changed at run time"), (hold, "is 0.02, set manually")):
        models, (old, new), gradients = nnx_pair(old_form, injected())
        if old_form is not hold:
            old.opt_state = lrsched.scale_learning_rate(old.opt_state, 0.5)
        saved, fresh = nnx.state(old), nnx.state(new)
        with pytest.warns(UserWarning, match=said):
            lrsched.migrate(saved, fresh)
        nnx.update(new, migrated(saved, fresh, schedule="saved"))
        for model, optimizer in zip(models, (old, new), strict=True):
            optimizer.update(model, gradients)
        chex.assert_trees_all_close(*map(nnx.state, models), rtol=1e-5)
    _, (old, new), _ = nnx_pair(injected(), linear)
    with pytest.raises(ValueError, match="another kind than the fresh one"):
        lrsched.migrate(nnx.state(old), nnx.state(new), schedule="saved")


def test_two_models_of_equal_parameters_keep_their_moments():
    saved = {"critic": trained(THEIRS["adam"])[1], "actor": trained(THEIRS["adam"], 1)[1]}
    fresh = {"actor": ours().init(PARAMS), "critic": OURS["inject"]().init(PARAMS)}
    state = migrated(saved, fresh)
    chex.assert_trees_all_equal(state["actor"][0].mu, saved["actor"][0].mu)
    chex.assert_trees_all_equal(state["critic"].inner_state[0].mu, saved["critic"][0].mu)
    assert (int(state["actor"][1].count), int(state["critic"].count)) == (1, 2)


# Other optimizers.


def test_both_rates_of_muon_are_taken_over():
    params = {"w": jnp.ones((3, 2)), "b": jnp.ones(2)}
    plain = optax.contrib.muon(OPTAX_COSINE, adam_learning_rate=OPTAX_COSINE)
    wrapped = lrsched.inject_schedules(optax.contrib.muon)(COSINE, adam_learning_rate=COSINE)
    params, saved = train(plain, params, plain.init(params), 1)
    state = migrated(saved, wrapped.init(params))
    expected, _ = train(plain, params, saved, 1)
    chex.assert_trees_all_close(train(wrapped, params, state, 1)[0], expected, rtol=1e-5)


def multi_steps(optimizer, every=2):
    return optax.MultiSteps(optimizer, every).gradient_transformation()


def test_multi_steps_counts_updates_inside_and_micro_batches_outside():
    inside = multi_steps(optax.adam(OPTAX_COSINE))
    outside = optax.inject_hyperparams(lambda learning_rate: multi_steps(optax.adam(learning_rate)))
    fresh = multi_steps(lrsched.inject_schedules(optax.adam)(COSINE)).init(PARAMS)
    for old in (inside, outside(OPTAX_COSINE)):
        _, saved = train(old, PARAMS, old.init(PARAMS), 5)
        state = migrated(saved, fresh)
        assert int(state.inner_opt_state.count) == int(state.gradient_step) == 2
        assert int(state.mini_step) == 1
        assert jnp.all(state.acc_grads["w"] != 0)
    chain = optax.chain(multi_steps(optax.scale_by_adam()), lrsched.scale_by_learning_rate(COSINE))
    assert int(migrated(saved, chain.init(PARAMS))[1].count) == 5
    _, saved = train(inside, PARAMS, inside.init(PARAMS), 5)
    with pytest.raises(ValueError, match=r"at 1, .*; step must say"):
        lrsched.migrate(saved, chain.init(PARAMS))
    with pytest.warns(UserWarning, match="mini_step of MultiStepsState of the saved .* is dropped"):
        assert int(lrsched.migrate(saved, ours().init(PARAMS))[1].count) == 2


def descend(optimizer, params, state, steps):
    """Train on a quadratic with its value, which is far from the minimum."""

    def loss(x):
        return sum(jnp.sum(leaf**2) for leaf in jax.tree.leaves(x))

    for _ in range(steps):
        value, gradients = jax.value_and_grad(loss)(params)
        updates, state = optimizer.update(gradients, state, params, value=value)
        params = optax.apply_updates(params, updates)
    return params, state


METHODS = {
    "prodigy": (
        optax.contrib.prodigy(estim_lr0=0.01),
        lrsched.prodigy(d0=0.01, bias_correction=True),
    ),
    "dadapt_adamw": (
        optax.contrib.dadapt_adamw(estim_lr0=0.01),
        lrsched.dadapt_adamw(d0=0.01, bias_correction=True),
    ),
    "momo": (optax.contrib.momo(), lrsched.momo()),
    "momo_adam": (optax.contrib.momo_adam(3.0), lrsched.momo_adam(3.0)),
    "dog": (optax.contrib.dog(lambda step: 1.0), lrsched.dog()),
    "dowg": (optax.contrib.dowg(lambda step: 1.0, eps=1e-12), lrsched.dowg(eps=1e-12)),
    "cocob": (optax.contrib.cocob(lambda step: 1.0), lrsched.cocob()),
    "schedule_free_adamw": (
        optax.contrib.schedule_free_adamw(0.1, weight_decay=0.0),
        lrsched.schedule_free_adamw(0.1),
    ),
    "schedule_free_sgd": (
        optax.contrib.schedule_free_sgd(0.1),
        lrsched.schedule_free_sgd(0.1),
    ),
    "schedule_free": (
        optax.contrib.schedule_free(optax.adam(0.1, b1=0.0), 0.1),
        lrsched.schedule_free(
            optax.chain(optax.scale_by_adam(b1=0.0), lrsched.scale_by_learning_rate(0.1))
        ),
    ),
}


@pytest.mark.parametrize("method", METHODS)
def test_the_estimates_of_optax_methods_are_taken_over(method, tmp_path):
    theirs, mine = map(optax.with_extra_args_support, METHODS[method])
    params, saved = descend(theirs, PARAMS, theirs.init(PARAMS), 3)
    raw = serialization.msgpack_restore(serialization.to_bytes(saved))
    expected, _ = descend(theirs, params, saved, 2)
    anew, _ = descend(mine, params, mine.init(params), 2)
    for old in (saved, raw):
        state = migrated(old, mine.init(params))
        assert int(state.count) == 3
        result, _ = descend(mine, params, state, 2)
        moved = optax.tree.sub(result, params)
        chex.assert_trees_all_close(moved, optax.tree.sub(expected, params), rtol=1e-3)
    error = optax.tree.norm(optax.tree.sub(anew, expected))
    assert error > 0.01 * optax.tree.norm(moved), "a state that starts anew must differ"


def test_the_scale_of_mechanize_is_taken_over():
    theirs = optax.with_extra_args_support(optax.contrib.mechanize(optax.adam(0.1)))
    mine = lrsched.mechanize(optax.adam(0.1))
    params, saved = descend(theirs, PARAMS, theirs.init(PARAMS), 30)
    raw = serialization.msgpack_restore(serialization.to_bytes(saved))
    for old in (saved, raw):
        state = migrated(old, mine.init(params))
        assert int(state.count) == 30
        chex.assert_trees_all_equal(state.method_state.scales, saved.s)
        chex.assert_trees_all_equal(state.method_state.base_state[0], saved.base_optimizer_state[0])
        _, after = descend(mine, params, state, 1)
        np.testing.assert_allclose(lrsched.learning_rate(after), jnp.sum(saved.s), rtol=0.2)
    _, started = descend(mine, params, mine.init(params), 1)
    assert lrsched.learning_rate(started) < 0.01 * jnp.sum(saved.s)


# Changed by hand, and changed groups.


def test_a_rate_that_was_set_by_hand_arrives_as_an_override():
    saved = optax.inject_hyperparams(optax.adam)(learning_rate=3e-4).init(PARAMS)
    saved.hyperparams["learning_rate"] = jnp.float32(0.002)
    fresh = lrsched.inject_schedules(optax.adam)(learning_rate=3e-4)
    for make in (fresh, optax.chain(optax.scale_by_adam(), lrsched.scale_by_learning_rate(3e-4))):
        state = migrated(saved, make.init(PARAMS), schedule="saved")
        _, state = make.update(PARAMS, state, PARAMS)
        assert lrsched.learning_rate(state) == jnp.float32(0.002)
    with pytest.warns(UserWarning, match="saved learning_rate is 0.002, .* gives 0.0003; .*saved"):
        state = lrsched.migrate(saved, fresh.init(PARAMS))
    assert lrsched.learning_rate_schedule(state) == lrsched.constant(3e-4)
    saved.hyperparams["learning_rate"] = jnp.float32(3e-4)
    assert (
        not migrated(saved, fresh.init(PARAMS), schedule="saved")
        .rates["learning_rate"]
        .edits.is_overridden
    )


def test_another_hyperparameter_that_was_set_by_hand_arrives():
    saved = optax.inject_hyperparams(optax.adamw)(COSINE, weight_decay=0.1).init(PARAMS)
    saved.hyperparams["weight_decay"] = jnp.float32(0.3)
    optimizer = lrsched.inject_schedules(optax.adamw)(COSINE, weight_decay=lrsched.constant(0.1))
    state = migrated(saved, optimizer.init(PARAMS), schedule="saved")
    _, state = optimizer.update(PARAMS, state, PARAMS)
    assert lrsched.metrics(state)["weight_decay"] == jnp.float32(0.3)


def in_groups(labels, **optimizers):
    return optax.partition({"frozen": optax.set_to_zero(), **optimizers}, labels)


def test_groups_that_appear_vanish_or_freeze_keep_what_stays_and_say_the_rest():
    old = in_groups({"w": "a", "b": "frozen"}, a=optax.adam(OPTAX_COSINE))
    params, saved = train(old, PARAMS, old.init(PARAMS))
    moments = saved.inner_states["a"].inner_state[0]

    thawed = in_groups({"w": "a", "b": "c"}, a=ours(), c=ours())
    with pytest.warns(UserWarning, match=r"mu, nu of ScaleByAdamState \(b\) of the fresh") as said:
        state = lrsched.migrate(saved, thawed.init(params))
    assert "dropped" not in str(said[0].message)
    a, c = (state.inner_states[name].inner_state for name in ("a", "c"))
    chex.assert_trees_all_equal(a[0].mu["w"], moments.mu["w"])
    assert (int(a[0].count), int(a[1].count)) == (2, 2)
    # The schedule continues; the bias correction of moments that start anew does, too.
    assert (int(c[0].count), int(c[1].count)) == (0, 2)
    thawed.update(PARAMS, state, params)

    frozen = in_groups({"w": "frozen", "b": "c"}, c=ours())
    with pytest.warns(UserWarning, match=r"\(w\) of the saved state is dropped"):
        lrsched.migrate(state, frozen.init(params))
    one = ours()
    joined = migrated(state, one.init(params))
    chex.assert_trees_all_equal(joined[0].mu, {"w": moments.mu["w"], "b": c[0].mu["b"]})


def test_multipliers_are_those_of_the_fresh_state():
    def make(*groups):
        return optax.chain(ours(), lrsched.learning_rate_groups(list(groups)))

    frozen, half = make(("w", None)), make(("w", 0.5), ("b", 2.0))
    _, saved = train(frozen, PARAMS, frozen.init(PARAMS))
    for schedule in ("new", "saved"):
        state = migrated(saved, half.init(PARAMS), schedule=schedule)
        rates = lrsched.learning_rates(state)
        assert (rates["w"], rates["b"]) == (0.5 * COSINE(1), 2 * COSINE(1))
        _, state = half.update(PARAMS, state, PARAMS)
        back = migrated(state, frozen.init(PARAMS), schedule=schedule)
        updates, back = frozen.update(PARAMS, back, PARAMS)
        assert not jnp.any(updates["w"])
        assert lrsched.learning_rates(back)["w"] == 0


def test_states_under_vmap_are_taken_over_along_their_axis():
    stacked = jax.tree.map(lambda x: jnp.stack([x, 2 * x, 3 * x]), PARAMS)
    old, new = optax.adam(OPTAX_COSINE), OURS["inject"]()
    saved = jax.vmap(old.init)(stacked)
    _, saved = jax.vmap(old.update)(stacked, saved, stacked)
    state = migrated(saved, jax.vmap(new.init)(stacked))
    assert state.count.tolist() == [1, 1, 1]
    expected, _ = jax.vmap(old.update)(stacked, saved, stacked)
    chex.assert_trees_all_close(
        jax.vmap(new.update)(stacked, state, stacked)[0], expected, rtol=1e-5
    )


def test_the_result_can_be_donated_and_is_sharded_as_the_fresh_state(tmp_path):
    _, state = trained(THEIRS["partition"])
    result = migrated(orbax_raw(state, tmp_path / "state"), OURS["partition"]().init(PARAMS))
    leaves = jax.tree.leaves(result)
    assert all(isinstance(leaf, jax.Array) for leaf in leaves)
    buffers = [leaf.unsafe_buffer_pointer() for leaf in leaves]
    assert len(set(buffers)) == len(buffers)
    np.testing.assert_array_equal(result.inner_states["a"].inner_state[0].count, 2)


@pytest.mark.parametrize(
    "restored", [lambda s: s, serialization.to_state_dict], ids=["typed", "raw"]
)
@pytest.mark.parametrize("labels", [("m", "v"), ("mu", "nu"), ("count", "step")])
def test_labels_of_a_partition_may_be_called_as_fields_of_states(labels, restored):
    names = dict(zip(PARAMS, labels, strict=True))

    def both(make):
        return optax.partition({label: make() for label in labels}, names)

    old, new = both(lambda: optax.adam(OPTAX_COSINE)), both(ours)
    params, state = train(old, PARAMS, old.init(PARAMS))
    expected, _ = train(old, params, state)
    for optimizer in (new, ours()):
        taken = migrated(restored(state), optimizer.init(PARAMS))
        chex.assert_trees_all_close(train(optimizer, params, taken)[0], expected, rtol=1e-6)
    _, state = train(new, params, new.init(PARAMS))
    assert lrsched.check_resume(state, new.init(PARAMS)) == ""
