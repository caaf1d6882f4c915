import importlib.metadata
import json
import subprocess
import sys

import matplotlib.pyplot as plt
import pytest

import lrsched
from lrsched import theory
from lrsched.cli import chart, main
from lrsched.schedule import _REGISTRY

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
    assert names == {name for name in _REGISTRY if "." not in name and hasattr(lrsched, name)}
    transforms = {row["name"] for row in run("list", "--adaptive", "--json")}
    assert {"prodigy", "dog", "schedule_free", "reduce_on_plateau", "lawa", "polyak"} <= transforms
    shown = run("list")
    assert "cosine(peak: Value, steps: Length" in shown
    assert "Half a cosine" in shown or "cosine" in shown


@pytest.mark.parametrize(
    "arguments",
    [("cosine", "--peak", "3e-4", "--steps", "100"), ("cosine(3e-4, 100)",)],
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
    assert shown.startswith("wsd(peak=1.0, steps=100, warmup=10, cooldown=0.2, shape='cosine')")


def test_several_curves_without_colour_are_letters(run):
    shown = run("compare", "cosine(1.0, 100)", "linear(0.5, 0.0, 100)")
    assert {"a", "b"} <= set(shown.partition("┤")[2])
    assert "⠉" not in shown


def test_a_steep_curve_has_no_gaps():
    lines = [chart.Line(*map(lambda x: x.astype(float), (s, v))) for s, v in [_jump()]]
    rows = chart.draw(lines, 40, height=6).plain.splitlines()[:6]
    assert all(any("⠀" < letter <= "⣿" for letter in row) for row in rows)


def _jump():
    import numpy as np

    return np.array([0, 50, 51, 100]), np.array([1.0, 1.0, 0.0, 0.0])


def test_a_comparison_has_the_numbers(run):
    found = run("compare", "linear(1.0, 0.0, 4)", "constant(0.5)", "--until", "4", "--json")
    assert found["schedules"] == [
        {"schedule": "linear(1.0, 0.0, 4)", "peak": 1.0, "last": 0.25, "area": 2.5, "horizon": 4},
        {"schedule": "constant(0.5)", "peak": 0.5, "last": 0.5, "area": 2.0, "horizon": None},
    ]


def test_a_description_has_phases_areas_and_fence_posts(run, tmp_path):
    file = tmp_path / "schedule.json"
    schedule = lrsched.wsd(1.0, 10, warmup=2, cooldown=4, shape="linear")
    file.write_text(json.dumps(lrsched.to_dict(schedule)))
    found = run("describe", str(file), "--json")
    assert [(x["phase"], x["steps"], x["area"]) for x in found["phases"]] == [
        ("warmup", 2, 0.5),
        ("stable", 4, 4.0),
        ("cooldown", 4, 2.5),
    ]
    posts = {post["step"]: post["rate"] for post in found["fence_posts"]}
    assert posts == {step: float(schedule(step)) for step in (0, 1, 2, 3, 5, 6, 7, 9, 10)}
    assert "cooldown" in run("describe", str(file))


def test_a_peers_call_is_printed_as_an_expression_and_as_json(run):
    call = "CosineAnnealingLR(optimizer, T_max=50)"
    text, data = run("convert", "--from", "torch", call, "--base-lr", "0.1").splitlines()
    assert text == "torch.cosine_annealing(base_lr=0.1, half_period=50, eta_min=0.0)"
    assert lrsched.to_dict(lrsched.from_dict(json.loads(data))) == json.loads(data)
    assert text in run("show", text)


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


def test_rates_are_looked_for_on_bundled_workloads(run):
    found = run("range-test", "--workload", "diabetes", "--seeds", "1", "--steps", "60", "--json")
    assert found["range"][0] < found["suggestion"] < found["range"][1]
    rows = run(
        *("sweep", "--rates", "1e-4", "1e-2", "--workload", "digits", "--seeds", "1"),
        *("--schedule", "linear(1.0, 0.0, 60)", "--json"),
    )
    assert [row["best"] for row in rows] == [False, True]


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
        (("show", "cosine", "--peak", "1"), "missing a required argument: 'steps'"),
        (("show", "cosine", "--peak"), "--peak has no value"),
        (("show", "cosine(1.0, 10)", "--peak", "1"), "is an argument for a schedule's name"),
        (("show", "cosine(1.0, 10)", "--until", "0"), "--until 0 is not accepted"),
        (("describe", "nowhere.json"), "nowhere.json"),
        (("compare",), "compare: give at least one"),
        (("bound", "constant(1.0)"), "give --steps"),
        (("frobnicate",), "frobnicate"),
        (("convert", "StepLR(30)"), "--from"),
        (("sweep", "--workload", "imagenet"), "imagenet"),
    ],
)
def test_errors_are_one_line_on_stderr_and_exit_code_2(arguments, message, run):
    assert message in run(*arguments, code=2)


def test_a_missing_package_names_the_extra(run, monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    assert "pip install 'lrsched-jax[bench]'" in run("range-test", code=2)


def test_the_shell_completes(run):
    assert "range-test" in run("--tyro-print-completion", "bash")


def test_the_import_is_light_and_warns_of_nothing():
    names = {"matplotlib", "tyro", "rich", "scipy", "flax", "sklearn"}
    program = f"import sys, lrsched; print(sorted({names} & sys.modules.keys()))"
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program], capture_output=True, text=True, check=True
    )
    assert (done.stdout, done.stderr) == ("[]\n", "")
