"""Epochs, examples, tokens and fractions as numbers of steps.

Each function rounds to the nearest step (ties to even) and raises where the result rounds to 0: a
warmup of 0.3 steps is a mistake, not an absent warmup.
"""

import math
from numbers import Real

import numpy as np

from lrsched.arguments import not_accepted
from lrsched.numerics import MAX_STEP


def from_examples(examples: float, batch_size: int) -> int:
    """Return the steps that use a number of examples: ``examples / batch_size``.

    Args:
      examples: Number of training examples.
      batch_size: Examples of one step, over all devices and accumulated micro-batches.

    Returns:
      Number of steps, rounded to the nearest, as an int.

    Raises:
      ValueError: If an argument is not a finite number above 0, or the result rounds to 0 steps.

    >>> from lrsched import units
    >>> units.from_examples(50_000, batch_size=128)
    391
    """
    return _steps("from_examples", examples=examples, batch_size=batch_size)


def from_epochs(epochs: float, examples_per_epoch: int, batch_size: int) -> int:
    """Return the steps of a number of epochs: ``epochs examples_per_epoch / batch_size``.

    The product is rounded, not each epoch: 90 epochs of 390.6 steps are 35156 steps. A loader that
    drops the last batch has ``batch_size * (examples // batch_size)`` examples per epoch.

    Args:
      epochs: Number of passes over the data, a whole number or not.
      examples_per_epoch: Training examples of one pass.
      batch_size: Examples of one step, over all devices and accumulated micro-batches.

    Returns:
      Number of steps, rounded to the nearest, as an int.

    Raises:
      ValueError: See `from_examples`.

    >>> from lrsched import units
    >>> units.from_epochs(90, examples_per_epoch=50_000, batch_size=128)
    35156
    """
    _check("from_epochs", epochs=epochs, examples_per_epoch=examples_per_epoch)
    return _steps("from_epochs", examples=epochs * examples_per_epoch, batch_size=batch_size)


def from_tokens(tokens: float, tokens_per_example: int, batch_size: int) -> int:
    """Return the steps that use a number of tokens: ``tokens / (tokens_per_example batch_size)``.

    Args:
      tokens: Number of training tokens.
      tokens_per_example: Sequence length.
      batch_size: Sequences of one step, over all devices and accumulated micro-batches.

    Returns:
      Number of steps, rounded to the nearest, as an int.

    Raises:
      ValueError: See `from_examples`.

    >>> from lrsched import units
    >>> units.from_tokens(10e9, tokens_per_example=2048, batch_size=256)
    19073
    """
    _check("from_tokens", tokens=tokens, tokens_per_example=tokens_per_example)
    return _steps("from_tokens", examples=tokens / tokens_per_example, batch_size=batch_size)


def from_fraction(fraction: float, steps: int) -> int:
    """Return the steps of a fraction of a run: ``fraction steps``, Composer's "0.1dur".

    Args:
      fraction: Fraction of the run, above 0 and at most 1.
      steps: Length of the whole run, in steps.

    Returns:
      Number of steps, rounded to the nearest, as an int.

    Raises:
      ValueError: If ``fraction`` is not within (0, 1], or the result rounds to 0 steps.

    >>> from lrsched import units
    >>> units.from_fraction(0.1, steps=35_156)
    3516
    """
    _check("from_fraction", fraction=fraction, steps=steps)
    if fraction > 1:
        raise not_accepted("from_fraction", "fraction", fraction, "at most 1")
    return _rounded("from_fraction", fraction * steps)


def _steps(function: str, *, examples: float, batch_size: float) -> int:
    _check(function, examples=examples, batch_size=batch_size)
    return _rounded(function, examples / batch_size)


def _check(function: str, **numbers: float) -> None:
    for name, number in numbers.items():
        is_number = isinstance(number, Real | np.number) and not isinstance(number, bool)
        if not (is_number and math.isfinite(number) and number > 0):
            raise not_accepted(function, name, number, "a finite number above 0")


def _rounded(function: str, exact: float) -> int:
    steps = round(exact)
    if not 1 <= steps <= MAX_STEP:
        raise ValueError(
            f"{function}: {exact:g} steps round to {steps}; a length must be 1 to 2**31 - 1."
        )
    return steps
