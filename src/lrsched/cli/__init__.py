"""The command ``lrsched``, in the extra ``cli``."""

import ast
import contextlib
import importlib
import io
import os
import re
import sys
from collections.abc import Sequence
from typing import Final

_OWN: Final = ("png", "until", "help", "json")
_OWN_WITH_A_VALUE: Final = ("png", "until")
_EXTRAS: Final = {"matplotlib": "plot", "yaml": "cli", "flax": "bench", "sklearn": "bench"}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; the exit code is 2 where it was called wrongly, with one line of why.

    Args:
      arguments: in place of ``sys.argv[1:]``.
    """
    given = list(sys.argv[1:] if arguments is None else arguments) or ["--help"]
    try:
        from lrsched.cli import commands
    except ModuleNotFoundError as error:
        return _fail(f"{error.name} is missing; pip install 'lrsched-jax[cli]'")
    try:
        given = _without_imports(given)
        return _run(commands, _as_expression(given) if given[:1] == ["show"] else given)
    except ModuleNotFoundError as error:
        extra = _EXTRAS.get((error.name or "").partition(".")[0], "bench")
        return _fail(f"{error.name} is missing; pip install 'lrsched-jax[{extra}]'")
    except ImportError as error:
        return _fail(" ".join(str(error).split()))
    except BrokenPipeError:  # as of `lrsched list | head -3`: whoever reads has had enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as error:
        return _fail(f"{error.filename}: {error.strerror}" if error.filename else str(error))
    except ValueError as error:
        return _fail(" ".join(str(error).split()))


def _run(commands: object, given: Sequence[str]) -> int:
    messages = io.StringIO()
    try:
        with contextlib.redirect_stderr(messages):
            run = commands.parsed(given)  # type: ignore[attr-defined]
    except SystemExit as stopped:
        if not stopped.code:
            return 0
        command = f" {given[0]}" if given[0] in commands.COMMANDS else ""  # type: ignore[attr-defined]
        help_is = f"see lrsched{command} --help"
        return _fail(f"{_shortened(messages.getvalue())}; {help_is}")
    code = int(run() or 0)
    sys.stdout.flush()
    return code


def _shortened(account: str) -> str:
    """Of tyro's box, with lines of Unicode or of dashes: what is wrong, and the nearest option."""
    text = re.sub(r"[│╰╯]", " ", re.sub(r"╭─ .*? ─+╮", "────", account))
    _, said, *more = [" ".join(part.split()) for part in re.split(r"[─-]{4,}", text)]
    near = re.match(r"Perhaps you meant: (--[\w-]+)", next(iter(more), ""))
    perhaps = f"; perhaps {near[1]}" if near else ""
    known = next((f"; {part}" for part in more if part.startswith("Available")), "")
    return said.removesuffix(".") + perhaps + known


def _without_imports(given: Sequence[str]) -> list[str]:
    """Imports what ``--import MODULE`` names, so that its schedules are known."""
    kept, rest = list[str](), list(given)
    while rest:
        word = rest.pop(0)
        option, has_value, name = word.partition("=")
        if option != "--import":
            kept.append(word)
            continue
        if not has_value and not rest:
            raise ValueError("--import has no value; it must be the name of a module.")
        name = name if has_value else rest.pop(0)
        if os.getcwd() not in sys.path:  # as for `python -m`
            sys.path.insert(0, os.getcwd())
        try:
            importlib.import_module(name)
        except Exception as error:
            raise ValueError(f"--import {name}: {type(error).__name__}: {error}.") from None
    return kept or ["--help"]


def _as_expression(given: Sequence[str]) -> list[str]:
    """``show cosine 3e-4 --steps 10000`` as ``show "cosine(3e-4, steps=10000)"``."""
    options, words, named, rest = list[str](), list[str](), list[str](), list(given[1:])
    while rest:
        word = rest.pop(0)
        name, has_value, value = word.removeprefix("--").partition("=")
        is_own = word == "-h" or name in _OWN or name.startswith("tyro-")
        if not word.startswith("--") and not is_own:
            words.append(word)
            continue
        if not has_value and (not is_own or name in _OWN_WITH_A_VALUE):
            if not rest or rest[0].startswith("--"):
                raise ValueError(f"{word} has no value.")
            value = rest.pop(0)
            word = f"{word}={value}"
        if is_own:
            options.append(word)
        else:
            named.append(f"{name.replace('-', '_')}={_as_written(value)}")
    if len(words) > 1 or named:
        if not words or not re.fullmatch(r"[\w.]+", words[0]):
            raise ValueError(
                f"{[*words[1:], *named][0].partition('=')[0]!r} is an argument for a schedule's "
                "name, as in lrsched show cosine --peak 3e-4 --steps 10000."
            )
        words = [f"{words[0]}({', '.join([*map(_as_written, words[1:]), *named])})"]
    return [given[0], *words, *options]


def _as_written(value: str) -> str:
    """A literal or a call as it stands, anything else as a string: ``--shape cosine``."""
    with contextlib.suppress(ValueError, SyntaxError):
        ast.literal_eval(value)
        return value
    return value if "(" in value else repr(value)


def _fail(message: str) -> int:
    print(f"lrsched: {message}", file=sys.stderr)
    return 2
