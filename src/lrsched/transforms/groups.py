"""Groups of parameters with their own rates: multipliers of the rate, chosen by path."""

from __future__ import annotations

import math
import re
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Final, NamedTuple, TypeAlias, cast

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.typing import ArrayLike

from lrsched._schedule import Schedule, is_number
from lrsched.algebra import as_schedule, constant, from_function
from lrsched.arguments import (
    ArgumentType,
    PositiveFloat,
    in_range,
    is_traced,
    not_accepted,
    validate_arguments,
)
from lrsched.scaling import mup_width
from lrsched.transforms.composition import (
    RateFactor,
    leaves_with_path,
    map_with_path,
    rate_factor,
)
from lrsched.transforms.learning_rate import scale_update
from lrsched.transforms.rate import (
    EditRecord,
    RateState,
    current_step,
    evaluate_rate,
    evaluate_scalar,
    init_rate,
    is_live,
    with_live_numbers,
)

Multiplier: TypeAlias = ArrayLike | Schedule | Callable[[jax.Array], ArrayLike] | None
"""Multiplier of the rate of a group; None freezes the group."""
Groups: TypeAlias = Sequence[tuple[str, Multiplier] | tuple[str, Multiplier, str]]
"""Patterns of paths, the multipliers of what they match and, optionally, labels."""

MULTIPLIER: Final = ArgumentType("Multiplier", "0 or more, a schedule or None", in_range(ge=0))
DEFAULT_GROUP: Final = "default"
REQUIRE_MATCH: Final = "error"


def frozen(step: jax.Array) -> jax.Array:
    """Return the multiplier of a frozen group: 0."""
    return jnp.zeros_like(step, jnp.float32)


FROZEN: Final = from_function(frozen)
"""Schedule of a frozen group. It is a separate kind: XLA omits gradients that it can see are
multiplied by a constant 0."""


class Group(NamedTuple):
    """One group of `learning_rate_groups`.

    Attributes:
      pattern: The regular expression; None for the default group.
      schedule: The multiplier.
    """

    pattern: str | None
    schedule: Schedule


class LearningRateGroupsState(NamedTuple):
    """State of `learning_rate_groups`.

    Attributes:
      count: int32 scalar, number of updates that this transform has applied.
      rates: The multiplier of each group by label, with the edits made to it.
      multipliers: float32 scalars by label: the multipliers of the latest update; before the
        first, those that it will have.
    """

    count: jax.Array  # type: ignore[assignment]
    rates: dict[str, RateState]
    multipliers: dict[str, jax.Array]


class LayerwiseDecayState(NamedTuple):
    """State of `layerwise_decay`.

    Attributes:
      count: int32 scalar, number of updates that this transform has applied.
      rates: The multipliers of all depths, stacked along the last axis, so that the structure does
        not depend on the parameters.
      multipliers: float32 array of shape (depths,), the multipliers of the latest update.
    """

    count: jax.Array  # type: ignore[assignment]
    rates: RateState
    multipliers: jax.Array


@rate_factor.register
def _(state: LearningRateGroupsState) -> RateFactor:
    return RateFactor(
        state.multipliers,
        is_multiplier=True,
        rates=state.rates,
        with_rates=lambda state, rates, _: state._replace(rates=dict(rates)),
    )


@rate_factor.register
def _(state: LayerwiseDecayState) -> RateFactor:
    (multipliers,) = jax.tree.leaves(state.multipliers)
    labels = [f"depth {depth}" for depth in range(np.shape(multipliers)[-1])]

    def at(depth: int) -> RateState:
        rate: RateState = jax.tree.map(lambda leaf: leaf[..., depth], state.rates)
        # The record's own axis stays the last.
        record: EditRecord = jax.tree.map(lambda leaf: leaf[..., depth, :], state.rates.record)
        return rate._replace(record=record)

    def with_rates(
        state: optax.OptState, rates: Mapping[str, RateState], _: object
    ) -> optax.OptState:
        by_depth = [rates[label] for label in labels]
        stacked = jax.tree.map(lambda *x: jnp.stack(x, -1), *by_depth)
        records = [rate.record for rate in by_depth]
        record = jax.tree.map(lambda *x: jnp.stack(x, -2), *records)
        return state._replace(rates=stacked._replace(record=record))

    if not isinstance(multipliers, jax.Array | np.ndarray):  # a description of a state
        return RateFactor(None)
    return RateFactor(
        {label: multipliers[..., depth] for depth, label in enumerate(labels)},
        is_multiplier=True,
        rates={label: at(depth) for depth, label in enumerate(labels)},
        with_rates=with_rates,
    )


def learning_rate_groups(
    groups: Groups, default: Multiplier = 1.0
) -> optax.GradientTransformationExtraArgs:
    """Multiply the rate of groups of parameters, which are chosen by patterns of their paths.

    A parameter belongs to the first pattern that is found in its path (``re.search``), such as
    ``"encoder/layer_3/kernel"``; the others are in the group "default". The transform may stand in
    a chain anywhere after the optimizer's own scaling, next to `scale_by_learning_rate` for
    instance. A frozen group (``None``) has updates of zero, regardless of its gradients;
    ``optax.masked`` would pass its gradients on as updates, uphill. `learning_rates` returns the
    rate of each group; ``scale_learning_rate(..., group=label)`` changes one, and
    ``set_hyperparameter(..., "multiplier", value, group=label)`` sets a multiplier, also that of a
    frozen group.

    Args:
      groups: Pairs of a regular expression and a multiplier: a number, a `Schedule`, a callable
        of the step, or None. A third item is the label of the group; by default it is the pattern.
      default: Multiplier of what no pattern matches. "error" requires that every parameter is
        matched. Defaults to 1.

    Returns:
      An optax transform with a `LearningRateGroupsState`.

    Raises:
      ValueError: If a pattern is not a valid regular expression or occurs twice, or a multiplier
        is not accepted; from ``init``, if a pattern matches no parameter or, with "error", a
        parameter is not matched; from ``update``, if the state has other groups.

    >>> import jax.numpy as jnp, lrsched, optax
    >>> optimizer = optax.chain(
    ...     lrsched.scale_by_learning_rate(0.5),
    ...     lrsched.learning_rate_groups([("head", 2.0), ("embed|pos", None, "embeddings")]))
    >>> params = {"embed": jnp.ones(1), "body": jnp.ones(1), "head": jnp.ones(1)}
    >>> updates, state = optimizer.update(params, optimizer.init(params), params)
    >>> {name: float(u[0]) for name, u in updates.items()}
    {'body': -0.5, 'embed': 0.0, 'head': -1.0}
    >>> {name: float(rate) for name, rate in lrsched.learning_rates(state).items()}
    {'default': 0.5, 'embeddings': 0.0, 'head': 1.0}
    """
    known = _checked(groups, default)

    def init(params: optax.Params) -> LearningRateGroupsState:
        # A tree without leaves is a description: optax.tree_utils.tree_map_params passes one.
        if paths := [path for path, _ in leaves_with_path(params)]:
            _check_coverage(known, default, paths)
        return LearningRateGroupsState(
            jnp.zeros([], jnp.int32),
            {label: init_rate(group.schedule) for label, group in known.items()},
            {label: evaluate_scalar(group.schedule, 0) for label, group in known.items()},
        )

    def update(
        updates: optax.Updates,
        state: LearningRateGroupsState,
        params: optax.Params | None = None,
        *,
        step: ArrayLike | None = None,
        **extra: object,
    ) -> tuple[optax.Updates, LearningRateGroupsState]:
        del params, extra
        _check_groups(known, state.rates)
        now = current_step(state.count, step)
        rates = {
            label: with_live_numbers(rate, known[label].schedule)
            for label, rate in state.rates.items()
        }
        multipliers = {label: evaluate_rate(rate, now) for label, rate in rates.items()}

        def scaled(path: str, update: jax.Array) -> jax.Array:
            label = _label(known, path)
            if rates[label].schedule == FROZEN:
                return jnp.zeros_like(update)
            return scale_update(update, multipliers[label])

        updates = map_with_path(scaled, updates)
        return updates, LearningRateGroupsState(optax.safe_increment(now), rates, multipliers)

    return optax.GradientTransformationExtraArgs(init, update)


@validate_arguments
def layerwise_decay(
    decay: PositiveFloat, depth_fn: Callable[[str], int]
) -> optax.GradientTransformationExtraArgs:
    """Multiply the rate of each layer by ``decay**depth``: less, the further from the output.

    Args:
      decay: Multiplier from one layer to the next, above 0; 0.65 to 0.95 for fine-tuning.
      depth_fn: Function from the path of a parameter to its depth: 0 for the head, the number of
        layers plus 1 for the embedding.

    Returns:
      An optax transform with a `LayerwiseDecayState`.

    Raises:
      ValueError: If ``decay <= 0``; from ``init``, if a depth is not a whole number of 0 or more;
        from ``update``, if a parameter is deeper than all that the state was made for.

    Source: Howard & Ruder 2018 (arXiv 1801.06146); Clark et al. 2020 (ELECTRA, arXiv 2003.10555).

    >>> import jax.numpy as jnp, lrsched
    >>> optimizer = lrsched.layerwise_decay(0.5, {"head": 0, "layer_1": 1, "layer_0": 2}.get)
    >>> params = {name: jnp.ones(1) for name in ("layer_0", "layer_1", "head")}
    >>> updates, _ = optimizer.update(params, optimizer.init(params), params)
    >>> {name: float(u[0]) for name, u in updates.items()}
    {'head': 1.0, 'layer_0': 0.25, 'layer_1': 0.5}
    """

    def depth(path: str) -> int:
        found = depth_fn(path)
        if isinstance(found, bool) or not isinstance(found, int) or found < 0:
            raise ValueError(
                f"layerwise_decay: depth_fn({path!r}) = {found!r} is not accepted; a depth must be "
                "a whole number of 0 or more."
            )
        return found

    def schedule(num_depths: int) -> Schedule:
        depths = np.arange(num_depths)
        if isinstance(decay, jax.Array):
            return constant(decay**depths)
        return constant(np.float32(np.float64(cast(float, decay)) ** depths))

    def init(params: optax.Params) -> LayerwiseDecayState:
        num_depths = 1 + max((depth(path) for path, _ in leaves_with_path(params)), default=0)
        rate = init_rate(schedule(num_depths))

        def per_depth(leaf: jax.Array) -> jax.Array:
            return jnp.array(jnp.broadcast_to(leaf, (num_depths, *leaf.shape)))

        # The schedule has a number for each depth; everything else is the same for all.
        spread = rate._replace(
            record=jax.tree.map(per_depth, rate.record),
            fingerprint=per_depth(rate.fingerprint),
            is_live=per_depth(rate.is_live),
        )
        return LayerwiseDecayState(
            jnp.zeros([], jnp.int32), spread, jnp.asarray(schedule(num_depths)(0), jnp.float32)
        )

    def update(
        updates: optax.Updates,
        state: LayerwiseDecayState,
        params: optax.Params | None = None,
        *,
        step: ArrayLike | None = None,
        **extra: object,
    ) -> tuple[optax.Updates, LayerwiseDecayState]:
        del params, extra
        (num_depths,) = state.multipliers.shape
        now = current_step(state.count, step)
        rates = with_live_numbers(state.rates, schedule(num_depths))
        multipliers = jax.vmap(evaluate_rate, (0, None))(rates, now)

        def scaled(path: str, update: jax.Array) -> jax.Array:
            if depth(path) >= num_depths:
                raise ValueError(
                    f"layerwise_decay: {path} has depth {depth(path)}, but the state was made for "
                    f"depths below {num_depths}; make the state again with init, or take it over "
                    "with migrate."
                )
            return scale_update(update, multipliers[depth(path)])

        updates = map_with_path(scaled, updates)
        return updates, LayerwiseDecayState(optax.safe_increment(now), rates, multipliers)

    return optax.GradientTransformationExtraArgs(init, update)


def mup_groups(
    params: optax.Params,
    base_params: optax.Params,
    *,
    fan_in_axis: int | Callable[[str], int | tuple[int, ...]] = -2,
) -> list[tuple[str, float]]:
    """Return the groups of a wide model under muP with Adam, from the shapes of a narrow one.

    A hidden matrix, of which two or more axes are larger than in the narrow model, has the
    multiplier ``base fan-in / fan-in``; all other arrays keep their rate
    (`lrsched.scaling.mup_width`). The model itself must set the multiplier or the initial scale of
    its output.

    Args:
      params: Parameters of the wide model, or their shapes (``jax.eval_shape``).
      base_params: Parameters of the model whose rate was tuned, or their shapes.
      fan_in_axis: Axis of a hidden matrix that is its fan-in, or a function of its path that
        returns the axis or a tuple of axes. Defaults to -2, as in Flax's layers. The kernels of
        Flax's attention have three axes: 0 is the fan-in of its query, key and value, and
        ``(0, 1)`` that of its output.

    Returns:
      Pairs for `learning_rate_groups`, one for each hidden matrix.

    Raises:
      ValueError: If the two trees or the numbers of axes differ, or two axes of a matrix have grown
        and its fan-in has not.

    Source: Yang et al. 2022 (arXiv 2203.03466), tables 3 and 8.

    >>> import jax, jax.numpy as jnp, lrsched
    >>> def shapes(width):
    ...     layers = {"in": (8, width), "hidden": (width, width), "out": (width, 3)}
    ...     return {name: jax.ShapeDtypeStruct(s, jnp.float32) for name, s in layers.items()}
    >>> lrsched.mup_groups(shapes(512), shapes(64))
    [('^hidden$', 0.125)]
    """
    wide, narrow = dict(leaves_with_path(params)), dict(leaves_with_path(base_params))
    if wide.keys() != narrow.keys():
        apart = sorted(wide.keys() ^ narrow.keys())
        raise ValueError(f"mup_groups: {', '.join(apart)} are in one of the two models only.")
    found = []
    for path, leaf in wide.items():
        shape, base = leaf.shape, narrow[path].shape
        if len(shape) != len(base):
            raise ValueError(f"mup_groups: {path} has the shapes {base} and {shape}.")
        grown = [axis for axis, (a, b) in enumerate(zip(shape, base, strict=True)) if a != b]
        if len(grown) > 1:
            axes = fan_in_axis(path) if callable(fan_in_axis) else fan_in_axis
            fan_in, base_fan_in = (
                math.prod(np.atleast_1d(np.take(s, axes)).tolist()) for s in (shape, base)
            )
            if fan_in == base_fan_in:
                raise ValueError(
                    f"mup_groups: fan_in_axis={axes} of {path} has not grown from {base} to "
                    f"{shape}; fan_in_axis must be the axis of the fan-in, or a function of the "
                    "path that returns it."
                )
            multiplier = mup_width(1.0, fan_in, base_width=base_fan_in)
            found.append((f"^{re.escape(path)}$", cast(float, multiplier)))
    return found


def group_table(groups: Groups, params: optax.Params, default: Multiplier = 1.0) -> str:
    """Return a table of the parameters and their groups under `learning_rate_groups`, as text.

    Args:
      groups: Groups, as for `learning_rate_groups`.
      params: Parameters, or their shapes (``jax.eval_shape``).
      default: Multiplier of the parameters that no pattern matches. Defaults to 1.

    Returns:
      A string with a line for each parameter: path, shape, group, multiplier.

    Raises:
      ValueError: If `learning_rate_groups` does not accept the groups for these parameters.

    >>> import jax.numpy as jnp, lrsched
    >>> params = {"body": jnp.ones((2, 3)), "head": jnp.ones(3)}
    >>> print(lrsched.group_table([("head", lrsched.linear(2.0, 1.0, steps=10))], params))
    path  shape   group    multiplier
    body  (2, 3)  default  1.0
    head  (3,)    head     linear(init=2.0, end=1.0, steps=10)
    """
    known = _checked(groups, default)
    leaves = list(leaves_with_path(params))
    _check_coverage(known, default, [path for path, _ in leaves])
    rows = [("path", "shape", "group", "multiplier")]
    for path, leaf in leaves:
        group = _label(known, path)
        schedule = known[group].schedule
        is_constant = schedule.is_instance_of(constant)
        shown = str(schedule.value if is_constant else schedule)
        shown = "frozen" if schedule == FROZEN else shown
        rows.append((path, str(tuple(leaf.shape)), group, shown))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ("  ".join(map(str.ljust, row, widths)).rstrip() for row in rows)
    return "\n".join(lines)


def _checked(groups: Groups, default: Multiplier) -> dict[str, Group]:
    """Return the groups by label, the default group at the end."""
    known: dict[str, Group] = {}
    patterns: set[str] = set()
    if not isinstance(groups, Sequence) or not all(
        isinstance(group, Sequence) and not isinstance(group, str) and len(group) in (2, 3)
        for group in groups
    ):
        requirement = (
            'a list of (pattern, multiplier) or (pattern, multiplier, label), as in [("head", 2.0)]'
        )
        raise not_accepted("learning_rate_groups", "groups", groups, requirement)
    for pattern, multiplier, *label in groups:
        try:
            re.compile(pattern)
        except (re.error, TypeError) as refused:
            raise ValueError(
                f"learning_rate_groups: groups has {pattern!r}, which is not a regular expression "
                f"({refused})."
            ) from None
        name = label[0] if label else pattern
        if pattern in patterns or name in known or name == DEFAULT_GROUP:
            raise ValueError(
                f"learning_rate_groups: groups has {name!r} twice; patterns and labels must be "
                f"there once and not be {DEFAULT_GROUP!r}."
            )
        patterns.add(pattern)
        known[name] = Group(pattern, _as_multiplier(name, multiplier))
    if not (isinstance(default, str) and default == REQUIRE_MATCH):
        known[DEFAULT_GROUP] = Group(None, _as_multiplier(DEFAULT_GROUP, default))
    return known


def _as_multiplier(label: str, multiplier: Multiplier) -> Schedule:
    if multiplier is None:
        return FROZEN
    if is_number(multiplier):
        MULTIPLIER.validate("learning_rate_groups", f"multiplier of {label!r}", multiplier)
    return as_schedule(multiplier)


def _check_coverage(known: Mapping[str, Group], default: Multiplier, paths: Sequence[str]) -> None:
    labels = {path: _label(known, path) for path in paths}
    lost = [path for path, label in labels.items() if label not in known]
    if lost:
        raise ValueError(
            f"learning_rate_groups: no pattern matches {', '.join(lost)}, and default={default!r} "
            "asks for one for each parameter."
        )
    idle = [
        group.pattern
        for label, group in known.items()
        if group.pattern is not None and label not in labels.values()
    ]
    if idle:
        raise ValueError(
            f"learning_rate_groups: the patterns {', '.join(map(repr, idle))} choose no parameter, "
            f"as none or an earlier one matches; the paths are {', '.join(paths)}."
        )


def _check_groups(known: Mapping[str, Group], rates: Mapping[str, RateState]) -> None:
    """Raise or warn where a state of other groups came in; a state's own numbers apply."""
    if known.keys() != rates.keys():
        raise ValueError(
            f"learning_rate_groups: the state has the groups {', '.join(rates)}, and the optimizer "
            f"has {', '.join(known)}; migrate(old_state, optimizer.init(params)) takes an old "
            "state over."
        )
    for label, rate in rates.items():
        configured = known[label].schedule
        if rate.schedule == FROZEN != configured:
            raise ValueError(
                f"learning_rate_groups: the state has the group {label!r} frozen, and the "
                "optimizer has not; migrate(old_state, optimizer.init(params)) takes an old state "
                "over, and set_hyperparameter(opt_state, 'multiplier', value, group=...) thaws it."
            )
        if configured == FROZEN != rate.schedule:
            configured = constant(0.0)  # what a frozen group is after it was thawed
        is_known = not is_traced((rate.schedule, configured)) and not is_live(configured)
        if is_known and rate.schedule != configured:
            warnings.warn(
                f"learning_rate_groups: the state's multiplier of the group {label!r}, "
                f"{rate.schedule}, applies, and not the optimizer's, {configured}; "
                "migrate(old_state, optimizer.init(params)) takes the optimizer's.",
                stacklevel=4,
            )


def _label(known: Mapping[str, Group], path: str) -> str:
    found = (
        label
        for label, group in known.items()
        if group.pattern is not None and re.search(group.pattern, path)
    )
    return next(found, DEFAULT_GROUP)
