"""Loss laws against the papers' sums in float64, and fits to simulated and real curves."""

from pathlib import Path

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import lrsched
from lrsched import theory

STEPS, PEAK = 1_000, 3e-4
NUMBERS = {
    "multi-power": dict(L0=2.65, A=0.6, alpha=0.45, B=438.0, C=2.1, beta=0.6, gamma=0.65),
    "norm-aware": dict(
        L0=2.65,
        A=6.0,
        alpha=0.45,
        B=7.0,
        C=0.2,
        beta=0.6,
        gamma=0.65,
        decay=1.0,
        norm0=1e-3,
        norm_power=0.5,
    ),
    "annealing": dict(L0=2.65, A=0.6, alpha=0.45, C=3.0, memory=200.0),
    "power": dict(L0=2.65, A=0.6, alpha=0.45),
}
SCHEDULES = {
    "cosine": lrsched.warmup(90) * PEAK >> lrsched.cosine(PEAK, STEPS - 90, end=PEAK / 10),
    "wsd": lrsched.wsd(PEAK, STEPS, warmup=0.1, cooldown=0.2),
    "step decay": lrsched.piecewise_constant([PEAK, PEAK / 3, PEAK / 30], [300, 700]),
    "to zero, and stays": lrsched.linear(PEAK, 0.0, 800),
    "restarts": lrsched.cosine_restarts(PEAK, steps=220),
    "one cycle": lrsched.one_cycle(PEAK, STEPS),
}


def exact(law, numbers, rates):
    """Compute the papers' sums, term by term, in float64: the loss after each update."""
    rates = np.array(rates, np.float64)
    if law == "norm-aware":
        norm_sq = numbers["norm0"]
        for t, rate in enumerate(rates.copy()):
            kept = np.exp(-2 * numbers["decay"] * rate)
            norm_sq = kept * norm_sq + (1 - kept) * rate
            rates[t] = rate / norm_sq ** numbers["norm_power"]
    area, drops = np.cumsum(rates), -np.diff(rates, prepend=0)
    losses = np.full(len(rates), np.inf)
    losses[area > 0] = numbers["L0"] + numbers["A"] * area[area > 0] ** -numbers["alpha"]
    if law == "annealing":
        momentum, total = 0.0, 0.0
        for t, drop in enumerate(drops):
            momentum = np.exp(-1 / numbers["memory"]) * momentum + drop
            total += momentum
            losses[t] -= numbers["C"] * total
    if law in ("multi-power", "norm-aware"):
        raised = np.maximum(rates, 1e-4 * rates.max()) ** -numbers["gamma"]
        for t in range(len(rates)):
            each = area[t] - area[: t + 1] + rates[: t + 1]
            gain = 1 - (numbers["C"] * raised[: t + 1] * each + 1) ** -numbers["beta"]
            losses[t] -= numbers["B"] * np.sum(drops[: t + 1] * gain)
    return losses


@pytest.mark.parametrize(
    ("law", "x64"),
    [
        ("multi-power", True),
        ("multi-power", False),
        ("norm-aware", True),
        ("annealing", False),
        ("power", False),
    ],
)
def test_a_law_is_the_papers_sum_at_every_step(law, x64):
    with jax.enable_x64(x64):
        made = theory.LossLaw(law, NUMBERS[law])
        for name, schedule in SCHEDULES.items():
            rates = jnp.asarray(np.asarray(schedule(np.arange(STEPS))), float)
            losses, wanted = made.predict(rates), exact(law, NUMBERS[law], rates)
            # All that drops can do is B times the peak, 0.13, and the age bins cost little of it:
            # most for a rate that comes to zero, where the weights have no bound, and stays there.
            most = 3e-4 if "to zero" in name else 1.5e-4
            np.testing.assert_allclose(losses, wanted, atol=most, rtol=1e-6, err_msg=name)
            last = made.final_loss(rates)
            np.testing.assert_allclose(last, wanted[-1], rtol=1e-9 if x64 else 2e-6, err_msg=name)


def test_age_bins_hold_at_the_length_of_real_runs():
    rates = lrsched.warmup(2_160) * PEAK >> lrsched.cosine(PEAK, 72_000 - 2_160, end=PEAK / 10)
    at = np.array([2_160, 9_001, 40_000, 72_000])
    law = theory.LossLaw("multi-power", NUMBERS["multi-power"])
    finals = [law.final_loss(np.asarray(rates(np.arange(steps)))) for steps in at]
    np.testing.assert_allclose(law.predict(rates, at=at), finals, atol=2e-5)


@pytest.mark.parametrize("law", ["multi-power", "norm-aware"])
def test_drops_that_act_within_a_few_updates_are_predicted_along_the_run(law):
    """A fit to short runs has found a ``beta`` of 130: its powers leave the range of float32."""
    numbers = NUMBERS[law] | {"beta": 130.0, "C": NUMBERS[law]["C"] * 0.6 / 130}
    rates = np.asarray(SCHEDULES["cosine"](np.arange(STEPS)))
    losses = theory.LossLaw(law, numbers).predict(rates)
    np.testing.assert_allclose(losses, exact(law, numbers, rates), atol=3e-4)


@pytest.mark.parametrize(
    ("law", "of", "places"),
    [
        ("multi-power", "final_loss", (5, 50, 95)),
        # At a plateau, whose next change may be a fall or a rise, the age bins have a kink.
        ("multi-power", "predict", (5, 95)),
    ],
)
def test_a_law_is_differentiable_in_the_rates_and_its_numbers(law, of, places):
    with jax.enable_x64(True):
        rates = jnp.asarray(np.asarray(SCHEDULES["wsd"](np.arange(100) * 10)), jnp.float64)

        def last(numbers, rates):
            return jnp.atleast_1d(getattr(theory.LossLaw(law, numbers), of)(rates))[-1]

        by_number, by_rate = jax.grad(last, argnums=(0, 1))(NUMBERS[law], rates)
        for place in places:
            change = jnp.zeros_like(rates).at[place].set(1e-5 * PEAK)
            ends = [float(last(NUMBERS[law], rates + sign * change)) for sign in (1, -1)]
            secant = (ends[0] - ends[1]) / (2e-5 * PEAK)
            np.testing.assert_allclose(by_rate[place], secant, rtol=1e-3)
        assert all(map(np.isfinite, by_number.values()))


def test_thousands_of_schedules_are_one_program():
    law = theory.LossLaw("multi-power", NUMBERS["multi-power"])

    @jax.jit
    @chex.assert_max_traces(1)
    def finals(law, peaks):
        return jax.vmap(lambda peak: law.final_loss(lrsched.linear(peak, 0.0, STEPS)))(peaks)

    peaks = jnp.geomspace(1e-5, 1e-3, 2_000)
    losses = finals(law, peaks)
    alone = law.final_loss(lrsched.linear(peaks[7], 0.0, STEPS))
    np.testing.assert_array_max_ulp(losses[7], np.float32(alone), maxulp=2)  # sums in another order
    finals(theory.LossLaw("multi-power", {**law.numbers, "B": 1.0}), peaks)


def curves_of(law, schedules, noise=0.0, numbers=None):
    made, random = theory.LossLaw(law, numbers or NUMBERS[law]), np.random.default_rng(0)
    at = np.arange(100, STEPS + 1, 25)
    return [
        theory.LossCurve(
            np.asarray(schedule(np.arange(STEPS))),
            at,
            np.asarray(made.predict(schedule, STEPS, at)) * np.exp(noise * random.normal(size=37)),
        )
        for schedule in schedules
    ]


@pytest.mark.parametrize("law", NUMBERS)
def test_a_fit_predicts_what_it_has_not_seen_despite_noise_and_outliers(law):
    seen = [SCHEDULES["cosine"], SCHEDULES["wsd"], SCHEDULES["step decay"]]
    curves = curves_of(law, seen, noise=1e-3)
    curves[0].losses[::10] *= 1.5
    found = theory.fit_loss_law(curves, law, starts=1)
    unseen = [SCHEDULES["to zero, and stays"], lrsched.linear(PEAK, PEAK / 10, STEPS)]
    scores = found.scores(curves_of(law, unseen))
    assert scores["mae"].max() < 5e-3
    assert scores["r2"].min() > 0.999
    assert (scores["within"] > 0.9).all()
    assert set(found.standard_errors()) == set(found.numbers)


def test_a_fit_does_not_depend_on_the_units_nor_on_the_seed():
    seen = [SCHEDULES["cosine"], SCHEDULES["wsd"], SCHEDULES["step decay"]]
    curves = curves_of("multi-power", seen, noise=1e-3)
    larger = [curve._replace(rates=1e3 * curve.rates) for curve in curves]
    predicted = [
        theory.fit_loss_law(some, "multi-power", starts=1, seed=seed).final_loss(some[0].rates)
        for some, seed in ((curves, 0), (larger, 1))
    ]
    np.testing.assert_allclose(*predicted, rtol=1e-4)


def test_numbers_that_are_known_stay_and_have_no_error():
    curves = curves_of("power", [SCHEDULES["cosine"], SCHEDULES["step decay"]])
    found = theory.fit_loss_law(curves, "power", fixed={"alpha": 0.3}, starts=1)
    assert found.numbers["alpha"] == 0.3
    assert found.standard_errors()["alpha"] == 0.0


def test_the_functional_scaling_law_is_fitted_with_a_gamma_of_zero():
    numbers = {**NUMBERS["multi-power"], "gamma": 0.0, "C": 2e3}
    seen = [SCHEDULES["cosine"], SCHEDULES["wsd"], SCHEDULES["step decay"]]
    curves = curves_of("multi-power", seen, 1e-4, numbers)
    found = theory.fit_loss_law(curves, "multi-power", fixed={"gamma": 0.0}, starts=1)
    unseen = curves_of("multi-power", [lrsched.linear(PEAK, 0.0, STEPS)], 0.0, numbers)
    assert found.numbers["gamma"] == 0.0
    assert found.scores(unseen)["mae"][0] < 5e-3


def test_curves_that_disagree_widen_the_interval():
    seen = [SCHEDULES[name] for name in ("cosine", "wsd", "step decay")]
    agree = curves_of("multi-power", seen, 1e-3)
    apart = [
        curve._replace(losses=curve.losses * factor)
        for curve, factor in zip(agree, (1.0, 1.02, 0.98), strict=True)
    ]
    laws = [theory.fit_loss_law(curves, "multi-power", starts=1) for curves in (agree, apart)]
    # The left-out curves have 2 degrees of freedom, and the misfit of the fit counts as up to 12.
    assert 12 < laws[0].runs.dof <= 14
    widths = [float(np.subtract(*law.final_interval(SCHEDULES["wsd"])[::-1])) for law in laws]
    assert widths[1] > 3 * widths[0]


def test_scores_say_what_was_seen():
    rates, law = np.full(4, 0.25), theory.LossLaw("power", dict(L0=1.0, A=1.0, alpha=1.0))
    (scores,) = law.scores([theory.LossCurve(rates, [1, 2, 4], [5.0, 3.5, 1.0])])
    assert tuple(scores)[:4] == pytest.approx((0.5, 1 - 1.25 / 8.1667, 1.0, 1.0), rel=1e-4)
    assert np.isnan(scores["within"])


def test_a_law_of_several_peaks_is_found_from_two_and_predicts_a_third():
    numbers = {**NUMBERS["norm-aware"], "decay": 0.5, "norm0": 3e-4}
    shapes = [lambda p: p * lrsched.constant(1.0), lambda p: lrsched.cosine(p, STEPS)]
    seen = [shape(peak) for peak in (3e-4, 6e-4) for shape in shapes]
    curves = curves_of("norm-aware", seen, 3e-4, numbers)
    law = theory.fit_loss_law(curves, "norm-aware", fixed={"decay": 0.5}, starts=1)
    unseen = curves_of("norm-aware", [lrsched.linear(12e-4, 0.0, STEPS)], 0.0, numbers)
    assert law.scores(unseen)["mae"][0] < 5e-3
    assert "extrapolates in its peak 0.0012" in law.trust(lrsched.linear(12e-4, 0.0, STEPS))
    assert "peaks 0.0003 to 0.0006" in law.trust()


def test_runs_far_from_any_law_are_predicted_no_worse_than_by_their_mean():
    at = np.arange(50, STEPS + 1, 25)
    random = np.random.default_rng(1)
    names = ("cosine", "wsd", "step decay", "one cycle")
    # A sigmoid in the number of updates: no power law, and the schedule does not matter.
    losses = [1 + 2 / (1 + np.exp((at - 600) / 80)) + 0.002 * random.normal(size=len(at))] * 4
    curves = [
        theory.LossCurve(np.asarray(SCHEDULES[name](np.arange(STEPS))), at, each)
        for name, each in zip(names, losses, strict=True)
    ]
    law = theory.fit_loss_law(curves[:3])
    mean = np.abs(losses[3] - np.mean(losses[:3], axis=0)).mean()
    scores = law.scores(curves[3:])
    assert law.calibration is not None
    # The misfit of a law that is wrong says nothing: the three left-out curves alone count.
    assert law.runs.dof == 2
    assert scores["mae"][0] < mean + 0.02
    assert scores["final_within"][0] == 1.0


def test_a_corrected_law_meets_its_curves_where_they_end():
    """Short runs end 25 updates after their last record, and the long one falls far below them."""
    random = np.random.default_rng(2)
    names = ("cosine", "wsd", "step decay", "one cycle", "to zero, and stays")
    curves = []
    for place, name in enumerate([*names, "cosine"]):
        steps = STEPS if place < len(names) else 2 * STEPS
        at = np.arange(50, steps, 25)
        losses = 1 + 2 / (1 + np.exp((at - 900) / 80)) + 0.002 * random.normal(size=len(at))
        rates = np.asarray(SCHEDULES[name](np.arange(steps)))
        curves.append(theory.LossCurve(rates, at, losses))
    law = theory.fit_loss_law(curves)
    assert law.calibration is not None
    # The correction makes the mean residual zero up to the interpolation between its knots, also
    # between the last record and the end.
    predicted = [law.predict(curve.rates, at=[975, 999]) for curve in curves]
    observed = [np.interp([975, 999], curve.steps, curve.losses) for curve in curves]
    residuals = np.mean(np.log(predicted) - np.log(observed), axis=0)
    np.testing.assert_allclose(residuals, 0, atol=0.02)
    # The long curve alone covers its end.
    np.testing.assert_allclose(law.final_loss(curves[-1].rates), curves[-1].losses[-1], rtol=0.02)


def test_a_copy_of_a_curve_does_not_count():
    seen = [SCHEDULES[name] for name in ("cosine", "wsd", "step decay")]
    curves = curves_of("multi-power", seen, 1e-3)
    law = theory.fit_loss_law([*curves, curves[0], curves[2]], "multi-power", starts=1)
    alone = theory.fit_loss_law(curves, "multi-power", starts=1)
    assert law.numbers == alone.numbers
    assert "2 of the curves repeat others and do not count" in law.trust()
    # Left out in turn, three copies would be predicted without error.
    assert theory.fit_loss_law([curves[1]] * 3, "multi-power", starts=1).calibration is None


def test_the_interval_widens_outside_the_fitted_runs():
    seen = [SCHEDULES[name] for name in ("cosine", "wsd", "step decay", "one cycle")]
    law = theory.fit_loss_law(curves_of("multi-power", seen, 1e-3), "multi-power", starts=1)

    def width(schedule):
        low, high = law.final_interval(schedule)
        return float(high / low)

    inside = width(lrsched.linear(PEAK, 0.0, STEPS))
    assert width(lrsched.linear(4 * PEAK, 0.0, STEPS)) > inside
    assert width(lrsched.linear(PEAK, 0.0, 8 * STEPS)) > inside
    assert "its length of 8000 updates" in law.trust(lrsched.linear(PEAK, 0.0, 8 * STEPS))
    assert "inside the range" in law.trust(lrsched.cosine(PEAK, STEPS, end=PEAK / 10))
    assert "Only one peak" in law.trust()


def test_a_forecast_covers_the_end_of_a_run_that_has_begun():
    runs = ("cosine", "wsd", "step decay", "one cycle")
    done = curves_of("multi-power", [SCHEDULES[n] for n in runs], 1e-3)
    whole = curves_of("multi-power", [lrsched.linear(PEAK, 0.0, STEPS)])[0]
    part = theory.LossCurve(whole.rates, whole.steps[:10], whole.losses[:10])
    result = theory.forecast(part, done, law="multi-power")
    assert result.low < whole.losses[-1] < result.high
    assert result.loss == pytest.approx(whole.losses[-1], abs=1e-2)
    assert "Fitted to 5 curves" in result.trust


CURVES = Path(__file__).parents[2] / ".." / "shared" / "loss-curves" / "25M"


@pytest.mark.slow
@pytest.mark.skipif(not CURVES.is_dir(), reason="../shared/loss-curves is not here")
@pytest.mark.parametrize("factor", [0.9, 1.0, 1.05])
def test_a_forecast_keeps_the_level_of_the_run(factor):
    seen = [SCHEDULES[name] for name in ("cosine", "wsd", "step decay")]
    others = curves_of("multi-power", seen, 1e-3)
    rates = np.asarray(lrsched.linear(PEAK, 0.0, STEPS)(np.arange(STEPS)))
    at = np.arange(100, 500, 10)
    truth = theory.LossLaw("multi-power", NUMBERS["multi-power"])
    run = theory.LossCurve(rates, at, factor * np.asarray(truth.predict(rates, at=at)))
    result = theory.forecast(run, others, law="multi-power", starts=1)
    assert result.loss == pytest.approx(factor * float(truth.final_loss(rates)), rel=0.02)
    assert ("The latest records of the run lie" in result.trust) == (factor != 1)


def test_three_real_curves_predict_six_others_as_well_as_the_papers_code():
    curves = {path.stem: read(path) for path in sorted(CURVES.glob("*.csv"))}
    assert len(curves) == 9
    seen = [curves.pop(name) for name in ("cosine_24000", "constant_24000", "wsdcon_9")]
    scores = theory.fit_loss_law(seen, starts=1).scores(list(curves.values()))
    assert scores["mae"].mean() <= 0.0037


def read(path):
    """A run of the paper's protocol: a warmup of 2,160 steps, and the rates of the file between."""
    steps, rates, losses = np.genfromtxt(path, delimiter=",", skip_header=1).T
    length = int(path.stem.split("_")[-1]) if "wsdcon" not in path.stem else 16_000
    every = np.interp(np.arange(length), steps, rates)
    if "wsdcon" in path.stem:
        every = np.where(np.arange(length) < 8_000, PEAK, rates[-1])
    every[:2_160] = np.linspace(0, PEAK, 2_160)
    kept = steps < length
    return theory.LossCurve(every, steps[kept].astype(int), losses[kept])


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: theory.LossLaw("cubic", {}), "law='cubic'"),
        (lambda: theory.LossLaw("power", {"L0": 1.0}), "numbers has L0"),
        (lambda: theory.fit_loss_law([], "power"), "curves is empty"),
        (lambda: theory.fit_loss_law([], "cubic"), "law='cubic'"),
        (lambda: theory.fit_loss_law(curves_of("power", [lrsched.constant(0.1)])), "falls in none"),
        (lambda: theory.fit_loss_law([], fixed={"D": 1}), "fixed has 'D'"),
        (lambda: theory.fit_loss_law([], starts=0), "starts=0"),
        (lambda: theory.fit_loss_law([], huber=0.0), "huber=0.0"),
        (lambda: theory.fit_loss_law([theory.LossCurve(np.ones(9), [1, 2], [1.0])]), "one length"),
        (lambda: theory.fit_loss_law([theory.LossCurve(np.ones(9), [10], [1.0])]), "from 1 to 9"),
        (lambda: theory.fit_loss_law([theory.LossCurve(np.ones(9), [9], [np.nan])]), "loss of"),
        (
            lambda: theory.fit_loss_law([theory.LossCurve(np.arange(9), [8], [1.0])], "power"),
            "after 8 updates",
        ),
        (
            lambda: theory.fit_loss_law(theory.LossCurve(np.ones(9), [9], [1.0]), "power"),
            "in curves is not accepted; curves must be a list of theory.LossCurve",
        ),
        (lambda: theory.fit_loss_law([(np.ones(9), [9], [1.0])], "power"), "in curves is not"),
        (
            lambda: theory.fit_loss_law(
                [theory.LossCurve(np.ones(9), [9], [1.0])], "power", fixed={"alpha": np.nan}
            ),
            r"fixed\['alpha'\]=nan is not accepted; .* a number of 0 or more",
        ),
        (lambda: theory.LossLaw("power", NUMBERS["power"]).interval(np.ones(9)), "not fitted"),
        (lambda: theory.LossLaw("power", NUMBERS["power"]).standard_errors(), "not fitted"),
        (lambda: theory.LossLaw("power", NUMBERS["power"]).predict(np.ones(9), at=0), "at=0"),
    ],
)
def test_what_does_not_fit_is_refused_in_one_sentence(make, says):
    with pytest.raises(ValueError, match=says):
        make()
