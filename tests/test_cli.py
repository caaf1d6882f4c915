import functools
import importlib.metadata
import json
import subprocess
import sys

import matplotlib.pyplot as plt
import numpy as np
import pytest
import yaml

import lrsched
from lrsched import theory, tuning
from lrsched._schedule import REGISTRY
from lrsched.cli import main, workloads
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


def test_strings_and_underscores_are_arguments_too(run):
    arguments = ("--peak=1", "--steps", "100", "--warmup", "10", "--cooldown", "0.2")
    shown = run("show", "wsd", *arguments, "--shape", "cosine")
    assert shown.startswith("wsd(peak=1.0, steps=100, warmup=10, cooldown=0.2, ramp='cosine')")


def test_a_curve_is_numbers_for_a_machine(run):
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


def test_a_comparison_has_the_numbers(run):
    found = run("compare", "linear(1.0, 0.0, 4)", "constant(0.5)", "--until", "4", "--json")
    assert found["schedules"] == [
        {"schedule": "linear(1.0, 0.0, 4)", "peak": 1.0, "last": 0.25, "area": 2.5, "horizon": 4},
        {"schedule": "constant(0.5)", "peak": 0.5, "last": 0.5, "area": 2.0, "horizon": None},
    ]


def test_a_description_has_phases_areas_and_fence_posts(run, tmp_path):
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
    posts = {post["step"]: post["rate"] for post in found["fence_posts"]}
    assert posts == {step: float(schedule(step)) for step in (0, 1, 2, 3, 5, 6, 7, 9, 10)}
    assert "cooldown" in run("describe", str(file))
    assert run("describe", str(file.with_suffix(".yaml")), "--json") == found


def test_a_peers_call_is_printed_as_an_expression_and_as_json(run):
    call = "CosineAnnealingLR(optimizer, T_max=50)"
    text, data = run("convert", "--from", "torch", call, "--base-lr", "0.1").splitlines()
    assert text == "torch.cosine_annealing(base_lr=0.1, half_period=50, eta_min=0.0)"
    assert lrsched.to_dict(lrsched.from_dict(json.loads(data))) == json.loads(data)
    assert text in run("show", text)


@pytest.mark.parametrize(
    ("peer", "call", "note"),
    [
        ("torch", "StepLR(optimizer, 30)", "1.0 is taken; give the optimizer's by --base-lr"),
        ("timm", "CosineLRScheduler(optimizer, t_initial=30)", "1.0 is taken"),
        ("torch", "CyclicLR(optimizer, 0.001, 0.1)", ""),
        ("torch", "OneCycleLR(optimizer, max_lr=0.1, total_steps=100)", ""),
        ("keras", "CosineDecay(1e-3, 100)", ""),
        ("optax", "cosine_decay_schedule(1e-3, 100)", ""),
    ],
)
def test_a_rate_that_a_call_lacks_is_not_taken_in_silence(peer, call, note, capsys):
    assert main(["convert", "--from", peer, call, "--json"]) == 0
    found = capsys.readouterr()
    json.loads(found.out)
    assert note in found.err
    assert bool(note) == bool(found.err)
    assert main(["convert", "--from", peer, call, "--base-lr", "0.5"]) == 0
    assert ("no effect" in capsys.readouterr().err) == (not note)


def test_a_narrow_terminal_has_one_number_a_line(run, monkeypatch):
    monkeypatch.setenv("COLUMNS", "120")
    wide = run("bound", "linear(0.1, 0.0, 100)")
    monkeypatch.setenv("COLUMNS", "60")
    narrow = run("bound", "linear(0.1, 0.0, 100)")
    assert max(map(len, wide.splitlines())) > 60 >= max(map(len, narrow.splitlines()))
    assert wide.splitlines()[1].split()[-5:] == [
        line.split()[-1] for line in narrow.splitlines()[1:6]
    ]


def test_ones_own_schedules_are_known_once_imported(run, tmp_path, monkeypatch):
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


@pytest.mark.parametrize("arguments", [(), ("--help",)])
def test_without_arguments_there_is_help(arguments, run):
    shown = run(*arguments)
    assert "range-test" in shown
    assert "--import MODULE" in shown


def test_a_bound_stands_beside_that_of_linear_decay(run):
    ours, linear = run("bound", "cosine(0.1, 400)", "--json")
    expected = theory.final_bound(lrsched.cosine(0.1, 400))
    assert ours["bound there"] == pytest.approx(float(expected.optimal_values))
    assert ours["optimal peak"] == pytest.approx(0.1 * float(expected.optimal_rate))
    assert linear["bound there"] == pytest.approx(0.10063, rel=1e-4)


def test_pictures_go_into_files(run, tmp_path):
    for name, arguments in {"one": ("show", EXPRESSION), "two": ("compare", "1.0", "2.0")}.items():
        file = tmp_path / f"{name}.png"
        assert str(file) in run(*arguments, "--png", str(file))
        assert file.read_bytes().startswith(b"\x89PNG")
    plt.close("all")


def test_rates_are_looked_for_on_bundled_workloads(run, tmp_path, monkeypatch):
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


def test_a_doctor_finds_the_namesake_and_what_is_too_old(run, monkeypatch):
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


def test_a_doctor_finds_nothing_here(run):
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
        (("show", "cosine(1.0, 10)", "--peak", "1"), "is an argument for a schedule's name"),
        (("show", "cosine(1.0, 10)", "--until", "0"), "--until 0 is not accepted"),
        (("describe", "nowhere.json"), "nowhere.json: No such file"),
        (("describe", "nowhere.yaml"), "nowhere.yaml: No such file"),
        (("list", "--jsn"), "Unrecognized options: --jsn; perhaps --json; see lrsched list --help"),
        (("list", "--import", "no_such_module"), "--import no_such_module: ModuleNotFoundError"),
        (("compare",), "compare: give at least one"),
        (("bound", "constant(1.0)"), "give --steps"),
        (("bound", "cosine(1.0, 9)", "--steps", "0"), "--steps 0 is not accepted"),
        (("convert", "--from", "torch", "StepLR(3)", "--base-lr", "-1"), "--base-lr -1.0 is not"),
        (("convert", "--from", "torch", "ReduceLROnPlateau(opt)"), "is in lrsched.compat.torch"),
        (("frobnicate",), "frobnicate"),
        (("convert", "StepLR(30)"), "--from"),
        (("sweep", "--workload", "imagenet"), "imagenet"),
        (("sweep", "--schedule", "constant(1.0)"), "has no horizon; give it a length"),
        (("sweep", "--rates", "-1"), "give numbers above 0"),
        (("sweep", "--rates", "1", "--png", "x.png"), "give several --rates, or --runs"),
        (("range-test", "--steps", "0"), "steps=0 is not accepted"),
    ],
)
def test_errors_are_one_line_on_stderr_and_exit_code_2(arguments, message, run):
    assert message in run(*arguments, code=2)


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
def test_a_missing_package_names_the_extra(package, extra, arguments, run, monkeypatch):
    monkeypatch.setitem(sys.modules, package, None)
    if extra == "cli":
        monkeypatch.delitem(sys.modules, "lrsched.cli.commands", raising=False)
        monkeypatch.delattr(lrsched.cli, "commands", raising=False)
    assert f"pip install 'lrsched-jax[{extra}]'" in run(*arguments, code=2)


@pytest.mark.parametrize("shell", ["bash", "zsh"])
def test_the_shell_completes(shell, run):
    assert "range-test" in run("--tyro-print-completion", shell)


def test_the_import_is_light_and_warns_of_nothing():
    names = {"matplotlib", "tyro", "rich", "scipy", "flax", "sklearn"}
    program = f"import sys, lrsched; print(sorted({names} & sys.modules.keys()))"
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program], capture_output=True, text=True, check=True
    )
    assert (done.stdout, done.stderr) == ("[]\n", "")
