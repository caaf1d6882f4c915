"""The commands: each prints text for people, and JSON with ``--json``."""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import numpy as np
from rich.padding import Padding

import lrsched
from lrsched._schedule import Schedule
from lrsched.cli import listing, printing
from lrsched.cli import parser as parsing
from lrsched.cli.completion import script
from lrsched.cli.doctor import diagnose
from lrsched.cli.inputs import (
    SECTIONS,
    read_recipe,
    read_schedule,
    read_section,
    resolve_until,
)
from lrsched.cli.parser import argument, command, positive_int, positive_number
from lrsched.expressions import LIBRARIES, parse_call
from lrsched.pictures import curves, terminal
from lrsched.recipes import Recipe
from lrsched.recipes import listing as list_recipes
from lrsched.serialize import to_dict

_ABOUT: Final = (
    "Inspect learning-rate schedules and finished runs, and try rates. A SCHEDULE is an "
    "expression, such as 'warmup(500) * 3e-4 >> cosine(3e-4, steps=9500)', a JSON or YAML file, or "
    "recipe:NAME."
)
_START: Final = """\
lrsched inspects learning-rate schedules. Three commands to try:

  lrsched list                                     every schedule
  lrsched show cosine --peak 3e-4 --steps 10000    one schedule, drawn in the terminal
  lrsched compare 'cosine(1.0, 100)' 'rex(1.0, 100)'

lrsched --help shows all commands, and lrsched COMMAND --help their options."""

_MAX_BOUND_STEPS: Final = 2_000_000
"""Longest run whose bound is computed: memory and time are linear in the steps."""
_MAX_RUN_STEPS: Final = 1_000_000
_MAX_SEEDS: Final = 1000
_EVALUATIONS: Final = 20

SCHEDULE = argument(
    "schedule", metavar="SCHEDULE", help="an expression, a JSON or YAML file, or recipe:NAME"
)
JSON = argument("--json", action="store_true", help="print JSON, for programs")
PNG = argument("--png", metavar="FILE", type=Path, help="draw into this file")
UNTIL = argument(
    "--until",
    metavar="STEPS",
    type=positive_int(),
    help="number of steps to show (default: the longest horizon)",
)
WORKLOAD = argument(
    "--workload",
    choices=("digits", "diabetes"),
    help="classification of digits, or regression on diabetes (default: digits)",
)
OPTIMIZER = argument(
    "--optimizer",
    choices=("sgd", "adam", "adamw", "lion", "rmsprop", "adagrad"),
    help="optimizer of optax for a workload (default: adam)",
)
TRAINING = argument(
    "training",
    metavar="MODULE:FUNCTION",
    nargs="?",
    help="a function without arguments that returns your lrsched.tuning.Training, in a module of "
    "the current directory or an installed one (default: a small workload)",
)


def run(arguments: Sequence[str]) -> int:
    """Run one command.

    Args:
      arguments: Arguments of ``lrsched``.

    Returns:
      The exit code.

    Raises:
      ValueError: If an argument is not accepted.
    """
    if not arguments:
        print(_START)
        return 0
    version = f"lrsched {lrsched.__version__} (Python {platform.python_version()})"
    try:
        function = parsing.parse(arguments, _ABOUT, version)
    except SystemExit:  # --help and --version have printed.
        return 0
    return function() or 0


@command(
    "list",
    argument("--adaptive", action="store_true", help="list the adaptive transforms instead"),
    JSON,
)
def list_(adaptive: bool, json: bool) -> None:
    """List every schedule by family, or the adaptive transforms."""
    _print_listing(listing.transforms() if adaptive else listing.schedules(), json)


@command("recipes", JSON)
def recipes(json: bool) -> None:
    """List the recipes of published runs by family, with their arguments.

    lrsched show recipe:NAME draws one and prints its optimizer and source.
    """
    _print_listing(list_recipes(), json)


def _print_listing(rows: Sequence[Mapping[str, str]], is_json: bool) -> None:
    if is_json:
        printing.print_json(rows)
        return
    console = printing.console()
    for family in dict.fromkeys(row["family"] for row in rows):
        console.print(f"[bold]{family}[/bold]")
        for row in rows:
            if row["family"] == family:
                console.print(f"  {row['name']}{row['signature']}", style="cyan", markup=False)
                console.print(Padding(row["about"], (0, 0, 0, 6)), markup=False)


@command(
    "show",
    argument(
        "schedule",
        metavar="SCHEDULE",
        help="an expression, a file, a name of `list`, or recipe:NAME with a name of `recipes`",
    ),
    PNG,
    UNTIL,
    JSON,
    usage="lrsched show [--png FILE] [--until STEPS] [--json] SCHEDULE [VALUE ...] [--NAME VALUE]",
    describe_rest=listing.arguments_of,
)
def show(
    schedule: str, png: Path | None, until: int | None, json: bool, rest: Sequence[str]
) -> None:
    """Draw one schedule, or a recipe with all its rates, in the terminal.

    After the name of a schedule or recipe come its arguments, in order or as options, as in
    lrsched show cosine --peak 3e-4 --steps 10000; lrsched show cosine --help describes them.
    """
    if schedule.startswith(listing.RECIPE) and "/" not in schedule:
        _show_recipe(read_recipe(schedule, rest), until, png, json)
        return
    one = read_schedule(schedule, rest)
    if json:
        steps, rates = curves.sample(one, resolve_until(until, [one]))
        result = {"schedule": str(one), "horizon": one.horizon}
        printing.print_json(result | {"steps": steps.tolist(), "rates": rates.tolist()})
    if png is not None or not json:
        _draw({str(one): one}, until, png, is_quiet=json)


def _show_recipe(recipe: Recipe, until: int | None, png: Path | None, is_json: bool) -> None:
    rates = recipe.parts.rates
    steps = resolve_until(until, list(rates.values()))
    if is_json:
        sampled = {name: curves.sample(one, steps) for name, one in recipe.schedules.items()}
        rows = {
            name: {"steps": at.tolist(), "values": values.tolist()}
            for name, (at, values) in sampled.items()
        }
        printing.print_json(recipe.to_dict() | {"curves": rows})
    else:
        print(recipe)
    if png is not None:
        _draw(rates, steps, png, is_quiet=is_json)
    elif not is_json:
        # Groups differ in their peaks, often by a factor of 100, more than in their shapes: one
        # curve for each shape, relative to its peak.
        shapes: dict[bytes, tuple[list[str], curves.Line]] = {}
        for group, one in rates.items():
            at, values = curves.sample(one, steps)
            relative = values / max(values.max(), 1e-30)
            key = np.round(np.interp(np.linspace(0, steps, 200), at, relative), 4).tobytes()
            shapes.setdefault(key, ([], curves.Line(at, relative)))[0].append(group)
        if len(rates) > 1:
            for index, (groups, _) in enumerate(shapes.values()):
                print(f"{terminal.letter(index)}: rate over its peak of {', '.join(groups)}")
            printing.draw([line for _, line in shapes.values()])
        else:
            printing.draw([curves.sample(one, steps) for one in rates.values()])


@command(
    "compare",
    argument("schedules", metavar="SCHEDULE", nargs="+", help="expressions or files"),
    PNG,
    UNTIL,
    JSON,
)
def compare(schedules: Sequence[str], png: Path | None, until: int | None, json: bool) -> None:
    """Compare the peak, last rate, area and horizon of several schedules, and draw them."""
    by_name = {text: read_schedule(text) for text in schedules}
    steps = resolve_until(until, list(by_name.values()))
    rows = []
    for name, one in by_name.items():
        _, values = curves.sample(one, steps)
        rows.append(
            {
                "schedule": name,
                "peak": float(values.max()),
                "last": float(one(max(steps - 1, 0))),
                "area": curves.area(one, 0, steps),
                "horizon": one.horizon,
            }
        )
    if json:
        printing.print_json({"steps": steps, "schedules": rows})
    else:
        lettered = [{"curve": terminal.letter(i), **row} for i, row in enumerate(rows)]
        printing.print_table(lettered, terminal.STYLES)
    if png is not None or not json:
        _draw(by_name, steps, png, is_quiet=json)


@command("describe", SCHEDULE, UNTIL, JSON)
def describe(schedule: str, until: int | None, json: bool) -> None:
    """Print the phases of a schedule, and its rates at each phase boundary."""
    one = read_schedule(schedule)
    steps = resolve_until(until, [one])
    phases = curves.phases(one, steps)
    areas = [curves.area(one, phase.start, phase.stop) for phase in phases]
    rows = [
        {
            "phase": phase.name,
            "from": phase.start,
            "to": phase.stop,
            "steps": phase.stop - phase.start,
            "first": float(one(phase.start)),
            "last": float(one(phase.stop - 1)),
            "area": area,
        }
        for phase, area in zip(phases, areas, strict=True)
    ]
    boundaries = [*(phase.start for phase in phases), steps]
    # An error of one step at a boundary is seen in the step before it and after it.
    around = {step for at in boundaries for step in (at - 1, at, at + 1) if 0 <= step <= steps}
    at = np.array(sorted(around))
    values = [
        {"step": step, "rate": rate}
        for step, rate in zip(at.tolist(), np.asarray(one(at)).tolist(), strict=True)
    ]
    if json:
        result = {"schedule": str(one), "horizon": one.horizon, "area": sum(areas)}
        printing.print_json(result | {"phases": rows, "boundary_rates": values})
        return
    print(f"{one}\nhorizon: {one.horizon}")
    printing.print_table(rows)
    printing.print_table(values)


@command(
    "convert",
    argument(
        "call",
        metavar="CALL",
        help="the call as a training script has it, or the file of a trainer's configuration",
    ),
    argument(
        "--from",
        dest="library",
        required=True,
        choices=sorted((*LIBRARIES, *SECTIONS)),
        help="the library of the call, or the trainer",
    ),
    argument(
        "--base-lr",
        metavar="RATE",
        type=positive_number,
        help="learning rate of the optimizer, if the call follows one (default: 1.0)",
    ),
    argument(
        "--steps",
        type=positive_int(),
        help="number of updates of the run, if a trainer's configuration lacks it",
    ),
    argument("--json", action="store_true", help="print only the JSON"),
)
def convert(call: str, library: str, base_lr: float | None, steps: int | None, json: bool) -> None:
    """Convert a scheduler call of another library, or a trainer's configuration, to lrsched.

    lrsched convert --from torch "CosineAnnealingLR(optimizer, T_max=50)" --base-lr 0.1
    lrsched convert --from deepspeed ds_config.json
    lrsched convert --from megatron "--lr 3e-4 --train-iters 1000 --lr-decay-style cosine"
    """
    if library in SECTIONS:
        schedule = read_section(call, library, base_lr, steps)
    elif steps is not None:
        raise ValueError("--steps is not accepted for a call; the call holds the number.")
    else:
        rate = base_lr or 1.0
        schedule = parse_call(call, library, rate)
        follows_rate = schedule != parse_call(call, library, 2 * rate)
        if base_lr is None and follows_rate:
            printing.print_note(
                "the call names no rate, so 1.0 is used; pass the rate by --base-lr"
            )
        if base_lr is not None and not follows_rate:
            printing.print_note(f"the call names its own rate; --base-lr {base_lr} has no effect")
    if not json:
        print(schedule)
    printing.print_json(to_dict(schedule))


@command(
    "bound",
    SCHEDULE,
    argument(
        "--steps",
        type=positive_int(_MAX_BOUND_STEPS),
        help="number of updates of the run (default: the horizon)",
    ),
    argument(
        "--grad-norm",
        type=positive_number,
        default=1.0,
        help="upper bound of the norm of the gradients",
    ),
    argument(
        "--distance",
        type=positive_number,
        default=1.0,
        help="distance from the initial parameters to a minimum",
    ),
    JSON,
)
def bound(schedule: str, steps: int | None, grad_norm: float, distance: float, json: bool) -> None:
    """Print the convergence bound of a schedule beside that of linear decay.

    The bound is of the last iterate, at the best multiple of the schedule.
    """
    # Imported here, as the theory imports SciPy, which no other command needs.
    from lrsched.theory import final_bound

    one = read_schedule(schedule)
    length = steps or one.horizon
    if not length:
        raise ValueError(f"bound: {one} has no horizon; give --steps.")
    if length > _MAX_BOUND_STEPS:
        raise ValueError(
            f"bound: a horizon of {length} is not accepted; give --steps of at most "
            f"{_MAX_BOUND_STEPS}."
        )
    rows = []
    for name, candidate in ((str(one), one), ("linear", lrsched.linear(1.0, 0.0, length))):
        peak = float(np.max(np.asarray(candidate(np.arange(length)))))
        if peak == 0:
            raise ValueError(f"bound: {one} is not accepted; every rate is 0.")
        result = final_bound(candidate, length, grad_norm, distance)
        rows.append(
            {
                "schedule": name,
                "steps": length,
                "optimal factor": float(result.optimal_rate),
                "optimal peak": float(result.optimal_rate) * peak,
                "optimal bound": float(result.optimal_values),
                "bound": float(result.values) if candidate is one else None,
            }
        )
    printing.print_rows(rows, json)


@command(
    "range-test",
    TRAINING,
    WORKLOAD,
    OPTIMIZER,
    argument("--steps", type=positive_int(_MAX_RUN_STEPS), default=200, help="number of updates"),
    argument("--seeds", type=positive_int(_MAX_SEEDS), default=3, help="number of runs"),
    argument("--low", metavar="RATE", type=positive_number, help="first rate of the test"),
    argument("--high", metavar="RATE", type=positive_number, help="last rate of the test"),
    PNG,
    JSON,
)
def range_test(
    training: str | None,
    workload: str | None,
    optimizer: str | None,
    steps: int,
    seeds: int,
    low: float | None,
    high: float | None,
    png: Path | None,
    json: bool,
) -> None:
    """Find the usable rates of your training, or of a small workload, with Smith's range test."""
    # Imported here, as in `sweep`: no other command needs the tuning.
    from lrsched.cli.trainings import errors_in_one_line, read_training
    from lrsched.tuning import range_test

    name, run = read_training(training, workload, optimizer)
    with errors_in_one_line(name):
        found = range_test(run, low=low, high=high, steps=steps, seeds=seeds, progress=not json)
    usable, suggestion = found.range, found.suggestion()
    row = {
        "workload": name,
        "optimizer": run.name,
        "suggestion": suggestion,
        "range": list(usable),
        "confidence": list(found.confidence()),
    }
    if json:
        printing.print_json(row)
    else:
        printing.print_table([row])
    if png is not None:
        printing.save_figure(found.plot(), png, is_quiet=json)
    elif not json:
        is_measured = ~np.isnan(found.smoothed).all(axis=0)
        losses = np.nanmean(found.smoothed[:, is_measured], axis=0)
        # Cut the divergence at the top, which would flatten the descent to a line.
        losses = np.minimum(losses, 1.25 * losses[0])
        print("training loss over the rate; below it the usable range and the suggestion")
        printing.draw(
            [curves.Line(found.rates[is_measured], losses)],
            log_x=True,
            marked=(usable.low, suggestion, usable.high),
        )


@command(
    "sweep",
    TRAINING,
    argument(
        "--rates",
        metavar="RATE",
        nargs="+",
        type=positive_number,
        default=[1e-4, 1e-3, 1e-2, 1e-1],
        help="rates, each a factor of the schedule (default: 1e-4 1e-3 1e-2 1e-1)",
    ),
    argument(
        "--schedule",
        metavar="SCHEDULE",
        default="linear(1.0, 0.0, steps=200)",
        help="an expression or a file with a peak of 1 and a horizon",
    ),
    WORKLOAD,
    OPTIMIZER,
    argument("--seeds", type=positive_int(_MAX_SEEDS), default=2, help="runs of each rate"),
    argument("--png", metavar="FILE", type=Path, help="draw the final losses over the rates"),
    argument("--runs", metavar="FILE", type=Path, help="draw the losses and rates over the steps"),
    JSON,
)
def sweep(
    rates: Sequence[float],
    schedule: str,
    training: str | None,
    workload: str | None,
    optimizer: str | None,
    seeds: int,
    png: Path | None,
    runs: Path | None,
    json: bool,
) -> None:
    """Train your model, or a small workload, at several rates of one schedule; print the losses."""
    from lrsched.cli.trainings import errors_in_one_line, read_training
    from lrsched.tuning import sweep

    shape = read_schedule(schedule)
    if png is not None and len(set(rates)) < 2:
        raise ValueError("--png draws the losses over the rates; give several --rates, or --runs.")
    if not shape.horizon:
        raise ValueError(
            f"--schedule {shape} has no horizon; give it one, as in constant(1.0, steps=200)."
        )
    if shape.horizon > _MAX_RUN_STEPS:
        raise ValueError(
            f"--schedule {shape} is not accepted; its horizon must be at most {_MAX_RUN_STEPS}."
        )
    name, run = read_training(training, workload, optimizer)
    with errors_in_one_line(name):
        result = sweep(
            run,
            [rate * shape for rate in rates],
            seeds=seeds,
            num_evaluations=min(_EVALUATIONS, shape.horizon),
            progress=not json,
        )
    losses = result.mean_losses()
    best = int(np.argmin(losses)) if np.isfinite(losses).any() else -1
    rows = [
        {"rate": rate, "loss": float(loss), "best": i == best}
        for i, (rate, loss) in enumerate(zip(rates, losses, strict=True))
    ]
    printing.print_rows(rows, json)
    if png is not None:
        printing.save_figure(result.plot(x="operands[0]"), png, is_quiet=json)
    if runs is not None:
        printing.save_figure(result.plot_runs(range(len(rates)))[0], runs, is_quiet=json)


@command(
    "explain",
    argument(
        "file",
        metavar="FILE",
        type=Path,
        help="a .csv, .tsv or .jsonl file, or a folder of TensorBoard event files",
    ),
    argument("--step", metavar="COLUMN", help="column of the step counts (default: by its name)"),
    argument("--loss", metavar="COLUMN", help="column of the losses (default: by its name)"),
    argument("--rate", metavar="COLUMN", help="column of the rates (default: by its name)"),
    argument(
        "--no-law",
        action="store_true",
        help="leave out what the loss laws predict, which takes the most time",
    ),
    JSON,
)
def explain(
    file: Path, step: str | None, loss: str | None, rate: str | None, no_law: bool, json: bool
) -> None:
    """Say what the schedule of a finished run did, from its logged losses and rates."""
    # Imported here, as the theory imports SciPy.
    from lrsched import theory

    history = theory.read_history(file, step=step, loss=loss, rate=rate)
    explanation = theory.explain(history, law=None if no_law else "auto")
    if json:
        printing.print_json([each._asdict() for each in explanation.findings])
    else:
        print(explanation)


@command("schema")
def schema() -> None:
    """Print the JSON Schema of a schedule in a file, for editors."""
    printing.print_json(lrsched.json_schema())


@command("doctor", JSON)
def doctor(json: bool) -> int:
    """Print versions, devices and known conflicts; the exit code is 1 if there is a problem."""
    report = diagnose()
    if json:
        printing.print_json(report)
    else:
        for name, value in report.items():
            values = value if isinstance(value, list) else [value]
            print(f"{name:<12} {', '.join(map(str, values)) or 'none'}")
    return 1 if report["problems"] else 0


@command("completion", argument("shell", choices=("bash", "zsh"), help="the shell"))
def completion(shell: str) -> None:
    """Print a script that completes the commands and options in a shell."""
    parser, parsers = parsing.build(_ABOUT, "")
    options = {name: parsing.options_of(each) for name, each in parsers.items()}
    print(script(shell, parsing.options_of(parser), options))


def _draw(
    schedules: Mapping[str, Schedule], until: int | None, png: Path | None, is_quiet: bool
) -> None:
    steps = resolve_until(until, list(schedules.values()))
    if png is not None:
        # Imported here, as Matplotlib needs the extra `plot`.
        from lrsched.pictures import plots

        one, *others = schedules.values()
        ax = plots.plot_schedules(schedules, steps=steps) if others else one.plot(steps=steps)
        printing.save_figure(ax, png, is_quiet)
        return
    if len(schedules) == 1:
        print(*schedules)
    printing.draw([curves.sample(one, steps) for one in schedules.values()])
