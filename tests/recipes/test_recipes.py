"""The recipes against numbers that were computed independently from their sources."""

import json
from pathlib import Path

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import lrsched
from lrsched import recipes
from lrsched.recipes import Decay, Parts
from lrsched.recipes._recipe import DIRECTIONS, RECIPES
from lrsched.recipes._shapes import first_steps, sequence

FOLDER = Path(__file__).parents[1] / "parity/numbers"
NUMBERS = json.loads((FOLDER / "recipes.json").read_text())
PARAMS = {"body": jnp.ones((3, 2)), "bias": jnp.full(2, 0.5)}
ALL = {"body": True, "bias": True}


@pytest.mark.parametrize("name", NUMBERS)
def test_every_step_of_the_reference_is_exact(name):
    reference = NUMBERS[name]
    recipe = recipes.get(name)(**reference["scale"])
    assert recipe.schedules.keys() == reference["groups"].keys()
    for group, numbers in reference["groups"].items():
        rates = recipe.schedules[group](np.array(numbers["steps"], np.int32))
        tolerance = 2e-6 * abs(numbers["peak"])
        np.testing.assert_allclose(rates, numbers["rates"], rtol=0, atol=tolerance, err_msg=group)


def test_every_recipe_is_json_and_text():
    for name in recipes.names():
        recipe = recipes.get(f"recipe:{name}")()
        back = recipes.Recipe.from_dict(json.loads(recipes.to_json(recipe)))
        assert back == recipe, name
        text = str(recipe)
        assert text.startswith(name)
        assert recipe.source in text


def test_the_listing_has_every_recipe_with_its_scale():
    rows = {row["name"]: row for row in recipes.listing()}
    assert rows.keys() == RECIPES.keys() >= NUMBERS.keys()
    assert rows["smollm2-135m"]["signature"].startswith("(steps=2000000, peak=0.003")
    assert recipes.smollm2_135m is recipes.get("smollm2-135m")


def test_a_name_is_found_by_its_start_whatever_its_punctuation():
    assert recipes.get("OLMo_2.7B") is recipes.olmo2_7b_stage1
    assert recipes.get("zephyr-7b-sft") is recipes.zephyr_7b_sft  # the start of another name too
    assert recipes.get("recipe:nanochat") is recipes.nanochat_d12


def test_an_argument_that_the_source_leaves_open_is_said_to_be_until_it_is_set():
    assert "leaves steps open, and 1000 is an example." in recipes.tulu3_8b_sft(peak=1e-5).missing
    assert "open" not in recipes.tulu3_8b_sft(1000).missing
    with pytest.raises(ValueError, match="free='length' is not accepted for 'mine'; it must name"):
        recipes.recipe("mine", "test", source="", free=["length"])(lambda steps=1: None)


def test_a_recipe_scales_with_its_steps():
    rate = recipes.nanogpt_gpt2_124m(steps=1001, peak=1.0, warmup=100).schedules["all"]
    np.testing.assert_allclose(rate([0, 100, 550, 1000]), [1 / 101, 1, 0.55, 0.1], atol=1e-6)


@pytest.mark.parametrize(
    ("name", "scale", "message"),
    [
        ("smollm2-135m", {"steps": 1000}, "smollm2-135m: phases of 402000 steps are not accepted"),
        ("nanochat-d12", {"steps": 100}, "nanochat-d12: phases"),
        ("nanogpt-gpt2-124m", {"steps": 1.5}, "steps=1.5 is not accepted; steps must be a whole"),
        ("nanogpt-gpt2-124m", {"steps": True}, "steps=True is not accepted"),
        ("nanogpt-gpt2-124m", {"peak": -1.0}, "peak=-1.0 is not accepted; peak must be a finite"),
        ("olmo2-7b-stage1", {"tokens": 1e6}, "olmo2-7b-stage1: phases of 2000 steps"),
    ],
)
def test_bad_scales_are_one_sentence(name, scale, message):
    with pytest.raises(ValueError, match="not accepted") as error:
        recipes.get(name)(**scale)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_unknown_names_and_arguments_are_refused_with_a_hint():
    with pytest.raises(ValueError, match="similar names are nanogpt-gpt2-124m"):
        recipes.get("nanogtp-gpt2")
    with pytest.raises(
        ValueError, match="similar names are olmo3-7b-pretrain-extended, olmo3-7b-m"
    ):
        recipes.get("olmo3")
    with pytest.raises(TypeError, match=r"dit-xl2: .*it takes peak=0.0001"):
        recipes.dit_xl2(steps=3)
    with pytest.raises(ValueError, match="another recipe has it"):
        recipes.recipe("dit-xl2", "diffusion", source="")(lambda: None)


def _group_patterns(recipe):
    groups = list(recipe.parts.rates)
    return [] if len(groups) == 1 else [("body", groups[0]), ("", groups[-1])]


@pytest.mark.parametrize("name", sorted(RECIPES))
def test_optimizers_are_built_from_optax_or_refused(name):
    recipe = recipes.get(name)()
    used = {recipe.parts.optimizer["name"]} | {
        one["name"] for one in recipe.parts.group_optimizers.values()
    }
    if used <= DIRECTIONS.keys():
        optimizer = recipe.optimizer(_group_patterns(recipe), decay_mask=ALL)
        state = optimizer.init(PARAMS)
        rates = [float(rate) for rate in lrsched.learning_rates(state).values()]
        expected = [float(rate(0)) for rate in recipe.parts.rates.values()]
        assert set(np.float32(rates)) <= set(np.float32(expected))
    else:
        with pytest.raises(ValueError, match="optax has no"):
            recipe.optimizer(_group_patterns(recipe), decay_mask=ALL)


def test_the_optimizer_of_a_recipe_is_the_one_of_optax():
    recipe = recipes.nanogpt_gpt2_124m(steps=101, peak=0.1, warmup=10)
    ours = recipe.optimizer()
    schedule = recipe.schedules["all"]
    mask = {"body": True, "bias": False}
    theirs = optax.chain(
        optax.clip_by_global_norm(1.0),
        optax.adamw(schedule, 0.9, 0.95, weight_decay=0.1, mask=mask),
    )
    chex.assert_trees_all_close(_trained(ours), _trained(theirs), rtol=1e-5)


def test_groups_have_their_own_optimizer_and_scheduled_momentum():
    recipe = recipes.nanochat_d12()
    with pytest.raises(ValueError, match="pass pairs of a pattern and a group"):
        recipe.optimizer()
    with pytest.raises(ValueError, match="group 'other' is not accepted"):
        recipe.optimizer([("body", "other")])
    with pytest.raises(ValueError, match="no pattern of groups matches the parameter 'bias'"):
        recipe.optimizer([("body", "matrix_muon")]).init(PARAMS)
    optimizer = recipe.optimizer([("body", "matrix_muon"), ("bias", "x0_lambdas")])
    params = _trained(optimizer)
    assert jnp.all(params["body"] != PARAMS["body"])
    assert jnp.all(params["bias"] != PARAMS["bias"])


def test_a_description_of_the_decayed_parameters_needs_a_mask():
    with pytest.raises(ValueError, match=r"decay_mask=None is not accepted.*all but the embedd"):
        recipes.olmo2_7b_stage1().optimizer()


def test_the_next_recipe_is_one_entry():
    try:

        @recipes.recipe("mine", "test", source="here")
        def mine(steps: int = 100, peak: float = 1.0) -> Parts:
            """A plateau with a cooldown."""
            rate = sequence((peak, steps - 10), (lrsched.linear(peak, 0.0, steps=10), 10))
            return Parts({"all": rate}, {"name": "adamw"}, weight_decay=Decay(0.1))

        assert recipes.get("mine")(steps=20).schedules["all"]([9, 15, 20]).tolist() == [1, 0.5, 0]
        assert mine(peak=2.0).scale == {"steps": 100, "peak": 2.0}
    finally:
        RECIPES.pop("mine", None)


def test_schedules_are_cut_off_and_prolonged():
    line = lrsched.linear(1.0, 0.0, steps=4)
    assert first_steps(line, 2)([0, 1, 2, 9]).tolist() == [1, 0.75, 0.5, 0.5]
    assert first_steps(line, 6)([3, 4, 9]).tolist() == [0.25, 0, 0]
    assert first_steps(line, 6).horizon == 6
    endless = lrsched.inverse_sqrt(1.0, timescale=3)
    assert first_steps(endless, 9)([3, 9, 20]).tolist() == pytest.approx([0.5**0.5, 0.5, 0.5])


def test_a_plateau_recipe_names_its_controller():
    recipe = recipes.mace_plateau()
    reference = json.loads((FOLDER / "plateau.json").read_text())
    arguments = dict(recipe.parts.controller)
    controller = getattr(lrsched, arguments.pop("name"))(**arguments)

    def epoch(state, metric):
        state = lrsched.observe(state, metric)
        scaled, state = controller.update(jnp.ones(1), state)
        return state, recipe.schedules["all"](0) * scaled[0]

    _, rates = jax.lax.scan(epoch, controller.init(jnp.ones(1)), jnp.array(reference["metric"]))
    np.testing.assert_allclose(rates, reference["rates"], rtol=2e-6)


def _trained(optimizer):
    @jax.jit
    def step(params, state):
        grads = jax.tree.map(lambda p: p - 0.3, params)
        updates, state = optimizer.update(grads, state, params)
        return optax.apply_updates(params, updates), state

    params, state = PARAMS, optimizer.init(PARAMS)
    for _ in range(20):
        params, state = step(params, state)
    return params
