"""Record official optimizers: ``python -m tests.parity.methods.record [PACKAGE ...]``.

Each call of `CALLS`, written with our names and arguments, builds the official optimizer, which
then trains the network of `problem.py` in float64; the first call of each method, and its first
with a schedule, train the convex model too. In ``numbers/<package>.json``, per update:

- ``loss`` before the update, ``sum`` and ``norm`` of all parameters after it (of a schedule-free
  method these are y's, and ``x_sum`` and ``x_norm`` are x's; ``average_*`` are the average's),
- the method's own estimate after the update, under the name of `ESTIMATES`.

``numbers/transformers.json`` holds, for each call and each sequence of metrics, the learning rate
after each metric. ``--check`` writes nothing and fails where a number is no longer the recorded.

AliG's norm of the gradients is float32 in the package; here it is float64.
"""

import contextlib
import functools
import importlib.metadata
import io
import json
import re
import sys
import types
from dataclasses import dataclass, replace
from math import inf
from pathlib import Path
from typing import Any

import numpy as np

from tests.parity.methods import problem
from tests.parity.record import command

NUMBERS = Path(__file__).parent / "numbers"
CONVEX_STEPS = 60

CALLS: dict[str, dict[str, int]] = {
    "dadaptation": {
        "dadapt_adamw(learning_rate=1.0)": 100,
        "dadapt_adamw(learning_rate=1.0, bias_correction=True)": 100,
        "dadapt_adamw(learning_rate=1.0, b1=0.8, b2=0.99, eps=1e-4)": 100,
        "dadapt_adamw(learning_rate=1.0, weight_decay=0.1, decoupled=True)": 100,
        "dadapt_adamw(learning_rate=1.0, weight_decay=0.01, decoupled=False)": 100,
        "dadapt_adamw(learning_rate=1.0, d0=1e-4, growth_rate=1.02)": 100,
        "dadapt_adamw(learning_rate=1.0, growth_rate=1.2)": 100,
        "dadapt_adamw(learning_rate=warmup_cosine)": 100,
        "dadapt_adamw(learning_rate=warmup_cosine, weight_decay=0.1, decoupled=True, "
        "bias_correction=True)": 100,
        "dadapt_adamw(learning_rate=pauses)": 60,
        "dadapt_sgd(learning_rate=1.0)": 100,
        "dadapt_sgd(learning_rate=1.0, momentum=0.9)": 100,
        "dadapt_sgd(learning_rate=1.0, weight_decay=0.01)": 60,
        "dadapt_sgd(learning_rate=0.5, momentum=0.9, weight_decay=0.01)": 100,
        "dadapt_sgd(learning_rate=1.0, d0=1e-2, growth_rate=1.02)": 100,
        "dadapt_sgd(learning_rate=warmup_cosine, momentum=0.9)": 100,
        "dadapt_sgd(learning_rate=drop, d0=1e-3)": 60,
        "dadapt_adagrad(learning_rate=1.0)": 100,
        "dadapt_adagrad(learning_rate=1.0, momentum=0.9)": 100,
        "dadapt_adagrad(learning_rate=1.0, weight_decay=0.01, eps=1e-3)": 100,
        "dadapt_adagrad(learning_rate=1.0, d0=1e-3, growth_rate=1.02)": 100,
        "dadapt_adagrad(learning_rate=warmup_cosine, momentum=0.9)": 100,
        "dadapt_adagrad(learning_rate=pauses)": 80,
        "dadapt_lion(learning_rate=1.0)": 60,
        "dadapt_lion(learning_rate=0.1)": 100,
        "dadapt_lion(learning_rate=0.1, weight_decay=0.1, d0=1e-2)": 100,
        "dadapt_lion(learning_rate=0.5, b1=0.95, b2=0.98, d0=1e-4)": 60,
        "dadapt_lion(learning_rate=warmup_cosine, weight_decay=0.01)": 100,
        "dadapt_lion(learning_rate=pauses)": 60,
    },
    "prodigyopt": {
        "prodigy(learning_rate=1.0)": 100,
        "prodigy(learning_rate=1.0, bias_correction=True)": 100,
        "prodigy(learning_rate=1.0, b1=0.8, b2=0.99, eps=1e-4)": 100,
        "prodigy(learning_rate=1.0, b1=0.0)": 60,
        "prodigy(learning_rate=1.0, b3=0.9)": 100,
        "prodigy(learning_rate=1.0, weight_decay=0.1)": 100,
        "prodigy(learning_rate=1.0, weight_decay=0.01, decoupled=False)": 100,
        "prodigy(learning_rate=1.0, d0=1e-4, growth_rate=1.02)": 100,
        "prodigy(learning_rate=1.0, growth_rate=1.2)": 100,
        "prodigy(learning_rate=1.0, d_coef=0.5)": 100,
        "prodigy(learning_rate=1.0, d_coef=2.0, d0=1e-5)": 100,
        "prodigy(learning_rate=1.0, slice_p=11)": 100,
        "prodigy(learning_rate=1.0, slice_p=3, weight_decay=0.1, bias_correction=True)": 100,
        "prodigy(learning_rate=warmup_cosine)": 150,
        "prodigy(learning_rate=warmup_cosine, safeguard_warmup=True, bias_correction=True)": 100,
        "prodigy(learning_rate=warmup_cosine, weight_decay=0.1, slice_p=11, d_coef=0.5)": 100,
        "prodigy(learning_rate=pauses)": 80,
    },
    "dog-optimizer": {
        "dog(learning_rate=1.0)": 150,
        "dog(learning_rate=1.0, reps_rel=1e-4)": 100,
        "dog(learning_rate=1.0, init_eta=1e-2)": 100,
        "dog(learning_rate=1.0, reps_rel=1e-3, weight_decay=0.01)": 100,
        "dog(learning_rate=0.5, reps_rel=1e-3, eps=1e-2)": 60,
        "dog(learning_rate=warmup_cosine, reps_rel=1e-3)": 100,
        "dog(learning_rate=pauses, reps_rel=1e-3)": 80,
        "ldog(learning_rate=1.0)": 150,
        "ldog(learning_rate=1.0, reps_rel=1e-3)": 100,
        "ldog(learning_rate=1.0, init_eta=1e-2)": 100,
        "ldog(learning_rate=1.0, reps_rel=1e-3, weight_decay=0.01)": 100,
        "ldog(learning_rate=0.5, reps_rel=1e-3, eps=1e-2)": 60,
        "ldog(learning_rate=warmup_cosine, reps_rel=1e-3)": 100,
        "polynomial_decay_average(dog(learning_rate=1.0, reps_rel=1e-3), gamma=8.0)": 100,
        "polynomial_decay_average(dog(learning_rate=warmup_cosine, reps_rel=1e-3), gamma=1.0)": 60,
        "polynomial_decay_average(ldog(learning_rate=1.0, reps_rel=1e-3), gamma=8.0)": 60,
    },
    "momo-opt": {
        "momo(learning_rate=1.0)": 100,
        "momo(learning_rate=10.0, momentum=0.5)": 60,
        "momo(learning_rate=1.0, bias_correction=True)": 100,
        "momo(learning_rate=1.0, weight_decay=0.01)": 100,
        "momo(learning_rate=1.0, lower_bound=0.3)": 60,
        "momo(learning_rate=1.0, lower_bound=-1.0, adapt_lower_bound=True)": 100,
        "momo(learning_rate=3.0, weight_decay=0.01, bias_correction=True, "
        "adapt_lower_bound=True)": 100,
        "momo(learning_rate=warmup_cosine, bias_correction=True)": 100,
        "momo(learning_rate=pauses, weight_decay=0.01)": 60,
        "momo_adam(learning_rate=0.01)": 100,
        "momo_adam(learning_rate=1.0, b1=0.8, b2=0.99, eps=1e-4)": 60,
        "momo_adam(learning_rate=0.01, weight_decay=0.1)": 100,
        "momo_adam(learning_rate=0.01, weight_decay=0.1, divide=False)": 60,
        "momo_adam(learning_rate=0.01, lower_bound=0.3)": 60,
        "momo_adam(learning_rate=0.01, lower_bound=-1.0, adapt_lower_bound=True)": 100,
        "momo_adam(learning_rate=0.125, weight_decay=0.01, adapt_lower_bound=True)": 100,
        "momo_adam(learning_rate=small_warmup_cosine, weight_decay=0.1)": 100,
        "momo_adam(learning_rate=small_pauses)": 60,
    },
    "mechanic-pytorch": {
        "mechanize(sgd(learning_rate=1.0))": 100,
        "mechanize(sgd(learning_rate=0.1, momentum=0.9))": 100,
        "mechanize(sgd(learning_rate=1.0), s_decay=0.0)": 100,
        "mechanize(sgd(learning_rate=1.0), s_decay=0.1, betas=(0.9, 0.99))": 100,
        "mechanize(sgd(learning_rate=1.0), s_init=1e-4, eps=1e-6)": 100,
        "mechanize(sgd(learning_rate=warmup_cosine))": 100,
        "mechanize(adamw(learning_rate=0.01, weight_decay=0.0))": 100,
        "mechanize(adamw(learning_rate=0.01, weight_decay=0.1), s_decay=0.0, s_init=1e-6)": 100,
        "mechanize(adamw(learning_rate=small_warmup_cosine, weight_decay=0.1), s_init=1e-6)": 100,
    },
    "schedulefree": {
        "schedule_free_sgd(learning_rate=1.0)": 100,
        "schedule_free_sgd(learning_rate=0.5, b1=0.95, weight_decay=0.01)": 100,
        "schedule_free_sgd(learning_rate=1.0, warmup_steps=20)": 100,
        "schedule_free_sgd(learning_rate=1.0, warmup_steps=20, r=1.0, weight_lr_power=1.0)": 100,
        "schedule_free_sgd(learning_rate=1.0, weight_lr_power=0.0, r=0.5)": 60,
        "schedule_free_sgd(learning_rate=warmup_cosine, warmup_steps=5)": 60,
        "schedule_free_sgd(learning_rate=pauses)": 60,
        "schedule_free_adamw(learning_rate=0.0025)": 100,
        "schedule_free_adamw(learning_rate=0.01, b1=0.95, b2=0.99, eps=1e-4)": 100,
        "schedule_free_adamw(learning_rate=0.01, weight_decay=0.1, warmup_steps=20)": 100,
        "schedule_free_adamw(learning_rate=0.01, warmup_steps=20, r=1.0, weight_lr_power=1.0)": 100,
        "schedule_free_adamw(learning_rate=small_warmup_cosine, weight_decay=0.1)": 60,
        "schedule_free_adamw(learning_rate=small_pauses)": 60,
        "schedule_free_radam(learning_rate=0.0025)": 100,
        "schedule_free_radam(learning_rate=0.01, silent_sgd_phase=False)": 100,
        "schedule_free_radam(learning_rate=0.01, b1=0.95, b2=0.99, eps=1e-4)": 100,
        "schedule_free_radam(learning_rate=0.01, weight_decay=0.1, r=1.0, weight_lr_power=1)": 100,
        "schedule_free_radam(learning_rate=small_warmup_cosine, weight_decay=0.1, "
        "silent_sgd_phase=False)": 60,
        "schedule_free(sgd(learning_rate=0.5), b1=0.9, weight_decay_at_y=0.01)": 60,
        "schedule_free(sgd(learning_rate=warmup_cosine), b1=0.95, weight_lr_power=1.0)": 60,
        "schedule_free(prodigy(learning_rate=1.0, b1=0.0), b1=0.9)": 100,
        "schedule_free(prodigy(learning_rate=1.0, b1=0.9), b1=0.9)": 100,
        "schedule_free(dadapt_adamw(learning_rate=1.0, b1=0.0), b1=0.9)": 100,
    },
    "parameterfree": {
        "cocob()": 100,
        "cocob(alpha=10.0)": 100,
        "cocob(eps=1e-3)": 60,
        "cocob(alpha=10.0, eps=1e-4, weight_decay=0.01)": 100,
        "kt()": 100,
        "kt(wealth=1.0)": 100,
        "kt(wealth=1e-2, weight_decay=0.01)": 100,
    },
    "pytorch_optimizer": {
        "alig()": 60,
        "alig(max_learning_rate=0.5)": 100,
        "alig(max_learning_rate=0.5, momentum=0.9)": 100,
        "alig(max_learning_rate=0.5, momentum=0.9, adjusted_momentum=True)": 100,
        "alig(max_learning_rate=warmup_cosine, momentum=0.5)": 100,
        "alig(max_learning_rate=warmup_cosine, momentum=0.5, adjusted_momentum=True)": 100,
        "alig(max_learning_rate=2.0, momentum=0.5)": 100,
        "alig(max_learning_rate=pauses)": 60,
    },
}

# What the estimate of each method is called in the numbers.
ESTIMATES = {
    "d": "D-Adaptation's and Prodigy's d, after the update",
    "eta": "DoG's step, the rate included; of LDoG `eta_w1` ...",
    "rate": "MoMo's and AliG's step: the number that multiplies the (preconditioned) direction",
    "lb": "MoMo's lower bound after the update",
    "s": "the sum of Mechanic's s, after the update",
    "scheduled_rate": "the rate of schedule-free with its warmup or rectification",
}


def step(optimizer, loss):
    optimizer.step()


def read_nothing(optimizer, before):
    return {}


@dataclass(frozen=True)
class Peer:
    """An official optimizer: how it is built, given a rate, stepped and read."""

    build: Any  # parameters -> optimizer
    rate: Any = None  # a number, or a function of the step
    rate_name: str = "lr"
    step: Any = step
    read: Any = read_nothing


def first(rate):
    """What a constructor is given for a rate that is set before each update anyway."""
    return 1.0 if callable(rate) else rate


def read_d(optimizer, before):
    return {"d": optimizer.param_groups[0]["d"]}


# -- dadaptation and prodigyopt ------------------------------------------------------------------


def dadapt_adamw(
    learning_rate, b1=0.9, b2=0.999, decoupled=False, bias_correction=False, **options
):
    from dadaptation import DAdaptAdam

    options |= {"betas": (b1, b2), "decouple": decoupled, "use_bias_correction": bias_correction}
    build = functools.partial(DAdaptAdam, lr=first(learning_rate), **options)
    return Peer(build, learning_rate, read=read_d)


def dadapt_sgd(learning_rate, **options):
    from dadaptation import DAdaptSGD

    build = functools.partial(DAdaptSGD, lr=first(learning_rate), **options)
    return Peer(build, learning_rate, read=read_d)


def dadapt_adagrad(learning_rate, **options):
    from dadaptation import DAdaptAdaGrad

    build = functools.partial(DAdaptAdaGrad, lr=first(learning_rate), **options)
    return Peer(build, learning_rate, read=read_d)


def dadapt_lion(learning_rate, b1=0.9, b2=0.99, **options):
    from dadaptation.dadapt_lion import DAdaptLion

    build = functools.partial(DAdaptLion, lr=first(learning_rate), betas=(b1, b2), **options)
    return Peer(build, learning_rate, read=read_d)


def prodigy(
    learning_rate, b1=0.9, b2=0.999, b3=None, decoupled=True, bias_correction=False, **options
):
    from prodigyopt import Prodigy

    options |= {"betas": (b1, b2), "beta3": b3}
    options |= {"decouple": decoupled, "use_bias_correction": bias_correction}
    build = functools.partial(Prodigy, lr=first(learning_rate), **options)
    return Peer(build, learning_rate, read=read_d)


# -- dog-optimizer -------------------------------------------------------------------------------


def dog(learning_rate, **options):
    from dog import DoG

    def read(optimizer, before):
        return {"eta": optimizer.param_groups[0]["eta"][0]}

    return Peer(
        functools.partial(DoG, lr=first(learning_rate), **options), learning_rate, read=read
    )


def ldog(learning_rate, **options):
    from dog import LDoG

    def read(optimizer, before):
        etas = optimizer.param_groups[0]["eta"]
        return {f"eta_{name}": eta for name, eta in zip(optimizer.names, etas, strict=True)}

    build = functools.partial(LDoG, lr=first(learning_rate), **options)
    return Peer(build, learning_rate, read=read)


def polynomial_decay_average(peer, gamma=8.0):
    import torch
    from dog import PolynomialDecayAverager

    def build(parameters):
        optimizer = peer.build(parameters)
        module = torch.nn.ParameterList(parameters)
        optimizer.averager = PolynomialDecayAverager(module, gamma=gamma)
        return optimizer

    def step(optimizer, loss):
        peer.step(optimizer, loss)
        optimizer.averager.step()

    def read(optimizer, before):
        averages = optimizer.averager.averaged_model.parameters()
        return peer.read(optimizer, before) | size(averages, "average_")

    return replace(peer, build=build, step=step, read=read)


# -- momo-opt and pytorch_optimizer --------------------------------------------------------------


def solve_step(optimizer, before, directions, decay):
    """The t of ``after = (decay before - t direction)`` (or ``decay`` on the left)."""
    group = optimizer.param_groups[0]
    factor = group["lr"] * group["weight_decay"]
    moved = squares = 0.0
    for old, p, direction in zip(before, group["params"], directions, strict=True):
        if decay == "divide":
            move = old - p.detach() * (1 + factor)
        else:
            move = old * (1 - factor) - p.detach()
        moved += float((direction * move).sum())
        squares += float((direction * direction).sum())
    return moved / squares


def step_with_loss(optimizer, loss):
    optimizer.step(loss=loss.detach())


def bounds(lower_bound=0.0, adapt_lower_bound=False, **options):
    """The names of MoMo for what ours calls otherwise."""
    return options | {"lb": lower_bound, "use_fstar": adapt_lower_bound}


def momo(learning_rate, momentum=0.9, **options):
    from momo import Momo

    def read(optimizer, before):
        directions = [optimizer.state[p]["grad_avg"] for p in optimizer.param_groups[0]["params"]]
        rate = solve_step(optimizer, before, directions, "divide")
        return {"rate": rate, "lb": optimizer.lb}

    build = functools.partial(Momo, lr=first(learning_rate), beta=momentum, **bounds(**options))
    return Peer(build, learning_rate, step=step_with_loss, read=read)


def momo_adam(learning_rate, b1=0.9, b2=0.999, **options):
    from momo import MomoAdam

    def read(optimizer, before):
        group = optimizer.param_groups[0]
        directions = []
        for p in group["params"]:
            state = optimizer.state[p]
            second = state["grad_avg_sq"] / (1 - b2 ** state["step"])
            directions.append(state["grad_avg"] / (second.sqrt() + group["eps"]))
        decay = "divide" if optimizer.divide else "multiply"
        return {"rate": solve_step(optimizer, before, directions, decay), "lb": optimizer.lb}

    options = {"betas": (b1, b2)} | bounds(**options)
    build = functools.partial(MomoAdam, lr=first(learning_rate), **options)
    return Peer(build, learning_rate, step=step_with_loss, read=read)


def alig(max_learning_rate=None, **options):
    import torch
    from pytorch_optimizer.optimizer import alig as module

    def squared_norm(groups):  # in float64, where the package has float32
        return torch.stack([(p.grad**2).sum() for g in groups for p in g["params"]]).sum()

    module.get_global_gradient_norm = squared_norm

    def step(optimizer, loss):
        optimizer.step(lambda: float(loss))

    def read(optimizer, before):
        return {"rate": optimizer.param_groups[0]["step_size"]}

    build = functools.partial(module.AliG, max_lr=first(max_learning_rate), **options)
    return Peer(build, max_learning_rate, rate_name="max_lr", step=step, read=read)


# -- mechanic-pytorch, and the optimizers that are wrapped ---------------------------------------


def sgd(learning_rate, **options):
    from torch.optim import SGD

    return Peer(functools.partial(SGD, lr=first(learning_rate), **options), learning_rate)


def adamw(learning_rate, b1=0.9, b2=0.999, **options):
    from torch.optim import AdamW

    build = functools.partial(AdamW, lr=first(learning_rate), betas=(b1, b2), **options)
    return Peer(build, learning_rate)


def mechanize(peer, **options):
    from mechanic_pytorch import mechanize

    def read(optimizer, before):
        return {"s": optimizer.state["_mechanic"]["s"].sum()}

    def build(parameters):
        made = mechanize(peer.build.func, store_delta=True, **options)
        return made(parameters, **peer.build.keywords)

    return Peer(build, peer.rate, read=read)


# -- schedulefree --------------------------------------------------------------------------------


def read_x(optimizer, before):
    """The size of x, which is what the parameters are outside of training."""
    import torch

    parameters = optimizer.param_groups[0]["params"]
    y = [p.detach().clone() for p in parameters]
    optimizer.eval()
    sizes = size(parameters, "x_")
    optimizer.train()
    with torch.no_grad():
        for p, value in zip(parameters, y, strict=True):
            p.copy_(value)
    return sizes


def read_schedule_free(optimizer, before):
    rate = optimizer.param_groups[0]["scheduled_lr"]
    return {"scheduled_rate": rate} | read_x(optimizer, before)


def schedule_free_sgd(learning_rate, b1=0.9, **options):
    from schedulefree import SGDScheduleFree

    build = functools.partial(SGDScheduleFree, lr=first(learning_rate), momentum=b1, **options)
    return Peer(build, learning_rate, read=read_schedule_free)


def schedule_free_adamw(learning_rate, b1=0.9, b2=0.999, **options):
    from schedulefree import AdamWScheduleFree

    build = functools.partial(AdamWScheduleFree, lr=first(learning_rate), betas=(b1, b2), **options)
    return Peer(build, learning_rate, read=read_schedule_free)


def schedule_free_radam(learning_rate, b1=0.9, b2=0.999, **options):
    from schedulefree import RAdamScheduleFree

    build = functools.partial(RAdamScheduleFree, lr=first(learning_rate), betas=(b1, b2), **options)
    return Peer(build, learning_rate, read=read_schedule_free)


def schedule_free(peer, b1=0.9, **options):
    from schedulefree import ScheduleFreeWrapper

    def read(optimizer, before):
        return peer.read(optimizer, before) | read_x(optimizer, before)

    def build(parameters):
        return ScheduleFreeWrapper(peer.build(parameters), momentum=b1, **options)

    return replace(peer, build=build, read=read)


# -- parameterfree -------------------------------------------------------------------------------


def cocob(**options):
    from parameterfree import COCOB

    return Peer(functools.partial(COCOB, **options))


def kt(wealth=1e-4, **options):
    from parameterfree import KT

    return Peer(functools.partial(KT, w=wealth, **options))


# -- the recording -------------------------------------------------------------------------------


def size(arrays, prefix=""):
    """The sum and the norm of all the numbers of the arrays."""
    arrays = [array.detach() for array in arrays]
    total = sum(float(array.sum()) for array in arrays)
    squares = sum(float((array**2).sum()) for array in arrays)
    return {f"{prefix}sum": total, f"{prefix}norm": squares**0.5}


def trajectory(peer: Peer, steps: int, trained: problem.Problem) -> dict[str, list[float]]:
    import torch

    torch.set_default_dtype(torch.float64)
    torch.set_num_threads(1)
    functions = {
        "tanh": torch.tanh,
        "log_softmax": functools.partial(torch.log_softmax, dim=-1),
    }
    parameters = {
        name: torch.nn.Parameter(torch.tensor(value))
        for name, value in trained.parameters().items()
    }
    optimizer = peer.build(list(parameters.values()))
    optimizer.names = list(parameters)
    getattr(optimizer, "train", lambda: None)()
    series: dict[str, list[float]] = {}
    for step in range(steps):
        if callable(peer.rate):
            for group in optimizer.param_groups:
                group[peer.rate_name] = float(peer.rate(step))
        batch = map(torch.tensor, trained.batch(step))
        loss = trained.loss(parameters, *batch, **functions)
        optimizer.zero_grad()
        loss.backward()
        before = [p.detach().clone() for p in parameters.values()]
        peer.step(optimizer, loss)
        row = {"loss": loss, **size(parameters.values()), **peer.read(optimizer, before)}
        for name, value in row.items():
            value = value.item() if isinstance(value, torch.Tensor) else value
            series.setdefault(name, []).append(float(f"{value:.12g}"))
    return series


def record_package(package: str) -> dict:
    namespace = globals() | problem.RATES | {"inf": inf}
    with contextlib.redirect_stdout(io.StringIO()):  # "Using decoupled weight decay"
        calls = {
            call: trajectory(eval(call, namespace), steps, problem.DIGITS)
            for call, steps in CALLS[package].items()
        }
        convex = {
            call: trajectory(eval(call, namespace), CONVEX_STEPS, problem.CANCER)
            for call in of_every_method(package)
        }
    versions = {name: importlib.metadata.version(name) for name in (package, "torch")}
    return {"versions": versions, "calls": calls, "convex": convex}


def of_every_method(package: str) -> list[str]:
    """The first call of each method, and the first with a schedule."""
    calls: dict[tuple[str, bool], str] = {}
    for call in CALLS[package]:
        method = re.match(r"\w+(\(\w+\()?", call)[0]
        calls.setdefault((method, "warmup_cosine" in call), call)
    return list(calls.values())


# -- the rates that follow a metric --------------------------------------------------------------

PLATEAU_CALLS = [
    "transformers.GreedyLR(0.1)",
    "transformers.GreedyLR(0.1, patience=2)",
    "transformers.GreedyLR(0.1, patience=0, factor=0.9)",
    "transformers.GreedyLR(0.1, patience=1, factor=0.5, min_lr=1e-2, max_lr=0.3)",
    "transformers.GreedyLR(0.1, patience=2, mode='max')",
    "transformers.GreedyLR(0.1, patience=2, threshold=0.1, threshold_mode='rel')",
    "transformers.GreedyLR(0.1, patience=2, mode='max', threshold=0.1, threshold_mode='rel')",
    "transformers.GreedyLR(0.1, patience=2, threshold=0.05)",
    "transformers.GreedyLR(0.1, patience=1, factor=0.8, cooldown=3, warmup=2)",
    "transformers.GreedyLR(0.1, patience=1, factor=0.8, smooth=True, window_size=5)",
    "transformers.GreedyLR(0.1, patience=1, factor=0.5, min_lr=2e-2, reset_start=3)",
    "transformers.GreedyLR(0.1, patience=1, factor=0.5, min_lr=2e-2, reset_start=2, smooth=True, "
    "window_size=4, cooldown=1)",
    "torch.ReduceLROnPlateau(0.1)",
    "torch.ReduceLROnPlateau(0.1, factor=0.5, patience=2)",
    "torch.ReduceLROnPlateau(0.1, factor=0.5, patience=0)",
    "torch.ReduceLROnPlateau(0.1, mode='max', factor=0.5, patience=2)",
    "torch.ReduceLROnPlateau(0.1, factor=0.5, patience=2, threshold=0.1)",
    "torch.ReduceLROnPlateau(0.1, factor=0.5, patience=2, threshold=0.05, threshold_mode='abs')",
    "torch.ReduceLROnPlateau(0.1, mode='max', factor=0.5, patience=2, threshold=0.05, "
    "threshold_mode='abs')",
    "torch.ReduceLROnPlateau(0.1, factor=0.5, patience=2, cooldown=4)",
    "torch.ReduceLROnPlateau(0.1, factor=0.5, patience=1, min_lr=1e-2)",
    "torch.ReduceLROnPlateau(1e-5, factor=0.5, patience=0, eps=1e-6)",
    "keras.ReduceLROnPlateau(0.1, mode='min')",
    "keras.ReduceLROnPlateau(0.1, mode='min', factor=0.5, patience=2)",
    "keras.ReduceLROnPlateau(0.1, mode='min', factor=0.5, patience=0)",
    "keras.ReduceLROnPlateau(0.1, mode='min', factor=0.5, patience=1)",
    "keras.ReduceLROnPlateau(0.1, mode='max', factor=0.5, patience=2)",
    "keras.ReduceLROnPlateau(0.1, mode='min', factor=0.5, patience=2, min_delta=0.05)",
    "keras.ReduceLROnPlateau(0.1, mode='min', factor=0.5, patience=2, cooldown=4)",
    "keras.ReduceLROnPlateau(0.1, mode='min', factor=0.5, patience=2, min_lr=1e-2)",
    "optax.reduce_on_plateau()",
    "optax.reduce_on_plateau(factor=0.5, patience=2)",
    "optax.reduce_on_plateau(factor=0.5, patience=1)",
    "optax.reduce_on_plateau(factor=0.5, patience=0)",
    "optax.reduce_on_plateau(factor=0.5, patience=2, rtol=0.1)",
    "optax.reduce_on_plateau(factor=0.5, patience=2, rtol=0.0, atol=0.05)",
    "optax.reduce_on_plateau(factor=0.5, patience=2, cooldown=4)",
    "optax.reduce_on_plateau(factor=0.5, patience=2, min_scale=0.1)",
    "optax.reduce_on_plateau(factor=0.5, patience=2, accumulation_size=3)",
    "optax.reduce_on_plateau(factor=0.5, patience=1, rtol=0.1, cooldown=2, accumulation_size=2)",
]


def torch_rates(scheduler_class, rate, **options):
    import torch

    def rates(values):
        optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(()))], lr=rate)
        scheduler = scheduler_class(optimizer, **options)
        for value in values:
            scheduler.step(float(value))
            yield optimizer.param_groups[0]["lr"]

    return rates


def keras_rates(rate, **options):
    import os

    os.environ["KERAS_BACKEND"] = "jax"
    import keras

    def rates(values):
        optimizer = keras.optimizers.SGD(rate)
        callback = keras.callbacks.ReduceLROnPlateau(monitor="loss", **options)
        callback.set_model(types.SimpleNamespace(optimizer=optimizer))
        callback.on_train_begin()
        for epoch, value in enumerate(values):
            callback.on_epoch_end(epoch, {"loss": float(value)})
            yield optimizer.learning_rate

    return rates


def optax_rates(**options):
    import jax
    import optax

    transform = optax.contrib.reduce_on_plateau(**options)
    update = jax.jit(lambda value, state: transform.update(np.float32(1), state, value=value)[1])

    def rates(values):
        state = transform.init(np.float32(0))
        for value in values:
            state = update(np.float32(value), state)
            yield state.scale

    return rates


def record_transformers() -> dict:
    import torch
    import transformers

    plateau = torch.optim.lr_scheduler.ReduceLROnPlateau
    greedy = transformers.optimization.GreedyLR
    namespace = {
        "transformers": types.SimpleNamespace(GreedyLR=functools.partial(torch_rates, greedy)),
        "torch": types.SimpleNamespace(ReduceLROnPlateau=functools.partial(torch_rates, plateau)),
        "keras": types.SimpleNamespace(ReduceLROnPlateau=keras_rates),
        "optax": types.SimpleNamespace(reduce_on_plateau=optax_rates),
    }
    sequences = problem.metrics()
    calls: dict[str, dict[str, list[float]]] = {}
    for call in PLATEAU_CALLS:
        peer = eval(call, namespace)
        calls[call] = {
            name: [float(f"{float(rate):.12g}") for rate in peer(values)]
            for name, values in sequences.items()
        }
    names = ("transformers", "torch", "keras", "optax")
    return {"versions": {n: importlib.metadata.version(n) for n in names}, "calls": calls}


PACKAGES = [*CALLS, "transformers"]


def record(package: str) -> dict:
    return record_transformers() if package == "transformers" else record_package(package)


def differs(package: str) -> list[str]:
    """The calls whose numbers are no longer the recorded ones."""
    old, new = json.loads((NUMBERS / f"{package}.json").read_text()), record(package)
    return [
        f"{call} ({kind})"
        for kind in new.keys() - {"versions"}
        for call in sorted(old[kind].keys() | new[kind].keys())
        if not are_close(old[kind].get(call, {}), new[kind].get(call, {}))
    ]


def are_close(old: dict[str, list[float]], new: dict[str, list[float]]) -> bool:
    return old.keys() == new.keys() and all(
        np.allclose(old[name], new[name], rtol=1e-8, atol=1e-12, equal_nan=True) for name in old
    )


def write(package: str, recorded: dict) -> None:
    """One curve of a call a line."""
    text = json.dumps(recorded, indent=1).replace("\n    ", " ").replace("\n   ]", "]")
    (NUMBERS / f"{package}.json").write_text(text + "\n")


if __name__ == "__main__":
    sys.exit(command(sys.argv[1:], PACKAGES, record, differs, write))
