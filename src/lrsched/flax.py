"""For Flax: linen's train state with metrics passed on, nnx's models as pure functions."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import optax
from flax import nnx
from flax.training import train_state


class TrainState(train_state.TrainState):  # type: ignore[no-untyped-call]
    """Flax's ``TrainState``, whose ``apply_gradients`` hands ``value=`` on to the optimizer.

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

    def apply_gradients(self, *, grads: Any, **others: Any) -> "TrainState":
        """One update of the parameters, the optimizer's state and the step.

        Args:
          grads: the gradients, a tree as the parameters are.
          **others: fields of the state are replaced, as in flax; all else, such as ``value=`` or
            ``step=``, goes to ``tx.update``, where transforms that take no notice ignore it.

        Returns:
          The new state.
        """
        fields = {field.name for field in dataclasses.fields(self)} - {"step"}
        replaced = {name: value for name, value in others.items() if name in fields}
        extra = {name: value for name, value in others.items() if name not in fields}
        tx = optax.with_extra_args_support(self.tx)
        told = optax.GradientTransformation(tx.init, functools.partial(tx.update, **extra))
        bound: Any = super(TrainState, self.replace(tx=told))
        state: TrainState = bound.apply_gradients(grads=grads, **replaced).replace(tx=self.tx)
        return state


def functional(
    function: Callable[[Any, Any], Any], model: Any, build: Callable[[jax.Array], Any] | None
) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """A function of an ``nnx.Module`` as one of its parameters and of what else it keeps.

    Args:
      function: ``(module, batch) -> loss``.
      model: the module; not looked at where there is ``build``.
      build: ``key -> module``, or None.

    Returns:
      ``make``, ``key -> (params, others)``, and ``call``, ``(params, batch, others, is_training) ->
      (loss, others)``.

    >>> import jax, jax.numpy as jnp
    >>> from flax import nnx
    >>> from lrsched.flax import functional
    >>> build = lambda key: nnx.Linear(3, 1, rngs=nnx.Rngs(key))
    >>> make, call = functional(lambda model, batch: model(batch).sum(), None, build)
    >>> loss, _ = call(*make(jax.random.key(0))[:1], jnp.zeros((2, 3)), None, True)
    >>> float(loss)
    0.0
    """
    graph = nnx.graphdef(model if build is None else jax.eval_shape(build, jax.random.key(0)))

    def make(key: jax.Array) -> tuple[Any, Any]:
        params, others = nnx.state(model if build is None else build(key), nnx.Param, ...)
        return params, others

    def call(params: Any, batch: Any, others: Any, is_training: bool) -> tuple[Any, Any]:
        module = nnx.merge(graph, params, {} if others is None else others, copy=True)
        if not is_training:
            module.eval()
        loss = function(module, batch)
        return loss, nnx.state(module, nnx.Not(nnx.Param))

    return make, call
