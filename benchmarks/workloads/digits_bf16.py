"""The MLP on digits in mixed precision: layers compute in bfloat16, parameters are float32.

XLA's CPU backend takes longer for it, not shorter: 1.6 times as long an update at a width of 64,
and twice at 512, on one core. It is here for what bfloat16 does to a method, not for the time.
"""

from dataclasses import replace
from functools import partial

import jax.numpy as jnp

from benchmarks.workloads import digits_mlp

WORKLOAD = replace(
    digits_mlp.WORKLOAD,
    name="digits-bf16",
    title="MLP on digits, bfloat16",
    model=partial(digits_mlp.mlp, dtype=jnp.bfloat16),
    budgets=(0.25, 1.0),
    tuning_seeds=2,
)
