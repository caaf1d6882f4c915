"""Whatever the documentation shows must run."""

import doctest
import inspect
import os
import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

import lrsched
import lrsched._phases
import lrsched.expressions
import lrsched.flax
import lrsched.pictures.plots
from lrsched import recipes, scaling, theory, tuning
from lrsched._schedule import REGISTRY
from lrsched.compat import keras, optax, timm, torch, transformers

ROOT = Path(__file__).parent.parent
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))
MODULES = (lrsched.expressions, lrsched.pictures.plots, lrsched.units)
PEERS = (keras, optax, timm, torch, transformers)
PUBLIC = {
    name: thing
    for name, thing in [
        *((name, getattr(lrsched, name)) for name in lrsched.__all__),
        ("flax.TrainState", lrsched.flax.TrainState),
        ("tuning.Training", tuning.Training),
        *(
            (f"recipes.{name}", getattr(recipes, name))
            for name in ("get", "listing", "names", "recipe", "to_json")
        ),
        ("_phases.phase_starts", lrsched._phases.phase_starts),
        *(
            (f"{package.__name__.removeprefix('lrsched.')}.{name}", thing)
            for package in (scaling, theory, tuning)
            for name, thing in inspect.getmembers(package, inspect.isfunction)
        ),
        *(
            (name, thing)
            for module in MODULES
            for name, thing in inspect.getmembers(module, inspect.isfunction)
            if thing.__module__ == module.__name__
        ),
        *(
            (f"{peer.__name__.removeprefix('lrsched.')}.{name}", getattr(peer, name))
            for peer in PEERS
            for name in peer.__all__
            if name != "Schedule"
        ),
    ]
    if not (inspect.ismodule(thing) or name.startswith("_"))
}
STATES = {name for name in lrsched.__all__ if name.endswith(("State", "Norms"))}


@pytest.fixture(autouse=True)
def _forget_the_schedules_that_examples_define():
    known = dict(REGISTRY)
    yield
    REGISTRY.clear()
    REGISTRY.update(known)


CLASSES = {
    f"{package.__name__}.{name}": thing
    for package in (scaling, theory, tuning)
    for name, thing in inspect.getmembers(package, inspect.isclass)
    if ">>>" in (thing.__doc__ or "") and thing.__module__.startswith("lrsched")
}


@pytest.mark.parametrize("name", CLASSES)
def test_the_examples_of_classes_run(name):
    docstring = inspect.getdoc(CLASSES[name])
    test = doctest.DocTestParser().get_doctest(docstring, {}, name, None, 0)
    report = []
    assert doctest.DocTestRunner().run(test, out=report.append).failed == 0, "".join(report)


@pytest.mark.parametrize("name", sorted(PUBLIC.keys() - STATES))
def test_every_public_docstring_has_an_example_that_runs(name):
    docstring = inspect.getdoc(PUBLIC[name])
    test = doctest.DocTestParser().get_doctest(docstring, {}, name, None, 0)
    assert test.examples, f"{name} has no doctest"
    report = []
    failures, _ = doctest.DocTestRunner().run(test, out=report.append)
    assert failures == 0, "".join(report)


@pytest.mark.parametrize("name", sorted(PUBLIC.keys() - STATES - {"Schedule"}))
def test_every_argument_is_described(name):
    docstring = inspect.getdoc(PUBLIC[name])
    for parameter in inspect.signature(PUBLIC[name]).parameters.values():
        described = re.search(rf"^  \*{{0,2}}{parameter.name}:", docstring, re.MULTILINE)
        assert described or "Args:" not in docstring, f"{name} does not describe {parameter.name}"


@pytest.fixture(autouse=True)
def _registered_recipes():
    """Remove the recipes that examples register: they would be in every later list."""
    before = dict(recipes.RECIPES)
    yield
    recipes.RECIPES.clear()
    recipes.RECIPES.update(before)


def test_every_schedule_of_ours_is_public():
    modules = {name: str(known.function.__module__) for name, known in REGISTRY.items()}
    ours = {name for name, module in modules.items() if module.startswith("lrsched.sch")}
    assert ours <= PUBLIC.keys()


BLOCK = re.compile(r"```python\n(.*?)```(?:\n\n```text\n(.*?)```)?", re.S)
"""Python code, and the output that the page shows below it."""


def blocks(page):
    return [block for block, _ in BLOCK.findall(page.read_text())]


PODS = ROOT / "docs/distributed.md"
PAGES = [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")]


@pytest.mark.parametrize(
    ("page", "block", "output"),
    [
        pytest.param(page, block, output, id=f"{page.name}-{index}")
        for page in PAGES
        if page != PODS
        for index, (block, output) in enumerate(BLOCK.findall(page.read_text()))
    ],
)
def test_every_block_of_python_in_the_documentation_runs(
    page, block, output, tmp_path, monkeypatch, capsys
):
    script = tmp_path / f"{page.stem}.py"
    script.write_text(block)
    run(script, monkeypatch, tmp_path)
    assert not output or capsys.readouterr().out == output


def test_the_blocks_for_pods_run_on_eight_devices_and_in_two_processes(tmp_path):
    """The second one as Slurm starts two tasks of a job; what is left, one after another."""
    many_hosts = [block for block in blocks(PODS) if "distributed.initialize()" in block]
    here = [block for block in blocks(PODS) if block not in many_hosts]
    (tmp_path / "here.py").write_text("\n".join(here))
    (tmp_path / "many_hosts.py").write_text("\n".join(many_hosts))

    def started(script, devices, **variables):
        given = {"JAX_NUM_CPU_DEVICES": devices, "JAX_PLATFORMS": "cpu", **variables}
        return subprocess.Popen(
            [sys.executable, tmp_path / script],
            cwd=tmp_path,
            env=os.environ | given,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    job = {"SLURM_JOB_ID": str(os.getpid()), "SLURM_STEP_NODELIST": "localhost"}
    tasks = [
        started("many_hosts.py", "4", SLURM_NTASKS="2", SLURM_PROCID=i, SLURM_LOCALID=i, **job)
        for i in "01"
    ]
    assert len(many_hosts) == 1
    for process in [*tasks, started("here.py", "8")]:
        output, _ = process.communicate(timeout=120)
        assert process.returncode == 0, output


def test_every_link_between_pages_leads_to_a_file():
    missing = [
        f"{page.name}: {target}"
        for page in PAGES
        for prose in [re.sub(r"^```.*?^```", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)]
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", prose)
        if not (page.parent / target).exists()
    ]
    assert not missing


def test_the_quick_start_is_the_example_of_that_name():
    script = (ROOT / "examples/quickstart.py").read_text()
    assert script.split('"""\n\n', 1)[1] in (ROOT / "docs/quickstart.md").read_text()


def test_every_example_has_a_row():
    rows = re.findall(r"^\| \[(\w+\.py)\]\(\1\)", (ROOT / "examples/README.md").read_text(), re.M)
    assert sorted(rows) == [script.name for script in EXAMPLES]


def has_a_test(script):
    return (ROOT / "tests/examples" / f"test_{script.name}").exists()


@pytest.mark.parametrize(
    "script", [script for script in EXAMPLES if not has_a_test(script)], ids=lambda p: p.name
)
def test_every_example_without_a_test_of_its_own_runs(script, tmp_path, monkeypatch, capsys):
    run(script, monkeypatch, tmp_path)
    assert capsys.readouterr().out


def run(script, monkeypatch, directory):
    """As ``python script`` does in an empty directory."""
    monkeypatch.chdir(directory)
    monkeypatch.setattr(sys, "argv", [str(script)])
    runpy.run_path(str(script), run_name="__main__")
