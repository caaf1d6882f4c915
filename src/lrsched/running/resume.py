"""The check of a restored state against the configuration of the run."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Final

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.typing import ArrayLike

from lrsched._schedule import Schedule, is_number
from lrsched.algebra import LEARNING_RATE
from lrsched.running._nodes import StateNode, check_state, nodes_of, read_state
from lrsched.running.edit import RateSite, all_sites, rate_sites
from lrsched.transforms.composition import group_label
from lrsched.transforms.groups import FROZEN
from lrsched.transforms.rate import (
    NO_EDITS,
    RateEdits,
    RateState,
    evaluate_rate,
    init_rate,
    rate_schedule,
)

if TYPE_CHECKING:
    import chex

_MOMENTS: Final = ("mu", "nu", "nu_max", "trace", "ema", "grad_sum")
"""Fields that start at 0, and that the first update with a gradient changes."""


def check_resume(
    opt_state: optax.OptState,
    configured: ArrayLike | Schedule | optax.Schedule | chex.ArrayTree,
) -> str:
    """Describe in words where a restored state and the configuration of the run disagree.

    It finds a rate, a multiplier or another scheduled hyperparameter with another schedule or other
    numbers; changes that were made at run time; groups and transforms that only one of the two has;
    a rate that does not belong to the step count; and moments and counts that a restore left at 0.

    Args:
      opt_state: Restored state, or a container of one. Every run of a stacked (vmapped,
        replicated) state is checked.
      configured: State that the configuration makes, ``optimizer.init(params)``. If the
        optimizer has one rate, its schedule is enough; only the run-time changes of multipliers
        and other hyperparameters are then compared.

    Returns:
      One line for each mismatch, with its remedy; an empty text if everything matches.

    Raises:
      ValueError: If a schedule was restored into one of another kind; ``configured`` is a schedule,
        and the state holds several rates; or a state is traced or only described.

    >>> import jax.numpy as jnp, lrsched
    >>> optimizer = lrsched.scale_by_learning_rate(lrsched.cosine(0.1, steps=100))
    >>> saved = optimizer.init(jnp.zeros(1))
    >>> lrsched.check_resume(saved, optimizer.init(jnp.zeros(1)))
    ''
    >>> print(lrsched.check_resume(saved, 0.01))
    at step 0 the saved schedule cosine(peak=0.1, steps=100) gives 0.1, the new one \
constant(value=0.01) 0.01; set_schedule(opt_state, schedule) takes the new one, else the saved one \
continues.
    """
    _check_concrete("opt_state", opt_state)
    if isinstance(configured, Schedule) or callable(configured) or is_number(configured):
        sites = rate_sites("check_resume", opt_state)
        groups = sorted({group_label(site.group) for site in sites})
        if len(groups) > 1:
            raise ValueError(
                f"check_resume: one schedule is not accepted for the {len(groups)} rates of the "
                f"state ({', '.join(map(repr, groups))}); configured must be the state of the "
                "configuration, optimizer.init(params)."
            )
        new = init_rate(LEARNING_RATE.validate("check_resume", "configured", configured))
        lines = [_describe_mismatch(site, new) for site in sites]
        own = {(id(site.node.state), site.name) for site in sites}
        for site in all_sites(opt_state):
            if (id(site.node.state), site.name) not in own:
                lines.append(_describe_mismatch(site, _unedited(site.rate)))
    else:
        _check_concrete("configured", configured)
        sites = all_sites(opt_state)
        lines = _compare_states(sites, all_sites(configured))
        lines.append(_describe_transforms(opt_state, configured))
    lines += [_describe_applied(site) for site in sites]
    lines += _describe_zeros(opt_state)
    return "\n".join(line for line in lines if line)


def _check_concrete(name: str, state: chex.ArrayTree) -> None:
    check_state("check_resume", name, state)
    for leaf in jax.tree.leaves(state):
        if isinstance(leaf, jax.core.Tracer) or not (
            hasattr(leaf, "__array__") or is_number(leaf) or callable(leaf)
        ):
            raise ValueError(
                f"check_resume: {name} holds a {type(leaf).__name__}, which is not a number; it "
                "must be a state of arrays, outside of jit."
            )


def _compare_states(saved: list[RateSite], new: list[RateSite]) -> list[str]:
    old_of, new_of = ({_title(site): site for site in sites} for sites in (saved, new))
    lines = [
        _describe_mismatch(site, new_of[title].rate)
        for title, site in old_of.items()
        if title in new_of
    ]
    missing = ", ".join(title or "a rate" for title in new_of if title not in old_of)
    extra = ", ".join(title or "a rate" for title in old_of if title not in new_of)
    if missing or extra:
        lines.append(
            f"the state has {extra or 'nothing'} that the configuration lacks, and lacks "
            f"{missing or 'nothing'} of it; migrate(opt_state, optimizer.init(params)) takes the "
            "groups of the configuration."
        )
    return lines


def _describe_transforms(saved: chex.ArrayTree, new: chex.ArrayTree) -> str:
    """Return a line if the states of other transforms are in the two states."""
    old_titles, new_titles = (
        {node.fields: node.title for node in nodes_of(read_state(state)) if node.leaves}
        for state in (saved, new)
    )
    extra, missing = (
        ", ".join(sorted(title for fields, title in one.items() if fields not in other))
        for one, other in ((old_titles, new_titles), (new_titles, old_titles))
    )
    if not (extra or missing):
        return ""
    return (
        f"the state is that of another optimizer: it has {extra or 'nothing'} that the "
        f"configuration lacks, and lacks {missing or 'nothing'} of it; migrate(opt_state, "
        "optimizer.init(params)) takes over what both have."
    )


def _title(site: RateSite) -> str:
    """Return what a line begins with: the hyperparameter and its group; "" for the one rate."""
    group = group_label(site.group)
    if site.is_hyperparameter:
        return f"{site.name} of {group!r}" if group else site.name
    kind = "the multiplier of " if site.is_multiplier else "the rate of "
    return f"{kind}{group!r}" if group else ""


def _unedited(rate: RateState) -> RateState:
    shape = jnp.shape(rate.edits.scale)
    return rate.with_edits(RateEdits(*(jnp.broadcast_to(x, shape) for x in NO_EDITS)))


def _describe_mismatch(site: RateSite, new: RateState) -> str:
    """Return a line on how the schedule of a site differs from the configured one, or ``""``."""

    def describe(rate: RateState, other: RateState, step: int) -> str:
        saved, configured = rate_schedule(rate), rate_schedule(other)
        if saved == configured:
            return ""
        values = [f"{float(schedule(step)):.6g}" for schedule in (saved, configured)]
        if rate.schedule == other.schedule:
            return (
                f"at step {step} the saved rate, which was changed at run time, {saved}, gives "
                f"{values[0]}, the new one {configured} {values[1]}; the changes stay, and "
                "migrate(opt_state, optimizer.init(params)) drops them."
            )
        if site.is_multiplier and FROZEN in (rate.schedule, other.schedule):
            names = ["frozen" if x.schedule == FROZEN else "trained" for x in (rate, other)]
            return (
                f"the group is {names[0]} in the state and {names[1]} in the configuration; "
                "migrate(opt_state, optimizer.init(params)) takes the configuration."
            )
        return (
            f"at step {step} the saved schedule {saved} gives {values[0]}, the new one "
            f"{configured} {values[1]}; set_schedule(opt_state, schedule) takes the new one, else "
            "the saved one continues."
        )

    new_shape = jnp.shape(new.edits.scale)

    def of_member(index: tuple[int, ...]) -> str:
        other = _member(new, index) if new_shape else new
        return describe(_member(site.rate, index), other, _step(site, index))

    return _of_members(site, of_member)


def _describe_applied(site: RateSite) -> str:
    """Return a line if the rate of the latest update is not that of the step before the count."""
    state = site.node.state
    if hasattr(state, "method_state"):
        return ""  # The rate includes the method's estimate.
    if site.is_multiplier:
        applied = state.multipliers
        applied = applied[site.name] if isinstance(applied, dict) else None
    elif site.is_hyperparameter:
        applied = state.values[site.name]
    elif hasattr(state, "values"):
        applied = state.values[site.node.rate_factor.names[site.name]]
    else:
        applied = state.learning_rate
    if applied is None:
        return ""
    applied = np.asarray(jax.tree.leaves(applied)[0])

    def of_member(index: tuple[int, ...]) -> str:
        rate, step = _member(site.rate, index), _step(site, index)
        if step == 0 or any(a != b for a, b in zip(rate.edits, NO_EDITS, strict=True)):
            return ""  # An edit acts from the next update on.
        value, expected = float(applied[index]), float(evaluate_rate(rate, step - 1))
        if np.isclose(value, expected, rtol=1e-5, atol=0):
            return ""
        return (
            f"the latest update applied {value:.6g}, but the schedule gives {expected:.6g} at the "
            f"step {step - 1} before the count: the count, the schedule or its changes were not "
            "restored, or the schedule was replaced since, as a Python function is by that of the "
            "configuration; restart(opt_state, step) sets the count."
        )

    return _of_members(site, of_member)


def _of_members(site: RateSite, describe: Callable[[tuple[int, ...]], str]) -> str:
    """Return the line of the first run that has one, with the number of those that have."""
    shape = jnp.shape(site.rate.edits.scale)
    lines = {index: line for index in np.ndindex(shape) if (line := describe(index))}
    if not lines:
        return ""
    index, line = next(iter(lines.items()))
    where = f"in {len(lines)} of {np.prod(shape)} runs, such as {list(index)}, " if shape else ""
    title = _title(site)
    return f"{title}: {where}{line}" if title else f"{where}{line}"


def _member(rate: RateState, index: tuple[int, ...]) -> RateState:
    return jax.tree.map(lambda leaf: np.asarray(leaf)[index], rate)


def _step(site: RateSite, index: tuple[int, ...]) -> int:
    # Several rates, such as those of the depths of a layerwise decay, may share one count.
    return int(np.asarray(site.step)[index[: np.ndim(site.step)]])


def _describe_zeros(opt_state: optax.OptState) -> Iterator[str]:
    """Yield a line for each count and moment at 0 beside others that are not."""
    nodes = nodes_of(read_state(opt_state))
    counts = {
        id(node): np.asarray(node.leaves["count", ()].array)
        for node in nodes
        if ("count", ()) in node.leaves
    }
    for is_inside in (False, True):
        own = [node for node in nodes if node.is_in_multi_steps == is_inside]
        clocks = [counts[id(node)] for node in own if id(node) in counts and node.has_rate_clock]
        if not clocks:
            continue
        clock = max(clocks, key=np.max)
        for node in own:
            yield _describe_zero(node, clock, counts.get(id(node)))


def _describe_zero(node: StateNode, clock: np.ndarray, count: np.ndarray | None) -> str:
    updates = int(np.max(clock))
    if count is not None and not node.has_rate_clock:
        if np.any((count == 0) & (clock > 0)):
            return (
                f"the count of {node.title} is 0, and the rate's {updates}: it was not restored, "
                "or restart(reset=True) set it to 0, so that its moments are corrected as those of "
                "a new run."
            )
        if np.any((clock == 0) & (count > 0)):
            return (
                f"the rate's count is 0, and that of {node.title} {int(np.max(count))}: the "
                "schedule starts again; restart(opt_state, step) sets its count."
            )
    if not updates:
        return ""
    for field in _MOMENTS:
        leaves = [leaf.array for (name, _), leaf in node.leaves.items() if name == field]
        if leaves and not any(np.any(np.asarray(leaf)) for leaf in leaves):
            return (
                f"{field} of {node.title} is 0 everywhere after {updates} updates: it was not "
                "restored, restart(reset=True) set it to 0, or no gradient arrived."
            )
    return ""
