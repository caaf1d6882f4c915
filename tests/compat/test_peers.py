"""What all peers' modules have in common: names, arguments, data, errors."""

import importlib
import inspect
import json
import pickle

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import lrsched
from tests.parity.record import NUMBERS

PEERS = ["keras", "optax", "timm", "torch", "transformers"]
RECORDED = {peer: json.loads((NUMBERS / f"{peer}.json").read_text()) for peer in PEERS}
OURS = {peer: importlib.import_module(f"lrsched.compat.{peer}") for peer in PEERS}
FUNCTIONS = [
    (peer, name)
    for peer, recorded in RECORDED.items()
    for name in recorded["arguments"]
    if name in OURS[peer].__all__
]
LACKING = [
    (peer, name)
    for peer, recorded in RECORDED.items()
    for name in recorded["arguments"]
    if name not in OURS[peer].__all__
]
WITHOUT_BASE_LR = {"CyclicLR", "OneCycleLR"}
"""They set the rate themselves, so that the optimizer's own has no part in it."""


def schedules(peer):
    """Every recorded call, ours."""
    namespace = dict(vars(OURS[peer]))
    return {call: eval(call, namespace) for call in RECORDED[peer]["calls"]}


@pytest.mark.parametrize(("peer", "name"), FUNCTIONS)
def test_arguments_are_the_peers_in_its_order(peer, name):
    theirs = RECORDED[peer]["arguments"][name]
    if name in WITHOUT_BASE_LR:
        theirs.remove("optimizer")
    theirs = ["base_lr" if key == "optimizer" else key for key in theirs]
    if name == "ChainedScheduler":
        theirs.sort()
    assert list(inspect.signature(getattr(OURS[peer], name)).parameters) == theirs


@pytest.mark.parametrize(("peer", "name"), LACKING)
def test_a_name_of_the_peer_that_ours_lacks_says_what_to_use(peer, name):
    with pytest.raises(AttributeError, match=rf"lrsched.compat.{peer} has no '{name}'; .+\."):
        getattr(OURS[peer], name)


@pytest.mark.parametrize("peer", PEERS)
def test_a_misspelt_name_gives_the_nearest(peer):
    name = OURS[peer].__all__[1]
    with pytest.raises(AttributeError, match=name):
        getattr(OURS[peer], name[:-1] + "x")


@pytest.mark.parametrize("peer", PEERS)
def test_schedules_are_data(peer):
    for call, schedule in schedules(peer).items():
        if "lambda" not in call:
            text = json.dumps(lrsched.to_dict(schedule))
            assert lrsched.from_dict(json.loads(text)) == schedule, call
            assert pickle.loads(pickle.dumps(schedule)) == schedule, call


@pytest.mark.parametrize("peer", PEERS)
def test_every_recorded_call_compiles_with_a_traced_step(peer):
    for call, schedule in schedules(peer).items():
        text = jax.jit(schedule).lower(jnp.int32(3)).as_text()
        assert "callback" not in text, call


VMAPPED = {
    "keras": lambda keras, rate: keras.CosineDecay(
        0.0, 50, 0.1, warmup_target=rate, warmup_steps=9
    ),
    "optax": lambda optax, rate: optax.warmup_cosine_decay_schedule(0.0, rate, 10, 60),
    "timm": lambda timm, rate: timm.CosineLRScheduler(rate, 40, cycle_mul=1.5, warmup_t=5),
    "torch": lambda torch, rate: torch.ChainedScheduler(
        rate, [torch.LinearLR(rate, 0.1), torch.CosineAnnealingLR(rate, T_max=30)]
    ),
    "transformers": lambda hf, rate: hf.get_wsd_schedule(rate, 5, 20, 60, warmup_type="cosine"),
}


@pytest.mark.parametrize("peer", PEERS)
def test_one_program_for_many_rates(peer):
    make, rates = VMAPPED[peer], np.float32([0.1, 0.3, 2.0])
    batched = jax.vmap(lambda rate: make(OURS[peer], rate)(37))(rates)
    single = [make(OURS[peer], float(rate))(37) for rate in rates]
    np.testing.assert_allclose(batched, single, rtol=1e-6)


@pytest.mark.parametrize("peer", ["timm", "torch", "transformers"])
def test_one_program_for_many_lengths(peer):
    make = {
        "timm": lambda steps: OURS["timm"].CosineLRScheduler(0.1, steps),
        "torch": lambda steps: OURS["torch"].OneCycleLR(0.1, steps, three_phase=True),
        "transformers": lambda steps: OURS["transformers"].get_linear_schedule_with_warmup(
            0.1, 5, steps
        ),
    }[peer]
    batched = jax.vmap(lambda steps: make(steps)(11))(jnp.array([20, 30, 40]))
    np.testing.assert_allclose(batched, [make(steps)(11) for steps in (20, 30, 40)], rtol=1e-6)


BAD = [
    ("torch", "StepLR(0.1, 30, last_epoch=4)", "StepLR: last_epoch=4 .* left at -1"),
    ("torch", "StepLR(0.1, step_size=0)", "StepLR: step_size=0 .* from 1 to"),
    ("torch", "LinearLR(0.1, start_factor=0.0)", "LinearLR: start_factor=0.0 .* above 0"),
    ("torch", "LinearLR(0.1, end_factor=1.5)", "LinearLR: end_factor=1.5 .* from 0 to 1"),
    ("torch", "LambdaLR(0.1, lambda t: 1 if t < 5 else 0.1)", "jnp.where"),
    ("torch", "LambdaLR(0.1, [lambda t: 1])", "LambdaLR: lr_lambda=.* a function of the step"),
    ("torch", "OneCycleLR(0.1)", "total_steps=None, epochs=None .* must be given"),
    ("torch", "OneCycleLR(0.1, 10, epochs=1, steps_per_epoch=10)", "total_steps=10, epochs=1"),
    ("torch", "OneCycleLR(0.1, 10, max_momentum=0.9)", "OneCycleMomentum"),
    ("torch", "OneCycleLR(0.1, 10, anneal_strategy='exp')", "one of 'cos', 'linear'"),
    ("torch", "CyclicLR(0.1, 1.0, base_momentum=0.5)", "CyclicMomentum"),
    ("torch", "MultiStepLR(0.1, [3.5])", "MultiStepLR: milestones"),
    ("torch", "SequentialLR(0.1, [StepLR(0.1, 3)], [4])", "1 schedules and 1 boundaries"),
    ("torch", "SequentialLR(0.1, [], [])", "SequentialLR: schedulers"),
    ("torch", "ChainedScheduler(0.1, [CyclicLR(0.1, 1.0)])", "CyclicLR sets the rate"),
    ("torch", "ChainedScheduler(0.1, [LambdaLR(0.1, lambda t: t)])", "LambdaLR sets the rate"),
    ("torch", "ChainedScheduler(0.1, [CosineAnnealingLR(0.1, 9, eta_min=0.01)])", "eta_min=0"),
    ("torch", "ChainedScheduler(0.1, [CosineAnnealingLR(0.1, 9)] * 2)", "at most one"),
    ("timm", "CosineLRScheduler(0.1, 100, noise_range_t=50)", "lrsched.noise"),
    ("timm", "CosineLRScheduler(0.1, t_initial=0)", "CosineLRScheduler: t_initial=0"),
    ("timm", "CosineLRScheduler(0.1, 10, cycle_mul=0.5)", "cycle_mul=0.5 .* 1 or more"),
    ("timm", "TanhLRScheduler(0.1, 10, lb=3.0)", "lb=3.0 must be below ub=3.0"),
    ("timm", "StepLRScheduler(0.1, decay_t=0)", "decay_t=0 .* above 0"),
    ("timm", "StepLRScheduler(0.1, decay_t=300000.1234)", "too fine"),
    ("timm", "MultiStepLRScheduler(0.1, [0, 3])", "decay_t=.* 1 or more"),
    ("timm", "WSDLRScheduler(0.1, 10, decay_t=11)", "decay_t=11 must be at most 10"),
    ("timm", "WSDLRScheduler(0.1, 10, 5, lr_min=0.2)", "lr_min=0.2 must be at most 0.1"),
    ("timm", "WSDLRScheduler(0.1, 10, 5, stable_fn='rsqrt')", "needs a stable_timescale"),
    ("timm", "WSDLRScheduler(0.1, 10, 5, decay_fn='sqrt')", "'power', 'exp', or a function"),
    ("timm", "create_scheduler_v2(0.1, 'plateau')", "one of 'cosine', 'tanh'"),
    ("timm", "create_scheduler_v2(0.1, step_on_epochs=False)", "needs updates_per_epoch"),
    ("timm", "create_scheduler_v2(0.1, patience_epochs=3)", "patience_epochs=3 .* left at 10"),
    ("transformers", "get_linear_schedule_with_warmup(0.1, 10, 10)", "above num_warmup_steps=10"),
    ("transformers", "get_linear_schedule_with_warmup(0.1, 0.1, 10)", "num_warmup_steps=0.1"),
    (
        "transformers",
        "get_cosine_with_hard_restarts_schedule_with_warmup(0.1, 0, 10**9, 3)",
        "num_cycles=3 times 1000000000 steps",
    ),
    (
        "transformers",
        "get_cosine_with_min_lr_schedule_with_warmup(0.1, 1, 9)",
        "min_lr=None and min_lr_rate=None",
    ),
    (
        "transformers",
        "get_polynomial_decay_schedule_with_warmup(0.1, 1, 9, lr_end=0.1)",
        "lr_end=0.1 must be below base_lr=0.1",
    ),
    ("transformers", "get_wsd_schedule(0.1, 1, 2)", "num_stable_steps=None"),
    ("transformers", "get_wsd_schedule(0.1, 1, 2, 9, 6)", "num_stable_steps=6"),
    ("transformers", "get_wsd_schedule(0.1, 5, 5, 9)", "longer than num_training_steps=9"),
    ("transformers", "get_scheduler('greedy', 0.1)", "one of 'linear', 'cosine'"),
    ("transformers", "get_scheduler('linear', 0.1, 10)", "num_training_steps"),
    ("transformers", "get_scheduler('cosine', 0.1, 1, 9, {'cycles': 2})", "'cycles'"),
    ("keras", "CosineDecay(0.1, 100, warmup_steps=10)", "needs a warmup_target"),
    ("keras", "CosineDecay(0.1, 100, name='mine')", "name='mine' .* left at 'CosineDecay'"),
    ("keras", "PiecewiseConstantDecay([10], [0.1])", "1 values and 1 boundaries"),
    ("optax", "warmup_cosine_decay_schedule(0.0, 1.0, 10, 10)", "above warmup_steps=10"),
    ("optax", "piecewise_constant_schedule(1.0, {10: -0.5})", "factors of 0 or more"),
    ("optax", "piecewise_interpolate_schedule('cubic', 1.0)", "one of 'linear', 'cosine'"),
    ("optax", "join_schedules([constant_schedule(1.0)], [3])", "1 schedules and 1 boundaries"),
]


@pytest.mark.parametrize(("peer", "call", "message"), BAD)
def test_bad_arguments_are_named_as_the_peer_names_them(peer, call, message):
    with pytest.raises(ValueError, match=message):
        eval(call, dict(vars(OURS[peer])))
