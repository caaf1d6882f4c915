"""MLP on digits in mixed precision: layers compute in bfloat16, parameters are float32.

The workload shows the effect of bfloat16 on a policy, not on the time: on one core, XLA's CPU
backend takes 1.6 times as long for an update at a width of 64, and twice as long at 512.
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
