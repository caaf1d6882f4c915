"""`explain` and `read_history`: runs that are made for each finding, and files of each kind."""

import json

import numpy as np
import pytest

import lrsched
from lrsched import theory

STEPS = 1000
PEAK = 0.01
AT = np.arange(5, STEPS + 1, 5)
GOOD = lrsched.wsd(PEAK, STEPS, warmup=50, cooldown=300)
SHORT = lrsched.wsd(PEAK, STEPS, warmup=50, cooldown=40)


def history(schedule, losses, noise=0.001, seed=0):
    """A run with the given losses at its records, with multiplicative noise."""
    normal = np.random.default_rng(seed).standard_normal(len(AT))
    rates = np.asarray(schedule(np.arange(STEPS)))
    return theory.LossCurve(rates, AT, losses * np.exp(noise * normal))


def descent(at=AT):
    """Losses that fall by a power law to the end."""
    return 2 + 4 * at**-0.5


def kinds(curve):
    return theory.explain(curve, law=None).kinds


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("noise", [0.0, 0.001, 0.02])
def test_a_good_run_has_no_finding(noise, seed):
    assert kinds(history(GOOD, descent(), noise, seed)) == ()


@pytest.mark.parametrize("seed", range(5))
def test_a_plateau_before_the_cooldown_is_found(seed):
    losses = 2 + 2 * np.exp(-AT / 80)
    explanation = theory.explain(history(GOOD, losses, seed=seed), law=None)
    (found,) = explanation.findings
    assert found.kind == "plateau"
    assert found.value < found.threshold == pytest.approx(0.05, abs=0.01)
    assert "up to step 70" in found.text


def test_a_cosine_has_no_constant_phase_that_could_be_a_plateau():
    cosine = lrsched.warmup(50) * PEAK >> lrsched.cosine(PEAK, STEPS - 50, end=1e-3)
    assert "plateau" not in kinds(history(cosine, 2 + 2 * np.exp(-AT / 80)))


def test_a_short_cooldown_is_found_with_its_length():
    (found,) = theory.explain(history(SHORT, descent()), law=None).findings
    assert (found.kind, found.value) == ("short cooldown", pytest.approx(0.04, abs=0.002))
    assert found.source == "arXiv 2405.18392"


def test_a_run_without_a_cooldown_is_found():
    assert kinds(history(lrsched.constant(PEAK), descent())) == ("no cooldown",)


@pytest.mark.parametrize("places", [[60], [60, 61, 62], [40, 100]])
def test_spikes_are_counted_and_located(places):
    losses = descent()
    losses[places] *= 1.5
    (found,) = theory.explain(history(GOOD, losses), law=None).findings
    number = 2 if places == [40, 100] else 1
    assert found.kind == "spikes"
    assert found.text.startswith("2 spikes" if number == 2 else "1 spike ")
    assert f"step {AT[places[0]]} " in found.text
    assert found.value > found.threshold == 6


def test_noise_alone_has_no_spike():
    for seed in range(20):
        assert "spikes" not in kinds(history(GOOD, descent(), noise=0.05, seed=seed))


def test_a_loss_that_rises_is_found_and_gets_no_law():
    losses = descent()
    losses[150:] *= np.linspace(1, 1.3, 50)
    explanation = theory.explain(history(GOOD, losses))
    assert explanation.kinds == ("rising loss", "no law")
    assert explanation.endings is None


def test_records_that_are_not_finite_are_counted():
    losses = descent()
    losses[-3:] = np.nan
    found, *_ = theory.explain(history(GOOD, losses), law=None).findings
    assert (found.kind, found.value) == ("not finite", 3)
    assert f"step {AT[-3]}" in found.text


@pytest.mark.parametrize("where", ["start", "end"])
def test_rates_that_never_mattered_are_found(where):
    """Steps at a thousandth of the peak, in which the loss stays."""
    low = lrsched.constant(PEAK / 1000, steps=200)
    main = lrsched.linear(PEAK, 0.2 * PEAK if where == "end" else 0.0, 800)
    schedule = low >> main if where == "start" else main >> low
    moving = descent(np.clip(AT - 200, 1, None) if where == "start" else np.minimum(AT, 800))
    (found,) = theory.explain(history(schedule, moving), law=None).findings
    assert found.kind == "idle rates"
    assert found.value == pytest.approx(0.2, abs=0.01)


def test_low_rates_in_which_the_loss_falls_are_not_idle():
    schedule = lrsched.linear(PEAK, 0.2 * PEAK, 800) >> lrsched.constant(PEAK / 1000, steps=200)
    losses = descent()
    losses[AT > 800] *= np.linspace(1, 0.95, 40)
    assert kinds(history(schedule, losses)) == ()


def test_what_is_too_noisy_to_know_is_not_claimed():
    """The plateau and the idle rates of the tests above, under noise that hides them."""
    assert kinds(history(GOOD, 2 + 2 * np.exp(-AT / 300), noise=0.2)) == ()


def test_other_endings_are_predicted_with_intervals():
    """A law generates three runs; the best other ending of one is predicted from them."""
    truth = theory.LossLaw(
        "annealing", {"L0": 2.0, "A": 1.0, "alpha": 0.5, "C": 0.1, "memory": 100.0}
    )
    long = lrsched.wsd(PEAK, STEPS, warmup=50, cooldown=500)
    runs = {
        schedule: history(schedule, np.asarray(truth.predict(schedule, STEPS, AT)))
        for schedule in (SHORT, long, GOOD)
    }
    explanation = theory.explain(runs[SHORT], others=[runs[long], runs[GOOD]], law="annealing")
    assert explanation.kinds == ("short cooldown", "endings", "longer")
    rows = {str(row["name"]): row for row in explanation.endings.table}
    rates = np.asarray(SHORT(np.arange(STEPS))).copy()
    rates[800:] = PEAK * np.linspace(1, 0, 200, endpoint=False)
    exact = float(truth.final_loss(rates))
    row = rows["a linear cooldown of 20 %"]
    assert row["low"] < exact < row["high"]
    assert row["loss"] == pytest.approx(exact, rel=0.005)
    assert explanation.findings[1].value > explanation.findings[1].threshold
    assert str(explanation).count("\n") == 2


def test_a_run_with_few_records_has_no_law():
    every = slice(9, None, 12)
    curve = history(GOOD, descent())
    few = theory.LossCurve(curve.rates, AT[every], curve.losses[every])
    (found,) = theory.explain(few).findings
    assert (found.kind, found.value < found.threshold) == ("no law", True)


@pytest.mark.parametrize(
    ("curve", "message"),
    [
        (theory.LossCurve(np.ones(9), np.arange(1, 10), np.ones(9)), "9 finite records"),
        (theory.LossCurve(np.ones(20), np.arange(1, 21), -np.ones(20)), "above 0"),
        (theory.LossCurve(np.zeros(20), np.arange(1, 21), np.ones(20)), "every rate is 0"),
        (theory.LossCurve(np.ones(20), np.arange(20), np.ones(20)), "from 1 to 20"),
        (theory.LossCurve(np.ones(20), np.arange(1, 21), np.ones(19)), "of one length"),
    ],
)
def test_what_is_no_history_is_refused(curve, message):
    with pytest.raises(ValueError, match=message):
        theory.explain(curve)


ROWS = [(0, 3.0, 0.1), (10, 2.0, 0.2), (20, 1.5, 0.1)]


@pytest.fixture
def files(tmp_path):
    csv = "\n".join(["Step,train/loss,note,lr", *(f"{s},{x},a,{r}" for s, x, r in ROWS), "30,,b,"])
    tsv = "\n".join(["step\tloss\tlr", *(f"{s}\t{x}\t{r}" for s, x, r in ROWS)])
    jsonl = "\n".join(
        json.dumps({"step": s, "loss": x, "learning_rate": r, "other": None}) for s, x, r in ROWS
    )
    for name, text in {"run.csv": csv, "run.tsv": tsv, "run.jsonl": jsonl}.items():
        (tmp_path / name).write_text(text)
    return tmp_path


@pytest.mark.parametrize("name", ["run.csv", "run.tsv", "run.jsonl"])
def test_files_are_read(files, name):
    curve = theory.read_history(files / name)
    assert curve.steps.tolist() == [1, 11, 21]  # the log counts from 0
    assert curve.losses.tolist() == [3.0, 2.0, 1.5]
    np.testing.assert_allclose(curve.rates[[0, 5, 10, 20]], [0.1, 0.15, 0.2, 0.1])


def test_a_folder_of_tensorboard_is_read(tmp_path):
    pytest.importorskip("tensorboard")
    tensorboardx = pytest.importorskip("tensorboardX")
    with tensorboardx.SummaryWriter(str(tmp_path)) as writer:
        for step, loss, rate in ROWS:
            writer.add_scalar("loss", loss, step)
            writer.add_scalar("learning_rate", rate, step)
    curve = theory.read_history(tmp_path)
    assert curve.steps.tolist() == [1, 11, 21]
    np.testing.assert_allclose(curve.losses, [3.0, 2.0, 1.5])


def test_the_last_of_several_rows_of_a_step_counts():
    curve = theory.read_history({"step": [1, 2, 2], "loss": [3.0, 2.0, 1.0], "lr": [1, 1, 1]})
    assert curve.losses.tolist() == [3.0, 1.0]


def test_a_loss_that_is_not_a_number_is_kept_and_an_empty_cell_is_not(tmp_path):
    (tmp_path / "run.csv").write_text("step,loss,lr\n1,nan,1\n2,,1\n3,2.0,1\n")
    curve = theory.read_history(tmp_path / "run.csv")
    assert curve.steps.tolist() == [1, 3]
    assert np.isnan(curve.losses[0])


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.csv", "", "is empty"),
        ("a.csv", "step,loss\n1,2\n", "learning_rate"),
        ("a.csv", "step,loss,lr\nx,y,z\n", "no row"),
        ("a.csv", "step,loss,lr\n1e12,1,1\n", "may have up to"),
        ("a.jsonl", "[1]", "line 1"),
        ("a.txt", "1", ".csv"),
    ],
)
def test_errors_of_files(tmp_path, name, text, message):
    (tmp_path / name).write_text(text)
    with pytest.raises(ValueError, match=message):
        theory.read_history(tmp_path / name)


def test_other_columns_are_named():
    columns = {"n": [1, 2], "ce": [2.0, 1.0], "eta": [0.1, 0.1]}
    curve = theory.read_history(columns, step="n", loss="ce", rate="eta")
    assert curve.losses.tolist() == [2.0, 1.0]
    with pytest.raises(ValueError, match="the columns are 'n, ce, eta'"):
        theory.read_history(columns, step="m")


def test_the_logs_of_a_trainer_in_any_container_are_one_history(tmp_path):
    rows = [{"step": i, "loss": 2.0 - i / 100, "learning_rate": 0.1} for i in range(10, 40, 10)]
    rows.append({"step": 30, "eval_loss": 3.0})
    (tmp_path / "trainer_state.json").write_text(json.dumps({"log_history": rows}))
    (tmp_path / "rows.json").write_text(json.dumps(rows))
    columns = {name: [row[name] for row in rows[:3]] for name in rows[0]}
    (tmp_path / "columns.json").write_text(json.dumps(columns))
    lines = [";".join(columns), *(";".join(map(str, row.values())) for row in rows[:3])]
    (tmp_path / "semicolons.csv").write_text("\n".join(lines))
    pandas = pytest.importorskip("pandas")
    sources = [rows, pandas.DataFrame(rows), *tmp_path.iterdir()]
    assert len(sources) == 6
    for source in sources:
        history = theory.read_history(source)
        assert history.steps.tolist() == [10, 20, 30]
        np.testing.assert_allclose(history.losses, [1.9, 1.8, 1.7])


def test_containers_of_another_kind_are_refused(tmp_path):
    (tmp_path / "a.json").write_text("{")
    for source in (3, None, [1, 2], tmp_path / "a.json"):
        with pytest.raises(ValueError, match="read_history: "):
            theory.read_history(source)
