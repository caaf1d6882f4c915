"""The page as a whole, and the pictures for the docs."""

import json
from collections.abc import Sequence
from functools import partial
from html import escape
from pathlib import Path
from string import Template

import matplotlib as mpl
from matplotlib.figure import Figure

from benchmarks import figures
from benchmarks.analysis import interval
from benchmarks.costs import CostTable
from benchmarks.policies import SIX
from benchmarks.report import charts, sections
from benchmarks.report.findings import Findings, command, number

HERE = Path(__file__).parent
TITLE = "Learning-rate policies, tuned alike"


def page(found: Findings, tables: Sequence[CostTable], home: str | None = None) -> str:
    """Returns all of it as HTML; the same study gives the same page.

    ``home`` is the address of the page to which the first line leads back, where there is one.
    """
    with mpl.rc_context(charts.PANEL):
        parts = {
            "overview": ("Overview", _overview(found)),
            "sensitivity": ("Which rates are usable", sections.sensitivity(found)),
            "profiles": ("Updates to a target", sections.profiles(found)),
            "budgets": ("Short and long runs", sections.budgets(found)),
            "workloads": ("Workload by workload", sections.workloads(found)),
            "costs": ("What it costs", sections.costs(tables)),
            "method": ("How it was done", sections.method(found)),
        }
    return Template((HERE / "page.html").read_text()).substitute(
        title=TITLE,
        style=(HERE / "style.css").read_text().strip(),
        name=escape(found.name),
        kicker="lrsched benchmarks" if home is None else f'<a href="{home}">lrsched benchmarks</a>',
        lead=_lead(found),
        summary=sections.summary(found),
        contents="".join(f'<li><a href="#{n}">{title}</a></li>' for n, (title, _) in parts.items()),
        sections="\n".join(
            f'<section class="{name}"><h2 id="{name}">{title}</h2>{body}</section>'
            for name, (title, body) in parts.items()
        ),
        command=escape(command(found.name, found.protocol, found.trials)),
        made=_made(found),
    )


def _lead(found: Findings) -> str:
    protocol = found.protocol
    confidence = interval(found.here[0].final["loss"]).confidence
    budgets = ", ".join(f"x{budget:g}" for budget in found.budgets)
    return (
        f"{number(len(found.policies), 'policy')} on {number(len(found.workloads), 'workload')} of "
        f"real data at {number(len(found.budgets), 'training budget')} ({budgets}). Every policy "
        f"has the same tuning budget: {number(protocol.rates, 'rate')} from the same draw, of "
        "which the validation loss chooses one. Scores are medians of "
        f"{number(protocol.seeds, 'run')} with other seeds on a test split that chose nothing, "
        f"with {confidence:.0%} intervals."
    )


def _overview(found: Findings) -> str:
    return (
        f"<p>At x{found.budget:g}. <b>Bold</b>: the best median. "
        '<span class="near">marked</span>: its interval overlaps the best one\'s, so the seeds do '
        "not tell the two apart. Small: the interval. Ranks are by the test loss, over the "
        "workloads that have all policies at that budget.</p>" + sections.overview(found)
    )


def _made(found: Findings) -> str:
    """Versions, machine and seed; every one if trials are of several."""
    kinds = dict.fromkeys(json.dumps(trial.made_on, sort_keys=True) for trial in found.trials)
    lines = [f"Seed {found.protocol.seed}."]
    for kind in map(json.loads, kinds):
        versions = ", ".join(f"{name} {version}" for name, version in kind["versions"].items())
        machine = ", ".join(f"{name} {value}" for name, value in kind["machine"].items())
        lines.append(f"Versions: {versions}. Machine: {machine}.")
    return escape(" ".join(lines))


def pictures(found: Findings, folder: Path) -> list[Path]:
    """Writes the pictures that the docs show."""
    drawn = {"courses": _courses(found), "profiles": _profiles(found)}
    with mpl.rc_context(charts.PANEL):
        if len(found.protocol.draw(1.0)) > 1:
            drawn |= {"sensitivity": _sensitivity(found), "usable": charts.widths(found.ranges)}
        if len(found.shared_ranks) > 1:
            drawn["budgets"] = _budgets(found)
    for name, figure in drawn.items():
        figures.save(figure, folder / f"{name}.png")
    return [folder / f"{name}.png" for name in drawn]


def _courses(found: Findings) -> Figure:
    names = [name for name in found.workloads if found.of(name)][:3]
    policies = [name for name in found.policies if name in SIX] or found.policies[:6]
    return figures.courses(
        [t for t in found.here if t.workload in names and t.policy in policies], found.budget
    )


def _profiles(found: Findings) -> Figure:
    drawn, factors = sections.profile_data(found, timed=False)
    return charts.grid(
        {
            family: partial(charts.draw_profile, profiles=drawn, factors=factors, about=names)
            for family, names in charts.groups(list(drawn)).items()
        },
        xlabel="updates to the target, times the fewest",
        ylabel="workloads",
    )


def _sensitivity(found: Findings) -> Figure:
    medians = charts.median_shares(found.here, found.least)
    relative = found.protocol.draw(1.0)
    return charts.grid(
        {
            family: partial(charts.draw_shares, relative=relative, found=medians, about=names)
            for family, names in charts.groups(list(medians)).items()
        },
        xlabel="rate, times the middle of what was tried",
        ylabel="share of the best fall of the loss",
    )


def _budgets(found: Findings) -> Figure:
    means = found.shared_ranks
    return charts.grid(
        {
            family: partial(charts.draw_budgets, means=means, about=names)
            for family, names in charts.groups(found.policies).items()
        },
        xlabel="budget",
        ylabel="mean rank, lower is better",
    )
