"""Optimizers with a rate for matrices and another one for all other parameters."""

import re
from collections.abc import Callable
from typing import Any, Final, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
import optax
import optax.contrib
from jax.typing import ArrayLike

from lrsched._schedule import Schedule
from lrsched.arguments import BASE_OPTIMIZER
from lrsched.transforms.composition import path_name
from lrsched.transforms.inject import inject_schedules

Rate: TypeAlias = ArrayLike | Schedule | optax.Schedule
"""A number, a `Schedule` or a callable of the step."""
Matrices: TypeAlias = str | Callable[[str, Any], bool] | None
"""Regular expression for paths, a predicate of path and array, or `None` for every matrix."""

MATRIX: Final = "matrix"
REST: Final = "rest"
SCALES: Final = ("width", "rms", "unit-rms")


def muon(
    learning_rate: Rate,
    adam_learning_rate: Rate | None = None,
    *,
    beta: ArrayLike | Schedule = 0.95,
    scale: str = "width",
    rms: float = 0.2,
    matrices: Matrices = None,
    weight_decay: ArrayLike | Schedule = 0.0,
    nesterov: bool = True,
    bias_correction: bool = True,
    eps: float = 1e-8,
    adam_b1: ArrayLike | Schedule = 0.9,
    adam_b2: ArrayLike | Schedule = 0.999,
    adam_weight_decay: ArrayLike | Schedule = 0.0,
    **options: Any,
) -> optax.GradientTransformationExtraArgs:
    """Muon for matrices and AdamW for the rest, with two rates that are read and changed.

    The update of a matrix of ``fan_in`` rows and ``fan_out`` columns is ``-rate s O``, where ``O``
    is the orthogonalised momentum and ``scale`` names the factor ``s``:

    ==============  ===================================  ==========================================
    scale           s                                    the rate
    ==============  ===================================  ==========================================
    ``"width"``     ``sqrt(max(1, fan_out / fan_in))``   Jordan's, 0.02; not AdamW's
    ``"rms"``       ``rms sqrt(max(fan_in, fan_out))``   Moonlight's: that of AdamW
    ``"unit-rms"``  ``sqrt(fan_out / fan_in)``           Scion's: stays as the width grows
    ==============  ===================================  ==========================================

    The updates equal those of ``optax.contrib.muon`` to the last bit in float32 for the scales
    "width" and "rms". The matrix rate has the label ``""`` in `learning_rates`, the other one
    ``"adam"``; `start_cooldown` and `scale_learning_rate` change both, or one with ``group=``.

    A gradient above about 1e19 overflows the second moment of optax's Adam, whose entry then stays
    infinite; put ``optax.clip_by_global_norm`` before ``muon`` where such gradients occur.

    Args:
      learning_rate: Rate of the matrices.
      adam_learning_rate: Rate of all other parameters. `None` means a second rate that starts as
        ``learning_rate``, which fits ``scale="rms"``.
      beta: Decay of the momentum. A `Schedule` is followed.
      scale: "width", "rms" or "unit-rms".
      rms: Root mean square of the update of a matrix with ``scale="rms"``.
      matrices: Which parameters are matrices: a regular expression that is searched for in their
        paths, or a function of path and array. `None` means every array with two axes, embeddings
        and heads included, as in optax. Authors of Muon leave embeddings and heads to AdamW.
      weight_decay: Decoupled weight decay of the matrices.
      nesterov: Whether to use Nesterov momentum, for AdamW as well, as in optax.
      bias_correction: Whether to correct the momentum for its start, as optax does. Jordan and
        Moonlight do not; the two differ in the first ``1 / (1 - beta)`` updates.
      eps: Term added to denominators.
      adam_b1: Decay of AdamW's first moment.
      adam_b2: Decay of AdamW's second moment.
      adam_weight_decay: Decoupled weight decay of all other parameters.
      **options: Further arguments of ``optax.contrib.muon``, such as ``ns_steps``.

    Returns:
      An optax transform whose state is an `InjectSchedulesState`.

    Raises:
      ValueError: If ``scale`` is unknown, ``rms`` is not above 0, a decay is outside of its range,
        or, when the state is made, ``matrices`` is no regular expression, no parameter is a matrix
        or a chosen one has not two axes.

    Example:
      >>> import jax.numpy as jnp, lrsched
      >>> optimizer = lrsched.muon(
      ...     lrsched.wsd(0.02, steps=1000, warmup=0, cooldown=0.3),
      ...     lrsched.wsd(3e-4, steps=1000, warmup=100, cooldown=0.3), matrices="hidden")
      >>> params = {"embed": jnp.ones((5, 2)), "hidden": jnp.ones((2, 4)), "bias": jnp.ones(4)}
      >>> rates = lrsched.learning_rates(optimizer.init(params))
      >>> {label: round(float(rate), 6) for label, rate in rates.items()}
      {'': 0.02, 'adam': 0.0}

    References:
      Jordan et al. 2024, https://kellerjordan.github.io/posts/muon. "rms": Liu et al. 2025 (arXiv
      2502.16982). "unit-rms": Pethick et al. 2025 (arXiv 2502.07529).
    """
    if scale not in SCALES:
        raise ValueError(
            f"muon: scale={scale!r} is not accepted; scale must be one of "
            f"{', '.join(map(repr, SCALES))}."
        )
    if not rms > 0:
        raise ValueError(f"muon: rms={rms!r} is not accepted; rms must be above 0.")
    for name, decay in (("beta", beta), ("adam_b1", adam_b1), ("adam_b2", adam_b2)):
        if isinstance(decay, int | float) and not 0 <= decay < 1:
            raise ValueError(
                f"muon: {name}={decay!r} is not accepted; {name} must be a number from 0 to below "
                "1, or a schedule of such numbers."
            )

    def factory(
        learning_rate: ArrayLike,
        adam_learning_rate: ArrayLike,
        beta: ArrayLike = 0.95,
        weight_decay: ArrayLike = 0.0,
        adam_b1: ArrayLike = 0.9,
        adam_b2: ArrayLike = 0.999,
        adam_weight_decay: ArrayLike = 0.0,
    ) -> optax.GradientTransformation:
        matrix = optax.chain(
            muon_direction(
                beta,
                scale=scale,
                rms=rms,
                nesterov=nesterov,
                bias_correction=bias_correction,
                eps=eps,
                **options,
            ),
            optax.add_decayed_weights(weight_decay),
            optax.scale_by_learning_rate(learning_rate),
        )
        rest = optax.adamw(
            adam_learning_rate,
            adam_b1,
            adam_b2,
            eps,
            weight_decay=adam_weight_decay,
            mu_dtype=options.get("mu_dtype"),
            nesterov=nesterov,
        )
        return optax.partition({MATRIX: matrix, REST: rest}, _labels("muon", matrices))

    return inject_schedules(factory)(
        learning_rate,
        learning_rate if adam_learning_rate is None else adam_learning_rate,
        beta,
        weight_decay,
        adam_b1,
        adam_b2,
        adam_weight_decay,
    )


def muon_direction(
    beta: ArrayLike = 0.95,
    *,
    scale: str = "width",
    rms: float = 0.2,
    nesterov: bool = True,
    bias_correction: bool = True,
    eps: float = 1e-8,
    **options: Any,
) -> optax.GradientTransformation:
    """Return the transform from gradients of matrices to ``s O`` of `muon`, without a rate."""
    momentum = [] if bias_correction else [optax.trace(beta, nesterov)]
    orthogonalized = optax.contrib.muon(
        -1.0,  # multiplies by exactly 1: the rate comes after the weight decay
        # With beta=0 the momentum is the update that it is given.
        beta=beta if bias_correction else 0.0,
        eps=eps,
        nesterov=nesterov,
        consistent_rms=rms if scale == "rms" else None,
        **options,
    )
    shape = [_from_width_to_unit_rms()] if scale == "unit-rms" else []
    return optax.chain(*momentum, orthogonalized, *shape)


class HyperballState(NamedTuple):
    """State of the projection of `hyperball`.

    Attributes:
      radius: Norm of each matrix, float32 scalars in the structure of the matrices.
    """

    radius: optax.Params


def hyperball(
    base: optax.GradientTransformation,
    learning_rate: Rate,
    rest_learning_rate: Rate,
    *,
    matrices: Matrices = None,
) -> optax.GradientTransformationExtraArgs:
    """Keep the norm of every matrix: its update is a step on the sphere of its initial norm.

    ``w <- R N(w - rate R N(u))`` with ``N(x) = x / |x|`` in the Frobenius norm, ``R`` the norm of
    the matrix when the state is made, and ``u`` the direction of ``base``. The rate is the angle
    of a step that is orthogonal to the weights. Matrices need no weight decay. Norms are float32.

    Args:
      base: Transform from gradients to a direction, such as ``optax.scale_by_adam()``.
      learning_rate: Rate of the matrices. Start from the root of AdamW's rate times its weight
        decay.
      rest_learning_rate: Rate of all other parameters, which follow the direction of ``base``.
      matrices: Choice of the matrices, see `muon`.

    Returns:
      An optax transform whose state is an `InjectSchedulesState` with the rates ``""`` and
      ``"rest"``.

    Raises:
      ValueError: When the state is made, if a matrix is zero, no parameter is a matrix, or a
        chosen one has not two axes.

    Example:
      >>> import jax.numpy as jnp, lrsched, optax
      >>> optimizer = lrsched.hyperball(optax.scale_by_adam(), 0.01, 1e-3)
      >>> params = {"kernel": jnp.ones((3, 3)), "bias": jnp.zeros(3)}
      >>> state = optimizer.init(params)
      >>> grads = {"kernel": jnp.eye(3), "bias": jnp.ones(3)}
      >>> updates, state = optimizer.update(grads, state, params)
      >>> round(float(jnp.linalg.norm(optax.apply_updates(params, updates)["kernel"])), 5)
      3.0

    References:
      Wen et al. 2026 (arXiv 2606.16899).
    """
    base = BASE_OPTIMIZER.validate("hyperball", "base", base)

    def factory(
        learning_rate: ArrayLike, rest_learning_rate: ArrayLike
    ) -> optax.GradientTransformation:
        matrix = optax.chain(base, _step_on_sphere(learning_rate))
        rest = optax.chain(base, optax.scale_by_learning_rate(rest_learning_rate))
        return optax.partition({MATRIX: matrix, REST: rest}, _labels("hyperball", matrices))

    return inject_schedules(factory)(learning_rate, rest_learning_rate)


def _step_on_sphere(learning_rate: ArrayLike) -> optax.GradientTransformation:
    def init(params: optax.Params) -> HyperballState:
        def radius(path: tuple[object, ...], param: jax.Array) -> jax.Array:
            norm = _norm(param)
            if not isinstance(norm, jax.core.Tracer) and not norm > 0:
                raise ValueError(
                    f"hyperball: the matrix {path_name(path)!r} is zero, which is not accepted, as "
                    "its norm never changes; initialise it with another value or exclude it by "
                    "matrices."
                )
            return norm

        return HyperballState(jax.tree_util.tree_map_with_path(radius, params))

    def update(
        updates: optax.Updates, state: HyperballState, params: optax.Params | None = None
    ) -> tuple[optax.Updates, HyperballState]:
        if params is None:
            raise ValueError("hyperball needs the parameters: update(updates, state, params).")

        def step(direction: jax.Array, param: jax.Array, radius: jax.Array) -> jax.Array:
            wide = jnp.promote_types(param.dtype, jnp.float32)
            w, u = param.astype(wide), direction.astype(wide)
            size = _norm(u)
            # A zero direction has no unit vector: the matrix stays where it is.
            moved = w - learning_rate * radius * u / jnp.where(size > 0, size, 1.0)
            length = _norm(moved)
            projected = moved * (radius / jnp.where(length > 0, length, 1.0))
            return (jnp.where(length > 0, projected, w) - w).astype(direction.dtype)

        return jax.tree.map(step, updates, params, state.radius), state

    return optax.GradientTransformation(init, update)


def _norm(x: jax.Array) -> jax.Array:
    wide = x.astype(jnp.promote_types(x.dtype, jnp.float32))
    return jnp.sqrt(jnp.sum(wide * wide))


def _from_width_to_unit_rms() -> optax.GradientTransformation:
    """Turn the factor of the scale "width" into that of "unit-rms"."""

    def scaled(update: jax.Array) -> jax.Array:
        fan_in, fan_out = update.shape
        scale: float = min(1.0, (fan_out / fan_in) ** 0.5)
        return update * scale

    return optax.stateless(lambda updates, _: jax.tree.map(scaled, updates))


def _labels(function: str, matrices: Matrices) -> Callable[[optax.Params], optax.Params]:
    if isinstance(matrices, str):
        try:
            re.compile(matrices)
        except re.error as error:
            raise ValueError(
                f"{function}: matrices={matrices!r} is not accepted; it must be a regular "
                f"expression: {error}."
            ) from None

    def is_matrix(path: str, leaf: jax.Array) -> bool:
        is_complex = jnp.issubdtype(jnp.result_type(leaf), jnp.complexfloating)
        if matrices is None:
            return np.ndim(leaf) == 2 and np.size(leaf) > 0 and not is_complex
        chosen = re.search(matrices, path) if isinstance(matrices, str) else matrices(path, leaf)
        if chosen and (np.ndim(leaf) != 2 or is_complex):
            raise ValueError(
                f"{function}: matrices chooses {path!r} of shape {np.shape(leaf)}"
                f"{' with complex entries' if is_complex else ''}, which is not accepted; a matrix "
                "must be real and have two axes."
            )
        return bool(chosen)

    def labels(params: optax.Params) -> optax.Params:
        found = jax.tree_util.tree_map_with_path(
            lambda path, leaf: MATRIX if is_matrix(path_name(path), leaf) else REST, params
        )
        # A tree without leaves is a description: optax.tree_utils.tree_map_params passes one.
        if (leaves := jax.tree.leaves(found)) and MATRIX not in leaves:
            raise ValueError(
                f"{function}: matrices={matrices!r} is not accepted, as it chooses no parameter; "
                "it must choose one with two axes or more of them."
            )
        return found

    return labels
