"""What the command prints: tables, JSON, curves in the terminal or as a file."""

import itertools
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from lrsched.pictures import terminal as chart


def draw(lines: Sequence[chart.Line], **how: Any) -> None:
    """Curves in this terminal, as wide as it is; without colour where it has none."""
    terminal = console()
    plain = terminal.no_color or terminal.color_system is None
    terminal.print(chart.draw(lines, terminal.width, plain=plain, **how))


def save(ax: Any, png: Path, is_quiet: bool) -> None:
    """A picture as a file, whose name is printed unless the output is for a machine."""
    ax.figure.savefig(png, dpi=150)
    if not is_quiet:
        print(png)


def note(text: str) -> None:
    """One line on stderr, of what a reader should know of the output."""
    print(f"lrsched: {text}", file=sys.stderr)


def letter(i: int) -> str:
    """What a curve is drawn with where there is no colour."""
    return chart.LETTERS[i % len(chart.LETTERS)]


def rows_or_json(rows: Sequence[Mapping[str, Any]], is_json: bool) -> None:
    """The same for people or for machines."""
    if is_json:
        as_json(rows)
    else:
        table(rows)


def table(rows: Sequence[Mapping[str, Any]], styles: Sequence[str] = ("",)) -> None:
    """A table, or one row beneath the other where the terminal is too narrow for it."""
    names, cells = list(rows[0]), [list(map(_shown, row.values())) for row in rows]
    widths = [max(map(len, column)) for column in zip(names, *cells, strict=True)]
    terminal, wide = console(), max(map(len, names))
    if sum(widths) + 2 * (len(widths) - 1) <= terminal.width:
        terminal.print(_padded(names, widths), style="bold")
        blocks = [[_padded(row, widths)] for row in cells]
    else:
        blocks = [
            [*(f"{name:<{wide}}  {cell}" for name, cell in zip(names, row, strict=True)), ""]
            for row in cells
        ]
    for lines, style in zip(blocks, itertools.cycle(styles), strict=False):
        for line in lines:
            terminal.print(line, style=style, markup=False, soft_wrap=True)


def _padded(cells: Sequence[str], widths: Sequence[int]) -> str:
    return "  ".join(map(str.ljust, cells, widths)).rstrip()


def _shown(value: Any) -> str:
    if isinstance(value, list):
        return " to ".join(map(_shown, value))
    if isinstance(value, bool):
        return "yes" if value else ""
    if value is None:
        return "-"
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def console() -> Console:
    """Where output for people goes."""
    return Console(highlight=False)


def dumped(data: Any) -> str:
    """Numbers that JSON has no word for are null there."""
    return json.dumps(_finite(data))


def _finite(data: Any) -> Any:
    if isinstance(data, Mapping):
        return {name: _finite(value) for name, value in data.items()}
    if isinstance(data, list | tuple):
        return [_finite(value) for value in data]
    return None if isinstance(data, float) and not np.isfinite(data) else data


def as_json(data: Any) -> None:
    """For machines, on one line."""
    print(dumped(data))
