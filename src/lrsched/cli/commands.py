"""What each subcommand does; what it prints for people, ``--json`` prints for machines."""

import functools
import inspect
import json
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import tyro
from rich.console import Console
from rich.table import Table

import lrsched
from lrsched import curve
from lrsched.cli import chart
from lrsched.cli.doctor import examined
from lrsched.expressions import PEERS, parse, parse_peer
from lrsched.schedule import _REGISTRY, Schedule, _shown_signature, from_dict, to_dict

Text = Annotated[str, tyro.conf.Positional]
Texts = Annotated[tuple[str, ...], tyro.conf.Positional]
Workload = Literal["digits", "diabetes"]
Optimizer = Literal["sgd", "adam", "adamw", "lion", "rmsprop", "adagrad"]
Peer = Literal["keras", "optax", "timm", "torch", "transformers"]


def list_(adaptive: bool = False, json: bool = False) -> None:
    """Every schedule by family, or the adaptive transforms.

    Args:
      adaptive: the transforms that find or follow a rate, in place of the schedules.
      json: for machines.
    """
    found = _transforms() if adaptive else _schedules()
    if json:
        _print_json(found)
        return
    console = _console()
    for family in dict.fromkeys(row["family"] for row in found):
        console.print(f"[bold]{family}[/bold]")
        for row in found:
            if row["family"] == family:
                console.print(f"  {row['name']}{row['signature']}", style="cyan", markup=False)
                console.print(f"      {row['about']}", markup=False)


def show(schedule: Text, png: Path | None = None, until: int | None = None) -> None:
    """A curve in the terminal: show cosine --peak 3e-4 --steps 10000.

    Args:
      schedule: a name with its arguments as options, an expression, or a JSON file.
      png: draw into this file instead.
      until: how many steps to show; by default to the horizon.
    """
    one = _read(schedule)
    _picture({str(one): one}, until, png)


def compare(
    schedules: Texts, png: Path | None = None, until: int | None = None, json: bool = False
) -> None:
    """Peak, last rate, area and horizon of several schedules, and one picture.

    Args:
      schedules: expressions or JSON files.
      png: draw into this file.
      until: how many steps to look at; by default to the longest horizon.
      json: for machines, without a picture.
    """
    if not schedules:
        raise ValueError("compare: give at least one expression or file.")
    read = {text: _read(text) for text in schedules}
    steps = _until(until, list(read.values()))
    rows = []
    for name, one in read.items():
        _, values = curve.sample(one, steps)
        rows.append(
            {
                "schedule": name,
                "peak": float(values.max()),
                "last": float(one(max(steps - 1, 0))),
                "area": curve.area(one, 0, steps),
                "horizon": one.horizon,
            }
        )
    if json:
        _print_json({"steps": steps, "schedules": rows})
        return
    _console().print(_table([{"": _letter(i), **row} for i, row in enumerate(rows)]))
    _picture(read, steps, png)


def describe(schedule: Text, until: int | None = None, json: bool = False) -> None:
    """Phases with their steps, areas, first and last rates; the values at each seam.

    Args:
      schedule: an expression or a JSON file.
      until: how many steps to look at; by default to the horizon.
      json: for machines.
    """
    one = _read(schedule)
    steps = _until(until, [one])
    found = curve.phases(one, steps)
    posts = sorted(
        {
            step
            for seam in (*(phase.start for phase in found), steps)
            for step in (seam - 1, seam, *((seam + 1,) if seam < steps else ()))
            if step >= 0
        }
    )
    phases = [
        {
            "phase": phase.name,
            "from": phase.start,
            "to": phase.stop,
            "steps": phase.stop - phase.start,
            "first": float(one(phase.start)),
            "last": float(one(phase.stop - 1)),
            "area": curve.area(one, phase.start, phase.stop),
        }
        for phase in found
    ]
    values = [
        {"step": step, "rate": float(rate)}
        for step, rate in zip(posts, np.asarray(one(np.array(posts))), strict=True)
    ]
    if json:
        _print_json(
            {
                "schedule": str(one),
                "horizon": one.horizon,
                "area": sum(phase["area"] for phase in phases),
                "phases": phases,
                "fence_posts": values,
            }
        )
        return
    console = _console()
    console.print(f"{one}\nhorizon: {one.horizon}", markup=False)
    console.print(_table(phases), _table(values))


def convert(
    call: Text,
    from_: Annotated[Peer, tyro.conf.arg(name="from")],
    base_lr: float = 1.0,
    json: bool = False,
) -> None:
    """A peer's call as ours: convert --from torch "CosineAnnealingLR(T_max=50)" --base-lr 0.1.

    Args:
      call: as it stands in a training script.
      from_: whose call it is.
      base_lr: the optimizer's rate.
      json: only the JSON.
    """
    one = parse_peer(call, from_, base_lr)
    if json:
        _print_json(to_dict(one))
        return
    print(one)
    print(_dumped(to_dict(one)))


def bound(
    schedule: Text,
    steps: int | None = None,
    grad_norm: float = 1.0,
    distance: float = 1.0,
    json: bool = False,
) -> None:
    """The bound of the last iterate, at the best factor of the schedule, beside linear decay's.

    Args:
      schedule: an expression or a JSON file.
      steps: of the run; by default the horizon.
      grad_norm: an upper bound of the gradients' norm.
      distance: from the first iterate to a minimum.
      json: for machines.
    """
    from lrsched.theory import final_bound

    one = _read(schedule)
    length = one.horizon if steps is None else steps
    if not length:
        raise ValueError(f"bound: {one} has no horizon; give --steps.")
    rows = []
    for name, candidate in ((str(one), one), ("linear", lrsched.linear(1.0, 0.0, length))):
        found = final_bound(candidate, length, grad_norm, distance)
        peak = float(np.max(np.asarray(candidate(np.arange(length)))))
        rows.append(
            {
                "schedule": name,
                "steps": length,
                "optimal factor": float(found.optimal_rate),
                "optimal peak": float(found.optimal_rate) * peak,
                "bound there": float(found.optimal_values),
                "bound as it is": float(found.values) if candidate is one else None,
            }
        )
    if json:
        _print_json(rows)
        return
    _console().print(_table(rows))


def range_test(
    workload: Workload = "digits",
    optimizer: Optimizer = "adam",
    steps: int = 200,
    seeds: int = 3,
    low: float | None = None,
    high: float | None = None,
    png: Path | None = None,
    json: bool = False,
) -> None:
    """Smith's range test on a small workload: the usable rates, and one to train at.

    Args:
      workload: digits (classification) or diabetes (regression).
      optimizer: of optax.
      steps: updates.
      seeds: how many runs.
      low: the first rate; by default the optimizer's own.
      high: the last rate.
      png: draw into this file.
      json: for machines.
    """
    from lrsched.cli.workloads import WORKLOADS
    from lrsched.tuning import range_test

    found = range_test(WORKLOADS[workload](optimizer), low=low, high=high, steps=steps, seeds=seeds)
    result = {
        "workload": workload,
        "optimizer": optimizer,
        "suggestion": found.suggestion(),
        "range": list(found.range),
        "confidence": list(found.confidence()),
    }
    if json:
        _print_json(result)
        return
    _console().print(_table([result]))
    if png is not None:
        _save(found.plot(), png)


def sweep(
    rates: Annotated[tuple[float, ...], tyro.conf.arg(name="rates")] = (1e-4, 1e-3, 1e-2, 1e-1),
    schedule: str = "linear(1.0, 0.0, steps=200)",
    workload: Workload = "digits",
    optimizer: Optimizer = "adam",
    seeds: int = 2,
    json: bool = False,
) -> None:
    """Train a small workload under several rates of one schedule; the losses are held-out ones.

    Args:
      rates: what the schedule is multiplied by.
      schedule: an expression with a peak of 1 and a horizon.
      workload: digits (classification) or diabetes (regression).
      optimizer: of optax.
      seeds: how many runs of each.
      json: for machines.
    """
    from lrsched.cli.workloads import WORKLOADS
    from lrsched.tuning import sweep

    shape = _read(schedule)
    found = sweep(
        WORKLOADS[workload](optimizer),
        [rate * shape for rate in rates],
        seeds=seeds,
        progress=False,
    )
    losses = found.mean_losses()
    rows = [
        {"rate": rate, "loss": float(loss), "best": bool(i == np.argmin(losses))}
        for i, (rate, loss) in enumerate(zip(rates, losses, strict=True))
    ]
    if json:
        _print_json(rows)
        return
    _console().print(_table(rows))


def schema() -> None:
    """The JSON Schema of a schedule in a file, for editors."""
    _print_json(lrsched.json_schema())


def doctor(json: bool = False) -> int:
    """Versions, devices and known conflicts; the exit code is 1 where there is a problem.

    Args:
      json: for machines.
    """
    found = examined()
    if json:
        _print_json(found)
    else:
        for name, value in found.items():
            shown = value if isinstance(value, list) else [value]
            print(f"{name:<12} {', '.join(map(str, shown)) or 'none'}")
    return 1 if found["problems"] else 0


_COMMANDS: dict[str, Callable[..., int | None]] = {
    "list": list_,
    "show": show,
    "compare": compare,
    "describe": describe,
    "convert": convert,
    "bound": bound,
    "range-test": range_test,
    "sweep": sweep,
    "schema": schema,
    "doctor": doctor,
}


def parsed(arguments: Sequence[str]) -> Callable[[], int | None]:
    """The command with its arguments, not yet run; ``SystemExit`` where they are wrong."""
    run: Callable[[], int | None] = tyro.extras.subcommand_cli_from_dict(
        {name: _held_back(command) for name, command in _COMMANDS.items()},
        prog="lrsched",
        description="Look at learning rates.",
        args=list(arguments),
    )
    return run


def _held_back(command: Callable[..., int | None]) -> Callable[..., Callable[[], int | None]]:
    """The same arguments; the call is left to `main`, whose errors are not tyro's."""

    @functools.wraps(command)
    def bind(*args: Any, **kwargs: Any) -> Callable[[], int | None]:
        return functools.partial(command, *args, **kwargs)

    return bind


def _read(text: str) -> Schedule:
    """A JSON file or an expression."""
    if not text.endswith(".json"):
        return _single(parse(f"{text}()" if re.fullmatch(r"[a-zA-Z_][\w.]*", text) else text))
    try:
        data = json.loads(Path(text).read_text())
    except json.JSONDecodeError as error:
        raise ValueError(f"{text} is not JSON: {error}.") from None
    for peer in PEERS:
        if f'"{peer}.' in json.dumps(data):
            __import__(f"lrsched.compat.{peer}")
    return _single(from_dict(data))


def _single(one: Schedule) -> Schedule:
    if not curve.is_single(one):
        raise ValueError(f"{one} is a batch of schedules; one curve is wanted.")
    return one


def _schedules() -> list[dict[str, str]]:
    rows = []
    for name, one in _REGISTRY.items():
        module = one.function.__module__
        if "." not in name and module.startswith(("lrsched.schedules.", "lrsched.algebra")):
            shown = _shown_signature(one)
            named = [
                parameter if one.kinds[parameter.name] else parameter.replace(annotation=Any)
                for parameter in shown.parameters.values()
            ]
            signature = str(shown.replace(parameters=named)).rpartition(" -> ")[0]
            rows.append(_row(module, name, signature.replace(": typing.Any", ""), one.function))
    return sorted(rows, key=lambda row: row["family"])


def _transforms() -> list[dict[str, str]]:
    rows = []
    for name in lrsched.__all__:
        thing = getattr(lrsched, name)
        module = getattr(thing, "__module__", "")
        if inspect.isfunction(thing) and module.startswith("lrsched.adaptive."):
            signature = inspect.signature(thing)
            if "GradientTransformation" in str(signature.return_annotation):
                shown = signature.replace(return_annotation=inspect.Signature.empty)
                rows.append(_row(module, name, _without_annotations(shown), thing))
    return sorted(rows, key=lambda row: row["family"])


def _without_annotations(signature: inspect.Signature) -> str:
    plain = [one.replace(annotation=one.empty) for one in signature.parameters.values()]
    return re.sub(r"<function (\w+) at \w+>", r"\1", str(signature.replace(parameters=plain)))


def _row(module: str, name: str, signature: str, thing: Any) -> dict[str, str]:
    about = (inspect.getdoc(thing) or "").partition("\n")[0]
    family = module.rpartition(".")[2].replace("_", " ")
    return {"family": family, "name": name, "signature": signature, "about": about}


def _until(until: int | None, schedules: Sequence[Schedule]) -> int:
    if until is not None and until < 1:
        raise ValueError(f"--until {until} is not accepted; it must be 1 or more.")
    return until or max(map(curve.length_of, schedules))


def _picture(schedules: Mapping[str, Schedule], until: int | None, png: Path | None) -> None:
    steps = _until(until, list(schedules.values()))
    if png is not None:
        from lrsched import plotting

        (one, *others) = schedules.values()
        _save(
            plotting.plot_schedules(schedules, steps=steps) if others else one.plot(steps=steps),
            png,
        )
        return
    console = _console()
    lines = [chart.Line(*curve.sample(one, steps)) for one in schedules.values()]
    if len(lines) == 1:
        console.print(next(iter(schedules)), markup=False, highlight=False)
    console.print(chart.draw(lines, console.width, plain=not console.is_terminal))


def _save(ax: Any, png: Path) -> None:
    ax.figure.savefig(png, dpi=150)
    print(png)


def _letter(i: int) -> str:
    return chart.LETTERS[i % len(chart.LETTERS)]


def _table(rows: Sequence[Mapping[str, Any]]) -> Table:
    table = Table(box=None, header_style="bold", pad_edge=False)
    for name in rows[0]:
        table.add_column(name, overflow="fold")
    for row in rows:
        table.add_row(*map(_shown, row.values()))
    return table


def _shown(value: Any) -> str:
    if isinstance(value, list):
        return " to ".join(map(_shown, value))
    if value is None:
        return "-"
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _console() -> Console:
    return Console(highlight=False)


def _dumped(data: Any) -> str:
    """Numbers that JSON has no word for are null there."""
    return json.dumps(_finite(data))


def _finite(data: Any) -> Any:
    if isinstance(data, Mapping):
        return {name: _finite(value) for name, value in data.items()}
    if isinstance(data, list | tuple):
        return [_finite(value) for value in data]
    return None if isinstance(data, float) and not np.isfinite(data) else data


def _print_json(data: Any) -> None:
    print(_dumped(data))
