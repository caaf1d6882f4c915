"""Merged checkpoints beside independent numbers, decayed runs and the running average."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import lrsched
from lrsched.merging import _coefficients
from tests.parity.frontier import cases


@pytest.mark.parametrize(("inputs", "expected", "rtol"), cases("wsm_coefficients"))
def test_coefficients(inputs, expected, rtol):
    np.testing.assert_allclose(_coefficients(np.array(inputs["relative"])), expected, rtol=rtol)


@pytest.mark.parametrize(("inputs", "expected", "rtol"), cases("wsm_named"))
def test_weights_of_named_shapes(inputs, expected, rtol):
    del rtol  # Schedules are float32.
    k = inputs["k"]
    fall = lrsched.cooldown(1.0, start=0, steps=k + 1, ramp=inputs["shape"])
    weights = lrsched.merge_weights(lrsched.shift(fall, -1) * 3.0, range(k + 1))
    scale = expected["relative"][0]  # The first rate of this convention is not the peak.
    relative = np.array(expected["relative"]) / scale
    np.testing.assert_allclose(weights, _coefficients(relative), atol=2e-6)


@pytest.mark.parametrize(("inputs", "expected", "rtol"), cases("wsm_merge"))
def test_merged_values(inputs, expected, rtol):
    del rtol  # Sums are float32.
    saved = [{"w": jnp.array(one)} for one in inputs["checkpoints"]]
    merged = lrsched.merge_checkpoints(saved, _coefficients(np.array(inputs["relative"])))
    np.testing.assert_allclose(merged["w"], expected, rtol=1e-5, atol=1e-7)


def test_every_step_merged_is_the_annealing_average():
    schedule = lrsched.wsd(1.0, steps=20, warmup=0, cooldown=12)
    optimizer = optax.chain(optax.sgd(0.3), lrsched.annealing_average(schedule))
    params = jnp.array([1.0, -2.0])
    state, saved = optimizer.init(params), [params]
    for step in range(20):
        updates, state = optimizer.update(jnp.sin(params + step), state, params)
        params = optax.apply_updates(params, updates)
        saved.append(params)
    merged = lrsched.merge_checkpoints(saved, lrsched.merge_weights(schedule, range(21)))
    np.testing.assert_allclose(merged, lrsched.eval_params(state, params), rtol=1e-5)


def test_a_merge_is_the_decayed_run_where_updates_are_fixed():
    schedule = lrsched.wsd(1.0, steps=100, warmup=0, cooldown=40, ramp="linear")
    grads = np.repeat(np.random.default_rng(0).normal(size=10), 10)
    constant = np.cumsum(grads)
    steps = [60, 70, 80, 90, 100]
    merged = lrsched.merge_weights(schedule, steps) @ constant[np.array(steps) - 1]
    decayed = constant[59] + np.sum((grads * np.asarray(schedule(np.arange(100))))[60:])
    assert merged == pytest.approx(decayed, rel=1e-5)


def test_only_what_has_a_weight_is_loaded_and_integers_are_the_last():
    loaded = []

    def load(name):
        loaded.append(name)
        return {"w": jnp.full(2, name, jnp.bfloat16), "count": jnp.array(name)}

    merged = lrsched.merge_checkpoints([1, 2, 3], [0.0, 0.5, 0.5], load=load)
    assert sorted(loaded) == [2, 3]
    assert merged["count"] == 3
    assert merged["count"].dtype == jnp.int32
    assert merged["w"].dtype == jnp.bfloat16
    assert merged["w"].tolist() == [2.5, 2.5]


def test_sums_are_float32():
    saved = [jnp.array(256.0, jnp.bfloat16), *[jnp.array(1.0, jnp.bfloat16)] * 8]
    weights = [1 / 9] * 9
    merged = lrsched.merge_checkpoints(saved, weights)
    assert merged == jnp.array(264 / 9, jnp.bfloat16)


def test_orbax_checkpoints(tmp_path):
    ocp = pytest.importorskip("orbax.checkpoint")
    with ocp.StandardCheckpointer() as checkpointer:
        for step in (1, 2):
            tree = {"w": jnp.full(3, float(step)), "count": jnp.array(step)}
            checkpointer.save(tmp_path / str(step), tree)
    paths = [tmp_path / "1", str(tmp_path / "2")]
    template = jax.eval_shape(lambda: {"w": jnp.zeros(3), "count": jnp.array(0)})
    for one in (None, template):
        merged = lrsched.merge_checkpoints(paths, [0.25, 0.75], template=one)
        np.testing.assert_allclose(merged["w"], 1.75)
        assert merged["count"] == 2


def merge(*checkpoints):
    return lrsched.merge_checkpoints(checkpoints, [0.5, 0.5])


def test_the_longest_run_takes_little_memory_and_keeps_its_phases():
    steps = 2**31 - 1
    schedule = lrsched.wsd(1.0, steps=steps, warmup=0, cooldown=0.4, ramp="linear")
    weights = lrsched.merge_weights(schedule, [0, steps])
    np.testing.assert_allclose(weights, [0.2, 0.8], rtol=1e-6)  # the mean is 0.6 + 0.4 / 2
    # The same run at a scale where every step is read.
    fall = lrsched.wsd(1.0, steps=1000, warmup=0, cooldown=0.4)
    short = lrsched.merge_weights(fall, [500, 700, 1000])
    fall = lrsched.wsd(1.0, steps=10**9, warmup=0, cooldown=0.4)
    long = lrsched.merge_weights(fall, [500 * 10**6, 700 * 10**6, 10**9])
    np.testing.assert_allclose(long, short, atol=2e-3)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: lrsched.merge_weights(lrsched.constant(1.0), [5]), r"steps=\[5\] is not accepted"),
        (lambda: lrsched.merge_weights(lrsched.constant(1.0), [5, 5]), "that increase from 0"),
        (lambda: lrsched.merge_weights(lrsched.linear(0.1, 1.0, 9), [0, 3, 6]), "it rises"),
        (lambda: lrsched.merge_weights(lrsched.constant(0.0), [0, 3]), "must be above 0"),
        (lambda: lrsched.merge_weights("x", [0, 3]), "schedule='x' is not accepted"),
        (lambda: lrsched.merge_weights(lrsched.constant(1.0), [0, 2**31]), "up to 2"),
        (
            lambda: lrsched.merge_weights(lrsched.constant(1.0), [0.5, 3]),
            r"steps=\[0.5, 3\] is not",
        ),
        (lambda: lrsched.merge_weights(lrsched.constant(1.0), None), "steps=None is not accepted"),
        (lambda: lrsched.merge_checkpoints(None, [1.0]), "checkpoints=None is not accepted"),
        (lambda: lrsched.merge_checkpoints([1.0], [1.0], load=3), "load=3 is not accepted; load"),
        (lambda: lrsched.merge_checkpoints([1.0], "x"), "weights='x' is not accepted"),
        (lambda: merge({"a": {"w": jnp.ones(3)}}, {"a": {"w": jnp.ones(1)}}), r"'a/w' .*\(3,\)"),
        (lambda: merge({"w": jnp.ones(())}, {"w": jnp.ones(3)}), r"differ at 'w' are not accepted"),
        (lambda: merge({"w": 1.0}, {"w": 1.0, "b": 1.0}), "at 'b' .*no such array in one"),
        (lambda: merge((1.0, 2.0), [1.0, 2.0]), "checkpoints of the structures"),
        (lambda: lrsched.merge_checkpoints([1.0], [0.5, 0.5]), "1 checkpoints and weights of"),
        (lambda: lrsched.merge_checkpoints([1.0, 2.0], [0.5, 0.6]), "with the sum 1"),
    ],
)
def test_bad_input(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize(
    ("schedule", "steps", "message"),
    [
        (lrsched.wsd(1.0, steps=100, warmup=10, cooldown=40), [5, 100], "rises after step 5"),
        (lrsched.wsd(1.0, steps=100, warmup=0, cooldown=40) >> 0.5, [60, 200], "after step 60"),
        (lrsched.linear(1.0, -1.0, steps=100), [0, 50, 100], "negative before step 100"),
    ],
)
def test_a_rise_between_two_checkpoints_and_a_negative_rate_are_refused(schedule, steps, message):
    with pytest.raises(ValueError, match=rf"merge_weights: schedule=.* is not accepted.*{message}"):
        lrsched.merge_weights(schedule, steps)


def test_steps_of_a_checkpoint_manager(tmp_path):
    ocp = pytest.importorskip("orbax.checkpoint")
    save = ocp.args.StandardSave
    with ocp.CheckpointManager(tmp_path / "one") as one:
        for step in (1, 2):
            one.save(step, args=save({"w": jnp.full(2, float(step))}))
    merged = lrsched.merge_checkpoints([tmp_path / "one/1", tmp_path / "one/2"], [0.5, 0.5])
    np.testing.assert_array_equal(merged["w"], [1.5, 1.5])
    with ocp.CheckpointManager(tmp_path / "two", item_names=("params", "state")) as two:
        items = {name: save({"w": jnp.ones(2)}) for name in ("params", "state")}
        two.save(1, args=ocp.args.Composite(**items))
    with pytest.raises(ValueError, match=r"has the items params, state; pass .*1/params'"):
        lrsched.merge_checkpoints([tmp_path / "two/1"], [1.0])
    merged = lrsched.merge_checkpoints([tmp_path / "two/1/params"], [1.0])
    np.testing.assert_array_equal(merged["w"], [1.0, 1.0])
