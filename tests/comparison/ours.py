"""What lrsched does, a function for each row."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import optax

import lrsched
from lrsched import tuning
from tests.comparison.common import MILLION, right_in_the_tail, updated


def prints():
    return "0.001" in repr(lrsched.cosine(1e-3, steps=100))


def compares():
    return lrsched.cosine(1e-3, steps=100) == lrsched.cosine(1e-3, steps=100)


def is_made_again():
    schedule = lrsched.cosine(1e-3, steps=100)
    return lrsched.from_dict(json.loads(json.dumps(lrsched.to_dict(schedule)))) == schedule


def is_swept():
    peaks, steps = jnp.array([0.1, 0.2]), jnp.array([100, 200])
    return jax.vmap(lambda p, n: lrsched.cosine(p, n)(50))(peaks, steps).shape == (2,)


def is_read():
    schedule = lrsched.cosine(1e-3, steps=100)
    chain = optax.chain(optax.scale_by_adam(), lrsched.scale_by_learning_rate(schedule))
    return lrsched.learning_rate(updated(chain, jnp.ones(2), 3)[0]) == schedule(2)


def is_held():
    optimizer = lrsched.scale_by_learning_rate(lrsched.cosine(1e-3, steps=100))
    state = lrsched.set_learning_rate(optimizer.init(jnp.ones(2)), 1e-2)
    _, state = optimizer.update(jnp.ones(2), state)
    return lrsched.learning_rate(state) == np.float32(1e-2)


def is_carried():
    first, second = (lrsched.scale_by_learning_rate(lrsched.constant(rate)) for rate in (0.1, 0.2))
    updates, _ = second.update(jnp.ones(1), first.init(jnp.ones(1)))
    return bool(updates[0] == np.float32(-0.1))


def keeps_its_tail():
    return right_in_the_tail(lrsched.cosine(1e-3, steps=MILLION)(MILLION - 10))


def trains_bfloat16():
    optimizer = lrsched.inject_schedules(optax.adamw)(lrsched.cosine(1e-3, steps=100))
    _, updates = updated(optimizer, jnp.ones(2, jnp.bfloat16), 2)
    return bool(jnp.isfinite(updates).all())


def acts_below_zero():
    optimizer = lrsched.reduce_on_plateau(factor=0.5, patience=2)
    state, _ = updated(optimizer, jnp.ones(2), 9, value=-1.0)
    return bool(state.scale < 1)


def has_wsd():
    return lrsched.wsd(1.0, steps=100, warmup=0.1, cooldown=0.2)(100) == 0


def needs_no_rate():
    rate = lrsched.warmup(10) * 1.0
    return bool(jnp.isfinite(updated(lrsched.prodigy(rate), jnp.ones(2), 5)[1]).all())


def finds_rates():
    return {"range_test", "sweep", "auto"} <= set(tuning.__all__)
