"""Saves of a sweep: arrays in one file, written completely or not at all, verified when read."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import signal
import threading
import time
import warnings
import zipfile
from collections.abc import Iterator
from pathlib import Path
from types import FrameType, TracebackType
from typing import IO, TYPE_CHECKING, Any, Final, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

if TYPE_CHECKING:
    import chex

_KEPT_SAVES: Final = 2
"""Number of saves that are kept: if the newest is damaged, the older one takes its place."""


class Save(NamedTuple):
    """The content of one save.

    Attributes:
      metadata: JSON values.
      arrays: Arrays by name.
    """

    metadata: dict[str, Any]
    arrays: dict[str, np.ndarray]


class Checkpoint:
    """The latest saves of one process in a directory; without a directory, nothing is saved.

    Use it as a context manager: it holds a lock on its part of the directory meanwhile.

    Args:
      directory: Directory, in which each process writes into a subdirectory of its own.
      seconds: Time between two saves.

    Raises:
      ValueError: When entered, if another sweep holds the lock.
    """

    def __init__(self, directory: str | Path | None, seconds: float) -> None:
        self._seconds, self._saved_at = seconds, time.monotonic()
        self._lock: int | None = None
        self._directory: Path | None = None
        if directory is not None:
            self._directory = Path(directory).absolute() / f"process-{jax.process_index()}"

    def __enter__(self) -> Checkpoint:
        if self._directory is not None:
            try:
                self._directory.mkdir(parents=True, exist_ok=True)
                self._lock = os.open(self._directory / "lock", os.O_RDWR | os.O_CREAT, 0o644)
            except OSError as error:
                _warn(f"the directory {self._directory} cannot be written ({error.strerror})")
        if self._lock is not None and not _try_lock(self._lock):
            os.close(self._lock)
            self._lock = None
            raise ValueError(
                f"sweep: checkpoint={str(self._directory.parent)!r} is not accepted: another sweep "  # type: ignore[union-attr]
                "is using it; wait for that sweep or use another directory."
            )
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def is_enabled(self) -> bool:
        """Return whether there is a directory."""
        return self._directory is not None

    def is_due(self) -> bool:
        """Return whether it is time to save."""
        return self.is_enabled() and time.monotonic() - self._saved_at >= self._seconds

    def save(self, metadata: dict[str, Any], arrays: dict[str, np.ndarray]) -> bool:
        """Write a save. If that fails, warn and leave the earlier saves in place.

        Args:
          metadata: JSON values.
          arrays: Arrays by name.

        Returns:
          Whether the save was written.
        """
        if self._directory is None:
            return False
        # Also after a failure: the next attempt is made after the same time.
        self._saved_at = time.monotonic()
        saves = self._saves()
        number = _number(saves[0]) + 1 if saves else 1
        path = self._directory / f"save-{number}.zip"
        temporary = path.with_suffix(".tmp")
        try:
            with open(temporary, "wb") as file:
                _write(file, metadata, arrays)
                file.flush()
                # Without it a power failure may leave an empty file under the final name.
                os.fsync(file.fileno())
            temporary.replace(path)
        except OSError as error:
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)
            _warn(f"saving to {self._directory} failed ({error.strerror or error})")
            return False
        for old in saves[_KEPT_SAVES - 1 :]:
            with contextlib.suppress(OSError):
                old.unlink()
        return True

    def load(self) -> Save | None:
        """Return the newest intact save, or ``None`` if no save is intact.

        A damaged save is left out with a warning.
        """
        return self._load(self._saves())

    def load_of_others(self) -> list[Save]:
        """Return the newest intact save of every other process that has written one.

        A sweep that continues with fewer processes has the runs of the missing ones from there.
        """
        if self._directory is None:
            return []
        newest = [
            self._load(_saves_in(directory))
            for directory in sorted(self._directory.parent.glob("process-*"))
            if directory != self._directory
        ]
        return [save for save in newest if save is not None]

    def _load(self, saves: list[Path]) -> Save | None:
        for i, path in enumerate(saves):
            try:
                return _read(path)
            except (OSError, ValueError, KeyError, zipfile.BadZipFile, EOFError) as error:
                follow = (
                    f"the older save {saves[i + 1].name} is used"
                    if i + 1 < len(saves)
                    else "there is no older save, so the sweep starts again"
                )
                warnings.warn(
                    f"sweep: the save {path} is damaged ({error}); {follow}.",
                    RuntimeWarning,
                    stacklevel=4,
                )
        return None

    def _saves(self) -> list[Path]:
        return [] if self._directory is None else _saves_in(self._directory)


def _warn(problem: str) -> None:
    warnings.warn(
        f"sweep: {problem}; the sweep continues and tries to save again later.",
        RuntimeWarning,
        stacklevel=4,
    )


def _saves_in(directory: Path) -> list[Path]:
    """Return the files of the saves in a directory, the newest first."""
    files = [path for path in directory.glob("save-*.zip") if _number(path) >= 0]
    return sorted(files, key=_number, reverse=True)


def _number(path: Path) -> int:
    digits = path.stem.removeprefix("save-")
    return int(digits) if digits.isdecimal() else -1


def _try_lock(descriptor: int) -> bool:
    """Lock a file for this process, unless another one has locked it."""
    try:
        import fcntl
    except ImportError:  # Windows: without a lock
        return True
    try:
        # A lock of the kernel rather than a file that says so: it disappears with its owner.
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _write(file: IO[bytes], metadata: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
    raw = {name: np.ascontiguousarray(array).tobytes() for name, array in arrays.items()}
    described = {
        name: {
            "dtype": array.dtype.name,
            "shape": list(array.shape),
            "sha256": hashlib.sha256(raw[name]).hexdigest(),
        }
        for name, array in arrays.items()
    }
    header = json.dumps({"metadata": metadata, "arrays": described}).encode()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr("header.sha256", hashlib.sha256(header).hexdigest())
        archive.writestr("header.json", header)
        for name, data in raw.items():
            archive.writestr(name, data)


def _read(path: Path) -> Save:
    with zipfile.ZipFile(path) as archive:
        header = archive.read("header.json")
        if hashlib.sha256(header).hexdigest().encode() != archive.read("header.sha256"):
            raise ValueError("the checksum of its header differs")
        content = json.loads(header)
        arrays = {}
        for name, described in content["arrays"].items():
            data = archive.read(name)
            if hashlib.sha256(data).hexdigest() != described["sha256"]:
                raise ValueError(f"the checksum of {name} differs")
            # Through jnp.dtype: NumPy alone does not know bfloat16 by name.
            array = np.frombuffer(data, jnp.dtype(described["dtype"]))
            arrays[name] = array.reshape(described["shape"]).copy()
    return Save(content["metadata"], arrays)


def flatten_arrays(name: str, tree: chex.ArrayTree) -> dict[str, np.ndarray]:
    """Return the arrays of a tree by ``name`` and position; random keys as their raw data."""

    def to_numpy(leaf: chex.Array) -> np.ndarray:
        return np.asarray(jax.random.key_data(leaf) if _is_key(leaf) else leaf)

    return {f"{name}.{i}": to_numpy(leaf) for i, leaf in enumerate(jax.tree.leaves(tree))}


def restore_arrays(
    arrays: dict[str, np.ndarray], name: str, like: chex.ArrayTree
) -> chex.ArrayTree:
    """Return the tree that `flatten_arrays` received, with the structure of ``like``."""

    def from_numpy(raw: np.ndarray, leaf: chex.Array) -> chex.Array:
        return jax.random.wrap_key_data(jnp.asarray(raw)) if _is_key(leaf) else raw

    leaves, treedef = jax.tree.flatten(like)
    restored = [from_numpy(arrays[f"{name}.{i}"], leaf) for i, leaf in enumerate(leaves)]
    return jax.tree.unflatten(treedef, restored)


def _is_key(leaf: chex.Array) -> bool:
    return bool(jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key))


class Interrupt:
    """A request to stop, by SIGINT or SIGTERM, that waits until the work can be saved."""

    def __init__(self) -> None:
        self._handlers: dict[int, Any] = {}
        self._signal: int | None = None

    def is_requested(self) -> bool:
        """Return whether a signal has arrived."""
        return self._signal is not None

    def deliver(self) -> None:
        """Let the signal have the effect that it would have had without this class."""
        self._restore()
        if self._signal is not None:
            signal.raise_signal(self._signal)

    def _receive(self, number: int, frame: FrameType | None) -> None:
        del frame
        if self._signal is not None:  # a second signal does not wait
            self._restore()
            signal.raise_signal(number)
        self._signal = number

    def _restore(self) -> None:
        while self._handlers:
            signal.signal(*self._handlers.popitem())


@contextlib.contextmanager
def defer_interrupts(is_wanted: bool) -> Iterator[Interrupt]:
    """Hold back SIGINT and SIGTERM, so that a save can be written first.

    A signal in the middle of a call would leave states whose buffers are donated already. A second
    signal takes effect at once. Outside the main thread Python delivers no signals, and nothing is
    held back.

    Args:
      is_wanted: Whether to hold signals back.
    """
    interrupt = Interrupt()
    if is_wanted and threading.current_thread() is threading.main_thread():
        for number in (signal.SIGINT, signal.SIGTERM):
            previous = signal.getsignal(number)
            # None: installed by C code, which Python cannot put back. SIG_IGN: stays ignored.
            if previous is not None and previous is not signal.SIG_IGN:
                interrupt._handlers[number] = previous
                signal.signal(number, interrupt._receive)
    try:
        yield interrupt
    finally:
        interrupt._restore()
