"""The recipes against numbers that were computed independently from their sources."""

import json
from pathlib import Path

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

import lrsched
from lrsched import recipes
from lrsched.recipes import Decay, Parts
from lrsched.recipes._parts import DIRECTIONS, SCHEDULE_FREE
from lrsched.recipes._recipe import RECIPES
from lrsched.recipes._shapes import first_steps, sequence
from tests.parity.frontier import cases

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


def test_kernels_and_groups_are_found_in_the_paths_of_nnx_variables():
    params = nnx.state(nnx.Linear(2, 3, rngs=nnx.Rngs(0)), nnx.Param)
    ones, zeros = (jax.tree.map(make, params) for make in (jnp.ones_like, jnp.zeros_like))
    recipe = recipes.get("bigvision-vit-s16-i1k-90ep")(steps=10, warmup=1)
    optimizer = recipe.optimizer([("^(kernel|bias)$", "lr")])
    state = optimizer.init(ones)
    for _ in range(2):  # the rate of the first update is 0
        updates, state = optimizer.update(zeros, state, ones)
    assert (updates["kernel"][...] < 0).all()
    assert not updates["bias"][...].any()


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


@pytest.mark.parametrize("length", ["warmup", "cooldown"])
def test_no_warmup_and_no_cooldown_are_lengths_too(length):
    for name, create in RECIPES.items():
        if length in create().scale:
            try:
                rates = create(**{length: 0}).parts.rates.values()
            except ValueError as error:
                assert str(error).startswith(f"{name}: "), error  # noqa: PT017
            else:
                assert all(np.isfinite(rate([0, 1, 100])).all() for rate in rates), name


def test_an_argument_that_the_source_leaves_open_is_said_to_be_until_it_is_set():
    assert "leaves steps open, and 1000 is an example." in recipes.tulu3_8b_sft(peak=1e-5).missing
    assert "open" not in recipes.tulu3_8b_sft(1000).missing
    sentence = "The source leaves steps and weight_decay open, and 10000 and 0.1 are examples."
    assert recipes.lion_from_adamw(peak=1e-3).missing.endswith(sentence)
    with pytest.raises(ValueError, match="free='length' is not accepted for 'mine'; it must name"):
        recipes.recipe("mine", "test", source="", free=["length"])(lambda steps=1: None)


def test_a_recipe_scales_with_its_steps():
    rate = recipes.nanogpt_gpt2_124m(steps=1001, peak=1.0, warmup=100).schedules["all"]
    np.testing.assert_allclose(rate([0, 100, 550, 1000]), [1 / 101, 1, 0.55, 0.1], atol=1e-6)


@pytest.mark.parametrize(
    ("name", "scale", "message"),
    [
        ("smollm2-135m", {"steps": 1000}, "smollm2-135m: sequence: phases of 402000 steps are"),
        ("smollm2-135m", {"steps": 1000}, "warmup=2000, cooldown=400000)."),
        ("nanochat-d12", {"steps": 100}, "nanochat-d12: sequence: phases"),
        ("nanogpt-gpt2-124m", {"steps": 1.5}, "steps=1.5 is not accepted; steps must be a whole"),
        ("nanogpt-gpt2-124m", {"steps": True}, "steps=True is not accepted"),
        ("nanogpt-gpt2-124m", {"peak": -1.0}, "peak=-1.0 is not accepted; peak must be a finite"),
        ("olmo2-7b-stage1", {"tokens": 1e6}, "olmo2-7b-stage1: sequence: phases of 2000 steps"),
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
        ValueError, match="it is the start of 3 names, olmo3-7b-midtrain, olmo3-7b-p"
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
    if used <= DIRECTIONS.keys() | {SCHEDULE_FREE}:
        optimizer = recipe.optimizer(_group_patterns(recipe), decay_mask=ALL)
        state = optimizer.init(PARAMS)
        rates = [float(rate) for rate in lrsched.learning_rates(state).values()]
        # The rate of schedule-free methods is that of the latest update.
        started = [] if SCHEDULE_FREE not in used else [0.0]
        expected = started + [float(rate(0)) for rate in recipe.parts.rates.values()]
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
    with pytest.raises(ValueError, match="group 'head' is not accepted"):
        recipe.optimizer([("body", "lm_head")], directions={"head": optax.identity()})
    with pytest.raises(ValueError, match="no pattern of groups matches the parameter 'bias'"):
        recipe.optimizer([("body", "x0_lambdas")]).init(PARAMS)
    groups = [("body", "matrix_muon"), ("bias", "x0_lambdas")]
    with pytest.raises(ValueError, match=r"optax has no nanochat's Muon.*'matrix_muon' cannot be"):
        recipe.optimizer(groups)
    optimizer = recipe.optimizer(groups, directions={"matrix_muon": optax.scale_by_adam()})
    params = _trained(optimizer)
    assert jnp.all(params["body"] != PARAMS["body"])
    assert jnp.all(params["bias"] != PARAMS["bias"])
    assert "muon_weight_decay of all parameters, decoupled, cautious" in str(recipe)


@pytest.mark.parametrize(("inputs", "expected", "rtol"), cases("moonlight_muon"))
def test_the_optimizer_of_moonlight_is_its_script(inputs, expected, rtol):
    # For matrices of other shapes than the one that the recipe names, too.
    group = "muon_1024x4096"
    recipe = recipes.moonlight_toy_muon(steps=10**6, peak=inputs["rate"], warmup=0)
    factor = inputs.get("weight_decay", 0.0) / recipe.parts.weight_decay.value
    decay = Decay(recipe.parts.group_decays[group].value * factor)
    recipe = recipe._replace(parts=recipe.parts._replace(group_decays={group: decay}))
    optimizer = recipe.optimizer([("", group)])
    params = {"w": jnp.array(inputs["param"], jnp.float32).T}
    state = optimizer.init(params)
    for grad, after in zip(inputs["grads"], expected, strict=True):
        grads = {"w": jnp.array(grad, jnp.float32).T}
        updates, state = optimizer.update(grads, state, params)
        params = optax.apply_updates(params, updates)
        np.testing.assert_allclose(params["w"].T, after, rtol=max(rtol, 3e-6), atol=1e-6)


def test_the_optimizer_of_big_vision_decays_kernels_by_the_curve_alone():
    recipe = recipes.bigvision_vit_s16_i1k_90ep(steps=100, warmup=10)
    optimizer, curve = recipe.optimizer(), recipe.schedules["weight_decay"]
    params = {
        "layer": {"kernel": jnp.ones((2, 2)), "bias": jnp.ones(2)},
        "position": jnp.ones((1, 3)),
    }
    state = optimizer.init(params)
    momenta = [leaf for leaf in jax.tree.leaves(state) if leaf.dtype == jnp.bfloat16]
    assert len(momenta) == 3
    zeros = jax.tree.map(jnp.zeros_like, params)
    for step in range(20):
        updates, state = optimizer.update(zeros, state, params)
        np.testing.assert_allclose(updates["layer"]["kernel"], -curve(step), rtol=1e-6)
        assert not jnp.any(updates["layer"]["bias"])
        assert not jnp.any(updates["position"])


def test_lion_and_ademamix_are_those_of_optax():
    lion = recipes.lion_from_adamw(steps=100, peak=1e-2, weight_decay=0.1, factor=5.0)
    schedule = optax.cosine_decay_schedule(2e-3, 100)
    theirs = optax.lion(schedule, 0.9, 0.99, weight_decay=0.5)
    chex.assert_trees_all_close(_trained(lion.optimizer()), _trained(theirs), rtol=1e-5)

    mix = recipes.ademamix(steps=100, peak=1e-2, alpha=5.0, b3=0.999)
    half_lives = np.log(0.5) / np.log([0.9, 0.999])
    theirs = optax.contrib.ademamix(
        optax.cosine_decay_schedule(1e-2, 100),
        b3=lambda t: 0.5 ** (1 / (half_lives[0] + (half_lives[1] - half_lives[0]) * t / 100)),
        alpha=lambda t: 5.0 * t / 100,
        weight_decay=0.1,
    )
    chex.assert_trees_all_close(_trained(mix.optimizer()), _trained(theirs), rtol=1e-4)
    rates = lrsched.metrics(mix.optimizer().init(PARAMS))
    assert float(rates["b3"]) == np.float32(0.9)


@pytest.mark.parametrize(("inputs", "expected", "rtol"), cases("algoperf_sf"))
def test_the_schedule_free_recipe_has_the_numbers_of_algoperf(inputs, expected, rtol):
    recipe = recipes.algoperf_schedule_free(inputs["step_hint"])
    rate = recipe.schedules["all"](inputs["step"])
    np.testing.assert_allclose(rate, expected["rate"], rtol=max(rtol, 1e-6))
    assert recipe.schedules["all"].horizon == expected["warmup"] - 1
    optimizer = dict(recipe.parts.optimizer)
    assert optimizer.pop("name") == "schedule_free_adamw"
    assert optimizer == {name: expected[name] for name in ("b1", "b2", "eps")}
    assert recipe.parts.weight_decay.value == expected["weight_decay"]


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


def _parts(**changed):
    parts = {"rates": {"all": lrsched.constant(0.1)}, "optimizer": {"name": "adamw"}}
    return lambda steps=1: Parts(**{**parts, **changed})


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda steps=1: 3, "the result 3 is not accepted; return a recipes.Parts"),
        (_parts(rates={"all": 0.1}), "all=0.1 is not accepted; all must be a schedule"),
        (_parts(group_decays={"head": Decay(0.1)}), "group 'head' of group_decays is not accepted"),
        (_parts(group_optimizers={"head": {"name": "sgd"}}), "'head' of group_optimizers is not"),
        (_parts(weight_decay=Decay("wd")), "value of the weight_decay='wd' is not accepted; value"),
        (_parts(clip=-1), "clip=-1 is not accepted; clip must be a finite number above 0"),
        (_parts(ema=2), "ema=2 is not accepted; ema must be a number from 0 to below 1"),
        (
            _parts(controller={"name": "magic"}),
            "controller='magic' is not accepted; controller must",
        ),
        (
            _parts(controller={"name": "reduce_on_plateau", "x": 1}),
            "the controller 'reduce_on_plat",
        ),
        (
            _parts(controller={"factor": 0.5}),
            'controller must be a dict with its name, a string, under "name',
        ),
        (
            _parts(optimizer={"b1": 0.9}),
            'optimizer must be a dict with its name, a string, under "name"',
        ),
        (_parts(optimizer="adam"), "optimizer='adam' is not accepted; optimizer must be a dict"),
        (
            _parts(optimizer={"name": "adam", "b1": "beta"}),
            "b1='beta' of the optimizer 'adam' is not",
        ),
        (
            _parts(rates={}),
            "rates={} is not accepted; rates must be a dict with at least",
        ),
        (_parts(rates=[0.1]), "rates=[0.1] is not accepted; rates must be a dict"),
        (
            _parts(weight_decay=0.1),
            "weight_decay=0.1 is not accepted; weight_decay must be a recip",
        ),
        (_parts(weight_decay=Decay(-1.0)), "value of the weight_decay=-1.0 is not accepted; value"),
        (
            _parts(group_decays={"all": Decay(0.1, coupling="x")}),
            "coupling of the weight decay of a",
        ),
        (lambda steps=1: 1 // 0, "its function raised ZeroDivisionError"),
        (_parts(optimizer={"name": "adamw", "beta1": 0.9}), "the optimizer 'adamw': got an unexp"),
        (
            lambda steps=1: Parts({"all": sequence((1.0, 20), (0.0, steps - 20))}, {"name": "sgd"}),
            "phases of 20 steps are not accepted in a run of 1; make the run longer",
        ),
    ],
)
def test_parts_that_do_not_fit_are_refused(function, message):
    try:
        create = recipes.recipe("mine", "test", source="here")(function)
        with pytest.raises(ValueError, match=r"^mine: ") as error:
            create()
        assert message in str(error.value)
    finally:
        RECIPES.pop("mine", None)


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (
            lambda steps: _parts()(),
            "the argument 'steps' of 'mine' is not accepted; every argument",
        ),
        (lambda steps=None: _parts()(), "the argument 'steps' of 'mine' is not accepted"),
        (lambda **scale: _parts()(), "the argument 'scale' of 'mine' is not accepted"),
        (lambda peak=-1.0: _parts()(), "mine: peak=-1.0 is not accepted; peak must be a finite"),
        (3, r"recipe: 3 is not accepted for 'mine'; @recipe\(...\) must be above a function"),
    ],
)
def test_a_function_that_cannot_be_a_recipe_is_refused_at_once(function, message):
    with pytest.raises(ValueError, match=message):
        recipes.recipe("mine", "test", source="here")(function)
    assert "mine" not in recipes.names()


def test_a_number_may_be_0_where_its_default_is():
    try:
        function = _parts()
        create = recipes.recipe("mine", "test", source="here")(lambda end=0.0: function())
        assert create(end=0.5).scale == {"end": 0.5}
        with pytest.raises(
            ValueError, match=r"end=-0.5 is not accepted; end must be a finite numb"
        ):
            create(end=-0.5)
    finally:
        RECIPES.pop("mine", None)


def test_the_texts_of_a_recipe_are_strings():
    with pytest.raises(ValueError, match="recipe: family=3 is not accepted; family must be a str"):
        recipes.recipe("mine", 3, source="here")


def test_the_name_of_another_recipe_is_refused():
    with pytest.raises(ValueError, match="name='dit-xl2' is not accepted; another recipe has it"):
        recipes.recipe("dit-xl2", "test", source="here")(_parts())


def test_a_faulty_recipe_is_listed_and_named_by_its_error():
    try:
        recipes.recipe("mine", "test", source="here")(lambda steps=1: 3)
        assert "mine" in recipes.names()
        with pytest.raises(ValueError, match="mine: the result 3 is not accepted"):
            recipes.listing()
    finally:
        RECIPES.pop("mine", None)


def test_the_start_of_several_names_lists_them_all():
    with pytest.raises(ValueError, match="it is the start of 4 names, olmo2-7b-stage1, olmo3-"):
        recipes.get("olmo")


def test_an_error_of_a_schedule_names_the_call_that_made_it():
    with pytest.raises(ValueError, match=r"^deepseek-v3: cosine: .* \(with tokens=1.48e\+13, tok"):
        recipes.get("deepseek-v3")(tokens_per_step=1)
    with pytest.raises(ValueError, match=r"^maxtext-default: sequence: a run of 0 .* \(with st"):
        recipes.maxtext_default(steps=1)


def test_the_decay_of_mace_is_that_of_pytorchs_adam():
    optimizer = recipes.mace_plateau(peak=0.1).optimizer()
    params = {"w": jnp.array([100.0])}
    # The decay is part of the gradient, which Adam divides by its own size.
    updates, _ = optimizer.update({"w": jnp.zeros(1)}, optimizer.init(params), params)
    assert float(updates["w"][0]) == pytest.approx(-0.1, rel=1e-3)


def test_lengths_are_whole_numbers_also_as_floats():
    recipe = recipes.nanogpt_gpt2_124m(steps=3e4)
    assert recipe == recipes.nanogpt_gpt2_124m(steps=30_000)
    assert recipe == recipes.nanogpt_gpt2_124m(steps=np.int64(30_000))
    assert type(recipe.scale["steps"]) is int
    for steps in (np.inf, np.nan, 10**400, 0.5, True, "9"):
        with pytest.raises(ValueError, match=r"steps=.* is not accepted; steps must be a whole"):
            recipes.nanogpt_gpt2_124m(steps=steps)


def test_groups_and_directions_of_another_type_are_refused():
    with pytest.raises(ValueError, match="'kernel' of groups is not accepted; it must be a pair"):
        recipes.nanochat_d12().optimizer(["kernel", "embed"])
    with pytest.raises(ValueError, match="the direction of all=3 is not accepted"):
        recipes.soap().optimizer(directions={"all": 3})


def test_bad_names_patterns_and_files_are_refused():
    with pytest.raises(ValueError, match="name='3' is not accepted"):
        recipes.get(3)
    with pytest.raises(ValueError, match=r"the pattern '\(' is not accepted; missing \)"):
        recipes.modded_nanogpt_track3_tuned_muon().optimizer([("(", "muon")])
    with pytest.raises(ValueError, match="keys name are not accepted; they must be name, family"):
        recipes.Recipe.from_dict({"name": "x"})


def test_schedules_are_cut_off_and_prolonged():
    line = lrsched.linear(1.0, 0.0, steps=4)
    assert first_steps(line, 2)([0, 1, 2, 9]).tolist() == [1, 0.75, 0.5, 0.5]
    assert first_steps(line, 6)([3, 4, 9]).tolist() == [0.25, 0, 0]
    assert first_steps(line, 6).horizon == 6
    endless = lrsched.inverse_sqrt(1.0, timescale=3)
    assert first_steps(endless, 9)([3, 9, 20]).tolist() == pytest.approx([0.5**0.5, 0.5, 0.5])


@pytest.mark.parametrize(
    ("recipe", "numbers"),
    [(recipes.mace_plateau, "plateau.json"), (recipes.brax_ppo_adaptive_kl, "adaptive_kl.json")],
)
def test_a_recipe_without_a_schedule_names_its_controller(recipe, numbers):
    recipe = recipe()
    reference = json.loads((FOLDER / numbers).read_text())
    arguments = dict(recipe.parts.controller)
    controller = getattr(lrsched, arguments.pop("name"))(**arguments)

    def after(state, metric):
        state = lrsched.observe(state, metric)
        scaled, state = controller.update(jnp.ones(1), state)
        return state, recipe.schedules["all"](0) * scaled[0]

    _, rates = jax.lax.scan(after, controller.init(jnp.ones(1)), jnp.array(reference["metric"]))
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


def test_the_page_counts_the_recipes_with_numbers_of_a_source():
    page = (Path(__file__).parents[2] / "docs/recipes.md").read_text()
    assert f"The schedules of {len(NUMBERS)} recipes are tested against numbers" in page


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"free": "steps"}, r"free='steps' is not accepted; free must be a list of names"),
        ({"free": [3]}, r"free=\[3\] is not accepted"),
        ({"name": "mine/1b"}, "name='mine/1b' is not accepted; name must be a word without '/'"),
        ({"name": ""}, "name='' is not accepted"),
    ],
)
def test_a_registration_that_could_not_be_found_is_refused(arguments, message):
    given = {"name": "mine", "family": "examples", "source": "here"} | arguments
    with pytest.raises(ValueError, match=f"recipe: {message}"):
        recipes.recipe(**given)


def test_kernels_of_three_axes_go_into_a_recipes_muon():
    recipe = recipes.modded_nanogpt_track3_tuned_muon()
    params = {"qkv": jnp.ones((4, 2, 3)), "embed": jnp.ones((5, 4))}
    groups = [("qkv", "muon"), ("", "embed")]
    axes = optax.contrib.MuonDimensionNumbers(0, (1, 2))
    optimizer = recipe.optimizer(groups, matrices=lambda path, _: axes if path == "qkv" else True)
    gradients = jax.tree.map(
        lambda leaf: jnp.arange(leaf.size, dtype=float).reshape(leaf.shape), params
    )
    updates, _ = optimizer.update(gradients, optimizer.init(params), params)
    flat = {"qkv": params["qkv"].reshape(4, 6), "embed": params["embed"]}
    optimizer = recipe.optimizer(groups)
    expected, _ = optimizer.update(
        {**gradients, "qkv": gradients["qkv"].reshape(4, 6)}, optimizer.init(flat), flat
    )
    np.testing.assert_allclose(updates["qkv"].reshape(4, 6), expected["qkv"], rtol=1e-5)
