"""Ramps: the shapes of a rise or a fall, shared by warmups, cooldowns and cycles.

A ramp maps [0, 1] onto [0, 1] with ``ramp(0) = 0`` and ``ramp(1) = 1``. A warmup is
``ramp(elapsed / steps)``, a cooldown is ``ramp(remaining / steps)``. ``"1-sqrt"`` is the cooldown
``1 - sqrt(elapsed / steps)``, written in the remaining steps so that its last steps are exact. The
named ramps also receive ``1 - x``, counted in steps instead of subtracted, for the same reason.
"""

import math
from collections.abc import Callable
from typing import Annotated, Any, Final, TypeAlias

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from lrsched.arguments import ArgumentType, one_of
from lrsched.numerics import fraction


def linear(x: jax.Array, complement: jax.Array) -> jax.Array:
    """Return ``x``."""
    return x


def cosine(x: jax.Array, complement: jax.Array) -> jax.Array:
    """Return ``(1 - cos(pi x)) / 2``, as ``sin(pi x / 2)**2`` to be exact near 0."""
    return jnp.sin(0.5 * jnp.pi * x) ** 2


def one_minus_sqrt(x: jax.Array, complement: jax.Array) -> jax.Array:
    """Return ``1 - sqrt(1 - x)`` (Hägele et al. 2024), as ``x / (1 + sqrt(1 - x))``."""
    # The quotient is exact near 0. The inner `where` keeps the gradient of the root at 0 finite.
    root = jnp.sqrt(jnp.where(complement > 0, complement, 1.0))
    return x / (1 + jnp.where(complement > 0, root, 0.0))


def square(x: jax.Array, complement: jax.Array) -> jax.Array:
    """Return ``1 - (1 - x)**2``, as ``x (1 + (1 - x))`` to be exact near 0."""
    return x * (1 + complement)


def mirror_cosine(x: jax.Array, complement: jax.Array) -> jax.Array:
    """Return ``2 x - (1 - cos(pi x)) / 2``, the cosine mirrored at the line."""
    return 2 * x - cosine(x, complement)


def exponential(x: jax.Array, complement: jax.Array) -> jax.Array:
    """Return ``2**x - 1``, the exponential decay of Megatron-LM: ``2 * 0.5**elapsed - 1``."""
    return jnp.expm1(jnp.log(2.0) * x)


RAMPS: Final[dict[str, Callable[[jax.Array, jax.Array], jax.Array]]] = {
    "linear": linear,
    "cosine": cosine,
    "mirror-cosine": mirror_cosine,
    "1-sqrt": one_minus_sqrt,
    "square": square,
    "exponential": exponential,
}

_POWER: Final = "power:"
_NAMED: Final = one_of(
    "Ramp",
    tuple(RAMPS),
    otherwise="'power:P' with P above 0, or a function from [0, 1] to [0, 1]",
)


def _parse_ramp(value: Any) -> Any:
    if not (isinstance(value, str) and value.startswith(_POWER)):
        return _NAMED.parse(value)
    power = float(value.removeprefix(_POWER))
    if not 0 < power < math.inf:
        raise ValueError
    return value


RAMP = ArgumentType(
    "Ramp",
    _NAMED.description,
    _parse_ramp,
    static=True,
    schema={"anyOf": [_NAMED.schema, {"type": "string", "pattern": "^power:[0-9.eE+-]+$"}]},
)
Ramp: TypeAlias = Annotated[str | Callable[[jax.Array], jax.Array], RAMP]
"""A ramp by name, "power:P" for ``x**P``, or any function from [0, 1] to [0, 1]."""


def evaluate_ramp(ramp: Ramp, numerator: ArrayLike, denominator: ArrayLike) -> jax.Array:
    """Return a ramp at ``numerator / denominator``.

    Args:
      ramp: Name of a ramp, "power:P", or a function from [0, 1] to [0, 1].
      numerator: Number of elapsed or remaining steps.
      denominator: Length of the ramp, in steps.

    Returns:
      A float32 array. It is 1 where ``denominator`` is 0.
    """
    x = fraction(numerator, denominator)
    if not isinstance(ramp, str):
        return ramp(x)
    if ramp.startswith(_POWER):
        # 0**P has no finite gradient for P < 1, and x is 0 for all steps past the end.
        power = jnp.where(x > 0, x, 1.0) ** float(ramp.removeprefix(_POWER))
        return jnp.where(x > 0, power, 0.0)
    denominator = jnp.asarray(denominator)
    remaining = fraction(denominator - numerator, denominator)
    complement = jnp.where(denominator > 0, remaining, 0.0)
    return RAMPS[ramp](x, complement)
