"""Output of the commands: tables, JSON, and curves in the terminal or in a file."""

from __future__ import annotations

import itertools
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from rich.console import Console

from lrsched.pictures import terminal
from lrsched.pictures.curves import Line

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def draw(lines: Sequence[Line], **options: Any) -> None:
    """Draw curves as wide as the terminal, as letters if it has no colour.

    Args:
      lines: The curves.
      **options: Options of `lrsched.pictures.terminal.draw`.
    """
    output = console()
    plain = output.no_color or output.color_system is None
    output.print(terminal.draw(lines, output.width, plain=plain, **options))


def save_figure(ax: Axes, png: Path, is_quiet: bool) -> None:
    """Save the figure of an axis, and print the name of the file unless ``is_quiet``."""
    # Matplotlib adds the suffix to a name without one, so that another file would be written.
    png = png if png.suffix else png.with_name(f"{png.name}.png")
    ax.figure.savefig(png, dpi=150)  # type: ignore[union-attr]
    if not is_quiet:
        print(png)


def print_note(text: str) -> None:
    """Print one line on stderr, which explains the output."""
    print(f"lrsched: {text}", file=sys.stderr)


def print_rows(rows: Sequence[Mapping[str, object]], is_json: bool) -> None:
    """Print rows as JSON or as a table."""
    if is_json:
        print_json(rows)
    else:
        print_table(rows)


def print_table(rows: Sequence[Mapping[str, object]], styles: Sequence[str] = ("",)) -> None:
    """Print a table, or one value a line if the terminal is too narrow for it.

    Args:
      rows: Rows with the same keys, which are the headings.
      styles: Styles of Rich, one for each row in turn.
    """
    names, cells = list(rows[0]), [list(map(_format, row.values())) for row in rows]
    widths = [max(map(len, column)) for column in zip(names, *cells, strict=True)]
    output, name_width = console(), max(map(len, names))
    if sum(widths) + 2 * (len(widths) - 1) <= output.width:
        output.print(_pad(names, widths), style="bold")
        blocks = [[_pad(row, widths)] for row in cells]
    else:
        blocks = [
            [*(f"{name:<{name_width}}  {cell}" for name, cell in zip(names, row, strict=True)), ""]
            for row in cells
        ]
    for lines, style in zip(blocks, itertools.cycle(styles), strict=False):
        for line in lines:
            output.print(line, style=style, markup=False, soft_wrap=True)


def _pad(cells: Sequence[str], widths: Sequence[int]) -> str:
    return "  ".join(map(str.ljust, cells, widths)).rstrip()


def _format(value: object) -> str:
    if isinstance(value, list):
        return " to ".join(map(_format, value))
    if isinstance(value, bool):
        return "yes" if value else ""
    if value is None:
        return "-"
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def console() -> Console:
    """Return a console on the standard output of now, which tests replace."""
    return Console(highlight=False)


def print_json(data: object) -> None:
    """Print JSON on one line. NaN and infinity, which JSON does not have, become null."""
    print(json.dumps(_replace_nonfinite(data)))


def _replace_nonfinite(data: object) -> object:
    if isinstance(data, Mapping):
        return {name: _replace_nonfinite(value) for name, value in data.items()}
    if isinstance(data, list | tuple):
        return [_replace_nonfinite(value) for value in data]
    return None if isinstance(data, float) and not np.isfinite(data) else data
