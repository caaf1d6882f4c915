"""Draw every schedule of the library: ``python -m docs.gallery [FILE]`` makes docs/gallery.svg."""

import ast
import doctest
import inspect
import sys
from collections.abc import Mapping
from pathlib import Path

import jax.numpy as jnp
import matplotlib
import numpy as np

import lrsched as lr
from lrsched.pictures import curves

STEPS = 1000
BLUE, GREY = "#0072B2", "#999999"

GALLERY: Mapping[str, Mapping[str, lr.Schedule]] = {
    "constant": {
        "constant": lr.constant(1.0),
        "piecewise_constant": lr.piecewise_constant([1.0, 0.6, 0.3], [300, 700]),
        "table": lr.table(np.abs(np.sin(np.arange(STEPS + 1) / 80)) ** 3),
    },
    "decay": {
        "linear": lr.linear(1.0, 0.0, STEPS),
        "polynomial": lr.polynomial(1.0, 0.0, STEPS, power=2.0),
        "exponential": lr.exponential(1.0, 0.1, every=400),
        "step_decay": lr.step_decay(1.0, 0.5, every=200),
        "multistep": lr.multistep(1.0, [400, 700], factor=0.4),
        "cosine": lr.cosine(1.0, STEPS),
        "k_decay": lr.k_decay(1.0, STEPS, k=2.0),
        "tanh": lr.tanh(1.0, STEPS),
        "rex": lr.rex(1.0, STEPS),
        "hyperbolic": lr.hyperbolic(1.0, STEPS, max_steps=1200),
        "exp_hyperbolic": lr.exp_hyperbolic(1.0, STEPS, max_steps=1200, end=0.05),
        "chebyshev": lr.chebyshev(1.0, 64, ratio=0.1),
        "cosine_waves": lr.cosine_waves(1.0, STEPS, waves=2.5),
        "inverse_sqrt": lr.inverse_sqrt(1.0, timescale=100),
        "inverse_time": lr.inverse_time(1.0, rate=1.0, every=100),
        "power_law": lr.power_law(1.0, exponent=0.8, timescale=100),
        "noam": lr.noam(1.0, width=64, warmup=100),
        "power_scheduler": lr.power_scheduler(0.02, batch_size=128, tokens_per_step=4_000_000),
    },
    "warmup": {
        "warmup": lr.warmup(600),
        "warmup, cosine": lr.warmup(600, "cosine"),
        "warmup, 1-sqrt": lr.warmup(600, "1-sqrt"),
        "log_warmup": lr.log_warmup(600),
        "exponential_warmup": lr.exponential_warmup(200.0),
        "untuned_warmup": lr.untuned_warmup(b2=0.998),
        "radam_warmup": lr.radam_warmup(b2=0.998),
    },
    "phases": {
        "wsd": lr.wsd(1.0, STEPS, warmup=0.1, cooldown=0.3),
        "wsd, linear": lr.wsd(1.0, STEPS, warmup=0.1, cooldown=0.3, ramp="linear"),
        "wsd, cosine": lr.wsd(1.0, STEPS, warmup=0.1, cooldown=0.3, ramp="cosine"),
        "wsd, mirror-cosine": lr.wsd(1.0, STEPS, 0.1, 0.3, ramp="mirror-cosine"),
        "wsd, square": lr.wsd(1.0, STEPS, 0.1, 0.3, ramp="square"),
        "wsd, exponential": lr.wsd(1.0, STEPS, 0.1, 0.3, ramp="exponential"),
        "cooldown": lr.cooldown(lr.warmup(100) * lr.inverse_sqrt(1.0, 200), 700, 300),
        "points": lr.points([0, 200, 700, 1000], [0.0, 1.0, 0.6, 0.0]),
        "points, monotone": lr.points([0, 200, 700, 1000], [0.0, 1.0, 0.6, 0.0], "monotone"),
    },
    "cycles": {
        "triangular": lr.triangular(0.1, 1.0, up_steps=100),
        "triangular, halved": lr.triangular(0.1, 1.0, up_steps=100, cycle_factor=0.5),
        "one_cycle": lr.one_cycle(1.0, STEPS),
        "one_cycle, three phases": lr.one_cycle(1.0, STEPS, three_phase=True),
        "one_cycle_momentum": lr.one_cycle_momentum(0.85, 0.95, STEPS),
        "cosine_restarts": lr.cosine_restarts(1.0, 140, growth=2),
        "cosine_restarts, decayed": lr.cosine_restarts(1.0, 200, decay=0.8, warmup=40),
        "noise": lr.noise(lr.cosine(1.0, STEPS), seed=0, scale=0.1),
    },
    "algebra": {
        "join": lr.warmup(100) * 1.0 >> lr.constant(1.0, 400) >> lr.cosine(1.0, 500),
        "multiply": lr.warmup(100) * lr.step_decay(1.0, 0.5, every=250),
        "add": lr.cosine(0.7, STEPS) + 0.2,
        "minimum": lr.minimum(lr.cosine(1.0, STEPS), lr.constant(0.6)),
        "maximum": lr.maximum(lr.cosine(1.0, STEPS), lr.constant(0.3)),
        "clip": lr.clip(lr.cosine(1.0, STEPS), 0.2, 0.8),
        "repeat": lr.repeat(lr.rex(1.0, 200)),
        "shift": lr.shift(lr.cosine(1.0, 600), 400),
        "edited": lr.edited(lr.cosine(1.0, 600), pace_step=400, pace_position=400, pace_end=STEPS),
        "stretch": lr.stretch(lr.multistep(1.0, [3, 6, 10]), STEPS),
        "staircase": lr.staircase(lr.cosine(1.0, 10), every=100),
        "reverse": lr.reverse(lr.rex(1.0, STEPS)),
        "from_function": lr.from_function(lambda t: jnp.exp(-t / 500) * jnp.cos(t / 70) ** 2),
    },
}


WHEN: Mapping[str, str] = {
    "constant": "The baseline; the stable phase of a run whose end is not known yet.",
    "piecewise_constant": "A recipe that lists its rates and the steps at which they change.",
    "table": "A curve that was recorded or computed elsewhere, step by step.",
    "linear": "A known budget and nothing to tune but the peak: to zero, after a warmup.",
    "polynomial": "A recipe that names a power: between a line and a decay that is fast first.",
    "exponential": "A fixed ratio from one period to the next, for runs of any length.",
    "step_decay": "A recipe that lowers the rate at regular intervals, such as every 30 epochs.",
    "multistep": "A recipe that lowers the rate at given steps.",
    "cosine": "A known budget; it stays higher than a line at first and is flat at its end.",
    "k_decay": "A cosine that stays near its peak for longer.",
    "tanh": "Long stretches near both rates, with a smooth fall between them.",
    "rex": "A short budget: the rate stays high and falls late.",
    "hyperbolic": "Runs of several lengths that begin nearly alike.",
    "exp_hyperbolic": "As `hyperbolic`, over several orders of magnitude.",
    "chebyshev": "Gradient descent on a problem near a quadratic, whose curvatures are known.",
    "cosine_waves": "A recipe of transformers with `num_cycles` other than a half.",
    "inverse_sqrt": "No known budget: it never ends; a cooldown can begin at any step.",
    "inverse_time": "Stochastic approximation; the rate falls early.",
    "power_law": "An exponent between those of the two above, fitted to your runs.",
    "noam": "A recipe that follows the original Transformer.",
    "power_scheduler": "Language models under muP, with a budget in tokens that is still open.",
    "warmup": "Adam, large batches, large peaks: the first updates are the dangerous ones.",
    "log_warmup": "A recipe of DeepSpeed, whose warmup is logarithmic by default.",
    "exponential_warmup": "A rise without a corner at its end.",
    "untuned_warmup": "Adam, without tuning the length of the warmup.",
    "radam_warmup": "RAdam's warmup for plain Adam, as a schedule that can be drawn and changed.",
    "wsd": "A budget that may grow, or a peak that cannot be tuned well: its range is wide.",
    "cooldown": "To end any schedule from any step on, any number of times.",
    "points": "A curve given by a few values, or found by a search.",
    "triangular": "Several dips to average models from, or a peak known by its range only.",
    "one_cycle": "One budget, known beforehand, and a high peak in its first third.",
    "one_cycle_momentum": "Beside `one_cycle`: low momentum where the rate is high.",
    "cosine_restarts": "Models at several lengths from one run: one at the end of each cycle.",
    "noise": "To test whether a result depends on the exact curve.",
    "join": "Phases one after another: a warmup, then the rest.",
    "multiply": "A warmup, or a factor that a search varies, times any schedule.",
    "add": "A floor that is added, in place of one that clips.",
    "minimum": "A ceiling that varies with the step.",
    "maximum": "A floor that varies with the step.",
    "clip": "A floor and a ceiling that are numbers.",
    "repeat": "Cycles of any shape.",
    "shift": "To begin later, or in the middle of a schedule.",
    "edited": "What a running job's rate reads back as; seldom written.",
    "stretch": "A recipe for 100 epochs in another number of steps.",
    "staircase": "A recipe that changes the rate once an epoch, or once every few updates.",
    "reverse": "A rise made of a decay.",
    "from_function": "An optax schedule, or any other function of the step.",
}
"""When to use each schedule, in one sentence."""


def draw(file: Path) -> None:
    """Draw one small picture for each schedule, in the order of the families."""
    matplotlib.use("agg")
    from matplotlib import pyplot

    from benchmarks.figures import save

    panels = [
        (family, title, schedule)
        for family, schedules in pictures().items()
        for title, schedule in schedules.items()
    ]
    columns = 6
    rows = -(-len(panels) // columns)
    figure, axes = pyplot.subplots(rows, columns, figsize=(2.1 * columns, 1.55 * rows))
    for axis in axes.flat:
        axis.set_axis_off()
    for axis, (family, title, schedule) in zip(axes.flat, panels, strict=False):
        steps = np.arange(shown_steps(schedule) + 1)
        axis.set_axis_on()
        axis.plot(steps, schedule(steps), color=BLUE, linewidth=1.4)
        axis.axhline(0, color=GREY, linewidth=0.6)
        axis.set_title(title, fontsize=8, loc="left")
        axis.set_title(family, fontsize=6, loc="right", color=GREY)
        axis.margins(x=0.02, y=0.1)
        axis.set_xticks([])
        axis.set_yticks([])
        axis.spines[:].set_visible(False)
    figure.tight_layout(h_pad=0.6, w_pad=0.6)
    save(figure, file)


def shown_steps(schedule: lr.Schedule) -> int:
    """Return the number of steps to draw: a short horizon, or ``STEPS``."""
    is_short = schedule.horizon is not None and 0 < schedule.horizon < STEPS // 10
    return schedule.horizon if is_short else STEPS


def svg(title: str, schedule: lr.Schedule) -> str:
    """Return the picture of a schedule on a card."""
    at, values = curves.sample(schedule, shown_steps(schedule), count=240)
    return curves.svg(at, values, title, height=80)


FAMILIES: Mapping[str, str] = {"power": "decay", "multiphase": "phases", "cyclic": "cycles"}
"""Family of the schedules of a module, where it is not the module's name."""


def pictures() -> Mapping[str, Mapping[str, lr.Schedule]]:
    """Return all schedules to draw, by family and title.

    A schedule that GALLERY lacks is drawn from the first example of its docstring, so that a new
    one needs no entry here.
    """
    result = {family: dict(schedules) for family, schedules in GALLERY.items()}
    for name in sorted(missing()):
        module = getattr(lr, name).__module__.rpartition(".")[2]
        family = result.setdefault(FAMILIES.get(module, module), {})
        family[name] = eval(example(name), {"lrsched": lr})
    return result


def example(name: str) -> str:
    """Return the first call of a schedule in the examples of its docstring."""
    examples = doctest.DocTestParser().get_examples(inspect.getdoc(getattr(lr, name)) or "")
    for node in (node for each in examples for node in ast.walk(ast.parse(each.source))):
        if isinstance(node, ast.Call) and ast.unparse(node.func) == f"lrsched.{name}":
            return ast.unparse(node)
    raise ValueError(f"{name} has no example; its docstring must call lrsched.{name}(...).")


def missing() -> set[str]:
    """Return the schedules that have no entry in GALLERY."""
    factories = {
        name
        for name in lr.__all__
        if inspect.isfunction(getattr(lr, name))
        and inspect.signature(getattr(lr, name)).return_annotation is lr.Schedule
    }
    shown = {title.split(",")[0] for schedules in GALLERY.values() for title in schedules}
    return factories - shown - {"as_schedule", "from_dict", "learning_rate_schedule"}


if __name__ == "__main__":
    draw(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent / "gallery.svg")
