"""Tables of what things cost, from the JSON files of the commands that measured it.

A file that holds ``title``, ``command``, ``caption``, ``columns``, ``rows`` and ``versions`` is a
table as it is. Older shapes are turned into such tables here; any other file is none.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

REFERENCE = "optax adam"


@dataclass(frozen=True)
class Table:
    """Words and numbers, a row a thing."""

    title: str
    command: str
    caption: str
    columns: list[str]
    rows: list[list[str]]
    versions: dict[str, str] = field(default_factory=dict)


def read(folder: Path) -> list[Table]:
    """The tables of all files of the folder, in the order of their names."""
    return [table for file in sorted(folder.glob("*.json")) for table in of_file(file)]


def of_file(file: Path) -> list[Table]:
    """The tables of a file; none if it is of another shape."""
    found = json.loads(file.read_text())
    if not isinstance(found, dict):
        return []
    if found.keys() >= {"title", "columns", "rows"}:
        rows = [[str(cell) for cell in row] for row in found["rows"]]
        rest = {name: found.get(name, "") for name in ("title", "command", "caption")}
        return [
            Table(**rest, columns=found["columns"], rows=rows, versions=found.get("versions", {}))
        ]
    for keys, make in _SHAPES.items():
        if found.keys() >= set(keys):
            return make(found)
    return []


def of_transforms(found: Mapping[str, Any]) -> list[Table]:
    """Of ``python -m benchmarks cost``: a table a machine, optax's numbers beside ours."""
    return [_of_machine(title, costs, found) for title, costs in found["costs"].items()]


def _of_machine(title: str, costs: Mapping[str, Any], found: Mapping[str, Any]) -> Table:
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
                shown(costs[name].get(key)),
                *([shown(theirs.get(key))] if key in paired else []),
            ]
        rows.append(row)
    is_measured = "time_ratio" in keys
    caption = "One update of a transformer's parameters. " + (
        "Time is in multiples of optax's Adam, in the same round: the median and the quartiles."
        if is_measured
        else "Compiled ahead of time for the TPUs, not run on them."
    )
    command = "python -m benchmarks cost" + ("" if is_measured else " --tpu")
    return Table(f"Transforms, {title}", command, caption, columns, rows, found.get("versions", {}))


_HEADINGS = {
    "time_ratio": "time / Adam's",
    "state": "state / parameters",
    "bytes": "bytes / parameters",
    "copies_moved": "copies moved",
}


def shown(value: Any) -> str:
    """A number, or the median and the quartiles of one."""
    if value is None:
        return "-"
    if isinstance(value, list):
        low, middle, high = value
        return f"{middle:.2f} ({low:.2f} to {high:.2f})"
    return f"{value:,}" if isinstance(value, int) else f"{value:.2f}"


def of_sweeps(found: Mapping[str, Any]) -> list[Table]:
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
    return [
        Table("A sweep of rates", command, "The best time of each way.", of_ways, ways),
        Table("A range test of 100 updates", command, "", ["range test", "seconds"], tests),
        Table("The sweep on host devices", command, "", of_devices, devices),
    ]


_SHAPES: dict[tuple[str, ...], Callable[[Mapping[str, Any]], list[Table]]] = {
    ("costs",): of_transforms,
    ("sweep", "range tests", "devices"): of_sweeps,
}
