"""Times of programs that take turns, and the table that every command of costs prints."""

import json
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np
from rich.table import Table


@dataclass(frozen=True)
class CostTable:
    """A table with all that is needed to print it anywhere, and to make it again.

    Attributes:
      title: what is compared.
      command: makes it again.
      caption: how it was measured.
      columns: their headings.
      rows: cells, as they are shown.
      versions: of the packages that matter.
    """

    title: str
    command: str
    caption: str
    columns: list[str]
    rows: list[list[str]]
    versions: dict[str, str]

    def shown(self) -> Table:
        """For the terminal."""
        table = Table(title=self.title, caption=self.caption, caption_justify="left")
        for place, column in enumerate(self.columns):
            table.add_column(column, justify="left" if place == 0 else "right")
        for row in self.rows:
            table.add_row(*row)
        return table

    def write(self, path: Path) -> None:
        """Writes it as JSON, from which the report takes it."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(asdict(self), indent=1))


def shown(value: Any) -> str:
    """A number, or the median and the quartiles of one."""
    if value is None:
        return "-"
    if isinstance(value, list):
        low, middle, high = value
        return f"{middle:.2f} ({low:.2f} to {high:.2f})"
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
      carries: Their first carries, which are donated and replaced.
      arguments: Further arguments of all programs.
      rounds: The rounds.
      random: Generator of the orders.
    """
    seconds: dict[str, list[float]] = {name: [] for name in programs}
    for _ in rounds:
        for name in random.permutation([*programs]):
            started = time.perf_counter()
            carries[name] = programs[name](*carries[name], *arguments)
            jax.block_until_ready(carries[name])
            seconds[name].append(time.perf_counter() - started)
    return {name: np.array(each) for name, each in seconds.items()}
