import jax.numpy as jnp
import numpy as np
import pytest

import lrsched
from lrsched import scaling
from lrsched.scaling import RULES, Size, transfer
from tests.parity.frontier import cases

KEYS = ("learning_rate", "b1", "b2", "eps", "weight_decay")
FOUND = {"learning_rate": 1e-3, "b1": 0.9, "b2": 0.999, "eps": 1e-8, "weight_decay": 0.1}
SMALL = Size(batch=256, tokens=1e9, parameters=1e8, width=256, depth=4, dataset=1e5, flops=1e18)


def approx(expected, rtol):
    return pytest.approx(expected, rel=rtol)


@pytest.mark.parametrize(("inputs", "expected", "rtol"), cases("adam_sde"))
def test_the_square_root_rule_of_adam(inputs, expected, rtol):
    start = {"learning_rate": inputs["rate"], **{key: inputs[key] for key in ("b1", "b2", "eps")}}
    sizes = {"from_": Size(batch=64), "to": Size(batch=64 * inputs["kappa"]), "rule": "adam-sde"}
    if not expected["valid"]:
        with pytest.raises(ValueError, match=r"to.batch=1024 is not accepted .*b1 would be -0.6"):
            transfer(start, **sizes)
        return
    moved = transfer(start, **sizes).hyperparameters
    assert moved["learning_rate"] == approx(expected["rate"], rtol)
    assert {key: moved[key] for key in ("b1", "b2", "eps")} == {
        key: approx(expected[key], rtol) for key in ("b1", "b2", "eps")
    }


def test_the_square_root_rule_keeps_the_averaging_time_of_the_decay_in_epochs():
    to = SMALL._replace(batch=1024)
    moved = transfer(FOUND, from_=SMALL, to=to, rule="adam-sde").hyperparameters
    times = [
        scaling.decay_timescale(h["learning_rate"], h["weight_decay"], size.batch, size.dataset)
        for h, size in ((FOUND, SMALL), (moved, to))
    ]
    assert times[0] == pytest.approx(times[1])


@pytest.mark.parametrize(("inputs", "expected", "rtol"), cases("half_life"))
def test_half_lives(inputs, expected, rtol):
    if "decay" in inputs:
        assert scaling.half_life(**inputs) == approx(expected, rtol)
    else:
        assert scaling.decay_from_half_life(**inputs) == approx(expected, rtol)


@pytest.mark.parametrize(("inputs", "expected", "rtol"), cases("b2_at_batch"))
def test_b2_at_a_fixed_half_life(inputs, expected, rtol):
    to = SMALL._replace(batch=256 * inputs["ratio"])
    moved = transfer({"b2": inputs["b2"], "b1": 0.9}, from_=SMALL, to=to, rule="half-life")
    assert moved.hyperparameters["b2"] == approx(expected, rtol)
    assert moved.hyperparameters["b1"] == 0.9


@pytest.mark.parametrize(("inputs", "expected", "rtol"), cases("completep"))
def test_completep(inputs, expected, rtol):
    to = SMALL._replace(width=256 * inputs["width_ratio"], depth=4 * inputs["depth_ratio"])
    rule = "completep" if inputs["alpha"] == 1 else "completep-half"
    moved = transfer(FOUND, from_=SMALL, to=to, rule=rule)
    assert moved.hyperparameters["eps"] == approx(1e-8 * expected["eps"], rtol)
    assert moved.groups["branch"].output == approx(expected["branch"], rtol)
    for group, rate in expected["rate"].items():
        assert moved.groups[group].rate == approx(rate, rtol)
    for group, decay in expected["decay"].items():
        assert moved.groups[group].weight_decay == approx(decay, rtol)
    assert moved.groups["output"].output == approx(1 / inputs["width_ratio"], rtol)
    for group, std in expected["init_std"].items():
        assert moved.groups[group].init_std == approx(std, rtol)


@pytest.mark.parametrize(("inputs", "expected", "rtol"), cases("mup"))
def test_mup(inputs, expected, rtol):
    if inputs["fan_ratio"] not in (None, 1.0):
        ratio = scaling.spectral_condition(1, 1).sgd_rate / inputs["fan_ratio"]
        assert ratio == approx(expected["rate"], rtol)
        return
    rule = "mup" if inputs["optimizer"] == "adam" else "mup-sgd"
    to = SMALL._replace(width=256 * inputs["width_ratio"])
    group = "hidden" if inputs["kind"] == "matrix" else "norm"
    found = transfer(FOUND, from_=SMALL, to=to, rule=rule).groups[group]
    assert found.rate == approx(expected["rate"], rtol)
    assert found.weight_decay == approx(expected["coupled_decay"], rtol)


@pytest.mark.parametrize(("inputs", "expected", "rtol"), cases("spectral"))
def test_the_spectral_condition(inputs, expected, rtol):
    found = scaling.spectral_condition(**inputs)._asdict()
    assert found == {key: approx(value, rtol) for key, value in expected.items()}


@pytest.mark.parametrize(("inputs", "expected", "rtol"), cases("nanochat_transfer"))
def test_the_bundle_of_nanochat(inputs, expected, rtol):
    start = {"learning_rate": 1.0, "weight_decay": 0.28, "batch_size": 2**19}
    from_ = Size(batch=2**19, tokens=inputs["tokens_ref"], width=768)
    to = Size(tokens=inputs["tokens"], width=inputs["width"])
    moved = transfer(start, from_=from_, to=to, rule="nanochat")
    assert transfer(start, from_=from_, to=to._replace(batch=expected["batch"]), rule="nanochat")
    with pytest.raises(ValueError, match=r"to.batch=3 is not accepted by 'nanochat', which choos"):
        transfer(start, from_=from_, to=to._replace(batch=3), rule="nanochat")
    assert moved.hyperparameters["batch_size"] == expected["batch"]
    assert moved.hyperparameters["learning_rate"] == approx(expected["rate"], rtol)
    assert moved.hyperparameters["weight_decay"] == approx(expected["decay"], rtol)
    assert moved.groups["adam"].rate == approx(expected["adam_width"], rtol)


@pytest.mark.parametrize(("inputs", "expected", "rtol"), cases("marin_completed"))
def test_the_bundle_of_marin(inputs, expected, rtol):
    start = {"learning_rate": 0.0063, "adam_learning_rate": 0.000656}
    start |= {"eps": 1.85e-8, "b1": 0.9, "b2": 0.9999}
    from_, to = Size(batch=64, tokens=2.5e9), Size(**inputs)
    moved = transfer(start, from_=from_, to=to, rule="marin").hyperparameters
    assert moved["learning_rate"] == approx(expected["adamh_rate"], rtol)
    assert moved["adam_learning_rate"] == approx(expected["adam_rate"], rtol)
    for key in ("eps", "b1", "b2"):
        assert moved[key] == approx(expected[key], rtol)


@pytest.mark.parametrize(("inputs", "expected", "rtol"), cases("power_lines"))
def test_power_lines(inputs, expected, rtol):
    to = Size(batch=inputs["B"], parameters=inputs["N"], tokens=inputs["D"])
    start = {"learning_rate": inputs["rate"], "weight_decay": 9.0}
    moved = transfer(start, from_=to, to=to, rule="power-lines")
    assert moved.hyperparameters["weight_decay"] == approx(expected["decay"], rtol)


@pytest.mark.parametrize(("inputs", "expected", "rtol"), cases("step_law"))
def test_step_law(inputs, expected, rtol):
    found = scaling.step_law(inputs["N"], inputs["D"])
    assert found.learning_rate == approx(expected["rate"], rtol)
    assert found.batch_tokens == approx(expected["batch_tokens"], rtol)
    to = Size(parameters=inputs["N"], tokens=inputs["D"])
    base = scaling.step_law(SMALL.parameters, SMALL.tokens)
    start = {"learning_rate": base.learning_rate, "batch_size": base.batch_tokens}
    moved = transfer(start, from_=SMALL, to=to, rule="step-law").hyperparameters
    assert moved["learning_rate"] == approx(expected["rate"], rtol)
    assert moved["batch_size"] == approx(expected["batch_tokens"], rtol)


@pytest.mark.parametrize(("inputs", "expected", "rtol"), cases("deepseek_law"))
def test_deepseek_law(inputs, expected, rtol):
    base = scaling.deepseek_law(SMALL.flops)
    start = {"learning_rate": base.learning_rate, "batch_size": base.batch_tokens}
    to = Size(flops=inputs["C"])
    moved = transfer(start, from_=SMALL, to=to, rule="deepseek").hyperparameters
    assert moved["learning_rate"] == approx(expected["rate"], rtol)
    assert moved["batch_size"] == approx(expected["batch_tokens"], rtol)


@pytest.mark.parametrize(("inputs", "expected", "rtol"), cases("horizon"))
def test_the_token_horizon(inputs, expected, rtol):
    from_, to = Size(tokens=inputs["tokens"]), Size(tokens=inputs["tokens_new"])
    moved = transfer({"learning_rate": inputs["rate"]}, from_=from_, to=to, rule="horizon")
    assert moved.hyperparameters["learning_rate"] == approx(expected, rtol)


@pytest.mark.parametrize(("inputs", "expected", "rtol"), cases("timescale"))
def test_averaging_times(inputs, expected, rtol):
    rate, decay, batch, dataset = inputs.values()
    assert scaling.decay_timescale(rate, decay) == approx(expected["tau_iter"], rtol)
    assert scaling.decay_timescale(rate, decay, batch, dataset) == approx(
        expected["tau_epoch"], rtol
    )


@pytest.mark.parametrize(("inputs", "expected", "rtol"), cases("decay_for_schedule"))
def test_the_decay_of_an_averaging_time(inputs, expected, rtol):
    found = scaling.decay_from_timescale(inputs["rates"], inputs["tau_iter"], inputs["by"])
    assert found == approx(expected, rtol)
    schedule = lrsched.table([*inputs["rates"], 0.0])
    found = scaling.decay_from_timescale(schedule, inputs["tau_iter"], inputs["by"])
    assert found == approx(expected, 1e-6)


@pytest.mark.parametrize(("inputs", "expected", "rtol"), cases("decay_for_timescale"))
def test_the_decay_of_an_averaging_time_in_epochs(inputs, expected, rtol):
    updates = inputs.get("tau_iter")
    if updates is None:
        updates = inputs["tau_epoch"] * inputs["dataset"] / inputs["batch"]
    assert scaling.decay_from_timescale(inputs["rate"], updates) == approx(expected, rtol)


@pytest.mark.parametrize(("inputs", "expected", "rtol"), cases("schedule_memory"))
def test_the_weights_of_the_updates_that_adamw_averages(inputs, expected, rtol):
    found = scaling.averaging_weights(inputs["rates"], inputs["decay"])
    assert found.start == approx(expected["start"], rtol)
    assert found.updates == approx(expected["update_weights"], rtol)


def test_the_peak_and_mean_of_a_long_schedule_take_little_memory():
    steps = 2_500_000
    schedule = lrsched.linear(1.0, 0.0, steps=steps)
    for by, rate in (("peak", 1.0), ("mean", 0.5)):
        assert scaling.decay_from_timescale(schedule, 10, by) == approx(0.1 / rate, 1e-5)


def test_a_ramp_of_half_lives_is_a_line_between_them():
    ramp = scaling.half_life_ramp(0.9, 0.9999, steps=1000)
    lives = [scaling.half_life(float(decay), 1) for decay in ramp([0, 250, 500, 1000, 2000])]
    first, last = (scaling.half_life(decay, 1) for decay in (0.9, 0.9999))
    line = [first + (last - first) * x for x in (0, 0.25, 0.5, 1, 1)]
    assert lives == approx(line, 1e-3)
    with pytest.raises(ValueError, match=r"init=1.0 is not accepted"):
        scaling.half_life_ramp(1.0, 0.9, steps=10)


def test_the_timescale_holds_whatever_rule_came_before():
    to = SMALL._replace(batch=1024, dataset=3e5, tokens=4e9)
    for rules in (["timescale"], ["horizon", "timescale"], ["adam-sde", "timescale"]):
        moved = transfer(FOUND, from_=SMALL, to=to, rule=rules).hyperparameters
        time = scaling.decay_timescale(
            moved["learning_rate"], moved["weight_decay"], to.batch, to.dataset
        )
        assert time == pytest.approx(scaling.decay_timescale(1e-3, 0.1, 256, 1e5))


@pytest.mark.parametrize("rule", RULES)
def test_the_same_size_changes_nothing_but_an_absolute_law(rule):
    found = {**FOUND, "batch_size": SMALL.batch}
    moved = transfer(found, from_=SMALL, to=SMALL, rule=rule)
    expected = {**found, "weight_decay": moved.hyperparameters["weight_decay"]}
    assert moved.hyperparameters == pytest.approx(expected)
    assert rule == "power-lines" or moved.hyperparameters["weight_decay"] == pytest.approx(0.1)
    assert all(np.isfinite(group).all() and group.rate == 1 for group in moved.groups.values())
    assert any(RULES[rule].measured in note for note in moved.notes)


def test_it_prints_what_changed_and_why():
    to = SMALL._replace(batch=1024, width=1024)
    text = str(transfer(FOUND, from_=SMALL, to=to, rule=["adam-sde", "mup"]))
    lines = text.splitlines()
    assert lines[0].split() == ["hyperparameter", "from", "to", "rule", "reason"]
    assert lines[1].split()[:4] == ["learning_rate", "0.001", "0.002", "adam-sde"]
    assert "hidden     0.25    4        0.5         1" in lines
    assert "arXiv 2205.10287" in text


def test_groups_become_multipliers_of_the_rate():
    to = SMALL._replace(width=1024)
    moved = transfer(FOUND, from_=SMALL, to=to, rule="mup")
    groups = moved.learning_rate_groups([("embed", "embedding"), ("kernel", "hidden")])
    assert groups == [("embed", 1.0), ("kernel", 0.25)]
    lrsched.learning_rate_groups(groups)
    with pytest.raises(ValueError, match="group 'head' is not accepted; the groups of this"):
        moved.learning_rate_groups([("head", "head")])


def test_a_name_that_rules_do_not_move_is_noted():
    sizes = {"from_": Size(batch=16), "to": Size(batch=64), "rule": "linear"}
    moved = transfer({"lr": 0.1, "adam_learning_rate": 0.1}, **sizes)
    assert moved.hyperparameters == {"lr": 0.1, "adam_learning_rate": 0.4}
    assert moved.notes[-1].startswith("kept: lr; rules move 'learning_rate'")
    assert not any(note.startswith("kept") for note in transfer({"b1": 0.9}, **sizes).notes)


def test_opposed_rules_are_warned_of():
    moved = transfer(FOUND, from_=SMALL, to=SMALL, rule=["horizon", "step-law"])
    assert moved.notes[-1].startswith("warning: 'horizon' lowers the rate")


def test_hyperparameters_that_are_absent_are_not_added():
    to = SMALL._replace(batch=512)
    assert transfer({"b1": 0.9}, from_=SMALL, to=to, rule="adam-sde").hyperparameters == {
        "b1": pytest.approx(0.8)
    }
    moved = transfer({"eps": 1e-8, "other": 3}, from_=SMALL, to=to, rule="half-life")
    assert moved.hyperparameters == {"eps": 1e-8, "other": 3}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"rule": "cubic"}, "rule='cubic' is not accepted; rule must be one of 'linear'"),
        ({"rule": [["linear"]]}, r"rule=\['linear'\] is not accepted; rule must be one of"),
        ({"rule": 3}, "rule=3 is not accepted; rule must be a name or a list of names"),
        ({"rule": []}, r"rule=\[\] is not accepted; rule must be a name or a list of names"),
        ({"rule": "nanochat", "from_": Size()}, r"from_.tokens=None is not accepted by the rule"),
        (
            {"hyperparameters": 3},
            "hyperparameters=3 is not accepted; hyperparameters must be",
        ),
        ({"hyperparameters": {"b1": True}}, "b1=True is not accepted; b1 must be a finite"),
        ({"hyperparameters": {"b1": None}}, "b1=None is not accepted; b1 must be a finite"),
        ({"to": Size()}, r"to.batch=None is not accepted by the rule 'adam-sde'; pass Size\(batch"),
        ({"from_": Size(batch=0)}, "from_.batch=0 is not accepted; from_.batch must be a finite"),
        ({"to": Size(batch=float("nan"))}, "to.batch=nan is not accepted"),
        ({"hyperparameters": {"b1": "0.9"}}, "b1='0.9' is not accepted; b1 must be a finite"),
        ({"hyperparameters": {}, "rule": "power-lines"}, "without 'learning_rate' are not"),
    ],
)
def test_bad_input_is_one_sentence(change, message):
    arguments = {"hyperparameters": FOUND, "from_": SMALL, "to": SMALL, "rule": "adam-sde"}
    with pytest.raises(ValueError, match=message) as error:
        transfer(**(arguments | change))
    assert "\n" not in str(error.value)


def test_scalars_of_numpy_and_jax_are_numbers_and_dicts_are_no_sizes():
    sizes = {"from_": Size(batch=8), "to": Size(batch=16)}
    for rate in (np.float32(0.5), np.array(0.5), jnp.float32(0.5)):
        moved = transfer({"learning_rate": rate}, **sizes, rule="linear").hyperparameters
        assert moved == {"learning_rate": 1.0}
        assert type(moved["learning_rate"]) is float
    with pytest.raises(
        ValueError, match=r"from_=\{'batch': 8\} is not accepted; from_ must be a Si"
    ):
        transfer({"learning_rate": 0.5}, from_={"batch": 8}, to=Size(batch=16), rule="linear")
    with pytest.raises(ValueError, match=r"rates of shape .* are not accepted"):
        scaling.averaging_weights([[0.1]], 0.1)
    weights = scaling.averaging_weights(lrsched.linear(0.5, 0.0, steps=5), 0.1)
    assert len(weights.updates) == 5


@pytest.mark.parametrize(
    "found", [{"b2": 1.5}, {"b1": -0.1}, {"b2": 1.0}, {"eps": -1e-8}, {"adam_learning_rate": -1.0}]
)
def test_a_hyperparameter_out_of_its_range_is_refused(found):
    (name,) = found
    with pytest.raises(ValueError, match=rf"transfer: {name}=.* is not accepted; {name} must be a"):
        transfer(found, from_=SMALL, to=SMALL, rule="half-life")


@pytest.mark.parametrize(
    ("rule", "factor"), [("nanochat", 2.0), ("step-law", 4**0.571), ("deepseek", 4**0.3271)]
)
def test_a_rule_that_chooses_the_batch_returns_it(rule, factor):
    to = Size(tokens=4e9, parameters=1e8, width=256, flops=4e18)
    moved = transfer({"learning_rate": 1e-3}, from_=SMALL, to=to, rule=rule).hyperparameters
    assert moved["batch_size"] == pytest.approx(256 * factor)
