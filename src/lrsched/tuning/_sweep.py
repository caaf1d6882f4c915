"""Sweeps: thousands of training runs in one compiled program, because schedules are data."""

from __future__ import annotations

import dataclasses
import hashlib
import re
import sys
import threading
import time
from collections.abc import Hashable, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh

from lrsched._schedule import Schedule
from lrsched.arguments import NON_NEGATIVE_FLOAT, not_accepted, whole_number
from lrsched.tuning._progress import Show, progress_bar
from lrsched.tuning._training import SCHEDULE, TRAINING, Training
from lrsched.tuning.batched_runner import (
    BatchedRunner,
    ExecutionPlan,
    RunSpec,
    get_runner,
    make_run_spec,
    metric_names,
    normalize_seeds,
)
from lrsched.tuning.checkpoint import (
    Checkpoint,
    Interrupt,
    Save,
    defer_interrupts,
    flatten_arrays,
    restore_arrays,
)
from lrsched.tuning.results import (
    RunResults,
    SweepResult,
    allgather_results,
    empty_results,
    results_table,
)


class SweepRun(NamedTuple):
    """One run of a sweep.

    Attributes:
      spec: Schedule and seed.
      steps: Number of updates.
    """

    spec: RunSpec
    steps: int

    def updates_per_record(self, num_records: int) -> np.ndarray:
        """Return how many updates each loss record averages; NaN after the end of the run."""
        size = int(self.spec.updates_per_record)
        counts = np.clip(self.steps - size * np.arange(num_records), 0, size).astype(np.float32)
        return np.where(counts == 0, np.nan, counts)


def sweep(
    training: Training,
    schedules: Sequence[Schedule] | Schedule,
    *,
    steps: int | None = None,
    seeds: int | Sequence[int] = 1,
    num_evaluations: int = 1,
    num_loss_records: int = 100,
    plan: ExecutionPlan | None = None,
    mesh: Mesh | None = None,
    checkpoint: str | Path | None = None,
    checkpoint_seconds: float = 60.0,
    progress: bool = True,
) -> SweepResult:
    """Train with every schedule and every seed, many runs at once, in one compiled program.

    Schedules of one structure (with any peaks, horizons and warmups) need one compilation, each
    further structure one more. Runs occupy lanes: a run that is complete or has diverged makes room
    for the next. A short measurement chooses how many are batched. On a CPU each core can be a
    device: call ``jax.config.update("jax_num_cpu_devices", os.cpu_count())`` at the beginning of
    the program. The compiled program has no collectives, so no run waits for another one.

    With several processes (``jax.distributed``) each trains its share of the runs, and all of them
    return the whole result.

    If one of several processes ends, JAX ends the others after its heartbeat timeout, an argument
    of ``jax.distributed.initialize`` that is 100 s by default.

    With ``checkpoint``, the same call continues a sweep that was killed, with equal results in
    every bit, also with another number of processes. SIGINT and SIGTERM take effect after the
    running call, of at most about two seconds, and a save. A save that fails is a warning, and a
    damaged save is replaced by the one before it.

    Args:
      training: The training.
      schedules: A list of schedules; or one schedule whose parameters have a leading axis.
      steps: Number of updates of each run. Defaults to the horizon of each schedule.
      seeds: Number of seeds, or the seeds. Runs with equal seeds have the same initial parameters
        and batches.
      num_evaluations: Number of evaluations on the validation set in each run, at equal distances.
      num_loss_records: Maximum number of means of the training loss to keep of each run.
      plan: How runs are laid out on each device. Defaults to the fastest one measured.
      mesh: Devices. Defaults to all devices.
      checkpoint: Directory of saves, for one sweep at a time. Disabled by default.
      checkpoint_seconds: Time between two saves.
      progress: Whether to show a bar with the remaining time on stderr, if ``rich`` is installed.

    Returns:
      The losses and metrics of all runs.

    Raises:
      ValueError: If there is no schedule or no seed, a schedule has no horizon while ``steps`` is
        ``None``, the checkpoint is of another sweep or in use by another one, or one run does not
        fit into memory.

    Example:
      >>> import jax.numpy as jnp, lrsched, optax
      >>> from lrsched import tuning
      >>> loss_fn = lambda w, batch: jnp.mean((batch[0] * w - batch[1]) ** 2)
      >>> x = jnp.linspace(-1, 1, 64)
      >>> run = tuning.training(loss_fn, jnp.zeros(()), optax.adam, (x, 2 * x), batch_size=16)
      >>> result = tuning.sweep(
      ...     run, [lrsched.cosine(peak, steps=50) for peak in (1e-3, 1e-2, 1e-1)], progress=False)
      >>> result.table[["peak", "updates"]].tolist()
      [(0.001, 50), (0.01, 50), (0.1, 50)]
      >>> result.best()
      cosine(peak=0.1, steps=50)
    """
    began = time.perf_counter()
    TRAINING.validate("sweep", "training", training)
    for name, value, kind in (("plan", plan, ExecutionPlan), ("mesh", mesh, Mesh)):
        if not (value is None or isinstance(value, kind)):
            raise not_accepted("sweep", name, value, f"a {kind.__name__} or None")
    if checkpoint is not None and not (isinstance(checkpoint, str | Path) and str(checkpoint)):
        raise not_accepted("sweep", "checkpoint", checkpoint, "the path of a directory, or None")
    NON_NEGATIVE_FLOAT.validate("sweep", "checkpoint_seconds", checkpoint_seconds)
    listed = _as_list(schedules)
    if not listed:
        raise ValueError("sweep: schedules is empty; at least one schedule is needed.")
    for schedule in listed:
        SCHEDULE.validate("sweep", "schedules", schedule)
    seeds = normalize_seeds("sweep", seeds)
    num_evaluations = whole_number().validate("sweep", "num_evaluations", num_evaluations)
    num_loss_records = whole_number().validate("sweep", "num_loss_records", num_loss_records)
    lengths = _run_lengths(listed, steps)
    runs = [
        SweepRun(make_run_spec(schedule, seed, length, num_loss_records), length)
        for schedule, length in zip(listed, lengths, strict=True)
        for seed in seeds
    ]
    names = metric_names(training, runs[0].spec)
    num_records = min(num_loss_records, max(lengths))
    results = empty_results(len(runs), num_records, num_evaluations, names)
    devices = jax.local_devices() if mesh is None else list(mesh.local_devices)
    plans, compile_seconds = [], 0.0
    with (
        Checkpoint(checkpoint, checkpoint_seconds) as saves,
        defer_interrupts(saves.is_enabled()) as interrupt,
        progress_bar("sweep", sum(lengths) * len(seeds), progress) as show,
    ):
        digest = _digest(runs, results)
        results, save = _restore_results(saves, digest, results)
        show(int(results.updates.sum()))
        for index, group in enumerate(_group_by_structure(runs)):
            share = group[jax.process_index() :: jax.process_count()]
            if results.done[share].all():
                continue
            group_save = save if save and save.metadata["group"] == index else None
            group_plan = ExecutionPlan(**group_save.metadata["plan"]) if group_save else plan
            compile_began = time.perf_counter()
            show(int(results.updates.sum()), "compiling")
            runner = get_runner(
                training,
                group_plan,
                [runs[i].spec for i in share],
                [runs[i].steps for i in share],
                results.num_records,
                devices,
            )
            compile_seconds += time.perf_counter() - compile_began
            plans.append(runner.plan)
            metadata = {"group": index, "sweep": digest}
            _SweepGroup(runner, runs, share, results, saves, metadata, group_save).train(
                show, interrupt
            )
        if jax.process_count() > 1:
            # The others may never come: what this process has trained must not depend on them.
            saves.save({"group": None, "sweep": digest}, flatten_arrays("results", results))
            results = _gather(results, saves)
    return SweepResult(
        results_table(listed, seeds, results),
        listed,
        results.train_loss,
        results.metrics,
        np.repeat(lengths, len(seeds)),
        plans,
        compile_seconds,
        time.perf_counter() - began - compile_seconds,
    )


class _SweepGroup:
    """The runs of one structure, and their assignment to the lanes of a runner."""

    def __init__(
        self,
        runner: BatchedRunner,
        runs: Sequence[SweepRun],
        share: Sequence[int],
        results: RunResults,
        saves: Checkpoint,
        metadata: dict[str, Any],
        save: Save | None,
    ) -> None:
        self.runner, self.runs, self.results = runner, runs, results
        self.saves, self.metadata = saves, metadata
        self.states = runner.empty_states()
        # The run in each lane, or -1, and how often it has been evaluated.
        self.run_of_lane = np.full(runner.lanes, -1)
        self.num_evaluated = np.zeros(runner.lanes, np.int32)
        # With another number of devices the saved lanes do not fit: their runs start again.
        if save and len(save.arrays["run_of_lane"]) == runner.lanes:
            self.run_of_lane = save.arrays["run_of_lane"]
            self.num_evaluated = save.arrays["num_evaluated"]
            self.states = runner.shard(restore_arrays(save.arrays, "states", self.states))
        in_lanes = set(self.run_of_lane.tolist())
        self.waiting = [i for i in share if not results.done[i] and i not in in_lanes][::-1]

    def train(self, show: Show, interrupt: Interrupt) -> None:
        """Train all runs to their ends."""
        limit, longest = _FIRST_LIMIT, max(run.steps for run in self.runs)
        while True:
            self._fill_lanes()
            if np.all(self.run_of_lane < 0):
                return
            stop_steps = np.array([self._stop_step(i) for i in range(self.runner.lanes)], np.int32)
            began = time.perf_counter()
            states = self.states._replace(stop_step=self.runner.shard(stop_steps))
            self.states = self.runner.advance(states, limit)
            steps = np.asarray(self.states.step)
            seconds = time.perf_counter() - began
            # Calls of half a second to two: the host's work is negligible, the bar moves, and a
            # save or an interrupt does not wait long.
            limit = limit * 2 if seconds < 0.5 else limit // 2 if seconds > 2 else limit
            limit = min(max(1, limit), longest)
            self._collect(steps, stop_steps)
            show(int(self.results.updates.sum()))
            if interrupt.is_requested():
                self.save()
                interrupt.deliver()
            if self.saves.is_due():
                self.save()

    def save(self) -> None:
        """Save everything that a continuation needs."""
        arrays = {
            **flatten_arrays("results", self.results),
            **flatten_arrays("states", self.states),
            "run_of_lane": self.run_of_lane,
            "num_evaluated": self.num_evaluated,
        }
        self.saves.save({**self.metadata, "plan": dataclasses.asdict(self.runner.plan)}, arrays)

    def _fill_lanes(self) -> None:
        lanes = []
        for lane in self.runner.lane_order:
            if self.run_of_lane[lane] < 0 and self.waiting:
                self.run_of_lane[lane], self.num_evaluated[lane] = self.waiting.pop(), 0
                lanes.append(int(lane))
        specs = [self.runs[i].spec for i in self.run_of_lane[lanes]]
        self.states = self.runner.start_runs(self.states, lanes, specs)

    def _stop_step(self, lane: int) -> int:
        """Return the step at which the run in a lane is evaluated next; 0 for an empty lane."""
        if self.run_of_lane[lane] < 0:
            return 0
        num_evaluations = self.results.metrics["loss"].shape[1]
        steps = self.runs[self.run_of_lane[lane]].steps
        return int(steps * (int(self.num_evaluated[lane]) + 1) // num_evaluations)

    def _collect(self, steps: np.ndarray, stop_steps: np.ndarray) -> None:
        """Record the results of the runs that have stopped, and free their lanes at their end."""
        diverged = np.asarray(self.states.diverged)
        is_occupied = self.run_of_lane >= 0
        stopped = is_occupied & (diverged | (steps >= stop_steps))
        self.results.updates[self.run_of_lane[is_occupied]] = steps[is_occupied]
        if not stopped.any():
            return
        self.states, metrics = self.runner.evaluate(self.states, stopped)
        loss_sums = np.asarray(self.states.loss_sums)
        for lane in np.flatnonzero(stopped):
            i = self.run_of_lane[lane]
            if not diverged[lane]:
                for name, values in metrics.items():
                    self.results.metrics[name][i, self.num_evaluated[lane]] = values[lane]
            self.num_evaluated[lane] += 1
            if diverged[lane] or steps[lane] == self.runs[i].steps:
                counts = self.runs[i].updates_per_record(self.results.num_records)
                self.results.train_loss[i] = loss_sums[lane] / counts
                self.results.diverged[i], self.results.done[i] = diverged[lane], True
                self.run_of_lane[lane] = -1


_WAITING_SECONDS: Final = 2.0
"""Time that a process waits for the results of the others before it says so."""
_FIRST_LIMIT: Final = 32
"""Number of updates of the first call, before its speed is known."""


def _restore_results(
    saves: Checkpoint, digest: str, results: RunResults
) -> tuple[RunResults, Save | None]:
    save = saves.load()
    others = saves.load_of_others()
    if any(known.metadata["sweep"] != digest for known in (save, *others) if known is not None):
        raise ValueError(
            "sweep: the checkpoint is of another sweep: its schedules, seeds, lengths, "
            "num_evaluations or num_loss_records differ; use another directory for this one."
        )
    if save is not None:
        results = restore_arrays(save.arrays, "results", results)
    for other in others:
        theirs: RunResults = restore_arrays(other.arrays, "results", results)
        is_new = theirs.done & ~results.done
        for mine, their in zip(jax.tree.leaves(results), jax.tree.leaves(theirs), strict=True):
            mine[is_new] = their[is_new]
    return results, save


def _gather(results: RunResults, saves: Checkpoint) -> RunResults:
    """Return the results of all processes, or say that one of them is missing."""
    advice = (
        "the same call continues from the checkpoint, with any number of processes"
        if saves.is_enabled()
        else "with checkpoint=, the same call would continue with any number of processes"
    )
    # JAX aborts a process whose neighbour does not answer, without a Python exception: the sentence
    # must come before.
    notice = threading.Timer(
        _WAITING_SECONDS,
        lambda: print(
            f"sweep: process {jax.process_index()} has trained its runs and waits for the results "
            "of the others. If one of them has ended, JAX ends this process after its heartbeat "
            f"timeout (100 s by default); {advice}.",
            file=sys.stderr,
            flush=True,
        ),
    )
    notice.daemon = True
    notice.start()
    try:
        return allgather_results(results)
    except jax.errors.JaxRuntimeError as error:
        raise RuntimeError(
            f"sweep: another process has ended before it sent its results; {advice}."
        ) from error
    finally:
        notice.cancel()


def _digest(runs: Sequence[SweepRun], results: RunResults) -> str:
    """Hash everything that defines the runs; functions count by their names."""
    shapes = results.train_loss.shape, results.metrics["loss"].shape
    with np.printoptions(threshold=sys.maxsize):
        # Addresses of functions differ between processes.
        text = re.sub(r" at 0x[0-9a-f]+", "", repr((runs, shapes)))
    return hashlib.sha256(text.encode()).hexdigest()


def _run_lengths(schedules: Sequence[Schedule], steps: int | None) -> list[int]:
    lengths = [schedule.horizon if steps is None else steps for schedule in schedules]
    for schedule, length in zip(schedules, lengths, strict=True):
        if not (isinstance(length, int | np.integer) and length >= 1):
            raise ValueError(
                f"sweep: steps={steps!r} is not accepted for {schedule}, whose horizon is "
                f"{schedule.horizon}; steps must be a whole number of at least 1 where a schedule "
                "has no horizon."
            )
    return [int(length) for length in lengths]


def _as_list(schedules: Any) -> list[Any]:
    if isinstance(schedules, Schedule):
        return unstack_schedules(schedules)
    # An optimizer is a tuple of its two functions.
    if isinstance(schedules, str) or hasattr(schedules, "update") or not np.iterable(schedules):
        raise not_accepted(
            "sweep",
            "schedules",
            schedules,
            "a list of schedules, such as [lrsched.cosine(rate, steps=1000) for rate in (1e-3, "
            "1e-2)]",
        )
    return list(schedules)


def unstack_schedules(schedules: Schedule) -> list[Schedule]:
    """Return the schedules along the leading axis of the parameters of one schedule."""
    leaves, treedef = jax.tree.flatten(schedules)
    arrays = [np.asarray(leaf) for leaf in leaves]
    lengths = {len(array) for array in arrays if array.ndim}
    if len(lengths) != 1:
        raise ValueError(
            f"sweep: the parameters of {schedules} have leading axes of {sorted(lengths)}; those "
            "that have one must have the same; pass a list of schedules for a single one."
        )
    (length,) = lengths
    return [
        jax.tree.unflatten(treedef, [x[i].item() if x.ndim else x.item() for x in arrays])
        for i in range(length)
    ]


def _group_by_structure(runs: Sequence[SweepRun]) -> list[list[int]]:
    groups: dict[Hashable, list[int]] = {}
    for i, run in enumerate(runs):
        shapes = tuple(np.shape(leaf) for leaf in jax.tree.leaves(run.spec))
        groups.setdefault((jax.tree.structure(run.spec), shapes), []).append(i)
    return list(groups.values())
