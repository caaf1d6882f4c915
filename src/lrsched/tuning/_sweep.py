"""Thousands of training runs in one compiled program: the numbers of a schedule are its data."""

import dataclasses
import hashlib
import re
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh

from lrsched._schedule import Schedule
from lrsched.tuning import batched_runner as fleets
from lrsched.tuning._training import Training
from lrsched.tuning.batched_runner import Fleet, Plan, Start
from lrsched.tuning.checkpoint import Checkpoint, flattened, restored
from lrsched.tuning.results import Results, Sweep, gathered, nothing_yet, table_of


class Job(NamedTuple):
    """A member and the length of its run."""

    start: Start
    length: int

    def counts(self, records: int) -> np.ndarray:
        """How many updates each mean of its training loss is of; NaN after its end."""
        window = int(self.start.window)
        counts = np.clip(self.length - window * np.arange(records), 0, window).astype(np.float32)
        return np.where(counts == 0, np.nan, counts)


def sweep(
    training: Training,
    schedules: Sequence[Schedule] | Schedule,
    *,
    steps: int | None = None,
    seeds: int | Sequence[int] = 1,
    evaluations: int = 1,
    records: int = 100,
    plan: Plan | None = None,
    mesh: Mesh | None = None,
    checkpoint: str | Path | None = None,
    checkpoint_seconds: float = 60.0,
    progress: bool = True,
) -> Sweep:
    """Train under every schedule and with every seed, many at once, in one compiled program.

    Schedules of one structure (peaks, horizons, warmups of any values) need one compilation; each
    further structure one more. Members run in slots: one that is through or has diverged makes room
    for the next. How many are batched is found out by a short measurement, on the devices there
    are; on a CPU each core can be a device of its own: ``jax.config.update("jax_num_cpu_devices",
    os.cpu_count())`` at the beginning of a program. No member ever waits for another's numbers:
    the program has no collectives.

    With several processes (``jax.distributed``) each takes its share of the members, and all of
    them return the whole.

    Args:
      training: what is trained.
      schedules: a list of them; or one whose numbers have a leading axis.
      steps: the updates of each run; by default each schedule's horizon.
      seeds: how many, or which. Members of one seed have the same initial parameters and batches.
      evaluations: how often in a run, at equal distances, the held-out examples are looked at.
      records: the most means of the training loss that are kept of a run.
      plan: how members are put on a device; by default measured.
      mesh: the devices; by default all.
      checkpoint: a directory; a sweep that was killed goes on from it. It needs orbax.
      checkpoint_seconds: the time between two saves.
      progress: show a bar with the time left. It needs rich.

    Raises:
      ValueError: no schedule, no seed, a schedule without a horizon where ``steps`` is None, a
        checkpoint of another sweep, or a member that does not fit into memory.

    >>> import jax.numpy as jnp, lrsched, optax
    >>> from lrsched import tuning
    >>> loss_fn = lambda w, batch: jnp.mean((batch[0] * w - batch[1]) ** 2)
    >>> x = jnp.linspace(-1, 1, 64)
    >>> run = tuning.training(loss_fn, jnp.zeros(()), optax.adam, (x, 2 * x), batch_size=16)
    >>> found = tuning.sweep(
    ...     run, [lrsched.cosine(peak, steps=50) for peak in (1e-3, 1e-2, 1e-1)], progress=False)
    >>> found.table[["peak", "updates"]].tolist()
    [(0.001, 50), (0.01, 50), (0.1, 50)]
    >>> found.best()
    cosine(peak=0.1, steps=50)
    """
    began = time.perf_counter()
    listed = unstacked(schedules) if isinstance(schedules, Schedule) else list(schedules)
    if not listed:
        raise ValueError("sweep: schedules is empty; at least one is needed.")
    seeds = fleets.listed_seeds("sweep", seeds)
    for name, number in {"evaluations": evaluations, "records": records}.items():
        if not (isinstance(number, int) and number >= 1):
            raise ValueError(
                f"sweep: {name}={number!r} is not accepted; {name} must be a whole number of 1 or "
                "more."
            )
    lengths = _lengths(listed, steps)
    jobs = [
        Job(fleets.start(schedule, seed, length, records), length)
        for schedule, length in zip(listed, lengths, strict=True)
        for seed in seeds
    ]
    names = fleets.metric_names(training, jobs[0].start)
    results = nothing_yet(len(jobs), min(records, max(lengths)), evaluations, names)
    saved = Checkpoint(checkpoint, checkpoint_seconds)
    digest = _digest(jobs, results)
    results, kept = _restored(saved, digest, results)
    devices = jax.local_devices() if mesh is None else list(mesh.local_devices)
    plans, compile_seconds = [], 0.0
    with _bar(sum(lengths) * len(seeds), progress) as show:
        show(int(results.updates.sum()))
        for place, group in enumerate(_by_structure(jobs)):
            mine = group[jax.process_index() :: jax.process_count()]
            if results.done[mine].all():
                continue
            held = kept if kept and kept.facts["group"] == place else None
            chosen = Plan(**held.facts["plan"]) if held else plan
            compiling = time.perf_counter()
            wanted = [jobs[i].start for i in mine]
            run_lengths = [jobs[i].length for i in mine]
            fleet = fleets.fleet_for(
                training, chosen, wanted, run_lengths, results.records, devices
            )
            compile_seconds += time.perf_counter() - compiling
            plans.append(fleet.plan)
            facts = {"group": place, "of": digest}
            _Run(fleet, jobs, mine, results, saved, facts, held).go(show)
    results = gathered(results)
    return Sweep(
        table_of(listed, seeds, results),
        listed,
        results.train_loss,
        results.metrics,
        np.repeat(lengths, len(seeds)),
        plans,
        compile_seconds,
        time.perf_counter() - began - compile_seconds,
    )


class _Run:
    """The members of one structure on their way through the slots of a fleet."""

    def __init__(
        self,
        fleet: Fleet,
        jobs: Sequence[Job],
        mine: Sequence[int],
        results: Results,
        saved: Checkpoint,
        facts: dict[str, Any],
        held: "_Held | None",
    ) -> None:
        self.fleet, self.jobs, self.results = fleet, jobs, results
        self.saved, self.facts = saved, facts
        self.members = fleet.blank()
        self.at = np.full(fleet.slots, -1)
        self.looks = np.zeros(fleet.slots, np.int32)
        if held and len(held.arrays["at"]) == fleet.slots:
            self.at, self.looks = held.arrays["at"], held.arrays["looks"]
            self.members = fleet.spread(restored(held.arrays, "members", fleet.blank()))
        self.waiting = [i for i in mine if not results.done[i] and i not in set(self.at)][::-1]

    def go(self, show: Callable[[int], None]) -> None:
        """All of them to their ends."""
        limit, longest = _FIRST_LIMIT, max(job.length for job in self.jobs)
        while True:
            self._fill()
            if np.all(self.at < 0):
                return
            until = np.array([self._stop(slot) for slot in range(len(self.at))], np.int32)
            began = time.perf_counter()
            members = self.members._replace(until=self.fleet.spread(until))
            self.members = self.fleet.advance(members, limit)
            steps = np.asarray(self.members.step)
            seconds = time.perf_counter() - began
            limit = limit * 2 if seconds < 0.5 else limit // 2 if seconds > 2 else limit
            limit = min(max(1, limit), longest)
            self._take(steps, until)
            show(int(self.results.updates.sum()))
            if self.saved.is_due():
                self.save()

    def save(self) -> None:
        """What is needed to go on from here."""
        arrays = {
            **flattened("results", self.results),
            **flattened("members", self.members),
            "at": self.at,
            "looks": self.looks,
        }
        self.saved.save({**self.facts, "plan": dataclasses.asdict(self.fleet.plan)}, arrays)

    def _fill(self) -> None:
        which = np.zeros(len(self.at), bool)
        for slot in self.fleet.in_turn:
            if self.at[slot] < 0 and self.waiting:
                self.at[slot], self.looks[slot], which[slot] = self.waiting.pop(), 0, True
        if which.any():
            starts = [
                self.jobs[max(i, 0)].start for i in np.where(which, self.at, self.at[which][0])
            ]
            self.members = self.fleet.refill(self.members, which, fleets.stacked(starts))

    def _stop(self, slot: int) -> int:
        """The step at which the member in a slot is looked at next."""
        if self.at[slot] < 0:
            return 0
        looks = self.results.metrics["loss"].shape[1]
        return int(self.jobs[self.at[slot]].length * (int(self.looks[slot]) + 1) // looks)

    def _take(self, steps: np.ndarray, until: np.ndarray) -> None:
        """Writes down what members do that have stopped, and frees their slots at their end."""
        diverged = np.asarray(self.members.diverged)
        stopped = (self.at >= 0) & (diverged | (steps >= until))
        self.results.updates[self.at[self.at >= 0]] = steps[self.at >= 0]
        if not stopped.any():
            return
        self.members, found = self.fleet.evaluate(self.members, stopped)
        sums = np.asarray(self.members.sums)
        for slot in np.flatnonzero(stopped):
            i = self.at[slot]
            if not diverged[slot]:
                for name, values in found.items():
                    self.results.metrics[name][i, self.looks[slot]] = values[slot]
            self.looks[slot] += 1
            if diverged[slot] or steps[slot] == self.jobs[i].length:
                job = self.jobs[i]
                self.results.train_loss[i] = sums[slot] / job.counts(self.results.records)
                self.results.diverged[i], self.results.done[i] = diverged[slot], True
                self.at[slot] = -1


_FIRST_LIMIT: Final = 32
"""Updates of the first call; then calls of half a second to two."""


class _Held(NamedTuple):
    """What a checkpoint has of members on their way."""

    facts: dict[str, Any]
    arrays: dict[str, np.ndarray]


def _restored(saved: Checkpoint, digest: str, results: Results) -> tuple[Results, _Held | None]:
    found = saved.load()
    if found is None:
        return results, None
    held = _Held(*found)
    if held.facts["of"] != digest:
        raise ValueError(
            "sweep: the checkpoint is of another sweep: its schedules, seeds, lengths, evaluations "
            "or records differ; give this one another directory."
        )
    return restored(held.arrays, "results", results), held


def _digest(jobs: Sequence[Job], results: Results) -> str:
    """Of all that the members are; functions count by their names."""
    shapes = results.train_loss.shape, results.metrics["loss"].shape
    with np.printoptions(threshold=sys.maxsize):
        said = re.sub(r" at 0x[0-9a-f]+", "", repr((jobs, shapes)))
    return hashlib.sha256(said.encode()).hexdigest()


def _lengths(schedules: Sequence[Schedule], steps: int | None) -> list[int]:
    found = [schedule.horizon if steps is None else steps for schedule in schedules]
    for schedule, length in zip(schedules, found, strict=True):
        if not (isinstance(length, int | np.integer) and length >= 1):
            raise ValueError(
                f"sweep: steps={steps!r} is not accepted for {schedule}, whose horizon is "
                f"{schedule.horizon}; steps must be a whole number of 1 or more where a schedule "
                "has no horizon."
            )
    return [int(length) for length in found]


def unstacked(schedules: Schedule) -> list[Schedule]:
    """The schedules that the numbers along the leading axis of one are."""
    leaves, tree = jax.tree.flatten(schedules)
    arrays = [np.asarray(leaf) for leaf in leaves]
    lengths = {len(array) for array in arrays if array.ndim}
    if len(lengths) != 1:
        raise ValueError(
            f"sweep: the numbers of {schedules} have leading axes of {sorted(lengths)}; those that "
            "have one must have the same."
        )
    (length,) = lengths
    return [
        jax.tree.unflatten(tree, [x[i].item() if x.ndim else x.item() for x in arrays])
        for i in range(length)
    ]


def _by_structure(jobs: Sequence[Job]) -> list[list[int]]:
    groups: dict[Any, list[int]] = {}
    for i, job in enumerate(jobs):
        shapes = tuple(np.shape(leaf) for leaf in jax.tree.leaves(job.start))
        groups.setdefault((jax.tree.structure(job.start), shapes), []).append(i)
    return list(groups.values())


@contextmanager
def _bar(total: int, wanted: bool) -> Iterator[Callable[[int], None]]:
    """A bar that is told how many updates are done."""
    if not wanted:
        yield lambda done: None
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

    with Progress("sweep", BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()) as bars:
        task = bars.add_task("", total=total)
        yield lambda done: bars.update(task, completed=done)
