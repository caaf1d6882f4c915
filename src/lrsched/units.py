"""Epochs, examples, tokens and fractions in steps, so that every schedule speaks steps inside.

Each function rounds to the nearest step (ties to even) and refuses what rounds to none: a warmup of
0.3 steps is a mistake, not a warmup of none.
"""

import math
from numbers import Real

import numpy as np

from lrsched.numerics import MAX_STEP


def from_examples(examples: float, batch_size: int) -> int:
    """Steps that see so many examples: ``examples / batch_size``.

    Args:
      examples: how many training examples.
      batch_size: examples per step, over all devices and accumulated micro-batches.

    Returns:
      Steps, rounded to the nearest.

    Raises:
      ValueError: an argument is not a finite number above 0, or the result is no step at all.

    >>> from lrsched import units
    >>> units.from_examples(50_000, batch_size=128)
    391
    """
    return _steps("from_examples", examples=examples, batch_size=batch_size)


def from_epochs(epochs: float, examples_per_epoch: int, batch_size: int) -> int:
    """Steps of so many passes over the data: ``epochs examples_per_epoch / batch_size``.

    The product is rounded, not each epoch: 90 epochs of 390.6 steps are 35156 steps. A loader that
    drops the last batch has ``batch_size * (examples // batch_size)`` examples per epoch.

    Args:
      epochs: how many passes, whole or not.
      examples_per_epoch: training examples of one pass.
      batch_size: examples per step, over all devices and accumulated micro-batches.

    Returns:
      Steps, rounded to the nearest.

    Raises:
      ValueError: as in `from_examples`.

    >>> from lrsched import units
    >>> units.from_epochs(90, examples_per_epoch=50_000, batch_size=128)
    35156
    """
    _check("from_epochs", epochs=epochs, examples_per_epoch=examples_per_epoch)
    return _steps("from_epochs", examples=epochs * examples_per_epoch, batch_size=batch_size)


def from_tokens(tokens: float, tokens_per_example: int, batch_size: int) -> int:
    """Steps that see so many tokens: ``tokens / (tokens_per_example batch_size)``.

    Args:
      tokens: how many training tokens.
      tokens_per_example: the sequence length.
      batch_size: sequences per step, over all devices and accumulated micro-batches.

    Returns:
      Steps, rounded to the nearest.

    Raises:
      ValueError: as in `from_examples`.

    >>> from lrsched import units
    >>> units.from_tokens(10e9, tokens_per_example=2048, batch_size=256)
    19073
    """
    _check("from_tokens", tokens=tokens, tokens_per_example=tokens_per_example)
    return _steps("from_tokens", examples=tokens / tokens_per_example, batch_size=batch_size)


def from_fraction(fraction: float, steps: int) -> int:
    """Steps of a fraction of a run: ``fraction steps``, Composer's "0.1dur".

    Args:
      fraction: above 0, at most 1.
      steps: the whole run.

    Returns:
      Steps, rounded to the nearest.

    Raises:
      ValueError: ``fraction`` is not within (0, 1], or the result is no step at all.

    >>> from lrsched import units
    >>> units.from_fraction(0.1, steps=35_156)
    3516
    """
    _check("from_fraction", fraction=fraction, steps=steps)
    if fraction > 1:
        raise ValueError(f"from_fraction: fraction={fraction!r} is above 1; it must not be.")
    return _rounded("from_fraction", fraction * steps)


def _steps(function: str, *, examples: float, batch_size: float) -> int:
    _check(function, examples=examples, batch_size=batch_size)
    return _rounded(function, examples / batch_size)


def _check(function: str, **numbers: float) -> None:
    for name, number in numbers.items():
        is_number = isinstance(number, Real | np.number) and not isinstance(number, bool)
        if not (is_number and math.isfinite(number) and number > 0):
            raise ValueError(
                f"{function}: {name}={number!r} is not accepted; {name} must be a finite number "
                "above 0."
            )


def _rounded(function: str, exact: float) -> int:
    steps = round(exact)
    if not 1 <= steps <= MAX_STEP:
        raise ValueError(
            f"{function}: {exact:g} steps round to {steps}; a length must be 1 to 2**31 - 1."
        )
    return steps
