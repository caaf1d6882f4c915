"""Tables of calls of other libraries, with the ported call and its printed result."""

import ast
import importlib
import inspect
from collections.abc import Mapping, Sequence
from types import ModuleType
from typing import Any

import lrsched
from docs.generate.reference import markdown_table

RATE = 0.1
"""Learning rate of the optimizer in every call that depends on one."""
CALLS: Mapping[str, Sequence[str]] = {
    "optax": (
        "constant_schedule(0.1)",
        "linear_schedule(0.1, 0.0, transition_steps=1000)",
        "polynomial_schedule(0.1, 0.0, power=2, transition_steps=1000)",
        "cosine_decay_schedule(0.1, decay_steps=1000, alpha=0.5)",
        "exponential_decay(0.1, transition_steps=100, decay_rate=0.5)",
        "warmup_constant_schedule(0.0, 0.1, warmup_steps=100)",
        "warmup_cosine_decay_schedule(0.0, 0.1, warmup_steps=100, decay_steps=1000)",
        "warmup_exponential_decay_schedule(0.0, 0.1, warmup_steps=100, transition_steps=100, "
        "decay_rate=0.5)",
        "linear_onecycle_schedule(1000, peak_value=0.1)",
        "cosine_onecycle_schedule(1000, peak_value=0.1)",
        "piecewise_constant_schedule(0.1, {300: 0.5, 600: 0.5})",
        "piecewise_interpolate_schedule('linear', 0.1, {300: 0.5, 600: 0.5})",
        "join_schedules([linear_schedule(0.0, 0.1, 100), cosine_decay_schedule(0.1, 900)], [100])",
        "sgdr_schedule([{'init_value': 0.0, 'peak_value': 0.1, 'warmup_steps': 10, "
        "'decay_steps': 100}])",
    ),
    "torch": (
        "LambdaLR(optimizer, lambda epoch: 0.95**epoch)",
        "MultiplicativeLR(optimizer, lambda epoch: 0.95)",
        "StepLR(optimizer, step_size=30, gamma=0.5)",
        "MultiStepLR(optimizer, milestones=[30, 60])",
        "ConstantLR(optimizer, factor=0.5, total_iters=5)",
        "LinearLR(optimizer, start_factor=0.5, total_iters=5)",
        "ExponentialLR(optimizer, gamma=0.9)",
        "PolynomialLR(optimizer, total_iters=90, power=2.0)",
        "CosineAnnealingLR(optimizer, T_max=90)",
        "CosineAnnealingWarmRestarts(optimizer, T_0=10, T_mult=2)",
        "CyclicLR(optimizer, base_lr=0.01, max_lr=0.1, step_size_up=20)",
        "CyclicMomentum(base_momentum=0.8, max_momentum=0.9, step_size_up=20)",
        "OneCycleLR(optimizer, max_lr=0.1, total_steps=1000)",
        "OneCycleMomentum(total_steps=1000)",
        "SWALR(optimizer, swa_lr=0.05)",
        "SequentialLR(optimizer, [LinearLR(optimizer, 0.5, total_iters=5), "
        "CosineAnnealingLR(optimizer, 85)], milestones=[5])",
        "ChainedScheduler([LinearLR(optimizer, 0.5, total_iters=5), ExponentialLR(optimizer, "
        "0.9)])",
        "ReduceLROnPlateau(optimizer, factor=0.5, patience=5)",
    ),
    "timm": (
        "CosineLRScheduler(optimizer, t_initial=300, warmup_t=5, warmup_prefix=True)",
        "TanhLRScheduler(optimizer, t_initial=300)",
        "PolyLRScheduler(optimizer, t_initial=300, power=2.0)",
        "StepLRScheduler(optimizer, decay_t=30, decay_rate=0.5)",
        "MultiStepLRScheduler(optimizer, decay_t=[30, 60], decay_rate=0.5)",
        "WSDLRScheduler(optimizer, t_initial=300, decay_t=60, warmup_t=5)",
        "create_scheduler_v2(optimizer, sched='cosine', num_epochs=300)",
    ),
    "transformers": (
        "get_scheduler('linear', optimizer, num_warmup_steps=100, num_training_steps=1000)",
        "get_constant_schedule(optimizer)",
        "get_constant_schedule_with_warmup(optimizer, 100)",
        "get_linear_schedule_with_warmup(optimizer, 100, 1000)",
        "get_cosine_schedule_with_warmup(optimizer, 100, 1000)",
        "get_cosine_with_hard_restarts_schedule_with_warmup(optimizer, 100, 1000, num_cycles=4)",
        "get_cosine_with_min_lr_schedule_with_warmup(optimizer, 100, 1000, min_lr=0.01)",
        "get_cosine_with_min_lr_schedule_with_warmup_lr_rate(optimizer, 100, 1000, min_lr=0.01)",
        "get_polynomial_decay_schedule_with_warmup(optimizer, 100, 1000, power=2.0)",
        "get_inverse_sqrt_schedule(optimizer, 100)",
        "get_wsd_schedule(optimizer, 100, 200, num_training_steps=1000)",
        "get_reduce_on_plateau_schedule(optimizer, patience=5)",
        "get_greedy_schedule(optimizer, patience=5)",
        "GreedyLR(optimizer, patience=5)",
    ),
    "keras": (
        "ExponentialDecay(0.1, decay_steps=100, decay_rate=0.5)",
        "PiecewiseConstantDecay([300, 600], [0.1, 0.05, 0.01])",
        "PolynomialDecay(0.1, decay_steps=1000, power=2.0)",
        "InverseTimeDecay(0.1, decay_steps=100, decay_rate=0.5)",
        "CosineDecay(0.0, decay_steps=900, warmup_target=0.1, warmup_steps=100)",
        "CosineDecayRestarts(0.1, first_decay_steps=100)",
        "ReduceLROnPlateau(factor=0.5, patience=5)",
    ),
}
"""Calls as in a training script, one for each function, by library."""
MOMENTUM = {"CyclicMomentum": "CyclicLR", "OneCycleMomentum": "OneCycleLR"}
"""Functions without an original: the momentum that a scheduler of the library also changes."""


def table(library: str) -> str:
    """Return the Markdown table of a library: original call, ported call, result."""
    rows = []
    for call in CALLS[library]:
        name = call.partition("(")[0]
        original = f"the momentum of `{MOMENTUM[name]}`" if name in MOMENTUM else f"`{call}`"
        port, value = ported(library, call), evaluate(library, call)
        is_same = original == f"`{call}`" and port == ast.unparse(ast.parse(call))
        text = "the&nbsp;same" if is_same else f"`{port}`"
        result = f"`{value}`" if isinstance(value, lrsched.Schedule) else "a transform"
        rows.append((original, f"[{text}][lrsched.compat.{library}.{name}]", result))
    return markdown_table((library, "lrsched", "result"), rows)


def evaluate(library: str, call: str) -> Any:
    """Return the result of the ported call, without timm's number of epochs."""
    module = importlib.import_module(f"lrsched.compat.{library}")
    value = eval(ported(library, call), vars(module))
    is_pair = isinstance(value, tuple) and isinstance(value[0], lrsched.Schedule)
    return value[0] if is_pair else value


def ported(library: str, call: str) -> str:
    """Return the ported call, in which the rate replaces the optimizer."""
    module = importlib.import_module(f"lrsched.compat.{library}")
    return ast.unparse(_Ported(module).visit(ast.parse(call, mode="eval")))


class _Ported(ast.NodeTransformer):
    """Replace the optimizer with its rate, or remove it if the schedule sets the rate itself."""

    def __init__(self, module: ModuleType) -> None:
        self.module = module

    def visit_Call(self, call: ast.Call) -> ast.Call:
        self.generic_visit(call)
        parameters = list(
            inspect.signature(getattr(self.module, ast.unparse(call.func))).parameters
        )
        call.args = [each for each in call.args if ast.unparse(each) != "optimizer"]
        if "base_lr" in parameters and "base_lr" not in {word.arg for word in call.keywords}:
            call.args.insert(parameters.index("base_lr"), ast.Constant(RATE))
        return call
