"""Logged losses and rates of a run: from columns, a CSV, JSON or a TensorBoard folder."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import numpy as np

from lrsched.arguments import not_accepted, short_repr
from lrsched.theory.laws import LossCurve

if TYPE_CHECKING:
    from jax.typing import ArrayLike

    HistorySource: TypeAlias = (
        "str | os.PathLike[str] | Mapping[str, ArrayLike] | Sequence[Mapping[str, object]] | Any"
    )

MAX_STEPS: Final = 10_000_000
"""Longest run that is read: one float64 is kept for each update."""
MAX_MIB: Final = 256
"""Largest file that is read, in MiB: all of it is in memory at once."""

_NAMES: Final[dict[str, tuple[str, ...]]] = {
    "step": ("step", "steps", "global_step", "_step", "iteration", "iter", "update"),
    "loss": ("loss", "train_loss", "training_loss", "train/loss", "loss/train"),
    "rate": (
        *("learning_rate", "lr", "rate", "train/learning_rate", "train/lr", "lr-adamw"),
        *("optimizer/learning_rate", "learning_rates"),
    ),
}


def read_history(
    source: HistorySource,
    *,
    step: str | None = None,
    loss: str | None = None,
    rate: str | None = None,
) -> LossCurve:
    """Read the losses and rates that a run logged.

    Columns are found by common names ("step", "global_step"; "loss", "train/loss";
    "learning_rate", "lr") regardless of case. Rows without a step or a rate are skipped, and of
    several rows for one step the last one counts. Between two records the rate is interpolated.

    Args:
      source: Columns by name, a data frame, a list of dicts (``trainer.state.log_history`` of
        transformers), a file ``.csv`` or ``.tsv``, ``.jsonl`` (one JSON object a line, as
        `lrsched.monitor` writes) or ``.json`` (a list of objects, or the ``trainer_state.json`` of
        transformers), or a folder of TensorBoard event files, which needs the package
        ``tensorboard``.
      step: Name of the column of the step counts. Defaults to the first common name.
      loss: Name of the column of the losses. Defaults to the first common name.
      rate: Name of the column of the rates. Defaults to the first common name.

    Returns:
      The curve: the rate of every update, float64; the steps of the records, int64 from 1 on; their
      losses, float64, NaN or infinite if they were logged so.

    Raises:
      ValueError: If a column is missing or there are no rows with a loss and a rate, or the file is
        too large or of another kind.
      OSError: If the file cannot be read.

    Example:
      >>> from lrsched import theory
      >>> columns = {"step": [10, 30], "train/loss": [2.0, 1.5], "lr": [0.2, 0.1]}
      >>> curve = theory.read_history(columns)
      >>> curve.steps.tolist(), curve.losses.tolist(), curve.rates[[9, 29]].tolist()
      ([10, 30], [2.0, 1.5], [0.2, 0.1])
    """
    asked = {"step": step, "loss": loss, "rate": rate}
    if isinstance(source, Mapping):
        columns = {str(name): list(np.asarray(column)) for name, column in source.items()}
    elif isinstance(source, list | tuple):
        columns = _columns_of_rows(source)
    elif isinstance(source, str | os.PathLike):
        columns = _read(Path(source))
    elif hasattr(source, "columns") and hasattr(source, "__getitem__"):
        columns = {str(name): list(np.asarray(source[name])) for name in source.columns}
    else:
        requirement = "columns by name, a data frame, a list of dicts, a file or a folder"
        raise not_accepted("read_history", "source", source, requirement)
    chosen = {key: _column(key, name, columns) for key, name in asked.items()}
    steps, losses, rates = (_numbers(columns[chosen[key]]) for key in asked)
    if not len(steps) == len(losses) == len(rates):
        raise ValueError(
            f"read_history: the columns have {len(steps)}, {len(losses)} and {len(rates)} rows; "
            "they must be of one length."
        )
    # A missing loss is None and becomes NaN like a loss that is not a number. Only the first is
    # no record, so the missing cells are marked before the conversion.
    is_logged = np.array([not _is_missing(value) for value in columns[chosen["loss"]]], bool)
    usable = is_logged & np.isfinite(steps) & np.isfinite(rates) & (rates >= 0) & (steps >= 0)
    if not usable.any():
        raise ValueError(
            f"read_history: no row has a step, a loss and a rate of 0 or more in the columns "
            f"{', '.join(chosen.values())}; name other columns with step=, loss= and rate=."
        )
    steps, losses, rates = (column[usable] for column in (steps, losses, rates))
    # Loggers count from 0 or from 1; a record follows at least one update here.
    whole = np.rint(steps + (steps.min() < 1)).astype(np.int64)
    if whole.max() > MAX_STEPS:
        raise ValueError(
            f"read_history: the step {whole.max()} is not accepted; a run may have up to "
            f"{MAX_STEPS} updates."
        )
    # np.unique returns the first place of each value: reverse, so that the last row counts.
    whole, places = np.unique(whole[::-1], return_index=True)
    losses, rates = losses[::-1][places], rates[::-1][places]
    every = np.interp(np.arange(1, whole[-1] + 1), whole, rates)
    return LossCurve(every, whole, losses)


def _column(key: str, asked: str | None, columns: Mapping[str, list[object]]) -> str:
    if asked is not None:
        if asked in columns:
            return asked
        raise ValueError(
            f"read_history: {key}={asked!r} is not accepted; the columns are "
            f"{short_repr(', '.join(columns))}."
        )
    by_name = {name.lower(): name for name in reversed(list(columns))}
    for name in _NAMES[key]:
        if name in by_name:
            return by_name[name]
    raise ValueError(
        f"read_history: no column is named {', '.join(_NAMES[key][:4])}; the columns are "
        f"{short_repr(', '.join(columns))}. Pass {key}=, the name of one."
    )


def _numbers(column: Iterable[object]) -> np.ndarray:
    def number(value: object) -> float:
        try:
            return float(value)  # type: ignore[arg-type]
        except (TypeError, ValueError):
            return float("nan")

    return np.array([number(value) for value in column], np.float64)


def _is_missing(value: object) -> bool:
    return value is None or (isinstance(value, str) and not value.strip())


def _read(path: Path) -> dict[str, list[object]]:
    if path.is_dir():
        return _read_tensorboard(path)
    if path.suffix not in (".csv", ".tsv", ".jsonl", ".json"):
        raise ValueError(
            f"read_history: {path} is not accepted; it must be a .csv, .tsv, .jsonl or .json file, "
            "or a folder of TensorBoard event files."
        )
    if path.stat().st_size > MAX_MIB * 2**20:
        raise ValueError(f"read_history: {path} is too large; it must have at most {MAX_MIB} MiB.")
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise ValueError(f"read_history: {path} is not UTF-8 text.") from None
    if path.suffix == ".jsonl":
        return _read_json_lines(path, text)
    if path.suffix == ".json":
        return _read_json(path, text)
    # Spreadsheets of many countries write semicolons, as their decimal mark is the comma.
    first = text.partition("\n")[0]
    delimiter = "\t" if path.suffix == ".tsv" else ";" if ";" in first and "," not in first else ","
    try:
        header, *rows = [row for row in csv.reader(text.splitlines(), delimiter=delimiter) if row]
    except csv.Error as error:
        raise ValueError(f"read_history: {path} is not a table: {error}.") from None
    except ValueError:
        raise ValueError(f"read_history: {path} is empty.") from None
    width = len(header)
    padded = [[*row, *[""] * (width - len(row))] for row in rows]
    return {name.strip(): [row[place] for row in padded] for place, name in enumerate(header)}


def _read_json_lines(path: Path, text: str) -> dict[str, list[object]]:
    rows = []
    for place, line in enumerate(filter(str.strip, text.splitlines()), 1):
        try:
            row = json.loads(line)
        except (ValueError, RecursionError):
            row = None
        if not isinstance(row, dict):
            raise ValueError(f"read_history: line {place} of {path} is not a JSON object.")
        rows.append(row)
    return _columns_of_rows(rows)


def _read_json(path: Path, text: str) -> dict[str, list[object]]:
    try:
        content = json.loads(text)
    except (ValueError, RecursionError):
        raise ValueError(f"read_history: {path} is not JSON.") from None
    if isinstance(content, dict):
        content = content.get("log_history", content)
    if isinstance(content, dict) and all(isinstance(column, list) for column in content.values()):
        return content
    return _columns_of_rows(content if isinstance(content, list) else [content])


def _columns_of_rows(rows: Sequence[object]) -> dict[str, list[object]]:
    mappings = [row for row in rows if isinstance(row, Mapping)]
    if len(mappings) < len(rows):
        raise ValueError(
            "read_history: a list is not accepted unless each entry is a dict from names to "
            "numbers."
        )
    names = dict.fromkeys(name for row in mappings for name in row)
    return {str(name): [row.get(name) for row in mappings] for name in names}


def _read_tensorboard(path: Path) -> dict[str, list[object]]:
    try:
        # Imported here: only a TensorBoard folder needs the package.
        from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    except ImportError:
        raise ValueError(
            f"read_history: {path} is a folder, and TensorBoard's event files are read by the "
            "package tensorboard; pip install tensorboard, or export a CSV."
        ) from None
    events = EventAccumulator(str(path), size_guidance={"scalars": 0}).Reload()
    tags = events.Tags()["scalars"]
    if not tags:
        raise ValueError(f"read_history: {path} has no TensorBoard event file with scalars.")
    scalars = {tag: {event.step: event.value for event in events.Scalars(tag)} for tag in tags}
    steps = sorted(set().union(*scalars.values()))
    columns = {tag: [values.get(step) for step in steps] for tag, values in scalars.items()}
    return {**columns, "step": list(steps)}
