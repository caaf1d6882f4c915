"""Learning rates, and what goes with them, for another size of training run.

`transfer` moves all hyperparameters by named rules. Single rules, published laws, measured power
laws and batch-size ramps are functions of their own.
"""

from lrsched.scaling.batches import BatchRamp, batch_ramp, ramped_rate
from lrsched.scaling.fitting import PowerLaw, best_rate, fit_power_law
from lrsched.scaling.laws import (
    AveragingWeights,
    RateAndBatch,
    SpectralCondition,
    averaging_weights,
    decay_from_half_life,
    decay_from_timescale,
    decay_timescale,
    deepseek_law,
    half_life,
    half_life_ramp,
    power_lines_decay,
    spectral_condition,
    step_law,
)
from lrsched.scaling.moving import (
    RULES,
    Change,
    Group,
    Rule,
    Size,
    TransferResult,
    transfer,
)
from lrsched.scaling.ratios import batch_size, horizon, mup_depth, mup_width

__all__ = [
    "RULES",
    "AveragingWeights",
    "BatchRamp",
    "Change",
    "Group",
    "PowerLaw",
    "RateAndBatch",
    "Rule",
    "Size",
    "SpectralCondition",
    "TransferResult",
    "averaging_weights",
    "batch_ramp",
    "batch_size",
    "best_rate",
    "decay_from_half_life",
    "decay_from_timescale",
    "decay_timescale",
    "deepseek_law",
    "fit_power_law",
    "half_life",
    "half_life_ramp",
    "horizon",
    "mup_depth",
    "mup_width",
    "power_lines_decay",
    "ramped_rate",
    "spectral_condition",
    "step_law",
    "transfer",
]
