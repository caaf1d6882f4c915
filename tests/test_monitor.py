"""`lrsched.monitor`: what it reads and when, its three views, its log, and its writers."""

import json
import re

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from rich.console import Console

import lrsched
from lrsched import monitor, theory

STEPS = 60


def train(watch, optimizer=None, steps=STEPS, metric=lambda step: {}):
    """Train on a quadratic; the loss is not finite at step 30."""
    optimizer = optimizer or lrsched.scale_by_learning_rate(
        lrsched.wsd(0.1, STEPS, warmup=10, cooldown=20)
    )

    @jax.jit
    def update(params, state, extra):
        loss, grads = jax.value_and_grad(lambda w: jnp.sum(w**2) + 1)(params)
        updates, state = optax.with_extra_args_support(optimizer).update(
            grads, state, params, **({"value": loss} | extra)
        )
        return optax.apply_updates(params, updates), state, loss

    params = jnp.ones(3)
    state = optimizer.init(params)
    reads = []
    for step in range(steps):
        params, state, loss = update(params, state, metric(step))
        reads.append(watch.update(step, state, loss if step != 30 else jnp.nan, norm=loss))
    return reads


@pytest.fixture(scope="module")
def watched(tmp_path_factory):
    folder = tmp_path_factory.mktemp("monitor")
    watch = monitor.Monitor(every=10, log=folder / "run.jsonl", page=folder / "run.html")
    reads = train(watch)
    assert [step for step, is_read in enumerate(reads) if is_read] == list(range(0, STEPS, 10))
    return watch, folder


def test_the_rates_are_those_that_were_applied(watched):
    watch, _ = watched
    schedule = lrsched.wsd(0.1, STEPS, warmup=10, cooldown=20)
    np.testing.assert_allclose(
        watch.column("learning_rate"), schedule(jnp.arange(0, STEPS, 10)), rtol=1e-6
    )
    losses = watch.column("loss")
    assert np.isnan(losses[3])
    assert losses[-1] < losses[0]
    assert watch.column("norm")[0] == losses[0]


def test_between_readings_no_array_is_touched():
    class Untouchable:
        def __getattribute__(self, name):
            raise AssertionError(f"{name} of the state is read")

    watch = monitor.Monitor(every=10)
    assert not any(watch.update(step, Untouchable(), Untouchable()) for step in range(1, 10))


def test_the_log_is_a_history_and_is_continued(watched):
    watch, folder = watched
    rows = [json.loads(line) for line in (folder / "run.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == watch.steps()
    history = theory.read_history(folder / "run.jsonl")
    assert len(history.steps) == len(rows)
    np.testing.assert_allclose(history.losses, watch.column("loss"))
    continued = monitor.Monitor(log=folder / "run.jsonl")
    assert continued.steps() == watch.steps()
    np.testing.assert_array_equal(continued.column("loss"), watch.column("loss"))


def test_a_file_of_another_kind_is_refused(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"step": 1}\n')
    with pytest.raises(ValueError, match="line 1 is not a reading of a monitor"):
        monitor.Monitor(log=tmp_path / "a.jsonl")
    for content in (b"\xff\xfe\n", b"\xff\xfe", b"no line ends"):
        (tmp_path / "b.jsonl").write_bytes(content)
        with pytest.raises(ValueError, match=r"Monitor: log=.* is not accepted"):
            monitor.Monitor(log=tmp_path / "b.jsonl")
        assert (tmp_path / "b.jsonl").read_bytes() == content
    with pytest.raises(ValueError, match="Monitor: every=0"):
        monitor.Monitor(every=0)


def quiet_state():
    return lrsched.scale_by_learning_rate(0.1).init(jnp.ones(2))


def test_a_resumed_run_drops_a_torn_line_and_replaces_the_steps_after_its_checkpoint(tmp_path):
    log = tmp_path / "run.jsonl"
    killed = monitor.Monitor(every=1, log=log)
    for step in range(6):
        killed.update(step, quiet_state(), float(step))
    log.write_text(log.read_text() + '{"step": 6, "lo')
    resumed = monitor.Monitor(every=1, log=log)
    assert resumed.steps() == [0, 1, 2, 3, 4, 5]
    for step in range(3, 5):
        resumed.update(step, quiet_state(), 10.0)
    for watch in (resumed, monitor.Monitor(log=log)):
        assert watch.steps() == [0, 1, 2, 3, 4]
        assert watch.column("loss") == [0, 1, 2, 10, 10]


def test_a_reading_that_cannot_be_written_is_a_warning_and_the_run_continues(tmp_path):
    folder = tmp_path / "logs"
    folder.mkdir()
    watch = monitor.Monitor(every=1, log=folder / "run.jsonl", page=folder / "run.html")
    folder.rmdir()
    with pytest.warns(UserWarning, match="a reading was not written"):
        watch.update(0, quiet_state(), 1.0)
    assert watch.steps() == [0]


def test_a_loss_that_is_not_finite_is_an_event():
    watch = monitor.Monitor(every=1)
    for step, loss in enumerate((1.0, np.nan, np.nan, 1.0)):
        watch.update(step, quiet_state(), loss)
    assert watch.events() == ["step 1: loss is nan"]


@pytest.mark.parametrize(
    "options",
    [
        {"steps": 0},
        {"writers": print},
        {"writers": [3]},
        {"log": "absent/run.jsonl"},
        {"page": "absent/run.html"},
    ],
)
def test_arguments_that_would_fail_in_the_run_are_refused_before_it(options):
    with pytest.raises(ValueError, match=f"Monitor: {next(iter(options))}=.* is not accepted"):
        monitor.Monitor(**options)


def test_values_that_are_no_scalars_are_refused():
    watch = monitor.Monitor(every=1)
    with pytest.raises(ValueError, match=r"update: loss of shape \(2,\) is not accepted"):
        watch.update(0, quiet_state(), jnp.ones(2))
    with pytest.raises(ValueError, match="step='a' is not accepted"):
        watch.update("a", quiet_state(), 1.0)


def test_the_page_is_whole_and_needs_no_network(watched):
    watch, folder = watched
    page = (folder / "run.html").read_text()
    assert watch._repr_html_() in page
    assert '<meta http-equiv="refresh" content="5">' in page
    assert not re.search(r"https?://|<script|src=|href=", page)
    assert page.count("<svg") == page.count("</svg>") == 2
    assert [file.name for file in folder.iterdir() if file.name.endswith(".tmp")] == []


def test_names_and_texts_are_escaped():
    watch = monitor.Monitor()
    watch.rows = [
        {"step": s, "learning_rate/<b>": 1.0 + s, "events": ["<i>"], "verdicts": []} for s in (0, 1)
    ]
    assert "<b>" not in watch._repr_html_()
    assert "<i>" not in watch._repr_html_()


def test_a_long_curve_keeps_its_spike(watched):
    values = np.zeros(10_000)
    values[4_321] = 1.0
    path = re.search('d="([^"]+)"', monitor._figure("loss", range(10_000), values))[1]
    assert len(points := re.split("[ML]", path)) <= 403
    assert f"{1 + 638 * 4_321 / 9_999:.1f} 2.0" in points


def test_the_terminal_shows_curves(watched):
    watch, _ = watched
    console = Console(width=80, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    console.print(watch)
    shown = console.export_text()
    assert "step 50, loss " in shown
    assert "learning_rate" in shown
    assert len(shown.splitlines()) > 14


def test_live_refreshes_at_readings(capsys):
    watch = monitor.Monitor(every=20)
    with watch.live():
        train(watch)
    assert "step 40" in capsys.readouterr().out


def test_a_change_of_a_controller_is_an_event():
    optimizer = optax.chain(
        lrsched.scale_by_learning_rate(0.1), lrsched.reduce_on_plateau(factor=0.5, patience=2)
    )
    watch = monitor.Monitor(every=10)
    train(watch, optimizer, steps=40, metric=lambda step: {"value": jnp.float32(1.0)})
    assert watch.events()
    assert re.fullmatch(r"step 10: controller_scale 1 -> 0\.\d+", watch.events()[0])


def test_a_recorded_health_gives_verdicts():
    watch = monitor.Monitor(every=10, steps=STEPS)
    train(watch, lrsched.record_health(lrsched.scale_by_learning_rate(1e-5)))
    assert watch.verdicts()[0] == "rate: too low"
    assert any(text.startswith("too low: ") for text in watch.verdicts()[1:])
    assert "rate: too low" in watch._repr_html_()


def test_tensorboard_receives_the_numbers(tmp_path):
    tensorboardx = pytest.importorskip("tensorboardX")
    with tensorboardx.SummaryWriter(str(tmp_path)) as writer:
        watch = monitor.Monitor(every=10, writers=[monitor.to_tensorboard(writer)])
        train(watch)
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    events = accumulator.EventAccumulator(str(tmp_path)).Reload()
    logged = [(event.step, event.value) for event in events.Scalars("learning_rate")]
    assert logged == list(zip(watch.steps(), watch.column("learning_rate"), strict=True))


def test_weights_and_biases_receives_the_numbers_offline(tmp_path, monkeypatch):
    wandb = pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_SILENT", "true")
    with wandb.init(mode="offline", dir=tmp_path, project="lrsched") as run:
        watch = monitor.Monitor(every=10, writers=[monitor.to_wandb(run)])
        train(watch)
    wandb.teardown()  # the service writes the file when it ends
    (file,) = tmp_path.glob("wandb/offline-run-*/*.wandb")
    # The records are protobuf messages, in which the values are JSON text.
    content = file.read_bytes()
    assert b"learning_rate" in content
    for value in watch.column("learning_rate"):
        assert json.dumps(value).encode() in content


def test_write_scalars_of_clu_is_a_writer(tmp_path):
    metric_writers = pytest.importorskip("clu.metric_writers")
    writer = metric_writers.SummaryWriter(str(tmp_path))
    train(monitor.Monitor(every=10, writers=[writer.write_scalars]))
    writer.close()
    assert list(tmp_path.iterdir())
