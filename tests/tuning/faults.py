"""Kill a sweep and damage its disk, many times: ``python -m tests.tuning.faults``.

After every fault the sweep is run to its end, and every number of its result must be that of a
sweep without faults. `test_checkpoint.py` runs some of them.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

Damage = Callable[[Path], None]
"""Function of the directory of a killed sweep."""


def run_sweep(directory: Path, fault: str = "none") -> tuple[int, list[str], str]:
    """Run a sweep in a process of its own; return its exit status, its output and its messages."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.tuning.faulty_sweep", str(directory), fault],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout.splitlines(), done.stderr


def saves(directory: Path) -> list[Path]:
    """Return the files of the saves, the newest last."""
    return sorted(directory.glob("process-*/save-*.zip"), key=lambda path: int(path.stem[5:]))


def edit_newest(edit: Callable[[bytes], bytes], number: int = 1) -> Damage:
    """Return a damage that rewrites the newest saves."""

    def damage(directory: Path) -> None:
        for path in saves(directory)[-number:]:
            path.write_bytes(edit(path.read_bytes()))

    return damage


def flip(place: float) -> Damage:
    """Return a damage that flips one bit of the newest save."""

    def edit(content: bytes) -> bytes:
        index = int(place * (len(content) - 1))
        return content[:index] + bytes([content[index] ^ 4]) + content[index + 1 :]

    return edit_newest(edit)


def leave_temporary_file(directory: Path) -> None:
    """Write the rest of a save that a killed process did not finish."""
    saves(directory)[-1].with_suffix(".tmp").write_bytes(b"PK")


DISK: dict[str, Damage | str] = {
    "the newest save is cut": edit_newest(lambda content: content[: len(content) // 2]),
    "the newest save is empty": edit_newest(lambda content: b""),
    "the newest save is zeros": edit_newest(lambda content: bytes(len(content))),
    "both saves are cut": edit_newest(lambda content: content[:100], number=2),
    "a bit of the header is flipped": flip(0.05),
    "a bit of the arrays is flipped": flip(0.5),
    "a bit of the directory is flipped": flip(0.98),
    "the newest save is gone": lambda directory: saves(directory)[-1].unlink(),
    "a temporary file is left": leave_temporary_file,
    "files cannot grow": "small-files",
}
"""Damages between a kill and the continuation, or a fault of `faulty_sweep` while it runs."""


def kill_often(directory: Path, kills: int, expected: list[str]) -> int:
    """Kill sweeps after each save until there are enough kills; return the number of sweeps."""
    count = sweeps = 0
    while count < kills:
        sweeps += 1
        part = directory / str(sweeps)
        while count < kills and run_sweep(part, "kill-1")[0] < 0:
            count += 1
        status, lines, messages = run_sweep(part)
        assert (status, lines[1:]) == (0, expected[1:]), messages
    return sweeps


def damage_disk(directory: Path, name: str, expected: list[str]) -> None:
    """Kill a sweep, damage its saves, and continue it."""
    fault = DISK[name]
    if callable(fault):
        assert run_sweep(directory, "kill")[0] < 0
        fault(directory)
    status, lines, messages = run_sweep(directory, fault if isinstance(fault, str) else "none")
    assert (status, lines[1:]) == (0, expected[1:]), f"{name}: {messages}"


def main() -> None:
    """Run kills and disk faults, and print their number and time."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--kills", type=int, default=20, help="number of kills")
    parser.add_argument("--disk", type=int, default=10, help="number of disk faults")
    options = parser.parse_args()
    began = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        status, expected, messages = run_sweep(Path(folder) / "whole")
        assert status == 0, messages
        sweeps = kill_often(Path(folder) / "kills", options.kills, expected)
        print(f"{options.kills} kills of {sweeps} sweeps: equal results")
        names = list(DISK) * (options.disk // len(DISK) + 1)
        for number, name in enumerate(names[: options.disk]):
            damage_disk(Path(folder) / f"disk-{number}", name, expected)
            print(f"{name}: equal results", flush=True)
    print(f"{time.perf_counter() - began:.0f} s")


if __name__ == "__main__":
    main()
