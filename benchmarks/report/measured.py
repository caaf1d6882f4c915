"""Tables of what things cost, from the JSON files of the commands that measured it.

A file that a `CostTable` has written is a table as it is. Those of commands that write numbers in
another shape are turned into such tables here; any other file is none.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from benchmarks.costs import CostTable, format_number

REFERENCE = "optax adam"


def read(folder: Path) -> list[CostTable]:
    """The tables of all files of the folder, in the order of their names."""
    return [table for file in sorted(folder.glob("*.json")) for table in of_file(file)]


def of_file(file: Path) -> list[CostTable]:
    """The tables of a file; none if it is of another shape."""
    found = json.loads(file.read_text())
    if not isinstance(found, dict):
        return []
    if found.keys() == {field.name for field in fields(CostTable)}:
        return [CostTable(**found)]
    for keys, make in _SHAPES.items():
        if found.keys() >= set(keys):
            return make(found)
    return []


def of_transforms(found: Mapping[str, Any]) -> list[CostTable]:
    """Of ``python -m benchmarks cost``: a table a machine, optax's numbers beside ours."""
    return [_of_machine(title, costs, found) for title, costs in found["costs"].items()]


def _of_machine(title: str, costs: Mapping[str, Any], found: Mapping[str, Any]) -> CostTable:
    keys = [key for key in costs[REFERENCE] if key != "other_collectives"]
    # The least is of a step that writes nothing before its sums, as ours are.
    paired = [key for key in keys if key != "least"]
    columns = ["transform"]
    for key in keys:
        columns += [
            _HEADINGS.get(key, key.replace("_", " ")),
            *(["optax"] if key in paired else []),
        ]
    rows = []
    for name in (name for name in costs if not name.startswith("optax ")):
        theirs = costs.get("optax " + name.partition("(")[0], {})
        row = [name]
        for key in keys:
            row += [
                format_number(costs[name].get(key)),
                *([format_number(theirs.get(key))] if key in paired else []),
            ]
        rows.append(row)
    is_measured = "time_ratio" in keys
    caption = "One update of a transformer's parameters. " + (
        "Time is in multiples of optax's Adam, in the same round: the median and the quartiles."
        if is_measured
        else "Compiled ahead of time for the TPUs, not run on them."
    )
    command = "python -m benchmarks cost" + ("" if is_measured else " --tpu")
    return CostTable(f"Transforms, {title}", command, caption, columns, rows, found["versions"])


_HEADINGS = {
    "time_ratio": "time / Adam's",
    "state": "state / parameters",
    "bytes": "bytes / parameters",
    "copies_moved": "copies moved",
}


def of_sweeps(found: Mapping[str, Any]) -> list[CostTable]:
    """Of ``python -m benchmarks sweep-speed``: ways to try rates, range tests, devices."""
    command = "python -m benchmarks sweep-speed"
    best = {
        name: (min(t[0] for t in times), min(t[1] for t in times))
        for name, times in found["sweep"].items()
    }
    fastest = min(sum(times) for name, times in best.items() if name.startswith("lrsched"))
    ways = [
        [
            name,
            *(f"{seconds:.2f}" for seconds in (*times, sum(times))),
            f"{sum(times) / fastest:.1f}",
        ]
        for name, times in best.items()
    ]
    tests = [[name, f"{seconds:.3f}"] for name, seconds in found["range tests"].items()]
    devices = [
        [str(count), f"{row['seconds']:.2f}", str(row["collectives"])]
        for count, row in found["devices"].items()
    ]
    of_ways = ["way", "compile, s", "run, s", "both, s", "over ours"]
    of_devices = ["host devices", "run, s", "collectives"]
    caption = "The least of each part of several rounds; what compiles for each rate has one."
    return [
        CostTable("A sweep of rates", command, caption, of_ways, ways, {}),
        CostTable("A range test of 100 updates", command, "", ["range test", "seconds"], tests, {}),
        CostTable("The sweep on host devices", command, "", of_devices, devices, {}),
    ]


_SHAPES: dict[tuple[str, ...], Callable[[Mapping[str, Any]], list[CostTable]]] = {
    ("costs",): of_transforms,
    ("sweep", "range tests", "devices"): of_sweeps,
}
