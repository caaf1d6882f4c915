"""The learning-rate layer for JAX.

A learning rate is a value that you print, compose, sweep, save, read back and change during
training, and it stays an ordinary optax schedule or transform.
"""

import difflib
import importlib
from types import ModuleType
from typing import TYPE_CHECKING

from lrsched import compat as compat
from lrsched import pictures as _pictures  # noqa: F401  (registers what draws itself)
from lrsched import scaling, units
from lrsched._schedule import Schedule, schedule
from lrsched.adaptive.averaging import (
    AverageState,
    LawaState,
    annealing_average,
    ema_params,
    lawa,
    polynomial_average,
)
from lrsched.adaptive.base import AdaptiveState
from lrsched.adaptive.coin_betting import cocob, kt
from lrsched.adaptive.controller import ControllerState, observe
from lrsched.adaptive.dadaptation import (
    dadapt_adagrad,
    dadapt_adamw,
    dadapt_lion,
    dadapt_sgd,
)
from lrsched.adaptive.distance import dog, dowg, ldog
from lrsched.adaptive.gradient_noise import (
    CriticalBatchSize,
    NoiseScaleState,
    critical_batch_size,
    noise_scale,
)
from lrsched.adaptive.health import (
    HealthState,
    RecordedHealth,
    record_health,
    recorded_health,
)
from lrsched.adaptive.hypergradient import hdm, hypergradient
from lrsched.adaptive.kl import adaptive_kl
from lrsched.adaptive.loss import adalrs, backoff_on_spike, bold_driver
from lrsched.adaptive.mechanic import mechanize
from lrsched.adaptive.norm import adagrad_norm
from lrsched.adaptive.plateau import greedy, reduce_on_overfitting, reduce_on_plateau
from lrsched.adaptive.polyak import alig, momo, momo_adam, polyak
from lrsched.adaptive.prodigy import prodigy
from lrsched.adaptive.recording import (
    RecordedNorms,
    RecordNormsState,
    record_norms,
    recorded_norms,
)
from lrsched.adaptive.schedule_free import (
    ema_nesterov,
    schedule_free,
    schedule_free_adamw,
    schedule_free_plus,
    schedule_free_radam,
    schedule_free_sgd,
)
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
    staircase,
    stretch,
)
from lrsched.config_schema import json_schema
from lrsched.finding import Finding
from lrsched.merging import merge_checkpoints, merge_weights
from lrsched.running.check import check_optimizer
from lrsched.running.diagnosis import Diagnosis, diagnose
from lrsched.running.edit import (
    extend,
    learning_rate_schedule,
    restart,
    scale_learning_rate,
    set_hyperparameter,
    set_learning_rate,
    set_schedule,
    start_cooldown,
)
from lrsched.running.migrate import migrate
from lrsched.running.read import eval_params, learning_rate, learning_rates, metrics
from lrsched.running.resume import check_resume
from lrsched.schedules.constant import piecewise_constant, table
from lrsched.schedules.cyclic import (
    cosine_restarts,
    noise,
    one_cycle,
    one_cycle_momentum,
    triangular,
)
from lrsched.schedules.decay import (
    chebyshev,
    cosine,
    cosine_waves,
    exp_hyperbolic,
    exponential,
    hyperbolic,
    k_decay,
    linear,
    multistep,
    polynomial,
    rex,
    step_decay,
    tanh,
)
from lrsched.schedules.multiphase import cooldown, points, wsd
from lrsched.schedules.power import (
    inverse_sqrt,
    inverse_time,
    noam,
    power_law,
    power_scheduler,
)
from lrsched.schedules.warmup import (
    exponential_warmup,
    log_warmup,
    radam_warmup,
    untuned_warmup,
    warmup,
)
from lrsched.serialize import from_dict, to_dict
from lrsched.transforms.groups import (
    LayerwiseDecayState,
    LearningRateGroupsState,
    group_table,
    layerwise_decay,
    learning_rate_groups,
    mup_groups,
)
from lrsched.transforms.inject import InjectSchedulesState, inject_schedules
from lrsched.transforms.learning_rate import ScaleByLearningRateState, scale_by_learning_rate
from lrsched.transforms.matrix import HyperballState, hyperball, muon
from lrsched.transforms.nonfinite import NonfiniteGuardState
from lrsched.transforms.rate import RateEdits, RateState, edited
from lrsched.transforms.weight_decay import with_weight_decay

if TYPE_CHECKING:
    from lrsched import recipes

__version__ = "0.1.0"

__all__ = [
    "AdaptiveState",
    "AverageState",
    "ControllerState",
    "CriticalBatchSize",
    "Diagnosis",
    "Finding",
    "HealthState",
    "HyperballState",
    "InjectSchedulesState",
    "LawaState",
    "LayerwiseDecayState",
    "LearningRateGroupsState",
    "NoiseScaleState",
    "NonfiniteGuardState",
    "RateEdits",
    "RateState",
    "RecordNormsState",
    "RecordedHealth",
    "RecordedNorms",
    "ScaleByLearningRateState",
    "Schedule",
    "adagrad_norm",
    "adalrs",
    "adaptive_kl",
    "add",
    "alig",
    "annealing_average",
    "as_schedule",
    "backoff_on_spike",
    "bold_driver",
    "chebyshev",
    "check_optimizer",
    "check_resume",
    "clip",
    "cocob",
    "constant",
    "cooldown",
    "cosine",
    "cosine_restarts",
    "cosine_waves",
    "critical_batch_size",
    "dadapt_adagrad",
    "dadapt_adamw",
    "dadapt_lion",
    "dadapt_sgd",
    "diagnose",
    "dog",
    "dowg",
    "edited",
    "ema_nesterov",
    "ema_params",
    "eval_params",
    "exp_hyperbolic",
    "exponential",
    "exponential_warmup",
    "extend",
    "from_dict",
    "from_function",
    "greedy",
    "group_table",
    "hdm",
    "hyperball",
    "hyperbolic",
    "hypergradient",
    "inject_schedules",
    "inverse_sqrt",
    "inverse_time",
    "join",
    "json_schema",
    "k_decay",
    "kt",
    "lawa",
    "layerwise_decay",
    "ldog",
    "learning_rate",
    "learning_rate_groups",
    "learning_rate_schedule",
    "learning_rates",
    "linear",
    "log_warmup",
    "maximum",
    "mechanize",
    "merge_checkpoints",
    "merge_weights",
    "metrics",
    "migrate",
    "minimum",
    "momo",
    "momo_adam",
    "multiply",
    "multistep",
    "muon",
    "mup_groups",
    "noam",
    "noise",
    "noise_scale",
    "observe",
    "one_cycle",
    "one_cycle_momentum",
    "piecewise_constant",
    "points",
    "polyak",
    "polynomial",
    "polynomial_average",
    "power_law",
    "power_scheduler",
    "prodigy",
    "radam_warmup",
    "recipes",
    "record_health",
    "record_norms",
    "recorded_health",
    "recorded_norms",
    "reduce_on_overfitting",
    "reduce_on_plateau",
    "repeat",
    "restart",
    "reverse",
    "rex",
    "scale_by_learning_rate",
    "scale_learning_rate",
    "scaling",
    "schedule",
    "schedule_free",
    "schedule_free_adamw",
    "schedule_free_plus",
    "schedule_free_radam",
    "schedule_free_sgd",
    "set_hyperparameter",
    "set_learning_rate",
    "set_schedule",
    "shift",
    "staircase",
    "start_cooldown",
    "step_decay",
    "stretch",
    "table",
    "tanh",
    "to_dict",
    "triangular",
    "units",
    "untuned_warmup",
    "warmup",
    "with_weight_decay",
    "wsd",
]


def __getattr__(name: str) -> ModuleType:
    """Import `recipes`; otherwise name the nearest function, or the ported one of that name."""
    if name == "recipes":
        # Imported on first use: few programs need the recipes, and their definitions take time.
        return importlib.import_module("lrsched.recipes")
    if not name.startswith("_"):
        ported = [
            f"lrsched.compat.{library}.{name}"
            for library in compat.LIBRARIES
            if name in importlib.import_module(f"lrsched.compat.{library}").__all__
        ]
        if ported:
            raise AttributeError(
                f"lrsched has no {name!r}; it is {' or '.join(ported)}.", name=name
            )
    near = difflib.get_close_matches(name, __all__, n=3, cutoff=0.5)
    clause = f"the nearest are {', '.join(near)}" if near else "lrsched.__all__ has all names"
    raise AttributeError(f"lrsched has no {name!r}; {clause}.", name=name)
