"""Where benchmarks run: a CPU's cores as a device each, or an accelerator."""

import os

import jax


def use(platform: str) -> None:
    """Chooses "cpu" or "gpu"; to be called before anything is computed.

    Raises:
      SystemExit: jax finds no device of the kind.
    """
    if platform == "cpu":
        jax.config.update("jax_platforms", "cpu")
        jax.config.update("jax_num_cpu_devices", os.cpu_count())
        return
    jax.config.update("jax_platforms", "cuda,rocm")
    try:
        jax.devices()
    except RuntimeError as error:
        raise SystemExit(
            f"platform={platform!r}: jax finds no such device; is jax[cuda12] installed?"
        ) from error
