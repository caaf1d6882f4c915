"""Searches over schedules: early stopping, population-based training, and Optuna."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Annotated, Any, Final

import jax
import numpy as np

from lrsched._schedule import Schedule
from lrsched.arguments import (
    OPEN_UNIT_FLOAT,
    ArgumentType,
    in_range,
    not_accepted,
    real_number,
    validate_arguments,
    whole_number,
)
from lrsched.running.edit import scale_learning_rate
from lrsched.schedules.constant import piecewise_constant
from lrsched.tuning._sweep import sweep
from lrsched.tuning._training import SCHEDULE, TRAINING, Training
from lrsched.tuning.batched_runner import BatchedRunner, RunStates, make_run_spec, start_all
from lrsched.tuning.results import SweepResult, repr_with_shapes, text_table

if TYPE_CHECKING:
    import optuna


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class HalvingResult:
    """The result of `successive_halving`. ``print`` shows the loss of each schedule at each rung.

    Attributes:
      schedules: All schedules that took part.
      losses: Loss at the end of each rung, of shape ``(rungs, schedules)``; NaN for the schedules
        that had been stopped.
      steps: Step at which each rung ended.
      updates: Number of updates of all runs together.
    """

    schedules: list[Schedule]
    losses: np.ndarray
    steps: list[int]
    updates: int

    __repr__ = repr_with_shapes

    def __str__(self) -> str:
        order = sorted(
            range(len(self.schedules)),
            key=lambda i: [-int(np.sum(~np.isnan(self.losses[:, i]))), self._last_loss(i)],
        )
        rows = [
            [*("" if np.isnan(x) else float(x) for x in self.losses[:, i]), str(self.schedules[i])]
            for i in order
        ]
        columns = [*(f"step {step}" for step in self.steps), "schedule"]
        return f"best: {self.best()} ({self.updates} updates)\n{text_table(columns, rows)}"

    def _last_loss(self, i: int) -> float:
        losses = self.losses[~np.isnan(self.losses[:, i]), i]
        return float(losses[-1]) if len(losses) else np.inf

    def best(self) -> Schedule:
        """Return the schedule with the lowest loss among those that were trained to the end."""
        return self.schedules[int(np.nanargmin(self.losses[-1]))]


@validate_arguments
def successive_halving(
    training: Training,
    schedules: Sequence[Schedule],
    *,
    steps: int,
    keep: Annotated[float, OPEN_UNIT_FLOAT] = 1 / 3,
    seed: int = 0,
) -> HalvingResult:
    """Train all schedules briefly, keep the best third, train them three times as long, and repeat.

    Every run follows its own schedule from the start to ``steps``; no update is done twice. Rungs
    end at ``steps keep**k``. The losses of unfinished runs are compared, and a rate that is low
    from the start looks better early than it is, so use schedules of one shape.

    Args:
      training: The training, with a validation set by which runs are ranked.
      schedules: All schedules that take part, of one structure. They must fit into the memory of
        the devices together.
      steps: Number of updates of the runs that reach the end.
      keep: Fraction of the runs that continue after each rung, between 0 and 1 (exclusive).
      seed: Seed of the initial parameters and batches of all runs.

    Returns:
      The losses at the rungs, and the best schedule.

    Raises:
      ValueError: If there are fewer than two schedules, ``keep`` is out of range, there is no
        validation set, or every run diverged.

    Example:
      >>> import jax.numpy as jnp, lrsched, optax
      >>> from lrsched import tuning
      >>> loss_fn = lambda w, batch: jnp.mean((batch[0] * w - batch[1]) ** 2)
      >>> x = jnp.linspace(-1, 1, 64)
      >>> data = (x, 2 * x)
      >>> run = tuning.training(loss_fn, jnp.zeros(()), optax.adam, data, validation=data)
      >>> peaks = [1e-4, 1e-3, 1e-2, 1e-1]
      >>> result = tuning.successive_halving(
      ...     run, [lrsched.cosine(peak, steps=90) for peak in peaks], steps=90)
      >>> result.best(), result.steps, result.updates
      (cosine(peak=0.1, steps=90), [30, 90], 240)

    References:
      Jamieson & Talwalkar 2016 (arXiv 1502.07943).
    """
    listed = list(schedules)
    runner, states = _start_schedules("successive_halving", training, listed, steps, seed)
    # 1e-9: log(9) / log(3) is 1.9999999999999996 in float64.
    num_rungs = int(np.log(len(listed)) / -np.log(keep) + 1e-9)
    ends = [max(1, round(steps * keep ** (num_rungs - rung))) for rung in range(num_rungs + 1)]
    running, losses, updates = np.arange(len(listed)), [], 0
    for begin, end in itertools.pairwise([0, *ends]):
        if end == begin:
            continue
        states, rung_losses = _train_until(runner, states, running, end)
        losses.append(np.full(len(listed), np.nan))
        losses[-1][running] = rung_losses
        updates += int(np.sum(np.asarray(states.step)[running])) - begin * len(running)
        num_kept = max(1, int(np.ceil(keep * len(running))))
        best = np.argsort(rung_losses, kind="stable")[:num_kept]
        running = running[best] if end != ends[-1] else running
    return HalvingResult(listed, np.array(losses), sorted(set(ends)), updates)


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class PopulationResult:
    """The result of `population_based_training`. ``print`` shows the losses of each round.

    Attributes:
      schedules: The schedules with which the runs started.
      losses: Loss at the end of each round, of shape ``(rounds, runs)``.
      factors: Factor on the rate of each run in each round, of shape ``(rounds, runs)``.
      parents: The run from which each run was copied before each round, or the run itself, of shape
        ``(rounds, runs)``.
      steps: Step at which each round ended.
    """

    schedules: list[Schedule]
    losses: np.ndarray
    factors: np.ndarray
    parents: np.ndarray
    steps: list[int]

    __repr__ = repr_with_shapes

    def __str__(self) -> str:
        rows = []
        for step, losses, factors in zip(self.steps, self.losses, self.factors, strict=True):
            best = int(np.argmin(losses))
            spread = [float(losses[best]), float(np.median(losses)), float(np.max(losses))]
            rows.append([step, *spread, float(factors[best])])
        columns = ["step", "lowest loss", "median loss", "highest loss", "factor of the best"]
        return f"best: {self.best()}\n{text_table(columns, rows)}"

    def best(self) -> Schedule:
        """Return the schedule that led to the best run, from its first ancestor on."""
        run, factors = int(np.argmin(self.losses[-1])), []
        for round_ in reversed(range(len(self.steps))):
            factors.append(float(self.factors[round_, run]))
            run = int(self.parents[round_, run])
        return self.schedules[run] * piecewise_constant(factors[::-1], self.steps[:-1])


_AT_MOST_HALF: Final = real_number("a number above 0 and at most 0.5", in_range(gt=0, le=0.5))


@validate_arguments
def population_based_training(
    training: Training,
    schedules: Sequence[Schedule],
    *,
    steps: int,
    num_rounds: Annotated[int, whole_number()] = 10,
    replace_fraction: Annotated[float, _AT_MOST_HALF] = 0.25,
    perturbation_factors: tuple[float, ...] = (0.8, 1.25),
    seed: int = 0,
) -> PopulationResult:
    """Train a population; after each round the worst runs continue from the best at another rate.

    The rates of the runs differ by their schedules at first. After each round the worst runs take
    over parameters, optimizer state and rate of the best ones (exploit), and their rate is
    multiplied by one of ``perturbation_factors`` (explore), by `scale_learning_rate`. The rate that
    the best run has followed is a schedule and can be reused.

    Args:
      training: The training, with a validation set by which runs are ranked.
      schedules: One schedule for each run, of one structure. They must fit into the memory of the
        devices together.
      steps: Number of updates of each run.
      num_rounds: Number of rounds, from 1 to ``steps``.
      replace_fraction: Fraction of the runs that are replaced, above 0 and at most 0.5.
      perturbation_factors: Factors from which one is drawn for each replaced run.
      seed: Seed of the initial parameters, the batches and the draws.

    Returns:
      The losses of the rounds, and the schedule of the best run.

    Raises:
      ValueError: If there are fewer than two schedules, an argument is out of range, there is no
        validation set, or every run diverged.

    Example:
      >>> import jax.numpy as jnp, lrsched, optax
      >>> from lrsched import tuning
      >>> loss_fn = lambda w, batch: jnp.mean((batch[0] * w - batch[1]) ** 2)
      >>> x = jnp.linspace(-1, 1, 64)
      >>> data = (x, 2 * x)
      >>> run = tuning.training(loss_fn, jnp.zeros(()), optax.sgd, data, validation=data)
      >>> result = tuning.population_based_training(
      ...     run, [lrsched.constant(rate) for rate in (1e-4, 1e-3, 1e-2, 1e-1)], steps=50)
      >>> result.best()(0).item(), result.losses.shape
      (0.10000000149011612, (10, 4))

    References:
      Jaderberg et al. 2017 (arXiv 1711.09846), with its truncation selection.
    """
    listed = list(schedules)
    function = "population_based_training"
    if num_rounds > steps:
        requirement = f"a whole number from 1 to the {steps} steps"
        raise not_accepted(function, "num_rounds", num_rounds, requirement)
    if not perturbation_factors:
        raise not_accepted(function, "perturbation_factors", (), "at least one factor")
    runner, states = _start_schedules(function, training, listed, steps, seed)
    rng, count = np.random.default_rng(seed), len(listed)
    num_replaced = max(1, int(replace_fraction * count))
    ends = [steps * (round_ + 1) // num_rounds for round_ in range(num_rounds)]
    scale, parent = np.ones(count), np.arange(count)
    losses, scales, parents = [], [], []
    scale_states = jax.jit(jax.vmap(scale_learning_rate))
    for end in ends:
        parents.append(parent)
        scales.append(scale)
        states, round_losses = _train_until(runner, states, np.arange(count), end)
        losses.append(round_losses)
        order = np.argsort(round_losses, kind="stable")
        parent, change = np.arange(count), np.ones(count)
        parent[order[-num_replaced:]] = rng.choice(order[:num_replaced], num_replaced)
        change[order[-num_replaced:]] = rng.choice(perturbation_factors, num_replaced)
        scale = scale[parent] * change
        if end != ends[-1]:
            lanes = [*parent, *range(count, runner.lanes)]
            changes = np.ones(runner.lanes, np.float32)
            changes[:count] = change
            states = runner.gather(states, lanes)
            states = states._replace(state=scale_states(states.state, runner.shard(changes)))
    return PopulationResult(listed, np.array(losses), np.array(scales), np.array(parents), ends)


def _parse_study(value: Any) -> Any:
    if not (hasattr(value, "direction") and hasattr(value, "ask")):
        raise TypeError
    return value


_STUDY: Final = ArgumentType(
    "Study",
    "a study of Optuna, as optuna.create_study(direction='minimize') makes one",
    _parse_study,
)


def search(
    training: Training,
    study: optuna.Study,
    propose: Callable[[Any], Schedule],
    *,
    n_trials: int = 64,
    trials_per_batch: int = 16,
    progress: bool = True,
    **sweep_arguments: Any,
) -> SweepResult:
    """Let an Optuna study choose the schedules, one batch of trials after another.

    Several processes, on several machines too, can call `search` with one study: each loads it from
    a shared storage (``optuna.load_study``, from a SQLite file or a journal file), trains its own
    ``n_trials``, and its sampler learns from the trials of all. A trial that ends with an error is
    recorded as failed, so that no other process waits for it or counts it.

    Args:
      training: The training.
      study: An ``optuna.Study`` that minimises, with any sampler. With several processes use
        ``TPESampler(constant_liar=True)``, which keeps away from trials that still run.
      propose: ``trial -> schedule``, by ``trial.suggest_float`` and similar. Schedules of one
        structure are compiled once for all trials.
      n_trials: Number of trials of this call. At least 1.
      trials_per_batch: Number of trials that are trained together; the sampler proposes all of them
        before it learns the loss of one. At least 1.
      progress: Whether to show a bar for each batch.
      **sweep_arguments: ``steps``, ``seeds`` and other arguments of `sweep`.

    Returns:
      The result of the last batch; the study has all trials.

    Raises:
      ValueError: If the study maximises, or a number of trials is below 1.

    Example:
      >>> import jax.numpy as jnp, lrsched, optax, optuna
      >>> from lrsched import tuning
      >>> optuna.logging.set_verbosity(optuna.logging.WARNING)
      >>> loss_fn = lambda w, batch: jnp.mean((batch[0] * w - batch[1]) ** 2)
      >>> x = jnp.linspace(-1, 1, 64)
      >>> run = tuning.training(loss_fn, jnp.zeros(()), optax.adam, (x, 2 * x), batch_size=16)
      >>> def propose(trial):
      ...     return lrsched.cosine(trial.suggest_float("peak", 1e-4, 1.0, log=True), steps=50)
      >>> study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=0))
      >>> _ = tuning.search(run, study, propose, n_trials=16, trials_per_batch=8, progress=False)
      >>> study.best_params["peak"] > 1e-2
      True
    """
    TRAINING.validate("search", "training", training)
    _STUDY.validate("search", "study", study)
    if study.direction.name != "MINIMIZE":
        raise ValueError(
            f"search: study={study!r} is not accepted: it maximises; study must minimise the loss: "
            "create_study(direction='minimize')."
        )
    # Imported here: Optuna belongs to the extra, and whoever has a study has it.
    from optuna.trial import TrialState

    n_trials = whole_number().validate("search", "n_trials", n_trials)
    trials_per_batch = whole_number().validate("search", "trials_per_batch", trials_per_batch)
    for first in range(0, n_trials, trials_per_batch):
        trials = [study.ask() for _ in range(min(trials_per_batch, n_trials - first))]
        try:
            schedules = [propose(trial) for trial in trials]
            result = sweep(training, schedules, progress=progress, **sweep_arguments)
        except BaseException:  # Ctrl-C as well: the storage would keep the trials as running.
            for trial in trials:
                study.tell(trial, state=TrialState.FAIL)
            raise
        for trial, loss in zip(trials, result.mean_losses(), strict=True):
            study.tell(trial, float(loss))
    return result


def _start_schedules(
    function: str, training: Training, schedules: list[Schedule], steps: int, seed: int
) -> tuple[BatchedRunner, RunStates]:
    """Start every schedule in a lane of its own."""
    TRAINING.validate(function, "training", training)
    for schedule in schedules:
        SCHEDULE.validate(function, "schedules", schedule)
    if len(schedules) < 2:
        raise ValueError(
            f"{function}: {len(schedules)} schedules are not accepted; at least 2 are needed."
        )
    if training.evaluate is None:
        raise ValueError(
            f"{function}: the training has no validation set to rank its runs by; pass validation= "
            "to training."
        )
    if jax.process_count() > 1:
        raise ValueError(
            f"{function}: {jax.process_count()} processes are not accepted; it uses all devices of "
            "one process."
        )
    specs = [make_run_spec(schedule, seed, steps, num_records=1) for schedule in schedules]
    structures = {jax.tree.structure(spec) for spec in specs}
    if len(structures) > 1:
        raise ValueError(
            f"{function}: the schedules have {len(structures)} structures; all must have one, with "
            "any parameters."
        )
    devices = jax.local_devices()
    batched = devices[0].platform != "cpu"
    return start_all(training, specs, steps, 1, devices, batched=batched)


def _train_until(
    runner: BatchedRunner, states: RunStates, lanes: np.ndarray, stop_step: int
) -> tuple[RunStates, np.ndarray]:
    """Train these lanes until a step; return their losses, infinite where they diverged."""
    stops = np.zeros(runner.lanes, np.int32)
    stops[lanes] = stop_step
    states = runner.advance(states._replace(stop_step=runner.shard(stops)), stop_step)
    selected = np.zeros(runner.lanes, bool)
    selected[lanes] = True
    states, metrics = runner.evaluate(states, selected)
    losses = metrics["loss"]
    losses = np.where(np.asarray(states.diverged) | ~np.isfinite(losses), np.inf, losses)[lanes]
    if not np.isfinite(losses).any():
        raise ValueError(
            f"all {len(lanes)} runs diverged before step {stop_step}; try lower rates."
        )
    return states, losses
