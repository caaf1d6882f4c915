"""Watch a run: rates, loss, scale events and verdicts, read from the state at every n-th step.

Nothing here runs inside the compiled step. A `Monitor` reads the state that the step returned, at
every n-th call only, and shows it in the terminal, on a page that refreshes from a file, or in a
notebook; `to_tensorboard` and `to_wandb` pass the same numbers to a logger.
"""

import html
import json
import math
import os
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import jax
import numpy as np

from lrsched.adaptive.health import HealthState
from lrsched.arguments import not_accepted, whole_number
from lrsched.pictures import curves
from lrsched.running.diagnosis import diagnose
from lrsched.running.read import metrics as rate_metrics
from lrsched.transforms.composition import states_of

if TYPE_CHECKING:
    import chex
    from rich.console import ConsoleRenderable

__all__ = ["Monitor", "to_tensorboard", "to_wandb"]

Writer: TypeAlias = Callable[[int, Mapping[str, float]], None]
"""``(step, values)``: receives the numbers of every reading."""

# Three points a bin: more than a curve has pixels would only make the page larger.
_NUM_BINS: Final = 133
_MAX_EVENTS: Final = 8
_COUNTS: Final = ("nonfinite_updates", "nonfinite_metrics")
_SCALES: Final = ("controller_scale",)
_WIDTH: Final = 640
_HEIGHT: Final = 160


class Monitor:
    """Rates, losses, events and verdicts of a run, read at every n-th step.

    `update` returns at once at the other steps: it touches no array, so that the device is not
    waited for. A reading fetches a few scalars, and the history of `record_health` if the state
    has one, which gives the verdicts of `diagnose`. An event is a change of the scale of a
    controller, or a new update or metric that was not finite.

    With several processes, call `update` in all of them: the first one fetches and writes.

    Args:
      every: Number of steps between readings. At least 1.
      log: File ``.jsonl`` to which each reading is appended, one JSON object a line, or `None`.
        `lrsched.theory.read_history` and ``lrsched explain`` read it. Readings that are in the file
        already are continued: a last line that a killed process left unfinished is dropped, and
        readings from the first new step on are replaced.
      page: File ``.html`` that is replaced at each reading, or `None`. It needs no network, and
        loads itself again every few seconds.
      writers: Functions of the step and the numbers, see `to_tensorboard` and `to_wandb`. The
        ``write_scalars`` of a CLU writer is one already.
      steps: Planned number of steps, counted as those that are passed to `update`, for the verdicts
        (see `diagnose`), or `None`.

    Raises:
      ValueError: If ``every`` or ``steps`` is below 1, the file of ``log`` is not a log of a
        monitor, the folder of ``log`` or ``page`` does not exist, or a writer is not a function.

    Example:
      >>> import jax.numpy as jnp, lrsched
      >>> from lrsched import monitor
      >>> optimizer = lrsched.scale_by_learning_rate(lrsched.linear(0.1, 0.0, steps=100))
      >>> params, watch = jnp.ones(2), monitor.Monitor(every=10)
      >>> state = optimizer.init(params)
      >>> for step in range(30):
      ...     updates, state = optimizer.update(params, state, params)
      ...     params = params + updates
      ...     _ = watch.update(step, state, loss=jnp.sum(params**2))
      >>> watch.steps(), [round(rate, 3) for rate in watch.column("learning_rate")]
      ([0, 10, 20], [0.1, 0.09, 0.08])
    """

    def __init__(
        self,
        *,
        every: int = 100,
        log: str | os.PathLike[str] | None = None,
        page: str | os.PathLike[str] | None = None,
        writers: Sequence[Writer] = (),
        steps: int | None = None,
    ) -> None:
        self.every: int = whole_number().validate("Monitor", "every", every)
        self.rows: list[dict[str, Any]] = []
        self._log = _file("log", log)
        self._page = _file("page", page)
        if not isinstance(writers, Iterable) or not all(map(callable, writers := tuple(writers))):
            requirement = "a list of functions of the step and the numbers, such as [to_wandb(run)]"
            raise not_accepted("Monitor", "writers", writers, requirement)
        self._writers = writers
        if steps is not None:
            whole_number().validate("Monitor", "steps", steps)
        self._planned_steps = steps
        self._refresh: Callable[[], None] = lambda: None
        if self._log is not None and self._log.exists():
            self.rows = _read_log(self._log)

    def update(
        self, step: int, opt_state: "chex.ArrayTree", loss: Any = None, **values: Any
    ) -> bool:
        """Read the state if the step is a multiple of ``every``.

        A log or a page that cannot be written, on a full disk for instance, is a warning: the run
        continues.

        Args:
          step: Step count of the loop, an integer of the host: an array would be waited for.
          opt_state: State of the optimizer, or a container of one such as a ``TrainState``.
          loss: Loss of the step, a scalar array or a number, or `None`.
          **values: Further scalars to record, by name.

        Returns:
          Whether the state was read.

        Raises:
          ValueError: If the state holds no learning rate, ``step`` is not a whole number, or a
            value is not a scalar.
        """
        if isinstance(step, str) or np.ndim(step) != 0:
            raise not_accepted("update", "step", step, "a whole number")
        if step % self.every:
            return False
        arrays = {**({} if loss is None else {"loss": loss}), **values}
        # Every process computes the metrics, as they may be of global arrays; one fetches them.
        arrays |= rate_metrics(opt_state)
        if jax.process_index():
            return True
        for name, value in arrays.items():
            if np.ndim(value) != 0:
                raise ValueError(
                    f"update: {name} of shape {np.shape(value)} is not accepted; {name} must be a "
                    "scalar, such as the mean over the batch."
                )
        numbers = {name: float(value) for name, value in jax.device_get(arrays).items()}
        # A run resumed from a checkpoint repeats the steps after it.
        while self.rows and self.rows[-1]["step"] >= int(step):
            self.rows.pop()
        row = {
            "step": int(step),
            "time": time.time(),
            **numbers,
            "events": self._events(numbers),
            "verdicts": self._verdicts(opt_state),
        }
        self.rows.append(row)
        if self._log is not None:
            self._try_write(self._append, row)
        for write in self._writers:
            write(int(step), numbers)
        if self._page is not None:
            self._try_write(self.write_page, self._page)
        self._refresh()
        return True

    def _append(self, row: Mapping[str, Any]) -> None:
        assert self._log is not None
        with self._log.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(_to_json(row)) + "\n")

    def _try_write(self, write: Callable[[Any], None], what: Any) -> None:
        # Hours of training are worth more than a reading of them.
        try:
            write(what)
        except OSError as error:
            warnings.warn(f"Monitor: a reading was not written: {error}.", stacklevel=3)

    def _events(self, numbers: Mapping[str, float]) -> list[str]:
        before = self.rows[-1] if self.rows else {}
        events = []
        for name, value in numbers.items():
            start, old = name.partition("/")[0], before.get(name)
            if name == "loss" and not math.isfinite(value) and math.isfinite(old or 0.0):
                events.append(f"loss is {value}")
            if old is None or old == value:
                continue
            if start.startswith(_SCALES):
                events.append(f"{name} {old:.3g} -> {value:.3g}")
            elif start.startswith(_COUNTS) and value > old:
                events.append(f"{name} +{value - old:.0f}")
        return events

    def _verdicts(self, opt_state: "chex.ArrayTree") -> list[str]:
        if len(states_of(HealthState, opt_state)) != 1:
            return []
        try:
            diagnosis = diagnose(opt_state, steps=self._planned_steps)
        except ValueError:  # The record is empty before the first update.
            return []
        return [f"rate: {diagnosis.verdict}", *map(str, diagnosis.findings)]

    def steps(self) -> list[int]:
        """Return the steps of the readings."""
        return [row["step"] for row in self.rows]

    def column(self, name: str) -> list[float]:
        """Return one number of every reading, NaN where it was not recorded."""
        return [float(row.get(name, math.nan)) for row in self.rows]

    def rate_names(self) -> list[str]:
        """Return the names of the learning rates that were read, one for each group."""
        names = dict.fromkeys(name for row in self.rows for name in row)
        return [name for name in names if name.partition("/")[0] == "learning_rate"]

    def events(self) -> list[str]:
        """Return the events so far, each with its step."""
        return [f"step {row['step']}: {event}" for row in self.rows for event in row["events"]]

    def verdicts(self) -> list[str]:
        """Return the verdicts of the last reading."""
        return list(self.rows[-1]["verdicts"]) if self.rows else []

    def _summary(self) -> str:
        if not self.rows:
            return "no reading yet"
        row = self.rows[-1]
        shown = [name for name in ("loss", *self.rate_names()) if name in row]
        return ", ".join([f"step {row['step']}", *(f"{name} {row[name]:.4g}" for name in shown)])

    def __repr__(self) -> str:
        return f"<Monitor: {self._summary()}>"

    def __rich__(self) -> "ConsoleRenderable":
        """Return what rich prints: the curves, the last events and the verdicts."""
        # Imported here: rich belongs to the extra.
        from rich.console import Group
        from rich.text import Text

        from lrsched.pictures import terminal

        parts = [Text(self._summary())]
        steps = np.array(self.steps(), float)
        for name in ("loss", *self.rate_names()):
            values = np.array(self.column(name))
            is_finite = np.isfinite(values)
            if is_finite.sum() > 1:
                line = curves.Line(steps[is_finite], values[is_finite])
                parts += [Text(name, style="bold"), terminal.draw([line], 72, height=6)]
        parts += [Text(text) for text in (*self.events()[-_MAX_EVENTS:], *self.verdicts())]
        return Group(*parts)

    @contextmanager
    def live(self) -> Iterator[None]:
        """Show the monitor in the terminal, and refresh it at each reading, inside ``with``.

        It needs ``rich``, of the extra ``cli``.
        """
        from rich.live import Live

        with Live(self, auto_refresh=False) as display:
            self._refresh = display.refresh
            try:
                yield
            finally:
                self._refresh = lambda: None

    def _repr_html_(self) -> str:
        drawn = [
            f"<h3>{html.escape(name)}</h3>{_figure(name, self.steps(), self.column(name))}"
            for name in ("loss", *self.rate_names())
        ]
        lists = [
            f"<h3>{title}</h3><ul>{''.join(f'<li>{html.escape(text)}</li>' for text in texts)}</ul>"
            for title, texts in {
                "Events": self.events()[-_MAX_EVENTS:],
                "Verdicts": self.verdicts(),
            }.items()
            if texts
        ]
        return f"<div><p>{html.escape(self._summary())}</p>{''.join([*drawn, *lists])}</div>"

    def write_page(self, file: str | os.PathLike[str], refresh_seconds: int = 5) -> None:
        """Write a page without external parts, which loads itself again.

        Args:
          file: The file; it is replaced at once, so that no reader sees half of it.
          refresh_seconds: Seconds after which a browser loads the page again.
        """
        target = Path(file)
        partial = target.with_name(f".{target.name}.{os.getpid()}.tmp")
        partial.write_text(
            _PAGE.format(seconds=int(refresh_seconds), body=self._repr_html_()), encoding="utf-8"
        )
        partial.replace(target)


_PAGE: Final = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>lrsched monitor</title>
<meta http-equiv="refresh" content="{seconds}">
<meta name="viewport" content="width=device-width">
<style>:root {{ color-scheme: light dark; }}
body {{ font: 15px/1.5 system-ui, sans-serif; max-width: 44rem; margin: 2rem auto; }}
body {{ padding: 0 1rem; }}
path {{ stroke: #3987e5; }}
h3 {{ margin: 1rem 0 0.2rem; font-size: 1rem; }}</style></head>
<body><h2>lrsched monitor</h2>{body}</body></html>
"""


def to_tensorboard(writer: Any) -> Writer:
    """Return a writer that passes the numbers to TensorBoard.

    Args:
      writer: A ``SummaryWriter`` of tensorboardX or of ``torch.utils.tensorboard``.

    Returns:
      A function for ``writers`` of `Monitor`.
    """

    def write(step: int, values: Mapping[str, float]) -> None:
        for name, value in values.items():
            writer.add_scalar(name, value, step)

    return write


def to_wandb(run: Any) -> Writer:
    """Return a writer that passes the numbers to Weights & Biases.

    Args:
      run: A run of ``wandb.init``, in online or offline mode.

    Returns:
      A function for ``writers`` of `Monitor`.
    """

    def write(step: int, values: Mapping[str, float]) -> None:
        run.log(dict(values), step=step)

    return write


def _to_json(row: Mapping[str, Any]) -> dict[str, Any]:
    # JSON has no NaN; as a string, read_history still sees that a loss was logged.
    return {
        name: str(value) if isinstance(value, float) and not math.isfinite(value) else value
        for name, value in row.items()
    }


def _file(name: str, value: str | os.PathLike[str] | None) -> Path | None:
    if value is None:
        return None
    file = Path(value)
    if file.is_dir() or not file.parent.is_dir():
        raise not_accepted("Monitor", name, str(file), "a file in a folder that exists")
    return file


def _read_log(file: Path) -> list[dict[str, Any]]:
    content = file.read_bytes()
    whole = content[: content.rfind(b"\n") + 1]
    rows: list[dict[str, Any]] = []
    requirement = "another file, or the log of a monitor"
    # Bytes that are not UTF-8 become characters that no reading has.
    for place, line in enumerate(whole.decode("utf-8", "replace").splitlines(), 1):
        try:
            row = json.loads(line)
            lists = {name: list(row[name]) for name in ("events", "verdicts")}
            numbers = {name: float(value) for name, value in row.items() if name not in lists}
        except (ValueError, TypeError, KeyError, AttributeError):
            reason = f"line {place} is not a reading of a monitor"
            raise not_accepted("Monitor", "log", str(file), requirement, reason) from None
        while rows and rows[-1]["step"] >= numbers["step"]:
            rows.pop()
        rows.append({**numbers, "step": int(numbers["step"]), **lists})
    if len(whole) < len(content):
        if not rows and not content.startswith(b'{"step":'):
            raise not_accepted("Monitor", "log", str(file), requirement)
        # A process that was killed while it wrote leaves the start of a line.
        os.truncate(file, len(whole))
    return rows


def _figure(name: str, steps: Sequence[int], values: Sequence[float]) -> str:
    """Return a curve with the ends of its axes; logarithmic if it spans more than a decade."""
    x, y = np.asarray(steps, float), np.asarray(values, float)
    shown = y[np.isfinite(y)]
    if len(shown) < 2:
        return "<p>fewer than two finite readings</p>"
    low, high = float(shown.min()), float(shown.max())
    is_log = low > 0 and high > 10 * low
    heights = np.log(y, where=np.isfinite(y), out=np.full_like(y, np.nan)) if is_log else y
    at, heights = curves.decimate(x, heights, _NUM_BINS)
    picture = curves.svg(at, heights, name, _WIDTH, _HEIGHT, from_zero=False)
    label = "log scale, " if is_log else ""
    caption = f"{label}{low:.4g} to {high:.4g}, steps {x[0]:.0f} to {x[-1]:.0f}"
    return f"{picture}<br><small>{caption}</small>"
