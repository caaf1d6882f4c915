"""Mistakes of order, found by what an optimizer does."""

import inspect

import jax.numpy as jnp
import optax
import pytest

import lrsched
from tests.adaptive.methods import METHODS

PARAMS = {"b": jnp.array([0.5, -1.0]), "w": jnp.array([[1.0, -2.0], [0.5, 3.0]])}
RATE = lrsched.scale_by_learning_rate(lrsched.warmup(2) * 1e-2)
SMALL_RATE = lrsched.scale_by_learning_rate(lrsched.warmup(1000) * 1e-4)
GROUPS = lrsched.learning_rate_groups([("b", 0.1), ("w", None)])
ADAM = optax.scale_by_adam()
ASCENT = optax.chain(optax.adam(1e-3), RATE)


def every(number, optimizer):
    return optax.MultiSteps(optimizer, number).gradient_transformation()


MISTAKES = {
    "a rate after an optimizer": (ASCENT, "ascend at b"),
    "a rate after an injected one": (
        optax.chain(lrsched.inject_schedules(optax.adam)(1e-3), RATE),
        "ascend at b",
    ),
    "a rate after a method": (optax.chain(lrsched.prodigy(), RATE), "ascend at b"),
    "a group that ascends": (
        optax.partition({"a": optax.sgd(0.1), "b": optax.identity()}, {"b": "a", "w": "b"}),
        "ascend at w",
    ),
    "a rate before adam": (optax.chain(RATE, ADAM), "no update depends on the learning rate"),
    "a small rate before adam": (
        optax.chain(SMALL_RATE, ADAM),
        "no update depends on the learning rate",
    ),
    "groups before adam": (
        optax.chain(GROUPS, ADAM, RATE),
        "no update depends on the multipliers of learning_rate_groups; .* put it behind",
    ),
    "depths before lion": (
        optax.chain(
            lrsched.layerwise_decay(0.5, {"b": 0, "w": 1}.get), optax.scale_by_lion(), RATE
        ),
        "no update depends on the multipliers of layerwise_decay",
    ),
    "a controller before adam": (
        optax.chain(lrsched.backoff_on_spike(metric="val_loss"), ADAM, RATE),
        "no update depends on the scale of BackoffOnSpike",
    ),
    "a plateau without its metric": (
        optax.chain(ADAM, RATE, lrsched.reduce_on_plateau()),
        r"observes value, and update receives val_loss; .*value=\.\.\.",
    ),
    "in MultiSteps": (every(7, ASCENT), "ascend at b"),
    "in one group's MultiSteps": (
        optax.partition({"a": RATE, "b": every(5, ASCENT)}, {"b": "a", "w": "b"}),
        "ascend at w",
    ),
    "a rate before adam in MultiSteps": (
        every(4, optax.chain(RATE, ADAM)),
        "no update depends on the learning rate",
    ),
    "before apply_every": (optax.chain(ASCENT, optax.apply_every(4)), "ascend at b"),
}


@pytest.mark.parametrize(("optimizer", "message"), MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_is_named_with_what_to_write(optimizer, message):
    with pytest.raises(ValueError, match=message):
        lrsched.check_optimizer(optimizer, PARAMS, val_loss=1.0)


def after_a_rate(transform):
    return optax.chain(ADAM, RATE, transform)


PUBLIC = {
    **{name: make() for name, make in METHODS.items() if "," not in name},
    "hyperball": lrsched.hyperball(ADAM, 0.1, 0.1),
    "layerwise_decay": after_a_rate(lrsched.layerwise_decay(0.5, {"b": 0, "w": 1}.get)),
    "learning_rate_groups": after_a_rate(GROUPS),
    "muon": lrsched.muon(1e-2),
    "inject_schedules": lrsched.inject_schedules(optax.lion)(lrsched.warmup(100) * 1e-3),
    "scale_by_learning_rate": optax.chain(ADAM, SMALL_RATE),
    "with_weight_decay": lrsched.with_weight_decay(ADAM, 1e-3, 0.1),
}
OTHERS = {
    "weight decay": optax.adamw(1e-3, weight_decay=10.0),
    "one group without a rate of ours": optax.partition(
        {"a": optax.sgd(0.1), "b": RATE}, {"b": "a", "w": "b"}
    ),
    "MultiSteps": every(4, optax.chain(ADAM, RATE)),
    "apply_every": optax.chain(ADAM, RATE, optax.apply_every(4)),
    "a clip after the rate": optax.chain(ADAM, RATE, optax.clip_by_global_norm(1.0)),
    "nothing moves": optax.set_to_zero(),
    "all groups are frozen": after_a_rate(lrsched.learning_rate_groups([], default=None)),
}


def test_every_public_transform_is_tried():
    names = {
        name
        for name in lrsched.__all__
        if inspect.isfunction(function := getattr(lrsched, name))
        and "GradientTransformation" in str(inspect.signature(function).return_annotation)
    }
    assert names <= PUBLIC.keys()


METRICS = dict.fromkeys(("value", "train_loss", "val_loss"), 1.0)


@pytest.mark.parametrize("name", PUBLIC | OTHERS)
def test_a_right_optimizer_passes(name):
    optimizer = (PUBLIC | OTHERS)[name]
    lrsched.check_optimizer(optimizer, PARAMS, **METRICS, small_gradients=PARAMS)


def test_a_gradient_along_a_matrix_of_fixed_norm_is_no_ascent():
    """Weights of ones are parallel to their signs: the step on the sphere is rounding alone."""
    params = {"w": jnp.ones((4, 4)), "b": jnp.ones(4)}
    for rate in (lrsched.linear(0.0, 0.01, steps=10), lrsched.cosine(0.03, steps=100)):
        lrsched.check_optimizer(lrsched.hyperball(optax.scale_by_adam(), rate, 1e-3), params)
    uphill = lrsched.hyperball(optax.scale_by_adam(), -0.1, 1e-3)
    with pytest.raises(ValueError, match="the updates ascend at w"):
        lrsched.check_optimizer(uphill, {"w": jnp.arange(16.0).reshape(4, 4), "b": jnp.ones(4)})
