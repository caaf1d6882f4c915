"""Results of many runs: arrays for a checkpoint, a table for people, and the verdict on a rate."""

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final, NamedTuple

import jax
import numpy as np
from jax.experimental import multihost_utils

from lrsched._plotting import plot
from lrsched._schedule import Schedule
from lrsched.arguments import OPEN_UNIT_FLOAT, POSITIVE_NUMBER, not_accepted
from lrsched.tuning.batched_runner import ExecutionPlan

if TYPE_CHECKING:
    import pandas as pd
    from _typeshed import DataclassInstance
    from matplotlib.axes import Axes


class RateRange(NamedTuple):
    """A range of rates, such as the usable ones.

    Attributes:
      low: Lowest rate; below it the loss hardly falls.
      high: Highest rate; above it training degrades or diverges.
    """

    low: float
    high: float


class Verdict(NamedTuple):
    """Whether a rate is usable; ``print`` shows it as a sentence.

    Attributes:
      verdict: ``"too low"``, ``"good"``, ``"too high"``, or ``"untested"`` for a rate beyond those
        that were tried where the usable range reaches their end.
      rate: The rate in question.
      factor: Factor from the rate to the nearest end of the usable range; 1.0 if it lies inside.
      usable: The usable range.
      evidence: Source of the range, as text.
    """

    verdict: str
    rate: float
    factor: float
    usable: RateRange
    evidence: str

    def __str__(self) -> str:
        span = f"the usable range is {self.usable.low:.2g} to {self.usable.high:.2g}"
        if self.verdict == "good":
            return f"{self.rate:.2g} is good: {span} ({self.evidence})."
        if self.verdict == "untested":
            return (
                f"{self.rate:.2g} is untested: {span} ({self.evidence}) and reaches the end of the "
                "rates that were tried; try this rate, too."
            )
        return (
            f"{self.rate:.2g} is {self.verdict}: {span} ({self.evidence}); multiply the rate by "
            f"{self.factor:.2g} to reach it."
        )


def judge_rate(
    rate: float, usable: RateRange, evidence: str, tested: RateRange | None = None
) -> Verdict:
    """Return the verdict on a rate, given the usable range.

    Args:
      rate: The rate in question.
      usable: The usable range.
      evidence: Source of the range, as text.
      tested: Range beyond whose ends nothing was tried, if the usable range reaches them.

    Raises:
      ValueError: If ``rate`` is not a finite number above 0.

    Example:
      >>> from lrsched.tuning.results import RateRange, judge_rate
      >>> print(judge_rate(1.0, RateRange(0.01, 0.1), "seed 0"))
      1 is too high: the usable range is 0.01 to 0.1 (seed 0); multiply the rate by 0.1 to reach it.
    """
    rate = POSITIVE_NUMBER.validate("verdict", "rate", rate)
    low, high = (0.0, np.inf) if tested is None else tested
    # The ends of the usable range are rounded by a logarithm.
    if rate < usable.low:
        is_open = rate < low and usable.low < low * (1 + 1e-6)
        verdict = "untested" if is_open else "too low"
        return Verdict(verdict, rate, usable.low / rate, usable, evidence)
    if rate > usable.high:
        is_open = rate > high and usable.high > high * (1 - 1e-6)
        verdict = "untested" if is_open else "too high"
        return Verdict(verdict, rate, usable.high / rate, usable, evidence)
    return Verdict("good", rate, 1.0, usable, evidence)


class Sensitivity(NamedTuple):
    """How much the final loss depends on the rate (Wortsman et al. 2023).

    Attributes:
      value: Mean excess loss over the swept rates, in units of the loss; 0 means that every rate is
        as good as the best.
      rates: Lowest and highest swept rate; the value depends on this range.
      num_rates: Number of swept rates.
      warning: Limits of the value, or an empty string.
    """

    value: float
    rates: RateRange
    num_rates: int
    warning: str

    def __str__(self) -> str:
        text = (
            f"sensitivity {self.value:.4g} over {self.num_rates} rates from {self.rates.low:.2g} "
            f"to {self.rates.high:.2g}"
        )
        return f"{text} ({self.warning})" if self.warning else text


class Collapse(NamedTuple):
    """Loss curves of several sizes on one scale; ``print`` shows how far they agree.

    Attributes:
      progress: Fraction of the run, of shape ``(points,)``.
      curves: ``(loss - floor) / (final loss - floor)`` of each size, of shape ``(sizes, points)``.
      spread: Mean over the points of the standard deviation over the mean of the sizes; 0 if the
        curves are one.
      floor: The loss that no training goes below.
    """

    progress: np.ndarray
    curves: np.ndarray
    spread: float
    floor: float

    def __str__(self) -> str:
        return f"{len(self.curves)} sizes agree within {self.spread:.2%} (floor {self.floor:.4g})"


_COLLAPSE_POINTS: Final = np.linspace(0.1, 1.0, 46)


class RunResults(NamedTuple):
    """Results of the runs, the leading axis of every array; a checkpoint contains them.

    Attributes:
      done: Whether the run has ended, bool.
      updates: Number of updates done, int32.
      diverged: Whether a loss was not finite, bool.
      train_loss: Means of the training loss along the run, float32 of shape ``(runs, records)``.
      metrics: Validation metrics by name, float32 of shape ``(runs, evaluations)``.
    """

    done: np.ndarray
    updates: np.ndarray
    diverged: np.ndarray
    train_loss: np.ndarray
    metrics: dict[str, np.ndarray]

    @property
    def num_records(self) -> int:
        """Maximum number of means of the training loss of one run."""
        return int(self.train_loss.shape[1])


def repr_with_shapes(result: "DataclassInstance") -> str:
    """Return a result in one line, with the shapes of its arrays in place of their values."""

    def show(value: object) -> str:
        match value:
            case np.ndarray():
                return f"<array {value.shape}>"
            case dict():
                return f"{{{', '.join(f'{name!r}: {show(v)}' for name, v in value.items())}}}"
            case list() if len(value) > 3:
                return f"<list of {len(value)}>"
        return repr(value)

    fields = [f"{f.name}={show(getattr(result, f.name))}" for f in dataclasses.fields(result)]
    return f"{type(result).__name__}({', '.join(fields)})"


def text_table(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Return rows as right-aligned text under the names of their columns.

    Args:
      columns: Names of the columns.
      rows: Cells: strings, or numbers, which are shown with four significant digits. Of more than
        20 rows, the first 10 and the last 10 are shown.

    Returns:
      The lines of the table, without a final newline.

    Example:
      >>> from lrsched.tuning.results import text_table
      >>> print(text_table(["peak", "loss"], [[0.1, 0.25], [1.0, float("inf")]]))
      peak  loss
       0.1  0.25
         1   inf
    """

    def show(cell: object) -> str:
        if isinstance(cell, float | np.floating):
            return f"{cell:.4g}"
        return str(cell)

    shown = [[show(cell) for cell in row] for row in rows]
    if len(shown) > 20:
        shown = [*shown[:10], ["..."] * len(columns), *shown[-10:]]
    widths = [max(map(len, column)) for column in zip(columns, *shown, strict=True)]
    lines = [
        "  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True))
        for row in [columns, *shown]
    ]
    return "\n".join(lines)


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class SweepResult:
    """The result of a `sweep`. ``print`` shows the schedules with their losses as a table.

    Attributes:
      table: Structured array with one row for each run: ``schedule``, its index in ``schedules``;
        the parameters in which the schedules differ, by name; ``seed``; ``updates``, the number
        done; ``loss``, the last validation loss, or without a validation set the mean training loss
        at the end; ``diverged``; further metrics by name. A run that diverged has an infinite loss.
      schedules: The schedules, in the order of the table.
      train_loss: Means of the training loss in windows over each run, float32 of shape
        ``(runs, records)``; NaN after the end of a run.
      metrics: Validation metrics by name, float32 of shape ``(runs, evaluations)``.
      lengths: Number of updates of each run that does not diverge, of shape ``(runs,)``.
      plans: The execution plan for each structure of schedules.
      compile_seconds: Time for compilations and the choice of the plan.
      run_seconds: Time for everything else.
    """

    table: np.ndarray
    schedules: list[Schedule]
    train_loss: np.ndarray
    metrics: dict[str, np.ndarray]
    lengths: np.ndarray
    plans: list[ExecutionPlan]
    compile_seconds: float
    run_seconds: float

    __repr__ = repr_with_shapes

    def __str__(self) -> str:
        parameters = varying_parameters(self.schedules)
        losses = self.mean_losses()
        best = int(np.argmin(losses))
        rows = []
        for i, loss in enumerate(losses):
            of_seeds = self.table["loss"][self.table["schedule"] == i]
            marks = "<- best" if i == best and np.isfinite(loss) else ""
            diverged = int(self.table["diverged"][self.table["schedule"] == i].sum())
            values = [float(column[i]) for column in parameters.values()]
            row = [i, *values, float(loss), float(of_seeds.min()), float(of_seeds.max())]
            rows.append([*row, diverged, marks])
        names = ["schedule", *parameters, "mean loss", "lowest", "highest", "diverged", ""]
        runs = f"{len(losses)} schedules, {len(self.table)} runs"
        return f"{runs}\n{text_table(names, rows)}"

    @property
    def validation_loss(self) -> np.ndarray:
        """The validation loss, of shape ``(runs, evaluations)``."""
        return self.metrics["loss"]

    def mean_losses(self) -> np.ndarray:
        """Return the loss of each schedule, averaged over its seeds, of shape ``(schedules,)``."""
        losses, indices = self.table["loss"], self.table["schedule"]
        return np.array([losses[indices == i].mean() for i in range(len(self.schedules))])

    def best(self) -> Schedule:
        """Return the schedule with the lowest loss, averaged over its seeds.

        Raises:
          ValueError: If every run diverged.
        """
        losses = self.mean_losses()
        if not np.isfinite(losses).any():
            raise ValueError(
                f"sweep: all {len(self.table)} runs of the sweep diverged; try lower rates."
            )
        return self.schedules[int(np.argmin(losses))]

    def curve(self, x: str | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Return the loss along a parameter of the schedules, as `lrsched.scaling` takes it.

        Args:
          x: Name of the parameter. Defaults to the first one in which the schedules differ.

        Returns:
          The values of the parameter, increasing, of shape ``(schedules,)``, and the losses, of
          shape ``(schedules, seeds)``.

        Raises:
          ValueError: If the schedules do not differ in ``x``, or two have the same value.
        """
        parameters = varying_parameters(self.schedules)
        x = next(iter(parameters), "") if x is None else x
        if not parameters:
            raise ValueError("curve: the schedules differ in no parameter; sweep several rates.")
        if x not in parameters or len(np.unique(parameters[x])) < len(self.schedules):
            raise ValueError(
                f"curve: each schedule must have its own x={x!r}; they differ in "
                f"{', '.join(parameters)}."
            )
        order = np.argsort(parameters[x])
        return parameters[x][order], self.table["loss"].reshape(len(order), -1)[order]

    def initial_loss(self) -> float:
        """Return the loss before training, as far as the sweep recorded it.

        It is the first record of the training loss, averaged over the runs of the schedule whose
        first rate is lowest, because it has moved least. With at least as many records as updates
        it is exact. A validation loss may be of another level: if the run of the lowest peak, which
        improved least, ends above that record and others below it, its loss is returned.
        """
        first_rates = [float(np.asarray(schedule(0))) for schedule in self.schedules]
        runs = self.table["schedule"] == int(np.argmin(first_rates))
        recorded = float(np.mean(self.train_loss[runs, 0]))
        losses = self.mean_losses()
        of_lowest = float(losses[np.argmin(_peaks(self.schedules))])
        return of_lowest if losses.min() < recorded < of_lowest < np.inf else recorded

    def sensitivity(
        self, x: str | None = None, *, initial_loss: float | None = None
    ) -> Sensitivity:
        """Compute the learning-rate sensitivity of Wortsman et al.

        ``mean over the rates of min(loss(rate), initial loss) - lowest loss``; a run that diverged
        counts as the initial loss. The paper sweeps rates from 3e-4 to 3e-1, spaced evenly in the
        logarithm; compare values only for equal ranges.

        Args:
          x: Name of the parameter that is the rate. Defaults to the peak of the schedules.
          initial_loss: Loss before training. Defaults to the method `initial_loss`.

        Returns:
          The value, the range of the rates, their number and a warning.

        Raises:
          ValueError: If the schedules do not differ in ``x``, or every run diverged.

        References:
          Wortsman et al. 2023 (arXiv 2309.14322), section 2.2.
        """
        rates, losses = self._rates_and_losses("sensitivity", x)
        initial = self.initial_loss() if initial_loss is None else initial_loss
        warnings = []
        if len(rates) < 3:
            warnings.append("fewer than 3 rates: sweep more")
        if int(np.argmin(losses)) in (0, len(losses) - 1):
            warnings.append("the best rate is at an edge: sweep further")
        value = float(np.mean(np.minimum(losses, initial)) - losses.min())
        ends = RateRange(float(rates[0]), float(rates[-1]))
        return Sensitivity(value, ends, len(rates), "; ".join(warnings))

    def usable_range(
        self, x: str | None = None, *, fraction: float = 0.05, initial_loss: float | None = None
    ) -> RateRange:
        """Return the rates around the best one that are nearly as good.

        A rate is usable if the loss falls by at least ``1 - fraction`` of its fall at the best
        rate. Between two swept rates the loss is interpolated over the logarithm of the rate. An
        end of the range that is an end of the sweep may lie further out.

        Args:
          x: Name of the parameter that is the rate. Defaults to the peak of the schedules.
          fraction: Fraction of the fall that a usable rate may miss, between 0 and 1 (exclusive).
          initial_loss: Loss before training. Defaults to the method `initial_loss`.

        Returns:
          The lowest and the highest usable rate.

        Raises:
          ValueError: If the schedules do not differ in ``x``, every run diverged, the loss falls
            nowhere below ``initial_loss``, or ``fraction`` is out of range.
        """
        OPEN_UNIT_FLOAT.validate("usable_range", "fraction", fraction)
        rates, losses = self._rates_and_losses("usable_range", x)
        initial = self.initial_loss() if initial_loss is None else initial_loss
        fall = initial - losses.min()
        if not fall > 0:
            raise ValueError(
                f"usable_range: no swept rate lowers the loss below its initial value of "
                f"{initial:.4g}; sweep other rates."
            )
        # Cap the losses: a line to an infinite loss would have no crossing.
        excess = np.minimum(losses, initial + fall) - (losses.min() + fraction * fall)
        log_rates, best = np.log(rates), int(np.argmin(losses))

        def walk(direction: int) -> float:
            i = best
            while 0 <= i + direction < len(rates):
                if excess[i + direction] > 0:
                    share = -excess[i] / (excess[i + direction] - excess[i])
                    return float(log_rates[i] + share * (log_rates[i + direction] - log_rates[i]))
                i += direction
            return float(log_rates[i])

        return RateRange(float(np.exp(walk(-1))), float(np.exp(walk(1))))

    def verdict(self, rate: float, x: str | None = None) -> Verdict:
        """Say whether a rate is too low, good or too high, by `usable_range`.

        Args:
          rate: The rate in question, a value of the parameter ``x``.
          x: Name of the parameter that is the rate. Defaults to the peak of the schedules.

        Returns:
          The verdict, with the factor to the usable range; ``print`` shows a sentence.

        Raises:
          ValueError: If ``rate`` is not above 0, or there is no usable range.
        """
        usable = self.usable_range(x)
        rates, losses = self._rate_curve("verdict", x)
        evidence = (
            f"at least 95 % of the best fall of the loss, {len(rates)} rates, "
            f"{losses.shape[1]} seeds"
        )
        return judge_rate(rate, usable, evidence, RateRange(float(rates[0]), float(rates[-1])))

    def collapse(self, *others: "SweepResult", floor: float) -> Collapse:
        """Compare the loss curves of several sizes after normalisation, one sweep a size.

        The curve of the best schedule of each sweep, averaged over its seeds, becomes ``(loss -
        floor) / (final loss - floor)`` over the fraction of the run. Sizes that are trained
        equally well collapse onto one curve: the one that departs has a hyperparameter that was
        not transferred. They need the same schedule with a rate that decays to about 0, equal
        tokens for each parameter, and an equal timescale of weight decay.

        Args:
          *others: Sweeps of other sizes, each with at least 10 loss records.
          floor: The loss that no training goes below, such as ``L0`` of a power law ``a C**-b +
            L0`` that was fitted to the final losses.

        Returns:
          The normalised curves and their spread.

        Raises:
          ValueError: If a sweep diverged, or a final loss is not above ``floor``.

        References:
          Qiu et al. 2025 (arXiv 2507.02119). The measure of the spread is lrsched's.
        """
        for result in others:
            if not isinstance(result, SweepResult):
                requirement = "sweeps, one by one, as in collapse(sweep_2, sweep_3, floor=0.0)"
                raise not_accepted("collapse", "others", result, requirement)
        curves = []
        for result in (self, *others):
            best = result.schedules.index(result.best())
            losses = result.train_loss[result.table["schedule"] == best].mean(axis=0)
            losses = losses[~np.isnan(losses)]
            if not losses[-1] > floor:
                requirement = f"below the final losses, of which one is {losses[-1]:.4g}"
                raise not_accepted("collapse", "floor", floor, requirement)
            progress = np.arange(1, len(losses) + 1) / len(losses)
            scaled = (losses - floor) / (losses[-1] - floor)
            curves.append(np.interp(_COLLAPSE_POINTS, progress, scaled))
        stacked = np.array(curves)
        spread = float(np.mean(stacked.std(axis=0) / stacked.mean(axis=0)))
        return Collapse(_COLLAPSE_POINTS, stacked, spread, floor)

    def to_pandas(self) -> "pd.DataFrame":
        """Return the table as a ``pandas.DataFrame``."""
        import pandas

        return pandas.DataFrame(self.table)

    def plot(
        self,
        x: str | None = None,
        by: str | None = None,
        ax: "Axes | None" = None,
        *,
        mine: float | None = None,
    ) -> "Axes":
        """Draw the loss against a parameter of the schedules, with the band of its seeds.

        Args:
          x: Name of the parameter. Defaults to the first one in which the schedules differ.
          by: Name of a second parameter, with one curve for each of its values.
          ax: Matplotlib axes. Defaults to new ones.
          mine: A value of ``x`` to mark, a rate, with its `verdict`.

        Returns:
          The axes.
        """
        return plot("plot_sweep", self, x, by, ax, mine)

    def plot_runs(
        self, which: Sequence[int] | None = None, axes: "Sequence[Axes] | None" = None
    ) -> "tuple[Axes, Axes]":
        """Draw the losses of the runs over their steps, with the rates beneath.

        Args:
          which: Indices in ``schedules``. Defaults to the six with the lowest losses.
          axes: Two matplotlib axes, for losses and rates. Defaults to new ones.

        Returns:
          Both axes.
        """
        return plot("plot_runs", self, which, axes)

    def _rate_curve(self, function: str, x: str | None) -> tuple[np.ndarray, np.ndarray]:
        """Return the rates, increasing, and the losses of shape ``(rates, seeds)``."""
        peaks, parameters = _peaks(self.schedules), varying_parameters(self.schedules)
        if x is not None or not parameters:
            return self.curve(x)
        # The first parameter that varies may be a length or an exponent, or be of some schedules.
        first = next(iter(parameters))
        if np.allclose(parameters[first], peaks, rtol=1e-2, atol=0):
            return self.curve(first)
        if len(np.unique(peaks)) < len(peaks) or not np.all(peaks > 0):
            raise ValueError(
                f"{function}: x=None is not accepted, as two schedules have the same peak; x must "
                f"be the parameter that is the rate, of {', '.join(parameters)}."
            )
        order = np.argsort(peaks)
        return peaks[order], self.table["loss"].reshape(len(order), -1)[order]

    def _rates_and_losses(self, function: str, x: str | None) -> tuple[np.ndarray, np.ndarray]:
        rates, losses = self._rate_curve(function, x)
        means = losses.mean(axis=1)
        if not np.isfinite(means).any():
            raise ValueError(f"{function}: every run of the sweep diverged; try lower rates.")
        return rates, np.where(np.isnan(means), np.inf, means)


def empty_results(
    num_runs: int, num_records: int, num_evaluations: int, metrics: Sequence[str]
) -> RunResults:
    """Return the results of runs that have not started."""
    return RunResults(
        done=np.zeros(num_runs, bool),
        updates=np.zeros(num_runs, np.int32),
        diverged=np.zeros(num_runs, bool),
        train_loss=np.full((num_runs, num_records), np.nan, np.float32),
        metrics={
            name: np.full((num_runs, num_evaluations), np.nan, np.float32) for name in metrics
        },
    )


def allgather_results(results: RunResults) -> RunResults:
    """Return the runs of all processes, on every process."""
    if jax.process_count() == 1:
        return results
    of_all = multihost_utils.process_allgather(results)
    owner = np.argmax(of_all.done, axis=0)
    return jax.tree.map(lambda x: np.asarray(x)[owner, np.arange(len(owner))], of_all)


def results_table(
    schedules: Sequence[Schedule], seeds: Sequence[int], results: RunResults
) -> np.ndarray:
    """Return a structured array with one row for each run."""
    tail = max(1, results.num_records // 10)
    final_train_loss = np.array(
        [
            x[~np.isnan(x)][-tail:].mean() if (~np.isnan(x)).any() else np.nan
            for x in results.train_loss
        ]
    )
    validation_loss = results.metrics["loss"][:, -1]
    loss = np.where(np.isnan(validation_loss), final_train_loss, validation_loss)
    columns = {
        "schedule": np.repeat(np.arange(len(schedules)), len(seeds)),
        **{
            name: np.repeat(values, len(seeds))
            for name, values in varying_parameters(schedules).items()
        },
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


def _peaks(schedules: Sequence[Schedule]) -> np.ndarray:
    """Return the highest rate of each schedule, to within the steps of a fine grid."""
    peaks = []
    for schedule in schedules:
        steps = np.linspace(0, schedule.horizon or 0, _PEAK_POINTS).astype(int)
        peaks.append(float(np.max(np.asarray(schedule(steps)))))
    return np.array(peaks)


_PEAK_POINTS: Final = 1025


def varying_parameters(schedules: Sequence[Schedule]) -> dict[str, np.ndarray]:
    """Return the parameters in which schedules differ, by name; NaN where a schedule lacks one.

    A name is the expression that reads the parameter of the schedule, such as
    ``operands[1].peak``, or its last component where that is unique.
    """
    parameters = [
        {
            path: leaf
            for path, leaf in jax.tree_util.tree_flatten_with_path(schedule)[0]
            if np.ndim(leaf) == 0
        }
        for schedule in schedules
    ]
    columns = {
        path: np.array([values.get(path, np.nan) for values in parameters])
        for path in dict.fromkeys(path for values in parameters for path in values)
    }
    differing = {
        jax.tree_util.keystr(path): x for path, x in columns.items() if len(np.unique(x)) > 1
    }
    short = [path.rpartition(".")[2] for path in differing]
    return {
        name if short.count(name) == 1 and name not in _RESERVED else path.removeprefix("."): x
        for name, (path, x) in zip(short, differing.items(), strict=True)
    }


_RESERVED: Final = ("schedule", "seed", "updates", "loss", "diverged")
