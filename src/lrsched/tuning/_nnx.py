"""Functions of a Flax NNX module as pure functions of its parameters and its other state."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import jax

if TYPE_CHECKING:
    import chex


def is_nnx_module(value: object) -> bool:
    """Return whether a value is an ``nnx`` object, without importing Flax."""
    return is_of_package(value, "flax.nnx")


def is_of_package(value: object, package: str) -> bool:
    """Return whether the class of a value, or one of its bases, is defined in a package."""
    # By name, as Flax is an optional dependency that must not be imported for a pytree.
    return any(kind.__module__.startswith(package) for kind in type(value).__mro__)


def as_arrays(tree: chex.ArrayTree) -> chex.ArrayTree:
    """Return a tree with the arrays in place of the ``nnx`` variables that hold them."""
    leaves = jax.tree.leaves(tree, is_leaf=is_nnx_module)
    if not any(map(is_nnx_module, leaves)):
        return tree
    from flax import nnx

    return nnx.as_pure(tree)


def split_variables(
    model: object, wrt: Any = None
) -> tuple[object, chex.ArrayTree, chex.ArrayTree]:
    """Return the graph of a module, the variables to differentiate (``Param``) and all others."""
    from flax import nnx

    graph, state = nnx.split(model)
    wanted: Any = nnx.Param if wrt is None else wrt
    params, others = nnx.split_state(state, wanted, ...)
    return graph, params, others


def split_module(
    function: Callable[[Any, Any], chex.ArrayTree],
    model: object,
    build: Callable[[jax.Array], object] | None,
) -> tuple[Callable[..., chex.ArrayTree], Callable[..., chex.ArrayTree]]:
    """Return pure functions that create a module and evaluate a function of it.

    Args:
      function: ``(module, batch) -> loss``.
      model: The ``nnx.Module``. Not read if ``build`` is given.
      build: ``key -> module``, or ``None``.

    Returns:
      ``create``, which maps a key to ``(params, model_state)``, and ``call``, which maps
      ``(params, batch, model_state, is_training)`` to ``(loss, model_state)``.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from flax import nnx
      >>> from lrsched.tuning._nnx import split_module
      >>> build = lambda key: nnx.Linear(3, 1, rngs=nnx.Rngs(key))
      >>> create, call = split_module(lambda model, batch: model(batch).sum(), None, build)
      >>> loss, _ = call(*create(jax.random.key(0))[:1], jnp.zeros((2, 3)), None, True)
      >>> float(loss)
      0.0
    """
    from flax import nnx

    graph = nnx.graphdef(model if build is None else jax.eval_shape(build, jax.random.key(0)))

    def create(key: jax.Array) -> tuple[chex.ArrayTree, chex.ArrayTree]:
        params, model_state = nnx.state(model if build is None else build(key), nnx.Param, ...)
        return params, model_state

    def call(
        params: chex.ArrayTree,
        batch: chex.ArrayTree,
        model_state: chex.ArrayTree | None,
        is_training: bool,
    ) -> tuple[chex.ArrayTree, chex.ArrayTree]:
        state = {} if model_state is None else model_state
        # A copy: without it the merged module would write into the variables of `params`.
        module = nnx.merge(graph, params, state, copy=True)
        if not is_training:
            module.eval()
        loss = function(module, batch)
        return loss, nnx.state(module, nnx.Not(nnx.Param))

    return create, call
