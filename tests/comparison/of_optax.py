"""What optax does, a function for each row."""

import pickle

import jax
import jax.numpy as jnp
import numpy as np
import optax

from tests.comparison.common import MILLION, any_named, right_in_the_tail, updated


def _names():
    return [*dir(optax), *dir(optax.contrib), *dir(optax.schedules)]


def prints():
    return "0.001" in repr(optax.cosine_decay_schedule(1e-3, 100))


def compares():
    return optax.cosine_decay_schedule(1e-3, 100) == optax.cosine_decay_schedule(1e-3, 100)


def is_made_again():
    try:
        pickle.dumps(optax.cosine_decay_schedule(1e-3, 100))
    except (AttributeError, pickle.PicklingError):
        return False
    return True


def is_swept():
    peaks, steps = jnp.array([0.1, 0.2]), jnp.array([100, 200])
    try:
        jax.vmap(lambda p, n: optax.cosine_decay_schedule(p, n)(50))(peaks, steps)
    except jax.errors.JAXTypeError:
        return False
    return True


def is_read():
    schedule = optax.cosine_decay_schedule(1e-3, 100)
    chain = optax.chain(optax.scale_by_adam(), optax.scale_by_learning_rate(schedule))
    return bool(
        optax.tree_utils.tree_get_all_with_path(updated(chain, jnp.ones(2), 3)[0], "learning_rate")
    )


def is_held():
    optimizer = optax.inject_hyperparams(optax.sgd)(optax.cosine_decay_schedule(1e-3, 100))
    state = optimizer.init(jnp.ones(2))
    state.hyperparams["learning_rate"] = jnp.float32(1e-2)
    updates, _ = optimizer.update(jnp.ones(2), state)
    return bool(updates[0] == np.float32(-1e-2))


def is_carried():
    first, second = (
        optax.scale_by_learning_rate(optax.constant_schedule(rate)) for rate in (0.1, 0.2)
    )
    updates, _ = second.update(jnp.ones(1), first.init(jnp.ones(1)))
    return bool(updates[0] == np.float32(-0.1))


def keeps_its_tail():
    return right_in_the_tail(optax.cosine_decay_schedule(1e-3, MILLION)(MILLION - 10))


def trains_bfloat16():
    optimizer = optax.inject_hyperparams(optax.adamw)(optax.cosine_decay_schedule(1e-3, 100))
    _, updates = updated(optimizer, jnp.ones(2, jnp.bfloat16), 2)
    return bool(jnp.isfinite(updates).all())


def acts_below_zero():
    optimizer = optax.contrib.reduce_on_plateau(factor=0.5, patience=2)
    state, _ = updated(optimizer, jnp.ones(2), 9, value=-1.0)
    return bool(state.scale < 1)


def has_wsd():
    return any_named(_names(), "wsd", "stable", "trapezoid")


def needs_no_rate():
    optimizer = optax.contrib.prodigy(optax.linear_schedule(0.0, 1.0, 10))
    return bool(jnp.isfinite(updated(optimizer, jnp.ones(2), 5)[1]).all())


def finds_rates():
    return any_named(_names(), "range_test", "finder", "sweep", "lr_find")
