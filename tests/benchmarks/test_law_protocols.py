"""The protocols on published curves, on simulated files of the same form."""

import numpy as np
import pytest

from benchmarks import law_protocols
from lrsched import theory

LAW = theory.LossLaw(
    "multi-power", dict(L0=2.65, A=0.6, alpha=0.45, B=100.0, C=2.1, beta=0.6, gamma=0.65)
)
NAMES = [
    f"peak{peak}_{shape}_{steps}"
    for peak in ("0.0005", "0.001")
    for shape, steps in (
        *((shape, 15_000) for shape in ("wsd-linear-0.1", "wsd-linear-0.4", "wsd-sqrt-0.2")),
        *law_protocols.FEW,
        ("cos-10", 15_000),
    )
]


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    directory = tmp_path_factory.mktemp("curves")
    for name in NAMES:
        peak, shape, steps = name.removeprefix("peak").split("_")
        rates = law_protocols.rates_124m(float(peak), shape, int(steps)).astype(np.float32)
        at = np.arange(0, int(steps), 1000)
        losses = np.append(10.0, LAW.predict(rates, at=at[1:]))
        rows = np.stack([at, rates[at], losses], axis=1)
        np.savetxt(directory / f"{name}.csv", rows, "%g", ",", header="step,lr,loss", comments="")
    return law_protocols.read_schaipp(directory)


def test_files_are_read_with_the_schedule_of_their_name(runs):
    by_name = {(run.peak, run.shape, run.steps): run for run in runs}
    run = by_name[5e-4, "wsd-linear-0.4", 15_000]
    rates = run.curve.rates
    np.testing.assert_allclose(rates[[0, 300, 8_999, 12_000]], [5e-6, 5e-4, 5e-4, 2.5e-4])
    assert len(rates) == 15_000
    assert run.curve.steps.min() >= 2 * law_protocols.WARMUP


def test_no_protocol_predicts_what_it_has_seen(runs):
    pairs = [pair for pairs in law_protocols.splits(runs).values() for pair in pairs]
    for seen, unseen in pairs:
        keys = [{run[:3] for run in part} for part in (seen, unseen)]
        assert not keys[0] & keys[1]
    unseen_peaks = law_protocols.splits(runs)["unseen peak"]
    assert all(
        not {run.peak for run in seen} & {run.peak for run in unseen}
        for seen, unseen in unseen_peaks
    )


def test_a_score_is_of_the_last_records(runs):
    predicted = np.array([[run.final + 0.01, run.final - 1, run.final + 1] for run in runs])
    row = law_protocols.row_of("protocol", "law", runs, predicted)
    assert row["rms"] == pytest.approx(0.01)
    assert row["bias"] == pytest.approx(0.01)
    assert (row["rank"], row["within"]) == (pytest.approx(1.0), 1.0)
