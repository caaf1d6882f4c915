import pytest

import lrsched
from lrsched.compat import keras, timm, torch, transformers
from lrsched.expressions import parse, parse_call
from lrsched.scaling.batches import ramped_rate
from tests import catalogue

LINEAR = transformers.get_linear_schedule_with_warmup(0.1, 10, 100)


def _is_plain(case):
    return "<lambda>" not in repr(case.schedule)


@pytest.mark.parametrize("case", list(filter(_is_plain, catalogue.cases(1000))), ids=catalogue.name)
def test_what_a_schedule_prints_is_an_expression_of_it(case):
    assert parse(repr(case.schedule)) == case.schedule


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "warmup(500) * 3e-4 >> cosine(3e-4, steps=10_000 - 500)",
            lrsched.warmup(500) * 3e-4 >> lrsched.cosine(3e-4, steps=9500),
        ),
        ("lrsched.linear(1, 0, steps=10**3)", lrsched.linear(1.0, 0.0, 1000)),
        ("0.1", lrsched.constant(0.1)),
        ("torch.StepLR(0.1, 30)", torch.StepLR(0.1, 30)),
        ("maximum(rex(1.0, 100), 0.2) + 0.1", lrsched.maximum(lrsched.rex(1.0, 100), 0.2) + 0.1),
        (
            "lrsched.ramped_rate(2.0, starts=[0], positions=[0], multiples=[4], steps=7)",
            ramped_rate(2.0, starts=[0], positions=[0], multiples=[4], steps=7),
        ),
    ],
)
def test_the_algebra_is_read(text, expected):
    assert parse(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "__import__('os').system('true')",
        "cosine.__globals__",
        "(lambda: 1)()",
        "cosine(1.0, steps=[n for n in range(9)][0])",
        "'a' * 10**9",
        "9**9**9",
        "1 >> 2",
        "cosine(1.0, **{'steps': 10})",
        "cosine(1.0, steps)",
        "cosine(1.0",
        "",
        "cosine(1.0, 10); cosine(1.0, 10)",
        "import os",
        "torch.np.ones(3)",
        "linear(1, 0, steps=1/0)",
        "(" * 5000,
    ],
)
def test_nothing_else_is_read(text):
    with pytest.raises(ValueError, match=r"."):
        parse(text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("'cosine(1.0, 5)'", "it is a string; write the call without quotes"),
        ("constant(value=2, value=3)", "constant: value is passed twice"),
        ("from_function('sin')", "function='sin' is not accepted; .* a function of the step"),
        ("from_function(len)", "'len' is not accepted, as the value of a name"),
        ("cosine(lr=1e-3, steps=70)", "lr is called peak here"),
        ("linear(0.3, 0.0, T_max=70)", "T_max is called steps here"),
        ("cosine(1e-3, step=70)", "step is called steps here"),
        ("int('3')", "'3' is not accepted|\"'3'\" is not accepted"),
    ],
)
def test_a_refusal_names_the_remedy(text, message):
    with pytest.raises(ValueError, match=message):
        parse(text)


@pytest.mark.parametrize(
    ("library", "call", "expected"),
    [
        *(
            ("transformers", f"get_scheduler({start}, num_training_steps=100)", LINEAR)
            for start in (
                "'linear', optimizer, 10",
                "'linear', optimizer=optimizer, num_warmup_steps=10",
                "name='linear', optimizer=optimizer, num_warmup_steps=10",
            )
        ),
        ("torch", "CosineAnnealingLR(T_max=50)", torch.CosineAnnealingLR(0.1, T_max=50)),
        (
            "torch",
            "lr_scheduler.SequentialLR(optimizer, [ConstantLR(optimizer, 0.1, 20), "
            "ExponentialLR(optimizer, gamma=0.9)], milestones=[20])",
            torch.SequentialLR(
                0.1,
                [torch.ConstantLR(0.1, 0.1, 20), torch.ExponentialLR(0.1, 0.9)],
                milestones=[20],
            ),
        ),
        ("torch", "OneCycleLR(optimizer, 0.3, 50)", torch.OneCycleLR(0.3, 50)),
        ("torch", "StepLR(self.optimizer, 70 // 9)", torch.StepLR(0.1, 7)),
        (
            "torch",
            "ExponentialLR(model.base_optimizer, 0.7)",
            torch.ExponentialLR(0.1, 0.7),
        ),
        ("torch", "StepLR(optimizer=self.opt, step_size=3)", torch.StepLR(0.1, 3)),
        (
            "torch",
            "PolynomialLR(optimizer, int(0.35 * 420), power=max(1, 2.5))",
            torch.PolynomialLR(0.1, 147, power=2.5),
        ),
        (
            "torch",
            "LinearLR(optimizer, total_iters=round(math.ceil(7.1) % 5))",
            torch.LinearLR(0.1, total_iters=3),
        ),
        (
            "torch",
            "{'scheduler': StepLR(self.optimizer, 4), 'interval': 'epoch', 'monitor': 'val_loss'}",
            torch.StepLR(0.1, 4),
        ),
        (
            "torch",
            "{'scheduler': StepLR(self.optimizer, 4), 'frequency': 6}",
            lrsched.staircase(torch.StepLR(0.1, 4), every=6),
        ),
        ("torch", "scheduler = StepLR(optimizer, 3)\n", torch.StepLR(0.1, 3)),
        (
            "timm",
            "create_scheduler_v2(optimizer, sched='cosine', num_epochs=9)",
            timm.create_scheduler_v2(0.1, sched="cosine", num_epochs=9)[0],
        ),
        (
            "keras",
            "keras.optimizers.schedules.CosineDecay(0.1, 100)",
            keras.CosineDecay(0.1, 100),
        ),
        (
            "optax",
            "optax.piecewise_constant_schedule(1.0, {10: 0.5})",
            lrsched.piecewise_constant([1.0, 0.5], [10]),
        ),
        (
            "transformers",
            "get_linear_schedule_with_warmup(optimizer, 10, 100)",
            lrsched.linear(0.0, 0.1, 10) >> lrsched.linear(0.1, 0.0, 90),
        ),
    ],
)
def test_a_call_of_a_library_becomes_ours(library, call, expected):
    assert parse_call(call, library, base_lr=0.1) == expected


@pytest.mark.parametrize(
    ("library", "call", "message"),
    [
        ("torch", "ReduceLROnPlateau(optimizer)", "follows a metric"),
        ("torch", "LambdaLR(optimizer, lambda t: 0.9**t)", "'lambda t: 0.9\\*\\*t' is not"),
        ("torch", "StepLR(optimizer, epochs)", "'epochs' is not accepted, as the value of a name"),
        ("torch", "StepLR(self.hparams.lr, 3)", "'self.hparams.lr' is not accepted, as the value"),
        ("torch", "StepLR(args, 3)", "the optimizer may be left out"),
        ("torch", "{'sched': StepLR(optimizer, 3)}", "a dictionary without a 'scheduler'"),
        ("torch", "[StepLR(optimizer, 3), StepLR(optimizer, 4)]", "it is a list; write one call"),
        ("torch", "'StepLR'", "it is a string; write one call"),
        ("torch", "StepLR(optimizer, step_size=3, step_size=4)", "step_size is passed twice"),
        ("torch", "{'scheduler': StepLR(3), 'scheduler': StepLR(4)}", "has a key twice"),
        ("torch", "StepLR(optimizer, 9 // 0)", "division by zero|modulo by zero"),
        ("torch", "CosineLR(T_max=5)", "has no 'CosineLR'; the nearest are"),
        ("torch", "StepLR(optimizer)", "step_size"),
        ("jax", "f()", "library='jax' is not accepted"),
    ],
)
def test_what_has_no_schedule_says_why(library, call, message):
    with pytest.raises(ValueError, match=message):
        parse_call(call, library)


@pytest.mark.parametrize(
    "text",
    [
        "    return StepLR(optimizer, 40)",
        "self.scheduler: LRScheduler = StepLR(optimizer, 40)",
        "return [optimizer], [StepLR(optimizer, 40)]",
        "return {'optimizer': optimizer, 'lr_scheduler': StepLR(optimizer, 40)}",
        "{'optimizer': opt, 'lr_scheduler': {'scheduler': StepLR(opt, 40), 'interval': 'step'}}",
        "dict(scheduler=StepLR(optimizer, 40), interval='epoch')",
        "StepLR(torch.optim.AdamW(model.parameters(), lr=3e-4), 40)",
    ],
)
def test_what_a_training_script_returns_is_read(text):
    assert parse_call(text, "torch", base_lr=0.3) == lrsched.step_decay(0.3, 0.1, every=40)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{'scheduler': StepLR(optimizer, 3), 'interval': 'batch'}", "interval='batch' is not"),
        ("StepLR(optimizer, 3, gamma=math.sqrt(-2))", "'math.sqrt\\(-2\\)' is not accepted"),
        ("StepLR(optimizer, " + "7" * 9000 + ")", "an integer has too many digits"),
        ("StepLR(optimizer, \udc80)", "it has an invalid character"),
        ("[" + "StepLR(optimizer, 3), " * 200 + "]", "at most 128 calls"),
        (7, "7 is not accepted; an expression must be a string"),
        (b"StepLR(3)", "an expression must be a string"),
    ],
)
def test_hostile_texts_are_refused_in_one_short_line(text, message):
    for read in (lambda: parse_call(text, "torch"), lambda: parse(text)):
        with pytest.raises(ValueError, match=r"(?s).+") as error:
            read()
        assert "\n" not in str(error.value)
        assert len(str(error.value)) < 600
    with pytest.raises(ValueError, match=message):
        parse_call(text, "torch")
