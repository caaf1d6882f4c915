"""A progress bar on stderr for what takes more than a second."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeAlias

Show: TypeAlias = Callable[..., None]
"""``(done, status="")``: the number of updates done, and what goes on instead of updates."""


@contextmanager
def progress_bar(name: str, total: int, is_wanted: bool) -> Iterator[Show]:
    """Show a bar with the remaining time on stderr, which says "compiling" until updates begin.

    Args:
      name: Label of the bar.
      total: Number of updates.
      is_wanted: Whether to show the bar, if the package ``rich`` is installed.

    Yields:
      A function of the number of updates done, and of a status such as "compiling".

    Example:
      >>> from lrsched.tuning._progress import progress_bar
      >>> with progress_bar("sweep", 100, is_wanted=False) as show:
      ...     show(0, "compiling")
      ...     show(100)
    """
    if not is_wanted or importlib.util.find_spec("rich") is None:
        yield lambda done, status="": None
        return
    # Imported here: rich belongs to the extras.
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

    columns = "{task.description}", BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    # On stderr, so that the output of a command can be piped. The file is that of now: a console
    # that is made at import would miss a replaced stderr.
    # In a notebook without ipywidgets, rich would warn at every bar; it prints plain text there.
    has_widgets = importlib.util.find_spec("ipywidgets") is not None
    console = Console(file=sys.stderr, force_jupyter=None if has_widgets else False)
    with Progress(*columns, console=console) as bars:
        task = bars.add_task(f"{name}: compiling", total=total)
        yield lambda done, status="": bars.update(
            task, completed=done, description=f"{name}: {status}" if status else name
        )
