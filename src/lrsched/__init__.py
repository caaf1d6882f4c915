"""The learning-rate layer for JAX.

A learning rate is a value that you print, compose, sweep, save, read back and change while the run
goes on, and it stays an ordinary optax schedule or transform.
"""

from lrsched.algebra import (
    add,
    as_schedule,
    clip,
    constant,
    from_function,
    join,
    maximum,
    minimum,
    multiply,
    repeat,
    reverse,
    shift,
    stretch,
)
from lrsched.inspect import learning_rate
from lrsched.schedule import Schedule, from_dict, schedule, to_dict
from lrsched.schedules.constant import piecewise_constant, table
from lrsched.schedules.cyclic import cosine_restarts, one_cycle, triangular
from lrsched.schedules.decay import (
    cosine,
    exponential,
    inverse_sqrt,
    linear,
    multistep,
    polynomial,
    step_decay,
)
from lrsched.schedules.phases import wsd
from lrsched.schedules.warmup import warmup
from lrsched.transforms.inject import InjectSchedulesState, inject_schedules
from lrsched.transforms.learning_rate import ScaleByLearningRateState, scale_by_learning_rate

__all__ = [
    "InjectSchedulesState",
    "ScaleByLearningRateState",
    "Schedule",
    "add",
    "as_schedule",
    "clip",
    "constant",
    "cosine",
    "cosine_restarts",
    "exponential",
    "from_dict",
    "from_function",
    "inject_schedules",
    "inverse_sqrt",
    "join",
    "learning_rate",
    "linear",
    "maximum",
    "minimum",
    "multiply",
    "multistep",
    "one_cycle",
    "piecewise_constant",
    "polynomial",
    "repeat",
    "reverse",
    "scale_by_learning_rate",
    "schedule",
    "shift",
    "step_decay",
    "stretch",
    "table",
    "to_dict",
    "triangular",
    "warmup",
    "wsd",
]
