"""Recipes of reinforcement learning and of the sciences."""

from functools import partial
from typing import Final

from lrsched.algebra import constant, staircase
from lrsched.recipes._parts import Arguments, Decay, Parts
from lrsched.recipes._recipe import recipe
from lrsched.recipes._shapes import sequence
from lrsched.schedules.constant import piecewise_constant
from lrsched.schedules.decay import exponential, linear

_reinforcement: Final = partial(recipe, family="rl")
_science: Final = partial(recipe, family="science")


@_reinforcement(
    "cleanrl-ppo",
    source="vwxyzjn/cleanrl cleanrl/ppo.py @fe8d8a0",
    batch="128 samples per minibatch",
    notes="One rate for the 16 updates of an iteration. The last one is not 0.",
)
def cleanrl_ppo(
    iterations: int = 976, peak: float = 2.5e-4, epochs: int = 4, minibatches: int = 4
) -> Parts:
    """PPO of CleanRL: a line in iterations."""
    rate = staircase(linear(peak, 0.0, iterations), every=epochs * minibatches)
    return Parts({"all": rate}, {"name": "adam", "eps": 1e-5}, clip=0.5)


@_reinforcement(
    "brax-ppo-adaptive-kl",
    source="google/brax training/agents/ppo/train.py, optimizer.py @0b96d05",
    notes="An option of brax, whose default is a constant rate. One divergence for a minibatch.",
)
def brax_ppo_adaptive_kl(peak: float = 1e-4, target: float = 0.01) -> Parts:
    """PPO of brax: the rate follows the divergence from the old policy, from 1e-5 to 1e-2."""
    controller: Arguments = {
        "name": "adaptive_kl",
        "target": target,
        "factor": 1.5,
        "min_scale": min(1e-5 / peak, 1.0),
        "max_scale": max(1e-2 / peak, 1.0),
    }
    return Parts({"all": constant(peak)}, {"name": "adam"}, controller=controller)


@_reinforcement(
    "dreamerv3",
    source="danijar/dreamerv3 dreamerv3/configs.yaml, agent.py @e3f0224",
    notes="Clipping is adaptive (AGC 0.3). The rate has no end.",
)
def dreamerv3(peak: float = 4e-5, warmup: int = 1000) -> Parts:
    """DreamerV3: warmup, then a constant rate."""
    rate = linear(0.0, peak, steps=warmup)
    return Parts({"all": rate}, {"name": "LaProp", "b1": 0.9, "b2": 0.999, "eps": 1e-20})


@_reinforcement(
    "cleanrl-dqn-atari",
    source="vwxyzjn/cleanrl cleanrl/dqn_atari.py @fe8d8a0",
    batch="32",
    notes="The exploration is scheduled, in environment steps; the rate is constant.",
)
def cleanrl_dqn_atari(steps: int = 10_000_000, peak: float = 1e-4) -> Parts:
    """DQN of CleanRL: exploration falls to 1% over a tenth of the run."""
    return Parts(
        {"lr": constant(peak)},
        {"name": "adam"},
        {"epsilon(env step)": linear(1.0, 0.01, steps=round(0.1 * steps))},
    )


@_science(
    "openfold-alphafold2",
    source="aqlaboratory/openfold openfold/utils/lr_schedulers.py @ce0029e",
    notes="The first drop is one step late, the others are not.",
    free=("steps",),
)
def openfold_alphafold2(steps: int = 150_000, peak: float = 1e-3, warmup: int = 1000) -> Parts:
    """AlphaFold 2 of OpenFold: warmup, a plateau, drops of 5% each 50,000 steps."""
    drops = [50_001, *range(100_000, steps + 1, 50_000)]
    values = [peak * 0.95**k for k in range(len(drops) + 1)]
    rate = sequence(
        (linear(0.0, peak, steps=warmup), warmup),
        (piecewise_constant(values, [drop - warmup for drop in drops]), None),
    )
    return Parts({"all": rate}, {"name": "adam", "eps": 1e-5}, ema=0.999)


@_science(
    "mace-plateau",
    source="ACEsuit/mace mace/tools/arg_parser.py, scripts_utils.py, train.py @667eee4",
    batch="10",
    missing="PyTorch's plateau rule was read in copies.",
    notes="One value of the validation loss for an epoch. The second stage restarts at 1e-3.",
)
def mace_plateau(peak: float = 0.01) -> Parts:
    """MACE: the rate falls by 0.8 when the validation loss has not improved for 50 epochs."""
    return Parts(
        {"all": constant(peak)},
        {"name": "amsgrad"},
        weight_decay=Decay(5e-7, coupling="coupled"),  # PyTorch's Adam
        clip=10.0,
        ema=0.99,
        controller={
            "name": "reduce_on_plateau",
            "factor": 0.8,
            "patience": 51,  # PyTorch waits for more than 50 epochs.
            "rtol": 1e-4,
            "atol": 0.0,
        },
    )


@_science(
    "jaxpi-burgers-pinn",
    source="PredictiveIntelligenceLab/jaxpi examples/burgers/configs/default.py @e85b694",
    notes="Continuous, without a floor. The rate has no end.",
)
def jaxpi_burgers_pinn(peak: float = 1e-3, every: int = 2000) -> Parts:
    """Burgers equation of JAX-PI: a factor of 0.9 each 2000 steps."""
    return Parts({"all": exponential(peak, 0.9, every=every)}, {"name": "adam"})
