"""Checks shared by the modules of all source libraries: names, arguments, data, errors."""

import importlib
import inspect
import json
import pickle
import subprocess
import sys
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import optax as _optax
import pytest

import lrsched
from lrsched.compat import LIBRARIES
from lrsched.expressions import parse
from tests.parity.record import NUMBERS

RECORDED = {library: json.loads((NUMBERS / f"{library}.json").read_text()) for library in LIBRARIES}
OURS = {library: importlib.import_module(f"lrsched.compat.{library}") for library in LIBRARIES}
FUNCTIONS = [
    (library, name)
    for library, recorded in RECORDED.items()
    for name in recorded["arguments"]
    if name in OURS[library].__all__
]
LACKING = [
    (library, name)
    for library, recorded in RECORDED.items()
    for name in recorded["arguments"]
    if name not in OURS[library].__all__
]
WITHOUT_BASE_LR = {"CyclicLR", "OneCycleLR"}
"""They set the rate themselves, so that the optimizer's own has no part in it."""


def schedules(library):
    """Every recorded call, ours."""
    namespace = dict(vars(OURS[library]))
    return {call: eval(call, namespace) for call in RECORDED[library]["calls"]}


@pytest.mark.parametrize(("library", "name"), FUNCTIONS)
def test_arguments_are_the_peers_in_its_order(library, name):
    theirs = RECORDED[library]["arguments"][name]
    if name in WITHOUT_BASE_LR:
        theirs.remove("optimizer")
    theirs = ["base_lr" if key == "optimizer" else key for key in theirs]
    if name == "ChainedScheduler":
        theirs.sort()
    assert list(inspect.signature(getattr(OURS[library], name)).parameters) == theirs


@pytest.mark.parametrize(("library", "name"), LACKING)
def test_a_name_of_the_peer_that_ours_lacks_says_what_to_use(library, name):
    with pytest.raises(AttributeError, match=rf"lrsched.compat.{library} has no '{name}'; .+\."):
        getattr(OURS[library], name)


@pytest.mark.parametrize("library", LIBRARIES)
def test_a_misspelt_name_gives_the_nearest(library):
    name = OURS[library].__all__[1]
    with pytest.raises(AttributeError, match=name):
        getattr(OURS[library], name[:-1] + "x")


@pytest.mark.parametrize("library", LIBRARIES)
def test_schedules_are_data(library):
    for call, schedule in schedules(library).items():
        if "lambda" not in call:
            text = json.dumps(lrsched.to_dict(schedule))
            assert lrsched.from_dict(json.loads(text)) == schedule, call
            assert pickle.loads(pickle.dumps(schedule)) == schedule, call


@pytest.mark.parametrize("library", LIBRARIES)
def test_every_recorded_call_compiles_with_a_traced_step(library):
    for call, schedule in schedules(library).items():
        program = str(jax.make_jaxpr(schedule)(jnp.int32(3)))
        assert "callback" not in program, call


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


@pytest.mark.parametrize("library", LIBRARIES)
def test_one_program_for_many_rates(library):
    make, rates = VMAPPED[library], np.float32([0.1, 0.3, 2.0])
    batched = jax.vmap(lambda rate: make(OURS[library], rate)(37))(rates)
    single = [make(OURS[library], float(rate))(37) for rate in rates]
    np.testing.assert_allclose(batched, single, rtol=1e-6)


@pytest.mark.parametrize("library", ["timm", "torch", "transformers"])
def test_one_program_for_many_lengths(library):
    make = {
        "timm": lambda steps: OURS["timm"].CosineLRScheduler(0.1, steps),
        "torch": lambda steps: OURS["torch"].OneCycleLR(0.1, steps, three_phase=True),
        "transformers": lambda steps: OURS["transformers"].get_linear_schedule_with_warmup(
            0.1, 5, steps
        ),
    }[library]
    batched = jax.vmap(lambda steps: make(steps)(11))(jnp.array([20, 30, 40]))
    np.testing.assert_allclose(batched, [make(steps)(11) for steps in (20, 30, 40)], rtol=1e-6)


BAD = [
    ("torch", "StepLR(0.1, 30, last_epoch=4)", "StepLR: last_epoch=4 .* left at -1"),
    ("torch", "StepLR(0.1, step_size=0)", "StepLR: step_size=0 .* 1 or more"),
    ("torch", "LinearLR(0.1, start_factor=0.0)", "LinearLR: start_factor=0.0 .* above 0"),
    ("torch", "LinearLR(0.1, end_factor=1.5)", "LinearLR: end_factor=1.5 .* from 0 to 1"),
    ("torch", "LambdaLR(0.1, lambda t: 1 if t < 5 else 0.1)", "jnp.where"),
    ("torch", "LambdaLR(0.1, [lambda t: 1])", "lr_lambda=.* for each parameter group"),
    ("torch", "MultiplicativeLR(0.1, lambda t: 0.9 if t > 7 else 1.0)", "lrsched.table"),
    ("torch", "LambdaLR(0.1, lambda: 1.0)", "calling it with a step fails"),
    ("torch", "LambdaLR(0.1, 0.5)", "lr_lambda=0.5 .* a function of the step"),
    ("torch", "MultiStepLR(0.1, [3, 8], gamma=[0.5, 0.3])", "gamma=.* parameter group"),
    ("torch", "OneCycleLR([3e-3, 1e-2], total_steps=90)", "max_lr=.* optax.partition"),
    ("torch", "CyclicLR(0.1, max_lr=(0.2, 0.3))", "max_lr=.* parameter group"),
    ("torch", "ReduceLROnPlateau(0.1, min_lr=[2e-3])", "min_lr=.* parameter group"),
    ("torch", "StepLR([0.1, -0.1], 30)", "base_lr=.* parameter group"),
    ("torch", "StepLR(optimizer=None, step_size=4)", "base_lr takes the place of the optimizer"),
    ("torch", "SequentialLR(0.1, [StepLR(0.1, 3), 0.05], [6])", r"write lrsched.constant\(0.05\)"),
    ("torch", "OneCycleLR(0.1)", "total_steps=None, epochs=None .* must be given"),
    ("torch", "OneCycleLR(0.1, 10, epochs=1, steps_per_epoch=10)", "total_steps=10, epochs=1"),
    ("torch", "OneCycleLR(0.1, 10, max_momentum=0.9)", "OneCycleMomentum"),
    ("torch", "OneCycleLR(0.1, 10, anneal_strategy='exp')", "one of 'cos', 'linear'"),
    ("torch", "CyclicLR(0.1, 1.0, base_momentum=0.5)", "CyclicMomentum"),
    ("torch", "MultiStepLR(0.1, [3.5])", "MultiStepLR: milestones"),
    ("torch", "SequentialLR(0.1, [StepLR(0.1, 3)], [4])", "1 schedulers and 1 milestones"),
    ("torch", "SequentialLR(0.1, [], [])", "SequentialLR: schedulers"),
    ("torch", "ChainedScheduler(0.1, [CyclicLR(0.1, 1.0)])", "CyclicLR sets the rate"),
    ("torch", "ChainedScheduler(0.1, [LambdaLR(0.1, lambda t: t)])", "LambdaLR sets the rate"),
    ("torch", "ChainedScheduler(0.1, [CosineAnnealingLR(0.1, 9, eta_min=0.01)])", "eta_min=0"),
    ("torch", "ChainedScheduler(0.1, [CosineAnnealingLR(0.1, 9)] * 2)", "at most one"),
    ("timm", "CosineLRScheduler(0.1, 100, noise_range_t=50)", "lrsched.noise"),
    ("timm", "CosineLRScheduler(0.1, t_initial=0)", "CosineLRScheduler: t_initial=0"),
    ("timm", "CosineLRScheduler(0.1, 10, cycle_mul=0.5)", "cycle_mul=0.5 .* 1 or more"),
    ("timm", "TanhLRScheduler(0.1, 10, lb=3.0)", "lb=3.0 .* lb must be below ub=3.0"),
    ("timm", "StepLRScheduler(0.1, decay_t=0)", "decay_t=0 .* above 0"),
    ("timm", "StepLRScheduler(0.1, decay_t=300000.1234)", "too fine"),
    ("timm", "MultiStepLRScheduler(0.1, [0, 3])", "decay_t=.* 1 or more"),
    ("timm", "WSDLRScheduler(0.1, 10, decay_t=11)", "decay_t must be at most t_initial=10"),
    ("timm", "WSDLRScheduler(0.1, 10, 5, lr_min=0.2)", "lr_min must be at most base_lr=0.1"),
    ("timm", "WSDLRScheduler(0.1, 10, 5, stable_fn='rsqrt')", "needs a stable_timescale"),
    ("timm", "WSDLRScheduler(0.1, 10, 5, decay_fn='sqrt')", "'power', 'exp', or a function"),
    ("timm", "create_scheduler_v2(0.1, 'plateau')", "one of 'cosine', 'tanh'"),
    ("timm", "create_scheduler_v2(0.1, step_on_epochs=False)", "needs updates_per_epoch"),
    ("timm", "create_scheduler_v2(0.1, noise=0.4)", "noise=0.4 .* left at None, .*lrsched.noise"),
    ("timm", "CosineLRScheduler(0.1, 90, lr_min=[0.0, 1e-4])", "lr_min=.* parameter group"),
    (
        "transformers",
        "get_linear_schedule_with_warmup(0.1, 10, 10)",
        "must be below num_training_steps=10",
    ),
    ("transformers", "get_linear_schedule_with_warmup(0.1, 0.1, 10)", "num_warmup_steps=0.1"),
    (
        "transformers",
        "get_cosine_with_hard_restarts_schedule_with_warmup(0.1, 0, 10**9, 3)",
        "num_cycles=3 .* the product with 1000000000 steps",
    ),
    (
        "transformers",
        "get_cosine_with_min_lr_schedule_with_warmup(0.1, 1, 9)",
        "min_lr=None and min_lr_rate=None",
    ),
    (
        "transformers",
        "get_polynomial_decay_schedule_with_warmup(0.1, 1, 9, lr_end=0.1)",
        "lr_end must be below base_lr=0.1",
    ),
    ("transformers", "get_wsd_schedule(0.1, 1, 2)", "num_stable_steps=None .* one of the two"),
    ("transformers", "get_wsd_schedule(0.1, 5, 5, 9)", "longer than num_training_steps=9"),
    ("transformers", "get_scheduler('greedy', 0.1)", "get_greedy_schedule after the optimizer"),
    (
        "transformers",
        "get_scheduler('reduce_lr_on_plateau', 0.1, 5)",
        "get_reduce_on_plateau_schedule after the optimizer",
    ),
    ("transformers", "get_scheduler('cosin', 0.1)", "one of 'linear', 'cosine'"),
    (
        "transformers",
        "get_scheduler('piecewise_constant', 0.1, step_rules='1:9,0.3')",
        "lrsched.piecewise_constant",
    ),
    ("transformers", "get_scheduler('polynomial', 0.1, 1, 9, power=2.0)", "specific_kwargs"),
    ("transformers", "get_scheduler('linear', 0.1, 10)", "num_training_steps"),
    ("transformers", "get_scheduler('cosine', 0.1, 1, 9, {'cycles': 2})", "'cycles'"),
    ("keras", "CosineDecay(0.1, 100, warmup_steps=10)", "must be 0 without a warmup_target"),
    ("keras", "CosineDecay(0.1, 100, name=3)", "name=3 .* a string"),
    ("keras", "ReduceLROnPlateau(0.1, monitor='val_perplexity')", "mode='min' or mode='max'"),
    ("keras", "PiecewiseConstantDecay([10], [0.1])", "1 values and 1 boundaries"),
    ("optax", "warmup_cosine_decay_schedule(0.0, 1.0, 10, 10)", "must be below decay_steps=10"),
    ("optax", "piecewise_constant_schedule(1.0, {10: -0.5})", "factors of 0 or more"),
    ("optax", "piecewise_interpolate_schedule('cubic', 1.0)", "one of 'linear', 'cosine'"),
    ("optax", "join_schedules([constant_schedule(1.0)], [3])", "1 schedules and 1 boundaries"),
]


@pytest.mark.parametrize(("library", "call", "message"), BAD)
def test_bad_arguments_are_named_as_the_peer_names_them(library, call, message):
    with pytest.raises(ValueError, match=message):
        eval(call, dict(vars(OURS[library])))


OPTIMIZERS = {"optax": _optax.sgd(0.1), "PyTorch": SimpleNamespace(param_groups=[])}


@pytest.mark.parametrize("optimizer", OPTIMIZERS.values(), ids=OPTIMIZERS)
@pytest.mark.parametrize(
    ("library", "name"), [("torch", "StepLR"), ("torch", "OneCycleLR"), ("timm", "PolyLRScheduler")]
)
def test_an_optimizer_in_first_place_is_told_apart(library, name, optimizer):
    with pytest.raises(ValueError, match=f"pass its learning rate, as in {name}"):
        getattr(OURS[library], name)(optimizer, 30)


@pytest.mark.parametrize(
    ("library", "call", "same"),
    [
        ("torch", "StepLR(0.2, 7, verbose=True)", "StepLR(0.2, 7)"),
        ("torch", "ReduceLROnPlateau(0.2, verbose='deprecated').init", "ReduceLROnPlateau(0.2)"),
        ("keras", "CosineDecay(0.2, 70, name='mine')", "CosineDecay(0.2, 70)"),
        ("timm", "StepLRScheduler(0.2, 7, initialize=False)", "StepLRScheduler(0.2, 7)"),
        (
            "timm",
            "create_scheduler_v2(0.2, patience_epochs=3, plateau_mode='min')",
            "create_scheduler_v2(0.2)",
        ),
    ],
)
def test_what_does_not_change_the_rate_is_accepted(library, call, same):
    schedule, expected = (eval(text, dict(vars(OURS[library]))) for text in (call, same))
    if not callable(schedule) or isinstance(schedule, lrsched.Schedule):
        assert schedule == expected


@pytest.mark.parametrize("library", LIBRARIES)
def test_every_recorded_call_prints_an_expression_of_itself(library):
    for call, schedule in schedules(library).items():
        if "lambda" not in call:
            assert parse(repr(schedule)) == schedule, call


@pytest.mark.parametrize("library", LIBRARIES)
def test_json_is_read_in_a_process_that_imported_nothing_else(library):
    written = [
        lrsched.to_dict(schedule)
        for call, schedule in schedules(library).items()
        if "lambda" not in call
    ]
    names = {data["schedule"] for data in written if "." in data["schedule"]}
    one_of_each = [next(d for d in written if d["schedule"] == name) for name in sorted(names)]
    program = (
        "import json, sys, lrsched\n"
        "for data in json.load(sys.stdin):\n"
        "    print(lrsched.from_dict(data))"
    )
    shown = subprocess.run(
        [sys.executable, "-c", program],
        input=json.dumps(one_of_each),
        capture_output=True,
        text=True,
        check=True,
    ).stdout.splitlines()
    assert shown == [repr(lrsched.from_dict(data)) for data in one_of_each]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("CosineAnnealingLR", "it is lrsched.compat.torch.CosineAnnealingLR"),
        ("get_wsd_schedule", "it is lrsched.compat.transformers.get_wsd_schedule"),
        ("cosin", "the nearest are cosine"),
        ("qqqqq", "lrsched.__all__ has all names"),
    ],
)
def test_a_name_that_the_top_level_lacks_says_where_it_is(name, message):
    with pytest.raises(AttributeError, match=message):
        getattr(lrsched, name)


@pytest.mark.parametrize("decay_steps", [10.0, 2.0**31, 1e37])
@pytest.mark.parametrize("exponent", [0.1, 1.0, 1.7])
def test_an_endless_cosine_is_finite_at_and_after_its_end(decay_steps, exponent):
    schedule = parse(f"optax.endless_cosine(1.0, {decay_steps}, 0.1, {exponent})")
    rates = np.asarray(schedule(np.array([0, 5, 10, 11, 1000, 2**31 - 1])))
    assert np.all((rates >= np.float32(0.1)) & (rates <= 1))
    assert decay_steps > 2**31 or np.all(rates[-1:] <= 0.1001)
