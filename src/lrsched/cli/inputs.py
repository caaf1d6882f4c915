"""Schedules from what a user typed: an expression, a name with arguments, or a file."""

from __future__ import annotations

import ast
import contextlib
import inspect
import json
import shlex
import tomllib
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from lrsched._schedule import Schedule
from lrsched.arguments import short_repr, shorten
from lrsched.cli.listing import RECIPE
from lrsched.expressions import parse
from lrsched.pictures import curves
from lrsched.recipes import Recipe, get
from lrsched.serialize import from_dict

if TYPE_CHECKING:
    from yaml import Node

MAX_KIB: Final = {".json": 1024, ".yaml": 128, ".yml": 128, ".toml": 128}
"""Largest file that is read, by its suffix, in KiB.

A table of ten thousand rates takes about 100. PyYAML's Python loader needs 2 to 3 s for 128 KiB.
"""
SECTIONS: Final = ("deepspeed", "megatron", "olmo", "torchtitan")
"""Trainers whose configuration is converted."""
MAX_NODES: Final = 100_000
"""Largest number of values in a YAML file, each alias counted as what it repeats."""
MAX_BRACKETS: Final = 200
"""Largest depth of brackets in a YAML file. `from_dict` reads 32 levels of schedules in lists."""
_TOO_DEEP: Final = (RecursionError, MemoryError)


def read_schedule(text: str, rest: Sequence[str] = ()) -> Schedule:
    """Return the schedule that a user named.

    Args:
      text: An expression, the name of a schedule, "recipe:NAME" or "recipe:NAME/GROUP", or a file
        that ends in .json, .yaml or .yml.
      rest: Arguments of that schedule, in order or as options: ``3e-4``, ``--steps``, ``100``.

    Returns:
      The schedule.

    Raises:
      ValueError: If it is not one schedule; the message is one line.
      OSError: If the file cannot be read.
    """
    if text.startswith(RECIPE):
        return _rate_of_recipe(text, rest)
    if rest:
        text = _as_expression(text, rest)
    with _one_line(text):
        if text.endswith((".json", ".yaml", ".yml")):
            schedule = from_dict(_read_mapping(Path(text)))
        elif _is_file(text):
            raise ValueError(
                f"{_short(text)} is not accepted; a file of a schedule must end in .json, .yaml or "
                ".yml."
            )
        else:
            schedule = parse(f"{text}()" if _is_name(text) else text)
        if not curves.is_concrete_scalar(schedule):
            raise ValueError(f"{schedule} is a batch of schedules; give one schedule.")
    return schedule


@contextlib.contextmanager
def _one_line(text: str) -> Iterator[None]:
    """Raise the errors of converters as ``ValueError``, whose message names the text.

    They refuse bad values by ValueError. A file can hold anything, and the command promises one
    line for all of it.
    """
    try:
        yield
    except _TOO_DEEP:
        raise ValueError(f"{_short(text)} is nested too deeply.") from None
    except (TypeError, AttributeError, LookupError, ArithmeticError) as error:
        raise ValueError(f"{_short(text)}: {type(error).__name__}: {error}.") from None


def read_recipe(text: str, rest: Sequence[str] = ()) -> Recipe:
    """Return the recipe that a user named, at the scale of its arguments.

    Args:
      text: Name of a recipe, with or without the prefix "recipe:".
      rest: Arguments of the recipe, in order or as options: ``--steps``, ``100``.

    Returns:
      The recipe.

    Raises:
      ValueError: If there is no such recipe, or an argument is not accepted; the message is one
        line.
    """
    create = get(text)
    positional, keywords = _split_arguments(rest)
    numbers = [_as_number(text, "an argument", word) for word in positional]
    scale = {key: _as_number(text, f"--{key}", word) for key, word in keywords}
    try:
        return create(*numbers, **scale)
    except TypeError as error:  # a missing or unknown argument
        raise ValueError(str(error)) from None


def _as_number(text: str, name: str, word: str) -> int | float:
    value = _as_value(word)
    if isinstance(value, int | float):
        return value
    raise ValueError(f"{text}: {name}={_short(word)!r} is not accepted; it must be a number.")


def _rate_of_recipe(text: str, rest: Sequence[str]) -> Schedule:
    name, _, group = text.partition("/")
    schedules = read_recipe(name, rest).schedules
    group = group or next(iter(schedules)) if len(schedules) == 1 else group
    if group not in schedules:
        raise ValueError(
            f"{_short(text)} is not one schedule; write {name}/GROUP with one of the groups "
            f"{', '.join(schedules)}."
        )
    return schedules[group]


def resolve_until(until: int | None, schedules: Sequence[Schedule]) -> int:
    """Return the number of steps to show: ``until``, or the longest of the schedules."""
    return until or max(map(curves.display_steps, schedules))


def read_section(text: str, library: str, base_lr: float | None, steps: int | None) -> Schedule:
    """Return the schedule of a trainer's configuration.

    Args:
      text: A file that ends in .json, .yaml, .yml or .toml, or, for Megatron-LM, its arguments as
        on the command line: ``"--lr 3e-4 --train-iters 1000"``.
      library: One of `SECTIONS`.
      base_lr: Learning rate of the optimizer, for sections that do not hold it.
      steps: Number of updates of the run, for sections that do not hold it.

    Returns:
      The schedule.

    Raises:
      ValueError: If the section is not accepted; the message is one line.
      OSError: If the file cannot be read.
    """
    # Imported here: the other commands need no converter.
    from lrsched.compat import configs

    is_arguments = library == "megatron" and any(word.startswith("--") for word in text.split())
    if not is_arguments and Path(text).suffix not in MAX_KIB:
        raise ValueError(
            f"{_short(text)} is not accepted; a section of {library} must be a file that ends in "
            f"{', '.join(MAX_KIB)}."
        )
    with _one_line(text):
        section = _parse_arguments(text) if is_arguments else _read_mapping(Path(text))
        convert = getattr(configs, f"from_{library}")
        accepted = inspect.signature(convert).parameters
        options = {"base_lr": base_lr, "steps": steps}
        for key, value in options.items():
            option = f"--{key.replace('_', '-')}"
            if value is not None and key not in accepted:
                raise ValueError(
                    f"{option} is not accepted for {library}; its section holds the number."
                )
            is_required = key in accepted and accepted[key].default is inspect.Parameter.empty
            if value is None and is_required:
                raise ValueError(
                    f"{_short(text)} does not hold the learning rate; pass it by {option}."
                )
        passed = {key: value for key, value in options.items() if value is not None}
        schedule: Schedule = convert(section, **passed)
    return schedule


def _parse_arguments(text: str) -> dict[str, object]:
    """Return Megatron-LM's arguments of a command line by name."""
    section: dict[str, object] = {}
    name = None
    try:
        words = shlex.split(text)
    except ValueError:
        raise ValueError(
            f"{_short(text)} is not accepted; a quotation mark is not closed."
        ) from None
    for word in words:
        if word.startswith("--"):
            name, has_value, value = word.partition("=")
            section[name] = _as_value(value) if has_value else True
        elif name is not None:
            section[name] = _as_value(word)
    return section


def _as_value(text: str) -> object:
    """Return the value of a literal of Python, and any other text as it is."""
    with contextlib.suppress(ValueError, SyntaxError, *_TOO_DEEP), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of escape sequences, which a text may hold
        return ast.literal_eval(text)
    return text


def _read_mapping(file: Path) -> Mapping[str, object]:
    limit = MAX_KIB[file.suffix]
    with file.open("rb") as stream:
        content = stream.read(limit * 1024 + 1)
    if len(content) > limit * 1024:
        raise ValueError(
            f"{file} is too large; a {file.suffix} file must have at most {limit} KiB."
        )
    try:
        text = content.decode("utf-8-sig")  # Editors of Windows write a byte-order mark.
        data: object
        if file.suffix == ".json":
            data = json.loads(text, object_pairs_hook=_without_duplicates)
        elif file.suffix == ".toml":
            data = tomllib.loads(text)
        else:
            data = _load_yaml(text)
    except UnicodeDecodeError:
        raise ValueError(f"{file} is not UTF-8 text.") from None
    except ValueError as error:  # of json.JSONDecodeError, and of integers with too many digits
        kind = {".json": "JSON", ".toml": "TOML"}.get(file.suffix, "YAML")
        # Python's message names a function of the interpreter.
        is_long = str(error).startswith("Exceeds the limit")
        reason = "an integer has too many digits" if is_long else error
        raise ValueError(f"{file} is not {kind} that can be read: {reason}.") from None
    if not isinstance(data, Mapping):
        raise ValueError(f"{file} is not accepted; it must hold a mapping.")
    return data


def _without_duplicates(pairs: Sequence[tuple[str, object]]) -> dict[str, object]:
    # The json module keeps the last of two values, so that the other would be lost silently.
    result = dict(pairs)
    if len(result) < len(pairs):
        keys = [key for key, _ in pairs]
        raise ValueError(_duplicate(next(key for key in keys if keys.count(key) > 1)))
    return result


def _duplicate(key: object) -> str:
    return f"the key {short_repr(key)} occurs twice in one mapping; give it once"


def _load_yaml(text: str) -> object:
    # Imported here: YAML files need the extra, JSON files and expressions do not.
    import yaml

    # The pure Python loader: a deep file is a RecursionError there, and a crash in C.
    class Loader(yaml.SafeLoader):  # type: ignore[misc]
        def fetch_flow_collection_start(self, token: object) -> None:
            # The scanner takes time quadratic in the depth of brackets before it recurses.
            if self.flow_level >= MAX_BRACKETS:
                raise RecursionError
            super().fetch_flow_collection_start(token)

    loader = None
    try:
        loader = Loader(text)  # raises for characters that YAML does not have
        node = loader.get_single_node()
        if node is None:
            return None
        _check_expansion(node)
        _check_keys(node)
        return loader.construct_document(node)
    except yaml.YAMLError as error:
        # PyYAML quotes the line with a marker below it, in several lines.
        raise ValueError(" ".join(str(error).split())) from None
    finally:
        if loader is not None:
            loader.dispose()


def _check_expansion(root: Node) -> None:
    """Refuse aliases that repeat too much, or that contain themselves.

    PyYAML keeps an alias as a second reference, so nine lines can stand for 9**9 values. Each node
    is measured once here; the sizes are added as if every alias were written out.
    """
    sizes: dict[int, int | None] = {}

    def size(node: Node) -> int:
        key = id(node)
        if key in sizes:
            known = sizes[key]
            if known is None:
                raise ValueError("an alias contains itself")
            return known
        sizes[key] = None
        children = node.value if isinstance(node.value, list) else ()
        pairs = (child if isinstance(child, tuple) else (child,) for child in children)
        total = 1 + sum(size(child) for pair in pairs for child in pair)
        if total > MAX_NODES:
            raise ValueError(f"its aliases stand for more than {MAX_NODES:,} values")
        sizes[key] = total
        return total

    size(root)


def _check_keys(root: Node) -> None:
    """Refuse a mapping that has a key twice, of which PyYAML would keep the last.

    A key that a merge (``<<``) brings may be given again: YAML defines that as its replacement.
    """
    seen, remaining = set[int](), [root]
    while remaining:
        node = remaining.pop()
        if id(node) in seen or not isinstance(node.value, list):
            continue
        seen.add(id(node))
        keys = set[tuple[str, str]]()
        for child in node.value:
            if not isinstance(child, tuple):
                remaining.append(child)
                continue
            remaining.extend(child)
            key = child[0]
            if isinstance(key.value, list):  # refused when the mapping is built: not hashable
                continue
            if (key.tag, key.value) in keys:
                raise ValueError(_duplicate(key.value))
            keys.add((key.tag, key.value))


def _as_expression(name: str, rest: Sequence[str]) -> str:
    """Return ``cosine(3e-4, steps=100)`` for ``cosine`` and ``3e-4 --steps 100``."""
    if not _is_name(name):
        raise ValueError(
            f"{rest[0]!r} is not accepted after {_short(name)}; only the name of a schedule takes "
            "arguments, as in lrsched show cosine --peak 3e-4 --steps 10000."
        )
    positional, keywords = _split_arguments(rest)
    shown = [*map(_as_literal, positional), *(f"{k}={_as_literal(word)}" for k, word in keywords)]
    return f"{name}({', '.join(shown)})"


def _split_arguments(rest: Sequence[str]) -> tuple[list[str], list[tuple[str, str]]]:
    """Return the words in order, and the options with their values."""
    positional, keywords, remaining = list[str](), list[tuple[str, str]](), list(rest)
    while remaining:
        word = remaining.pop(0)
        if not word.startswith("--"):
            positional.append(word)
            continue
        key, has_value, value = word.removeprefix("--").partition("=")
        if not has_value:
            if not remaining or remaining[0].startswith("--"):
                raise ValueError(f"{word} has no value; write {word} VALUE.")
            value = remaining.pop(0)
        key = key.replace("-", "_")
        if not key.isidentifier():
            raise ValueError(f"{word!r} is not accepted; it is not the name of an argument.")
        keywords.append((key, value))
    return positional, keywords


def _as_literal(text: str) -> str:
    """Return a literal or a call unchanged, and anything else quoted: ``--ramp cosine``."""
    return repr(text) if _as_value(text) is text and "(" not in text else text


def _is_name(text: str) -> bool:
    return all(part.isidentifier() for part in text.split("."))


def _is_file(text: str) -> bool:
    with contextlib.suppress(OSError, ValueError):  # too long for a name, or with a null character
        return Path(text).is_file()
    return False


def _short(text: str) -> str:
    return shorten(text, 60)
