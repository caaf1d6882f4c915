"""Recipes of optimizers: what to set for a run that has a tuned AdamW, by their authors."""

from functools import partial
from typing import Final

from lrsched.recipes._parts import SCHEDULE_FREE, Arguments, Decay, Parts
from lrsched.recipes._recipe import recipe
from lrsched.recipes._shapes import ahead, warmup_cosine
from lrsched.scaling.laws import half_life_ramp
from lrsched.schedules.decay import linear

_optimizer: Final = partial(recipe, family="optimizer")


@_optimizer(
    "lion-from-adamw",
    source="google/automl lion/README.md @14d8bbd; Chen et al. 2023 (arXiv 2302.06675), section 5",
    free=("steps", "peak", "weight_decay"),
    missing="The cosine is an example: the authors keep AdamW's schedule.",
    notes="peak and weight_decay are AdamW's. The authors' factor is 3 to 10.",
)
def lion_from_adamw(
    steps: int = 10_000,
    peak: float = 1e-3,
    weight_decay: float = 0.1,
    factor: float = 10.0,
    warmup: int = 0,
) -> Parts:
    """Lion: AdamW's rate divided by ``factor``, its weight decay multiplied by it."""
    rate = warmup_cosine(peak / factor, steps, warmup)
    lion: Arguments = {"name": "lion", "b1": 0.9, "b2": 0.99}
    return Parts({"all": rate}, lion, weight_decay=Decay(weight_decay * factor))


@_optimizer(
    "ademamix",
    source="apple/ml-ademamix README.md, optax/ademamix.py @e732715; arXiv 2409.03137",
    free=("steps", "peak", "weight_decay"),
    missing="The cosine is an example: the authors' code leaves the schedule open.",
    notes="Both warmups last as long as the run.",
)
def ademamix(
    steps: int = 256_000,
    peak: float = 1e-3,
    weight_decay: float = 0.1,
    alpha: float = 8.0,
    b3: float = 0.9999,
    warmup: int = 0,
) -> Parts:
    """AdEMAMix: AdamW with a second, slow momentum, whose weight and decay rise over the run."""
    return Parts(
        {"all": warmup_cosine(peak, steps, warmup)},
        {"name": "ademamix", "b1": 0.9, "b2": 0.999, "b3": "b3", "alpha": "alpha"},
        {"b3": half_life_ramp(0.9, b3, steps=steps), "alpha": linear(0.0, alpha, steps=steps)},
        weight_decay=Decay(weight_decay),
    )


@_optimizer(
    "soap",
    source="nikhilvyas/SOAP README.md @05cfba2; arXiv 2409.11321",
    free=("steps", "peak"),
    missing="The cosine is an example. Whether AdamW's best rate is best here was not confirmed.",
    notes="Adam in the eigenbasis of Shampoo, which is renewed each 10 updates.",
)
def soap(steps: int = 10_000, peak: float = 3e-3, warmup: int = 0) -> Parts:
    """SOAP at the rate, the betas and the weight decay of its authors' example."""
    optimizer: Arguments = {"name": "SOAP", "b1": 0.95, "b2": 0.95, "precondition_frequency": 10}
    rate = warmup_cosine(peak, steps, warmup)
    return Parts({"all": rate}, optimizer, weight_decay=Decay(0.01))


@_optimizer(
    "shampoo-with-adam-grafting",
    source="KellerJordan/modded-nanogpt records/102924_Optimizers/README.md",
    free=("steps",),
    missing="The cosine is an example.",
    notes="0.0018 was also the best rate of Adam there. Embedding and head stay with Adam.",
)
def shampoo_with_adam_grafting(steps: int = 10_000, peak: float = 0.0018, warmup: int = 0) -> Parts:
    """Distributed Shampoo with the norm of Adam's updates, at Adam's rate."""
    optimizer: Arguments = {
        "name": "Shampoo",
        "b1": 0.95,
        "b2": 0.95,
        "eps": 1e-12,
        "precondition_frequency": 10,
        "grafting_b2": 0.95,
        "grafting_eps": 1e-8,
    }
    return Parts({"all": warmup_cosine(peak, steps, warmup)}, optimizer)


@_optimizer(
    "algoperf-schedule-free",
    source="AlgoPerf submissions @12c8e4e, self-tuning, version 0.6",
    free=("steps",),
    notes=(
        "steps is the expected length and sets the warmup only. Evaluate at lrsched.eval_params. "
        "Not tuned for language models. Version 0.5 had r=0.75 and decayed the averaged parameters."
    ),
)
def algoperf_schedule_free(steps: int = 100_000, peak: float = 0.0025) -> Parts:
    """Schedule-free AdamW, the winner of AlgoPerf's self-tuning track: a warmup and no decay."""
    warmup = int(0.02 * 0.75 * steps)
    optimizer: Arguments = {
        "name": SCHEDULE_FREE,
        "b1": 0.9,
        "b2": 0.9955159689799007,
        "eps": 1e-8,
    }
    rate = ahead(linear(0.0, peak, steps=max(warmup, 1)))
    return Parts({"all": rate}, optimizer, weight_decay=Decay(0.08121616522670176))
