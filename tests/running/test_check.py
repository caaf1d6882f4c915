"""Mistakes of order, found by what an optimizer does."""

import jax.numpy as jnp
import optax
import pytest

import lrsched
from tests.adaptive.methods import METHODS

PARAMS = {"b": jnp.array([0.5, -1.0]), "w": jnp.array([[1.0, -2.0], [0.5, 3.0]])}
RATE = lrsched.scale_by_learning_rate(lrsched.warmup(2) * 1e-2)
MISTAKES = {
    "a rate after an optimizer": (optax.chain(optax.adam(1e-3), RATE), "ascend at b"),
    "a rate after an injected one": (
        optax.chain(lrsched.inject_schedules(optax.adam)(1e-3), RATE),
        "ascend at b",
    ),
    "a rate after a method": (optax.chain(lrsched.prodigy(), RATE), "ascend at b"),
    "a group that ascends": (
        optax.partition({"a": optax.sgd(0.1), "b": optax.identity()}, {"b": "a", "w": "b"}),
        "ascend at w",
    ),
    "a rate before adam": (
        optax.chain(RATE, optax.scale_by_adam(eps=1e-16)),
        "no update depends",
    ),
    "a plateau without its metric": (
        optax.chain(optax.scale_by_adam(), RATE, lrsched.reduce_on_plateau()),
        r"observes value, and update receives val_loss; .*value=\.\.\.",
    ),
}


@pytest.mark.parametrize(("optimizer", "message"), MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_is_named_with_what_to_write(optimizer, message):
    with pytest.raises(ValueError, match=message):
        lrsched.check_optimizer(optimizer, PARAMS, val_loss=1.0)


RIGHT = {
    "weight decay": optax.adamw(1e-3, weight_decay=10.0),
    "inject": lrsched.inject_schedules(optax.lion)(lrsched.warmup(100) * 1e-3),
    "groups": optax.chain(optax.scale_by_adam(), RATE, lrsched.learning_rate_groups([("b", None)])),
    "one group without a rate of ours": optax.partition(
        {"a": optax.sgd(0.1), "b": RATE}, {"b": "a", "w": "b"}
    ),
    "muon": lrsched.muon(1e-2),
    **{name: METHODS[name]() for name in ("prodigy", "mechanize", "schedule_free_plus", "dog")},
}


@pytest.mark.parametrize("optimizer", RIGHT.values(), ids=RIGHT)
def test_a_right_optimizer_passes(optimizer):
    lrsched.check_optimizer(optimizer, PARAMS, value=jnp.float32(1.0))
