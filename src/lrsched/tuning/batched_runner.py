"""Many training runs as one compiled program, over the devices of this process.

A member is one run: a schedule and a seed. Members sit in slots; a slot whose member has stopped,
because it is through or has diverged, is given the next one, so that neither costs anything more.
Nothing travels between members, whatever becomes of one of them.
"""

import dataclasses
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as _PartitionSpec

from lrsched._schedule import Schedule
from lrsched.tuning._training import Training, named

Device: TypeAlias = Any  # jax.Device, of which jax ships no type

AXIS: Final = "members"
PartitionSpec: Any = _PartitionSpec


class Members(NamedTuple):
    """Training runs in their slots, the leading axis of every array.

    Attributes:
      state: of the `Training`.
      order: the key of the mini-batches, as numbers.
      step: the updates done.
      until: the updates to do.
      window: updates summed in one place of ``sums``.
      sums: of the training loss.
      diverged: whether a loss was not finite.
    """

    state: Any
    order: jax.Array
    step: jax.Array
    until: jax.Array
    window: jax.Array
    sums: jax.Array
    diverged: jax.Array


class Start(NamedTuple):
    """What the run of a member is made of; a leading axis for many."""

    schedule: Schedule
    seed: Any
    window: Any


@dataclasses.dataclass(frozen=True)
class Plan:
    """How members are put on a device.

    Attributes:
      width: how many are one batched computation (`jax.vmap`).
      slots: how many one call works at, ``width`` at a time; a multiple of it.
      loop: "device": updates in a ``while_loop``; "host": in a Python loop, as the CPU's
        convolutions are ten times slower within a loop (jax issue 12868).
    """

    width: int
    slots: int
    loop: str = "device"


class Fleet:
    """The compiled functions of a plan.

    Attributes:
      slots: how many members they work at, on all devices of this process.
      in_turn: the slots in the order to fill them, one of each device after another.
      compile_seconds: the time that the compilations took.
    """

    def __init__(
        self,
        training: Training,
        plan: Plan,
        example: Start,
        records: int,
        devices: Sequence[Device],
    ) -> None:
        self.plan: Plan = plan
        self.slots: int = plan.slots * len(devices)
        self.in_turn: np.ndarray = np.arange(self.slots).reshape(len(devices), -1).T.reshape(-1)
        self._training = training
        self._picked: Any = None
        mesh = Mesh(np.array(devices), (AXIS,))
        self._apart = NamedSharding(mesh, PartitionSpec(AXIS))
        self._data = jax.device_put(
            (training.data, training.validation), NamedSharding(mesh, PartitionSpec())
        )
        began = time.perf_counter()
        starts = self.spread(stacked([example] * self.slots))
        every = self.spread(np.ones(self.slots, bool))
        self._shapes = jax.eval_shape(jax.vmap(self._begun(records)), starts)
        blank = self.blank()
        data, limit = self._data, jnp.int32(1)
        advanced = self._advanced_once if plan.loop == "host" else self._advanced
        programs = [
            self._lowered(self._refilled(records), blank, every, starts),
            self._lowered(advanced, blank, data, limit, shared=2),
        ]
        if training.evaluate is not None:
            programs.append(self._lowered(self._evaluated, blank, every, data, shared=1))
        with ThreadPoolExecutor() as pool:
            compiled = list(pool.map(lambda program: program.compile(), programs))
        self._refill, self._advance, *evaluate = compiled
        self._evaluate = evaluate[0] if evaluate else None
        self.compile_seconds: float = time.perf_counter() - began

    def spread(self, tree: Any) -> Any:
        """Arrays with an axis of slots, cut over the devices."""
        return jax.device_put(tree, self._apart)

    def blank(self) -> Members:
        """Slots without members."""
        blank: Members = self.spread(jax.tree.map(_blank, self._shapes))
        return blank

    def refill(self, members: Members, which: np.ndarray, starts: Start) -> Members:
        """Begins these members in the slots ``which``."""
        begun: Members = self._refill(members, *self.spread((which, starts)))
        return begun

    def advance(self, members: Members, limit: int) -> Members:
        """At most ``limit`` updates of every member; it ends early where one has stopped.

        A member that has stopped must be evaluated before the next call, which works on in its slot
        for the sake of its neighbours.
        """
        if self.plan.loop == "device":
            members = self._advance(members, self._data, np.int32(limit))
            return members
        left = np.asarray(members.until - members.step)[~np.asarray(stopped(members))]
        for _ in range(min([limit, *left])):
            members = self._advance(members, self._data, np.int32(limit))
        return members

    def evaluate(
        self, members: Members, which: np.ndarray
    ) -> tuple[Members, dict[str, np.ndarray]]:
        """These members, their controllers told, and their metrics on the held-out examples.

        Without any the loss is NaN.
        """
        if self._evaluate is None:
            return members, {"loss": np.full(self.slots, np.nan, np.float32)}
        members, found = self._evaluate(members, self.spread(which), self._data)
        return members, {name: np.asarray(values) for name, values in found.items()}

    def pick(self, members: Members, places: Sequence[int]) -> Members:
        """The members at these slots, in this order; one may be there several times."""
        if self._picked is None:
            self._picked = jax.jit(
                lambda tree, places: jax.tree.map(lambda x: x[places], tree),
                out_shardings=self._apart,
            )
        picked: Members = self._picked(members, np.asarray(places))
        return picked

    def as_text(self) -> str:
        """The compiled program of `advance`."""
        return str(self._advance.as_text())

    def memory(self) -> int:
        """The bytes of one device that a call of `advance` takes."""
        found = self._advance.memory_analysis()
        return int(found.argument_size_in_bytes + found.temp_size_in_bytes)

    def _lowered(self, function: Callable[..., Any], *args: Any, shared: int = 0) -> Any:
        """Each device at its own slots; the last ``shared`` arguments are the same for all."""
        own, all_see = PartitionSpec(AXIS), PartitionSpec()
        specs = (*[own] * (len(args) - shared), *[all_see] * shared)
        mapped = jax.shard_map(
            function, mesh=self._apart.mesh, in_specs=specs, out_specs=own, check_vma=False
        )
        return jax.jit(mapped, donate_argnums=0).lower(*args)

    def _groups(self, function: Callable[[Any], Any], tree: Any) -> Any:
        """``function`` of every group of ``width`` slots, one after another.

        A group of one has no axis: a batch of one would be slower.
        """
        width, groups = self.plan.width, self.plan.slots // self.plan.width
        shape = (groups,) if width == 1 else (groups, width)
        cut = jax.tree.map(lambda x: x.reshape(*shape, *x.shape[1:]), tree)
        if groups > 1 and self.plan.loop == "device":
            done = jax.lax.map(function, cut)
        else:
            each = [function(jax.tree.map(lambda x, i=i: x[i], cut)) for i in range(groups)]
            done = jax.tree.map(lambda *leaves: jnp.stack(leaves), *each)
        return jax.tree.map(lambda x: x.reshape(-1, *x.shape[len(shape) :]), done)

    def _each(self, function: Callable[..., Any], *trees: Any) -> Any:
        """``function`` of every slot of a group."""
        return (function if self.plan.width == 1 else jax.vmap(function))(*trees)

    def _begun(self, records: int) -> Callable[[Start], Members]:
        def begin(start: Start) -> Members:
            to_init, to_order = jax.random.split(jax.random.key(start.seed))
            return Members(
                state=self._training.init(start.schedule, to_init),
                order=jax.random.key_data(to_order),
                step=jnp.int32(0),
                until=jnp.int32(0),
                window=jnp.asarray(start.window, jnp.int32),
                sums=jnp.zeros(records, jnp.float32),
                diverged=jnp.bool(False),
            )

        return begin

    def _refilled(self, records: int) -> Callable[[Members, jax.Array, Start], Members]:
        def refill(members: Members, which: jax.Array, starts: Start) -> Members:
            def group(old: tuple[Members, jax.Array, Start]) -> Members:
                now: Members = jax.lax.cond(
                    jnp.any(old[1]),
                    lambda: _chosen(old[1], self._each(self._begun(records), old[2]), old[0]),
                    lambda: old[0],
                )
                return now

            begun: Members = self._groups(group, (members, which, starts))
            return begun

        return refill

    def _advanced_once(self, members: Members, data: Any, limit: jax.Array) -> Members:
        del limit
        done: Members = self._groups(lambda group: self._each(self._step(data), group), members)
        return done

    def _advanced(self, members: Members, data: Any, limit: jax.Array) -> Members:
        def group(members: Members) -> Members:
            left = jnp.where(stopped(members), limit, members.until - members.step)
            count = jnp.minimum(limit, jnp.min(left))

            def goes_on(carry: tuple[jax.Array, Members]) -> jax.Array:
                return (carry[0] < count) & ~jnp.all(stopped(carry[1]))

            def update(carry: tuple[jax.Array, Members]) -> tuple[jax.Array, Members]:
                return carry[0] + 1, self._each(self._step(data), carry[1])

            done = jax.lax.while_loop(goes_on, update, (jnp.int32(0), members))
            return Members(*done[1])

        advanced: Members = self._groups(group, members)
        return advanced

    def _step(self, data: Any) -> Callable[[Members], Members]:
        def step(member: Members) -> Members:
            key = jax.random.wrap_key_data(member.order)
            batch = self._training.batch(data[0], key, member.step)
            state, loss = self._training.step(member.state, batch)
            goes_on = ~stopped(member)
            here = jnp.arange(len(member.sums)) == member.step // member.window
            return member._replace(
                state=state,
                step=member.step + goes_on,
                sums=jnp.where(here & goes_on, member.sums + loss.astype(jnp.float32), member.sums),
                diverged=member.diverged | (goes_on & ~jnp.isfinite(loss)),
            )

        return step

    def _evaluated(
        self, members: Members, which: jax.Array, data: Any
    ) -> tuple[Members, dict[str, jax.Array]]:
        assert self._training.evaluate is not None
        judge = self._training.evaluate

        def group(found: tuple[Members, jax.Array]) -> tuple[Members, dict[str, jax.Array]]:
            held, is_asked = found

            def one(state: Any) -> tuple[Any, dict[str, jax.Array]]:
                told, metrics = judge(state, data[1])
                return told, named(metrics)

            def each() -> tuple[Any, dict[str, jax.Array]]:
                told, metrics = self._each(one, held.state)
                return _chosen(is_asked, told, held.state), metrics

            def none() -> tuple[Any, dict[str, jax.Array]]:
                _, shapes = jax.eval_shape(each)
                return held.state, jax.tree.map(
                    lambda x: jnp.full(x.shape, jnp.nan, x.dtype), shapes
                )

            state, metrics = jax.lax.cond(jnp.any(is_asked), each, none)
            return held._replace(state=state), metrics

        told: tuple[Members, dict[str, jax.Array]] = self._groups(group, (members, which))
        return told


def metric_names(training: Training, example: Start) -> tuple[str, ...]:
    """What the members are judged by on the held-out examples; the loss, if there are none."""
    if training.evaluate is None:
        return ("loss",)
    if "metrics" not in training.compiled:

        def evaluate(start: Start, held_out: Any) -> dict[str, jax.Array]:
            assert training.evaluate is not None
            state = training.init(start.schedule, jax.random.key(start.seed))
            return named(training.evaluate(state, held_out)[1])

        found = jax.eval_shape(evaluate, example, training.validation)
        training.compiled["metrics"] = tuple(found)
    names: tuple[str, ...] = training.compiled["metrics"]
    return names


def stopped(members: Members) -> jax.Array:
    """Whether a member is through, or has diverged."""
    return (members.step >= members.until) | members.diverged


def start(schedule: Schedule, seed: int, length: int, records: int) -> Start:
    """One member; the training loss of its ``length`` updates is kept in ``records`` means."""
    numbers = jax.tree.map(
        lambda x: np.asarray(
            x, np.int32 if np.issubdtype(np.asarray(x).dtype, np.integer) else np.float32
        ),
        schedule,
    )
    return Start(numbers, np.uint32(seed), np.int32(-(-length // records)))


def listed_seeds(function: str, seeds: int | Sequence[int]) -> list[int]:
    """So many seeds, or these."""
    listed = list(range(seeds)) if isinstance(seeds, int) else list(seeds)
    if not listed:
        raise ValueError(f"{function}: seeds is empty; at least one is needed.")
    return listed


def stacked(trees: Sequence[Any]) -> Any:
    """Trees of numbers as one, with a leading axis."""
    return jax.tree.map(lambda *leaves: np.stack(leaves), *trees)


def fleet_for(
    training: Training,
    plan: Plan | None,
    starts: Sequence[Start],
    lengths: Sequence[int],
    records: int,
    devices: Sequence[Device],
) -> Fleet:
    """A compiled fleet, of ``plan`` or else of the best one; kept for the next time."""
    example = starts[0]
    leaves, tree = jax.tree.flatten(example)
    shapes = tuple((leaf.shape, leaf.dtype) for leaf in leaves)
    key = ("fleet", plan, tree, shapes, records, tuple(devices))
    known: Fleet | None = training.compiled.get(key)
    if known is None:
        if plan is None:
            known = _fastest(training, starts, lengths, records, devices)
        else:
            known = Fleet(training, plan, example, records, devices)
        training.compiled[key] = known
    return known


def _fastest(
    training: Training,
    starts: Sequence[Start],
    lengths: Sequence[int],
    records: int,
    devices: Sequence[Device],
) -> Fleet:
    """The fleet whose plan is the fastest here, as far as looking for it pays."""
    share = -(-len(starts) // len(devices))
    best, best_seconds = None, np.inf
    for plan in _plans(training, starts[0], share, devices[0]):
        fleet = Fleet(training, plan, starts[0], records, devices)
        if not _fits(fleet, devices[0]):
            break
        seconds = _seconds_an_update(fleet, starts[0], max(lengths))
        is_worth_going_on = seconds < 0.9 * best_seconds
        if seconds < best_seconds:
            best, best_seconds = fleet, seconds
        if not is_worth_going_on or best_seconds * sum(lengths) < _WORTH * fleet.compile_seconds:
            break
    if best is None:
        raise ValueError(
            f"sweep: one member of {training} does not fit into the memory of {devices[0]}."
        )
    return best


_WORTH: Final = 4.0
"""Another plan is tried where all there is to do takes so many times what its compilation takes."""
_BRIEFLY: Final = 0.05
"""Seconds of measuring."""


_wait: Any = jax.block_until_ready


def _seconds_an_update(fleet: Fleet, example: Start, length: int) -> float:
    every, alike = np.ones(fleet.slots, bool), stacked([example] * fleet.slots)
    count = 1
    while True:
        members = fleet.refill(fleet.blank(), every, alike)
        members = members._replace(until=fleet.spread(np.full(fleet.slots, length, np.int32)))
        _wait(members)
        began = time.perf_counter()
        _wait(fleet.advance(members, count))
        seconds = time.perf_counter() - began
        if seconds > _BRIEFLY or count >= length:
            return seconds / count / fleet.slots
        count *= 4


def all_begun(
    training: Training,
    starts: Sequence[Start],
    length: int,
    records: int,
    devices: Sequence[Device],
    *,
    batched: bool,
) -> tuple[Fleet, Members]:
    """Every member in a slot of its own, at its beginning; slots beyond them repeat the first.

    Those of a device are one batch, or they work one after another.
    """
    share = -(-len(starts) // len(devices))
    if _convolves_on_a_cpu(training, starts[0], devices[0]):
        plan = Plan(1, share, loop="host")
    else:
        plan = Plan(share if batched else 1, share)
    fleet = fleet_for(training, plan, starts, [length] * len(starts), records, devices)
    padded = [*starts, *[starts[0]] * (fleet.slots - len(starts))]
    return fleet, fleet.refill(fleet.blank(), np.ones(fleet.slots, bool), stacked(padded))


def _convolves_on_a_cpu(training: Training, example: Start, device: Device) -> bool:
    if "convolves" not in training.compiled:
        training.compiled["convolves"] = "conv_general_dilated" in _program(training, example)
    return device.platform == "cpu" and bool(training.compiled["convolves"])


def _plans(training: Training, example: Start, share: int, device: Device) -> Iterator[Plan]:
    if _convolves_on_a_cpu(training, example, device):
        yield Plan(1, 1, loop="host")
        return
    width, growth = (1, 16) if device.platform == "cpu" else (8, 8)
    while True:
        width = min(width, share)
        yield Plan(width, width * min(max(1, 8 // width), -(-share // width)))
        if width >= share:
            return
        width *= growth


def _program(training: Training, example: Start) -> str:
    def update(start: Start, data: Any) -> Any:
        state = training.init(start.schedule, jax.random.key(start.seed))
        return training.step(state, training.batch(data, jax.random.key(0), jnp.int32(0)))

    return str(jax.make_jaxpr(update)(example, training.data))


def _fits(fleet: Fleet, device: Device) -> bool:
    stats = device.memory_stats() or {}
    free = stats.get("bytes_limit", np.inf) - stats.get("bytes_in_use", 0)
    return bool(fleet.memory() <= 0.9 * free)


def _blank(leaf: jax.ShapeDtypeStruct) -> Any:
    if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        raw = jax.eval_shape(jax.random.key_data, leaf)
        impl = jax.random.key_impl(jax.random.key(0))
        return jax.random.wrap_key_data(jnp.zeros(raw.shape, raw.dtype), impl=impl)
    return np.zeros(leaf.shape, leaf.dtype)


def _chosen(which: jax.Array, new: Any, old: Any) -> Any:
    def choose(a: jax.Array, b: jax.Array) -> jax.Array:
        return jnp.where(which.reshape(*which.shape, *[1] * (jnp.ndim(a) - which.ndim)), a, b)

    return jax.tree.map(choose, new, old)
