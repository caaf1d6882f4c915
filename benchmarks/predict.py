"""Prediction of losses by laws that are fitted to a few runs: `python -m benchmarks predict`.

Without ``--curves``, trains Flax models with Adam and the same peak for all schedules. Each law is
fitted to the mean training loss of three schedules (constant, half cosine, step decay) and predicts
the others. Then the schedule that the law predicts to be best is compared with a half cosine and
WSD, each at the best of the same peaks and on new seeds.

With ``--curves DIRECTORY``, trains nothing and predicts published pretraining curves in the
protocols of `benchmarks.law_protocols`.
"""

import json
import resource
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import optax
import tyro
from rich.console import Console
from rich.table import Table
from scipy.stats import spearmanr

import lrsched
from benchmarks import law_protocols
from benchmarks.figures import COLOURS, save
from benchmarks.platforms import use
from benchmarks.runs import run_of
from benchmarks.workloads import WORKLOADS
from lrsched import theory, tuning

LAWS = ("auto", "multi-power", "norm-aware", "annealing", "power")
SEEN = ("constant", "cosine to a tenth", "step to 0.3")
RECORDS = 40


@dataclass(frozen=True)
class Options:
    """Options of the benchmark."""

    curves: Path | None = None
    """Directory with a directory of CSV files for each model size. If set, nothing is trained."""
    intervals: bool = False
    """With ``curves``, only fit random subsets of the curves and score the intervals."""
    workloads: tuple[str, ...] = ("topics-lm", "mnist-vit")
    """Names of the workloads."""
    steps: int = 400
    """Number of updates of a run. Two of the schedules have twice as many."""
    seeds: int = 3
    """Number of runs with each schedule. Their mean is a curve."""
    tuning_seeds: int = 2
    """Number of runs of each peak in the final comparison of three schedules."""
    final_seeds: int = 5
    """Number of runs of each of the three schedules at its best peak."""
    factors: tuple[float, ...] = (0.5, 1.0, 2.0)
    """Peaks of the final comparison, as multiples of the rate of the workload."""
    out: Path = Path(__file__).parent / "results" / "predict.svg"
    """File of the figure. The numbers are written next to it as JSON."""


def schedules(peak: float, steps: int) -> dict[str, lrsched.Schedule]:
    """Return all schedules by name, with the same peak and the same warmup."""
    warmup = steps // 10
    rise = lrsched.warmup(warmup) * peak

    def stepped(factor: float) -> lrsched.Schedule:
        return rise >> lrsched.piecewise_constant([peak, factor * peak], [steps // 2 - warmup])

    def cosine(length: int, end: float) -> lrsched.Schedule:
        return rise >> lrsched.cosine(peak, length - warmup, end=end * peak)

    return {
        "constant": rise >> lrsched.constant(peak),
        "cosine to a tenth": cosine(steps, 0.1),
        "step to 0.3": stepped(0.3),
        "step to 0.1": stepped(0.1),
        "step to 0.6": stepped(0.6),
        "cosine to zero": cosine(steps, 0.0),
        "linear to zero": rise >> lrsched.linear(peak, 0.0, steps - warmup),
        "inverse square root": lrsched.inverse_sqrt(peak, warmup),
        "WSD, 1-sqrt": lrsched.wsd(peak, steps, warmup, 0.2),
        "WSD, linear": lrsched.wsd(peak, steps, warmup, 0.2, ramp="linear"),
        "constant, twice as long": rise >> lrsched.constant(peak),
        "cosine, twice as long": cosine(2 * steps, 0.1),
    }


def length_of(name: str, steps: int) -> int:
    """Return the number of updates of a schedule, by its name."""
    return 2 * steps if "twice" in name else steps


def as_table(schedule: lrsched.Schedule, steps: int) -> lrsched.Schedule:
    """Return a schedule as a table, so that one compiled program trains all schedules."""
    return lrsched.table(np.asarray(schedule(np.arange(steps))))


def train(
    run: tuning.Training, shapes: Sequence[lrsched.Schedule], steps: int, seeds: Sequence[int]
) -> tuple[np.ndarray, np.ndarray]:
    """Train with schedules.

    Returns:
      Mean training losses in windows, of shape ``(schedules, seeds, windows)``, and final
      validation losses, of shape ``(schedules, seeds)``.
    """
    result = tuning.sweep(
        run, shapes, steps=steps, seeds=seeds, num_loss_records=RECORDS, progress=False
    )
    losses = result.train_loss.reshape(len(shapes), len(seeds), -1)
    return losses, result.validation_loss[:, -1].reshape(losses.shape[:2])


def train_and_score(workload: Any, run: tuning.Training, options: Options) -> dict[str, Any]:
    """Train with all schedules and score the predictions of the laws.

    Returns:
      "curves" by name, and the items of `score_laws`.
    """
    named, curves = schedules(workload.around, options.steps), {}
    for length in (options.steps, 2 * options.steps):
        names = [name for name in named if length_of(name, options.steps) == length]
        shapes = [as_table(named[name], 2 * options.steps) for name in names]
        losses, _ = train(run, shapes, length, range(options.seeds))
        # The mean over a window approximates the loss at its middle.
        window = -(-length // RECORDS)
        steps = window * np.arange(losses.shape[-1]) + window // 2
        after_warmup = steps > options.steps // 10
        for name, each in zip(names, losses.mean(axis=1), strict=True):
            rates = np.asarray(named[name](np.arange(length)))
            curves[name] = theory.LossCurve(rates, steps[after_warmup], each[after_warmup])
    return {"curves": curves, **score_laws(curves, SEEN)}


def score_laws(
    curves: Mapping[str, theory.LossCurve], seen: Sequence[str], named: Sequence[str] = LAWS
) -> dict[str, Any]:
    """Fit each law to some curves and score its predictions of the others.

    The mean of the fitted curves, which ignores the schedule, is scored as a baseline.

    Args:
      curves: Loss curves by name.
      seen: Names of the fitted curves.
      named: Names of the laws.

    Returns:
      "rows" with scores, "laws" by name, and "unseen", the names of the predicted curves.
    """
    unseen = [name for name in curves if name not in seen]
    observed = np.array([_end(curves[name].losses) for name in unseen])
    rows, laws = [], {}
    for name in named:
        began = time.perf_counter()
        law = theory.fit_loss_law([curves[each] for each in seen], name)
        seconds = time.perf_counter() - began
        scores = law.scores([curves[each] for each in unseen])
        ends = [
            _end(np.asarray(law.predict(curves[each].rates, at=curves[each].steps)))
            for each in unseen
        ]
        laws[name] = law
        rows.append(_row(name, scores["mae"], scores["r2"], np.array(ends), observed))
        rows[-1] |= {"within": float(scores["within"].mean()), "seconds": seconds}
        rows[-1] |= {"numbers": law.numbers, "each": dict(zip(unseen, scores["mae"], strict=True))}
    common = [np.unique(np.concatenate([curves[name].steps for name in seen]))]
    mean = np.mean(
        [np.interp(common[0], curves[name].steps, curves[name].losses) for name in seen], axis=0
    )
    guesses = [np.interp(curves[name].steps, common[0], mean) for name in unseen]
    errors = [guess - curves[name].losses for guess, name in zip(guesses, unseen, strict=True)]
    rows.append(
        _row(
            "mean of the fitted",
            np.array([np.abs(error).mean() for error in errors]),
            np.array(
                [
                    1 - np.sum(error**2) / np.sum((losses - np.mean(losses)) ** 2)
                    for error, losses in zip(
                        errors, (curves[name].losses for name in unseen), strict=True
                    )
                ]
            ),
            np.array([_end(guess) for guess in guesses]),
            observed,
        )
    )
    return {"rows": rows, "laws": laws, "unseen": unseen}


def leave_one_out(curves: Mapping[str, theory.LossCurve]) -> dict[str, float]:
    """Predict the end of each curve from the others, by the law and by their mean.

    Curves of twice the length are predicted from the others up to their length: the mean of the
    others is held beyond their end, as `fit_loss_law` does.

    Returns:
      ``law`` and ``mean``: root mean square relative errors of the final losses. ``worse``: the
      largest error of the law over the error of the mean in root mean square. ``within``: fraction
      of the final losses in the law's 95 % interval.
    """
    law_errors, mean_errors, within = [], [], []
    for name, curve in curves.items():
        others = [each for other, each in curves.items() if other != name]
        law = theory.fit_loss_law(others)
        observed = _end(curve.losses)
        low, high = map(float, law.final_interval(curve.rates))
        predicted = _end(np.asarray(law.predict(curve.rates, at=curve.steps)))
        last = int(np.asarray(curve.steps)[-1])
        reach = [each for each in others if np.asarray(each.steps)[-1] >= last] or others
        mean = np.mean([np.interp(last, each.steps, each.losses) for each in reach])
        law_errors.append(np.log(predicted / observed))
        mean_errors.append(np.log(mean / observed))
        within.append(low <= observed <= high)
    scale = float(np.sqrt(np.mean(np.square(mean_errors))))
    return {
        "law": float(np.sqrt(np.mean(np.square(law_errors)))),
        "mean": scale,
        "worse": float(np.max(np.abs(law_errors))) / scale,
        "within": float(np.mean(within)),
    }


def _row(
    name: str, mae: np.ndarray, r2: np.ndarray, ends: np.ndarray, observed: np.ndarray
) -> dict[str, Any]:
    return {
        "law": name,
        "mae": float(mae.mean()),
        "worst mae": float(mae.max()),
        "r2": float(r2.mean()),
        "final": float(np.abs(ends - observed).mean()),
        "rank": float(spearmanr(ends, observed).statistic) if np.ptp(ends) > 0 else float("nan"),
        "ends": ends.tolist(),
        "observed": observed.tolist(),
    }


def _end(losses: Any) -> float:
    """Return the mean of the last 5 % of the records."""
    losses = np.asarray(losses)
    return float(losses[-max(1, len(losses) // 20) :].mean())


def compare_schedules(
    workload: Any, run: tuning.Training, law: theory.LossLaw, options: Options
) -> dict[str, Any]:
    """Compare the schedule that is optimal by a law with others, each at its best peak.

    The peaks are selected by the final training loss.
    """
    steps, peak = options.steps, workload.around
    warmup = steps // 10
    best = theory.optimise(law, steps, peak=peak, warmup=warmup)
    shapes: dict[str, Callable[[float], lrsched.Schedule]] = {
        "optimised": lambda factor: factor * best,
        "cosine to zero": lambda factor: schedules(factor * peak, steps)["cosine to zero"],
        "WSD, 1-sqrt": lambda factor: schedules(factor * peak, steps)["WSD, 1-sqrt"],
    }
    tried = [as_table(shape(f), 2 * steps) for shape in shapes.values() for f in options.factors]
    seeds = range(100, 100 + options.tuning_seeds)
    losses, _ = train(run, tried, steps, seeds)
    ends = np.array([[_end(one) for one in each] for each in losses]).mean(axis=1)
    ends = np.where(np.isfinite(ends), ends, np.inf).reshape(len(shapes), -1)
    factors = [options.factors[i] for i in ends.argmin(axis=1)]
    finals = [
        as_table(shape(factor), 2 * steps)
        for shape, factor in zip(shapes.values(), factors, strict=True)
    ]
    losses, held_out = train(run, finals, steps, range(200, 200 + options.final_seeds))
    at_ends = np.array([[_end(one) for one in each] for each in losses])
    # The law is fitted at factor 1, so its predictions are compared with the losses at factor 1.
    same = list(options.factors).index(1.0) if 1.0 in options.factors else 0
    predicted_ends = [
        float(law.final_loss(np.asarray(shape(1.0)(np.arange(steps))))) for shape in shapes.values()
    ]
    return {
        name: {
            "factor": factor,
            "training": at_ends[i].tolist(),
            "held out": held_out[i].tolist(),
            "tuning": ends[i].tolist(),
            "measured": float(ends[i, same]),
            "predicted": predicted_ends[i],
            "rates": np.asarray(shape(factor)(np.arange(steps))).tolist(),
        }
        for i, ((name, shape), factor) in enumerate(zip(shapes.items(), factors, strict=True))
    }


def predict_luo(directory: Path, console: Console) -> dict[str, Any]:
    """Predict the curves of Luo et al. and print the scores."""
    results: dict[str, Any] = {}
    for size in sorted(path for path in directory.iterdir() if path.is_dir()):
        if "llama" in size.name:
            continue
        curves = law_protocols.read_luo(size)
        result = score_laws(curves, law_protocols.PAPER, law_protocols.LAWS)
        triples = {}
        for triple in law_protocols.TRIPLES:
            law = theory.fit_loss_law([curves[name] for name in triple])
            unseen = [curves[name] for name in curves if name not in triple]
            triples[", ".join(triple)] = float(law.scores(unseen)["mae"].mean())
        console.print(show(f"{size.name}, pretraining curves of the paper", result["rows"]))
        console.print(f"MAE of auto with other triples: {np.round(list(triples.values()), 4)}")
        law = result["laws"]["auto"]
        best = theory.optimise(law, 24_000, peak=3e-4, warmup=2_160)
        schedules = {
            "optimised": best,
            "WSD, 1-sqrt, 20 %": lrsched.wsd(3e-4, 24_000, 2_160, 0.2),
            "cosine to a tenth": lrsched.warmup(2_160) * 3e-4
            >> lrsched.cosine(3e-4, 24_000 - 2_160, end=3e-5),
        }
        compared = theory.compare(schedules, law)
        console.print(f"At 24,000 updates: {compared.verdict()}")
        contest = {
            f"{row['name']}, {row['loss']:.3f}": {
                "rates": np.asarray(schedules[str(row["name"])](np.arange(24_000)))[::20].tolist()
            }
            for row in compared.table
        }
        results[size.name] = {**result, "curves": curves, "triples": triples, "contest": contest}
    return results


def predict_124m(directory: Path, console: Console, path: Path) -> dict[str, Any]:
    """Run the protocols on the runs of the 124M study and print the scores."""
    runs = law_protocols.read_schaipp(directory)
    rows = law_protocols.judge(runs, ("auto", "multi-power"))
    console.print(law_protocols.show(rows))
    early, bound = law_protocols.judge_early(runs), law_protocols.judge_bound(runs)
    floor = law_protocols.noise_floor(runs)
    console.print(f"From the first third: {early}\nThe bound: {bound}\nNoise: {floor:.4f}")
    # CPU time: the wall time depends on the load of the machine.
    began = time.process_time()
    theory.fit_loss_law([run.curve for run in runs[:20]])
    seconds = time.process_time() - began
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    console.print(
        f"A fit of 20 curves: {seconds:.1f} s of CPU; peak memory of all {memory:.2f} GiB"
    )
    asked = law_protocols.alternatives(runs)
    console.print(asked.table[["name", "loss", "low", "high", "gap", "gap_error"]])
    console.print(asked.verdict())
    law_protocols.draw(rows, asked, runs, path)
    numbers = {"early": early, "bound": bound, "noise": floor}
    return {"rows": rows, **numbers, "fit of 20": seconds, "memory": memory}


def show(title: str, rows: Sequence[Mapping[str, Any]]) -> Table:
    """Return a table with one row per law."""
    table = Table("law", "MAE", "worst", "R2", "final", "rank", "within", "fit, s", title=title)
    for row in rows:
        table.add_row(
            row["law"],
            f"{row['mae']:.4f}",
            f"{row['worst mae']:.4f}",
            f"{row['r2']:.4f}",
            f"{row['final']:.4f}",
            f"{row['rank']:.2f}",
            f"{row['within']:.2f}" if "within" in row else "",
            f"{row['seconds']:.1f}" if "seconds" in row else "",
        )
    return table


def show_intervals(rows: Sequence[Mapping[str, Any]]) -> Table:
    """Return a table with one row per set of curves and size of the fitted subsets."""
    headings = ("set", "curves", "peak", "runs", "within 95 %", "half the width", "RMS error")
    table = Table(*headings, title="Intervals of final losses, fits to random subsets")
    for row in rows:
        numbers = (f"{row['within']:.2f}", f"{row['half']:.4f}", f"{row['rms']:.4f}")
        table.add_row(row["set"], row["curves"], row["peak"], str(row["runs"]), *numbers)
    return table


def show_contest(title: str, results: Mapping[str, Any]) -> Table:
    """Return a table with one row per compared schedule."""
    headings = ("schedule", "peak", "training", "validation", "predicted", "measured")
    table = Table(*headings, title=title)
    for name, row in results.items():
        table.add_row(
            name,
            f"x{row['factor']:g}",
            *(
                f"{np.mean(row[key]):.4f} ± {np.std(row[key]):.4f}"
                for key in ("training", "held out")
            ),
            f"{row['predicted']:.4f}",
            f"{row['measured']:.4f}",
        )
    return table


def draw(results: Mapping[str, Any], path: Path) -> None:
    """Draw curves with predictions, final losses and compared schedules, one row per workload."""
    size = 15, 4.4 * len(results)
    figure, axes = plt.subplots(len(results), 3, figsize=size, squeeze=False, layout="constrained")
    for (title, result), (left, middle, right) in zip(results.items(), axes, strict=True):
        law = result["laws"]["auto"]
        names = result["unseen"]
        colours = np.resize(COLOURS, len(names))
        for name, colour in zip(names, colours, strict=True):
            curve = result["curves"][name]
            left.plot(curve.steps, curve.losses, color=colour, alpha=0.35, linewidth=2.5)
            line = np.asarray(law.predict(curve.rates, at=curve.steps))
            left.plot(curve.steps, line, color=colour, linewidth=1, label=name)
        ends = np.concatenate([result["curves"][name].losses[-1:] for name in names])
        typical = np.concatenate([np.asarray(result["curves"][name].losses) for name in names])
        left.set_ylim(0.98 * ends.min() if ends.min() > 1 else 0, np.quantile(typical, 0.93))
        left.set(xlabel="update", ylabel="training loss")
        left.set_title(f"{title}: measured (bands), predicted (lines)", fontsize=10)
        left.legend(frameon=False, fontsize=6.5, ncols=2)
        for row, colour, marker in zip(result["rows"][:3], COLOURS, "o^s", strict=False):
            middle.plot(row["observed"], row["ends"], marker, color=colour, label=row["law"], ms=5)
        span = [min(result["rows"][0]["observed"]), max(result["rows"][0]["observed"])]
        middle.plot(span, span, color="#888888", linewidth=0.8)
        middle.set(xlabel="final loss, measured", ylabel="final loss, predicted")
        middle.set_title("schedules without a fitted curve", fontsize=10)
        middle.legend(frameon=False)
        for (name, row), colour in zip(result["contest"].items(), COLOURS, strict=False):
            loss = f", loss {np.mean(row['training']):.4f}" if "training" in row else ""
            right.plot(row["rates"], color=colour, label=f"{name}{loss}")
        right.set(xlabel="update", ylabel="learning rate")
        right.set_title("best schedule by the law", fontsize=10)
        right.legend(frameon=False, fontsize=8)
        for ax in (left, middle, right):
            ax.spines[["top", "right"]].set_visible(False)
            ax.grid(alpha=0.3)
    save(figure, path)


def to_json(value: Any) -> Any:
    """Convert a result for JSON: losses of curves, parameters and standard errors of laws."""
    if isinstance(value, theory.LossCurve):
        return {"steps": value.steps.tolist(), "losses": value.losses.tolist()}
    if isinstance(value, theory.LossLaw):
        return {"numbers": value.numbers, "errors": value.standard_errors()}
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    raise TypeError(value)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the comparison, print the tables, draw the figure and write the numbers."""
    options = tyro.cli(
        Options, prog="python -m benchmarks predict", description=__doc__, args=arguments
    )
    console, began = Console(width=110), time.perf_counter()
    results: dict[str, Any] = {}
    extra: dict[str, Any] = {}
    if options.curves and options.intervals:
        rows = law_protocols.judge_intervals(options.curves)
        extra = {"intervals": rows}
        console.print(show_intervals(rows))
    elif options.curves:
        large = options.curves / "llama-124M"
        if large.is_dir():
            path = options.out.with_name(options.out.stem + "-124M.svg")
            extra = {"124M": predict_124m(large, console, path)}
        results = predict_luo(options.curves, console)
    else:
        use("cpu")
        console.print("About 18 minutes on two busy cores.")
        for name in options.workloads:
            workload = WORKLOADS[name]
            run = run_of(workload, workload.data(), optax.adam)
            result = train_and_score(workload, run, options)
            console.print(show(workload.title, result["rows"]))
            console.print(result["laws"]["auto"].numbers)
            result["left out"] = leave_one_out(result["curves"])
            console.print(f"Each curve from all others: {result['left out']}")
            result["contest"] = compare_schedules(workload, run, result["laws"]["auto"], options)
            console.print(show_contest(workload.title, result["contest"]))
            results[workload.title] = result
    if results:
        draw(results, options.out)
    seconds = time.perf_counter() - began
    record = {"seconds": seconds, "found": results, **extra}
    options.out.with_suffix(".json").write_text(json.dumps(record, indent=1, default=to_json))
    console.print(f"Wrote {options.out} and its numbers as JSON next to it, after {seconds:.0f} s")


if __name__ == "__main__":
    main()
