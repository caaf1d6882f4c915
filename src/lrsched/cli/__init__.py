"""The command ``lrsched``, in the extra ``cli``."""

import ast
import contextlib
import io
import re
import sys
from collections.abc import Sequence
from typing import Final

_OWN: Final = ("png", "until", "help", "json")
_EXTRAS: Final = {"matplotlib": "plot", "flax": "bench", "sklearn": "bench"}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; the exit code is 2 where it was called wrongly, with one line of why.

    Args:
      arguments: in place of ``sys.argv[1:]``.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    try:
        from lrsched.cli import commands
    except ModuleNotFoundError as error:
        return _fail(f"{error.name} is missing; pip install 'lrsched-jax[cli]'")
    try:
        return _run(commands, _as_expression(given) if given[:1] == ["show"] else given)
    except ModuleNotFoundError as error:
        extra = _EXTRAS.get((error.name or "").partition(".")[0], "bench")
        return _fail(f"{error.name} is missing; pip install 'lrsched-jax[{extra}]'")
    except (ValueError, OSError) as error:
        return _fail(" ".join(str(error).split()))


def _run(commands: object, given: Sequence[str]) -> int:
    messages = io.StringIO()
    try:
        with contextlib.redirect_stderr(messages):
            run = commands.parsed(given)  # type: ignore[attr-defined]
    except SystemExit as stopped:
        if not stopped.code:
            return 0
        lines = re.sub(r"[│╭╮╰╯─]+.*?[╮─]+|[│╰╯]", " ", messages.getvalue()).splitlines()
        text = " ".join(" ".join(line.split()) for line in lines if line.strip())
        return _fail(text.partition(" For full helptext")[0] or "see lrsched --help")
    return int(run() or 0)


def _as_expression(given: Sequence[str]) -> list[str]:
    """``show cosine --peak 3e-4`` as ``show "cosine(peak=3e-4)"``."""
    kept, parameters, rest = list[str](), list[str](), list(given)
    while rest:
        word = rest.pop(0)
        name, has_value, value = word.removeprefix("--").partition("=")
        if not word.startswith("--") or name in _OWN or name.startswith("tyro-"):
            kept.append(word)
            continue
        if not has_value:
            if not rest:
                raise ValueError(f"{word} has no value.")
            value = rest.pop(0)
        parameters.append(f"{name.replace('-', '_')}={_as_written(value)}")
    if parameters:
        if len(kept) < 2 or not re.fullmatch(r"[\w.]+", kept[1]):
            raise ValueError(
                f"{parameters[0].partition('=')[0]!r} is an argument for a schedule's name, as in "
                "lrsched show cosine --peak 3e-4 --steps 10000."
            )
        kept[1] = f"{kept[1]}({', '.join(parameters)})"
    return kept


def _as_written(value: str) -> str:
    """A literal or a call as it stands, anything else as a string: ``--shape cosine``."""
    with contextlib.suppress(ValueError, SyntaxError):
        ast.literal_eval(value)
        return value
    return value if "(" in value else repr(value)


def _fail(message: str) -> int:
    print(f"lrsched: {message}", file=sys.stderr)
    return 2
