"""Published laws that give hyperparameters from the size of a run alone.

They disagree by design: each holds for its own schedule, final rate and choice of the batch. Every
function names its source and the range that it was measured in.
"""

from __future__ import annotations

import math
from typing import Annotated, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from lrsched._schedule import Schedule, schedule
from lrsched.arguments import (
    OPEN_UNIT_FLOAT,
    POSITIVE_NUMBER,
    OpenUnitFloat,
    PositiveInt,
    one_of,
    real_number,
    validate_arguments,
)
from lrsched.numerics import fraction, lerp
from lrsched.scaling._checks import FiniteNumber, PositiveNumber, as_numbers
from lrsched.scaling.batches import rates_in_chunks


class RateAndBatch(NamedTuple):
    """A learning rate and a batch size.

    Attributes:
      learning_rate: Peak learning rate.
      batch_tokens: Batch size, in tokens.
    """

    learning_rate: float
    batch_tokens: float


@validate_arguments
def step_law(parameters: PositiveNumber, tokens: PositiveNumber) -> RateAndBatch:
    """Return Step Law's rate and batch: ``1.79 N**-0.713 D**0.307``, ``0.58 D**0.571`` tokens.

    Measured with a cosine that ends at the fixed rate 1e-5, on language models of up to 1 billion
    parameters and 100 billion tokens. The constants were read in secondary sources.

    Args:
      parameters: Number ``N`` of parameters without the embeddings.
      tokens: Number ``D`` of training tokens.

    Returns:
      The peak rate and the batch size in tokens.

    Raises:
      ValueError: If an argument is not a finite number above 0.

    References:
      Li et al. 2025 (arXiv 2503.04715).

    Example:
      >>> from lrsched import scaling
      >>> round(scaling.step_law(parameters=1e9, tokens=2e10).learning_rate, 6)
      0.000996
    """
    return RateAndBatch(1.79 * parameters**-0.713 * tokens**0.307, 0.58 * tokens**0.571)


@validate_arguments
def deepseek_law(flops: PositiveNumber) -> RateAndBatch:
    """Return DeepSeek's rate and batch: ``0.3118 C**-0.125``, ``0.2920 C**0.3271`` tokens.

    Measured with a multi-step schedule. The constants were read in secondary sources.

    Args:
      flops: Compute budget ``C``: non-embedding FLOPs for a token, times the number of tokens.

    Returns:
      The peak rate and the batch size in tokens.

    Raises:
      ValueError: If ``flops`` is not a finite number above 0.

    References:
      DeepSeek-AI 2024 (arXiv 2401.02954), equation 1.

    Example:
      >>> from lrsched import scaling
      >>> round(scaling.deepseek_law(1e20).learning_rate, 6)
      0.000986
    """
    return RateAndBatch(0.3118 * flops**-0.1250, 0.2920 * flops**0.3271)


@validate_arguments
def power_lines_decay(
    learning_rate: PositiveNumber,
    batch_tokens: PositiveNumber,
    parameters: PositiveNumber,
    tokens: PositiveNumber,
) -> float:
    """Return the weight decay of Power Lines: ``B / (eta D tau)``, ``tau = 1.084 (D/N)**-0.527``.

    The averaging time of AdamW, as a fraction of the run, depends on the tokens for each parameter
    only. Measured on muP language models. The constants were read in secondary sources.

    Args:
      learning_rate: Peak rate ``eta`` of hidden matrices, after muP's adjustment.
      batch_tokens: Batch size ``B``, in tokens.
      parameters: Number ``N`` of parameters.
      tokens: Number ``D`` of training tokens.

    Returns:
      The weight decay, which the learning rate multiplies as in ``optax.adamw``.

    Raises:
      ValueError: If an argument is not a finite number above 0.

    References:
      Bergsma et al. 2025 (arXiv 2505.13738).

    Example:
      >>> from lrsched import scaling
      >>> round(scaling.power_lines_decay(3e-3, 2e6, parameters=111e6, tokens=2.22e9), 3)
      1.343
    """
    timescale = 1.084 * (tokens / parameters) ** -0.527
    return float(batch_tokens / (learning_rate * tokens * timescale))


@validate_arguments
def decay_from_timescale(
    rates: ArrayLike | Schedule,
    timescale: PositiveNumber,
    by: Annotated[str, one_of("By", ("peak", "mean"))] = "peak",
) -> float:
    """Return the weight decay with an averaging time: ``1 / (timescale rate)``.

    AdamW averages its updates over ``1 / (rate decay)`` updates. With a schedule, "peak" takes its
    largest rate and "mean" its mean until the horizon.

    Args:
      rates: A rate, an array of rates, or a `Schedule` with a horizon.
      timescale: Averaging time, in updates.
      by: "peak" or "mean".

    Returns:
      The weight decay, which the learning rate multiplies as in ``optax.adamw``.

    Raises:
      ValueError: If ``timescale`` or the rate is not above 0, ``by`` is another word, or a
        schedule has no horizon.

    References:
      Wang & Aitchison 2024 (arXiv 2405.13698).

    Example:
      >>> import lrsched
      >>> round(lrsched.scaling.decay_from_timescale(1e-3, timescale=10_000), 6)
      0.1
    """
    function = "decay_from_timescale"
    if isinstance(rates, Schedule):
        if rates.horizon is None:
            raise ValueError(
                f"{function}: rates={rates} has no horizon; pass its peak or mean as a number."
            )
        peak, mean = _peak_and_mean(rates, max(int(rates.horizon), 1))
    else:
        values = as_numbers(function, "rates", rates)
        POSITIVE_NUMBER.validate(function, "number of rates", values.size)
        peak, mean = float(values.max()), float(values.mean())
    rate = POSITIVE_NUMBER.validate(function, "rates", peak if by == "peak" else mean)
    return float(1 / (timescale * rate))


def _peak_and_mean(rates: Schedule, steps: int) -> tuple[float, float]:
    peak, total = -math.inf, 0.0
    for _, values in rates_in_chunks(rates, 0, steps):
        peak, total = max(peak, float(values.max())), total + float(values.sum())
    return peak, total / steps


@validate_arguments
def decay_timescale(
    learning_rate: FiniteNumber,
    weight_decay: FiniteNumber,
    batch_size: PositiveNumber = 1.0,
    dataset: PositiveNumber | None = None,
) -> float:
    """Return the averaging time of AdamW: ``1 / (rate decay)`` updates, or in epochs.

    Args:
      learning_rate: Learning rate.
      weight_decay: Weight decay, which the learning rate multiplies.
      batch_size: Examples or tokens of one update.
      dataset: Examples or tokens of one epoch. `None` returns updates.

    Returns:
      The averaging time in updates, or in epochs if ``dataset`` is given. Infinity without decay.

    Raises:
      ValueError: If a size is not a finite number above 0.

    References:
      Wang & Aitchison 2024 (arXiv 2405.13698).

    Example:
      >>> from lrsched import scaling
      >>> round(scaling.decay_timescale(1e-3, 0.1, batch_size=256, dataset=1_280_000), 6)
      2.0
    """
    product = learning_rate * weight_decay
    updates = math.inf if product == 0 else 1 / product
    return updates if dataset is None else updates * batch_size / dataset


@validate_arguments
def half_life(
    decay: Annotated[float, real_number(OPEN_UNIT_FLOAT.description, OPEN_UNIT_FLOAT.parse)],
    batch_tokens: PositiveNumber,
) -> float:
    """Return the number of tokens in which a moving average forgets half: ``B ln 2 / -ln decay``.

    Args:
      decay: Decay of the average for one update, such as Adam's ``b2``.
      batch_tokens: Tokens of one update.

    Returns:
      The half-life in tokens.

    Raises:
      ValueError: If ``decay`` is not between 0 and 1, or ``batch_tokens`` is not above 0.

    References:
      Marek et al. 2025 (arXiv 2507.07101).

    Example:
      >>> from lrsched import scaling
      >>> round(scaling.half_life(0.95, batch_tokens=524_288))
      7084917
    """
    return batch_tokens * math.log(0.5) / math.log(decay)


@validate_arguments
def decay_from_half_life(tokens: PositiveNumber, batch_tokens: PositiveNumber) -> float:
    """Return the decay of a moving average with a half-life in tokens: ``0.5**(B / tokens)``.

    Args:
      tokens: Half-life, in tokens. 10 million is the authors' value for ``b2``.
      batch_tokens: Tokens of one update.

    Returns:
      The decay for one update.

    Raises:
      ValueError: If an argument is not a finite number above 0.

    References:
      Marek et al. 2025 (arXiv 2507.07101).

    Example:
      >>> from lrsched import scaling
      >>> round(scaling.decay_from_half_life(10e6, batch_tokens=2_097_152), 4)
      0.8647
    """
    return float(0.5 ** (batch_tokens / tokens))


@schedule(horizon="steps", name="lrsched.half_life_ramp")
def half_life_ramp(
    step: jax.Array, init: OpenUnitFloat, end: OpenUnitFloat, steps: PositiveInt
) -> ArrayLike:
    """A decay of a moving average whose half-life grows on a line: a schedule for a beta.

    Args:
      init: Decay at step 0, between 0 and 1.
      end: Decay from ``steps`` on.
      steps: Length of the ramp.

    References:
      Pagliardini et al. 2024 (arXiv 2409.03137), for the slow momentum of AdEMAMix.

    Example:
      >>> from lrsched import scaling
      >>> ramp = scaling.half_life_ramp(0.9, 0.9999, steps=100)
      >>> [round(float(decay), 4) for decay in ramp([0, 50, 100])]
      [0.9, 0.9998, 0.9999]
    """
    first, last = (1 / jnp.log2(jnp.asarray(decay, jnp.float32)) for decay in (init, end))
    return jnp.exp2(1 / lerp(first, last, fraction(jnp.minimum(step, steps), steps)))


class AveragingWeights(NamedTuple):
    """Weights of the updates and of the initial parameters in AdamW's final parameters.

    Attributes:
      start: Weight of the initial parameters.
      updates: Weight of each update, in float64; update ``u`` adds ``-weight u``.
    """

    start: float
    updates: np.ndarray


@validate_arguments
def averaging_weights(rates: ArrayLike | Schedule, weight_decay: FiniteNumber) -> AveragingWeights:
    """Return how much of the initial parameters and of each update is left at the end of a run.

    Update ``i`` with decoupled weight decay leaves ``rate_i`` times the product of ``1 - rate_j
    weight_decay`` over all later ``j``. ``1 / (rate weight_decay)`` is the averaging time.

    Args:
      rates: Rate of each update, or a `Schedule` with a horizon.
      weight_decay: Weight decay, which the rate multiplies as in ``optax.adamw``.

    Returns:
      The weights of the start and of the updates.

    Raises:
      ValueError: If ``rates`` is not a vector of finite numbers.

    References:
      Wang & Aitchison 2024 (arXiv 2405.13698).

    Example:
      >>> from lrsched import scaling
      >>> weights = scaling.averaging_weights([0.1, 0.1, 0.1], weight_decay=1.0)
      >>> round(weights.start, 4), weights.updates.round(4).tolist()
      (0.729, [0.081, 0.09, 0.1])
    """
    if isinstance(rates, Schedule):
        if rates.horizon is None:
            raise ValueError(
                f"averaging_weights: rates={rates} has no horizon; pass the rate of each update."
            )
        rates = rates(np.arange(int(rates.horizon)))
    values = as_numbers("averaging_weights", "rates", rates)
    if values.ndim != 1 or not np.isfinite(values).all():
        raise ValueError(
            f"averaging_weights: rates of shape {values.shape} are not accepted; rates must be a "
            "vector of finite numbers."
        )
    factors = np.cumprod(np.append(1 - values * weight_decay, 1.0)[::-1])[::-1]
    return AveragingWeights(float(factors[0]), values * factors[1:])


class SpectralCondition(NamedTuple):
    """Scales of a matrix under the spectral condition.

    Attributes:
      norm: Spectral norm of the weights and of their updates, up to a constant.
      init_std: Standard deviation of the initial entries, up to a constant.
      orthogonal_update_scale: Factor of orthogonalised updates, such as Muon's.
      sgd_rate: Factor of the rate of gradient descent.
      adam_rate: Factor of Adam's rate.
    """

    norm: float
    init_std: float
    orthogonal_update_scale: float
    sgd_rate: float
    adam_rate: float


@validate_arguments
def spectral_condition(fan_in: PositiveNumber, fan_out: PositiveNumber) -> SpectralCondition:
    """Return the scales of a matrix whose norm and update are ``sqrt(fan_out / fan_in)``.

    Args:
      fan_in: Number of inputs of the matrix.
      fan_out: Number of outputs.

    Returns:
      Scales up to constants that do not depend on the shape.

    Raises:
      ValueError: If a number is not above 0.

    References:
      Yang, Simon & Bernstein 2023 (arXiv 2310.17813).

    Example:
      >>> from lrsched import scaling
      >>> scaling.spectral_condition(768, 3072).orthogonal_update_scale
      2.0
    """
    ratio = fan_out / fan_in
    norm = math.sqrt(ratio)
    return SpectralCondition(norm, min(1.0, norm) / math.sqrt(fan_in), norm, ratio, 1 / fan_in)
