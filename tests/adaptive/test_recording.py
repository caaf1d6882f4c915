"""`record_norms`; what all transforms guarantee is tested in test_contract.py."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import lrsched


def record(sizes, **options):
    """Return the record of gradients ``[3 size, -4 size]``, of norms ``5 size`` and ``7 size``."""
    optimizer = lrsched.record_norms(**options)

    def step(state, size):
        return optimizer.update(jnp.array([3.0, -4.0]) * size, state)[1], None

    state = optimizer.init(jnp.zeros(2))
    return jax.lax.scan(step, state, jnp.float32(sizes))[0]


@pytest.mark.parametrize("count", [1, 7, 8, 9, 16, 17, 23, 64, 100])
def test_a_run_of_any_length_is_recorded_as_means_of_equal_segments(count):
    sizes = np.random.default_rng(0).uniform(0.5, 2, count)
    state = record(sizes, max_records=8)
    found, each = lrsched.recorded_norms(state), int(state.updates_per_record)
    assert each == 2 ** max(0, int(np.ceil(np.log2(count / 8))))
    assert min(count, 4) <= len(found.steps) <= 8
    parts = np.split(np.arange(count), np.arange(each, count, each))
    assert found.steps.tolist() == [(part[0] + part[-1]) // 2 for part in parts]
    means = [[np.mean(sizes[part] ** power) for part in parts] for power in (1, 2)]
    np.testing.assert_allclose(found.l1, 7 * np.array(means[0]), rtol=1e-5)
    np.testing.assert_allclose(found.l2, 5 * np.sqrt(means[1]), rtol=1e-5)


def test_a_first_segment_of_several_updates():
    found = lrsched.recorded_norms(record([1.0, 3.0, 5.0], max_records=4, updates_per_record=2))
    assert found.steps.tolist() == [0, 2]
    np.testing.assert_allclose(found.l1, [14.0, 35.0])


def test_a_nonfinite_update_is_skipped_and_counted():
    state = record([1.0, np.nan, np.inf, 2.0])
    assert (int(state.count), int(state.nonfinite_count)) == (2, 2)
    np.testing.assert_allclose(lrsched.recorded_norms(state).l2, [5.0, 10.0])


def test_updates_pass_unchanged_and_bfloat16_is_summed_in_float32():
    optimizer, grads = lrsched.record_norms(), {"w": jnp.full(10_000, 0.1, jnp.bfloat16)}
    updates, state = optimizer.update(grads, optimizer.init(grads))
    assert updates is grads
    np.testing.assert_allclose(
        lrsched.recorded_norms(state).l1, 10_000 * float(grads["w"][0]), rtol=1e-5
    )


def test_complex_gradients_and_empty_trees_have_real_norms():
    optimizer = lrsched.record_norms()
    for grads, norms in [(jnp.array([3.0 + 4.0j, 0.0]), (5.0, 5.0)), ({}, (0.0, 0.0))]:
        _, state = optimizer.update(grads, optimizer.init(grads))
        found = lrsched.recorded_norms(state)
        assert (float(found.l1[0]), float(found.l2[0])) == norms


def test_a_record_is_found_in_every_wrapper_and_drives_a_refinement():
    optimizer = optax.MultiSteps(
        optax.chain(lrsched.record_norms(max_records=4), optax.masked(optax.adam(0.1), True)), 2
    )
    params = jnp.array([1.0, 2.0])
    state = optimizer.init(params)
    step = jax.jit(lambda state: optimizer.update(params, state, params)[1])
    for _ in range(6):
        state = step(state)
    found = lrsched.recorded_norms(state)
    assert found.steps.tolist() == [0, 1, 2]
    np.testing.assert_allclose(lrsched.points(found.steps, found.l1)([0, 9]), [3.0, 3.0])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: lrsched.record_norms(max_records=5),
            "max_records=5 is not accepted; max_records must be an even",
        ),
        (
            lambda: lrsched.record_norms(updates_per_record=0),
            "updates_per_record=0 is not accepted",
        ),
        (
            lambda: lrsched.recorded_norms(optax.adam(0.1).init(1.0)),
            "holds 0 states of record_norms",
        ),
        (lambda: lrsched.recorded_norms([record([1.0]), record([1.0])]), "holds 2 states"),
        (lambda: lrsched.recorded_norms(lrsched.record_norms().init(1.0)), "record .* is empty"),
    ],
)
def test_bad_input(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_a_record_takes_4_1_kb():
    state = lrsched.record_norms().init({"w": jnp.ones((8, 8))})
    assert sum(leaf.nbytes for leaf in jax.tree.leaves(state)) == pytest.approx(4100, abs=50)
