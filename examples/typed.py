"""Check the types of the public API in pyright's strict mode: no type is unknown.

    python -m pip install -e ".[dev]" && basedpyright

Each line with a ``pyright: ignore`` must be an error of the named rule: an unused comment is an
error, too.
"""

from typing import TYPE_CHECKING, assert_type

import jax
import numpy as np
import optax

import lrsched
from lrsched.compat import torch

rate = lrsched.warmup(500) * 3e-4 >> lrsched.cosine(3e-4, steps=9_500)
assert_type(rate, lrsched.Schedule)
assert_type(rate(np.arange(10)), jax.Array)
assert_type(torch.CosineAnnealingLR(0.1, T_max=50), lrsched.Schedule)
assert_type(lrsched.from_dict(lrsched.to_dict(rate)), lrsched.Schedule)
as_optax_wants: optax.Schedule = rate

optimizer = optax.chain(optax.scale_by_adam(), lrsched.scale_by_learning_rate(rate))
adaptive: optax.GradientTransformationExtraArgs = lrsched.prodigy(rate)
followed: optax.GradientTransformation = lrsched.reduce_on_plateau(factor=0.5)

params = {"w": np.array([3.0, -2.0], np.float32)}
state = optimizer.init(params)
updates, state = optimizer.update(params, state, params)
assert_type(lrsched.learning_rate(state), jax.Array)
state = lrsched.set_learning_rate(state, 1e-3)


@lrsched.schedule
def sawtooth(step: jax.Array, peak: float, period: int) -> jax.Array:
    """Repeat a linear decay from ``peak`` to 0."""
    return peak * (1 - step % period / period)


assert_type(sawtooth(0.1, period=100), lrsched.Schedule)

if TYPE_CHECKING:
    lrsched.cosine(3e-4)  # pyright: ignore[reportCallIssue]
    lrsched.cosine(3e-4, steps="long")  # pyright: ignore[reportArgumentType]
    lrsched.wsd(1.0, steps=100, warmup=0.1, cooldown=0.2, ramp=3)  # pyright: ignore[reportArgumentType]
    sawtooth(0.1, periods=100)  # pyright: ignore[reportCallIssue]

print(f"{rate} starts at {rate(0):.1e}; the rate applied was {lrsched.learning_rate(state):.1e}")
