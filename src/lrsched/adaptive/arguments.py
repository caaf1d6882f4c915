"""What an option of an adaptive method may be, written as its type annotation."""

from typing import Annotated, Any, TypeAlias

import optax
from jax.typing import ArrayLike

from lrsched.arguments import DURATION, LENGTH, Kind, bounded, choice
from lrsched.schedule import Schedule


def _transform(given: Any) -> Any:
    if not (callable(getattr(given, "init", None)) and callable(getattr(given, "update", None))):
        raise TypeError
    return given


Base: TypeAlias = Annotated[
    optax.GradientTransformation,
    Kind("Base", "an optax transform, such as optax.adam(1e-3)", _transform, static=True),
]
"""An optimizer that a method works around."""
Rate: TypeAlias = ArrayLike | Schedule | optax.Schedule
"""A number, a `Schedule` or any callable of the step."""
Decay: TypeAlias = Annotated[
    float, Kind("Decay", "a number from 0 to below 1", bounded(least=0, below=1))
]
"""Of a moving average; 0 is none."""
Factor: TypeAlias = Annotated[
    float, Kind("Factor", "a number above 0 and below 1", bounded(above=0, below=1))
]
"""What a rate is lowered by."""
WithinZeroAndOne: TypeAlias = Factor
"""What lies between two points, and is neither."""
Part: TypeAlias = Annotated[float, Kind("Part", "a number from 0 to 1", bounded(least=0, most=1))]
"""The least that a rate is multiplied by."""
Positive: TypeAlias = Annotated[float, Kind("Positive", "a number above 0", bounded(above=0))]
"""A first estimate, a coefficient."""
NonNegative: TypeAlias = Annotated[
    float, Kind("NonNegative", "a number of 0 or more", bounded(least=0))
]
"""An eps, a margin, a weight decay."""
OneOrMore: TypeAlias = Annotated[
    float, Kind("OneOrMore", "a number of 1 or more", bounded(least=1))
]
"""The most that a rate is multiplied by."""
Growth: TypeAlias = Annotated[
    float, Kind("Growth", "a number above 1, or infinity", bounded(above=1, infinite=True))
]
"""The most that something grows by at a time; infinity is no limit."""
Mode: TypeAlias = Annotated[str, choice("Mode", ("min", "max"))]
"""Whether a metric is better when it is less, or more."""
Count: TypeAlias = Annotated[int, Kind("Count", "a whole number of 1 or more", LENGTH.convert)]
"""How many."""
Duration: TypeAlias = Annotated[
    int, Kind("Duration", "a whole number of 0 or more", DURATION.convert)
]
"""How long, in updates or in metrics."""
