"""The MLP on digits in mixed precision: layers compute in bfloat16, parameters are float32."""

from dataclasses import replace
from functools import partial

import jax.numpy as jnp

from benchmarks.workloads import digits_mlp

WORKLOAD = replace(
    digits_mlp.WORKLOAD,
    name="digits-bf16",
    title="MLP on digits, bfloat16",
    model=partial(digits_mlp.mlp, dtype=jnp.bfloat16),
)
