"""What came of many runs, as a table."""

import dataclasses
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import jax
import numpy as np
from jax.experimental import multihost_utils

from lrsched._schedule import Schedule
from lrsched.tuning.batched_runner import Plan


class Results(NamedTuple):
    """Of every member, the leading axis; what a checkpoint keeps.

    Attributes:
      done: whether it has stopped.
      updates: how many it did.
      diverged: whether its loss was not finite.
      train_loss: means of the training loss over its run, ``(members, records)``.
      metrics: on the held-out examples, by their names, ``(members, evaluations)``.
    """

    done: np.ndarray
    updates: np.ndarray
    diverged: np.ndarray
    train_loss: np.ndarray
    metrics: dict[str, np.ndarray]

    @property
    def records(self) -> int:
        """The most means of the training loss of one member."""
        return int(self.train_loss.shape[1])


def brief(result: Any) -> str:
    """A result as ``print`` and a prompt show it: of what is long, only how long."""

    def said(value: Any) -> str:
        match value:
            case np.ndarray():
                return f"<array {value.shape}>"
            case dict():
                return f"{{{', '.join(f'{name!r}: {said(v)}' for name, v in value.items())}}}"
            case list() if len(value) > 3:
                return f"<list of {len(value)}>"
        return repr(value)

    fields = [f"{f.name}={said(getattr(result, f.name))}" for f in dataclasses.fields(result)]
    return f"{type(result).__name__}({', '.join(fields)})"


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Sweep:
    """What came of a `sweep`.

    Attributes:
      table: a structured array with one row a member: ``schedule``, its place in ``schedules``; the
        numbers in which the schedules differ, by their names; ``seed``; ``updates``, those
        done; ``loss``, the last on the held-out examples, without any the mean training loss at the
        end; ``diverged``; further metrics by their names. A member that diverged has a loss of
        infinity.
      schedules: in the order of the table.
      train_loss: the mean training loss in windows over each run, ``(members, records)``; NaN after
        a run's end.
      metrics: on the held-out examples, by their names, ``(members, evaluations)``.
      lengths: the updates of each run where it does not diverge, ``(members,)``.
      plans: how members were put on a device, for each structure of schedules.
      compile_seconds: for compilations, and choosing the plan.
      run_seconds: for the rest.
    """

    table: np.ndarray
    schedules: list[Schedule]
    train_loss: np.ndarray
    metrics: dict[str, np.ndarray]
    lengths: np.ndarray
    plans: list[Plan]
    compile_seconds: float
    run_seconds: float

    __repr__ = brief

    @property
    def validation_loss(self) -> np.ndarray:
        """The loss on the held-out examples, ``(members, evaluations)``."""
        return self.metrics["loss"]

    def mean_losses(self) -> np.ndarray:
        """The loss of each schedule, the mean over its seeds."""
        losses, places = self.table["loss"], self.table["schedule"]
        return np.array([losses[places == i].mean() for i in range(len(self.schedules))])

    def best(self) -> Schedule:
        """The schedule with the lowest loss, the mean over its seeds.

        Raises:
          ValueError: every member diverged.
        """
        losses = self.mean_losses()
        if not np.isfinite(losses).any():
            raise ValueError(f"all {len(self.table)} members of the sweep diverged.")
        return self.schedules[int(np.argmin(losses))]

    def curve(self, x: str | None = None) -> tuple[np.ndarray, np.ndarray]:
        """The loss along a number of the schedules: what `lrsched.scaling.best_rate` takes.

        Args:
          x: the number's name; by default the first in which the schedules differ.

        Returns:
          The numbers, increasing, ``(numbers,)``, and the losses, ``(numbers, seeds)``.

        Raises:
          ValueError: the schedules do not differ in that number, or two have the same.
        """
        numbers = varying(self.schedules)
        x = next(iter(numbers), "") if x is None else x
        if x not in numbers or len(np.unique(numbers[x])) < len(self.schedules):
            raise ValueError(
                f"curve: each schedule must have its own x={x!r}; they differ in "
                f"{', '.join(numbers) or 'no number'}."
            )
        order = np.argsort(numbers[x])
        return numbers[x][order], self.table["loss"].reshape(len(order), -1)[order]

    def to_pandas(self) -> Any:
        """The table as a ``pandas.DataFrame``."""
        import pandas

        return pandas.DataFrame(self.table)

    def plot(self, x: str | None = None, by: str | None = None, ax: Any = None) -> Any:
        """The loss against a number of the schedules, with the band of its seeds.

        Args:
          x: the number's name; by default the first in which the schedules differ.
          by: another number: a curve for each of its values.
          ax: matplotlib's axes; by default new ones.

        Returns:
          The axes.
        """
        from lrsched.pictures.plots import plot_sweep

        return plot_sweep(self, x, by, ax)

    def plot_runs(self, which: Sequence[int] | None = None, axes: Any = None) -> Any:
        """The losses of the runs over their steps, the rates beneath.

        Args:
          which: places in ``schedules``; by default the six with the lowest losses.
          axes: two of matplotlib's, for losses and rates; by default new ones.

        Returns:
          Both axes.
        """
        from lrsched.pictures.plots import plot_runs

        return plot_runs(self, which, axes)


def nothing_yet(members: int, records: int, evaluations: int, metrics: Sequence[str]) -> Results:
    """Of members that have not begun."""
    return Results(
        done=np.zeros(members, bool),
        updates=np.zeros(members, np.int32),
        diverged=np.zeros(members, bool),
        train_loss=np.full((members, records), np.nan, np.float32),
        metrics={name: np.full((members, evaluations), np.nan, np.float32) for name in metrics},
    )


def gathered(results: Results) -> Results:
    """All processes' members, on every process."""
    if jax.process_count() == 1:
        return results
    of_all = multihost_utils.process_allgather(results)
    owner = np.argmax(of_all.done, axis=0)
    merged: Results = jax.tree.map(lambda x: np.asarray(x)[owner, np.arange(len(owner))], of_all)
    return merged


def table_of(schedules: Sequence[Schedule], seeds: Sequence[int], results: Results) -> np.ndarray:
    """One row a member."""
    numbers = varying(schedules)
    tail = max(1, results.records // 10)
    at_the_end = np.array(
        [
            x[~np.isnan(x)][-tail:].mean() if (~np.isnan(x)).any() else np.nan
            for x in results.train_loss
        ]
    )
    held_out = results.metrics["loss"][:, -1]
    loss = np.where(np.isnan(held_out), at_the_end, held_out)
    each = len(seeds)
    columns = {
        "schedule": np.repeat(np.arange(len(schedules)), each),
        **{name: np.repeat(values, each) for name, values in numbers.items()},
        "seed": np.tile(seeds, len(schedules)),
        "updates": results.updates,
        "loss": np.where(results.diverged | ~np.isfinite(loss), np.inf, loss),
        "diverged": results.diverged,
        **{name: values[:, -1] for name, values in results.metrics.items() if name != "loss"},
    }
    table = np.empty(len(results.done), [(name, x.dtype) for name, x in columns.items()])
    for name, x in columns.items():
        table[name] = x
    return table


def varying(schedules: Sequence[Schedule]) -> dict[str, np.ndarray]:
    """The numbers in which schedules differ, by their names; NaN where one has no such number.

    A name is how the number is read of the schedule, ``operands[1].peak``, or the end of that where
    it is enough.
    """
    found = [
        {
            path: leaf
            for path, leaf in jax.tree_util.tree_flatten_with_path(schedule)[0]
            if np.ndim(leaf) == 0
        }
        for schedule in schedules
    ]
    columns = {
        path: np.array([numbers.get(path, np.nan) for numbers in found])
        for path in dict.fromkeys(path for numbers in found for path in numbers)
    }
    differ = {jax.tree_util.keystr(path): x for path, x in columns.items() if len(np.unique(x)) > 1}
    short = [path.rpartition(".")[2] for path in differ]
    return {
        name if short.count(name) == 1 and name not in _TAKEN else path.removeprefix("."): x
        for name, (path, x) in zip(short, differ.items(), strict=True)
    }


_TAKEN: Final = ("schedule", "seed", "updates", "loss", "diverged")
