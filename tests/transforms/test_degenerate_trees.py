"""Trees that few people have: each transform takes them, or says in a sentence what it takes."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import lrsched

RATE = lrsched.cosine(0.1, steps=9)


def after_a_rate(transform):
    return optax.chain(lrsched.scale_by_learning_rate(RATE), transform)


TRANSFORMS = {
    "scale_by_learning_rate": lambda: lrsched.scale_by_learning_rate(RATE),
    "learning_rate_groups": lambda: after_a_rate(lrsched.learning_rate_groups([])),
    "layerwise_decay": lambda: after_a_rate(lrsched.layerwise_decay(0.5, lambda path: 1)),
    "inject_schedules": lambda: lrsched.inject_schedules(optax.adamw)(RATE),
    "with_weight_decay": lambda: lrsched.with_weight_decay(optax.scale_by_adam(), RATE, 0.1),
    "with_weight_decay, cautious": lambda: lrsched.with_weight_decay(
        optax.scale_by_adam(), RATE, [("a", 0.1)], cautious=True
    ),
    "masked": lambda: optax.masked(
        lrsched.scale_by_learning_rate(RATE), lambda tree: jax.tree.map(lambda _: True, tree)
    ),
    "muon": lambda: lrsched.muon(RATE, RATE),
    "hyperball": lambda: lrsched.hyperball(optax.scale_by_adam(), RATE, RATE),
    "ema_params": lambda: after_a_rate(lrsched.ema_params()),
}
MATRIX = jnp.array([[1.0, -2.0], [0.5, 3.0]])
TREES = {
    "empty": {},
    "None": {"a": MATRIX, "none": None},
    "masked nodes": {"a": MATRIX, "masked": optax.MaskedNode()},
    "Python numbers": {"a": MATRIX, "number": 2.0},
    "NumPy": {"a": np.asarray(MATRIX), "scalar": np.float32(1)},
    "no entries": {"a": MATRIX, "nothing": jnp.ones((0, 3))},
    "complex": {"a": MATRIX, "complex": MATRIX * (1 + 2j)},
}


@pytest.mark.parametrize("tree", TREES.values(), ids=TREES)
@pytest.mark.parametrize("make", TRANSFORMS.values(), ids=TRANSFORMS)
def test_a_tree_is_updated_and_its_state_can_be_mapped(make, tree):
    optimizer = optax.with_extra_args_support(make())
    fresh = optimizer.init(tree)
    updates, state = optimizer.update(tree, fresh, tree)
    assert jax.tree.structure(state) == jax.tree.structure(fresh)
    assert jax.tree.structure(updates) == jax.tree.structure(tree)
    for update in jax.tree.leaves(optax.apply_updates(tree, updates)):
        assert np.all(np.isfinite(update))
    state = lrsched.extend(lrsched.scale_learning_rate(state, 0.5), 20)
    mapped = optax.tree_utils.tree_map_params(optimizer, lambda leaf: leaf, state)
    jax.tree.map(np.testing.assert_array_equal, mapped, state)


def test_a_complex_array_is_trained_as_a_pair_of_real_ones():
    optimizer = optax.chain(
        lrsched.scale_by_learning_rate(RATE), lrsched.learning_rate_groups([("z", 0.5)])
    )
    z = MATRIX * (1 + 2j)
    pair = {"z real": z.real, "z imag": z.imag}
    together, _ = optimizer.update({"z": z}, optimizer.init({"z": z}))
    apart, _ = optimizer.update(pair, optimizer.init(pair))
    np.testing.assert_allclose(together["z"], apart["z real"] + 1j * apart["z imag"], rtol=1e-6)


def test_a_complex_matrix_is_refused_where_it_is_chosen():
    with pytest.raises(ValueError, match=r"'z' of shape .* with complex entries"):
        lrsched.muon(RATE, matrices="z").init({"z": MATRIX * 1j})
