"""HTML page of the report, and the figures of the documentation."""

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


def page(findings: Findings, tables: Sequence[CostTable], home: str | None = None) -> str:
    """Return the page as HTML; the same study always gives the same page.

    Args:
      findings: Study to report.
      tables: Tables of the cost benchmarks.
      home: Address that the first line of the page links to. None for no link.
    """
    with mpl.rc_context(charts.PANEL):
        parts = {
            "overview": ("Overview", _overview(findings)),
            "sensitivity": ("Which rates are usable", sections.sensitivity(findings)),
            "profiles": ("Updates to a target", sections.profiles(findings)),
            "budgets": ("Short and long runs", sections.budgets(findings)),
            "workloads": ("Workload by workload", sections.workloads(findings)),
            "costs": ("Costs", sections.costs(tables)),
            "method": ("Method", sections.method(findings)),
        }
    return Template((HERE / "page.html").read_text()).substitute(
        title=TITLE,
        style=(HERE / "style.css").read_text().strip(),
        name=escape(findings.name),
        kicker="lrsched benchmarks" if home is None else f'<a href="{home}">lrsched benchmarks</a>',
        lead=_lead(findings),
        summary=sections.summary(findings),
        contents="".join(f'<li><a href="#{n}">{title}</a></li>' for n, (title, _) in parts.items()),
        sections="\n".join(
            f'<section class="{name}"><h2 id="{name}">{title}</h2>{body}</section>'
            for name, (title, body) in parts.items()
        ),
        command=escape(command(findings.name, findings.protocol, findings.trials)),
        made=_made(findings),
    )


def _lead(findings: Findings) -> str:
    protocol = findings.protocol
    confidence = interval(findings.here[0].final["loss"]).confidence
    budgets = ", ".join(f"x{budget:g}" for budget in findings.budgets)
    num_policies = number(len(findings.policies), "policy")
    num_workloads = number(len(findings.workloads), "workload")
    num_budgets = number(len(findings.budgets), "training budget")
    return (
        f"{num_policies} on {num_workloads} of real data at {num_budgets} ({budgets}). Every "
        f"policy has the same tuning budget: {number(protocol.rates, 'rate')} from the same draw, "
        "of which the validation loss selects one. Scores are medians of "
        f"{number(protocol.seeds, 'run')} with other seeds on a test split that was not used for "
        f"the selection, with {confidence:.0%} intervals."
    )


def _overview(findings: Findings) -> str:
    return (
        f"<p>Results at x{findings.budget:g}. <b>Bold</b>: the best median. "
        '<span class="near">Marked</span>: the interval overlaps that of the best policy, so the '
        "seeds do not separate the two. Small: the interval. Ranks are by the test loss, over the "
        "workloads that have all policies at that budget.</p>" + sections.overview(findings)
    )


def _made(findings: Findings) -> str:
    """Return the seed, and the versions and machines of the trials."""
    kinds = dict.fromkeys(json.dumps(trial.made_on, sort_keys=True) for trial in findings.trials)
    lines = [f"Seed {findings.protocol.seed}."]
    for kind in map(json.loads, kinds):
        versions = ", ".join(f"{name} {version}" for name, version in kind["versions"].items())
        machine = ", ".join(f"{name} {value}" for name, value in kind["machine"].items())
        lines.append(f"Versions: {versions}. Machine: {machine}.")
    return escape(" ".join(lines))


def pictures(findings: Findings, folder: Path) -> list[Path]:
    """Write the figures of the documentation and return their paths."""
    drawn = {"courses": _curves(findings), "profiles": _profiles(findings)}
    with mpl.rc_context(charts.PANEL):
        if len(findings.protocol.draw(1.0)) > 1:
            drawn |= {
                "sensitivity": _sensitivity(findings),
                "usable": charts.widths(findings.ranges),
            }
        if len(findings.shared_ranks) > 1:
            drawn["budgets"] = _budgets(findings)
    for name, figure in drawn.items():
        figures.save(figure, folder / f"{name}.svg")
    return [folder / f"{name}.svg" for name in drawn]


def _curves(findings: Findings) -> Figure:
    names = [name for name in findings.workloads if findings.of(name)][:3]
    policies = [name for name in findings.policies if name in SIX] or findings.policies[:6]
    return figures.curves(
        [t for t in findings.here if t.workload in names and t.policy in policies], findings.budget
    )


def _profiles(findings: Findings) -> Figure:
    drawn, factors = sections.profile_data(findings, timed=False)
    return charts.family_grid(
        list(drawn),
        partial(charts.draw_profile, profiles=drawn, factors=factors),
        xlabel="updates to the target, as a multiple of the fewest",
        ylabel="workloads",
    )


def _sensitivity(findings: Findings) -> Figure:
    medians = charts.median_shares(findings.here, findings.least)
    return charts.family_grid(
        list(medians),
        partial(charts.draw_shares, relative=findings.protocol.draw(1.0), medians=medians),
        xlabel="rate, as a multiple of the centre of its range",
        ylabel="fraction of the best decrease of the loss",
    )


def _budgets(findings: Findings) -> Figure:
    return charts.family_grid(
        findings.policies,
        partial(charts.draw_budgets, means=findings.shared_ranks),
        xlabel="budget",
        ylabel="mean rank, lower is better",
    )
