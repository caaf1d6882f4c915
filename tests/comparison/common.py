"""What several columns are asked with."""

import numpy as np
import optax

MILLION = 10**6


def right_in_the_tail(value):
    """Whether this is a cosine from 1e-3 over a million steps, ten before its end."""
    return bool(np.isclose(float(value), 1e-3 * np.sin(5e-6 * np.pi) ** 2, rtol=1e-6, atol=0))


def any_named(names, *parts):
    """Whether a name has one of these in it."""
    return any(part in name.lower() for name in names for part in parts)


def updated(optimizer, params, count, **extra):
    """The state after so many updates with the parameters for gradients, and the last of them."""
    optimizer = optax.with_extra_args_support(optimizer)
    state, updates = optimizer.init(params), None
    for _ in range(count):
        updates, state = optimizer.update(params, state, params, **extra)
    return state, updates
