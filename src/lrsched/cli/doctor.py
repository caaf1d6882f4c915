"""What a computer has, and what stands in the way."""

import importlib.metadata
import platform
import re
from typing import Any, Final

_PACKAGES: Final = ("lrsched-jax", "jax", "jaxlib", "optax", "flax", "chex", "numpy")
_NAMESAKE: Final = "lrsched"


def diagnose() -> dict[str, Any]:
    """Versions, devices and problems, each of which says what to do about it."""
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
    """Another project owns the import name on PyPI; both at once overwrite each other's files."""
    found = _version(_NAMESAKE)
    if found is None:
        return []
    return [
        f"the package {_NAMESAKE} {found} is another project with the same import name, and "
        f"both write into one folder: pip uninstall {_NAMESAKE} lrsched-jax, then install "
        "lrsched-jax again."
    ]


def _too_old(versions: dict[str, str | None]) -> list[str]:
    try:
        wanted = importlib.metadata.requires("lrsched-jax") or []
    except importlib.metadata.PackageNotFoundError:
        return ["lrsched-jax is not installed as a package; the versions are not checked."]
    problems = []
    for line in wanted:
        match = re.match(r"([\w-]+)>=([\d.]+)", line)
        found = versions.get(match[1]) if match else None
        if match and found and _numbers(found) < _numbers(match[2]):
            problems.append(
                f"{match[1]} {found} is older than {match[2]}: pip install -U {match[1]}"
            )
    return problems


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(map(int, re.findall(r"\d+", version)[:3]))
