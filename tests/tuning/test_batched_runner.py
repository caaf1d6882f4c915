"""What is compiled, how often, and for how long it is kept."""

import gc
import subprocess
import sys
import weakref
from pathlib import Path

import jax.numpy as jnp
import optax
import pytest

import lrsched
from lrsched import tuning
from lrsched.tuning import batched_runner
from lrsched.tuning.batched_runner import cached_runners
from tests.tuning.faulty_sweep import SCHEDULES, regression


def test_programs_are_kept_as_long_as_their_training():
    run = regression()
    tuning.sweep(run, SCHEDULES[:1], plan=tuning.ExecutionPlan(1, 1), progress=False)
    (runner,) = cached_runners(run)
    training, programs = weakref.ref(run), weakref.ref(runner)
    del run, runner
    gc.collect()
    assert training() is None
    assert programs() is None


def test_a_training_is_data():
    run = regression()
    before = vars(run).copy()
    tuning.range_test(run, steps=5, seeds=1)
    assert vars(run) == before
    assert not hasattr(run, "compiled")


def cached_sweep(directory):
    done = subprocess.run(
        [sys.executable, "-m", "tests.tuning.cached_sweep", str(directory)],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=True,
    )
    (hits, misses), (second,) = (map(int, line.split()) for line in done.stdout.splitlines())
    return hits, misses, second


def test_a_configured_compilation_cache_is_hit_and_a_second_sweep_compiles_nothing(tmp_path):
    hits, misses, second = cached_sweep(tmp_path)
    assert misses >= 3  # the programs that start, advance and evaluate
    assert second == 0
    hits_again, misses_again, second = cached_sweep(tmp_path)
    assert (hits_again - hits, misses_again, second) == (misses, 0, 0)


@pytest.mark.parametrize(("width", "num_measured"), [(4, 1), (128, 0)])
def test_a_cpu_measures_a_plan_only_where_the_dispatch_of_operations_decides(
    monkeypatch, width, num_measured
):
    measured = []

    def seconds_per_update(*arguments):
        measured.append(arguments)
        return 1e-9

    monkeypatch.setattr(batched_runner, "_seconds_per_update", seconds_per_update)
    matrix = jnp.eye(width)
    run = tuning.training(lambda w, x: jnp.mean((x @ w) ** 2), matrix, optax.sgd, matrix)
    schedules = [lrsched.constant(rate) for rate in (0.1, 0.2)]
    found = tuning.sweep(run, schedules, steps=1, progress=False)
    assert len(measured) == num_measured
    assert found.plans == [tuning.ExecutionPlan(1, 1)]


@pytest.mark.parametrize("module", ["_training", "batched_runner", "checkpoint", "results"])
def test_modules_of_tuning_import_downwards_only(module):
    order = ["_nnx", "_training", "batched_runner", "checkpoint", "results", "_sweep"]
    source = (Path(tuning.__file__).parent / f"{module}.py").read_text()
    above = order[order.index(module) + 1 :]
    assert not [name for name in above if f"lrsched.tuning.{name}" in _imports(source)]
    assert "lrsched.pictures" not in _imports(source)


def _imports(source):
    lines = [line.strip() for line in source.splitlines()]
    return "\n".join(
        line for line in lines if line.startswith(("import ", "from ")) and ">>>" not in line
    )
