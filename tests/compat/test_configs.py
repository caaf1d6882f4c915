"""Configuration sections against the trainers' formulas, in float64, at every update."""

import json
import math
from argparse import Namespace

import numpy as np
import pytest

import lrsched
from lrsched.compat.configs import from_deepspeed, from_megatron, from_olmo, from_torchtitan
from lrsched.expressions import parse


def assert_rates(schedule, formula, until):
    expected = np.array([formula(t) for t in range(until)])
    np.testing.assert_allclose(schedule(np.arange(until)), expected, rtol=2e-6, atol=1e-9)
    assert lrsched.from_dict(json.loads(json.dumps(lrsched.to_dict(schedule)))) == schedule
    assert parse(repr(schedule)) == schedule


# DeepSpeed: the rate is set when the scheduler is made (last_batch_iteration = -1), then for
# iteration 0, 1, ... after updates 0, 1, ...


def deepspeed_rise(i, steps, kind):
    return math.log(i + 1) / math.log(steps) if kind == "log" else i / steps


@pytest.mark.parametrize("kind", ["log", "linear"])
@pytest.mark.parametrize("warmup", [1, 2, 13])
def test_deepspeed_warmup(kind, warmup):
    low, high, steps = 2e-4, 7e-3, max(2, warmup)

    def formula(t):
        i = max(t - 1, 0)
        gamma = deepspeed_rise(i, steps, kind) if i < steps else 1.0
        return low + (high - low) * gamma

    params = {"warmup_min_lr": low, "warmup_num_steps": warmup, "warmup_type": kind}
    block = {"type": "WarmupLR", "params": params}
    config = {"optimizer": {"type": "AdamW", "params": {"lr": high}}, "scheduler": block}
    assert_rates(from_deepspeed(config), formula, 30)
    params["warmup_max_lr"] = high
    assert from_deepspeed(block) == from_deepspeed(config)


@pytest.mark.parametrize("kind", ["log", "linear"])
@pytest.mark.parametrize(("warmup", "total"), [(13, 40), (9, 9), (12, 7)])
def test_deepspeed_warmup_decay(kind, warmup, total):
    low, high = 2e-4, 7e-3

    def formula(t):
        i = max(t - 1, 0)
        left = max(0.0, (total - i) / max(1.0, total - warmup))
        return low + (high - low) * (deepspeed_rise(i, warmup, kind) if i < warmup else left)

    params = {
        "total_num_steps": total,
        "warmup_min_lr": low,
        "warmup_max_lr": high,
        "warmup_num_steps": warmup,
        "warmup_type": kind,
    }
    assert_rates(from_deepspeed({"type": "WarmupDecayLR", "params": params}), formula, 60)


@pytest.mark.parametrize(("warmup", "total"), [(13, 40), (9, 9)])
def test_deepspeed_warmup_cosine(warmup, total):
    peak, first, last = 7e-3, 0.2, 0.05

    def formula(t):
        i = t - 1
        if i < 0:
            return 0.0
        if i < warmup:
            return peak * (first + (1 - first) * deepspeed_rise(i, warmup, "log"))
        progress = min(1.0, (i - warmup + 1) / max(1, total - warmup))
        return peak * (last + (1 - last) * (1 + math.cos(math.pi * progress)) / 2)

    params = {
        "total_num_steps": total,
        "warmup_min_ratio": first,
        "warmup_num_steps": warmup,
        "cos_min_ratio": last,
    }
    schedule = from_deepspeed({"type": "WarmupCosineLR", "params": params}, base_lr=peak)
    assert_rates(schedule, formula, 60)


@pytest.mark.parametrize("stairs", [(0, None), (3, None), (4, 2), (3, 0), (40, 40)])
@pytest.mark.parametrize(("up", "down"), [(12, None), (12, 7), (7, 0)])
@pytest.mark.parametrize("decay", [(0.0, 0), (0.3, 5)])
def test_deepspeed_one_cycle(stairs, up, down, decay):
    low, high = 1e-3, 9e-3
    second, total = up if down is None else down, up + (up if down is None else down)
    up_stairs, down_stairs = stairs[0], stairs[0] if stairs[1] is None else stairs[1]
    rate, every = decay

    def formula(t):
        if t > total:
            return low / (1 + rate * (t - total) / every) if every and rate else low
        place = t % total
        if place <= up:
            scale = place / up
            scale = math.floor(place * up_stairs / up) / up_stairs if up_stairs else scale
        else:
            scale = (total - place) / second
            if down_stairs:
                scale = math.floor((total - place) * down_stairs / second) / down_stairs
        return low + (high - low) * scale

    params = {
        "cycle_min_lr": low,
        "cycle_max_lr": high,
        "cycle_first_step_size": up,
        "cycle_first_stair_count": stairs[0],
        "decay_lr_rate": rate,
        "decay_step_size": every,
        "cycle_momentum": False,
    }
    if down is not None:
        params["cycle_second_step_size"] = down
    if stairs[1] is not None:
        params["cycle_second_stair_count"] = stairs[1]
    assert_rates(from_deepspeed({"type": "OneCycle", "params": params}), formula, 50)


@pytest.mark.parametrize("staircase", [False, True])
def test_deepspeed_range_test(staircase):
    def formula(t):
        return 3e-4 * (1 + 1.5 * (t // 7 if staircase else t / 7))

    params = {
        "lr_range_test_min_lr": 3e-4,
        "lr_range_test_step_size": 7,
        "lr_range_test_step_rate": 1.5,
        "lr_range_test_staircase": staircase,
    }
    assert_rates(from_deepspeed({"type": "LRRangeTest", "params": params}), formula, 40)


# Megatron-LM: update t has the rate at num_steps = t * global_batch_size.


def megatron(t, style, peak, low, init, warmup, total, annealing=None, annealing_style=None):
    if warmup > 0 and t <= warmup:
        return init + (peak - init) * t / warmup
    if style == "constant":
        return peak
    if t > total:
        return low
    if style == "inverse-square-root":
        return max(low, peak * max(warmup, 1) ** 0.5 / max(t, 1) ** 0.5)
    x = (t - warmup) / (total - warmup)
    if style == "WSD":
        x = max(t - (total - annealing), 0) / annealing
        coefficient = {
            "linear": 1 - x,
            "cosine": 0.5 * (math.cos(math.pi * x) + 1),
            "exponential": 2 * 0.5**x - 1,
            "minus_sqrt": 1 - math.sqrt(x),
        }[annealing_style]
    else:
        coefficient = {"linear": 1 - x, "cosine": 0.5 * (math.cos(math.pi * x) + 1)}[style]
    return low + coefficient * (peak - low)


@pytest.mark.parametrize("style", ["constant", "linear", "cosine", "inverse-square-root"])
@pytest.mark.parametrize(("warmup", "low"), [(0, 0.0), (9, 6e-4), (1, 2e-3)])
def test_megatron(style, warmup, low):
    init = 1e-4 if warmup else 0.0
    arguments = Namespace(
        lr=3e-3,
        min_lr=low,
        lr_decay_style=style,
        lr_warmup_iters=warmup,
        lr_warmup_init=init,
        lr_decay_iters=31,
        train_iters=50,
        lr_warmup_fraction=None,
        weight_decay=0.1,
    )
    schedule = from_megatron(arguments)
    assert_rates(schedule, lambda t: megatron(t, style, 3e-3, low, init, warmup, 31), 50)


@pytest.mark.parametrize("annealing", ["exponential", "linear", "cosine", "minus_sqrt"])
def test_megatron_wsd_in_samples(annealing):
    arguments = {
        "--lr": 3e-3,
        "--min-lr": 3e-4,
        "--lr-decay-style": "WSD",
        "--lr-wsd-decay-style": annealing,
        "--lr-wsd-decay-samples": 1_100,
        "--lr-warmup-fraction": 0.2,
        "--train-samples": 4_000,
        "--global-batch-size": 100,
    }
    schedule = from_megatron(arguments)
    assert_rates(
        schedule,
        lambda t: megatron(t, "WSD", 3e-3, 3e-4, 0.0, 8, 40, 11, annealing),
        60,
    )


# torchtitan: LambdaLR with an index that is one ahead in the warmup and in the decay.


@pytest.mark.parametrize("decay_type", ["linear", "sqrt", "cosine"])
@pytest.mark.parametrize(
    ("warmup", "ratio"), [(7, 0.3), (7, None), (0, 0.25), (1, None), (30, 0.5), (90, None)]
)
def test_torchtitan(decay_type, warmup, ratio):
    peak, total, low = 8e-4, 40, 0.1
    rise = min(warmup, total)
    decay = total - rise if ratio is None else min(round(total * ratio), total - rise)

    def formula(t):
        stable = total + 1 - rise - decay
        if t < rise:
            return peak * (t + 1) / rise
        if t < rise + stable:
            return peak
        x = (t + 1 - rise - stable) / decay
        left = {
            "linear": 1 - x,
            "sqrt": 1 - math.sqrt(x),
            "cosine": 0.5 * (1 + math.cos(math.pi * x)),
        }[decay_type]
        return peak * (low + (1 - low) * left)

    table = {"warmup_steps": warmup, "decay_type": decay_type, "min_lr_factor": low}
    if ratio is not None:
        table["decay_ratio"] = ratio
    config = {"optimizer": {"lr": peak}, "training": {"steps": total}, "lr_scheduler": table}
    assert_rates(from_torchtitan(config), formula, total)
    shorter = from_torchtitan({**table, "total_steps": total}, base_lr=peak, steps=9)
    assert shorter == from_torchtitan(config)


# OLMo-core: the trainer counts an update before it sets its rate, so that update t is at t + 1.

PEAK = 6e-3


def olmo(name, n, total, warmup, low=0.0, alpha=0.1, decay=0, decay_low=0.0):
    end = PEAK * alpha

    def cosine(m):
        if m >= total:
            return end
        return end + (PEAK - end) * (1 + math.cos(math.pi * (m - warmup) / (total - warmup))) / 2

    top = end + (PEAK - end) / 2 if name == "HalfCosWithWarmup" else PEAK
    if n <= warmup:
        return low + (top - low) * n / warmup
    if name == "ConstantWithWarmup":
        return PEAK
    if name == "InvSqrtWithWarmup":
        return end + (PEAK - end) * math.sqrt(warmup / n)
    if name in ("WSD", "CosWithWarmupAndLinearDecay") and n >= total - decay:
        start = PEAK if name == "WSD" else cosine(total - decay)
        return decay_low + (start - decay_low) * (total - n) / decay
    if name == "WSD":
        return PEAK
    if name == "LinearWithWarmup":
        return PEAK - (PEAK - end) * min((n - warmup) / (total - warmup), 1)
    if name == "HalfCosWithWarmup":
        x = min((n - warmup + total - warmup) / (2 * (total - warmup)), 1)
        return end + (PEAK - end) * (1 + math.cos(math.pi * x)) / 2
    return cosine(n)


@pytest.mark.parametrize(
    ("name", "keys", "numbers"),
    [
        ("ConstantWithWarmup", {}, {}),
        ("WSD", {"decay_fraction": 0.3, "decay_min_lr": 1e-4}, {"decay": 12, "decay_low": 1e-4}),
        ("WSD", {}, {"decay": 4}),
        ("LinearWithWarmup", {"alpha_f": 0.25}, {"alpha": 0.25}),
        ("InvSqrtWithWarmup", {}, {}),
        ("CosWithWarmup", {}, {}),
        ("HalfCosWithWarmup", {"alpha_f": 0.0}, {"alpha": 0.0}),
        ("CosWithWarmupAndLinearDecay", {"decay": 9}, {"decay": 9}),
    ],
)
@pytest.mark.parametrize("warmup", [{"warmup": 8}, {"warmup_fraction": 0.2}, {"warmup_steps": 8}])
def test_olmo(name, keys, numbers, warmup):
    section = {"_CLASS_": f"olmo_core.optim.scheduler.{name}", "warmup_min_lr": 2e-5, **warmup}
    schedule = from_olmo(section | keys, PEAK, steps=40)
    assert_rates(schedule, lambda t: olmo(name, t + 1, 40, 8, low=2e-5, **numbers), 40)


def test_olmo_registered_names_tokens_and_a_length_of_its_own():
    section = {"type": "cos_with_warmup", "units": "tokens", "warmup": 8_000, "t_max": 30_000}
    schedule = from_olmo(section, PEAK, tokens_per_step=1_000)
    assert_rates(schedule, lambda t: olmo("CosWithWarmup", t + 1, 30, 8), 45)
    assert from_olmo({"type": "constant"}, PEAK)(77) == np.float32(PEAK)


BAD = [
    (lambda: from_deepspeed({"type": "Warmup", "params": {}}), "type='Warmup' .* 'WarmupLR'"),
    (lambda: from_deepspeed([]), "config=.* must be a mapping"),
    (lambda: from_deepspeed({"type": "WarmupDecayLR", "params": {}}), "total_num_steps is missing"),
    (
        lambda: from_deepspeed({"type": "WarmupLR", "params": {"warmup_max_lr": "auto"}}),
        "warmup_max_lr='auto' .* write the number",
    ),
    (lambda: from_deepspeed({"type": "WarmupLR", "params": {}}), "needs base_lr"),
    (
        lambda: from_deepspeed({"type": "WarmupLR", "params": {"warmup_max_lr": [0.1, 0.2]}}),
        "warmup_max_lr=.* one value for each parameter group",
    ),
    (
        lambda: from_deepspeed({"type": "WarmupLR", "params": {"last_batch_iteration": 7}}),
        "last_batch_iteration=7 .* step count is in the optimizer state",
    ),
    (lambda: from_deepspeed({"type": "WarmupLR", "params": {"steps": 7}}), "steps=7 .* the keys"),
    (
        lambda: from_deepspeed({"type": "WarmupLR", "params": {}}, base_lr=[0.1, 0.3]),
        "base_lr=.* one value for each parameter group",
    ),
    (lambda: from_olmo({"type": "constant"}, np.ones(2)), "base_lr=.* parameter group"),
    (lambda: from_torchtitan({"lr_scheduler": {}, "optimizer": 3}, steps=9), "base_lr=None"),
    (lambda: from_megatron({"lr": 0.1}), "train_iters or train_samples is missing"),
    (lambda: from_megatron({"train_iters": 9}), "lr is missing"),
    (
        lambda: from_megatron({"lr": 0.1, "train_iters": 9, "min-lr": 0.1, "min_lr": 0.01}),
        "given twice, with _ and with -",
    ),
    (lambda: from_megatron(7), "must be a mapping"),
    (lambda: from_megatron({"lr": 0.1, "lr_warmup": 3}), "lr_warmup=3 is not accepted"),
    (
        lambda: from_megatron({"lr": 0.1, "min_lr": 0.2, "train_iters": 9}),
        "min_lr=0.2 is not accepted; min_lr must be at most lr=0.1",
    ),
    (
        lambda: from_megatron({"lr": 0.1, "train_iters": 9, "lr_warmup_iters": 9}),
        "a warmup of 9 updates",
    ),
    (
        lambda: from_megatron({"lr": 0.1, "train_iters": 9, "lr_decay_samples": 90}),
        "must be passed as lr_decay_iters",
    ),
    (
        lambda: from_megatron({"lr": 0.1, "train_iters": 9, "lr_decay_style": "WSD"}),
        "needs lr_wsd_decay_iters",
    ),
    (lambda: from_megatron({"lr": 0.1, "train_samples": 900}), "needs global_batch_size"),
    (lambda: from_torchtitan({"warmup": 3}, 0.1, 9), "warmup=3 is not accepted; the keys are"),
    (lambda: from_torchtitan({"lr_scheduler": {}}, 0.1), "steps=None is not accepted"),
    (lambda: from_torchtitan({}, steps=9), "base_lr=None is not accepted"),
    (lambda: from_olmo({"type": "wsds"}, 0.1, 9), "'wsds' is not accepted; .* a >> b"),
    (lambda: from_olmo({"type": "wsd"}, 0.1, 9), "no warmup is not accepted"),
    (
        lambda: from_olmo({"type": "wsd", "warmup": 2, "warmup_fraction": 0.2}, 0.1, 9),
        "warmup, warmup_fraction is not accepted",
    ),
    (lambda: from_olmo({"type": "cos_with_warmup", "warmup": 2}, 0.1), "steps=None"),
    (lambda: from_olmo({"type": "cos_with_warmup", "warmup": 9}, 0.1, 9), "a warmup of 9 updates"),
    (
        lambda: from_olmo({"type": "constant_with_warmup", "warmup": 2, "units": "tokens"}, 0.1),
        "tokens_per_step=None",
    ),
]


@pytest.mark.parametrize(("convert", "message"), BAD)
def test_a_section_that_is_not_accepted_names_the_key(convert, message):
    with pytest.raises(ValueError, match=message):
        convert()


@pytest.mark.parametrize("low", [0.0, 1.0])
def test_an_enormous_rise_of_a_range_test_stays_finite(low):
    params = {"lr_range_test_min_lr": low, "lr_range_test_step_rate": 1e30}
    schedule = from_deepspeed({"type": "LRRangeTest", "params": params})
    rates = np.asarray(schedule(np.array([0, 1_000_000_000, 2**31 - 1])))
    assert np.all(np.isfinite(rates))
    assert np.all(np.diff(rates) >= 0)
