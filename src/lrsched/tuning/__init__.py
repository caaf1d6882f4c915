"""Finding the learning rate: range tests, sweeps of thousands of runs, and automatic choice."""

from lrsched.tuning.auto import Auto, auto
from lrsched.tuning.fleet import Plan
from lrsched.tuning.range_test import ANY_RANGE, RANGES, Range, RangeTest, range_test
from lrsched.tuning.results import Sweep
from lrsched.tuning.search import (
    Halving,
    Population,
    population_based_training,
    search,
    successive_halving,
)
from lrsched.tuning.sweep import sweep
from lrsched.tuning.training import State, Training, shuffled, training

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
