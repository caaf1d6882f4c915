"""The command ``lrsched``, in the extra ``cli``."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

_EXTRAS: Final = {"matplotlib": "plot", "yaml": "cli", "rich": "cli"}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Nothing that a user can type, and nothing that a file can hold, ends in a traceback.

    Args:
      arguments: Arguments of the command. Defaults to ``sys.argv[1:]``.

    Returns:
      The exit code: 0 for success; 1 if `doctor` finds a problem or the reader of the output has
      gone; 2, with one line on stderr, if the input is not accepted; 130 after Ctrl-C.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    try:
        # Imported here, so that without the extra the user reads which one is missing.
        from lrsched.cli import commands

        code = commands.run(words)
        sys.stdout.flush()
    except KeyboardInterrupt:
        print("lrsched: interrupted", file=sys.stderr)
        return 130
    except ModuleNotFoundError as error:
        extra = _EXTRAS.get((error.name or "").partition(".")[0], "bench")
        return _fail(f"{error.name} is missing; pip install 'lrsched-jax[{extra}]'")
    except BrokenPipeError:
        # The reader of the output has gone, as in `lrsched list | head -3`. Python flushes stdout
        # again at exit, which would print a second error.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as error:
        return _fail(f"{error.filename}: {error.strerror}" if error.filename else str(error))
    except (ImportError, ValueError) as error:
        return _fail(str(error))
    except (RecursionError, MemoryError):
        return _fail("the input is nested too deeply or too large.")
    return code


def _fail(message: str) -> int:
    print(f"lrsched: {' '.join(message.split())}", file=sys.stderr)
    return 2
