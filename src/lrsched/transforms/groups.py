"""Groups of parameters with rates of their own: multipliers of the rate, chosen by path."""

import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import optax
from jax.typing import ArrayLike

from lrsched._schedule import Schedule, is_number
from lrsched.algebra import as_schedule
from lrsched.arguments import ArgumentType, PositiveFloat, in_range, validate_arguments
from lrsched.scaling import mup_width
from lrsched.transforms.composition import RateFactor, rate_factor
from lrsched.transforms.learning_rate import current_step, evaluate_scalar, in_use, scale_update

Multiplier: TypeAlias = ArrayLike | Schedule | Callable[[jax.Array], ArrayLike] | None
"""What the rate of a group is multiplied by; None freezes it."""
Groups: TypeAlias = Sequence[tuple[str, Multiplier]]
"""Patterns of paths, and the multipliers of what they match."""

MULTIPLIER: Final = ArgumentType("Multiplier", "0 or more, a schedule or None", in_range(ge=0))
DEFAULT_GROUP: Final = "default"
REQUIRE_MATCH: Final = "error"


class LearningRateGroupsState(NamedTuple):
    """State of `learning_rate_groups` and `layerwise_decay`.

    Attributes:
      count: int32 scalar, the updates that this transform has applied.
      schedules: the multiplier of each group as `by_hand` of its schedule; of a frozen one, 0.
      values: the multiplier that each of them had at the latest update; before the first, what it
        will have.
    """

    count: jax.Array  # type: ignore[assignment]
    schedules: dict[str, Schedule]
    values: dict[str, jax.Array]


@rate_factor.register
def _(state: LearningRateGroupsState) -> RateFactor:
    return RateFactor(
        state.values,
        is_scale=True,
        schedules=state.schedules,
        put=lambda schedules: state._replace(schedules=schedules),
    )


def learning_rate_groups(
    groups: Groups, default: Multiplier = 1.0
) -> optax.GradientTransformationExtraArgs:
    """Multiply the rate of groups of parameters, which are chosen by patterns of their paths.

    A parameter belongs to the first pattern that is found in its path (``re.search``), such as
    ``"encoder/layer_3/kernel"``; the others are in the group "default". It stands in a chain
    anywhere after the optimizer's own scaling, next to `scale_by_learning_rate` for instance. A
    frozen group (``None``) has updates of zero, whatever its gradients; ``optax.masked`` would pass
    its gradients on as updates, uphill. `learning_rates` gives the rate of each group,
    ``scale_learning_rate(..., group=pattern)`` changes one.

    Args:
      groups: pairs of a regular expression and a multiplier: a number, a `Schedule` or a callable
        of the step, or None.
      default: the multiplier of what no pattern matches; "error" if there must be nothing.

    Raises:
      ValueError: a pattern that is none, or there twice, a multiplier that is none; when the state
        is made, a pattern that matches nothing or, with "error", parameters that none matches.

    >>> import jax.numpy as jnp, lrsched, optax
    >>> optimizer = optax.chain(
    ...     lrsched.scale_by_learning_rate(0.5),
    ...     lrsched.learning_rate_groups([("head", 2.0), ("embed", None)]))
    >>> params = {"embed": jnp.ones(1), "body": jnp.ones(1), "head": jnp.ones(1)}
    >>> updates, state = optimizer.update(params, optimizer.init(params), params)
    >>> {name: float(u[0]) for name, u in updates.items()}
    {'body': -0.5, 'embed': 0.0, 'head': -1.0}
    >>> {name: float(rate) for name, rate in lrsched.learning_rates(state).items()}
    {'default': 0.5, 'embed': 0.0, 'head': 1.0}
    """
    known = _checked(groups, default)

    def member(path: str) -> tuple[str, Multiplier]:
        group = _group(known, path)
        return group, known[group]

    return _multiplied(member, lambda paths: _check_coverage(known, default, paths))


@validate_arguments
def layerwise_decay(
    rate: PositiveFloat, depth_fn: Callable[[str], int]
) -> optax.GradientTransformationExtraArgs:
    """A lower rate the further a layer is from the output: times ``rate**depth``.

    Args:
      rate: the multiplier from one layer to the next, above 0; 0.65 to 0.95 for fine-tuning.
      depth_fn: the depth of a parameter by its path: 0 for the head, the number of layers plus 1
        for the embedding.

    Raises:
      ValueError: a rate that is not above 0; when the state is made, a depth that is not a whole
        number of 0 or more.

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

    return _multiplied(lambda path: (f"depth {depth(path)}", rate ** depth(path)))


def mup_groups(params: Any, base_params: Any, *, fan_in_axis: int = -2) -> list[tuple[str, float]]:
    """The groups of a wide model under muP with Adam, from the shapes of a narrow one.

    A hidden matrix, two or more of whose axes have grown, has ``base fan-in / fan-in``; all other
    arrays keep their rate (`lrsched.scaling.mup_width`). The output's multiplier or initial scale
    is the model's own affair.

    Args:
      params: the parameters of the wide model, or what describes them (``jax.eval_shape``).
      base_params: those of the model that the rate was found at.
      fan_in_axis: which axis of a hidden matrix is its fan-in; -2 in Flax.

    Returns:
      Pairs for `learning_rate_groups`, one for each hidden matrix.

    Raises:
      ValueError: other trees, other numbers of axes, or a matrix whose fan-in has not grown while
        two other axes have.

    Source: Yang et al. 2022 (arXiv 2203.03466), tables 3 and 8.

    >>> import jax, jax.numpy as jnp, lrsched
    >>> def shapes(width):
    ...     layers = {"in": (8, width), "hidden": (width, width), "out": (width, 3)}
    ...     return {name: jax.ShapeDtypeStruct(s, jnp.float32) for name, s in layers.items()}
    >>> lrsched.mup_groups(shapes(512), shapes(64))
    [('^hidden$', 0.125)]
    """
    wide, narrow = dict(_leaves(params)), dict(_leaves(base_params))
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
            if fan_in_axis % len(shape) not in grown:
                raise ValueError(
                    f"mup_groups: fan_in_axis={fan_in_axis} of {path} has not grown from {base} to "
                    f"{shape}; fan_in_axis must be the axis of the fan-in."
                )
            multiplier = mup_width(1.0, shape[fan_in_axis], base_width=base[fan_in_axis])
            found.append((f"^{re.escape(path)}$", multiplier))
    return found


def group_table(groups: Groups, params: Any, default: Multiplier = 1.0) -> str:
    """A dry run of `learning_rate_groups`: which parameter is in which group, as text.

    Args:
      groups: as there.
      params: the parameters, or what describes them.
      default: as there.

    Returns:
      One line for each parameter: path, shape, group, multiplier.

    Raises:
      ValueError: as there.

    >>> import jax.numpy as jnp, lrsched
    >>> params = {"body": jnp.ones((2, 3)), "head": jnp.ones(3)}
    >>> print(lrsched.group_table([("head", lrsched.linear(2.0, 1.0, steps=10))], params))
    path  shape   group    multiplier
    body  (2, 3)  default  1.0
    head  (3,)    head     linear(init=2.0, end=1.0, steps=10)
    """
    known = _checked(groups, default)
    leaves = list(_leaves(params))
    _check_coverage(known, default, [path for path, _ in leaves])
    rows = [("path", "shape", "group", "multiplier")]
    for path, leaf in leaves:
        group = _group(known, path)
        multiplier = known[group]
        shown = "frozen" if multiplier is None else str(multiplier)
        rows.append((path, str(tuple(leaf.shape)), group, shown))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ("  ".join(map(str.ljust, row, widths)).rstrip() for row in rows)
    return "\n".join(lines)


def _multiplied(
    member: Callable[[str], tuple[str, Multiplier]],
    check: Callable[[Sequence[str]], None] = lambda paths: None,
) -> optax.GradientTransformationExtraArgs:
    """Multiply each update by the multiplier of its group, both of which ``member`` knows."""

    def init(params: optax.Params) -> LearningRateGroupsState:
        paths = [path for path, _ in _leaves(params)]
        check(paths)
        schedules = {
            name: as_schedule(0.0 if multiplier is None else multiplier)
            for name, multiplier in sorted(map(member, paths), key=lambda named: named[0])
        }
        return LearningRateGroupsState(
            jnp.zeros([], jnp.int32),
            {name: in_use(schedule) for name, schedule in schedules.items()},
            {name: evaluate_scalar(schedule, 0) for name, schedule in schedules.items()},
        )

    def update(
        updates: optax.Updates,
        state: LearningRateGroupsState,
        params: optax.Params | None = None,
        *,
        step: ArrayLike | None = None,
        **extra: Any,
    ) -> tuple[optax.Updates, LearningRateGroupsState]:
        del params, extra
        now = current_step(state.count, step)
        values = {
            name: evaluate_scalar(schedule, now) for name, schedule in state.schedules.items()
        }

        def of_leaf(path: Any, update: jax.Array) -> jax.Array:
            group, multiplier = member(_joined(path))
            return (
                jnp.zeros_like(update)
                if multiplier is None
                else scale_update(update, values[group])
            )

        updates = jax.tree_util.tree_map_with_path(of_leaf, updates)
        return updates, LearningRateGroupsState(optax.safe_increment(now), state.schedules, values)

    return optax.GradientTransformationExtraArgs(init, update)


def _checked(groups: Groups, default: Multiplier) -> dict[str, Multiplier]:
    """The multiplier of each group by its name, the default's at the end."""
    known: dict[str, Multiplier] = {}
    for pattern, multiplier in groups:
        try:
            re.compile(pattern)
        except (re.error, TypeError) as refused:
            raise ValueError(
                f"learning_rate_groups: groups has {pattern!r}, which is not a regular expression "
                f"({refused})."
            ) from None
        if pattern in known or pattern == DEFAULT_GROUP:
            raise ValueError(
                f"learning_rate_groups: groups has {pattern!r} twice; a pattern must be there once "
                f"and not be {DEFAULT_GROUP!r}."
            )
        known[pattern] = multiplier
    if not (isinstance(default, str) and default == REQUIRE_MATCH):
        known[DEFAULT_GROUP] = default
    for group, multiplier in known.items():
        if is_number(multiplier):
            MULTIPLIER.validate("learning_rate_groups", f"multiplier of {group!r}", multiplier)
        as_schedule(0.0 if multiplier is None else multiplier)
    return known


def _check_coverage(
    known: dict[str, Multiplier], default: Multiplier, paths: Sequence[str]
) -> None:
    groups = {path: _group(known, path) for path in paths}
    lost = [path for path, group in groups.items() if group not in known]
    if lost:
        raise ValueError(
            f"learning_rate_groups: no pattern matches {', '.join(lost)}, and default={default!r} "
            "asks for one for each parameter."
        )
    idle = [name for name in known if name != DEFAULT_GROUP and name not in groups.values()]
    if idle:
        raise ValueError(
            f"learning_rate_groups: the patterns {', '.join(map(repr, idle))} choose no parameter, "
            f"as none or an earlier one matches; the paths are {', '.join(paths)}."
        )


def _group(known: dict[str, Multiplier], path: str) -> str:
    return next(
        (name for name in known if name != DEFAULT_GROUP and re.search(name, path)), DEFAULT_GROUP
    )


def _leaves(tree: Any) -> Iterator[tuple[str, Any]]:
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
        yield _joined(path), leaf


def _joined(path: tuple[Any, ...]) -> str:
    """Names and numbers with slashes; the ``value`` of an ``nnx.Variable`` is the variable."""
    is_variable = path[-1:] == (jax.tree_util.GetAttrKey("value"),)
    return jax.tree_util.keystr(path[:-1] if is_variable else path, simple=True, separator="/")
