from itertools import combinations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from benchmarks.workloads import WORKLOADS
from benchmarks.workloads.base import Workload, accuracy, cross_entropy, split
from benchmarks.workloads.mnist_cnn import max_pool


@pytest.fixture(scope="module", params=WORKLOADS.values(), ids=WORKLOADS)
def workload(request) -> Workload:
    return request.param


@pytest.fixture(scope="module")
def data(workload):
    return workload.data()


def test_splits_share_no_example(workload, data):
    examples = [
        {x.tobytes() + y.tobytes() for x, y in zip(part.inputs, part.targets, strict=True)}
        for part in data
    ]
    for one, other in combinations(examples, 2):
        shared = one & other
        assert not shared or (workload.name == "topics-lm" and len(shared) < 5)  # empty lines


@pytest.mark.parametrize("name", ["digits-mlp", "mnist-cnn", "mnist-vit", "cancer-logistic"])
def test_splits_have_every_class_alike(name):
    data = WORKLOADS[name].data()
    whole = np.bincount(np.concatenate([part.targets for part in data]))
    for part in data:
        frequencies = np.bincount(part.targets) / len(part.targets)
        np.testing.assert_allclose(frequencies, whole / whole.sum(), atol=0.01)


def test_numbers_are_of_moderate_size_and_held_out_splits_alike(data):
    for part in data:
        if np.issubdtype(part.inputs.dtype, np.floating):
            assert part.inputs.dtype == np.float32
            assert np.abs(part.inputs).max() < 20
    assert data.validation.inputs.shape == data.test.inputs.shape


def test_split_is_always_the_same():
    inputs, targets = np.arange(60), np.arange(60) % 3
    first, again = (split(inputs, targets, held_out=6) for _ in range(2))
    jax.tree.map(np.testing.assert_array_equal, first, again)
    assert [len(part.inputs) for part in first] == [48, 6, 6]


AT_FIRST = {"topics-lm": np.log(96), "diabetes-linen": 0.5, "cancer-logistic": np.log(2)}


def test_an_untrained_model_knows_nothing(workload, data):
    model = workload.model(nnx.Rngs(0))
    inputs, targets = (part[:200] for part in data.train)
    loss = workload.loss(model(inputs), targets)
    assert loss.shape == workload.metric(model(inputs), targets).shape == ()
    np.testing.assert_allclose(loss, AT_FIRST.get(workload.name, np.log(10)), rtol=0.25)


def test_a_causal_model_does_not_see_what_follows():
    data = WORKLOADS["topics-lm"].data()
    model, text = WORKLOADS["topics-lm"].model(nnx.Rngs(0)), data.test.inputs[:2]
    other = text.copy()
    other[:, 40:] = 5
    before, after = model(text), model(other)
    np.testing.assert_allclose(before[:, :40], after[:, :40], rtol=1e-5, atol=1e-5)
    assert not np.allclose(before[:, 40:], after[:, 40:])


def test_targets_of_the_language_model_are_the_next_characters():
    inputs, targets = WORKLOADS["topics-lm"].data().train
    np.testing.assert_array_equal(inputs[0, 1:], targets[0, :-1])
    np.testing.assert_array_equal(inputs[1:, 0], targets[:-1, -1])


def test_loss_and_metric_of_known_logits():
    logits = jnp.log(jnp.array([[0.5, 0.5, 0.0], [0.25, 0.5, 0.25]]) + 1e-30)
    assert cross_entropy(logits, jnp.array([1, 0])) == pytest.approx(1.5 * np.log(2))
    assert accuracy(logits, jnp.array([0, 2])) == 0.5


def test_max_pool_is_that_of_nnx():
    images = jax.random.normal(jax.random.key(0), (3, 8, 6, 2))
    expected = nnx.max_pool(images, (2, 2), strides=(2, 2))
    np.testing.assert_array_equal(max_pool(images), expected)


def test_scaled_budget_keeps_the_evaluations(workload):
    assert workload.scaled(1.0) == workload
    assert workload.scaled(2.0).steps == 2 * workload.steps
    assert workload.scaled(1e-9).steps == workload.evaluations
