"""The training that a command runs: the user's own, or a small workload."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from lrsched.arguments import first_paragraph, shorten
from lrsched.cli.parser import import_from_here
from lrsched.tuning import Training

_DEFAULT_WORKLOAD: Final = "digits"
_DEFAULT_OPTIMIZER: Final = "adam"
_MAX_MESSAGE: Final = 300


def read_training(
    target: str | None, workload: str | None, optimizer: str | None
) -> tuple[str, Training]:
    """Return the name and the training that a user asked for.

    Args:
      target: ``module:function`` of a function without arguments that returns a `Training`, or of
        a `Training`. `None` for a workload.
      workload: Name of a workload, or `None` for the digits.
      optimizer: Name of an optimizer of optax for the workload, or `None` for adam.

    Returns:
      The name for the output, and the training.

    Raises:
      ValueError: If the target cannot be imported, fails or gives no `Training`, or a workload or
        an optimizer is given beside it; the message is one line.
    """
    if target is None:
        # Imported here: the workloads need Flax and scikit-learn, of the extra `bench`.
        from lrsched.cli.workloads import WORKLOADS

        name = workload or _DEFAULT_WORKLOAD
        return name, WORKLOADS[name](optimizer or _DEFAULT_OPTIMIZER)
    for option, value in {"--workload": workload, "--optimizer": optimizer}.items():
        if value is not None:
            raise ValueError(
                f"{option} is not accepted beside {target}, which has its own; leave one out."
            )
    module, _, attribute = target.partition(":")
    if not module or not attribute.isidentifier():
        raise ValueError(
            f"{target!r} is not accepted; it must be MODULE:FUNCTION, as in "
            "my_module:make_training."
        )
    with errors_in_one_line(target):
        function = getattr(import_from_here(module), attribute)
        training = function() if callable(function) else function
    if not isinstance(training, Training):
        raise ValueError(
            f"{target} gives a {type(training).__name__}; it must return a Training, as "
            "lrsched.tuning.training makes one."
        )
    return target, training


@contextmanager
def errors_in_one_line(name: str) -> Iterator[None]:
    """Raise the errors of a user's code as a ``ValueError`` of one line.

    Args:
      name: Name of the training, with which the message begins.
    """
    try:
        yield
    # The code is the user's and may raise anything, even at `sys.exit()`.
    except (Exception, SystemExit) as error:
        message = shorten(first_paragraph(error), _MAX_MESSAGE)
        raise ValueError(f"{name}: {type(error).__name__}: {message}") from None
