"""Linen's ``TrainState`` with an ``apply_gradients`` that passes metrics on to the optimizer."""

import dataclasses
import functools
from typing import Any

import optax
from flax.training import train_state


class TrainState(train_state.TrainState):  # type: ignore[no-untyped-call]
    """Flax's ``TrainState`` with an ``apply_gradients`` that passes metrics on to the optimizer.

    >>> import jax.numpy as jnp, lrsched, optax
    >>> from lrsched.flax import TrainState
    >>> optimizer = optax.chain(
    ...     lrsched.scale_by_learning_rate(0.5), lrsched.reduce_on_plateau(factor=0.5, patience=1))
    >>> state = TrainState.create(apply_fn=None, params={"w": jnp.ones(2)}, tx=optimizer)
    >>> for loss in (1.0, 2.0):
    ...     state = state.apply_gradients(grads={"w": jnp.ones(2)}, value=loss)
    >>> float(lrsched.learning_rate(state))
    0.25
    """

    def apply_gradients(self, *, grads: optax.Updates, **others: object) -> "TrainState":
        """Update the parameters, the optimizer state and the step.

        Args:
          grads: Gradients, a tree like the parameters.
          **others: New values of fields of the state, as in Flax. Other keywords, such as ``value``
            and ``step``, are passed to ``tx.update``; transforms that do not use them ignore them.

        Returns:
          The new state.
        """
        fields = {field.name for field in dataclasses.fields(self)} - {"step"}
        replaced = {name: value for name, value in others.items() if name in fields}
        extra = {name: value for name, value in others.items() if name not in fields}
        tx = optax.with_extra_args_support(self.tx)
        # Flax calls tx.update without keywords, so they are bound for the one call.
        bound_tx = optax.GradientTransformation(tx.init, functools.partial(tx.update, **extra))
        bound: Any = super(TrainState, self.replace(tx=bound_tx))
        return bound.apply_gradients(grads=grads, **replaced).replace(tx=self.tx)
