"""What each subcommand does; what it prints for people, ``--json`` prints for machines."""

import functools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import tyro
from rich.padding import Padding

import lrsched
from lrsched._schedule import Schedule, to_dict
from lrsched.cli import inputs, listing, printing
from lrsched.cli.doctor import diagnose
from lrsched.cli.inputs import AnyNumber, Int, Number, OptionalInt, PngPath, Text, Texts
from lrsched.expressions import parse_call
from lrsched.pictures import curves as curve
from lrsched.pictures import terminal as chart

Workload = Literal["digits", "diabetes"]
Optimizer = Literal["sgd", "adam", "adamw", "lion", "rmsprop", "adagrad"]
Peer = Literal["keras", "optax", "timm", "torch", "transformers"]


def list_(adaptive: bool = False, json: bool = False) -> None:
    """Every schedule by family, or the adaptive transforms.

    Args:
      adaptive: the transforms that find or follow a rate, in place of the schedules.
      json: for machines.
    """
    found = listing.transforms() if adaptive else listing.schedules()
    if json:
        printing.as_json(found)
        return
    console = printing.console()
    for family in dict.fromkeys(row["family"] for row in found):
        console.print(f"[bold]{family}[/bold]")
        for row in found:
            if row["family"] == family:
                console.print(f"  {row['name']}{row['signature']}", style="cyan", markup=False)
                console.print(Padding(row["about"], (0, 0, 0, 6)), markup=False)


def show(
    schedule: Text, png: PngPath = None, until: OptionalInt = None, json: bool = False
) -> None:
    """A curve in the terminal: show cosine --peak 3e-4 --steps 10000.

    Args:
      schedule: a name with its arguments in order or as options, see lrsched list; an expression;
        or a JSON or YAML file.
      png: draw into this file instead.
      until: how many steps to show; by default to the horizon.
      json: the steps and rates of the curve, for machines.
    """
    one = inputs.read(schedule)
    if json:
        steps, rates = curve.sample(one, inputs.until_of(until, [one]))
        found = {"schedule": str(one), "horizon": one.horizon}
        printing.as_json(found | {"steps": steps.tolist(), "rates": rates.tolist()})
    if png is not None or not json:
        _picture({str(one): one}, until, png, is_quiet=json)


def compare(
    schedules: Texts, png: PngPath = None, until: OptionalInt = None, json: bool = False
) -> None:
    """Peak, last rate, area and horizon of several schedules, and one picture.

    Args:
      schedules: expressions or files.
      png: draw into this file.
      until: how many steps to look at; by default to the longest horizon.
      json: for machines, without a picture.
    """
    if not schedules:
        raise ValueError("compare: give at least one expression or file.")
    read = {text: inputs.read(text) for text in schedules}
    steps = inputs.until_of(until, list(read.values()))
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
        printing.as_json({"steps": steps, "schedules": rows})
    else:
        printing.table(
            [{"curve": printing.letter(i), **row} for i, row in enumerate(rows)], chart.STYLES
        )
    if png is not None or not json:
        _picture(read, steps, png, is_quiet=json)


def describe(schedule: Text, until: OptionalInt = None, json: bool = False) -> None:
    """Phases with their steps, areas, first and last rates; the values at each seam.

    Args:
      schedule: an expression, or a JSON or YAML file.
      until: how many steps to look at; by default to the horizon.
      json: for machines.
    """
    one = inputs.read(schedule)
    steps = inputs.until_of(until, [one])
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
        printing.as_json(
            {
                "schedule": str(one),
                "horizon": one.horizon,
                "area": sum(phase["area"] for phase in phases),
                "phases": phases,
                "fence_posts": values,
            }
        )
        return
    print(f"{one}\nhorizon: {one.horizon}")
    printing.table(phases)
    printing.table(values)


def convert(
    call: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="CALL")],
    from_: Annotated[Peer, tyro.conf.arg(name="from")],
    base_lr: AnyNumber = None,
    json: bool = False,
) -> None:
    """A peer's call as ours: convert --from torch "CosineAnnealingLR(T_max=50)" --base-lr 0.1.

    Args:
      call: as it stands in a training script.
      from_: whose call it is.
      base_lr: the optimizer's rate, where the call follows one; 1.0 if it is not given.
      json: only the JSON.
    """
    if base_lr is not None and not 0 < base_lr < np.inf:
        raise ValueError(f"--base-lr {base_lr} is not accepted; it must be a number above 0.")
    one, other = (parse_call(call, from_, rate) for rate in (base_lr or 1.0, 2 * (base_lr or 1.0)))
    if base_lr is None and one != other:
        printing.note("the call names no rate and 1.0 is taken; give the optimizer's by --base-lr")
    if base_lr is not None and one == other:
        printing.note(f"the call names its own rate, so that --base-lr {base_lr} has no effect")
    if not json:
        print(one)
    printing.as_json(to_dict(one))


def bound(
    schedule: Text,
    steps: OptionalInt = None,
    grad_norm: Number = 1.0,
    distance: Number = 1.0,
    json: bool = False,
) -> None:
    """The bound of the last iterate, at the best factor of the schedule, beside linear decay's.

    Args:
      schedule: an expression, or a JSON or YAML file.
      steps: of the run; by default the horizon.
      grad_norm: an upper bound of the gradients' norm.
      distance: from the first iterate to a minimum.
      json: for machines.
    """
    from lrsched.theory import final_bound

    one = inputs.read(schedule)
    length = one.horizon if steps is None else inputs.counted("--steps", steps)
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
    printing.rows_or_json(rows, json)


def range_test(
    workload: Workload = "digits",
    optimizer: Optimizer = "adam",
    steps: Int = 200,
    seeds: Int = 3,
    low: AnyNumber = None,
    high: AnyNumber = None,
    png: PngPath = None,
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
    usable, suggestion = found.range, found.suggestion()
    result = {
        "workload": workload,
        "optimizer": optimizer,
        "suggestion": suggestion,
        "range": list(usable),
        "confidence": list(found.confidence()),
    }
    if json:
        printing.as_json(result)
    else:
        printing.table([result])
    if png is not None:
        printing.save(found.plot(), png, is_quiet=json)
    elif not json:
        is_there = ~np.isnan(found.smoothed).all(axis=0)
        losses = np.nanmean(found.smoothed[:, is_there], axis=0)
        losses = np.minimum(losses, 1.25 * losses[0])  # the fall is to be seen, not the divergence
        print("the training loss over the rate, the usable range and the suggestion")
        printing.draw(
            [chart.Line(found.rates[is_there], losses)],
            log_x=True,
            marked=(usable.low, suggestion, usable.high),
        )


def sweep(
    rates: Annotated[tuple[Number, ...], tyro.conf.arg(name="rates")] = (1e-4, 1e-3, 1e-2, 1e-1),
    schedule: Annotated[str, tyro.conf.arg(metavar="SCHEDULE")] = "linear(1.0, 0.0, steps=200)",
    workload: Workload = "digits",
    optimizer: Optimizer = "adam",
    seeds: Int = 2,
    png: PngPath = None,
    runs: PngPath = None,
    json: bool = False,
) -> None:
    """Train a small workload under several rates of one schedule; the losses are held-out ones.

    Args:
      rates: what the schedule is multiplied by.
      schedule: an expression with a peak of 1 and a horizon.
      workload: digits (classification) or diabetes (regression).
      optimizer: of optax.
      seeds: how many runs of each.
      png: draw the final losses over the rates into this file.
      runs: draw the losses over the steps, the rates beneath, into this file.
      json: for machines.
    """
    from lrsched.cli.workloads import WORKLOADS
    from lrsched.tuning import sweep

    shape = inputs.read(schedule)
    if not rates or min(rates) <= 0:
        raise ValueError(f"--rates {rates} is not accepted; give numbers above 0.")
    if png is not None and len(set(rates)) < 2:
        raise ValueError("--png draws the losses over the rates; give several --rates, or --runs.")
    if not shape.horizon:
        raise ValueError(f"--schedule {shape} has no horizon; give it a length, as in {_LENGTH}.")
    found = sweep(
        WORKLOADS[workload](optimizer),
        [lrsched.by_hand(shape, scale=rate) for rate in rates],
        seeds=seeds,
        num_evaluations=min(_EVALUATIONS, shape.horizon),
        progress=False,
    )
    losses = found.mean_losses()
    best = int(np.argmin(losses)) if np.isfinite(losses).any() else -1
    rows = [
        {"rate": rate, "loss": float(loss), "best": i == best}
        for i, (rate, loss) in enumerate(zip(rates, losses, strict=True))
    ]
    printing.rows_or_json(rows, json)
    if png is not None:
        printing.save(found.plot(x="scale"), png, is_quiet=json)
    if runs is not None:
        printing.save(found.plot_runs(range(len(rates)))[0], runs, is_quiet=json)


_EVALUATIONS = 20
_LENGTH = "constant(1.0, steps=200)"


def schema() -> None:
    """The JSON Schema of a schedule in a file, for editors."""
    printing.as_json(lrsched.json_schema())


def doctor(json: bool = False) -> int:
    """Versions, devices and known conflicts; the exit code is 1 where there is a problem.

    Args:
      json: for machines.
    """
    found = diagnose()
    if json:
        printing.as_json(found)
    else:
        for name, value in found.items():
            shown = value if isinstance(value, list) else [value]
            print(f"{name:<12} {', '.join(map(str, shown)) or 'none'}")
    return 1 if found["problems"] else 0


COMMANDS: dict[str, Callable[..., int | None]] = {
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
        {name: _held_back(command) for name, command in COMMANDS.items()},
        prog="lrsched",
        description=_ABOUT,
        args=list(arguments),
        config=(tyro.conf.FlagCreatePairsOff,),
    )
    return run


_ABOUT = (
    "Look at learning rates. A SCHEDULE is an expression, such as 'warmup(500) * 3e-4 >> "
    "cosine(3e-4, steps=9500)', or a JSON or YAML file. --import MODULE, before or after a "
    "command, makes schedules of your own known."
)


def _held_back(command: Callable[..., int | None]) -> Callable[..., Callable[[], int | None]]:
    """The same arguments; the call is left to `main`, whose errors are not tyro's."""

    @functools.wraps(command)
    def bind(*args: Any, **kwargs: Any) -> Callable[[], int | None]:
        return functools.partial(command, *args, **kwargs)

    return bind


def _picture(
    schedules: Mapping[str, Schedule], until: int | None, png: Path | None, is_quiet: bool = False
) -> None:
    steps = inputs.until_of(until, list(schedules.values()))
    if png is not None:
        from lrsched.pictures import plots

        (one, *others) = schedules.values()
        ax = plots.plot_schedules(schedules, steps=steps) if others else one.plot(steps=steps)
        printing.save(ax, png, is_quiet)
        return
    if len(schedules) == 1:
        print(*schedules)
    printing.draw([chart.Line(*curve.sample(one, steps)) for one in schedules.values()])
