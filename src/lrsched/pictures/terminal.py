"""Curves in a terminal, drawn with braille characters of 2 by 4 dots."""

from __future__ import annotations

import string
from collections.abc import Sequence
from typing import Final

import numpy as np
from rich.text import Text

from lrsched.pictures.curves import Line, is_logarithmic

STYLES: Final = ("blue", "red", "green", "magenta", "yellow", "cyan")
_DOTS: Final = np.array([[0x01, 0x08], [0x02, 0x10], [0x04, 0x20], [0x40, 0x80]])


def letter(index: int) -> str:
    """Return the letter that a curve is drawn with if there is no colour."""
    return string.ascii_lowercase[index % 26]


def draw(
    lines: Sequence[Line],
    width: int,
    height: int = 12,
    plain: bool = False,
    log_x: bool = False,
    marked: tuple[float, float, float] | None = None,
) -> Text:
    """Draw curves in one chart, with the ends of both axes.

    Args:
      lines: Curves, each with at least one finite number.
      width: Total width in characters, including the axis.
      height: Height of the curves in characters.
      plain: Whether to omit colours. Several curves are then letters instead of dots.
      log_x: Whether the horizontal axis is logarithmic.
      marked: First position, marked position and last position of a range that is shown below the
        axis. If ``None``, no range is shown.

    Returns:
      The chart as text of rich.
    """
    values = np.concatenate([line.y[np.isfinite(line.y)] for line in lines])
    log = is_logarithmic([line.y for line in lines])
    low, high = float(values.min()), float(values.max())
    low = low if log else min(low, 0.0)
    labels = [f"{high:.3g}", *[""] * (height - 2), f"{low:.3g}"]
    margin = max(map(len, labels)) + 1
    columns = max(width - margin - 1, 8)
    start, stop = min(line.x[0] for line in lines), max(line.x[-1] for line in lines)
    dots = np.zeros((height, columns), int)
    owner = np.full((height, columns), -1)
    across = (np.geomspace if log_x else np.linspace)(start, stop, 2 * columns)
    for i, line in enumerate(lines):
        y = np.interp(across, line.x, line.y)
        with np.errstate(divide="ignore", invalid="ignore"):
            place = np.log(y / low) / np.log(high / low) if log else (y - low) / ((high - low) or 1)
        rows = np.where(np.isfinite(place), np.rint((1 - place) * (4 * height - 1)), -1)
        before = rows[0]
        for column, row in enumerate(rows.astype(int)):
            if row < 0:
                before = -1
                continue
            near = row if before < 0 else int(before) + np.sign(row - before)
            for dot in range(int(min(near, row)), int(max(near, row)) + 1):
                dots[dot // 4, column // 2] |= _DOTS[dot % 4, column % 2]
                owner[dot // 4, column // 2] = i
            before = row
    text = Text()
    for label, line_dots, line_owner in zip(labels, dots, owner, strict=True):
        text.append(f"{label:>{margin}}┤")
        for dot, i in zip(line_dots, line_owner, strict=True):
            if plain and len(lines) > 1:
                text.append(" " if i < 0 else letter(i))
            else:
                text.append(chr(0x2800 + int(dot)), STYLES[i % len(STYLES)] if i >= 0 else None)
        text.append("\n")
    ends = f"{start:.4g}", (f"{stop:.4g}" if log_x else f"{stop:.10g}")
    ends = ends[0], ends[1] + (" (log axis)" if log else "")
    text.append(" " * margin + "└" + ends[0] + ends[1].rjust(max(columns - len(ends[0]), 1)))
    if marked is not None:
        first, at, last = np.searchsorted(across, marked).clip(max=2 * columns - 1) // 2
        under = ["─" if first <= i <= last else " " for i in range(columns)]
        under[first], under[last], under[at] = "├", "┤", "▲"
        text.append("\n" + " " * (margin + 1) + "".join(under).rstrip())
    return text
