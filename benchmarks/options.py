"""Options of the commands, as dataclasses whose fields are the options of the command line."""

import sys
from collections.abc import Sequence
from typing import TypeVar

import tyro

Options = TypeVar("Options")


def read_options(
    kind: type[Options],
    command: str,
    arguments: Sequence[str] | None,
    default: Options | None = None,
) -> Options:
    """Return the options of a command. The docstring of their module is the help text.

    Args:
      kind: Dataclass of the options. The docstring under a field is the help text of its option.
      command: Name of the command, as in ``python -m benchmarks NAME``.
      arguments: Arguments of the command line. Defaults to `sys.argv[1:]`.
      default: Options that are not set on the command line. Defaults to those of the class.

    Returns:
      The options.
    """
    return tyro.cli(
        kind,
        prog=f"python -m benchmarks {command}",
        description=sys.modules[kind.__module__].__doc__,
        default=default,
        args=arguments,
    )
