"""How the command's arguments are read: numbers, files, schedules."""

import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any

import tyro

from lrsched._schedule import Schedule
from lrsched.expressions import LIBRARIES, parse
from lrsched.numerics import MAX_STEP
from lrsched.pictures import curves as curve
from lrsched.serialize import from_dict


def _written(kind: Callable[[str], Any], metavar: str, is_called: str) -> Any:
    """How an option is read; what it is not is said in one line."""

    def read(given: list[str]) -> Any:
        try:
            return kind(given[0])
        except ValueError:
            raise ValueError(f"{given[0]!r} is not {is_called}") from None

    return tyro.constructors.PrimitiveConstructorSpec(
        nargs=1,
        metavar=metavar,
        instance_from_str=read,
        is_instance=lambda value: True,
        str_from_instance=lambda value: ["none" if value is None else str(value)],
    )


_WHOLE, _NUMBER = _written(int, "INT", "a whole number"), _written(float, "FLOAT", "a number")
Int = Annotated[int, _WHOLE]
OptionalInt = Annotated[int | None, _WHOLE]
Number = Annotated[float, _NUMBER]
AnyNumber = Annotated[float | None, _NUMBER]
PngPath = Annotated[Path | None, _written(Path, "FILE", "a file")]
Text = Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="SCHEDULE")]
Texts = Annotated[tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="SCHEDULE ...")]


def read(text: str) -> Schedule:
    """A file or an expression."""
    if not text.endswith((".json", ".yaml", ".yml")):
        return _single(parse(f"{text}()" if re.fullmatch(r"[a-zA-Z_][\w.]*", text) else text))
    data = _loaded(Path(text))
    for peer in LIBRARIES:
        if f"'{peer}." in str(data):
            __import__(f"lrsched.compat.{peer}")
    return _single(from_dict(data))


def _loaded(file: Path) -> Any:
    if file.suffix == ".json":
        try:
            return json.loads(file.read_text())
        except json.JSONDecodeError as error:
            raise ValueError(f"{file} is not JSON: {error}.") from None
    import yaml

    try:
        return yaml.safe_load(file.read_text())
    except yaml.YAMLError as error:
        raise ValueError(f"{file} is not YAML: {error}.") from None


def _single(one: Schedule) -> Schedule:
    if not curve.is_concrete_scalar(one):
        raise ValueError(f"{one} is a batch of schedules; one curve is wanted.")
    return one


def until_of(until: int | None, schedules: Sequence[Schedule]) -> int:
    """The steps to look at: what was given, or the longest of the schedules."""
    if until is not None:
        return counted("--until", until)
    return max(map(curve.display_steps, schedules))


def counted(option: str, given: int) -> int:
    """A number of steps that a schedule can count."""
    if not 1 <= given <= MAX_STEP:
        raise ValueError(f"{option} {given} is not accepted; it must be from 1 to 2**31 - 1.")
    return given
