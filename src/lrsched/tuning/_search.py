"""Searches over schedules that stop bad runs early, copy good ones, or ask a tuner what to try."""

import dataclasses
import itertools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np

from lrsched._schedule import Schedule
from lrsched.running.edit import scale_learning_rate
from lrsched.schedules.constant import piecewise_constant
from lrsched.tuning import batched_runner as fleets
from lrsched.tuning._sweep import sweep
from lrsched.tuning._training import Training
from lrsched.tuning.batched_runner import Fleet, Members
from lrsched.tuning.results import Sweep, brief


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Halving:
    """What came of `successive_halving`.

    Attributes:
      schedules: all that took part.
      losses: at the end of each rung, ``(rungs, schedules)``; NaN for those that had been left out.
      steps: the step at which each rung ended.
      updates: those of all members together.
    """

    schedules: list[Schedule]
    losses: np.ndarray
    steps: list[int]
    updates: int

    __repr__ = brief

    def best(self) -> Schedule:
        """The schedule with the lowest loss of those that came to the end."""
        return self.schedules[int(np.nanargmin(self.losses[-1]))]


def successive_halving(
    training: Training,
    schedules: Sequence[Schedule],
    *,
    steps: int,
    keep: float = 1 / 3,
    seed: int = 0,
) -> Halving:
    """Train all for a while, keep the best third, train those on for three times as long, ...

    Every member follows its own schedule from the start to ``steps``; nothing is trained twice.
    Rungs end at ``steps keep**k``. Losses of unfinished runs are compared: a rate that is low from
    the start looks better early than it is, so give the schedules one shape.

    Args:
      training: what is trained, with held-out examples to compare by.
      schedules: all that take part. They must fit into the devices' memory together.
      steps: the updates of those that come to the end.
      keep: the part that goes on after each rung.
      seed: of the initial parameters and batches of all of them.

    Raises:
      ValueError: fewer than two schedules, ``keep`` not between 0 and 1, nothing held out, or every
        member diverged.

    Source: Jamieson & Talwalkar 2016 (arXiv 1502.07943).

    >>> import jax.numpy as jnp, lrsched, optax
    >>> from lrsched import tuning
    >>> loss_fn = lambda w, batch: jnp.mean((batch[0] * w - batch[1]) ** 2)
    >>> x = jnp.linspace(-1, 1, 64)
    >>> run = tuning.training(loss_fn, jnp.zeros(()), optax.adam, (x, 2 * x), validation=(x, 2 * x))
    >>> peaks = [1e-4, 1e-3, 1e-2, 1e-1]
    >>> found = tuning.successive_halving(
    ...     run, [lrsched.cosine(peak, steps=90) for peak in peaks], steps=90)
    >>> found.best(), found.steps, found.updates
    (cosine(peak=0.1, steps=90), [30, 90], 240)
    """
    if not 0 < keep < 1:
        raise ValueError(f"successive_halving: keep={keep!r} is not accepted; 0 < keep < 1.")
    listed = list(schedules)
    crew, members = _all_at_once("successive_halving", training, listed, steps, seed)
    rungs = int(np.log(len(listed)) / -np.log(keep) + 1e-9)
    ends = [max(1, round(steps * keep ** (rungs - rung))) for rung in range(rungs + 1)]
    alive, losses, updates = np.arange(len(listed)), [], 0
    for before, end in itertools.pairwise([0, *ends]):
        if end == before:
            continue
        members, found = _trained(crew, members, alive, end)
        losses.append(np.full(len(listed), np.nan))
        losses[-1][alive] = found
        updates += int(np.sum(np.asarray(members.step)[alive])) - before * len(alive)
        kept = np.argsort(found, kind="stable")[: max(1, int(np.ceil(keep * len(alive))))]
        alive = alive[kept] if end != ends[-1] else alive
    return Halving(listed, np.array(losses), sorted(set(ends)), updates)


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Population:
    """What came of `population_based_training`.

    Attributes:
      schedules: that the members began with.
      losses: at the end of each round, ``(rounds, members)``.
      factors: what each member's rate was multiplied by in each round.
      parents: the member that each one was copied from before each round; itself, if none.
      steps: the step at which each round ended.
    """

    schedules: list[Schedule]
    losses: np.ndarray
    factors: np.ndarray
    parents: np.ndarray
    steps: list[int]

    __repr__ = brief

    def best(self) -> Schedule:
        """The schedule that led to the best member, from its first ancestor on."""
        member, factors = int(np.argmin(self.losses[-1])), []
        for round_ in reversed(range(len(self.steps))):
            factors.append(float(self.factors[round_, member]))
            member = int(self.parents[round_, member])
        return self.schedules[member] * piecewise_constant(factors[::-1], self.steps[:-1])


def population_based_training(
    training: Training,
    schedules: Sequence[Schedule],
    *,
    steps: int,
    rounds: int = 10,
    part: float = 0.25,
    factors: tuple[float, ...] = (0.8, 1.25),
    seed: int = 0,
) -> Population:
    """Train a population; after each round the worst go on from the best ones at another rate.

    The members' rates differ by their schedules at first. After each round the worst ``part`` take
    over parameters, optimizer state and rate of members of the best ``part`` (exploit), and their
    rate is multiplied by one of ``factors`` (explore), as a hand does by `scale_learning_rate`.
    What the best member has been through is a schedule, and can be used again.

    Args:
      training: what is trained, with held-out examples to compare by.
      schedules: one for each member. They must fit into the devices' memory together.
      steps: the updates of each.
      rounds: how many.
      part: how many are replaced, as a part of all.
      factors: what a rate is multiplied by.
      seed: of the initial parameters, the batches, and the choices.

    Raises:
      ValueError: fewer than two schedules, more rounds than steps, ``part`` not from above 0 to a
        half, nothing held out, or every member diverged.

    Source: Jaderberg et al. 2017 (arXiv 1711.09846), with its truncation selection.

    >>> import jax.numpy as jnp, lrsched, optax
    >>> from lrsched import tuning
    >>> loss_fn = lambda w, batch: jnp.mean((batch[0] * w - batch[1]) ** 2)
    >>> x = jnp.linspace(-1, 1, 64)
    >>> run = tuning.training(loss_fn, jnp.zeros(()), optax.sgd, (x, 2 * x), validation=(x, 2 * x))
    >>> found = tuning.population_based_training(
    ...     run, [lrsched.constant(rate) for rate in (1e-4, 1e-3, 1e-2, 1e-1)], steps=50)
    >>> found.best()(0).item(), found.losses.shape
    (0.10000000149011612, (10, 4))
    """
    listed = list(schedules)
    if not (isinstance(rounds, int) and 1 <= rounds <= steps):
        raise ValueError(
            f"population_based_training: rounds={rounds!r} is not accepted; rounds must be a whole "
            f"number from 1 to the {steps} steps."
        )
    if not (0 < part <= 0.5 and factors):
        raise ValueError(
            f"population_based_training: part={part!r}, factors={factors!r} are not accepted; part "
            "must be above 0 and at most 0.5, factors not empty."
        )
    crew, members = _all_at_once("population_based_training", training, listed, steps, seed)
    rng, count = np.random.default_rng(seed), len(listed)
    replaced = max(1, int(part * count))
    ends = [steps * (round_ + 1) // rounds for round_ in range(rounds)]
    scale, parent = np.ones(count), np.arange(count)
    losses, scales, parents = [], [], []
    rescaled = jax.jit(jax.vmap(scale_learning_rate))
    for end in ends:
        parents.append(parent)
        scales.append(scale)
        members, found = _trained(crew, members, np.arange(count), end)
        losses.append(found)
        order = np.argsort(found, kind="stable")
        parent, change = np.arange(count), np.ones(count)
        parent[order[-replaced:]] = rng.choice(order[:replaced], replaced)
        change[order[-replaced:]] = rng.choice(factors, replaced)
        scale = scale[parent] * change
        if end != ends[-1]:
            everyone = [*parent, *range(count, crew.slots)]
            changes = np.ones(crew.slots, np.float32)
            changes[:count] = change
            members = crew.pick(members, everyone)
            members = members._replace(state=rescaled(members.state, crew.spread(changes)))
    return Population(listed, np.array(losses), np.array(scales), np.array(parents), ends)


def search(
    training: Training,
    study: Any,
    propose: Callable[[Any], Schedule],
    *,
    trials: int = 64,
    batch: int = 16,
    progress: bool = True,
    **sweep_arguments: Any,
) -> Sweep:
    """Let an Optuna study choose the schedules, a batch of trials at a time in one program.

    Args:
      training: what is trained.
      study: an ``optuna.Study`` that minimises; any sampler of Optuna's goes.
      propose: ``trial -> schedule``, with ``trial.suggest_float`` and its like. Schedules of one
        structure are compiled once for all trials.
      trials: how many in all.
      batch: how many at once, asked for before any of them is told.
      progress: show a bar for each batch.
      **sweep_arguments: ``steps``, ``seeds`` and the others of `sweep`.

    Returns:
      The last batch's `Sweep`; the study has all trials.

    Raises:
      ValueError: a study that maximises.

    >>> import jax.numpy as jnp, lrsched, optax, optuna
    >>> from lrsched import tuning
    >>> optuna.logging.set_verbosity(optuna.logging.WARNING)
    >>> loss_fn = lambda w, batch: jnp.mean((batch[0] * w - batch[1]) ** 2)
    >>> x = jnp.linspace(-1, 1, 64)
    >>> run = tuning.training(loss_fn, jnp.zeros(()), optax.adam, (x, 2 * x), batch_size=16)
    >>> def propose(trial):
    ...     return lrsched.cosine(trial.suggest_float("peak", 1e-4, 1.0, log=True), steps=50)
    >>> study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=0))
    >>> _ = tuning.search(run, study, propose, trials=16, batch=8, progress=False)
    >>> study.best_params["peak"] > 1e-2
    True
    """
    if study.direction.name != "MINIMIZE":
        raise ValueError(
            "search: the study maximises, and losses are to be low; create_study(direction="
            "'minimize')."
        )
    found = None
    for first in range(0, trials, batch):
        asked = [study.ask() for _ in range(min(batch, trials - first))]
        schedules = [propose(trial) for trial in asked]
        found = sweep(training, schedules, progress=progress, **sweep_arguments)
        for trial, loss in zip(asked, found.mean_losses(), strict=True):
            study.tell(trial, float(loss))
    if found is None:
        raise ValueError(f"search: trials={trials!r} is not accepted; at least 1 is needed.")
    return found


def _all_at_once(
    function: str, training: Training, schedules: list[Schedule], steps: int, seed: int
) -> tuple[Fleet, Members]:
    """Every schedule in a slot of its own, at its beginning."""
    if len(schedules) < 2:
        raise ValueError(
            f"{function}: {len(schedules)} schedules are not accepted; at least 2 compete."
        )
    if training.evaluate is None:
        raise ValueError(f"{function}: the training has no validation to compare its members by.")
    if jax.process_count() > 1:
        raise ValueError(f"{function}: it runs in one process, on all of its devices.")
    starts = [fleets.start(schedule, seed, steps, records=1) for schedule in schedules]
    structures = {jax.tree.structure(start) for start in starts}
    if len(structures) > 1:
        raise ValueError(
            f"{function}: the schedules have {len(structures)} structures; it takes one, with any "
            "numbers."
        )
    devices = jax.local_devices()
    batched = devices[0].platform != "cpu"
    return fleets.all_begun(training, starts, steps, 1, devices, batched=batched)


def _trained(
    crew: Fleet, members: Members, which: np.ndarray, until: int
) -> tuple[Members, np.ndarray]:
    """These members at step ``until``, and their losses; infinity where they diverged."""
    stops = np.zeros(crew.slots, np.int32)
    stops[which] = until
    members = crew.advance(members._replace(until=crew.spread(stops)), until)
    is_asked = np.zeros(crew.slots, bool)
    is_asked[which] = True
    members, metrics = crew.evaluate(members, is_asked)
    losses = metrics["loss"]
    found = np.where(np.asarray(members.diverged) | ~np.isfinite(losses), np.inf, losses)[which]
    if not np.isfinite(found).any():
        raise ValueError(f"all {len(which)} members diverged before step {until}.")
    return members, found
