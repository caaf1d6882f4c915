"""Reading the learning rate out of any optimizer state."""

from typing import Any

import jax

from lrsched.transforms.rates import has_rate, rates


def learning_rate(opt_state: Any) -> jax.Array:
    """The learning rate that the latest update applied, wherever in the state it is kept.

    It is the product of all that the update went through: the schedules of
    `scale_by_learning_rate` and `inject_schedules`, the estimates of the methods that adapt their
    own step, the scales of the controllers; and of optax's ``inject_hyperparams``,
    ``reduce_on_plateau`` and line searches. They are found by their type through any wrapper.
    Before the first update it is the rate that the first one will apply; of a method, which cannot
    know it yet, 0. Inside and outside jit, without a host synchronisation.

    Args:
      opt_state: an optimizer's state, or anything that holds one (a ``TrainState``).

    Returns:
      A float32 scalar; under ``vmap`` outside of it, an array of them.

    Raises:
      ValueError: the state holds no learning rate, or several groups have their own (they are
        listed; see `learning_rates`).

    >>> import jax.numpy as jnp, lrsched, optax
    >>> optimizer = optax.chain(
    ...     optax.clip_by_global_norm(1.0), lrsched.inject_schedules(optax.sgd)(learning_rate=0.5))
    >>> float(lrsched.learning_rate(optimizer.init(jnp.zeros(2))))
    0.5
    """
    found = learning_rates(opt_state)
    if len(found) == 1:
        (rate,) = found.values()
        return rate
    raise ValueError(
        f"the state holds the learning rates of {len(found)} groups: {', '.join(found)}; "
        "learning_rates(opt_state) gives them all."
    )


def learning_rates(opt_state: Any) -> dict[str, jax.Array]:
    """The rate of each group of parameters, as `learning_rate` finds it.

    The groups are those of ``optax.partition`` by their labels, or several optimizers in one
    container by their places; without groups the one rate is under ``""``.

    Args:
      opt_state: an optimizer's state, or anything that holds one.

    Raises:
      ValueError: the state holds no learning rate.

    >>> import jax.numpy as jnp, lrsched, optax
    >>> optimizer = optax.partition(
    ...     {"head": lrsched.scale_by_learning_rate(0.5),
    ...      "body": lrsched.scale_by_learning_rate(0.25)},
    ...     {"kernel": "head", "embedding": "body"})
    >>> state = optimizer.init({"kernel": jnp.ones(2), "embedding": jnp.ones(3)})
    >>> {name: float(rate) for name, rate in lrsched.learning_rates(state).items()}
    {'body': 0.25, 'head': 0.5}
    """
    if not has_rate(opt_state):
        raise ValueError(
            "the state holds no learning rate; it must come from an optimizer with "
            "scale_by_learning_rate, inject_schedules or an adaptive method in it, as optax's own "
            "optimizers (optax.adam(0.1)) keep none."
        )
    return dict(sorted(rates(opt_state).items()))
