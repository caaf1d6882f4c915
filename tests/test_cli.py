import functools
import importlib.metadata
import json
import shlex
import subprocess
import sys
import time
import tomllib
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pytest
import yaml

import lrsched
from lrsched import theory, tuning
from lrsched._schedule import REGISTRY
from lrsched.cli import main, workloads
from lrsched.cli.parser import COMMANDS
from lrsched.compat import configs
from lrsched.pictures import terminal as chart

EXPRESSION = "warmup(500) * 3e-4 >> cosine(3e-4, steps=9500)"


@pytest.fixture
def run(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")

    def run(*arguments, code=0):
        assert main(arguments) == code
        found = capsys.readouterr()
        if code == 2:
            assert found.out == ""
            assert found.err.startswith("lrsched: ")
            assert found.err.count("\n") == 1
            return found.err
        return json.loads(found.out) if "--json" in arguments else found.out

    return run


def test_the_list_has_every_schedule_and_every_adaptive_transform(run):
    names = {row["name"] for row in run("list", "--json")}
    assert names >= {name for name in REGISTRY if hasattr(lrsched, name)}
    assert not any(name.startswith("torch.") for name in names)
    transforms = {row["name"] for row in run("list", "--adaptive", "--json")}
    assert {"prodigy", "dog", "schedule_free", "reduce_on_plateau", "lawa", "polyak"} <= transforms
    shown = run("list")
    assert "cosine(peak: FiniteFloat, steps: PositiveInt" in shown
    assert "Half a cosine" in shown or "cosine" in shown


def test_recipes_are_listed_with_their_arguments(run):
    rows = run("recipes", "--json")
    assert [row["name"] for row in rows] == lrsched.recipes.names()
    shown = run("recipes")
    assert "smollm2-135m(steps=2000000, peak=0.003" in shown
    assert "SmolLM2 135M: a trapezoid" in shown


def test_a_recipe_is_shown_at_the_scale_of_its_arguments(run):
    shown = run("show", "recipe:zephyr-7b-sft", "--steps", "300")
    assert "cosine(peak=2e-05, steps=270)" in shown
    assert "source: huggingface/alignment-handbook" in shown
    assert "is an example" not in shown
    assert "The source leaves steps open, and 1000 is an example." in run(
        "show", "recipe:zephyr7bsft"
    )
    assert run("show", "recipe:olmo-2-7b").startswith("olmo2-7b-stage1")
    found = run("show", "recipe:nanochat-d12", "--json")
    assert found["parts"]["optimizer"]["name"] == "adamw"
    assert found["curves"]["lm_head"]["values"][100] == pytest.approx(0.008)


def test_groups_of_a_recipe_share_a_curve_if_they_have_a_shape(run):
    shown = run("show", "recipe:modded-nanogpt-track3")
    assert "a: rate over its peak of muon, embed, proj, one_d\n" in shown
    assert "b: rate" not in shown
    assert "b: rate over its peak of biases" in run("show", "recipe:yolov5")


def test_the_rate_of_a_recipe_is_a_schedule(run, tmp_path):
    assert run("show", "recipe:dit-xl2/all", "--json", "--until", "2")["rates"][0] == np.float32(
        1e-4
    )
    rows = run("compare", "recipe:nanochat/embed", "recipe:llama3-405b", "--json")["schedules"]
    assert [row["peak"] for row in rows] == pytest.approx([0.3, 8e-5])
    file = tmp_path / "recipe.png"
    assert run("show", "recipe:nanochat", "--png", str(file)).endswith("recipe.png\n")
    assert file.stat().st_size > 1000


@pytest.mark.parametrize(
    "arguments",
    [
        ("cosine", "--peak", "3e-4", "--steps", "100"),
        ("cosine", "3e-4", "--steps=100"),
        ("cosine(3e-4, 100)",),
    ],
)
def test_a_schedule_is_shown_as_a_curve_as_wide_as_the_terminal(arguments, run):
    title, *rows = run("show", *arguments).splitlines()
    assert title == "cosine(peak=0.0003, steps=100)"
    assert rows[0].startswith(" 0.0003┤⠉")
    assert max(map(len, rows)) == 80
    assert rows[-1].endswith("100")


def test_strings_and_names_with_underscores_are_arguments(run):
    arguments = ("--peak=1", "--steps", "100", "--warmup", "10", "--cooldown", "0.2")
    shown = run("show", "wsd", *arguments, "--ramp", "cosine")
    assert shown.startswith("wsd(peak=1.0, steps=100, warmup=10, cooldown=0.2, ramp='cosine')")


def test_json_has_the_steps_and_rates_of_a_curve(run):
    found = run("show", "linear", "1", "0", "4", "--json")
    assert found["steps"] == [0, 1, 2, 3, 4]
    assert found["rates"] == [1.0, 0.75, 0.5, 0.25, 0.0]
    assert (found["schedule"], found["horizon"]) == ("linear(init=1.0, end=0.0, steps=4)", 4)


def test_several_curves_without_colour_are_letters(run):
    shown = run("compare", "cosine(1.0, 100)", "linear(0.5, 0.0, 100)")
    assert {"a", "b"} <= set(shown.partition("┤")[2])
    assert "⠉" not in shown


def test_a_steep_curve_has_no_gaps():
    lines = [chart.Line(*map(lambda x: x.astype(float), (s, v))) for s, v in [_jump()]]
    rows = chart.draw(lines, 40, height=6).plain.splitlines()[:6]
    assert all(any("⠀" < letter <= "⣿" for letter in row) for row in rows)


def _jump():
    return np.array([0, 50, 51, 100]), np.array([1.0, 1.0, 0.0, 0.0])


def test_a_comparison_has_peak_last_rate_area_and_horizon(run):
    found = run("compare", "linear(1.0, 0.0, 4)", "constant(0.5)", "--until", "4", "--json")
    assert found["schedules"] == [
        {"schedule": "linear(1.0, 0.0, 4)", "peak": 1.0, "last": 0.25, "area": 2.5, "horizon": 4},
        {"schedule": "constant(0.5)", "peak": 0.5, "last": 0.5, "area": 2.0, "horizon": None},
    ]


def test_a_description_has_phases_areas_and_the_rates_at_their_boundaries(run, tmp_path):
    file = tmp_path / "schedule.json"
    schedule = lrsched.wsd(1.0, 10, warmup=2, cooldown=4, ramp="linear")
    file.write_text(json.dumps(lrsched.to_dict(schedule)))
    (tmp_path / "schedule.yaml").write_text(yaml.safe_dump(lrsched.to_dict(schedule)))
    found = run("describe", str(file), "--json")
    assert [(x["phase"], x["steps"], x["area"]) for x in found["phases"]] == [
        ("warmup", 2, 0.5),
        ("stable", 4, 4.0),
        ("cooldown", 4, 2.5),
    ]
    posts = {post["step"]: post["rate"] for post in found["boundary_rates"]}
    assert posts == {step: float(schedule(step)) for step in (0, 1, 2, 3, 5, 6, 7, 9, 10)}
    assert "cooldown" in run("describe", str(file))
    assert run("describe", str(file.with_suffix(".yaml")), "--json") == found


def test_a_call_of_another_library_is_printed_as_an_expression_and_as_json(run):
    call = "CosineAnnealingLR(optimizer, T_max=50)"
    text, data = run("convert", "--from", "torch", call, "--base-lr", "0.1").splitlines()
    assert text == "torch.cosine_annealing(base_lr=0.1, half_period=50, eta_min=0.0)"
    assert lrsched.to_dict(lrsched.from_dict(json.loads(data))) == json.loads(data)
    assert text in run("show", text)


@pytest.mark.parametrize(
    ("library", "call", "note"),
    [
        ("torch", "StepLR(optimizer, 30)", "so 1.0 is used; pass the rate by --base-lr"),
        ("timm", "CosineLRScheduler(optimizer, t_initial=30)", "1.0 is used"),
        ("torch", "CyclicLR(optimizer, 0.001, 0.1)", ""),
        ("torch", "OneCycleLR(optimizer, max_lr=0.1, total_steps=100)", ""),
        ("keras", "CosineDecay(1e-3, 100)", ""),
        ("optax", "cosine_decay_schedule(1e-3, 100)", ""),
    ],
)
def test_a_default_rate_and_an_unused_rate_are_noted(library, call, note, capsys):
    assert main(["convert", "--from", library, call, "--json"]) == 0
    found = capsys.readouterr()
    json.loads(found.out)
    assert note in found.err
    assert bool(note) == bool(found.err)
    assert main(["convert", "--from", library, call, "--base-lr", "0.5"]) == 0
    assert ("no effect" in capsys.readouterr().err) == (not note)


def test_a_narrow_terminal_shows_one_value_a_line(run, monkeypatch):
    monkeypatch.setenv("COLUMNS", "120")
    wide = run("bound", "linear(0.1, 0.0, 100)")
    monkeypatch.setenv("COLUMNS", "60")
    narrow = run("bound", "linear(0.1, 0.0, 100)")
    assert max(map(len, wide.splitlines())) > 60 >= max(map(len, narrow.splitlines()))
    assert wide.splitlines()[1].split()[-5:] == [
        line.split()[-1] for line in narrow.splitlines()[1:6]
    ]


def test_schedules_of_an_imported_module_are_known(run, tmp_path, monkeypatch):
    (tmp_path / "tent_of_mine.py").write_text(
        "import jax.numpy as jnp\nimport lrsched\n\n\n"
        '@lrsched.schedule(horizon="steps", name="tent_of_mine")\n'
        "def tent(step, steps: int):\n"
        "    return jnp.minimum(step, steps - step)\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    assert "no schedule is called 'tent_of_mine'" in run("show", "tent_of_mine(4)", code=2)
    try:
        found = run("--import", "tent_of_mine", "show", "tent_of_mine", "--steps", "4", "--json")
        assert found["rates"] == [0.0, 1.0, 2.0, 1.0, 0.0]
        names = {row["name"] for row in run("list", "--json", "--import=tent_of_mine")}
        assert "tent_of_mine" in names
    finally:
        REGISTRY.pop("tent_of_mine", None)


def test_help_lists_the_commands(run):
    shown = run("--help")
    assert "range-test" in shown
    assert "--import MODULE" in shown
    for name in COMMANDS:
        assert f"lrsched {name} [" in run(name, "--help")


def test_help_after_a_name_lists_its_arguments(run):
    about = run("show", "cosine", "--help").partition("\n\ncosine")[2]
    assert about.startswith("(peak: FiniteFloat, steps: PositiveInt")
    assert "  peak: " in about
    assert run("show", "recipe:smollm2-135m", "--help").rstrip().endswith("as its cooldown.")
    for words in (["--help", "cosine"], ["cosine(1.0, 10)", "--help"]):
        assert "FiniteFloat" not in run("show", *words)


def test_without_arguments_three_commands_are_shown_that_work(run):
    lines = [line.strip().partition("   ")[0] for line in run().splitlines() if line[:2] == "  "]
    commands = [shlex.split(line)[1:] for line in lines]
    assert [command[0] for command in commands] == ["list", "show", "compare"]
    for words in commands:
        assert run(*words, "--json")


def test_the_version_is_printed(run):
    assert run("--version").startswith(f"lrsched {lrsched.__version__} ")


def test_a_bound_is_printed_beside_that_of_linear_decay(run):
    ours, linear = run("bound", "cosine(0.1, 400)", "--json")
    expected = theory.final_bound(lrsched.cosine(0.1, 400))
    assert ours["optimal bound"] == pytest.approx(float(expected.optimal_values))
    assert ours["optimal peak"] == pytest.approx(0.1 * float(expected.optimal_rate))
    assert linear["optimal bound"] == pytest.approx(0.10063, rel=1e-4)


def test_pictures_are_saved_to_files(run, tmp_path):
    for name, arguments in {"one": ("show", EXPRESSION), "two": ("compare", "1.0", "2.0")}.items():
        file = tmp_path / f"{name}.png"
        assert str(file) in run(*arguments, "--png", str(file))
        assert file.read_bytes().startswith(b"\x89PNG")
    plt.close("all")


def test_range_test_and_sweep_run_on_bundled_workloads(run, tmp_path, monkeypatch):
    once = functools.cache(workloads.diabetes)
    monkeypatch.setattr(workloads, "WORKLOADS", {"digits": once, "diabetes": once})
    monkeypatch.setattr(tuning, "range_test", functools.cache(tuning.range_test))
    arguments = ("range-test", "--workload", "diabetes", "--seeds", "1", "--steps", "60")
    found = run(*arguments, "--json")
    assert found["range"][0] < found["suggestion"] < found["range"][1]
    *_, axis, marks = run(*arguments).splitlines()
    assert axis.split() == ["└1e-06", "1"]
    across = np.geomspace(1e-6, 1, 80 - axis.index("└") - 1)
    for letter, rate in zip("├▲┤", (found["range"][0], found["suggestion"], 0), strict=True):
        assert not rate or across[marks.index(letter) - axis.index("└") - 1] == pytest.approx(
            rate, rel=0.5
        )
    files = [tmp_path / name for name in ("range.png", "rates.png", "runs.png")]
    run(*arguments, "--json", "--png", str(files[0]))
    rows = run(
        *("sweep", "--rates", "1e-4", "1e-2", "--workload", "digits", "--seeds", "1"),
        *("--schedule", "linear(1.0, 0.0, 60)", "--json"),
        *("--png", str(files[1]), "--runs", str(files[2])),
    )
    assert [row["best"] for row in rows] == [False, True]
    assert all(file.read_bytes().startswith(b"\x89PNG") for file in files)
    plt.close("all")


def test_the_schema_is_printed(run):
    assert json.loads(run("schema")) == lrsched.json_schema()


def test_doctor_finds_the_namesake_and_what_is_too_old(run, monkeypatch):
    known = importlib.metadata.version
    found = {"lrsched": "0.5.0", "optax": "0.1.0"}
    monkeypatch.setattr(importlib.metadata, "version", lambda name: found.get(name) or known(name))
    monkeypatch.setattr(importlib.metadata, "requires", lambda name: ["optax>=0.2.5", "jax>=0.8"])
    problems = run("doctor", "--json", code=1)["problems"]
    assert [problem.split(":")[0] for problem in problems] == [
        "the package lrsched 0.5.0 is another project with the same import name, and both write "
        "into one folder",
        "optax 0.1.0 is older than 0.2.5",
    ]


def test_doctor_finds_nothing_here(run):
    found = run("doctor", "--json")
    assert found["jax"]
    assert found["devices"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("show", "cosin"), "no schedule is called 'cosin'; the nearest are cosine"),
        (("show", "cosine", "--peak", "1"), "missing a required argument: 'steps'; it takes peak"),
        (("show", "cosine", "--peek", "1"), "keyword argument 'peek'; it takes peak, steps, end=0"),
        (("show", "cosine", "--peak"), "--peak has no value"),
        (("show", "cosine", "--peak", "--steps", "9"), "--peak has no value"),
        (("show", "cosine", "1", "-5"), "cosine: steps=-5 is not accepted"),
        (("show", "cosine(1.0, 10)", "--until", "x"), "--until: 'x' is not a whole number; see"),
        (("show", "cosine(1.0, 10)", "--png", "/nowhere/x.png"), "/nowhere/x.png: No such file"),
        (("show", "cosine(1.0, 10)", "--peak", "1"), "only the name of a schedule takes arguments"),
        (
            ("show", "cosine(1.0, 10)", "--until", "0"),
            "--until: 0 is not accepted; it must be from 1 to 2**31 - 1",
        ),
        (("describe", "nowhere.json"), "nowhere.json: No such file"),
        (("describe", "nowhere.yaml"), "nowhere.yaml: No such file"),
        (("list", "--jsn"), "option '--jsn' is not known; perhaps --json; see lrsched list --help"),
        (("list", "--import", "no_such_module"), "--import no_such_module: ModuleNotFoundError"),
        (("list", "--import", "own.py"), "the name of a module, as in --import own."),
        (("show", "tent_of_yours", "--steps", "4"), "by --import MODULE"),
        (("compare",), "required: SCHEDULE; see lrsched compare --help"),
        (("bound", "constant(1.0)"), "give --steps"),
        (("bound", "cosine(1.0, 9)", "--steps", "0"), "--steps: 0 is not accepted"),
        (
            ("convert", "--from", "torch", "StepLR(3)", "--base-lr", "-1"),
            "--base-lr: -1 is not accepted",
        ),
        (
            ("convert", "--from", "torch", "ReduceLROnPlateau(opt)"),
            "use it in Python from lrsched.compat.torch",
        ),
        (("frobnicate",), "frobnicate"),
        (("convert", "StepLR(30)"), "--from"),
        (("sweep", "--workload", "imagenet"), "imagenet"),
        (("sweep", "--schedule", "constant(1.0)"), "has no horizon; give it one, as in"),
        (("sweep", "--rates", "-1"), "--rates: -1 is not accepted; it must be a number above 0"),
        (("sweep", "--rates", "nan"), "--rates: 'nan' is not a finite number"),
        (("range-test", "--seeds", "1000000000"), "--seeds: 1000000000 is not accepted"),
        (("bound", "linear(1.0, 0.0, 2147483647)"), "give --steps of at most 2000000"),
        (("sweep", "--schedule", "constant(1.0, 2147483647)"), "its horizon must be at most"),
        (("show", "cosine", "--=3"), "is not the name of an argument"),
        (("show", "cosine", "1", "--steps", "(" * 150), "cosine"),
        (("show", "-" * 9 + "1"), "required: SCHEDULE"),
        (("show", "--", "-" * 90_000 + "1"), "nested too deeply"),
        (("show", "(" * 90_000), "lrsched: "),
        (
            ("show", "recipe:olmo3"),
            "name='olmo3' is not accepted; it is the start of 3 names, olmo3",
        ),
        (("show", "recipe:"), "lrsched.recipes.names() lists all"),
        (("show", "recipe:smollm2-135m", "--steps", "9"), "phases of 402000 steps are not"),
        (("show", "recipe:smollm2-135m", "--steps", "x"), "--steps='x' is not accepted; it must"),
        (("show", "recipe:smollm2-135m", "--step", "9"), "keyword argument 'step'; it takes steps"),
        (("show", "recipe:nanochat/head"), "write recipe:nanochat/GROUP with one of the groups"),
        (("compare", "recipe:nanochat-d12", "1.0"), "is not one schedule; write recipe:nanochat"),
        (("list", "cosine"), "argument 'cosine' is not known; see lrsched list --help"),
        (("sweep", "--rates", "1", "--png", "x.png"), "give several --rates, or --runs"),
        (("range-test", "--steps", "0"), "--steps: 0 is not accepted"),
        (("bound", "constant(0.0, 70)"), "every rate is 0"),
        (("show", __file__), "a file of a schedule must end in .json, .yaml or .yml"),
        (("convert", "--from", "megatron", "--lr '3e-4 --train-iters 9"), "quotation mark"),
        (("convert", "--from", "megatron", "--lr 1e-3 --train-iters 9 --decoupled-lr 1"), "second"),
    ],
)
def test_errors_are_one_line_on_stderr_and_exit_code_2(arguments, message, run):
    assert message in run(*arguments, code=2)


def yaml_bomb():
    """Nine lines that stand for 9**9 values, in a key that `from_dict` leaves out."""
    rows = ["  - &a [" + ",".join(['"x"'] * 9) + "]"]
    rows += [
        f"  - &{after} [{','.join([f'*{before}'] * 9)}]"
        for before, after in zip("abcdefgh", "bcdefghi", strict=True)
    ]
    return "schedule: constant\nvalue: 1.0\n$schema:\n" + "\n".join(rows)


MERGES = "a: &a {x: 1, y: 2}\n" + "".join(
    f"{after}: &{after} {{<<: [{', '.join([f'*{before}'] * 9)}]}}\n"
    for before, after in zip("abcdefgh", "bcdefghi", strict=True)
)
HOSTILE = {
    "many schedules.json": (
        lambda: json.dumps(
            {"schedule": "join", "operands": [{"schedule": "warmup", "steps": 3}] * 9000}
        ),
        "at most 128 schedules",
    ),
    "an alias bomb.yaml": (yaml_bomb, "stand for more than 100,000 values"),
    "merged aliases.yaml": (lambda: MERGES, "stand for more than 100,000 values"),
    "a cycle.yaml": (
        lambda: "&a {schedule: shift, steps: 1, inner: *a}",
        "an alias contains itself",
    ),
    "deep.yaml": (lambda: "- " * 2_000, "nested too deeply"),
    "deep brackets.yaml": (lambda: "{" * 100_000, "nested too deeply"),
    "deep.json": (lambda: "[" * 100_000, "nested too deeply"),
    "deep schedules.json": (
        lambda: '{"schedule": "shift", "steps": 1, "inner": ' * 300 + "1" + "}" * 300,
        "",
    ),
    "a huge integer.json": (
        lambda: '{"schedule": "constant", "value": ' + "9" * 10_000 + "}",
        "is not JSON that can be read: an integer has too many digits.",
    ),
    "a large integer.json": (
        lambda: '{"schedule": "cosine", "peak": 1, "steps": ' + "9" * 400 + "}",
        "is not accepted",
    ),
    "a large file.json": (lambda: " " * (1 << 20) + "1", "must have at most 1024 KiB"),
    "a large file.yaml": (lambda: "# " * (1 << 16) + "1", "must have at most 128 KiB"),
    "a number.json": (lambda: "5", "it must hold a mapping"),
    "nothing.yaml": (lambda: "", "it must hold a mapping"),
    "two documents.yaml": (lambda: "a: 1\n---\nb: 2", "is not YAML"),
    "a Python object.yaml": (lambda: "!!python/object/apply:os.getcwd []", "is not YAML"),
    "a list as the name.json": (lambda: '{"schedule": ["cosine"], "peak": 1}', ""),
    "a number for a list.json": (lambda: '{"schedule": "join", "parts": 5}', ""),
    "a keyword self.json": (lambda: '{"schedule": "constant", "self": 1, "value": 1}', ""),
    "a key twice.json": (
        lambda: '{"schedule": "constant", "value": 1, "value": 2}',
        "the key 'value' occurs twice in one mapping",
    ),
    "a key twice within.json": (
        lambda: (
            '{"schedule": "shift", "steps": 1, "inner": '
            '{"schedule": "constant", "schedule": "cosine", "value": 1}}'
        ),
        "the key 'schedule' occurs twice in one mapping",
    ),
    "a key twice.yaml": (
        lambda: "schedule: constant\nvalue: 1.0\n'value': 2.0\n",
        "the key 'value' occurs twice in one mapping",
    ),
    "a key twice within.yaml": (
        lambda: "schedule: join\noperands:\n- {schedule: warmup, steps: 3, steps: 5}\n- 1.0\n",
        "the key 'steps' occurs twice in one mapping",
    ),
    "a list as a key.yaml": (lambda: "? [1, 2]\n: 3\n? [1, 2]\n: 4\n", "is not YAML"),
    "no text.json": (lambda: "\udcff", "is not UTF-8 text"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_file_of_any_content_is_one_line_and_exit_code_2(name, run, tmp_path):
    content, message = HOSTILE[name]
    file = tmp_path / name.replace(" ", "-")
    file.write_bytes(content().encode(errors="surrogateescape"))
    started = time.monotonic()
    assert message in run("show", str(file), code=2)
    assert time.monotonic() - started < 10


def test_yaml_aliases_of_a_reasonable_size_are_read(run, tmp_path):
    file = tmp_path / "alias.yaml"
    file.write_text("schedule: linear\ninit: &peak 1.0\nend: *peak\nsteps: 4\n")
    assert run("show", str(file), "--json")["rates"] == [1.0] * 5


def test_a_byte_order_mark_is_skipped(run, tmp_path):
    file = tmp_path / "windows.json"
    file.write_text('{"schedule": "constant", "value": 0.2, "steps": 2}', "utf-8-sig")
    assert run("show", str(file), "--json")["rates"] == pytest.approx([0.2] * 3)


def test_a_section_of_olmo_needs_the_rate(run, tmp_path):
    file = tmp_path / "olmo.yaml"
    file.write_text("_CLASS_: olmo_core.optim.CosWithWarmup\nwarmup: 30\n")
    convert = ("convert", "--from", "olmo", str(file), "--steps", "700")
    assert "pass it by --base-lr" in run(*convert, code=2)
    expected = configs.from_olmo({"_CLASS_": "CosWithWarmup", "warmup": 30}, 2e-4, 700)
    assert run(*convert, "--base-lr", "2e-4").splitlines()[0] == repr(expected)


def test_a_pasted_command_of_megatron_is_read(run):
    command = "torchrun pretrain_gpt.py --bf16 --lr 3e-4 --train-iters 70 --lr-decay-style linear"
    assert run("convert", "--from", "megatron", command).startswith("linear(init=0.0003,")


def test_the_name_of_the_picture_that_is_written_is_printed(run, tmp_path):
    for name, written in (("curve", "curve.png"), ("curve.svg", "curve.svg")):
        printed = run("show", "cosine(1.0, 9)", "--png", str(tmp_path / name))
        assert printed == f"{tmp_path / written}\n"
        assert (tmp_path / written).stat().st_size > 0


def test_a_key_of_a_yaml_merge_may_be_replaced(run, tmp_path):
    file = tmp_path / "merge.yaml"
    line = "{schedule: linear, init: 1.0, end: 0.0, steps: 4}"
    file.write_text(f"schedule: shift\nsteps: 1\ninner: {{<<: {line}, end: 1.0}}\n")
    assert run("show", str(file), "--json")["rates"] == [1.0] * 6


def test_an_interrupt_is_one_line_and_exit_code_130(monkeypatch, capsys):
    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("lrsched.cli.commands.read_schedule", interrupt)
    assert main(["show", "1.0"]) == 130
    assert capsys.readouterr().err == "lrsched: interrupted\n"


@pytest.mark.parametrize(
    ("package", "extra", "arguments"),
    [
        ("sklearn.datasets", "bench", ("range-test",)),
        ("flax", "bench", ("sweep",)),
        ("matplotlib.pyplot", "plot", ("show", "cosine(1.0, 9)", "--png", "x.png")),
        ("yaml", "cli", ("show", "x.yaml")),
        ("rich.padding", "cli", ("list",)),
    ],
)
def test_a_missing_package_names_the_extra(package, extra, arguments, run, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    Path("x.yaml").write_text("schedule: constant")
    monkeypatch.setitem(sys.modules, package, None)
    if extra == "cli":
        monkeypatch.delitem(sys.modules, "lrsched.cli.commands", raising=False)
        monkeypatch.delattr(lrsched.cli, "commands", raising=False)
    assert f"pip install 'lrsched-jax[{extra}]'" in run(*arguments, code=2)


@pytest.mark.parametrize("shell", ["bash", "zsh"])
def test_the_shell_completes(shell, run):
    script = run("completion", shell)
    if shell == "zsh":
        assert script.startswith("autoload -U +X bashcompinit")
        return

    def complete(*words):
        program = f"COMP_WORDS=({' '.join(words)}); COMP_CWORD={len(words) - 1}; _lrsched"
        done = subprocess.run(
            ["bash", "-c", f"{script}\n{program}; echo ${{COMPREPLY[@]}}"],
            capture_output=True,
            text=True,
            check=True,
        )
        return done.stdout.split()

    assert complete("lrsched", "ran") == ["range-test"]
    assert complete("lrsched", "show", "cosine", "--p") == ["--png"]


def test_the_import_is_light_and_warns_of_nothing():
    names = {"matplotlib", "rich", "scipy", "flax", "sklearn", "chex", "lrsched.recipes"}
    program = f"import sys, lrsched; print(sorted({names} & sys.modules.keys()))"
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program], capture_output=True, text=True, check=True
    )
    assert (done.stdout, done.stderr) == ("[]\n", "")


DEEPSPEED = {"scheduler": {"type": "WarmupLR", "params": {"warmup_max_lr": 0.1}}}
TITAN = "[optimizer]\nlr = 0.5\n[training]\nsteps = 100\n[lr_scheduler]\nwarmup_steps = 10\n"


def test_a_trainers_configuration_is_converted(tmp_path, capsys):
    (tmp_path / "ds.json").write_text(json.dumps(DEEPSPEED))
    (tmp_path / "titan.toml").write_text(TITAN)
    for arguments, converted in (
        (["deepspeed", str(tmp_path / "ds.json")], configs.from_deepspeed(DEEPSPEED)),
        (
            ["torchtitan", str(tmp_path / "titan.toml")],
            configs.from_torchtitan(tomllib.loads(TITAN)),
        ),
        (
            ["megatron", "--lr 0.5 --train-iters=100 --lr-decay-style linear"],
            configs.from_megatron({"lr": 0.5, "train_iters": 100, "lr_decay_style": "linear"}),
        ),
    ):
        assert main(["convert", "--json", "--from", *arguments]) == 0
        assert lrsched.from_dict(json.loads(capsys.readouterr().out)) == converted


@pytest.mark.parametrize(
    ("library", "content", "options", "message"),
    [
        ("deepspeed", "[]", [], "must hold a mapping"),
        ("deepspeed", '{"scheduler": [1]}', [], "from_deepspeed: "),
        ("deepspeed", '{"scheduler": {}, "scheduler": {}}', [], "occurs twice"),
        ("megatron", '{"lr": "x"}', [], "from_megatron: "),
        ("megatron", '{"lr": 0.1, "train-iters": 9}', ["--steps", "9"], "--steps is not accepted"),
        ("torchtitan", "{", [], "is not JSON"),
    ],
)
def test_a_configuration_that_is_not_accepted_is_one_line(
    tmp_path, capsys, library, content, options, message
):
    (tmp_path / "config.json").write_text(content)
    command = ["convert", "--from", library, str(tmp_path / "config.json"), *options]
    assert main(command) == 2
    shown = capsys.readouterr().err
    assert message in shown
    assert shown.count("\n") == 1
