"""Where benchmarks run: a CPU's cores as a device each, or an accelerator."""

import os
from contextlib import suppress

import jax


def use(platform: str) -> None:
    """Chooses "cpu" or "gpu"; the number of devices is settled once anything has been computed.

    Raises:
      SystemExit: jax finds no device of the kind.
    """
    if platform == "cpu":
        jax.config.update("jax_platforms", "cpu")
        with suppress(RuntimeError):
            jax.config.update("jax_num_cpu_devices", os.cpu_count())
        return
    jax.config.update("jax_platforms", "cuda,rocm")
    try:
        jax.devices()
    except RuntimeError as error:
        raise SystemExit(
            f"platform={platform!r}: jax finds no such device; is jax[cuda12] installed?"
        ) from error
