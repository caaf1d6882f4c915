"""Interleaved timing of programs, and the table that the cost benchmarks print and write."""

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np
from rich.table import Table

from benchmarks.store import write_json


@dataclass(frozen=True)
class CostTable:
    """Table of measurements, with the command that reproduces it.

    Attributes:
      title: Title of the table.
      command: Command that reproduces the table.
      caption: Description of the measurement.
      columns: Headings of the columns.
      rows: Formatted cells, one list per row.
      versions: Versions of the measured packages, by name.
    """

    title: str
    command: str
    caption: str
    columns: list[str]
    rows: list[list[str]]
    versions: dict[str, str]

    def render(self) -> Table:
        """Return the table for the terminal."""
        table = Table(title=self.title, caption=self.caption, caption_justify="left")
        for index, column in enumerate(self.columns):
            table.add_column(column, justify="left" if index == 0 else "right")
        for row in self.rows:
            table.add_row(*row)
        return table

    def write(self, path: Path) -> None:
        """Write the table as JSON, which `python -m benchmarks report` reads."""
        write_json(path, asdict(self))


REFERENCE = "optax adam"
"""Transform whose time is the unit."""


def twin(name: str) -> str:
    """Return the name that the counterpart in optax of a transform of lrsched would have."""
    return "optax " + name.partition("(")[0]


def format_number(value: Any) -> str:
    """Format a number, or ``[lower quartile, median, upper quartile]``; None becomes "-"."""
    if value is None:
        return "-"
    if isinstance(value, list):
        low, median, high = value
        return f"{median:.2f} ({low:.2f} to {high:.2f})"
    return f"{value:,}" if isinstance(value, int) else f"{value:.2f}"


def interleaved_seconds(
    programs: Mapping[str, Callable[..., Any]],
    carries: dict[str, tuple[Any, ...]],
    arguments: tuple[Any, ...],
    rounds: Iterable[int],
    random: np.random.Generator,
) -> dict[str, np.ndarray]:
    """Return the seconds of each program in each round, float64 of shape ``(rounds,)``.

    A round runs every program once, in a random order, so that a busy machine slows all alike.

    Args:
      programs: Compiled functions ``(*carry, *arguments) -> carry``, by name.
      carries: Initial carries, by name. They are donated, and replaced by the results.
      arguments: Further arguments of all programs.
      rounds: Iterable with one item per round, such as a progress bar over a range.
      random: Random generator of the orders.
    """
    seconds: dict[str, list[float]] = {name: [] for name in programs}
    for _ in rounds:
        for name in random.permutation([*programs]):
            started = time.perf_counter()
            carries[name] = programs[name](*carries[name], *arguments)
            jax.block_until_ready(carries[name])
            seconds[name].append(time.perf_counter() - started)
    return {name: np.array(each) for name, each in seconds.items()}
