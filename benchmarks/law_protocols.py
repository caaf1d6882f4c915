"""Protocols that test loss laws on published pretraining curves.

A protocol fixes the fitted and the predicted runs; `python -m benchmarks predict --curves
DIRECTORY` runs all protocols. The directory has one directory of CSV files (``step, lr, loss``) for
each model: "25M" and "100M" (Luo et al. 2025, arXiv 2503.12811) and "llama-124M" (Schaipp et al.
2025, arXiv 2501.18965).
"""

import re
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib.pyplot as plt
import numpy as np
from rich.table import Table
from scipy.stats import spearmanr

import lrsched
from benchmarks.figures import COLOURS, STYLE, save
from benchmarks.tables import of_rows
from lrsched import theory

LAWS = ("auto", "norm-aware", "multi-power")
PAPER = ("cosine_24000", "constant_24000", "wsdcon_9")
TRIPLES = (
    ("cosine_24000", "constant_24000", "wsdcon_3"),
    ("cosine_24000", "constant_24000", "wsdcon_18"),
    ("wsdld_20000_24000", "constant_24000", "wsdcon_9"),
    ("cosine_72000", "constant_72000", "wsd_20000_24000"),
)
FEW = (("constant", 50_000), ("cos-zero", 25_000), ("wsd-linear-0.2", 50_000))
WARMUP = 300
FOLDS = 3


class Run(NamedTuple):
    """Run of the 124M study.

    Attributes:
      peak: Peak rate.
      shape: Name of the schedule, as in the file name.
      steps: Number of updates.
      curve: Rates and recorded training losses.
    """

    peak: float
    shape: str
    steps: int
    curve: theory.LossCurve

    @property
    def final(self) -> float:
        """Loss at the last record."""
        return float(np.asarray(self.curve.losses)[-1])


def read_luo(directory: Path) -> dict[str, theory.LossCurve]:
    """Read curves of Luo et al., whose warmup of 2,160 steps precedes the first row."""
    curves = {}
    for path in sorted(directory.glob("*.csv")):
        steps, rates, losses = np.genfromtxt(path, delimiter=",", skip_header=1).T
        is_stepped = "wsdcon" in path.stem
        length = 16_000 if is_stepped else int(path.stem.split("_")[-1])
        every = np.interp(np.arange(length), steps, rates)
        if is_stepped:
            every = np.where(np.arange(length) < 8_000, rates[0], rates[-1])
        every[:2_160] = np.linspace(0, rates[0], 2_160)
        kept = steps < length
        curves[path.stem] = theory.LossCurve(every, steps[kept].astype(int), losses[kept])
    return curves


def rates_124m(peak: float, shape: str, steps: int) -> np.ndarray:
    """Return the rates of a schedule of the 124M study, by the name of its file."""
    updates = np.arange(steps)
    if shape.startswith("cos"):
        end = 0.0 if shape == "cos-zero" else 0.1
        rates = np.asarray(lrsched.cosine(peak, steps - WARMUP, end=end * peak)(updates - WARMUP))
    elif shape.startswith("wsd"):
        _, kind, fraction = shape.split("-")
        cooldown = round(float(fraction) * steps)
        gone = np.clip((updates - (steps - cooldown)) / cooldown, 0, 1)
        rates = peak * (1 - (gone if kind == "linear" else np.sqrt(gone)))
    else:
        rates = np.full(steps, peak)
    rise = peak * (0.01 + 0.99 * updates / WARMUP)
    return np.where(updates < WARMUP, np.minimum(rise, rates), rates).astype(np.float64)


def read_schaipp(directory: Path) -> list[Run]:
    """Read curves of Schaipp et al."""
    runs = []
    for path in sorted(directory.glob("*.csv")):
        named = re.fullmatch(r"peak([\d.]+)_(.+)_(\d+)", path.stem)
        assert named is not None, path
        peak, shape, steps = float(named[1]), named[2], int(named[3])
        at, _, losses = np.genfromtxt(path, delimiter=",", skip_header=1).T
        kept = at >= 2 * WARMUP
        rates = rates_124m(peak, shape, steps)
        curve = theory.LossCurve(rates, at[kept].astype(int), losses[kept])
        runs.append(Run(peak, shape, steps, curve))
    return runs


def last_interval(law: theory.LossLaw, curve: theory.LossCurve) -> tuple[float, float]:
    """Return the interval of the last record of a run."""
    # The last record may be before the end: 200 updates in the 124M study.
    rates = np.asarray(curve.rates)[: int(np.asarray(curve.steps)[-1])]
    low, high = law.final_interval(rates.astype(np.float32))
    return float(low), float(high)


def finals(law: theory.LossLaw, runs: Iterable[Run]) -> np.ndarray:
    """Predict the last records with their intervals, ``(runs, 3)``."""
    ends = np.array([last_interval(law, run.curve) for run in runs])
    return np.column_stack([np.sqrt(ends.prod(axis=1)), ends])


def ranks(runs: Sequence[Run], predicted: np.ndarray) -> list[float]:
    """Compute the rank correlation of final losses for each peak and horizon with four runs."""
    result = []
    for group in sorted({(run.peak, run.steps) for run in runs}):
        places = [i for i, run in enumerate(runs) if (run.peak, run.steps) == group]
        if len(places) >= 4:
            seen = [runs[i].final for i in places]
            result.append(float(spearmanr(predicted[places], seen).statistic))
    return result


def errors_of(runs: Sequence[Run], predicted: np.ndarray) -> dict[str, Any]:
    """Return the number of runs, the error of their predictions and how many intervals hold."""
    seen = np.array([run.final for run in runs])
    return {
        "runs": len(runs),
        "rms": float(np.sqrt(np.mean((predicted[:, 0] - seen) ** 2))),
        "within": float(np.mean((predicted[:, 1] <= seen) & (seen <= predicted[:, 2]))),
    }


def row_of(name: str, law: str, runs: Sequence[Run], predicted: np.ndarray) -> dict[str, Any]:
    """Score predictions of final losses."""
    seen = np.array([run.final for run in runs])
    each = ranks(runs, predicted[:, 0])
    return {
        "protocol": name,
        "law": law,
        **errors_of(runs, predicted),
        "bias": float((predicted[:, 0] - seen).mean()),
        "rank": float(np.mean(each)),
        "worst rank": float(np.min(each)),
        "seen": seen.tolist(),
        "predicted": predicted.tolist(),
    }


def splits(runs: Sequence[Run]) -> dict[str, list[tuple[list[Run], list[Run]]]]:
    """Return the protocols: lists of pairs of fitted runs and predicted runs, by name."""
    shapes = sorted({run.shape for run in runs})
    result: dict[str, list[tuple[list[Run], list[Run]]]] = {
        "unseen shapes, seen peak": [],
        "three runs, same peak": [],
        "three runs, other peak": [],
        "unseen peak": [],
    }
    for peak in sorted({run.peak for run in runs}):
        at_peak = [run for run in runs if run.peak == peak]
        other = [run for run in runs if run.peak != peak]
        few = [run for run in at_peak if (run.shape, run.steps) in FEW]
        for fold in range(FOLDS):
            # The constant run is the trunk of all cooldowns, so it is always fitted.
            unseen = [s for i, s in enumerate(shapes) if i % FOLDS == fold and s != "constant"]
            fitted = [run for run in at_peak if run.shape not in unseen]
            predicted = [run for run in at_peak if run.shape in unseen]
            result["unseen shapes, seen peak"].append((fitted, predicted))
        others_at_peak = [run for run in at_peak if (run.shape, run.steps) not in FEW]
        result["three runs, same peak"].append((few, others_at_peak))
        result["three runs, other peak"].append((few, other))
        result["unseen peak"].append((at_peak, other))
    return result


def judge(runs: Sequence[Run], laws: Sequence[str]) -> list[dict[str, Any]]:
    """Fit every law in every protocol and score its predictions."""
    rows = []
    for name, pairs in splits(runs).items():
        for law in laws:
            began, unseen, predicted, fitted = time.perf_counter(), [], [], []
            for seen, others in pairs:
                result = theory.fit_loss_law([run.curve for run in seen], law)
                fitted.append(result.law)
                unseen += others
                predicted.append(finals(result, others))
            rows.append(row_of(name, law, unseen, np.concatenate(predicted)))
            rows[-1] |= {"seconds": time.perf_counter() - began, "fits": len(pairs)}
            rows[-1] |= {"chosen": sorted(set(fitted))}
    return rows


def judge_early(runs: Sequence[Run], law: str = "auto") -> dict[str, Any]:
    """Predict final losses from the first third of a run and three short runs with its peak."""
    targets, predicted = [], []
    for run in runs:
        if run.steps < 35_000 or run.shape not in ("cos-zero", "wsd-linear-0.2", "wsd-linear-0.8"):
            continue
        others = [
            other.curve
            for other in runs
            if other.peak == run.peak
            and (other.shape, other.steps)
            in (("wsd-linear-0.4", 15_000), ("wsd-linear-0.9", 15_000), ("cos-10", 25_000))
        ]
        steps, losses = np.asarray(run.curve.steps), np.asarray(run.curve.losses)
        begun = steps <= run.steps / 3
        rates = np.asarray(run.curve.rates)[: steps[-1]]
        part = theory.LossCurve(rates, steps[begun], losses[begun])
        result = theory.forecast(part, others, law=law)
        targets.append(run)
        predicted.append((result.loss, result.low, result.high))
    rows = np.array(predicted)
    return errors_of(targets, rows) | {"width": float(np.mean(rows[:, 2] - rows[:, 1]))}


def judge_intervals(directory: Path, scale: float = 1.0) -> list[dict[str, Any]]:
    """Fit random subsets of the curves of one size and peak, and score the intervals of the others.

    The constants of the intervals in `lrsched.theory` were chosen by such fits. Subsets of the 124M
    study hold the constant run, the trunk of its cooldowns, and also predict ten runs of the other
    peak.

    Args:
      directory: Directory of the curves.
      scale: Factor of the number of subsets; 1 fits 244.

    Returns:
      One row for each set of curves, class of subset sizes and whether the peak was seen: ``set``,
      ``curves``, ``peak``, ``runs``, ``within``, ``half``, the mean of half the width of the 95 %
      intervals, and ``rms``, both of the logarithms of the final losses.
    """
    random, found = np.random.default_rng(0), {}
    pools: list[tuple[str, list[Any], list[Any], dict[int, int]]] = []
    for size in ("100M", "25M"):
        curves = list(read_luo(directory / size).values())
        pools.append((size, curves, [], {3: 30, 4: 15, 5: 15, 6: 12, 7: 8, 8: 9}))
    runs = read_schaipp(directory / "llama-124M")
    for peak in sorted({run.peak for run in runs}):
        # The constant run comes first.
        at_peak = sorted((r for r in runs if r.peak == peak), key=lambda r: r.shape != "constant")
        other = [run.curve for run in runs if run.peak != peak]
        counts = {3: 12, 4: 8, 6: 6, 8: 4, 12: 2, 20: 1}
        pools.append((f"124M, {peak:g}", [run.curve for run in at_peak], other, counts))
    for name, curves, other, counts in pools:
        for count, repeats in counts.items():
            for _ in range(max(1, round(scale * repeats))):
                trunk = [0] if other else []
                free = [i for i in range(len(curves)) if i not in trunk]
                places = trunk + random.permutation(free)[: count - len(trunk)].tolist()
                seen = [curves[i] for i in places]
                if not any((np.diff(curve.rates[3_000:]) < 0).any() for curve in seen):
                    continue
                law = theory.fit_loss_law(seen)
                unseen = [(curve, True) for i, curve in enumerate(curves) if i not in places]
                unseen += [(other[i], False) for i in random.permutation(len(other))[:10]]
                size = "3" if count == 3 else "4 to 5" if count < 6 else "6 or more"
                for curve, is_seen in unseen:
                    ends = np.log(last_interval(law, curve))
                    error = ends.mean() - np.log(np.asarray(curve.losses)[-1])
                    found.setdefault((name, size, is_seen), []).append((error, np.ptp(ends) / 2))
    rows = []
    for (name, size, is_seen), values in found.items():
        errors, halves = np.array(values).T
        rows.append(
            {
                "set": name,
                "curves": size,
                "peak": "seen" if is_seen else "other",
                "runs": len(errors),
                "within": float(np.mean(np.abs(errors) <= halves)),
                "half": float(halves.mean()),
                "rms": float(np.sqrt(np.mean(errors**2))),
            }
        )
    return rows


def noise_floor(runs: Sequence[Run]) -> float:
    """Estimate the noise of a final loss from the records of the constant runs.

    The estimate is the standard deviation of the second differences of the last 40 records over
    ``sqrt(6)``. It is a lower bound of the deviation between seeds, as the study has one seed.
    """
    ends = [
        np.diff(np.asarray(run.curve.losses)[-40:], n=2).std() / np.sqrt(6)
        for run in runs
        if run.shape == "constant"
    ]
    return float(np.mean(ends))


def judge_bound(runs: Sequence[Run]) -> dict[str, float]:
    """Compare the predictions of the convergence bound with the 124M runs.

    Returns:
      ``pairs``: the number of schedules with two peaks. ``peaks``: the rank correlation, over
      schedules, between the optimal peak of the bound and the gain of the higher peak. ``ranks``:
      the rank correlation between the bound at the optimal peak of each shape and the lower final
      loss of the two peaks, a mean over horizons. ``same_peak``: the same with the bound at the
      peak that is optimal for a constant rate.
    """
    ends = {(run.peak, run.shape, run.steps): run for run in runs}
    low, high = sorted({run.peak for run in runs})
    groups = sorted({(run.shape, run.steps) for run in runs})
    pairs = [g for g in groups if (low, *g) in ends and (high, *g) in ends]
    best, bounds, gains, losses, same = [], [], [], [], []
    base = None
    for shape, steps in [("constant", 50_000), *pairs]:
        rates = rates_124m(1.0, shape, steps)[: int(steps - 200)]
        bound = theory.final_bound(rates.astype(np.float32))
        base = float(bound.optimal_rate) if base is None else base
        best.append(float(bound.optimal_rate))
        bounds.append(float(bound.optimal_values))
        same.append(float(bound.at(base)))
    best, bounds, same = best[1:], bounds[1:], same[1:]
    for shape, steps in pairs:
        two = ends[(low, shape, steps)].final, ends[(high, shape, steps)].final
        gains.append(two[0] - two[1])
        losses.append(min(two))

    def by_horizon(values: Sequence[float]) -> float:
        each = []
        for steps in sorted({steps for _, steps in pairs}):
            places = [i for i, pair in enumerate(pairs) if pair[1] == steps]
            if len(places) >= 4:
                each.append(spearmanr([values[i] for i in places], [losses[i] for i in places])[0])
        return float(np.mean(each))

    return {
        "pairs": float(len(pairs)),
        "peaks": float(spearmanr(best, gains).statistic),
        "ranks": by_horizon(bounds),
        "same_peak": by_horizon(same),
    }


def alternatives(runs: Sequence[Run]) -> theory.ComparisonResult:
    """Predict the final losses of a longer run and of other cooldowns, as in docs/theory.md."""
    peak = max(run.peak for run in runs)
    wanted = (("constant", 50_000), ("wsd-linear-0.2", 25_000), ("cos-zero", 25_000))
    seen = [run.curve for run in runs if run.peak == peak and (run.shape, run.steps) in wanted]
    asked = {
        "linear 20 %": rates_124m(peak, "wsd-linear-0.2", 25_000),
        "linear 40 %": rates_124m(peak, "wsd-linear-0.4", 25_000),
        "1-sqrt 20 %": rates_124m(peak, "wsd-sqrt-0.2", 25_000),
        "20 % longer": rates_124m(peak, "wsd-linear-0.2", 30_000),
    }
    return theory.what_if(seen, asked)


def show(rows: Sequence[Mapping[str, Any]]) -> Table:
    """Return a table with one row per protocol and law."""
    lines = [
        {
            "protocol": row["protocol"],
            "law": row["law"],
            "RMS": f"{row['rms']:.4f}",
            "bias": f"{row['bias']:+.4f}",
            "rank": f"{row['rank']:.2f}",
            "worst rank": f"{row['worst rank']:.2f}",
            "within 95 %": f"{row['within']:.2f}",
            "s a fit": f"{row['seconds'] / row['fits']:.1f}",
        }
        for row in rows
    ]
    return of_rows("124M: final losses of unseen runs", lines)


def draw(
    rows: Sequence[Mapping[str, Any]],
    asked: theory.ComparisonResult,
    runs: Sequence[Run],
    path: Path,
) -> None:
    """Draw predicted over seen final losses, the calibration of intervals, and the alternatives."""
    with plt.rc_context(STYLE):
        figure, (left, middle, right) = plt.subplots(1, 3, figsize=(15, 5), layout="constrained")
        chosen = [row for row in rows if row["law"] == "auto"]
        for row, colour in zip(chosen, COLOURS, strict=False):
            predicted = np.array(row["predicted"])
            name = f"{row['protocol']}: {row['within']:.0%} within"
            left.plot(row["seen"], predicted[:, 0], "o", ms=3, color=colour, label=name)
            # Errors over half the width of the 95 % interval: at most 1 for a covered loss.
            half = (predicted[:, 2] - predicted[:, 1]) / 2
            scores = np.sort(np.abs(predicted[:, 0] - row["seen"]) / half)
            middle.plot(scores, np.arange(1, len(scores) + 1) / len(scores), color=colour)
        ends = [row["seen"] for row in chosen]
        span = [min(map(min, ends)), max(map(max, ends))]
        left.plot(span, span, color="#888888", lw=0.8)
        left.set(xlabel="final loss", ylabel="predicted final loss", title="Predicted final losses")
        middle.axvline(1, color="#888888", lw=0.8)
        middle.axhline(0.95, color="#888888", lw=0.8)
        middle.set(xlabel="error over half the 95 % interval", ylabel="fraction of runs")
        middle.set(xlim=(0, 2), title="Calibration of the intervals")
        asked.plot(right)
        right.set_title("Other endings of three runs")
        known = {(run.shape, run.steps): run.final for run in runs if run.peak == 1e-3}
        names = {
            "linear 20 %": ("wsd-linear-0.2", 25_000),
            "linear 40 %": ("wsd-linear-0.4", 25_000),
            "1-sqrt 20 %": ("wsd-sqrt-0.2", 25_000),
        }
        places = {label.get_text(): place for place, label in enumerate(right.get_yticklabels())}
        for name, key in names.items():
            if name in places and key in known:
                right.plot(known[key], places[name], "x", color=COLOURS[1])
        figure.legend(loc="outside lower center", ncols=4, fontsize=10, markerscale=2)
        save(figure, path)
