"""Migration of a state to another optimizer, of optax or of lrsched."""

from __future__ import annotations

import functools
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from types import FunctionType
from typing import TYPE_CHECKING, Final, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from lrsched.arguments import not_accepted
from lrsched.running._nodes import (
    INJECTED_FIELDS,
    MULTI_STEPS_FIELDS,
    RATE_FIELDS,
    Path,
    StateLeaf,
    StateNode,
    check_state,
    flatten_state,
    nodes_of,
    numbers_of,
    read_state,
)
from lrsched.running._optax_methods import translate_method
from lrsched.transforms.composition import (
    LEARNING_RATE,
    group_label,
    path_name,
    unwrap_nnx,
    wrap_nnx,
)
from lrsched.transforms.groups import FROZEN
from lrsched.transforms.inject import rate_labels
from lrsched.transforms.rate import (
    NO_EDITS,
    RateState,
    check_fingerprint,
    edit_rate,
    evaluate_rate,
    fingerprint,
    override_number,
    pack_edits,
)

if TYPE_CHECKING:
    import chex
    import optax

SCHEDULES: Final = ("new", "saved")
_APPLIED: Final = ("learning_rate", "values", "multipliers", "hyperparams")
"""Fields that hold what the latest update applied."""
_CONFIGURED: Final = ("rate", "rates", "schedule", "schedules", "controller")
"""Fields that hold the configuration of a transform."""
_UNREPORTED: Final = ("rounding_errors", *_APPLIED, *_CONFIGURED)


def migrate(
    saved: chex.ArrayTree,
    fresh: chex.ArrayTree,
    *,
    schedule: str = "new",
    step: ArrayLike | None = None,
) -> optax.OptState:
    """Take what an old state has learned over into the fresh state of another optimizer.

    Moments, averages, estimates and counts come from ``saved``, transform by transform and
    parameter by parameter. The nesting may differ: chains, `inject_schedules` and optax's
    ``inject_hyperparams``, ``partition``, ``masked``, ``MultiSteps`` and ``apply_if_finite``, in
    any order, become one another. Groups and their multipliers are those of ``fresh``. The states
    of optax's ``contrib`` methods (``prodigy``, ``dadapt_adamw``, ``dog``, ``dowg``, ``momo``,
    ``momo_adam``, ``cocob``, ``schedule_free``, ``mechanize``) become those of lrsched's. optax's
    ``prodigy`` and ``dadapt_adamw`` always correct the bias of Adam's moments: lrsched's make the
    same steps with ``bias_correction=True``. The scale of ``mechanize`` is kept; its ``x_0``
    becomes the present parameters.

    A warning names what has no counterpart: moments that start from zero, moments that are dropped,
    and a rate that was set manually and does not apply.

    Args:
      saved: Restored state, of optax's transforms or of lrsched's, or anything that holds one: a
        ``TrainState``, an ``nnx.Optimizer``. A tree of dictionaries and lists, as Orbax and
        msgpack restore it without a target, is read by the names of its keys.
      fresh: State that ``init`` of the new optimizer returns, or what holds it. From
        ``nnx.state(optimizer)``, which holds numbers without their schedule, `learning_rate`
        returns the first rate until the next update.
      schedule: "new" continues with the schedules of ``fresh``; "saved" with those of ``saved``,
        where its state has any, including manual changes. A rate that was assigned in
        ``hyperparams`` of ``inject_hyperparams`` becomes an override.
      step: Step count of the rates. Defaults to the count of the saved rate. Optax keeps none for a
        constant rate: there it is the count of another transform, such as Adam's.

    Returns:
      A state with the structure and containers of ``fresh``.

    Raises:
      ValueError: If nothing of ``saved`` has a place in ``fresh``, a parameter has another shape,
        no step count is known, or ``schedule`` is unknown.

    >>> import jax.numpy as jnp, lrsched, optax
    >>> params = jnp.zeros(2)
    >>> old = optax.adam(optax.cosine_decay_schedule(0.1, 100))
    >>> _, saved = old.update(params, old.init(params), params)
    >>> new = lrsched.inject_schedules(optax.adam)(lrsched.cosine(0.1, steps=100))
    >>> state = lrsched.migrate(saved, new.init(params))
    >>> int(state.count), int(state.inner_state[0].count)
    (1, 1)
    """
    if schedule not in SCHEDULES:
        requirement = f"one of {', '.join(map(repr, SCHEDULES))}"
        raise not_accepted("migrate", "schedule", schedule, requirement)
    check_state("migrate", "saved", saved)
    check_state("migrate", "fresh", fresh)
    migration = _Migration(saved, fresh, schedule == "saved", step)
    state = migration.state()
    if notes := migration.notes():
        warnings.warn("migrate: " + " ".join(notes), stacklevel=2)
    return state


class _SavedRate(NamedTuple):
    """A rate, or another scheduled hyperparameter, of the saved state.

    Attributes:
      node: The state that keeps it.
      group: Labels of the group.
      name: Argument name; "" for a transform with one rate.
      record: The `RateState`, or the mapping that a restore left in its place. None for a
        state of optax, which has no schedule.
      manual_value: Value in optax's ``hyperparams`` that follows no schedule. None otherwise.
    """

    node: StateNode
    group: Path
    name: str
    record: chex.ArrayTree
    manual_value: chex.Array


class _Migration:
    """The saved and the fresh state, taken apart, and what of the saved one was used."""

    def __init__(
        self,
        saved: optax.OptState,
        fresh: optax.OptState,
        keeps_schedules: bool,
        step: ArrayLike | None,
    ):
        self._keeps_schedules = keeps_schedules
        self._step = step
        self._old, self._new = read_state(saved), read_state(fresh)
        _, self._treedef = flatten_state(fresh)
        self._old_nodes, self._new_nodes = nodes_of(self._old), nodes_of(self._new)
        self._translate_methods()
        self._rates = _saved_rates(self._old_nodes)
        self._used: set[int] = set()
        self._fresh_leaves: list[StateLeaf] = []
        self._notes: list[str] = []
        self._pairs = self._parameter_pairs()
        self._sources: dict[int, StateNode | None] = {}

    def _translate_methods(self) -> None:
        """Replace the states of optax's ``contrib`` methods by those of lrsched's."""
        wanted = {node.fields for node in self._new_nodes}
        for node in self._old_nodes:
            depth = len(node.place)
            inner = [
                other
                for other in self._old_nodes
                if other.place[:depth] == node.place and other is not node
            ]
            translated = translate_method(node, inner)
            if translated and translated[0].fields in wanted:
                origins = translated[0].origins
                self._old_nodes = [x for x in self._old_nodes if x not in origins] + translated

    def state(self) -> optax.OptState:
        """Return the fresh state with all that the saved one has."""
        for name, leaves in (("saved", self._old), ("fresh", self._new)):
            others = self._new if name == "saved" else self._old
            if leaves and not nodes_of(leaves) and nodes_of(others):
                paths = ", ".join("/".join(leaf.path) or "an array" for leaf in leaves[:4])
                raise ValueError(
                    f"migrate: {name} holds {paths}, and no state of a transform; it must be the "
                    "state of an optimizer, or what holds one."
                )
        values = [self._leaf(leaf) for leaf in self._new]
        moments = [leaf for leaf in self._new if _is_moment(leaf)]
        if moments and all(leaf in self._fresh_leaves for leaf in moments):
            wanted = dict.fromkeys(leaf.node.title for leaf in moments if leaf.node is not None)
            has = dict.fromkeys(node.title for node in self._old_nodes if node.leaves)
            raise ValueError(
                f"migrate: the fresh state has {', '.join(wanted)}, and the saved one has nothing "
                f"of it, but {', '.join(has) or 'no arrays'}; saved and fresh must be states of "
                "the same methods for the same parameters."
            )
        state = jax.tree.unflatten(self._treedef, values)
        return jax.tree.unflatten(self._treedef, self._with_applied_rates(state))

    def notes(self) -> list[str]:
        """Return sentences on what was not taken over."""
        notes = list(self._notes)
        started = [leaf for leaf in self._fresh_leaves if _is_reported(leaf)]
        if started:
            notes.append(f"{_listed(started)} of the fresh state keeps its initial value.")
        dropped = [
            leaf
            for node in self._old_nodes
            for leaf in node.leaves.values()
            if _is_reported(leaf) and id(leaf) not in self._used
        ]
        if dropped:
            notes.append(f"{_listed(dropped)} of the saved state is dropped.")
        return notes

    # What each leaf of the fresh state becomes.

    def _leaf(self, leaf: StateLeaf) -> chex.ArrayTree:
        node = leaf.node
        if node is not None and leaf.field in _CONFIGURED:
            return self._configuration(node, leaf)
        if node is not None and leaf.field == "count" and node.has_rate_clock:
            array = jnp.broadcast_to(self._clock(node), jnp.shape(leaf.array))
            # A copy for each count, as a state is donated as a whole.
            return _wrapped(jnp.array(array, jnp.result_type(leaf.array)), leaf.value)
        old = None if leaf.field == "multipliers" else self._old_leaf(leaf)
        if old is None:
            self._fresh_leaves.append(leaf)
            return leaf.value
        fresh = leaf.array
        array = old.value(fresh) if isinstance(old.value, FunctionType) else old.array
        if jnp.shape(array) != jnp.shape(fresh):
            if leaf.field in _APPLIED:
                self._fresh_leaves.append(leaf)
                return leaf.value
            raise _mismatch(leaf, array)
        is_first = id(old) not in self._used
        self._used.add(id(old))
        return _wrapped(_placed(array, fresh, is_first), leaf.value)

    def _configuration(self, node: StateNode, leaf: StateLeaf) -> chex.ArrayTree:
        if isinstance(leaf.value, RateState):
            saved = self._saved_rate(node, leaf.path[0] if leaf.path else "")
            if saved is None:
                return leaf.value
            if self._keeps_schedules:
                return self._kept_rate(leaf, saved)
            self._note_edits(node, leaf, saved)
            return leaf.value
        if RATE_FIELDS.isdisjoint(leaf.path[:2]):  # a controller, or a schedule without edits
            source = self._source(node) if self._keeps_schedules else None
            old = None if source is None else source.leaves.get((leaf.field, leaf.path))
            return leaf.value if old is None else old.value
        return self._number_of_rate(node, leaf)

    def _number_of_rate(self, node: StateNode, leaf: StateLeaf) -> chex.ArrayTree:
        """Return one number of a rate in a state without types, such as that of ``nnx.state``."""
        depth = 0 if leaf.path[0] in RATE_FIELDS else 1
        names, path = leaf.path[:depth], leaf.path[depth:]
        saved = self._saved_rate(node, names[0] if names else "")
        if saved is None:
            return leaf.value
        is_last = path == ("fingerprint",)
        if not self._keeps_schedules:
            if is_last:
                field = "learning_rate" if leaf.field == "rate" else "values"
                self._note_edits(node, node.leaves.get((field, names), leaf), saved)
            return leaf.value
        if saved.manual_value is not None:
            value = jnp.asarray(saved.manual_value, jnp.float32)
            edits = pack_edits(NO_EDITS._replace(override=value, is_overridden=jnp.int32(1)))
            number = dict(numbers_of({"record": edits})).get(path, leaf.array)
        else:
            record = saved.record
            number = dict(numbers_of(record)).get(path)
            if number is None or (is_last and np.any(np.asarray(number) != leaf.array)):
                raise _other_kind(saved, "the fresh one")
        return _wrapped(_placed(number, leaf.array, is_first=False), leaf.value)

    def _kept_rate(self, leaf: StateLeaf, saved: _SavedRate) -> chex.ArrayTree:
        fresh: RateState = leaf.value
        leaf_treedef = jax.tree.structure(fresh.fingerprint)
        if saved.manual_value is not None:
            plain = _plain(fresh)
            count = self._clock(leaf.node)
            value = jnp.asarray(saved.manual_value, jnp.float32)
            now = _evaluate(plain, count)
            if bool(np.all(np.asarray(now == value))):
                return fresh
            return wrap_nnx(edit_rate(override_number, plain, count, value), leaf_treedef)
        if isinstance(saved.record, RateState):
            check_fingerprint(saved.record, saved.name)
            is_frozen = [record.schedule == FROZEN for record in (saved.record, fresh)]
            if is_frozen[0] != is_frozen[1]:
                return fresh
            plain = _plain(saved.record)
            return wrap_nnx(jax.tree.map(jnp.array, plain), leaf_treedef)
        if isinstance(saved.record, Mapping):
            return wrap_nnx(_filled(_plain(fresh), saved), leaf_treedef)
        return fresh

    def _note_edits(self, node: StateNode, leaf: StateLeaf, saved: _SavedRate) -> None:
        """Note the manual changes that are dropped with the saved schedule.

        The leaf is the fresh rate, or the value that it applies first in a state without types.
        """
        label = group_label((*saved.group, saved.name)) or LEARNING_RATE
        keep = "migrate(..., schedule='saved') keeps it"
        if saved.manual_value is not None:
            if isinstance(leaf.value, RateState):
                plain = _plain(leaf.value)
                new, schedule = _evaluate(plain, self._clock(node)), f" {plain.schedule}"
            else:
                new, schedule = leaf.array, ""  # its first value: a number has no schedule
            value = np.asarray(saved.manual_value)
            if not np.allclose(value, new, rtol=1e-6, atol=0):
                self._notes.append(
                    f"The saved {label} is {_number(value)}, set manually or constant, and the "
                    f"fresh schedule{schedule} gives {_number(np.asarray(new))}; {keep}."
                )
        elif _is_edited(saved.record):
            self._notes.append(
                f"The saved {label} was changed at run time, and the fresh schedule applies "
                f"without that; {keep}."
            )

    # Where a leaf of the fresh state comes from.

    def _parameter_pairs(self) -> dict[int, StateLeaf]:
        """Return the saved leaf of each fresh one that has a path, such as a moment's.

        The same field of the same parameter occurs several times where a chain has a transform
        twice; the occurrences correspond in order.
        """

        def key(leaf: StateLeaf, has_container: bool) -> chex.ArrayTree:
            node = leaf.node
            if node is None:
                return leaf.path
            own = (node.fields, leaf.field, leaf.path)
            return (node.container, *own) if has_container else own

        pairs: dict[int, StateLeaf] = {}
        saved_leaves = [
            *(leaf for node in self._old_nodes for leaf in node.leaves.values() if leaf.path),
            *(leaf for leaf in self._old if leaf.node is None),
        ]
        for has_container in (True, False):
            saved: dict[object, list[StateLeaf]] = {}
            for leaf in saved_leaves:
                saved.setdefault(key(leaf, has_container), []).append(leaf)
            count: Counter[object] = Counter()
            for leaf in self._in_order():
                if leaf.node is not None and not leaf.path:
                    continue
                own = key(leaf, has_container)
                candidates = saved.get(own, [])
                # In two containers, parameters of equal paths are those of two models.
                is_clear = len({x.node.container for x in candidates if x.node}) == 1
                if count[own] < len(candidates) and id(leaf) not in pairs:
                    old = candidates[count[own]]
                    if _is_same_type(old.node, leaf.node) and (is_clear or leaf.node is None):
                        pairs[id(leaf)] = old
                count[own] += 1
        return pairs

    def _in_order(self) -> Iterable[StateLeaf]:
        for node in self._new_nodes:
            yield from node.leaves.values()
        yield from (leaf for leaf in self._new if leaf.node is None)

    def _old_leaf(self, leaf: StateLeaf) -> StateLeaf | None:
        if id(leaf) in self._pairs:
            return self._pairs[id(leaf)]
        if leaf.node is None or (leaf.path and leaf.field not in _APPLIED and _is_moment(leaf)):
            return None
        source = self._source(leaf.node)
        return None if source is None else source.leaves.get((leaf.field, leaf.path))

    def _source(self, node: StateNode) -> StateNode | None:
        """Return the saved node whose counts and scalars a fresh node takes."""
        if id(node) not in self._sources:
            self._sources[id(node)] = self._find_source(node)
        return self._sources[id(node)]

    def _find_source(self, node: StateNode) -> StateNode | None:
        pairs = [self._pairs.get(id(leaf)) for leaf in node.leaves.values() if _is_moment(leaf)]
        contributing = Counter(old.node for old in pairs if old is not None and old.node)
        if contributing:
            return contributing.most_common(1)[0][0]
        if pairs and any(leaf.path and _is_moment(leaf) for leaf in node.leaves.values()):
            return None  # All its parameters are new: so is its count.
        same = [
            old for old in self._old_nodes if old.fields == node.fields and _is_same_type(old, node)
        ]
        for attribute in (
            lambda x: (x.container, x.labels, x.is_in_multi_steps),
            lambda x: x.labels,
            lambda x: None,
        ):
            candidates = [old for old in same if attribute(old) == attribute(node)]
            siblings = [
                other
                for other in self._new_nodes
                if other.fields == node.fields and attribute(other) == attribute(node)
            ]
            index = siblings.index(node)
            if index < len(candidates):
                return candidates[index]
        return None

    def _saved_rate(self, node: StateNode, name: str) -> _SavedRate | None:
        is_multiplier = "multipliers" in node.fields
        rates = [
            rate
            for rate in self._rates
            if (rate.record is not None or rate.manual_value is not None)
            and ("multipliers" in rate.node.fields) == is_multiplier
        ]
        is_rate = is_multiplier or _is_rate_name(name)
        rates = [rate for rate in rates if is_rate == (is_multiplier or _is_rate_name(rate.name))]
        if is_multiplier or not is_rate:
            rates = [rate for rate in rates if rate.name == name]
        source = self._source(node)
        own = [rate for rate in rates if rate.node is source and rate.name == name]
        if own:
            return own[0]
        group = (*node.labels, _label(node, name))
        exact = [rate for rate in rates if (*rate.group, _label(rate.node, rate.name)) == group]
        same_label = [rate for rate in rates if _label(rate.node, rate.name) == group[-1]]
        for candidates in (exact, same_label if len(same_label) == 1 else [], rates):
            outermost = candidates[:1] if candidates is exact else candidates
            if len(outermost) == 1:
                return outermost[0]
        return None

    def _clock(self, node: StateNode | None) -> chex.ArrayTree:
        """Return the step count of a rate of the fresh state."""
        if self._step is not None:
            return jnp.asarray(self._step, jnp.int32)
        is_inside = node is not None and node.is_in_multi_steps
        multi_steps = [old for old in self._old_nodes if old.fields >= MULTI_STEPS_FIELDS]
        has_multi_steps = any(new.fields >= MULTI_STEPS_FIELDS for new in self._new_nodes)
        # Without MultiSteps in both states, each count is one of updates of the parameters.
        is_distinct = bool(multi_steps) and has_multi_steps

        def counts(nodes: Iterable[StateNode]) -> list[chex.Array]:
            return [
                jnp.asarray(old.leaves["count", ()].array)
                for old in nodes
                if ("count", ()) in old.leaves
                and (not is_distinct or old.is_in_multi_steps == is_inside)
            ]

        clocks = [old for old in self._old_nodes if old.has_rate_clock]
        near = [
            [old for old in clocks if node is not None and place(old) == place(node)]
            for place in (
                lambda x: (x.container, x.labels),
                lambda x: x.container,
                lambda x: x.labels,
            )
        ]
        for nodes in (*near, clocks):
            if result := counts(nodes):
                return functools.reduce(jnp.maximum, result).astype(jnp.int32)
        if is_inside and multi_steps:
            return jnp.asarray(multi_steps[0].leaves["gradient_step", ()].array)
        siblings = [old for old in self._old_nodes if node and old.container == node.container]
        for nodes in (siblings, self._old_nodes):
            if result := counts(nodes):
                # Transforms that skip updates are behind.
                return functools.reduce(jnp.maximum, result).astype(jnp.int32)
        place = f" at {'/'.join(node.place)}" if node is not None and node.place else ""
        raise ValueError(
            f"migrate: the saved state keeps no step count for {node.title if node else 'the rate'}"
            f"{place}, not even Adam's; step must say how many updates were made."
        )

    # What the latest update applied, so that the rate can be read before the next one.

    def _with_applied_rates(self, state: optax.OptState) -> list[chex.Array]:
        started = {leaf.place for leaf in self._fresh_leaves if leaf.field in _APPLIED}
        leaves = read_state(state)
        return [
            _wrapped(_applied(leaf), leaf.value) if leaf.place in started else leaf.value
            for leaf in leaves
        ]


def _saved_rates(nodes: Iterable[StateNode]) -> list[_SavedRate]:
    found = []
    for node in nodes:
        if node.fields >= INJECTED_FIELDS:
            scheduled = node.field("hyperparams_states") or {}
            for (field, path), leaf in node.leaves.items():
                if field == "hyperparams":
                    name = path[0] if path else ""
                    manual_value = None if name in scheduled else leaf.array
                    found.append(_SavedRate(node, node.labels, name, None, manual_value))
            continue
        for field in ("rate", "rates", "schedules"):
            record = node.field(field)
            named = record if field != "rate" and isinstance(record, Mapping) else {"": record}
            for name, one in named.items():
                if isinstance(one, RateState) or (isinstance(one, Mapping) and "record" in one):
                    found.append(_SavedRate(node, node.labels, name, one, None))
    return found


def _is_rate_name(name: str) -> bool:
    return name in ("", LEARNING_RATE) or name.endswith(f"_{LEARNING_RATE}")


def _label(node: StateNode, name: str) -> str:
    rates = node.field("rates")
    if isinstance(rates, Mapping) and "multipliers" not in node.fields and name in rates:
        return rate_labels(rates)[name]
    return "" if name == LEARNING_RATE else name.removesuffix(f"_{LEARNING_RATE}")


def _is_same_type(old: StateNode | None, new: StateNode | None) -> bool:
    if old is None or new is None:
        return old is new
    return old.name is None or new.name is None or old.name == new.name


def _is_moment(leaf: StateLeaf) -> bool:
    """Return whether a leaf belongs to a parameter."""
    if leaf.node is None or leaf.field in _UNREPORTED or isinstance(leaf.value, FunctionType):
        return False
    return "count" not in leaf.field and (bool(leaf.path) or np.ndim(leaf.array) > 0)


def _is_reported(leaf: StateLeaf) -> bool:
    node = leaf.node
    if node is None or leaf.field in _UNREPORTED or isinstance(leaf.value, FunctionType):
        return False
    if node.fields >= MULTI_STEPS_FIELDS:
        # Between two updates of the parameters, nothing is accumulated.
        return leaf.field == "mini_step" and bool(np.any(np.asarray(leaf.array)))
    is_scale = leaf.field == "scale"
    return _is_moment(leaf) or is_scale


def _listed(leaves: Iterable[StateLeaf]) -> str:
    """Return a list of the fields of some leaves and of their parameters, as text."""
    fields: dict[str, dict[str, None]] = {}
    paths: dict[str, dict[str, None]] = {}
    for leaf in leaves:
        title = leaf.node.title if leaf.node is not None else ""
        fields.setdefault(title, {})[leaf.field] = None
        if leaf.path:
            paths.setdefault(title, {})["/".join(leaf.path)] = None
    texts = []
    for title, names in fields.items():
        shown = list(paths.get(title, ()))
        more = f" and {len(shown) - 4} more" if len(shown) > 4 else ""
        where = f" ({', '.join(shown[:4])}{more})" if shown else ""
        texts.append(f"{', '.join(names)} of {title}{where}")
    return "; ".join(texts)


def _placed(array: chex.Array, fresh: chex.ArrayTree, is_first: bool) -> optax.OptState:
    """Return a saved array in the dtype of the fresh one, and a NumPy array on its devices."""
    dtype = jnp.result_type(fresh)
    if not isinstance(array, jax.Array):
        sharding = getattr(fresh, "sharding", None) if isinstance(fresh, jax.Array) else None
        return jax.device_put(np.asarray(array, dtype), sharding)
    if array.dtype != dtype:
        return array.astype(dtype)
    # A second use is a copy, as a state is donated as a whole.
    return array if is_first else jnp.array(array)


def _is_edited(record: RateState | Mapping[str, chex.ArrayTree]) -> bool:
    edits = record.record if isinstance(record, RateState) else record["record"]
    arrays = jax.tree.leaves(edits), jax.tree.leaves(pack_edits(NO_EDITS))
    return any(np.any(np.asarray(x) != y) for x, y in zip(*arrays, strict=True))


def _wrapped(array: chex.Array, like: chex.ArrayTree) -> optax.OptState:
    """Return an array in the container of a fresh leaf, such as an ``nnx.Variable``."""
    return jax.tree.unflatten(jax.tree.structure(like), [array])


def _plain(rate: RateState) -> RateState:
    """Return a rate as arrays, out of what ``nnx.Optimizer`` puts around them."""
    return unwrap_nnx(rate, jax.tree.structure(rate.fingerprint))


def _evaluate(rate: RateState, count: chex.Array) -> jax.Array:
    """Return a rate at its latest update, or those of rates stacked along leading axes."""
    evaluate: Callable[..., jax.Array] = evaluate_rate
    shape = jnp.shape(rate.edits.scale)
    count = jnp.asarray(count)
    # The depths of a layerwise decay are stacked behind the axes of the count.
    count = count.reshape(count.shape + (1,) * (len(shape) - count.ndim))
    for _ in shape:
        evaluate = jax.vmap(evaluate)
    return evaluate(rate, jnp.broadcast_to(jnp.maximum(count - 1, 0), shape))


def _applied(leaf: StateLeaf) -> optax.OptState:
    """Return what the update before the count of the leaf's node applied."""
    node = leaf.node
    count = None if node is None else node.leaves.get(("count", ()))
    if node is None or count is None or "method_state" in node.fields:
        return leaf.array
    for field, path in (("rate", ()), ("rates", leaf.path), ("schedules", leaf.path)):
        record = node.leaves.get((field, path))
        if record is not None and isinstance(record.value, RateState):
            plain = _plain(record.value)
            return _evaluate(plain, count.array)
    return leaf.array


def _filled(fresh: RateState, saved: _SavedRate) -> RateState:
    """Return the fresh rate with the numbers that were restored without a target."""
    record = saved.record
    stored = np.asarray(jax.tree.leaves(record.get("fingerprint"))[0])
    if np.any(stored != fingerprint(fresh.schedule)):
        raise _other_kind(saved, str(fresh.schedule))

    def fill(tree: chex.ArrayTree, restored: chex.ArrayTree) -> chex.ArrayTree:
        by_path = {path: x for path, x in numbers_of(restored) if path != ("fingerprint",)}
        # Flax saves a schedule as its numbers in order, and all else by name.
        in_order = [by_path.get((str(index),)) for index in range(len(by_path))]
        leaves, treedef = jax.tree.flatten_with_path(tree)
        new = []
        for index, (path, leaf) in enumerate(leaves):
            key = tuple(path_name((part,)) for part in path)
            value = by_path.get(key, in_order[index] if index < len(in_order) else None)
            new.append(leaf if value is None else jnp.asarray(value, jnp.result_type(leaf)))
        return jax.tree.unflatten(treedef, new)

    return fresh._replace(
        schedule=fill(fresh.schedule, record["schedule"]),
        record=fill(fresh.record, record["record"]),
    )


def _other_kind(saved: _SavedRate, fresh: str) -> ValueError:
    return ValueError(
        f"migrate: the saved {saved.name or 'learning rate'} follows a schedule of another kind "
        f"than {fresh}, or an earlier version saved it, and a tree without types does not say "
        "which; restore into the state of the saved optimizer, or pass schedule='new'."
    )


def _mismatch(leaf: StateLeaf, array: chex.Array) -> ValueError:
    title = leaf.node.title if leaf.node is not None else "the container"
    path = "/".join((f"{title}.{leaf.field}", *leaf.path))
    return ValueError(
        f"migrate: at {path}, saved is an array of shape {jnp.shape(array)} "
        f"and fresh is one of shape {jnp.shape(leaf.array)}; the parameters must have the same "
        "shapes."
    )


def _number(value: chex.Numeric) -> str:
    return f"{float(value):.6g}" if np.ndim(value) == 0 else str(value)
