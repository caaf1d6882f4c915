"""Trials on disk: each in a file named by its content, all of a study in one to hand on."""

import dataclasses
import gzip
import importlib.metadata
import json
import os
import platform
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from benchmarks.protocol import Protocol, Trial

RESULTS = Path(__file__).parent / "results"
PACKAGES = ("lrsched-jax", "jax", "jaxlib", "flax", "optax", "numpy", "scikit-learn", "mlxtend")


def made_on() -> dict[str, Any]:
    """The versions and the machine that numbers are of."""
    return {
        "versions": {"python": platform.python_version()}
        | {package: importlib.metadata.version(package) for package in PACKAGES},
        "machine": {
            "platform": platform.platform(),
            "cores": os.cpu_count(),
            "device": jax.devices()[0].device_kind,
            "devices": len(jax.devices()),
        },
    }


class Store:
    """The trials made so far, by their digests.

    What a trial computes is in its digest; what computes it (jax's version, the kind of device) is
    the folder's name, so that a GPU's numbers never stand in for a CPU's.
    """

    def __init__(self, folder: Path = RESULTS / "trials") -> None:
        device = jax.devices()[0].device_kind.replace(" ", "-")
        self._folder = folder / f"jax-{jax.__version__}-{device}"

    def load(self, digest: str) -> Trial | None:
        """The trial, if it has been made."""
        file = self._folder / f"{digest}.json"
        return from_json(json.loads(file.read_text())) if file.exists() else None

    def save(self, trial: Trial) -> None:
        """Keeps it: the file is there as a whole or not at all."""
        self._folder.mkdir(parents=True, exist_ok=True)
        file = self._folder / f"{trial.digest}.json"
        part = file.with_suffix(f".{os.getpid()}")
        part.write_text(json.dumps(to_json(trial)))
        part.replace(file)


def write_study(path: Path, name: str, protocol: Protocol, trials: Sequence[Trial]) -> None:
    """Writes all trials of a study and how they were made into one compressed file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    study = {
        "study": name,
        "protocol": dataclasses.asdict(protocol),
        "trials": [to_json(trial) for trial in trials],
    }
    path.write_bytes(gzip.compress(json.dumps(study).encode(), mtime=0))


def read_study(path: Path) -> tuple[str, Protocol, list[Trial]]:
    """The name, the protocol and the trials of a study."""
    found = json.loads(gzip.decompress(path.read_bytes()))
    trials = [from_json(trial) for trial in found["trials"]]
    return found["study"], Protocol(**found["protocol"]), trials


def to_json(trial: Trial) -> dict[str, Any]:
    """Of numbers, lists and words; what is not finite is "inf" or "nan"."""

    def plain(value: Any) -> Any:
        if isinstance(value, dict):
            return {name: plain(inner) for name, inner in value.items()}
        if isinstance(value, np.ndarray):
            return [plain(inner) for inner in value.tolist()]
        if isinstance(value, list):
            return [plain(inner) for inner in value]
        if isinstance(value, float):
            return float(f"{value:.7g}") if np.isfinite(value) else str(value)
        return value

    found: dict[str, Any] = plain(
        {field.name: getattr(trial, field.name) for field in dataclasses.fields(trial)}
    )
    return found


def from_json(found: dict[str, Any]) -> Trial:
    """The inverse of `to_json`."""
    arrays = {
        name: {key: np.array(values, float) for key, values in found[name].items()}
        for name in ("tuning", "curves")
    }
    plain = {"rates": np.array(found["rates"]), "evaluated": np.array(found["evaluated"])}
    return Trial(**{**found, **arrays, **plain, "first": float(found["first"])})
