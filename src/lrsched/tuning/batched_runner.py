"""Many training runs as one compiled program, on the devices of this process.

A run is one schedule with one seed. Runs occupy lanes. A lane whose run has stopped, because it is
complete or has diverged, receives the next run, so a stopped run costs no further time. The
programs contain no collectives: no run reads the numbers of another one.
"""

import dataclasses
import time
import weakref
from collections.abc import Callable, Hashable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as _PartitionSpec

from lrsched._schedule import Schedule
from lrsched.arguments import short_repr
from lrsched.tuning._training import Data, State, Training, as_metric_dict

if TYPE_CHECKING:
    import chex
    from jax.extend.core import Jaxpr

Device: TypeAlias = Any  # jax.Device, of which jax ships no type

AXIS: Final = "runs"
PartitionSpec: Any = _PartitionSpec


class RunStates(NamedTuple):
    """The training runs in their lanes; every array has a leading axis of lanes.

    Attributes:
      state: The states of the `Training`.
      data_key: Raw data of the random keys that order the mini-batches, uint32.
      step: Number of updates done, int32.
      stop_step: Step at which each run pauses next, int32.
      updates_per_record: Number of updates whose losses share one entry of ``loss_sums``, int32.
      loss_sums: Sums of the training loss, float32 of shape ``(lanes, records)``.
      diverged: Whether a loss was not finite, bool.
    """

    state: "chex.ArrayTree"
    data_key: jax.Array
    step: jax.Array
    stop_step: jax.Array
    updates_per_record: jax.Array
    loss_sums: jax.Array
    diverged: jax.Array


class RunSpec(NamedTuple):
    """The inputs of one run; with a leading axis, of several.

    Attributes:
      schedule: The schedule, with NumPy scalars as parameters.
      seed: Seed of the initial parameters and of the mini-batches, uint32.
      updates_per_record: See `RunStates`, int32.
    """

    schedule: Schedule
    seed: "chex.Numeric"
    updates_per_record: "chex.Numeric"


@dataclasses.dataclass(frozen=True)
class ExecutionPlan:
    """How runs are laid out on each device.

    Attributes:
      vmap_size: Number of runs in one batched computation (`jax.vmap`). At least 1.
      lanes: Number of runs that one call advances, ``vmap_size`` at a time. A multiple of it.
      loop: ``"device"`` puts the updates into a ``while_loop``; ``"host"`` calls one update at a
        time from Python, for convolutions on a CPU, which are about ten times slower within a loop
        (jax issue 12868).

    Raises:
      ValueError: If ``vmap_size < 1``, ``lanes`` is not a positive multiple of it, or ``loop`` has
        another value.

    Example:
      >>> from lrsched import tuning
      >>> tuning.ExecutionPlan(4, 8)
      ExecutionPlan(vmap_size=4, lanes=8, loop='device')
    """

    vmap_size: int
    lanes: int
    loop: str = "device"

    def __post_init__(self) -> None:
        if not (_is_whole(self.vmap_size) and self.vmap_size >= 1):
            raise ValueError(
                f"ExecutionPlan: vmap_size={self.vmap_size!r} is not accepted; vmap_size must be a "
                "whole number of at least 1."
            )
        if not (_is_whole(self.lanes) and self.lanes >= 1 and self.lanes % self.vmap_size == 0):
            raise ValueError(
                f"ExecutionPlan: lanes={self.lanes!r} is not accepted; lanes must be a positive "
                f"multiple of vmap_size={self.vmap_size}."
            )
        if self.loop not in ("device", "host"):
            raise ValueError(
                f"ExecutionPlan: loop={self.loop!r} is not accepted; loop must be 'device' or "
                "'host'."
            )


class BatchedRunner:
    """The compiled programs of one execution plan.

    Attributes:
      plan: The execution plan of each device.
      lanes: Number of lanes on all devices of this process.
      lane_order: The lanes in the order in which they are filled, which alternates between the
        devices so that a short list of runs is spread over all of them.
      compile_seconds: Time that tracing and compilation took.
    """

    # The runner keeps no reference to its Training: the cache below is keyed weakly by it, and a
    # value that referred to its key would keep both alive.
    def __init__(
        self,
        training: Training,
        plan: ExecutionPlan,
        example: RunSpec,
        num_records: int,
        devices: Sequence[Device],
    ) -> None:
        self.plan: ExecutionPlan = plan
        self.lanes: int = plan.lanes * len(devices)
        self.lane_order: np.ndarray = np.arange(self.lanes).reshape(len(devices), -1).T.reshape(-1)
        self._gather: Any = None
        mesh = Mesh(np.array(devices), (AXIS,))
        self._sharding = NamedSharding(mesh, PartitionSpec(AXIS))
        self._data = jax.device_put(
            (training.data, training.validation), NamedSharding(mesh, PartitionSpec())
        )
        began = time.perf_counter()
        programs = _Programs(training, plan, num_records)
        specs = self.shard(tree_stack([example] * len(devices)))
        lanes = self.shard(np.zeros(len(devices), np.int32))
        selected = self.shard(np.ones(self.lanes, bool))
        self._shapes = jax.tree.map(
            lambda x: jax.ShapeDtypeStruct((self.lanes, *x.shape), x.dtype),  # type: ignore[no-untyped-call]
            jax.eval_shape(programs.start_run, example),
        )
        states = self.empty_states()
        limit = jnp.int32(1)
        advance = programs.advance_once if plan.loop == "host" else programs.advance
        lowered = [
            self._lower(programs.start_lane, states, lanes, specs),
            self._lower(advance, states, self._data, limit, num_replicated=2),
        ]
        if training.evaluate is not None:
            lowered.append(
                self._lower(programs.evaluate, states, selected, self._data, num_replicated=1)
            )
        # The first program runs once for each run. At level 1 of XLA's CPU compiler it compiles in
        # half the time and runs as fast; at level 0 it would start a run six times slower.
        quickly = {"xla_backend_optimization_level": 1} if devices[0].platform == "cpu" else None
        options = [quickly, *[None] * (len(lowered) - 1)]
        # XLA compiles without the interpreter's lock, so the programs compile side by side.
        with ThreadPoolExecutor() as pool:
            compiled = list(pool.map(lambda program, o: program.compile(o), lowered, options))
        self._start_lane, self._advance, *evaluate = compiled
        self._evaluate = evaluate[0] if evaluate else None
        self.compile_seconds: float = time.perf_counter() - began

    def shard(self, tree: "chex.ArrayTree") -> "chex.ArrayTree":
        """Split arrays with a leading axis of lanes over the devices."""
        return jax.device_put(tree, self._sharding)

    def empty_states(self) -> RunStates:
        """Return lanes without runs."""
        states: RunStates = self.shard(jax.tree.map(_zeros, self._shapes))
        return states

    def start_runs(
        self, states: RunStates, lanes: Sequence[int], specs: Sequence[RunSpec]
    ) -> RunStates:
        """Start a run in each of these lanes.

        Args:
          states: The states, which are donated.
          lanes: Distinct lanes.
          specs: The run of each of the lanes.

        Returns:
          The states with the new runs.
        """
        per_device = self.plan.lanes
        waiting: list[list[tuple[int, RunSpec]]] = [[] for _ in range(self.lanes // per_device)]
        for lane, spec in zip(lanes, specs, strict=True):
            waiting[lane // per_device].append((lane % per_device, spec))
        while any(waiting):
            # A device without a run to start gets a lane that does not exist.
            starting = [runs.pop() if runs else (per_device, specs[0]) for runs in waiting]
            local_lanes = np.array([lane for lane, _ in starting], np.int32)
            stacked = tree_stack([spec for _, spec in starting])
            states = self._start_lane(states, local_lanes, stacked)
        return states

    def advance(self, states: RunStates, limit: int) -> RunStates:
        """Do at most ``limit`` updates of every run; return early where a run has stopped.

        A run that has stopped must be evaluated before the next call: `jax.vmap` keeps updating
        its lane until the whole batch stops.
        """
        if self.plan.loop == "device":
            states = self._advance(states, self._data, np.int32(limit))
            return states
        remaining = np.asarray(states.stop_step - states.step)[~np.asarray(has_stopped(states))]
        for _ in range(min([limit, *remaining])):
            states = self._advance(states, self._data, np.int32(limit))
        return states

    def evaluate(
        self, states: RunStates, selected: np.ndarray
    ) -> tuple[RunStates, dict[str, np.ndarray]]:
        """Evaluate the selected runs and pass the metrics to their controllers.

        Returns:
          The states, and the metrics by name, float32 of shape ``(lanes,)``. Without a validation
          set the loss is NaN.
        """
        if self._evaluate is None:
            return states, {"loss": np.full(self.lanes, np.nan, np.float32)}
        states, metrics = self._evaluate(states, selected, self._data)
        return states, {name: np.asarray(values) for name, values in metrics.items()}

    def gather(self, states: RunStates, lanes: Sequence[int]) -> RunStates:
        """Return the runs of these lanes in this order; a lane may occur several times."""
        if self._gather is None:
            self._gather = jax.jit(
                lambda tree, lanes: jax.tree.map(lambda x: x[lanes], tree),
                out_shardings=self._sharding,
            )
        gathered: RunStates = self._gather(states, np.asarray(lanes))
        return gathered

    def as_text(self) -> str:
        """Return the compiled program of `advance` as text."""
        return str(self._advance.as_text())

    def memory_bytes(self) -> int:
        """Return the peak memory of `advance` on one device, in bytes."""
        analysis = self._advance.memory_analysis()
        return int(analysis.argument_size_in_bytes + analysis.temp_size_in_bytes)

    def flops(self) -> float:
        """Return the number of floating-point operations of one update of the lanes of a device."""
        return float((self._advance.cost_analysis() or {}).get("flops", 0.0))

    def _lower(
        self, function: Callable[..., object], *args: object, num_replicated: int = 0
    ) -> Any:
        """Lower a program in which each device sees its own lanes and the last arguments whole."""
        split, replicated = PartitionSpec(AXIS), PartitionSpec()
        specs = (*[split] * (len(args) - num_replicated), *[replicated] * num_replicated)
        mapped = jax.shard_map(
            function, mesh=self._sharding.mesh, in_specs=specs, out_specs=split, check_vma=False
        )
        # The states are donated: without it two copies of all runs would be in memory.
        return jax.jit(mapped, donate_argnums=0).lower(*args)


class _Programs:
    """The functions that a `BatchedRunner` compiles, for the lanes of one device."""

    def __init__(self, training: Training, plan: ExecutionPlan, num_records: int) -> None:
        self._training, self._plan, self._num_records = training, plan, num_records

    def start_run(self, spec: RunSpec) -> RunStates:
        init_key, data_key = jax.random.split(jax.random.key(spec.seed))
        return RunStates(
            state=self._training.init(spec.schedule, init_key),
            data_key=jax.random.key_data(data_key),
            step=jnp.int32(0),
            stop_step=jnp.int32(0),
            updates_per_record=jnp.asarray(spec.updates_per_record, jnp.int32),
            loss_sums=jnp.zeros(self._num_records, jnp.float32),
            diverged=jnp.bool(False),
        )

    def start_lane(self, states: RunStates, lanes: jax.Array, specs: RunSpec) -> RunStates:
        """Start one run on each device, in the given lane of it; none where there is no such lane.

        One run at a time: the program has neither a loop nor a batch, and compiles fastest.
        """
        run = self.start_run(jax.tree.map(lambda x: x[0], specs))
        exists = lanes[0] < self._plan.lanes
        lane = jnp.minimum(lanes[0], self._plan.lanes - 1)

        # One fusion for each array: a scatter that drops indices out of bounds compiles to a loop
        # for each of them.
        def replace(old: jax.Array, new: jax.Array) -> jax.Array:
            kept = jax.lax.dynamic_index_in_dim(old, lane, keepdims=False)
            value = jnp.where(exists, new, kept)
            replaced: jax.Array = jax.lax.dynamic_update_index_in_dim(old, value, lane, 0)
            return replaced

        started: RunStates = jax.tree.map(replace, states, run)
        return started

    def advance_once(self, states: RunStates, data: Data, limit: jax.Array) -> RunStates:
        del limit
        advanced: RunStates = self._map_groups(
            lambda group: self._map(self._update(data), group), states
        )
        return advanced

    def advance(self, states: RunStates, data: Data, limit: jax.Array) -> RunStates:
        def advance_group(states: RunStates) -> RunStates:
            remaining = jnp.where(has_stopped(states), limit, states.stop_step - states.step)
            count = jnp.minimum(limit, jnp.min(remaining))

            def should_continue(carry: tuple[jax.Array, RunStates]) -> jax.Array:
                return (carry[0] < count) & ~jnp.all(has_stopped(carry[1]))

            def update(carry: tuple[jax.Array, RunStates]) -> tuple[jax.Array, RunStates]:
                return carry[0] + 1, self._map(self._update(data), carry[1])

            # The while_loop encloses the vmap. With the vmap outside, the condition would be
            # batched and every iteration would select over the whole carry. On CPU, models with
            # convolutions use a host loop instead (slow convolutions in while_loop, jax issue
            # 12868).
            _, states = jax.lax.while_loop(should_continue, update, (jnp.int32(0), states))
            return RunStates(*states)

        advanced: RunStates = self._map_groups(advance_group, states)
        return advanced

    def evaluate(
        self, states: RunStates, selected: jax.Array, data: Data
    ) -> tuple[RunStates, dict[str, jax.Array]]:
        assert self._training.evaluate is not None
        evaluate = self._training.evaluate

        def evaluate_run(state: State) -> tuple[State, dict[str, jax.Array]]:
            observed, metrics = evaluate(state, data[1])
            return observed, as_metric_dict(metrics)

        def evaluate_group(
            group: tuple[RunStates, jax.Array],
        ) -> tuple[RunStates, dict[str, jax.Array]]:
            states, selected = group

            def evaluate_selected() -> tuple[State, dict[str, jax.Array]]:
                observed, metrics = self._map(evaluate_run, states.state)
                return _tree_select(selected, observed, states.state), metrics

            def skip() -> tuple[State, dict[str, jax.Array]]:
                _, shapes = jax.eval_shape(evaluate_selected)
                return states.state, jax.tree.map(
                    lambda x: jnp.full(x.shape, jnp.nan, x.dtype), shapes
                )

            state, metrics = jax.lax.cond(jnp.any(selected), evaluate_selected, skip)
            return states._replace(state=state), metrics

        evaluated: tuple[RunStates, dict[str, jax.Array]] = self._map_groups(
            evaluate_group, (states, selected)
        )
        return evaluated

    def _map_groups(
        self, function: Callable[[Any], "chex.ArrayTree"], tree: "chex.ArrayTree"
    ) -> "chex.ArrayTree":
        """Apply ``function`` to every group of ``vmap_size`` lanes, one after another."""
        size, groups = self._plan.vmap_size, self._plan.lanes // self._plan.vmap_size
        if groups == 1 and size > 1:
            return function(tree)
        # A group of one run has no batch axis: a batch of one would lower matrix products to
        # batched ones, which are slower.
        shape = (groups,) if size == 1 else (groups, size)
        grouped = jax.tree.map(lambda x: x.reshape(*shape, *x.shape[1:]), tree)
        if groups > 1 and self._plan.loop == "device":
            mapped = jax.lax.map(function, grouped)
        else:
            # No loop of `lax.map`: convolutions inside a loop are slow on a CPU (see `advance`).
            results = [function(jax.tree.map(lambda x, i=i: x[i], grouped)) for i in range(groups)]
            mapped = jax.tree.map(lambda *leaves: jnp.stack(leaves), *results)
        return jax.tree.map(lambda x: x.reshape(-1, *x.shape[len(shape) :]), mapped)

    def _map(
        self, function: Callable[..., "chex.ArrayTree"], *trees: "chex.ArrayTree"
    ) -> "chex.ArrayTree":
        """Apply ``function`` to every lane of a group."""
        return (function if self._plan.vmap_size == 1 else jax.vmap(function))(*trees)

    def _update(self, data: Data) -> Callable[[RunStates], RunStates]:
        def update(run: RunStates) -> RunStates:
            key = jax.random.wrap_key_data(run.data_key)
            batch = self._training.batch(data[0], key, run.step)
            state, loss = self._training.step(run.state, batch)
            is_running = ~has_stopped(run)
            # A comparison with all entries, as a scatter of one entry is slow in a vmapped loop.
            record = jax.lax.div(run.step, run.updates_per_record)
            is_current = jnp.arange(len(run.loss_sums)) == record
            return run._replace(
                state=state,
                step=run.step + is_running,
                loss_sums=jnp.where(
                    is_current & is_running,
                    run.loss_sums + loss.astype(jnp.float32),
                    run.loss_sums,
                ),
                diverged=run.diverged | (is_running & ~jnp.isfinite(loss)),
            )

        return update


# Compiled programs and what was learnt by tracing, for each Training. Entries disappear with it.
_CACHE: Final[weakref.WeakKeyDictionary[Training, dict[Hashable, Any]]] = (
    weakref.WeakKeyDictionary()
)


def cached_runners(training: Training) -> list[BatchedRunner]:
    """Return the runners that have been compiled for a training."""
    return [
        value for value in _CACHE.get(training, {}).values() if isinstance(value, BatchedRunner)
    ]


def _cached(training: Training, key: Hashable, compute: Callable[[], Any]) -> Any:
    cache = _CACHE.setdefault(training, {})
    if key not in cache:
        cache[key] = compute()
    return cache[key]


def metric_names(training: Training, example: RunSpec) -> tuple[str, ...]:
    """Return the names of the validation metrics; without a validation set, ``("loss",)``."""
    if training.evaluate is None:
        return ("loss",)

    def evaluate(spec: RunSpec, validation: Data) -> dict[str, jax.Array]:
        assert training.evaluate is not None
        state = training.init(spec.schedule, jax.random.key(spec.seed))
        return as_metric_dict(training.evaluate(state, validation)[1])

    names: tuple[str, ...] = _cached(
        training,
        "metric_names",
        lambda: tuple(jax.eval_shape(evaluate, example, training.validation)),
    )
    return names


def has_stopped(states: RunStates) -> jax.Array:
    """Return whether each run has reached its ``stop_step`` or has diverged."""
    return (states.step >= states.stop_step) | states.diverged


def make_run_spec(schedule: Schedule, seed: int, steps: int, num_records: int) -> RunSpec:
    """Return the spec of a run of ``steps`` updates with at most ``num_records`` loss sums."""
    parameters = jax.tree.map(
        lambda x: np.asarray(
            x, np.int32 if np.issubdtype(np.asarray(x).dtype, np.integer) else np.float32
        ),
        schedule,
    )
    return RunSpec(parameters, np.uint32(seed), np.int32(-(-steps // num_records)))


def normalize_seeds(function: str, seeds: int | Sequence[int]) -> list[int]:
    """Return a list of seeds from a count or a sequence.

    Raises:
      ValueError: If there is no seed, there are more than 2**20, or one is not a whole number from
        0 to ``2**32 - 1``.
    """
    listed: list[Any] = [None]  # not accepted below
    if isinstance(seeds, int | np.integer) and _is_whole(seeds):
        # A seed passed as the count (seeds=20241126) would fill the memory before the first run.
        listed = list(range(seeds)) if 0 <= seeds <= _MAX_SEEDS else listed
    elif np.iterable(seeds):
        listed = list(seeds)
    if not all(_is_whole(seed) and 0 <= seed < 2**32 for seed in listed):
        raise ValueError(
            f"{function}: seeds={short_repr(seeds)} is not accepted; seeds must be the number of "
            "seeds (at most 2**20) or a sequence of whole numbers from 0 to 2**32 - 1."
        )
    if not listed:
        raise ValueError(
            f"{function}: seeds={seeds!r} is not accepted: seeds is empty; at least 1 is needed."
        )
    return [int(seed) for seed in listed]


_MAX_SEEDS: Final = 2**20


def _is_whole(value: object) -> bool:
    return isinstance(value, int | np.integer) and not isinstance(value, bool)


def tree_stack(trees: Sequence["chex.ArrayTree"]) -> "chex.ArrayTree":
    """Stack trees of NumPy scalars along a new leading axis."""
    return jax.tree.map(lambda *leaves: np.stack(leaves), *trees)


def get_runner(
    training: Training,
    plan: ExecutionPlan | None,
    specs: Sequence[RunSpec],
    lengths: Sequence[int],
    num_records: int,
    devices: Sequence[Device],
) -> BatchedRunner:
    """Return a compiled runner of ``plan``, or of the fastest plan; it is cached."""
    leaves, treedef = jax.tree.flatten(specs[0])
    shapes = tuple((leaf.shape, leaf.dtype) for leaf in leaves)

    def compile_runner() -> BatchedRunner:
        if plan is None:
            return _fastest_runner(training, specs, lengths, num_records, devices)
        return BatchedRunner(training, plan, specs[0], num_records, devices)

    key = ("runner", plan, treedef, shapes, num_records, tuple(devices))
    runner: BatchedRunner = _cached(training, key, compile_runner)
    return runner


def _fastest_runner(
    training: Training,
    specs: Sequence[RunSpec],
    lengths: Sequence[int],
    num_records: int,
    devices: Sequence[Device],
) -> BatchedRunner:
    """Return the runner of the fastest plan, searched as long as the search pays for itself."""
    runs_per_device = -(-len(specs) // len(devices))
    plans = list(_candidate_plans(training, specs[0], runs_per_device, devices[0]))
    best, best_seconds = None, np.inf
    for plan in plans:
        runner = BatchedRunner(training, plan, specs[0], num_records, devices)
        if not _fits_in_memory(runner, devices[0]):
            break
        if best is None and (len(plans) == 1 or not _may_gain_from_batches(runner, devices[0])):
            return runner
        seconds = _seconds_per_update(runner, specs[0], max(lengths))
        is_clearly_faster = seconds < 0.9 * best_seconds
        if seconds < best_seconds:
            best, best_seconds = runner, seconds
        run_seconds = best_seconds * sum(lengths)
        if not is_clearly_faster or (
            run_seconds < _MIN_RUN_TO_COMPILE_RATIO * runner.compile_seconds
        ):
            break
    if best is None:
        raise ValueError(
            f"sweep: one run of {training} does not fit into the memory of {devices[0]}; use a "
            "smaller model or batch_size."
        )
    return best


_MIN_RUN_TO_COMPILE_RATIO: Final = 4.0
"""Another plan is compiled only if the remaining work takes this many times its compilation."""
_MAX_DISPATCH_BOUND_FLOPS: Final = 1_000_000
"""An update with more arithmetic than this takes a CPU longer than the dispatch of its operations:
XLA dispatches the 50 to 100 operations of a small model in about 0.3 us each, in which time two
cores do about a million floating-point operations. On a CPU, a batch saves only the dispatch."""
_MIN_MEASURED_SECONDS: Final = 0.05
"""A measurement of a plan does four times as many updates until it has taken this long."""


def _may_gain_from_batches(runner: BatchedRunner, device: Device) -> bool:
    """Return whether a larger batch of runs may take less time for each of them."""
    return device.platform != "cpu" or runner.flops() < _MAX_DISPATCH_BOUND_FLOPS


_wait: Any = jax.block_until_ready


def _seconds_per_update(runner: BatchedRunner, example: RunSpec, steps: int) -> float:
    specs, count = [example] * runner.lanes, 1
    while True:
        states = runner.start_runs(runner.empty_states(), range(runner.lanes), specs)
        states = states._replace(stop_step=runner.shard(np.full(runner.lanes, steps, np.int32)))
        _wait(states)
        began = time.perf_counter()
        _wait(runner.advance(states, count))
        seconds = time.perf_counter() - began
        if seconds > _MIN_MEASURED_SECONDS or count >= steps:
            return seconds / count / runner.lanes
        count *= 4


def start_all(
    training: Training,
    specs: Sequence[RunSpec],
    steps: int,
    num_records: int,
    devices: Sequence[Device],
    *,
    batched: bool,
) -> tuple[BatchedRunner, RunStates]:
    """Start every run in a lane of its own; surplus lanes repeat the first run.

    Args:
      training: The training.
      specs: The runs.
      steps: Number of updates of each run.
      num_records: Number of sums of the training loss that each run keeps.
      devices: Devices of this process.
      batched: Whether the runs of a device form one batch. If ``False``, they run in sequence.

    Returns:
      The runner and the initial states.
    """
    runs_per_device = -(-len(specs) // len(devices))
    if _has_cpu_convolutions(training, specs[0], devices[0]):
        plan = ExecutionPlan(1, runs_per_device, loop="host")
    else:
        plan = ExecutionPlan(runs_per_device if batched else 1, runs_per_device)
    runner = get_runner(training, plan, specs, [steps] * len(specs), num_records, devices)
    padded = [*specs, *[specs[0]] * (runner.lanes - len(specs))]
    return runner, runner.start_runs(runner.empty_states(), range(runner.lanes), padded)


def _has_cpu_convolutions(training: Training, example: RunSpec, device: Device) -> bool:
    def find() -> bool:
        return "conv_general_dilated" in _primitives(_update_jaxpr(training, example))

    return device.platform == "cpu" and bool(_cached(training, "has_convolutions", find))


def _candidate_plans(
    training: Training, example: RunSpec, runs_per_device: int, device: Device
) -> Iterator[ExecutionPlan]:
    if _has_cpu_convolutions(training, example, device):
        yield ExecutionPlan(1, 1, loop="host")
        return
    # A CPU multiplies small matrices faster one after another; an accelerator needs batches. There
    # are no more lanes than that: the loop over groups of lanes copies every array of the states in
    # and out, which doubles the operations to compile, and saves only calls from Python.
    size, growth = (1, 16) if device.platform == "cpu" else (8, 8)
    while True:
        size = min(size, runs_per_device)
        yield ExecutionPlan(size, size)
        if size >= runs_per_device:
            return
        size *= growth


def _update_jaxpr(training: Training, example: RunSpec) -> "Jaxpr":
    def update(spec: RunSpec, data: Data) -> "chex.ArrayTree":
        state = training.init(spec.schedule, jax.random.key(spec.seed))
        return training.step(state, training.batch(data, jax.random.key(0), jnp.int32(0)))

    jaxpr: Jaxpr = jax.make_jaxpr(update)(example, training.data).jaxpr
    return jaxpr


def _primitives(jaxpr: "Jaxpr") -> set[str]:
    """Return the names of the primitives of a program and of the programs within it."""
    names: set[str] = set()
    for equation in jaxpr.eqns:
        names.add(equation.primitive.name)
        for parameter in jax.tree.leaves(list(equation.params.values())):
            inner: Any = getattr(parameter, "jaxpr", parameter)
            # Not isinstance: the import of jax.extend loads Pallas, which takes as long as lrsched.
            if hasattr(inner, "eqns"):
                names |= _primitives(inner)
    return names


def _fits_in_memory(runner: BatchedRunner, device: Device) -> bool:
    stats = device.memory_stats() or {}  # a CPU reports no limit, and is assumed to have enough
    free = stats.get("bytes_limit", np.inf) - stats.get("bytes_in_use", 0)
    return bool(runner.memory_bytes() <= 0.9 * free)


def _zeros(leaf: jax.ShapeDtypeStruct) -> "chex.Array":
    if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        raw = jax.eval_shape(jax.random.key_data, leaf)
        impl = jax.random.key_impl(jax.random.key(0))
        return jax.random.wrap_key_data(jnp.zeros(raw.shape, raw.dtype), impl=impl)
    return np.zeros(leaf.shape, leaf.dtype)


def _tree_select(
    selected: jax.Array, new: "chex.ArrayTree", old: "chex.ArrayTree"
) -> "chex.ArrayTree":
    def select(a: jax.Array, b: jax.Array) -> jax.Array:
        mask = selected.reshape(*selected.shape, *[1] * (jnp.ndim(a) - selected.ndim))
        return jnp.where(mask, a, b)

    return jax.tree.map(select, new, old)
