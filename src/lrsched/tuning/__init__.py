"""Choose a learning rate: range tests, sweeps of thousands of runs, searches, automatic choice."""

from lrsched.tuning._auto import AutoResult, auto
from lrsched.tuning._critical_rate import CriticalRate, critical_rate, gen_rate
from lrsched.tuning._range_test import ANY_RANGE, RANGES, RangeTestResult, range_test
from lrsched.tuning._search import (
    HalvingResult,
    PopulationResult,
    population_based_training,
    search,
    successive_halving,
)
from lrsched.tuning._sweep import sweep
from lrsched.tuning._training import Training, TrainingState, shuffled_indices, training
from lrsched.tuning.batched_runner import ExecutionPlan
from lrsched.tuning.results import Collapse, RateRange, Sensitivity, SweepResult, Verdict

__all__ = [
    "ANY_RANGE",
    "RANGES",
    "AutoResult",
    "Collapse",
    "CriticalRate",
    "ExecutionPlan",
    "HalvingResult",
    "PopulationResult",
    "RangeTestResult",
    "RateRange",
    "Sensitivity",
    "SweepResult",
    "Training",
    "TrainingState",
    "Verdict",
    "auto",
    "critical_rate",
    "gen_rate",
    "population_based_training",
    "range_test",
    "search",
    "shuffled_indices",
    "successive_halving",
    "sweep",
    "training",
]
