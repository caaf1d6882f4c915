"""The policies for gradients that are not finite, and the transform that applies them to others."""

from typing import TYPE_CHECKING, Annotated, Final, NamedTuple, TypeAlias, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
import optax

from lrsched.arguments import one_of
from lrsched.transforms.composition import RateFactor, rate_factor

if TYPE_CHECKING:
    import chex

Tree = TypeVar("Tree")

NonfinitePolicy: TypeAlias = Annotated[
    str, one_of("NonfinitePolicy", ("skip", "zero", "propagate"))
]
"""Policy for gradients that are not finite, or so large that their squares overflow.

``"skip"`` leaves parameters and state unchanged and counts the update. ``"zero"`` replaces the
entries concerned with 0 and counts the update. ``"propagate"`` does nothing, as optax.
"""

HEADROOM: Final = 2.0**20
"""Room between a gradient's square and overflow: methods scale gradients before they square them,
Prodigy by its estimate."""


class NonfiniteGuardState(NamedTuple):
    """State of a transform whose gradients are guarded.

    Attributes:
      nonfinite_count: int32 scalar, the number of updates that were skipped, or whose gradients
        were masked. It stays 0 with ``nonfinite="propagate"``.
      inner_state: State of the transform.
    """

    nonfinite_count: jax.Array
    inner_state: optax.OptState


@rate_factor.register
def _(state: NonfiniteGuardState) -> RateFactor:
    return RateFactor(None, state.inner_state)


def guard_nonfinite(
    inner: optax.GradientTransformation, nonfinite: str
) -> optax.GradientTransformationExtraArgs:
    """Return ``inner`` with a policy for non-finite gradients, see `NonfinitePolicy`."""
    inner = optax.with_extra_args_support(inner)

    def init(params: optax.Params) -> NonfiniteGuardState:
        return NonfiniteGuardState(jnp.zeros([], jnp.int32), inner.init(params))

    def update(
        updates: optax.Updates,
        state: NonfiniteGuardState,
        params: optax.Params | None = None,
        **extra_args: object,
    ) -> tuple[optax.Updates, NonfiniteGuardState]:
        gradients = mask_nonfinite(updates) if nonfinite == "zero" else updates
        scaled, inner_state = inner.update(gradients, state.inner_state, params, **extra_args)
        if nonfinite == "propagate":
            return scaled, state._replace(inner_state=inner_state)
        is_finite = _are_squares_finite(updates)
        if nonfinite == "skip":
            scaled = jax.tree.map(lambda u: jnp.where(is_finite, u, 0), scaled)
            inner_state = jax.tree.map(
                lambda new, old: jnp.where(is_finite, new, old), inner_state, state.inner_state
            )
        return scaled, NonfiniteGuardState(state.nonfinite_count + ~is_finite, inner_state)

    return optax.GradientTransformationExtraArgs(init, update)


def mask_nonfinite(gradients: Tree) -> Tree:
    """Return ``gradients`` with 0 where an entry is not finite or its square would overflow."""

    def mask(gradient: jax.Array) -> jax.Array:
        size = _wide_abs(gradient)
        limit = np.sqrt(float(np.finfo(size.dtype).max) / HEADROOM)
        return jnp.where(size <= limit, gradient, 0)  # NaN compares as false

    return jax.tree.map(mask, gradients)


def zero_nonfinite() -> optax.GradientTransformation:
    """Return the transform that replaces the entries of updates that are not finite with 0."""
    return optax.stateless(
        lambda updates, _: jax.tree.map(lambda u: jnp.where(jnp.isfinite(u), u, 0), updates)
    )


def _are_squares_finite(gradients: "chex.ArrayTree") -> jax.Array:
    """Return whether the squared norm of the gradients is finite, with room to overflow."""
    # The squares of each array are added up before the arrays: one all-reduce of scalars.
    sums = [jnp.sum(jnp.square(_wide_abs(leaf))) for leaf in jax.tree.leaves(gradients)]
    return jnp.isfinite(sum(sums, jnp.zeros([])) * HEADROOM)


def _wide_abs(gradient: jax.Array) -> jax.Array:
    """Return the magnitudes of the entries, in float32 or wider."""
    size = jnp.abs(jnp.asarray(gradient))
    return size.astype(jnp.promote_types(size.dtype, jnp.float32))
