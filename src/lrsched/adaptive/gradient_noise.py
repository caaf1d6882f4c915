"""The gradient noise scale, measured by the gradients that an optimizer receives anyway."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
import optax

from lrsched.adaptive._factory import make_factory, transform_of
from lrsched.adaptive.base import complex_as_real, tree_square, tree_sums, zero_count
from lrsched.arguments import (
    POSITIVE_INT,
    BaseOptimizer,
    DecayRate,
    check_below,
    concrete_size,
    not_accepted,
)
from lrsched.numerics import widen
from lrsched.transforms.composition import single_state

if TYPE_CHECKING:
    import chex

Size: TypeAlias = Annotated[int, POSITIVE_INT]
"""A number of examples or of micro-batches, at least 1."""


class NoiseScaleState(NamedTuple):
    """State of `noise_scale`.

    Attributes:
      count: Number of samples in the averages, an int32 scalar.
      moments: Biased exponential moving averages of the trace ``S`` of the gradient's covariance,
        of its squared norm ``G``, and of ``S**2``, ``G**2`` and ``S G``, a float32 array of shape
        ``(5,)``.
      decay: Decay of the averages, a float32 scalar.
      nonfinite_count: Number of samples that were skipped because a gradient was not finite, an
        int32 scalar.
      small_norm_sq: Sum of the squared norms of the micro-batches since the latest update, a
        float32 scalar. 0 with other sources.
      inner_state: State of the optimizer; with ``micro_batches``, of ``optax.MultiSteps``.
    """

    count: jax.Array  # type: ignore[assignment]
    moments: jax.Array
    decay: jax.Array
    nonfinite_count: jax.Array
    small_norm_sq: jax.Array
    inner_state: optax.OptState


class CriticalBatchSize(NamedTuple):
    """The critical batch size by the gradient noise; ``print`` shows it as a sentence.

    Attributes:
      value: ``S / G``, in examples; infinite while the estimate of ``G`` is not positive.
      low: Lower end of the 95 % interval (Fieller's, of the samples in the averages).
      high: Upper end; infinite where the noise exceeds the gradient.
      trace: ``S``, the trace of the covariance of the gradient of one example.
      gradient_norm_sq: ``G``, the squared norm of the gradient without noise.
      num_samples: Number of samples.

    Example:
      >>> import lrsched
      >>> print(lrsched.CriticalBatchSize(512.0, 300.0, 900.0, 51.2, 0.1, num_samples=100))
      critical batch size 512 (95 % interval 300 to 900, 100 samples)
    """

    value: float
    low: float
    high: float
    trace: float
    gradient_norm_sq: float
    num_samples: int

    def __str__(self) -> str:
        return (
            f"critical batch size {self.value:.3g} (95 % interval {self.low:.3g} to "
            f"{self.high:.3g}, {self.num_samples} samples)"
        )


class _GradientNormState(NamedTuple):
    """Squared norm of the latest gradient, a float32 scalar."""

    norm_sq: jax.Array


@dataclasses.dataclass(frozen=True)
class NoiseScale:
    """Measure the gradient noise scale ``S / G`` of an optimizer's gradients.

    A gradient averaged over ``b`` examples has the expected squared norm ``G + S / b``. From the
    norms at two sizes, ``G = (b2 N2 - b1 N1) / (b2 - b1)`` and ``S = (N1 - N2) / (1/b1 - 1/b2)``;
    both are averaged over updates before they are divided. Exactly one source of the two sizes is
    named:

    - ``micro_batches``: each call receives the gradient of one micro-batch. It accumulates as
      ``optax.MultiSteps(optimizer, micro_batches)``, in place of it, and makes one update of
      ``micro_batches`` calls.
    - ``axis_name``: inside ``jax.shard_map``, each device passes the gradient of its own examples.
      Their mean, which the update needs in any case, is taken here; one more scalar goes with it.
      With ``check_vma=True`` JAX sums the gradients of replicated parameters itself: differentiate
      with respect to ``jax.lax.pcast(params, axis_name, to="varying")``.
    - ``small_batch_size``: ``update`` receives ``small_gradients=``, the gradient of that
      number of examples, of the batch or of others. Updates without it are not measured.

    The gradients must be raw: means over examples, before clipping and loss scaling. The optimizer
    is not affected. Norms are sums over the logical arrays, in float32 or wider. A sample that is
    not finite is skipped and counted. `critical_batch_size` reads the result.

    Args:
      optimizer: Optax transform that receives the gradients.
      batch_size: Number of examples in each gradient that ``update`` receives.
      micro_batches: Number of micro-batches of an update. At least 2.
      axis_name: Name of the mesh axis over which the batch is split.
      small_batch_size: Number of examples in ``small_gradients``. Below ``batch_size``.
      decay: Decay of the averages; 0.99 averages over about 100 updates.

    Returns:
      An ``optax.GradientTransformationExtraArgs`` whose state is a `NoiseScaleState`.

    Raises:
      ValueError: If not exactly one source is named, or a number is out of range.

    Example:
      >>> import jax.numpy as jnp, lrsched, optax
      >>> optimizer = lrsched.noise_scale(optax.sgd(0.1), batch_size=1, micro_batches=2)
      >>> params = jnp.zeros(1)
      >>> state = optimizer.init(params)
      >>> for gradient in (1.0, 3.0):
      ...     updates, state = optimizer.update(jnp.array([gradient]), state, params)
      >>> result = lrsched.critical_batch_size(state)
      >>> result.trace, result.gradient_norm_sq  # the variance 2, the mean**2 less its noise
      (2.0, 3.0)

    References:
      McCandlish et al. 2018 (arXiv 1812.06162), appendix A.1.
    """

    optimizer: BaseOptimizer
    batch_size: Size
    _: dataclasses.KW_ONLY
    micro_batches: Size | None = None
    axis_name: str | None = None
    small_batch_size: Size | None = None
    decay: DecayRate = 0.99

    def __post_init__(self) -> None:
        sources = {
            name: getattr(self, name)
            for name in ("micro_batches", "axis_name", "small_batch_size")
            if getattr(self, name) is not None
        }
        if len(sources) != 1:
            raise ValueError(
                f"noise_scale: {', '.join(sources) or 'no source'} is not accepted; pass exactly "
                "one of micro_batches, axis_name and small_batch_size."
            )
        batches = self.micro_batches
        if batches is not None and concrete_size("micro_batches", batches) == 1:
            requirement = "a whole number of 2 or more"
            raise not_accepted("noise_scale", "micro_batches", 1, requirement)
        if (small := self.small_batch_size) is not None:
            check_below("noise_scale", "small_batch_size", small, "batch_size", self.batch_size)

    @property
    def inner(self) -> optax.GradientTransformationExtraArgs:
        """The optimizer that receives the gradients."""
        if self.micro_batches is None:
            return optax.with_extra_args_support(self.optimizer)
        tapped = optax.chain(_record_norm(), self.optimizer)
        return optax.MultiSteps(
            tapped, concrete_size("micro_batches", self.micro_batches)
        ).gradient_transformation()

    def init(self, params: optax.Params) -> NoiseScaleState:
        """Return empty averages and the optimizer's state."""
        zero = jnp.zeros([], jnp.float32)
        return NoiseScaleState(
            zero_count(),
            jnp.zeros(5, jnp.float32),
            jnp.asarray(self.decay, jnp.float32),
            zero_count(),
            zero,
            self.inner.init(params),
        )

    def update(
        self,
        updates: optax.Updates,
        state: NoiseScaleState,
        params: optax.Params | None = None,
        *,
        small_gradients: optax.Updates | None = None,
        **extra_args: object,
    ) -> tuple[optax.Updates, NoiseScaleState]:
        """Return the optimizer's updates, and the averages with one sample more."""
        if self.axis_name is not None:
            norm_sq = _norm_sq(updates)
            lax: Any = jax.lax
            updates, small = lax.pmean((updates, norm_sq), self.axis_name)
            big, size = _norm_sq(updates), self.batch_size * lax.psum(1, self.axis_name)
            new = _with_sample(state, small, big, self.batch_size, size, True)
        elif self.small_batch_size is not None:
            new = state
            if small_gradients is not None:
                norms = _norm_sq(small_gradients), _norm_sq(updates)
                new = _with_sample(state, *norms, self.small_batch_size, self.batch_size, True)
        final, inner_state = self.inner.update(updates, state.inner_state, params, **extra_args)
        if self.micro_batches is not None:
            old: optax.OptState = state.inner_state
            norms_sum = state.small_norm_sq + _norm_sq(updates)
            is_last = inner_state.gradient_step != old.gradient_step
            new = _with_sample(
                state,
                norms_sum / self.micro_batches,
                inner_state.inner_opt_state[0].norm_sq,
                self.batch_size,
                self.batch_size * self.micro_batches,
                is_last,
            )
            new = new._replace(small_norm_sq=jnp.where(is_last, 0, norms_sum))
            # MultiSteps clears its accumulator by a product with 0, which keeps a NaN forever.
            cleared = jax.tree.map(lambda g: jnp.where(is_last, 0, g), inner_state.acc_grads)
            inner_state = inner_state._replace(acc_grads=cleared)
        return final, new._replace(inner_state=inner_state)


noise_scale = make_factory(NoiseScale, transform_of)


def _record_norm() -> optax.GradientTransformation:
    """Record the squared norm of the gradient that arrives: of the mean over micro-batches."""

    def init(params: optax.Params) -> _GradientNormState:
        del params
        return _GradientNormState(jnp.zeros([], jnp.float32))

    def update(
        updates: optax.Updates, state: _GradientNormState, params: optax.Params | None = None
    ) -> tuple[optax.Updates, _GradientNormState]:
        del state, params
        return updates, _GradientNormState(_norm_sq(updates))

    return optax.GradientTransformation(init, update)


def _norm_sq(tree: chex.ArrayTree) -> jax.Array:
    (total,) = tree_sums(tree_square(jax.tree.map(widen, complex_as_real(tree))))
    return total.astype(jnp.float32)


def _with_sample(
    state: NoiseScaleState,
    small: jax.Array,
    big: jax.Array,
    small_size: chex.Numeric,
    big_size: chex.Numeric,
    is_complete: chex.Numeric,
) -> NoiseScaleState:
    """Return the state with the sample of two squared norms, if it is complete and finite."""
    small_size, big_size = jnp.float32(small_size), jnp.float32(big_size)
    gradient_sq = (big_size * big - small_size * small) / (big_size - small_size)
    trace = (small - big) / (1 / small_size - 1 / big_size)
    sample = jnp.stack([trace, gradient_sq, trace**2, gradient_sq**2, trace * gradient_sq])
    is_finite = jnp.all(jnp.isfinite(sample))
    moments = state.decay * state.moments + (1 - state.decay) * sample
    is_used = is_complete & is_finite
    return state._replace(
        count=state.count + is_used,
        moments=jnp.where(is_used, moments, state.moments),
        nonfinite_count=state.nonfinite_count + (is_complete & ~is_finite),
    )


def critical_batch_size(opt_state: chex.ArrayTree, *, z: float = 1.96) -> CriticalBatchSize:
    """Return the critical batch size that `noise_scale` measured, with an interval.

    Batches far below it are dominated by noise: twice the batch allows nearly twice the progress of
    an update. Far above it, a larger batch adds little. It bounds the useful batch size and is not
    an optimum. It grows as the loss falls.

    Args:
      opt_state: State of an optimizer, or a container of one such as a ``TrainState``.
      z: Half the width of the interval, in standard errors. Defaults to 95 %.

    Returns:
      The estimate as Python numbers, which waits for the device.

    Raises:
      ValueError: If the state holds no or several measurements, or has no sample yet.

    Example:
      >>> import jax.numpy as jnp, lrsched, optax
      >>> optimizer = lrsched.noise_scale(optax.sgd(0.1), batch_size=8, small_batch_size=4)
      >>> params = jnp.zeros(1)
      >>> _, state = optimizer.update(
      ...     jnp.array([2.0]), optimizer.init(params), params, small_gradients=jnp.array([2.5]))
      >>> lrsched.critical_batch_size(state).value
      10.285714285714286

    References:
      McCandlish et al. 2018 (arXiv 1812.06162); Fieller 1954 for the interval.
    """
    state = single_state("critical_batch_size", NoiseScaleState, opt_state, "noise_scale")
    count, moments, decay = jax.device_get(state[:3])
    if count == 0:
        raise ValueError(
            "critical_batch_size: the state has no sample yet; read it after an update that "
            "received the gradients of two batch sizes."
        )
    keep, count = float(decay), int(count)
    total = 1 - keep**count
    # Samples that are independent have the variance of this many with equal weights.
    squares = (1 - keep) ** 2 * (1 - keep ** (2 * count)) / (1 - keep**2)
    num_effective = total**2 / squares
    means: list[float] = (np.asarray(moments, np.float64) / total).tolist()
    trace, gradient_sq = means[:2]
    products = np.array([trace**2, gradient_sq**2, trace * gradient_sq])
    errors = ((np.array(means[2:]) - products) / max(num_effective - 1, 1e-9)).tolist()
    low, high = _fieller(trace, gradient_sq, errors, z) if count > 1 else (0.0, np.inf)
    value = max(trace, 0.0) / gradient_sq if gradient_sq > 0 else np.inf
    return CriticalBatchSize(value, low, high, trace, gradient_sq, count)


def _fieller(top: float, bottom: float, errors: list[float], z: float) -> tuple[float, float]:
    """Return the ends of the ratios ``r`` for which ``top - r bottom`` is within ``z`` errors."""
    var_top, var_bottom, cov = errors
    a, b, c = bottom**2 - z**2 * var_bottom, top * bottom - z**2 * cov, top**2 - z**2 * var_top
    discriminant = b**2 - a * c
    if bottom <= 0 or discriminant < 0:
        return 0.0, np.inf
    # Written so that the lower end is continuous where `a` changes its sign.
    root = np.sqrt(discriminant)
    low = max(0.0, c / (b + root)) if b + root > 0 else 0.0
    return low, (b + root) / a if a > 0 else np.inf
