"""Trials on disk: one file per trial, named by its digest, and one file per study for sharing."""

import dataclasses
import gzip
import hashlib
import importlib.metadata
import json
import os
import platform
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from benchmarks.protocol import Protocol, Trial

RESULTS = Path(__file__).parent / "results"
PACKAGES = ("lrsched-jax", "jax", "jaxlib", "flax", "optax", "numpy", "scikit-learn", "mlxtend")


def write_json(path: Path, content: object) -> None:
    """Write JSON values to a file, whose folder is made if it is missing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=1))


def versions(*packages: str) -> dict[str, str]:
    """Return the versions of installed packages by name."""
    return {package: importlib.metadata.version(package) for package in packages}


def made_on() -> dict[str, Any]:
    """Return the versions of the packages and a description of this machine."""
    return {
        "versions": {"python": platform.python_version(), **versions(*PACKAGES)},
        "machine": {
            "platform": platform.platform(),
            "cores": os.cpu_count(),
            "device": jax.devices()[0].device_kind,
            "devices": len(jax.devices()),
        },
    }


class Store:
    """Folder of the completed trials, by digest.

    The digest covers the computation of a trial. The name of the folder contains the version of JAX
    and the kind of device, so that the results of a GPU never replace those of a CPU.
    """

    def __init__(self, folder: Path = RESULTS / "trials") -> None:
        device = jax.devices()[0].device_kind.replace(" ", "-")
        self._folder = folder / f"jax-{jax.__version__}-{device}"

    def load(self, digest: str) -> Trial | None:
        """Return the trial, or ``None`` if it has not been run or its file is damaged.

        A warning names a damaged file; its trial runs again.
        """
        file = self._folder / f"{digest}.json"
        try:
            text = file.read_text()
        except FileNotFoundError:
            return None
        except (OSError, UnicodeDecodeError) as error:
            return _damaged(file, error)
        try:
            content = json.loads(text)
            checksum = content.pop("checksum", None)
            trial = from_json(content)
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            return _damaged(file, error)
        # Files of earlier versions have no checksum; the digest in them must match the name.
        if trial.digest != digest or checksum not in (None, _checksum(content)):
            return _damaged(file, "its checksum differs")
        return trial

    def save(self, trial: Trial) -> None:
        """Write a trial: the file exists completely or not at all."""
        self._folder.mkdir(parents=True, exist_ok=True)
        file = self._folder / f"{trial.digest}.json"
        temporary = file.with_suffix(f".{os.getpid()}")
        content = to_json(trial)
        try:
            temporary.write_text(json.dumps({**content, "checksum": _checksum(content)}))
            temporary.replace(file)
        finally:
            temporary.unlink(missing_ok=True)


def _checksum(content: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _damaged(file: Path, reason: object) -> None:
    warnings.warn(
        f"{file} is damaged ({reason}); its trial is run again.", RuntimeWarning, stacklevel=3
    )


def write_study(path: Path, name: str, protocol: Protocol, trials: Sequence[Trial]) -> None:
    """Write all trials of a study and its protocol into one compressed file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    study = {
        "study": name,
        "protocol": dataclasses.asdict(protocol),
        "trials": [to_json(trial) for trial in trials],
    }
    path.write_bytes(gzip.compress(json.dumps(study).encode(), mtime=0))


def read_study(path: Path) -> tuple[str, Protocol, list[Trial]]:
    """Return the name, the protocol and the trials of a study."""
    content = json.loads(gzip.decompress(path.read_bytes()))
    trials = [from_json(trial) for trial in content["trials"]]
    return content["study"], Protocol(**content["protocol"]), trials


def to_json(trial: Trial) -> dict[str, Any]:
    """Return the trial as JSON values; non-finite numbers become strings, "inf" or "nan"."""

    def to_plain(value: Any) -> Any:
        if isinstance(value, dict):
            return {name: to_plain(inner) for name, inner in value.items()}
        if isinstance(value, np.ndarray):
            return [to_plain(inner) for inner in value.tolist()]
        if isinstance(value, list):
            return [to_plain(inner) for inner in value]
        if isinstance(value, float):
            return float(f"{value:.7g}") if np.isfinite(value) else str(value)
        return value

    content: dict[str, Any] = to_plain(
        {field.name: getattr(trial, field.name) for field in dataclasses.fields(trial)}
    )
    return content


def from_json(content: dict[str, Any]) -> Trial:
    """Return the trial from the values that `to_json` returned."""
    arrays = {
        name: {key: np.array(values, float) for key, values in content[name].items()}
        for name in ("tuning", "curves")
    }
    lists = {"rates": np.array(content["rates"]), "evaluated": np.array(content["evaluated"])}
    return Trial(**{**content, **arrays, **lists, "first": float(content["first"])})
