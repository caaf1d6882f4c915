"""Platform of the benchmarks: the cores of a CPU as one device each, or accelerators."""

import os
from contextlib import suppress

import jax


def use(platform: str) -> None:
    """Select the platform, and one device per core on a CPU.

    The number of CPU devices cannot change after the first computation; it then stays as it is.

    Args:
      platform: Either "cpu" or "gpu".

    Raises:
      SystemExit: If JAX finds no device of the platform.
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
            f"platform={platform!r} is not available: JAX finds no such device; "
            "install jax[cuda12] or pass --platform cpu."
        ) from error
