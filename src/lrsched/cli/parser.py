"""Parsing of the arguments: commands are declared beside their functions."""

from __future__ import annotations

import argparse
import difflib
import importlib
import math
import os
import sys
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any, Final, NamedTuple, NoReturn, TypeVar

from lrsched.numerics import MAX_STEP

Function = TypeVar("Function", bound=Callable[..., int | None])
Number = TypeVar("Number", int, float)

_IMPORTS: Final = "modules"


class Argument(NamedTuple):
    """Arguments of one call of ``ArgumentParser.add_argument``."""

    names: tuple[str, ...]
    options: dict[str, Any]


class Command(NamedTuple):
    """One command.

    Attributes:
      function: Function that the command calls with its arguments as keywords. Its result is the
        exit code.
      arguments: Arguments of the command.
      usage: Usage line, or `None` for the default one.
      describe_rest: If the command takes unknown words and options, in order as the keyword
        ``rest``: function from its first argument to the help text about them. Otherwise `None`.
    """

    function: Callable[..., int | None]
    arguments: tuple[Argument, ...]
    usage: str | None
    describe_rest: Callable[[str], str] | None


COMMANDS: Final[dict[str, Command]] = {}
"""Every command by its name."""


def argument(*names: str, **options: Any) -> Argument:
    """Return the declaration of an argument, as for ``ArgumentParser.add_argument``.

    Args:
      *names: Name of a positional argument, or names of an option.
      **options: Options of ``add_argument``, such as ``help``, ``type`` and ``default``. The help
        text of a default is added to ``help``.

    Returns:
      The declaration.
    """
    if isinstance(options.get("default"), int | float | str):
        options["help"] += " (default: %(default)s)"
    return Argument(names, options)


def command(
    name: str,
    *arguments: Argument,
    usage: str | None = None,
    describe_rest: Callable[[str], str] | None = None,
) -> Callable[[Function], Function]:
    """Return a decorator that registers a function as a command.

    The docstring of the function is the help text.

    Args:
      name: Name of the command.
      *arguments: Arguments of the command; their destinations are keywords of the function.
      usage: Usage line, if the default one is not enough.
      describe_rest: Function of the help text of unknown words and options, see `Command`.

    Returns:
      The decorator.
    """

    def register(function: Function) -> Function:
        COMMANDS[name] = Command(function, arguments, usage, describe_rest)
        return function

    return register


def positive_number(text: str) -> float:
    """Return a finite number above 0, for ``type=``."""
    value = _parse(float, text, "a number")
    if not math.isfinite(value):
        raise argparse.ArgumentTypeError(f"{text!r} is not a finite number")
    if value <= 0:
        raise argparse.ArgumentTypeError(f"{text} is not accepted; it must be a number above 0")
    return value


def positive_int(maximum: int = MAX_STEP) -> Callable[[str], int]:
    """Return a function that reads an integer from 1 to ``maximum``, for ``type=``."""

    def parse(text: str) -> int:
        value = _parse(int, text, "a whole number")
        if not 1 <= value <= maximum:
            limit = "2**31 - 1" if maximum == MAX_STEP else f"{maximum:,}"
            raise argparse.ArgumentTypeError(
                f"{text} is not accepted; it must be from 1 to {limit}"
            )
        return value

    return parse


def _parse(kind: Callable[[str], Number], text: str, description: str) -> Number:
    try:
        return kind(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not {description}") from None


class Parser(argparse.ArgumentParser):
    """Parser whose errors are a ``ValueError`` of one line."""

    def error(self, message: str) -> NoReturn:
        """Raise an error in place of printing the usage and exiting."""
        raise ValueError(f"{message}; see {self.prog} --help.")


def parse(arguments: Sequence[str], about: str, version: str) -> Callable[[], int | None]:
    """Return the command that the arguments name, not run yet.

    It imports the modules of ``--import``, so that their schedules are known to the command.

    Args:
      arguments: Arguments of ``lrsched``.
      about: Description at the top of the help text.
      version: Text of ``--version``.

    Returns:
      A function without arguments. It returns the exit code, or `None` for 0.

    Raises:
      ValueError: If the arguments are not accepted.
      SystemExit: After ``--help`` and ``--version`` have printed.
    """
    parser, parsers = build(about, version)
    namespace, rest = parser.parse_known_args(list(arguments))
    values = vars(namespace)
    for module in [*values.pop(_IMPORTS), *values.pop(f"{_IMPORTS}_after", ())]:
        _import(module)
    name = values.pop("command")
    declared = COMMANDS[name]
    if declared.describe_rest:
        values["rest"] = rest
    elif rest:
        _refuse(rest, parsers[name])
    return lambda: declared.function(**values)


def build(about: str, version: str) -> tuple[Parser, dict[str, Parser]]:
    """Return the parser of ``lrsched``, and that of each command by its name."""
    parser = Parser(prog="lrsched", description=about, allow_abbrev=False)
    parser.add_argument("--version", action="version", version=version)
    imports: dict[str, Any] = {
        "metavar": "MODULE",
        "action": "append",
        "help": "import a module that defines schedules, before the command runs",
    }
    parser.add_argument("--import", dest=_IMPORTS, default=[], **imports)
    subparsers = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    parsers = {}
    for name, declared in COMMANDS.items():
        about = (declared.function.__doc__ or "").strip()
        parsers[name] = subparsers.add_parser(
            name,
            help=about.partition("\n")[0].rstrip("."),
            description=about,
            usage=declared.usage,
            add_help=declared.describe_rest is None,
            # Abbreviations would take `--p` of a schedule's own argument for `--png`.
            allow_abbrev=False,
        )
        for each in declared.arguments:
            parsers[name].add_argument(*each.names, **each.options)
        if declared.describe_rest:
            about = "print this help, with the arguments of a name before it"
            help_action = _help_action(declared.arguments[0].names[0], declared.describe_rest)
            # Without a destination, as argparse's own --help.
            parsers[name].add_argument(
                *("-h", "--help"),
                action=help_action,
                nargs=0,
                dest=argparse.SUPPRESS,
                default=argparse.SUPPRESS,
                help=about,
            )
        # A second destination: argparse overwrites what the options before the command gave.
        parsers[name].add_argument("--import", dest=f"{_IMPORTS}_after", default=[], **imports)
    return parser, parsers


def _help_action(first: str, describe_rest: Callable[[str], str]) -> type[argparse.Action]:
    """Return ``--help`` of a command whose first argument, called ``first``, has options too."""

    class HelpWithRest(argparse.Action):
        def __call__(
            self,
            parser: argparse.ArgumentParser,
            namespace: argparse.Namespace,
            values: object,
            option_string: str | None = None,
        ) -> NoReturn:
            parser.print_help()
            # argparse has parsed only the words before --help, so there may be no name yet.
            name = getattr(namespace, first, None)
            if name and (about := describe_rest(name)):
                print(f"\n{about}")
            parser.exit()

    return HelpWithRest


def options_of(parser: Parser) -> list[str]:
    """Return the long options of a parser."""
    return [name for name in parser._option_string_actions if name.startswith("--")]


def _refuse(rest: Sequence[str], parser: Parser) -> NoReturn:
    unknown = next((word for word in rest if word.startswith("-")), rest[0])
    kind = "option" if unknown.startswith("-") else "argument"
    name = unknown.partition("=")[0]
    near = difflib.get_close_matches(name, options_of(parser), n=1) if kind == "option" else ()
    perhaps = f"; perhaps {near[0]}" if near else ""
    parser.error(f"{kind} {name!r} is not known{perhaps}")


def import_from_here(module: str) -> ModuleType:
    """Import a module of the current directory, as ``python -m`` does, or an installed one."""
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    return importlib.import_module(module)


def _import(module: str) -> None:
    try:
        import_from_here(module)
    except ModuleNotFoundError as error:
        name = module.removesuffix(".py").replace("/", ".")
        hint = f"give the name of a module, as in --import {name}" if name != module else str(error)
        raise ValueError(f"--import {module}: ModuleNotFoundError: {hint}.") from None
    # The module is code of the user's and may raise anything, even at `sys.exit()`.
    except (Exception, SystemExit) as error:
        raise ValueError(f"--import {module}: {type(error).__name__}: {error}.") from None
