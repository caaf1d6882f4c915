"""Diagnosis of an installation: versions, devices and conflicts."""

from __future__ import annotations

import importlib.metadata
import platform
import re
from typing import Final

_PACKAGES: Final = ("lrsched-jax", "jax", "jaxlib", "optax", "flax", "chex", "numpy")
_NAMESAKE: Final = "lrsched"


def diagnose() -> dict[str, object]:
    """Return versions, devices and problems.

    Returns:
      A dict for JSON. Under ``"problems"`` is a list of sentences, each with its remedy.
    """
    # Imported here: importing this module must not start a device.
    import jax
    import jax.numpy as jnp

    import lrsched

    versions = {name: _version(name) for name in _PACKAGES}
    return {
        "python": platform.python_version(),
        **versions,
        "lrsched is": lrsched.__file__,
        "devices": [f"{device.platform} {device.device_kind}" for device in jax.devices()],
        "x64": jnp.asarray(0.0).dtype == jnp.float64,
        "problems": [*_namesake(), *_too_old(versions)],
    }


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _namesake() -> list[str]:
    """Return a problem if the project that owns the import name is installed as well."""
    found = _version(_NAMESAKE)
    if found is None:
        return []
    return [
        f"the package {_NAMESAKE} {found} is another project with the same import name, and both "
        f"write into one folder: run pip uninstall {_NAMESAKE} lrsched-jax, then install "
        "lrsched-jax again."
    ]


def _too_old(versions: dict[str, str | None]) -> list[str]:
    try:
        wanted = importlib.metadata.requires("lrsched-jax") or []
    except importlib.metadata.PackageNotFoundError:
        return ["lrsched-jax is not installed as a package, so the versions were not checked."]
    problems = []
    for line in wanted:
        match = re.match(r"([\w-]+)>=([\d.]+)", line)
        found = versions.get(match[1]) if match else None
        if match and found and _numbers(found) < _numbers(match[2]):
            problems.append(
                f"{match[1]} {found} is older than {match[2]}: run pip install -U {match[1]}"
            )
    return problems


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(map(int, re.findall(r"\d+", version)[:3]))
