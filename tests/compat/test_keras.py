"""The direction that Keras' plateau callback takes from the name of its metric."""

import jax.numpy as jnp
import optax
import pytest

import lrsched
from lrsched.compat import keras


def rates(metrics, **options):
    optimizer = optax.chain(optax.sgd(0.2), keras.ReduceLROnPlateau(0.2, factor=0.5, **options))
    params = jnp.ones(1)
    state, applied = optimizer.init(params), []
    for metric in metrics:
        state = lrsched.observe(state, metric)
        updates, state = optimizer.update(params, state, params)
        applied.append(round(-float(updates[0]), 4))
    return applied


@pytest.mark.parametrize(
    "monitor",
    [
        *("val_auc", "auc_2", "val_recall", "precision_1", "val_f1_score", "cosine_similarity"),
        *("acc", "val_top_k_categorical_accuracy", "val_head_accuracy", "mean_io_u", "r2_score"),
    ],
)
def test_a_metric_of_keras_that_rises_is_better_when_it_rises(monitor):
    # Keras 3.15.1: three improvements, then patience=2 epochs without one halve the rate.
    assert rates([0.3, 0.4, 0.5, 0.5, 0.5, 0.5], monitor=monitor, patience=2) == [
        *(0.2, 0.2, 0.2, 0.2),
        *(0.1, 0.1),
    ]


@pytest.mark.parametrize(
    "monitor",
    ["val_loss", "loss", "head_loss", "mae", "mean_squared_error", "val_binary_crossentropy"],
)
def test_a_loss_or_an_error_is_better_when_it_falls(monitor):
    assert rates([0.3, 0.4, 0.5, 0.2], monitor=monitor, patience=2) == [0.2, 0.2, 0.1, 0.1]


@pytest.mark.parametrize("monitor", ["val_perplexity", "bleu", "val_score", "true_positives"])
def test_a_name_that_does_not_say_its_direction_is_refused(monitor):
    with pytest.raises(ValueError, match=f"monitor='{monitor}'.* pass mode='min' or mode='max'"):
        keras.ReduceLROnPlateau(0.2, monitor=monitor)
    assert rates([0.3, 0.4], monitor=monitor, mode="max") == [0.2, 0.2]
