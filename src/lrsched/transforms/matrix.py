"""Optimizers with a rate for matrices and another one for all other parameters."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from typing import Annotated, Any, Final, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
import optax
import optax.contrib
from jax.typing import ArrayLike, DTypeLike

from lrsched._schedule import Schedule
from lrsched.algebra import LearningRate
from lrsched.arguments import (
    ArgumentType,
    Direction,
    NonNegativeFloat,
    PositiveFloat,
    in_range,
    not_accepted,
    one_of,
    short_repr,
    shorten,
    validate_arguments,
    whole_number,
)
from lrsched.numerics import widen
from lrsched.transforms.composition import leaves_with_path, map_with_path
from lrsched.transforms.inject import inject_schedules
from lrsched.transforms.nonfinite import NonfinitePolicy, guard_nonfinite, zero_nonfinite
from lrsched.transforms.weight_decay import scalar_or_schedule

MatrixAxes: TypeAlias = Callable[[str, Any], bool | optax.contrib.MuonDimensionNumbers]
"""Function of path and array that returns whether it is a matrix, or the axes of one."""
Matrices: TypeAlias = str | MatrixAxes | None
"""Regular expression for paths, a function of path and array, or `None` for every matrix."""

MATRIX: Final = "matrix"
REST: Final = "rest"
SCALES: Final = ("width", "rms", "unit-rms")
Scale: TypeAlias = Annotated[str, one_of("Scale", SCALES)]
"""Name of the factor by which Muon multiplies an orthogonalised momentum."""


def _parse_steps(value: object) -> int | None:
    # None, and not optax's number: `optax.inject_hyperparams` traces the numbers that it finds.
    return None if value is None else int(_WHOLE_NUMBER.parse(value))


_WHOLE_NUMBER: Final = whole_number(1)
NS_STEPS: Final = ArgumentType(
    "int", f"{_WHOLE_NUMBER.description}, or None", _parse_steps, static=True
)


def _or_schedule(name: str, description: str, parse: Callable[[object], ArrayLike]) -> ArgumentType:
    """Return the argument type of a number that may follow a schedule."""
    return ArgumentType(
        name,
        f"{description}, or a schedule of such numbers",
        scalar_or_schedule(parse),
    )


MOMENTUM_DECAY: Final = _or_schedule(
    "MomentumDecay", "a number from 0 to below 1", in_range(ge=0, lt=1)
)
MomentumDecay: TypeAlias = Annotated[ArrayLike | Schedule | optax.Schedule, MOMENTUM_DECAY]
"""Decay of a moving average, or a schedule of it."""
Coefficient: TypeAlias = Annotated[
    ArrayLike | Schedule | optax.Schedule,
    _or_schedule("Coefficient", "a number of 0 or more", in_range(ge=0)),
]
"""Coefficient of a weight decay, or a schedule of it."""


@validate_arguments
def muon(
    learning_rate: LearningRate,
    adam_learning_rate: LearningRate | None = None,
    *,
    beta: MomentumDecay = 0.95,
    scale: Scale = "width",
    rms: PositiveFloat = 0.2,
    matrices: Matrices = None,
    weight_decay: Coefficient = 0.0,
    nesterov: bool = True,
    bias_correction: bool = True,
    eps: NonNegativeFloat = 1e-8,
    adam_b1: MomentumDecay = 0.9,
    adam_b2: MomentumDecay = 0.999,
    adam_weight_decay: Coefficient = 0.0,
    nonfinite: NonfinitePolicy = "skip",
    ns_coeffs: ArrayLike | Sequence[ArrayLike] | None = None,
    ns_steps: Annotated[int | None, NS_STEPS] = None,
    mu_dtype: DTypeLike | None = None,
    adaptive: bool = False,
    preconditioning: str | None = None,
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
    "width" and "rms"; in a compiled step with ``nonfinite="propagate"``, as the guard of the other
    policies lets XLA fuse, and round, otherwise. float16 is computed and stored in float32, where
    ``eps`` and the squares of gradients are in range. The matrix rate has the label ``""`` in
    `learning_rates`, the other one ``"adam"``; `start_cooldown` and `scale_learning_rate` change
    both, or one with ``group=``.

    Args:
      learning_rate: Rate of the matrices.
      adam_learning_rate: Rate of all other parameters. `None` means a second rate that starts as
        ``learning_rate``, which fits ``scale="rms"``.
      beta: Decay of the momentum. A `Schedule` is followed.
      scale: "width", "rms" or "unit-rms".
      rms: Root mean square of the update of a matrix with ``scale="rms"``.
      matrices: Which parameters are matrices: a regular expression that is searched for in their
        paths, or a function of path and array, which returns a boolean, or the
        ``optax.contrib.MuonDimensionNumbers`` of an array with more axes, such as Flax's attention
        kernels. `None` means every array with two axes, embeddings, heads and the biases of Flax's
        attention included, as in optax. Authors of Muon leave all of these to AdamW.
      weight_decay: Decoupled weight decay of the matrices.
      nesterov: Whether to use Nesterov momentum, for AdamW as well, as in optax.
      bias_correction: Whether to correct the momentum for its start, as optax does. `False` is
        Jordan's momentum ``m <- beta m + (1 - beta) g``, which differs from the corrected one in
        the first ``1 / (1 - beta)`` updates. Moonlight's ``m <- beta m + g`` has the direction of
        Jordan's while ``beta`` is a number; where ``beta`` changes, this is Jordan's.
      eps: Term added to denominators.
      adam_b1: Decay of AdamW's first moment.
      adam_b2: Decay of AdamW's second moment.
      adam_weight_decay: Decoupled weight decay of all other parameters.
      nonfinite: Policy for gradients that are not finite, or whose squares overflow. "skip" leaves
        parameters and state unchanged and counts the update, "zero" replaces the entries concerned
        with 0, "propagate" does nothing, as optax.
      ns_coeffs: Coefficients of the Newton-Schulz iteration, or its name; `None` means optax's.
      ns_steps: Number of iterations; `None` means optax's 5.
      mu_dtype: Dtype of the momentum; `None` means that of the parameters.
      adaptive: Whether to scale the update by the dual norm of the gradient, as in optax.
      preconditioning: Preconditioning of the iteration, of optax 0.2.8 and newer; `None` means
        optax's.

    Returns:
      An optax transform whose state is a `NonfiniteGuardState` around an `InjectSchedulesState`.

    Raises:
      ValueError: If an argument is out of its range, ``matrices`` is no regular expression, or,
        when the state is made, no parameter is a matrix, or a chosen one has not two axes and no
        dimension numbers that fit.

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
    options = _newton_schulz_options(ns_coeffs, ns_steps, mu_dtype, adaptive, preconditioning)
    labels = _labels("muon", matrices)
    dimensions = _dimensions_of(matrices) if callable(matrices) else None

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
            _orthogonalized(
                MOMENTUM_DECAY.validate("muon", "beta", beta),
                scale=scale,
                rms=rms,
                nesterov=nesterov,
                bias_correction=bias_correction,
                eps=eps,
                options=options,
                dimensions=dimensions,
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
        return optax.partition({MATRIX: matrix, REST: rest}, labels)

    optimizer = inject_schedules(factory)(
        learning_rate,
        learning_rate if adam_learning_rate is None else adam_learning_rate,
        beta,
        weight_decay,
        adam_b1,
        adam_b2,
        adam_weight_decay,
    )
    return guard_nonfinite(_without_float16(optimizer), nonfinite)


@validate_arguments
def muon_direction(
    beta: Annotated[ArrayLike, MOMENTUM_DECAY] = 0.95,
    *,
    scale: Scale = "width",
    rms: PositiveFloat = 0.2,
    matrices: MatrixAxes | None = None,
    nesterov: bool = True,
    bias_correction: bool = True,
    eps: NonNegativeFloat = 1e-8,
    ns_coeffs: ArrayLike | Sequence[ArrayLike] | None = None,
    ns_steps: Annotated[int | None, NS_STEPS] = None,
    mu_dtype: DTypeLike | None = None,
    adaptive: bool = False,
    preconditioning: str | None = None,
) -> optax.GradientTransformation:
    """Return the transform from gradients of matrices to ``s O`` of `muon`, without a rate.

    All parameters are matrices; ``matrices`` gives the axes of arrays that have more than two.
    """
    options = _newton_schulz_options(ns_coeffs, ns_steps, mu_dtype, adaptive, preconditioning)
    return _orthogonalized(
        beta,
        scale=scale,
        rms=rms,
        nesterov=nesterov,
        bias_correction=bias_correction,
        eps=eps,
        options=options,
        dimensions=None if matrices is None else _dimensions_of(matrices),
    )


def _orthogonalized(
    beta: ArrayLike,
    *,
    scale: str,
    rms: ArrayLike,
    nesterov: bool,
    bias_correction: bool,
    eps: ArrayLike,
    options: dict[str, Any],
    dimensions: Callable[[optax.Params], optax.Params] | None = None,
) -> optax.GradientTransformation:
    """Return `muon_direction` of arguments that were checked: `muon` makes it at each update."""
    momentum = []
    if not bias_correction:
        trace = optax.trace(beta, nesterov, options.get("mu_dtype"))
        momentum = [optax.scale(1.0 - beta), trace]
    orthogonalized = optax.contrib.muon(
        -1.0,  # multiplies by exactly 1: the rate comes after the weight decay
        # With beta=0 the momentum is the update that it is given.
        beta=beta if bias_correction else 0.0,
        eps=eps,
        nesterov=nesterov,
        consistent_rms=rms if scale == "rms" else None,
        muon_weight_dimension_numbers=dimensions,
        **options,
    )
    shape = [_from_width_to_unit_rms(dimensions)] if scale == "unit-rms" else []
    return optax.chain(*momentum, orthogonalized, *shape)


def _newton_schulz_options(
    ns_coeffs: object, ns_steps: object, mu_dtype: object, adaptive: bool, preconditioning: object
) -> dict[str, Any]:
    """Return the options of ``optax.contrib.muon`` that differ from its defaults."""
    given = {
        "ns_coeffs": ns_coeffs,
        "ns_steps": ns_steps,
        "mu_dtype": mu_dtype,
        "adaptive": adaptive or None,
        "preconditioning": preconditioning,
    }
    options = {name: value for name, value in given.items() if value is not None}
    if not options:
        return options
    try:  # optax checks some of them only where an update is traced
        optimizer = optax.contrib.muon(1.0, **options)
        matrix = jnp.zeros((2, 2))
        jax.eval_shape(lambda w: optimizer.update(w, optimizer.init(w), w), matrix)
    except (TypeError, ValueError, IndexError, OverflowError) as error:
        shown = ", ".join(f"{name}={short_repr(value)}" for name, value in options.items())
        raise ValueError(f"muon: {shown} is not accepted by optax: {error}.") from None
    return options


class HyperballState(NamedTuple):
    """State of the projection of `hyperball`.

    Attributes:
      radius: Norm of each matrix, float32 scalars in the structure of the matrices.
    """

    radius: optax.Params


@validate_arguments
def hyperball(
    base: Direction,
    learning_rate: LearningRate,
    rest_learning_rate: LearningRate,
    *,
    matrices: Matrices = None,
    nonfinite: NonfinitePolicy = "skip",
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
      nonfinite: Policy for gradients that are not finite, see `muon`. Entries of the direction of
        ``base`` that are not finite count as 0, except with "propagate".

    Returns:
      An optax transform whose state is a `NonfiniteGuardState` around an `InjectSchedulesState`
      with the rates ``""`` and ``"rest"``.

    Raises:
      ValueError: If an argument is of another type, ``matrices`` is no regular expression, or, when
        the state is made, the norm of a matrix is 0 or not finite, no parameter is a matrix, or a
        chosen one has not two axes and no dimension numbers that fit.

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
    labels = _labels("hyperball", matrices)
    # Bases such as sign descent by g / |g| make NaN of finite gradients.
    direction = base if nonfinite == "propagate" else optax.chain(base, zero_nonfinite())

    def factory(
        learning_rate: ArrayLike, rest_learning_rate: ArrayLike
    ) -> optax.GradientTransformation:
        matrix = optax.chain(direction, _step_on_sphere(learning_rate))
        rest = optax.chain(direction, optax.scale_by_learning_rate(rest_learning_rate))
        return optax.partition({MATRIX: matrix, REST: rest}, labels)

    optimizer = inject_schedules(factory)(learning_rate, rest_learning_rate)
    return guard_nonfinite(_without_float16(optimizer), nonfinite)


def _without_float16(
    inner: optax.GradientTransformationExtraArgs,
) -> optax.GradientTransformationExtraArgs:
    """Compute in float32 where the parameters are float16, and return updates in float16.

    In float16, ``eps=1e-8`` is 0, so that a gradient of 0 gives NaN, and the square of 300
    overflows, which freezes a parameter for all later steps.
    """

    def widen(tree: optax.Params) -> optax.Params:
        def wide(leaf: ArrayLike) -> ArrayLike:
            is_float16 = jnp.result_type(leaf) == jnp.float16
            return jnp.asarray(leaf, jnp.float32) if is_float16 else leaf

        return jax.tree.map(wide, tree)

    def update(
        updates: optax.Updates,
        state: optax.OptState,
        params: optax.Params | None = None,
        **extra_args: Any,
    ) -> tuple[optax.Updates, optax.OptState]:
        # The gradients may be wider than the parameters: their updates are, too.
        scaled, state = inner.update(widen(updates), state, widen(params), **extra_args)

        def narrow(update: jax.Array, given: ArrayLike) -> jax.Array:
            is_float16 = jnp.result_type(given) == jnp.float16  # Python numbers have no dtype
            return update.astype(jnp.float16) if is_float16 else update

        return jax.tree.map(narrow, scaled, updates), state

    return optax.GradientTransformationExtraArgs(lambda params: inner.init(widen(params)), update)


def _step_on_sphere(learning_rate: ArrayLike) -> optax.GradientTransformation:
    def init(params: optax.Params) -> HyperballState:
        def radius(path: str, param: jax.Array) -> jax.Array:
            norm = _norm(param)
            if not isinstance(norm, jax.core.Tracer) and not 0 < norm < jnp.inf:
                fault = f"has the norm {norm:g} in float32" if jnp.any(param != 0) else "is zero"
                raise ValueError(
                    f"hyperball: the matrix {path!r} {fault}, which is not accepted, as "
                    "its norm never changes; initialise it with another value or exclude it by "
                    "matrices."
                )
            return norm

        return HyperballState(map_with_path(radius, params))

    def update(
        updates: optax.Updates, state: HyperballState, params: optax.Params | None = None
    ) -> tuple[optax.Updates, HyperballState]:
        if params is None:
            raise ValueError("hyperball needs the parameters: update(updates, state, params).")

        def step(direction: jax.Array, param: jax.Array, radius: jax.Array) -> jax.Array:
            w = widen(param)
            u = direction.astype(w.dtype)
            size = _norm(u)
            # A zero direction has no unit vector: the matrix stays where it is.
            moved = w - learning_rate * radius * u / jnp.where(size > 0, size, 1.0)
            length = _norm(moved)
            projected = moved * (radius / jnp.where(length > 0, length, 1.0))
            return (jnp.where(length > 0, projected, w) - w).astype(direction.dtype)

        return jax.tree.map(step, updates, params, state.radius), state

    return optax.GradientTransformation(init, update)


def _norm(x: jax.Array) -> jax.Array:
    wide = widen(x)
    return jnp.sqrt(jnp.sum(wide * wide))


def _from_width_to_unit_rms(
    dimensions: Callable[[optax.Params], optax.Params] | None,
) -> optax.GradientTransformation:
    """Turn the factor of the scale "width" into that of "unit-rms"."""

    def scaled(update: jax.Array, axes: optax.contrib.MuonDimensionNumbers) -> jax.Array:
        fan_in, fan_out = (
            math.prod(update.shape[axis] for axis in _as_tuple(which)) for which in axes
        )
        scale: float = min(1.0, (fan_out / fan_in) ** 0.5)
        return update * scale

    def rescale(updates: optax.Updates, _: optax.Params | None) -> optax.Updates:
        if dimensions is None:
            return jax.tree.map(lambda u: scaled(u, optax.contrib.MuonDimensionNumbers()), updates)
        return jax.tree.map(scaled, updates, dimensions(updates))

    return optax.stateless(rescale)


def _as_tuple(axes: int | Sequence[int]) -> tuple[int, ...]:
    return (axes,) if isinstance(axes, int) else tuple(axes)


def _dimensions_of(
    matrices: MatrixAxes,
) -> Callable[[optax.Params], optax.Params]:
    """Return the function from matrices to their dimension numbers."""

    def dimensions(path: str, leaf: jax.Array) -> optax.contrib.MuonDimensionNumbers:
        chosen = matrices(path, leaf)
        is_given = isinstance(chosen, optax.contrib.MuonDimensionNumbers)
        return chosen if is_given else optax.contrib.MuonDimensionNumbers()

    return lambda params: map_with_path(dimensions, params)


def _fits(axes: optax.contrib.MuonDimensionNumbers, ndim: int) -> bool:
    """Return whether dimension numbers are different axes of an array, some of each kind."""
    try:
        reduction, output = map(_as_tuple, axes)
        both = [*reduction, *output]
        numbers = {axis % ndim for axis in both if -ndim <= axis < ndim}
    except TypeError:
        return False
    return bool(reduction and output) and len(numbers) == len(both)


def _labels(function: str, matrices: Matrices) -> Callable[[optax.Params], optax.Params]:
    if not (matrices is None or isinstance(matrices, str) or callable(matrices)):
        requirement = (
            "a regular expression for paths, a function of path and array, or None for every matrix"
        )
        raise not_accepted(function, "matrices", matrices, requirement)
    if isinstance(matrices, str):
        try:
            re.compile(matrices)
        except re.error as error:
            requirement = "a regular expression"
            raise not_accepted(function, "matrices", matrices, requirement, str(error)) from None

    def is_matrix(path: str, leaf: jax.Array) -> bool:
        is_complex = jnp.issubdtype(jnp.result_type(leaf), jnp.complexfloating)
        if matrices is None:
            return np.ndim(leaf) == 2 and np.size(leaf) > 0 and not is_complex
        chosen = re.search(matrices, path) if isinstance(matrices, str) else matrices(path, leaf)
        if isinstance(chosen, optax.contrib.MuonDimensionNumbers):
            if not _fits(chosen, np.ndim(leaf)) or is_complex:
                raise ValueError(
                    f"{function}: matrices gives {path!r} of shape {np.shape(leaf)} {chosen}, "
                    "which is not accepted; the array must be real and the two must name different "
                    "axes of it."
                )
            return True
        if chosen and (np.ndim(leaf) != 2 or is_complex):
            raise ValueError(
                f"{function}: matrices chooses {path!r} of shape {np.shape(leaf)}"
                f"{' with complex entries' if is_complex else ''}, which is not accepted; a matrix "
                "must be real and have two axes; of an array with more, a function for matrices "
                "returns MuonDimensionNumbers."
            )
        return bool(chosen)

    def labels(params: optax.Params) -> optax.Params:
        found = map_with_path(lambda path, leaf: MATRIX if is_matrix(path, leaf) else REST, params)
        # A tree without leaves is a description: optax.tree_utils.tree_map_params passes one.
        if (leaves := jax.tree.leaves(found)) and MATRIX not in leaves:
            paths = ", ".join(path for path, _ in leaves_with_path(params))
            raise ValueError(
                f"{function}: matrices={short_repr(matrices)} is not accepted, as it chooses no "
                f"parameter; it must choose at least one; the paths are {shorten(paths)}."
            )
        return found

    return labels
