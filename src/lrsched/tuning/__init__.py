"""Finding the learning rate: range tests, sweeps of thousands of runs, and automatic choice."""

from lrsched.tuning._auto import Auto, auto
from lrsched.tuning._range_test import ANY_RANGE, RANGES, Range, RangeTest, range_test
from lrsched.tuning._search import (
    Halving,
    Population,
    population_based_training,
    search,
    successive_halving,
)
from lrsched.tuning._sweep import sweep
from lrsched.tuning._training import State, Training, shuffled, training
from lrsched.tuning.batched_runner import Plan
from lrsched.tuning.results import Sweep

__all__ = [
    "ANY_RANGE",
    "RANGES",
    "Auto",
    "Halving",
    "Plan",
    "Population",
    "Range",
    "RangeTest",
    "State",
    "Sweep",
    "Training",
    "auto",
    "population_based_training",
    "range_test",
    "search",
    "shuffled",
    "successive_halving",
    "sweep",
    "training",
]
