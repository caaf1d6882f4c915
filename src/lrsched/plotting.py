"""Pictures with matplotlib, in the extra ``tune``: of range tests, sweeps and predicted losses."""

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from lrsched.theory.comparison import Comparison
    from lrsched.tuning.range_test import RangeTest
    from lrsched.tuning.results import Sweep

# Okabe and Ito's palette, whose colours stay apart under the common colour deficiencies.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")

_MOST_NAMES = 40


def plot_range_test(found: "RangeTest", ax: Any = None) -> Any:
    """The smoothed losses over the rates, the usable range shaded, the suggestion marked.

    Args:
      found: what `range_test` returned.
      ax: matplotlib's axes; by default new ones.

    Returns:
      The axes.

    >>> import numpy as np
    >>> from lrsched import plotting, tuning
    >>> rates, losses = np.geomspace(1e-3, 1, 50), np.linspace(2, 1, 50)[None]
    >>> plotting.plot_range_test(tuning.RangeTest(rates, losses, losses)).get_xscale()
    'log'
    """
    ax = _axes(ax)
    for losses, smoothed in zip(found.losses, found.smoothed, strict=True):
        ax.plot(found.rates, losses, color=COLOURS[0], alpha=0.15, linewidth=0.8)
        ax.plot(found.rates, smoothed, color=COLOURS[0], linewidth=1.6)
    usable, suggestion = found.range, found.suggestion()
    ax.axvspan(usable.low, usable.high, color=COLOURS[2], alpha=0.12, label="usable")
    ax.axvline(suggestion, color=COLOURS[1], linestyle="--", label=f"suggested: {suggestion:.2g}")
    seen = found.smoothed[np.isfinite(found.smoothed)]
    ax.set_ylim(seen.min() - 0.1 * np.ptp(seen), np.quantile(seen, 0.98) + 0.1 * np.ptp(seen))
    ax.set(xscale="log", xlabel="learning rate", ylabel="training loss")
    ax.legend(frameon=False)
    return ax


def plot_sweep(found: "Sweep", x: str | None = None, by: str | None = None, ax: Any = None) -> Any:
    """The final loss against a number of the schedules: the mean, in the band of the seeds.

    Where schedules with the same number differ in others, it is the best of them.

    Args:
      found: what `sweep` returned.
      x: the column of its table to go along; by default the first number that varies.
      by: another column: a curve for each of its values.
      ax: matplotlib's axes; by default new ones.

    Returns:
      The axes.

    Raises:
      ValueError: no such column, or no number that varies.

    >>> import jax.numpy as jnp, lrsched, optax
    >>> from lrsched import plotting, tuning
    >>> loss_fn = lambda w, batch: jnp.mean((batch - w) ** 2)
    >>> run = tuning.training(loss_fn, jnp.zeros(()), optax.adam, jnp.ones(8), batch_size=4)
    >>> found = tuning.sweep(
    ...     run, [lrsched.cosine(peak, steps=9) for peak in (1e-3, 1e-1)], progress=False)
    >>> plotting.plot_sweep(found).get_xlabel()
    'peak'
    """
    from lrsched.tuning.results import varying

    table, ax = found.table, _axes(ax)
    numbers = list(varying(found.schedules))
    if x is None and not numbers:
        raise ValueError("plot: the schedules of the sweep differ in no number; give x=.")
    x = numbers[0] if x is None else x
    for name in filter(None, (x, by)):
        columns = table.dtype.names or ()
        if name not in columns:
            raise ValueError(f"plot: {name!r} is no column; the table has {', '.join(columns)}.")
    values, shown = np.unique(table[by]) if by else [None], list[float]()
    for colour, value in zip(np.resize(COLOURS, len(values)), values, strict=True):
        rows = table if value is None else table[table[by] == value]
        places = np.unique(rows[x][np.isfinite(rows["loss"])])
        losses = [_of_the_best(rows[rows[x] == place]) for place in places]
        label = None if value is None else f"{by} {value:g}"
        ax.plot(places, [some.mean() for some in losses], "o-", color=colour, label=label, ms=3)
        shown += [float(some.mean()) for some in losses]
        ends = [some.min() for some in losses], [some.max() for some in losses]
        ax.fill_between(places, *ends, color=colour, alpha=0.15, linewidth=0)
        gone = np.setdiff1d(rows[x], places)
        ax.plot(
            gone, np.full(len(gone), 0.97), "x", color=colour, transform=ax.get_xaxis_transform()
        )
    spans = np.max(table[x]) / np.min(table[x]) if np.min(table[x]) > 0 else 1.0
    ax.set(xlabel=x, ylabel="final loss", xscale="log" if spans > 10 else "linear")
    if shown and min(shown) > 0 and max(shown) / min(shown) > 10:
        ax.set_yscale("log")
    if by:
        ax.legend(frameon=False)
    return ax


def plot_comparison(found: "Comparison", ax: Any = None) -> Any:
    """The predicted final losses of schedules, each with its interval, the lowest on top.

    Args:
      found: what `compare` returned.
      ax: matplotlib's axes; by default new ones.

    Returns:
      The axes.

    >>> import lrsched
    >>> from lrsched import plotting, theory
    >>> law = theory.LossLaw("power", {"L0": 2.0, "A": 1.0, "alpha": 0.5})
    >>> runs = [lrsched.constant(0.1), lrsched.linear(0.1, 0.0, steps=100)]
    >>> plotting.plot_comparison(theory.compare(runs, law, steps=100)).get_xlabel()
    'predicted final loss'
    """
    table, ax = np.sort(found.table, order="loss")[::-1], _axes(ax)
    places, losses = np.arange(len(table)), table["loss"]
    known = np.isfinite(table["low"])
    ax.hlines(
        places[known], table["low"][known], table["high"][known], color=COLOURS[0], alpha=0.3, lw=4
    )
    ax.plot(losses, places, "o", color=COLOURS[0], ms=4)
    if len(table) <= _MOST_NAMES:
        ax.set_yticks(places, table["name"])
    ax.set(xlabel="predicted final loss")
    return ax


def _of_the_best(rows: np.ndarray) -> np.ndarray:
    """The finite losses of the schedule with the lowest mean among these rows."""
    rows = rows[np.isfinite(rows["loss"])]
    means = {i: rows["loss"][rows["schedule"] == i].mean() for i in np.unique(rows["schedule"])}
    losses: np.ndarray = rows["loss"][rows["schedule"] == min(means, key=means.__getitem__)]
    return losses


def _axes(ax: Any) -> Any:
    if ax is not None:
        return ax
    import matplotlib.pyplot as plt

    _, ax = plt.subplots(figsize=(7, 4.2), layout="constrained")
    ax.spines[["top", "right"]].set_visible(False)
    ax.grid(alpha=0.3)
    return ax
