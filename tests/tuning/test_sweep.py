import dataclasses
import signal
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import lrsched
from lrsched import tuning
from tests.tuning.problems import digits, logistic
from tests.tuning.test_training import evaluated, trained

PEAKS = [float(peak) for peak in np.logspace(-3, 0, 5)]
COSINES = [lrsched.cosine(peak, steps=40) for peak in PEAKS]


def swept(run, schedules, **others):
    return tuning.sweep(run, schedules, **{"progress": False} | others)


def test_every_member_is_the_run_that_it_would_be_alone():
    run = logistic()
    found = swept(run, COSINES, seeds=2, num_loss_records=20)
    assert found.table[["peak", "seed"]].tolist() == [(p, s) for p in PEAKS for s in (0, 1)]
    for row, curve in zip(found.table, found.train_loss, strict=True):
        state, losses = trained(run, COSINES[row["schedule"]], 40, int(row["seed"]))
        np.testing.assert_allclose(curve, losses.reshape(20, 2).mean(1), rtol=1e-5)
        np.testing.assert_allclose(row["loss"], evaluated(run, state), rtol=1e-5)
    assert found.best() == COSINES[int(np.argmin(found.mean_losses()))]
    peaks, losses = found.curve()
    assert peaks.tolist() == PEAKS
    np.testing.assert_array_equal(losses.mean(axis=1), found.mean_losses())
    with pytest.raises(ValueError, match="own x='steps'; they differ in peak"):
        found.curve("steps")


@pytest.mark.parametrize(
    "plan",
    [
        tuning.ExecutionPlan(1, 1),
        tuning.ExecutionPlan(4, 4),
        tuning.ExecutionPlan(3, 6),
        tuning.ExecutionPlan(1, 3, "host"),
    ],
    ids=str,
)
def test_the_plan_changes_nothing(plan):
    run = logistic()
    one, other = swept(run, COSINES), swept(run, COSINES, plan=plan)
    assert other.plans == [plan]
    np.testing.assert_allclose(one.train_loss, other.train_loss, rtol=1e-4)
    np.testing.assert_allclose(one.table["loss"], other.table["loss"], rtol=1e-4)


def test_float64_changes_no_result():
    x = np.linspace(-1, 1, 64)
    found = []
    for is_wide in (False, True):
        with jax.enable_x64(is_wide):
            data = (jnp.asarray(x), jnp.asarray(2 * x + x**2))  # no loss comes near 0
            run = tuning.training(
                lambda w, batch: jnp.mean((batch[0] * w - batch[1]) ** 2),
                jnp.zeros(()),
                optax.adam,
                data,
                validation=data,
            )
            found.append(swept(run, COSINES, seeds=2))
    narrow, wide = found
    np.testing.assert_allclose(narrow.train_loss, wide.train_loss, rtol=1e-4)
    np.testing.assert_allclose(narrow.table["loss"], wide.table["loss"], rtol=1e-4)


def test_a_loop_on_the_host_is_called_as_often_as_need_be():
    found = swept(
        logistic(), COSINES[:1], plan=tuning.ExecutionPlan(1, 1, "host"), num_evaluations=40
    )
    assert np.isfinite(found.validation_loss).all()


@pytest.mark.parametrize("plan", [tuning.ExecutionPlan(1, 2), tuning.ExecutionPlan(4, 4)], ids=str)
def test_members_that_diverge_leave_the_others_alone_and_stop(plan):
    run = logistic(optax.sgd)
    calm = swept(run, COSINES[:3], plan=plan)
    storms = [lrsched.cosine(8e37, steps=40)] * 2
    mixed = swept(run, [storms[0], *COSINES[:3], storms[1]], plan=plan)
    np.testing.assert_array_equal(calm.train_loss, mixed.train_loss[1:4])
    assert mixed.table["diverged"].tolist() == [True, False, False, False, True]
    assert mixed.table["loss"][0] == mixed.table["loss"][4] == np.inf
    assert mixed.table["updates"][0] < 5
    assert mixed.best() == calm.best()
    with pytest.raises(ValueError, match="all 2 runs of the sweep diverged"):
        swept(run, storms, plan=plan).best()


def test_horizons_warmups_and_kinds_go_together():
    schedules = [
        *(lrsched.cosine(0.1, steps=steps) for steps in (7, 30, 11)),
        *(lrsched.wsd(0.1, steps=20, warmup=warmup, cooldown=5) for warmup in (2, 8)),
    ]
    run = logistic()
    found = swept(run, schedules, plan=tuning.ExecutionPlan(3, 3))
    assert found.table["updates"].tolist() == [7, 30, 11, 20, 20]
    assert found.table["warmup"].tolist()[3:] == [2, 8]
    for row, schedule in zip(found.table, schedules, strict=True):
        state, _ = trained(run, schedule, schedule.horizon)
        np.testing.assert_allclose(row["loss"], evaluated(run, state), rtol=1e-4)
    assert np.all(np.isnan(found.train_loss[0, 7:]))


def test_one_schedule_with_arrays_of_numbers_is_many():
    many = lrsched.cosine(jnp.array([0.01, 0.1]), steps=40)
    found = swept(logistic(), many)
    np.testing.assert_allclose(found.table["peak"], [0.01, 0.1], rtol=1e-6)
    assert [schedule.horizon for schedule in found.schedules] == [40, 40]


def test_the_held_out_examples_are_looked_at_along_the_way():
    run = logistic()
    found = swept(run, COSINES[:1], num_evaluations=4)
    for column, steps in enumerate((10, 20, 30, 40)):
        state, _ = trained(run, COSINES[0], steps)
        np.testing.assert_allclose(
            found.validation_loss[0, column], evaluated(run, state), rtol=1e-5
        )


def test_several_metrics_are_columns_and_the_loss_chooses():
    def metric(params, batch):
        x, y = batch
        scores = x @ params["w"] + params["b"]
        loss = optax.sigmoid_binary_cross_entropy(scores, y).mean()
        return {"accuracy": jnp.mean((scores > 0) == (y > 0.5)), "loss": loss}

    plain, both = (swept(logistic(**extra), COSINES) for extra in ({}, {"metric": metric}))
    np.testing.assert_allclose(both.table["loss"], plain.table["loss"], rtol=1e-6)
    assert both.best() == plain.best()
    assert both.metrics["accuracy"].shape == (5, 1)
    assert both.table["accuracy"].max() > 0.9


def test_without_held_out_examples_the_loss_is_the_training_loss_at_the_end():
    found = swept(logistic(validation=None), COSINES, num_loss_records=40)
    np.testing.assert_allclose(found.table["loss"], found.train_loss[:, -4:].mean(1), rtol=1e-6)


def test_a_second_sweep_of_other_numbers_traces_nothing():
    traces, run = [], logistic()

    def step(state, batch):
        traces.append(1)
        return run.step(state, batch)

    counted = dataclasses.replace(run, step=step)
    swept(counted, COSINES)
    first = len(traces)
    swept(counted, [lrsched.cosine(peak / 3, steps=40) for peak in PEAKS], seeds=[5])
    assert len(traces) == first


def test_a_network_with_dropout_and_statistics():
    found = swept(digits(), [lrsched.cosine(peak, steps=60) for peak in (1e-4, 1e-2)], seeds=2)
    assert found.best().peak == 1e-2
    assert found.table["loss"][found.table["peak"] == 1e-2].max() < 1.0


def test_convolutions_are_not_put_in_a_loop_of_the_cpu():
    def loss_fn(kernel, batch):
        image = jax.lax.conv(batch[None, None], kernel, (1, 1), "SAME")
        return jnp.mean((image - 2 * batch) ** 2)

    images = np.random.default_rng(0).standard_normal((10, 8, 8)).astype(np.float32)
    run = tuning.training(
        lambda k, batch: loss_fn(k, batch[0]),
        jnp.zeros((1, 1, 3, 3)),
        optax.adam,
        images,
        batch_size=1,
    )
    found = swept(run, [lrsched.constant(0.1), lrsched.constant(0.01)], steps=30)
    assert found.plans == [tuning.ExecutionPlan(1, 1, "host")]
    assert found.table["updates"].tolist() == [30, 30]
    assert found.best() == lrsched.constant(0.1)


@pytest.mark.parametrize(
    ("schedules", "others", "message"),
    [
        ([], {}, "schedules is empty"),
        (COSINES, {"seeds": []}, "seeds is empty"),
        ([lrsched.constant(0.1)], {}, "steps=None is not accepted for constant.*no horizon"),
        (COSINES, {"steps": 0}, "steps=0 is not accepted"),
        (COSINES, {"seeds": 2**40}, "seeds=1099511627776 is not accepted"),
        (0.1, {}, "schedules=0.1 is not accepted; schedules must be a list of schedules"),
        ("cosine", {}, "schedules='cosine' is not accepted"),
        (optax.sgd(0.1), {}, "schedules must be a list of schedules"),
        (COSINES, {"num_evaluations": 0}, "num_evaluations=0 is not accepted"),
        (lrsched.cosine(0.1, steps=10), {}, "leading axes"),
    ],
)
def test_bad_input(schedules, others, message):
    with pytest.raises(ValueError, match=message):
        swept(logistic(), schedules, **others)


def test_a_bar_shows_the_time_left(capsys):
    tuning.sweep(logistic(), COSINES[:1])
    assert "40/40" in capsys.readouterr().err


def script(name, *arguments, **others):
    command = [sys.executable, "-m", f"tests.tuning.{name}", *map(str, arguments)]
    return subprocess.Popen(
        command, cwd=Path(__file__).parents[2], stdout=subprocess.PIPE, text=True, **others
    )


@pytest.mark.slow
def test_over_4_devices_it_is_the_same_and_nothing_travels_between_them():
    with script("many_devices") as process:
        out, _ = process.communicate()
    assert process.returncode == 0, out


@pytest.mark.slow
def test_two_processes_share_the_members_and_both_return_all_of_them():
    alone = swept(logistic(), COSINES, seeds=3).table["loss"]
    processes = [script("two_processes", i, PORT) for i in range(2)]
    found = [process.communicate()[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], found
    for out in found:
        losses = out.split("losses:")[1].split()
        np.testing.assert_allclose(np.array(losses, float), alone, rtol=1e-5)


PORT = 23_457


@pytest.mark.slow
def test_a_killed_sweep_goes_on_from_its_checkpoint_bit_by_bit(tmp_path):
    with script("killed_sweep", tmp_path / "whole") as process:
        whole, _ = process.communicate()
    assert process.returncode == 0
    with script("killed_sweep", tmp_path / "killed", "kill") as process:
        process.communicate()
    assert process.returncode == -signal.SIGKILL
    with script("killed_sweep", tmp_path / "killed") as process:
        resumed, _ = process.communicate()
    assert process.returncode == 0
    assert resumed.splitlines()[1:] == whole.splitlines()[1:]
    fresh, after = (int(out.splitlines()[0]) for out in (whole, resumed))
    assert 0 < after < fresh, "the resumed sweep must have had less left to do"


def test_a_checkpoint_of_another_sweep_is_refused(tmp_path):
    swept(logistic(), COSINES, checkpoint=tmp_path, checkpoint_seconds=0)
    with pytest.raises(ValueError, match="checkpoint is of another sweep"):
        swept(logistic(), COSINES[:2], checkpoint=tmp_path)
