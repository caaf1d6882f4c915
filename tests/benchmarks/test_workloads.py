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


def test_splits_share_no_example(data):
    examples = [{image.tobytes() for image in part.inputs} for part in data]
    for one, other in combinations(examples, 2):
        assert not one & other


def test_splits_have_every_class_alike(data):
    for part in data:
        frequencies = np.bincount(part.targets, minlength=10) / len(part.targets)
        np.testing.assert_allclose(frequencies, 0.1, atol=0.01)


def test_data_is_float32_of_moderate_size(data):
    assert data.train.inputs.dtype == np.float32
    assert np.abs(data.train.inputs).max() < 3
    assert data.validation.inputs.shape == data.test.inputs.shape


def test_split_is_always_the_same():
    inputs, targets = np.arange(60), np.arange(60) % 3
    first, again = (split(inputs, targets, held_out=6) for _ in range(2))
    jax.tree.map(np.testing.assert_array_equal, first, again)
    assert [len(part.inputs) for part in first] == [48, 6, 6]


def test_model_gives_ten_logits_an_example(workload, data):
    def logits(images):
        return workload.model(nnx.Rngs(0))(images)

    assert jax.eval_shape(logits, data.test.inputs).shape == (len(data.test.targets), 10)


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
