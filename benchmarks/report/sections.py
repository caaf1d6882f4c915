"""The sections of the page, each a function of what was found."""

from collections.abc import Callable, Sequence
from html import escape

import numpy as np
from matplotlib.figure import Figure

from benchmarks.analysis import (
    Interval,
    Usable,
    diverged,
    edge,
    interval,
    profile,
    score,
    steps_to,
)
from benchmarks.costs import CostTable
from benchmarks.report import charts
from benchmarks.report.findings import Findings, number, rivals, sentences
from benchmarks.report.svg import VARIABLES, inline
from benchmarks.workloads import WORKLOADS

LOWEST, HIGHEST = "⤓", "⤒"
"""Marks of a chosen rate at an edge of those that were tried."""
FACTOR = 8.0
"""The greatest in a performance profile."""


def summary(found: Findings) -> str:
    """The sentences that the numbers give."""
    items = (f"<dt>{about}</dt><dd>{escape(text)}</dd>" for about, text in sentences(found))
    return f'<dl class="findings">{"".join(items)}</dl>'


def overview(found: Findings) -> str:
    """The table of workloads and policies."""
    metrics = {w: {t.policy: interval(score(t)) for t in found.of(w)} for w in found.workloads}
    losses = {w: found.test_losses(w) for w in found.workloads}
    shown = [workload for workload in found.workloads if losses[workload]]
    head = [
        '<tr><th rowspan="2" scope="col">policy</th>'
        f'<th colspan="{len(found.budgets)}" scope="colgroup">mean rank at</th>',
        *(
            f'<th class="wrap" scope="col">{escape(WORKLOADS[workload].title)}</th>'
            for workload in shown
        ),
        "</tr><tr>",
        *(f'<th scope="col">x{budget:g}</th>' for budget in found.budgets),
        *(
            f"<th>test {escape(WORKLOADS[workload].metric.__name__)}<br>test loss</th>"
            for workload in shown
        ),
        "</tr>",
    ]
    best_ranks = {budget: min(means.values()) for budget, means in found.ranks.items()}
    body = []
    for family, policies in charts.families(found.policies).items():
        width = 1 + len(found.budgets) + len(shown)
        body.append(
            f'<tr class="family"><th scope="rowgroup">{escape(family)}</th>'
            f'<td colspan="{width - 1}"></td></tr>'
        )
        for policy in policies:
            cells = [f'<th scope="row">{escape(policy)}</th>']
            for budget in found.budgets:
                mean = found.ranks[budget].get(policy, np.nan)
                text = f"{mean:.1f}" if np.isfinite(mean) else "-"
                cells.append(
                    f"<td><b>{text}</b></td>" if mean == best_ranks[budget] else f"<td>{text}</td>"
                )
            for workload in shown:
                if policy not in losses[workload]:
                    cells.append("<td>-</td>")
                    continue
                by_metric = {name: _turned(of) for name, of in metrics[workload].items()}
                lines = [
                    _score(policy, metrics[workload], rivals(by_metric), "{:.3f}".format),
                    _score(policy, losses[workload], rivals(losses[workload]), loss),
                ]
                gone = diverged(found.by_key[workload, policy, found.budget])
                if gone:
                    seeds = len(found.by_key[workload, policy, found.budget].seeds)
                    lines.append(f'<span class="diverged">{gone} of {seeds} diverged</span>')
                cells.append(f"<td>{'<br>'.join(lines)}</td>")
            body.append(f"<tr>{''.join(cells)}</tr>")
    return scrolled(
        f'<table class="overview"><thead>{"".join(head)}</thead>'
        f"<tbody>{''.join(body)}</tbody></table>",
        "Test metric and test loss of every policy on every workload",
    )


def _turned(of: Interval) -> Interval:
    """The same where less is better."""
    return Interval(-of.median, -of.high, -of.low, of.confidence)


def _score(
    policy: str,
    found: dict[str, Interval],
    leading: tuple[str, list[str]],
    form: Callable[[float], str],
) -> str:
    best, others = leading
    text = with_interval(found[policy], form)
    # Ties with the best to the last digit are as good as it.
    if found[policy].median == found[best].median:
        return f'<span class="best">{text}</span>'
    return f'<span class="near">{text}</span>' if policy in others else f"<span>{text}</span>"


def loss(value: float) -> str:
    """Three digits of a loss.

    >>> from benchmarks.report.sections import loss
    >>> loss(0.1), loss(2.0)
    ('0.100', '2.00')
    """
    return f"{value:#.3g}".rstrip(".")


def with_interval(of: Interval, form: Callable[[float], str] = loss) -> str:
    """A median and the ends of its interval; infinite is written as diverged."""

    def one(value: float) -> str:
        return form(value) if np.isfinite(value) else "∞" if value > 0 else "-∞"

    median = one(of.median) if np.isfinite(of.median) else "diverged"
    return f"{median} <small>{one(of.low)} to {one(of.high)}</small>".replace("-", "\N{MINUS SIGN}")


def profiles(found: Findings) -> str:
    """Performance profiles of the updates to the targets, and of the seconds."""
    names = dict.fromkeys(trial.workload for trial in found.whole)
    if not names:
        return "<p>No workload has all policies, so there is nothing to compare.</p>"
    targets = ", ".join(f"{WORKLOADS[name].target:g} on {name}" for name in names)
    costs = found.costs(timed=False)
    unreached = [
        name
        for place, name in enumerate(names)
        if not any(np.isfinite(cost[place]) for cost in costs.values())
    ]
    note = f" No policy reached it on {', '.join(unreached)}." if unreached else ""
    return (
        f"<p>How often a policy reaches the target (a validation loss of {escape(targets)}), by "
        "the median of its runs, within a factor of the policy that needs the fewest updates. "
        f"Left: how often it is the fastest; right: how often it gets there within {FACTOR:g} "
        f"times the fewest. Faint: all other policies.{escape(note)}</p>"
        + _profile_panels(found, timed=False)
        + "<details><summary>The same by time</summary><p>Updates times the seconds of one update "
        "of one run, as measured while the policy's runs trained side by side in one program: a "
        "share of throughput, not the time of a run on its own, and with all else that the machine "
        "did at that time.</p>" + _profile_panels(found, timed=True) + "</details>"
    )


def profile_data(found: Findings, *, timed: bool) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """The profiles of all policies, and the factors that they are of."""
    costs = found.costs(timed=timed)
    factors = np.geomspace(1, FACTOR, 97)
    return profile(costs, factors), factors


def _profile_panels(found: Findings, *, timed: bool) -> str:
    drawn, factors = profile_data(found, timed=timed)
    what = "seconds" if timed else "updates"
    figures = []
    for family, policies in charts.groups(list(drawn)).items():
        figure = charts.panel()
        ax = figure.add_subplot()
        charts.draw_profile(ax, drawn, factors, policies)
        ax.set(title=family, xlabel=f"{what}, times the fewest")
        figures.append((figure, f"profile of {what}: {family}"))
    return panels(figures, f"profile-{what}")


def budgets(found: Findings) -> str:
    """How policies rank at each budget."""
    means = found.shared_ranks
    if len(means) < 2:
        return "<p>The study has one budget, or no workload that has every policy at each.</p>"
    figures = []
    for family, policies in charts.groups(found.policies).items():
        figure = charts.panel(right=122)
        ax = figure.add_subplot()
        charts.draw_budgets(ax, means, policies)
        ax.set(title=family, xlabel="budget")
        figures.append((figure, f"mean rank at each budget: {family}"))
    return (
        "<p>Mean ranks by the median test loss, the best on top, over the workloads that have "
        f"every budget: {escape(', '.join(found.everywhere))}. Rates are tuned at each budget "
        "anew. Where lines cross, the advice depends on the budget.</p>"
        + panels(figures, "budgets")
    )


def sensitivity(found: Findings) -> str:
    """The usable rates, and what each rate brings."""
    relative = found.protocol.draw(1.0)
    if len(relative) < 2:
        return "<p>One rate was tried, so nothing is known about others.</p>"
    widths = charts.widths(found.ranges)
    medians = charts.median_shares(found.here, found.least)
    by_family = []
    for family, policies in charts.groups(list(medians)).items():
        figure = charts.panel()
        ax = figure.add_subplot()
        charts.draw_shares(ax, relative, medians, policies)
        ax.set(title=family, xlabel="rate, times the middle of its range")
        by_family.append((figure, f"share of the best fall of the loss at each rate: {family}"))
    return (
        '<div class="beside"><div>'
        "<p>A rate is <b>usable</b> if the validation loss falls by 95 % or more of what it falls "
        "by under the best rate of the best policy. The wider the range of usable rates, the less "
        "a wrong guess costs. The bar is the median over the workloads; a circle is a workload, a "
        "triangle one whose range goes on beyond the "
        f"{found.protocol.decades:g} decades that were tried. Zero: no rate that was tried is "
        "usable.</p>"
        + legend(found)
        + "</div>"
        + panels([(widths, "decades of usable rates of each policy")], "widths", "single")
        + "</div>"
        + "<p>What each rate brings: the fall of the loss as a share of the best one, the median "
        "over the workloads. Rates are relative to the middle of what was tried: the workload's "
        "own rate for Adam and what is built on it, 1 for methods that find the rate. Faint: all "
        "other policies; dotted: 95 %.</p>"
        + panels(by_family, "shares")
        + f"<details><summary>Usable rates on every workload</summary>{_ranges(found)}</details>"
    )


def _ranges(found: Findings) -> str:
    shown = [name for name in found.workloads if found.of(name)]
    rows = [
        [policy, f"{found.widths[policy]:.1f}"]
        + [_range(ranges[name]) if name in ranges else "-" for name in shown]
        for policy, ranges in found.ranges.items()
    ]
    return table(["policy", "decades, median", *shown], rows, "Usable rates on every workload")


def _range(found: tuple[Usable, bool]) -> str:
    width, is_bounded = found
    if not width.decades:
        return "none"
    return f"{width.low:.1g} to {width.high:.1g}" + ("" if is_bounded else " +")


def workloads(found: Findings) -> str:
    """Curves, rates and scores of every workload, folded up."""
    return "".join(_workload(found, name) for name in found.workloads if found.of(name))


def _workload(found: Findings, name: str) -> str:
    workload, trials = WORKLOADS[name], found.of(name)
    first = trials[0]
    names = [trial.policy for trial in trials]
    relative = found.protocol.draw(1.0)
    courses, rates = [], []
    for family, policies in charts.groups(names).items():
        figure = charts.panel(340, 290)
        losses, applied = figure.subplots(2, 1, height_ratios=[2, 1])
        charts.draw_course(losses, applied, trials, policies)
        losses.set_title(f"{family}: loss")
        applied.set_title("learning rate", size=11, weight="normal", color=charts.MUTED, pad=3)
        applied.set_xlabel("update")
        courses.append((figure, f"{name}: validation loss and learning rate, {family}"))
        figure = charts.panel()
        ax = figure.add_subplot()
        charts.draw_sensitivity(ax, relative, trials, policies)
        ax.set(title=family, xlabel="rate, times the middle of its range")
        rates.append((figure, f"{name}: final validation loss at each rate, {family}"))
    best, others = rivals(found.test_losses(name))
    sweep = (
        "<h4>Final validation loss of every rate</h4><p>The middle is "
        f"{workload.around:g} for Adam and what is built on it, 1 for methods that find the rate. "
        "Crosses: rates at which a run diverged.</p>" + panels(rates, f"rates-{name}")
        if len(relative) > 1
        else ""
    )
    return (
        f'<details class="workload" id="{name}"><summary><b>{escape(workload.title)}</b> '
        f"<span>{first.steps} updates of {first.batch_size} examples; best test loss: "
        f"{escape(best)}, {len(others)} of {len(trials) - 1} others tied</span></summary>"
        f"<p>{escape(_about(name))}</p>"
        "<h4>Validation loss, and the learning rate beneath</h4><p>Medians over the seeds in bands "
        "of their intervals; faint: all other policies. A line ends where half of the runs have "
        "diverged.</p>"
        + panels(courses, f"courses-{name}")
        + sweep
        + "<h4>Chosen rates and scores</h4>"
        + _scores(found, name)
        + "</details>"
    )


def _about(name: str) -> str:
    """What the workload is made of."""
    workload = WORKLOADS[name]
    return (
        f"{name}. Data: {workload.source}. Target: a validation loss of {workload.target:g}. "
        f"Metric: {workload.metric.__name__}. Budgets: "
        f"{', '.join(f'x{b:g} ({workload.steps_of(b)} updates)' for b in workload.budgets)}."
    )


def _scores(found: Findings, name: str) -> str:
    target = WORKLOADS[name].target
    rows = []
    for trial in found.of(name):
        rates = []
        for budget in found.budgets:
            own = found.by_key.get((name, trial.policy, budget))
            mark = {"lowest": LOWEST, "highest": HIGHEST, "": ""}[edge(own)] if own else ""
            rates.append(f"{own.rate:.2g}{mark}" if own else "-")
        reached = interval(steps_to(trial, target))
        gone = diverged(trial)
        rows.append(
            [
                trial.policy,
                *rates,
                _range(found.ranges[trial.policy][name]),
                Html(with_interval(interval(trial.final["loss"]))),
                Html(with_interval(interval(trial.final["test_loss"]))),
                Html(with_interval(interval(score(trial)), "{:.3f}".format)),
                f"{reached.median:.0f}" if np.isfinite(reached.median) else "-",
                f"{gone} of {len(trial.seeds)}" if gone else "0",
                trial.schedule,
            ]
        )
    headings = [
        "policy",
        *(f"rate at x{budget:g}" for budget in found.budgets),
        "usable",
        "validation loss",
        "test loss",
        f"test {WORKLOADS[name].metric.__name__}",
        f"updates to {target:g}",
        "diverged",
        "schedule",
    ]
    note = (
        f"<p><small>{LOWEST} the lowest rate that was tried, {HIGHEST} the highest: a better one "
        "may lie beyond. + the usable range goes on beyond what was tried.</small></p>"
    )
    return table(headings, rows, f"Chosen rates and scores on {name}") + note


def costs(tables: Sequence[CostTable]) -> str:
    """A table a measurement."""
    if not tables:
        return "<p>No measurements of costs lie beside the study.</p>"
    parts = []
    for place, found in enumerate(tables):
        versions = ", ".join(f"{name} {version}" for name, version in found.versions.items())
        parts.append(
            f"<details{' open' if not place else ''}>"
            f"<summary><b>{escape(found.title)}</b></summary>"
            f"<p>{escape(found.caption)}</p>{table(found.columns, found.rows, found.title)}"
            f"<p><small><code>{escape(found.command)}</code> {escape(versions)}</small></p>"
            "</details>"
        )
    return "".join(parts)


def method(found: Findings) -> str:
    """The protocol in full, the data, the limits."""
    protocol = found.protocol
    middle = next(trial for trial in found.here)
    confidence = interval(middle.final["loss"]).confidence
    evaluations = sorted({len(trial.evaluated) for trial in found.trials})
    sources = "".join(
        f"<li>{escape(WORKLOADS[name].title)}: {escape(WORKLOADS[name].source)}.</li>"
        for name in found.workloads
    )
    tuned = " or ".join(map(str, sorted({t.tuning["loss"].shape[1] for t in found.trials})))
    return f"""<ol>
<li><b>Tuning.</b> Every policy has {number(protocol.rates, "rate")} to try on every workload at
every budget, from the same draw: one from each of {protocol.rates} equal parts of
{protocol.decades:g} decades, uniform in the logarithm, around the workload's own rate, or around 1
for a method that finds the rate itself. Seeds that each is trained with: {tuned}. The lowest mean
final validation loss chooses. Nothing else of a policy is tuned: warmups, cooldowns, factors and
patience are as they are named.</li>
<li><b>Scoring.</b> {number(protocol.seeds, "run")} with other seeds at the chosen rate. Reported is
the median, with the interval of order statistics that holds the true median with a confidence of
{confidence:.0%}, whatever the distribution. The test split chose nothing.</li>
<li><b>Alike.</b> Runs of one seed begin with the same parameters and see the same mini-batches
under every policy. The held-out splits are evaluated {" or ".join(map(str, evaluations))} times in
a run, at equal distances.</li>
<li><b>Ranks</b> are by the median test loss within a workload and a budget; their means are over
the workloads that have all policies. <b>Profiles</b> are those of Dolan and Moré (2002).</li>
</ol>
<h3>Data</h3><ul>{sources}</ul>
<h3>Limits</h3><ul>
<li>Models and data are small, and runs are short: they say how policies differ here, not how they
would for a large language model.</li>
<li>Where intervals overlap, {number(protocol.seeds, "seed")} do not tell two policies apart; that
does not make them equal.</li>
<li>Between two tried rates the loss is taken to be a straight line over the logarithm, and the
usable range goes from the first usable rate to the last, with whatever lies between.</li>
<li>A target is seen reached at an evaluation, so updates to it are in steps of a
{max(evaluations)}th of a run.</li>
<li>Seconds are of runs side by side on one machine.</li>
<li>Policies drive Adam, or are built on it or beside it; other optimizers may rank schedules
otherwise.</li>
</ul>
<p>All trials, with every rate, seed and curve: <code>{escape(found.data)}</code>, as
<code>benchmarks.store.read_study</code> reads it.</p>"""


def legend(found: Findings) -> str:
    """The colours of the families."""
    items = (
        f'<li><i style="background: {css(charts.family_colour(names[0]))}"></i>'
        f"{escape(family)}</li>"
        for family, names in charts.families(found.policies).items()
    )
    return f'<ul class="legend">{"".join(items)}</ul>'


def css(colour: str) -> str:
    """A colour of the charts as the page's variable."""
    return f"var(--{VARIABLES[colour]})"


class Html(str):
    """Words that are markup already."""


def table(headings: Sequence[str], rows: Sequence[Sequence[str]], label: str) -> str:
    """A table whose first column stays while the others scroll."""
    head = "".join(f'<th scope="col">{escape(text)}</th>' for text in headings)
    body = "".join(
        f'<tr><th scope="row">{_cell(row[0])}</th>'
        + "".join(f"<td>{_cell(cell)}</td>" for cell in row[1:])
        + "</tr>"
        for row in rows
    )
    return scrolled(f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>", label)


def _cell(text: str) -> str:
    return text if isinstance(text, Html) else escape(text)


def scrolled(inner: str, label: str) -> str:
    """In a box that scrolls sideways by itself, with the keyboard too."""
    return (
        f'<div class="scroll" role="region" tabindex="0" aria-label="{escape(label)}">{inner}</div>'
    )


def panels(figures: Sequence[tuple[Figure, str]], name: str, kind: str = "panels") -> str:
    """Charts beside each other as far as there is room."""
    drawn = (
        f"<figure>{inline(figure, f'{name}-{place}', label)}</figure>"
        for place, (figure, label) in enumerate(figures)
    )
    return f'<div class="{kind}">{"".join(drawn)}</div>'
