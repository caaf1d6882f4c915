"""Laws with the gradient noise against worked numbers in float64, and against each other."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import lrsched
from lrsched import theory

FALLING = [1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 0.8, 0.6, 0.4, 0.2]


def numbers(text):
    """Read float64 numbers that are separated by spaces."""
    return np.array(text.split(), np.float64)


@pytest.mark.parametrize(
    ("carry", "losses"),
    [
        (
            False,
            (
                "2.9571067811865475 2.915738616837944 2.8865008700807873 2.864964465580745 "
                "2.8483598403196484 2.8350863683010066 2.7644558448947056 2.6960756717896106 "
                "2.6423527608278548 2.610545433450416"
            ),
        ),
        (
            True,
            (
                "3.1338834764831844 3.1225761841353505 3.0965525972607586 3.0708369029697513 "
                "3.0478602291169707 3.027741527618737 2.929938002398036 2.8369007831962265 "
                "2.7646183903297694 2.722090117576256"
            ),
        ),
    ],
)
def test_the_functional_law_is_the_sum_over_updates(carry, losses):
    with jax.enable_x64(True):
        given = dict(s=0.5, beta=2.0, batch_size=4, floor=2.0, carry=carry)
        found = theory.functional_loss(np.array(FALLING), **given)
        np.testing.assert_allclose(found, numbers(losses), rtol=1e-9)
        last = theory.functional_loss(np.array(FALLING), at=10, **given)
        np.testing.assert_allclose(last, numbers(losses)[-1], rtol=1e-9)


def test_the_functional_law_is_the_multi_power_law_without_gamma():
    # By summation by parts; the sum over updates is the integral for rates far below 1.
    with jax.enable_x64(True):
        rates = np.asarray(lrsched.wsd(0.01, 2_000, 200, 0.3)(np.arange(2_000)), np.float64)
        given = dict(L0=2.0, A=1e-9, alpha=0.5, B=2.0, C=1.0, beta=0.5, gamma=0.0)
        law = theory.LossLaw("multi-power", given)
        noise = theory.functional_loss(rates, at=2_000, s=0.5, beta=2.0, floor=2.0)
        noise -= (1 + rates.sum()) ** -0.5
        np.testing.assert_allclose(noise, law.final_loss(rates), rtol=1e-5)


@pytest.mark.parametrize(
    ("s", "beta", "regime", "exponent", "peak_exponent"),
    [
        (1.0, 2.0, "power", 3.0, -1 / 3),
        (0.3, 2.0, "wsd", 3.0, 0.0),
        (0.8, 1.5, "power", 2.0, -0.3181818181818182),
        (0.2, 1.5, "wsd", 2.0, 0.0),
    ],
)
def test_the_optimal_shape(s, beta, regime, exponent, peak_exponent):
    found = theory.functional_optimum(s, beta)
    assert found.regime == regime
    np.testing.assert_allclose(found[1:], (exponent, peak_exponent), rtol=1e-9)


@pytest.mark.parametrize(
    ("s", "beta", "t", "rate"), [(1.0, 2.0, 0.5, 0.125), (0.8, 1.5, 0.9, 0.01)]
)
def test_the_optimal_shape_is_a_schedule(s, beta, t, rate):
    power = theory.functional_optimum(s, beta).exponent
    np.testing.assert_allclose(lrsched.polynomial(1.0, 0.0, 10, power)(10 * t), rate, rtol=1e-5)


def test_the_optimal_shape_adds_the_least_noise_to_a_long_run():
    steps, beta = 2_000, 2.0

    def noise(power):
        rates = (1 - np.arange(steps) / steps) ** power
        rates *= 1e7 / rates.sum()
        return float(theory.functional_loss(rates, at=steps, s=3.0, beta=beta))

    optimal = theory.functional_optimum(1.0, beta).exponent
    assert noise(optimal) < min(noise(optimal - 1), noise(optimal + 1))


@pytest.mark.parametrize(("t", "size"), [(0.0, 1.0), (99.0, 18.943862533540656)])
def test_the_optimal_batch_size(t, size):
    with jax.enable_x64(True):
        np.testing.assert_allclose(theory.functional_batch_size(t, 100.0, 2.0), size, rtol=1e-9)


def test_larger_batches_add_less_noise_and_the_last_ones_count_most():
    steps, rates = 400, np.full(400, 0.25)
    growing = np.asarray(theory.functional_batch_size(np.cumsum(rates), 100.0, 2.0))
    mean = dict(s=0.5, beta=2.0, at=steps)
    even, grown, falling = (
        float(theory.functional_loss(rates, batch_size=batches, **mean))
        for batches in (growing.mean(), growing, growing[::-1])
    )
    assert grown < even < falling


@pytest.mark.parametrize(
    ("rates", "at", "alpha", "losses"),
    [
        ([1.0, 1.0, 0.5, 0.5, 0.25, 0.0], [1, 3, 5], 0.26, [2.5, 2.006, 1.7110000000000003]),
        ([1.0, 1.0, 0.5, 0.75, 0.25], [1, 3, 4], 0.21, [2.5, 2.10675, 1.8545000000000003]),
    ],
)
def test_the_noise_law_at_equal_sums_of_the_rates(rates, at, alpha, losses):
    with jax.enable_x64(True):
        constant = theory.LossCurve(np.ones(4), [1, 2, 3, 4], [2.5, 2.25, 2.1, 2.0])
        found = theory.noise_law(constant, np.array(rates), at, [1.2, 1.3, 1.4], coefficient=alpha)
        np.testing.assert_allclose(found, losses, rtol=1e-9)


def test_the_noise_law_says_nothing_beyond_the_constant_run():
    constant = theory.LossCurve(np.full(4, 0.1), [2, 4], [2.5, 2.0])
    found = theory.noise_law(constant, np.full(5, 0.1), [1, 2, 4, 5], 1.0)
    assert np.isnan(np.asarray(found)).tolist() == [True, False, False, True]


@pytest.mark.parametrize(
    ("decay", "losses"),
    [
        (
            0.999,
            (
                "10.524465962305568 8.605622169907157 7.706478438000676 7.151410507565201 "
                "6.762766037009365 6.522763848640679 6.371180270340727 6.280645510264116 "
                "6.237971051223251 6.237671650623551"
            ),
        ),
        (
            1e-300,
            (
                "10.524465962305568 8.605622169907157 7.706478438000676 7.151410507565201 "
                "6.762766037009365 6.522763848640679 6.371240210340727 6.280825270324116 "
                "6.238330451523192 6.238270451523191"
            ),
        ),
    ],
)
def test_the_annealing_law_of_a_run_that_begins_at_its_peak(decay, losses):
    with jax.enable_x64(True):
        rates = np.array([1e-3] * 5 + [8e-4, 6e-4, 4e-4, 2e-4, 0.0])
        given = dict(L0=2.6, A=0.5, alpha=0.4, C=0.3, memory=-1 / np.log(decay))
        found = theory.LossLaw("annealing", given).predict(rates)
        # Here the rate rises from 0 at the first update; the paper's sum begins at the first rate.
        risen = (1 - decay ** np.arange(1, 11)) / (1 - decay)
        np.testing.assert_allclose(found - 0.3 * 1e-3 * risen, numbers(losses), rtol=1e-9)


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: theory.functional_loss(np.ones(4), s=0.0, beta=2.0), "s=0.0"),
        (lambda: theory.functional_loss(np.ones(4), s=1.0, beta=1.0), "beta=1.0"),
        (lambda: theory.functional_loss(np.ones(4), s=1.0, beta=2.0, batch_size=0), "batch_size=0"),
        (lambda: theory.functional_loss(np.ones(4), at=5, s=1.0, beta=2.0), "at=5"),
        (lambda: theory.functional_optimum(1.0, 0.5), "beta=0.5"),
        (lambda: theory.functional_batch_size(0.0, 0.0, 2.0), "time=0.0"),
        (
            lambda: theory.noise_law(theory.LossCurve([1.0], [1], [0.0]), np.ones(2), [1], 1.0),
            "loss of",
        ),
    ],
)
def test_what_does_not_fit_is_refused_in_one_sentence(make, says):
    with pytest.raises(ValueError, match=says):
        make()


def test_the_laws_go_through_jit_and_gradients():
    @jax.jit
    def loss(rates):
        return theory.functional_loss(rates, at=8, s=0.5, beta=2.0)

    slopes = jax.grad(loss)(jnp.full(8, 0.1))
    assert np.isfinite(slopes).all()
