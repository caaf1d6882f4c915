"""Cost tables from the JSON files of the cost benchmarks.

A file that `CostTable.write` wrote is read as it is. The files of `cost` and `sweep-speed`, which
have more numbers, are converted to tables. All other files are ignored.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from benchmarks.costs import REFERENCE, CostTable, format_number, twin


def read(folder: Path) -> list[CostTable]:
    """Return the tables of all JSON files in a folder, in the order of the file names."""
    return [table for file in sorted(folder.glob("*.json")) for table in of_file(file)]


def of_file(file: Path) -> list[CostTable]:
    """Return the tables of a file; an empty list if it has no known format."""
    content = json.loads(file.read_text())
    if not isinstance(content, dict):
        return []
    if content.keys() == {field.name for field in fields(CostTable)}:
        return [CostTable(**content)]
    for keys, convert in _FORMATS.items():
        if content.keys() >= set(keys):
            return convert(content)
    return []


def of_transforms(content: Mapping[str, Any]) -> list[CostTable]:
    """Return the tables of ``python -m benchmarks cost``, one per machine or TPU topology."""
    return [_of_machine(title, costs, content) for title, costs in content["costs"].items()]


def _of_machine(title: str, costs: Mapping[str, Any], content: Mapping[str, Any]) -> CostTable:
    keys = [key for key in costs[REFERENCE] if key != "other_collectives"]
    columns = ["transform"]
    rows = [[name] for name in costs if not name.startswith("optax ")]
    for key in keys:
        columns.append(_HEADINGS.get(key, key.replace("_", " ")))
        for row in rows:
            row.append(format_number(costs[row[0]].get(key)))
        # The lower bound holds for steps that compute their sums first, as those of lrsched do.
        if key != "least":
            columns.append("optax")
            for row in rows:
                row.append(format_number(costs.get(twin(row[0]), {}).get(key)))
    is_measured = "time_ratio" in keys
    caption = "One update of a transformer's parameters. " + (
        "Time is in multiples of optax's Adam in the same round: median and quartiles."
        if is_measured
        else "Compiled ahead of time for the TPUs, not run on them."
    )
    command = "python -m benchmarks cost" + ("" if is_measured else " --tpu")
    return CostTable(f"Transforms, {title}", command, caption, columns, rows, content["versions"])


_HEADINGS = {
    "time_ratio": "time / Adam's",
    "state": "state / parameters",
    "bytes": "bytes / parameters",
    "copies_moved": "copies moved",
}


def of_sweeps(content: Mapping[str, Any]) -> list[CostTable]:
    """Return the tables of ``python -m benchmarks sweep-speed``."""
    command = "python -m benchmarks sweep-speed"
    best = {
        name: (min(t[0] for t in times), min(t[1] for t in times))
        for name, times in content["sweep"].items()
    }
    fastest = min(sum(times) for name, times in best.items() if name.startswith("lrsched"))
    methods = [
        [
            name,
            *(f"{seconds:.2f}" for seconds in (*times, sum(times))),
            f"{sum(times) / fastest:.1f}",
        ]
        for name, times in best.items()
    ]
    tests = [[name, f"{seconds:.3f}"] for name, seconds in content["range tests"].items()]
    devices = [
        [str(count), f"{row['seconds']:.2f}", str(row["collectives"])]
        for count, row in content["devices"].items()
    ]
    method_columns = ["method", "compile, s", "run, s", "total, s", "over lrsched's total"]
    device_columns = ["CPU devices", "run, s", "collectives"]
    caption = (
        "Minimum of several rounds for each column; one round for methods that compile for each "
        "rate."
    )
    return [
        CostTable("A sweep of rates", command, caption, method_columns, methods, {}),
        CostTable("A range test of 100 updates", command, "", ["range test", "seconds"], tests, {}),
        CostTable("The sweep on CPU devices", command, "", device_columns, devices, {}),
    ]


_FORMATS: dict[tuple[str, ...], Callable[[Mapping[str, Any]], list[CostTable]]] = {
    ("costs",): of_transforms,
    ("sweep", "range tests", "devices"): of_sweeps,
}
