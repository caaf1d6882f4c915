"""Sections of the page, each a function from the findings to HTML."""

from collections.abc import Callable, Sequence
from functools import partial
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
"""Marks of a selected rate that is the lowest or the highest tuned rate."""
FACTOR = 8.0
"""Greatest factor of a performance profile."""


def summary(findings: Findings) -> str:
    """Return the list of generated sentences."""
    items = (f"<dt>{about}</dt><dd>{escape(text)}</dd>" for about, text in sentences(findings))
    return f'<dl class="findings">{"".join(items)}</dl>'


def overview(findings: Findings) -> str:
    """Return the table of ranks and scores, with a row per policy and a column per workload."""
    metrics = {
        w: {t.policy: interval(score(t)) for t in findings.of(w)} for w in findings.workloads
    }
    losses = {w: findings.test_losses(w) for w in findings.workloads}
    shown = [workload for workload in findings.workloads if losses[workload]]
    head = [
        '<tr><th rowspan="2" scope="col">policy</th>'
        f'<th colspan="{len(findings.budgets)}" scope="colgroup">mean rank at</th>',
        *(
            f'<th class="wrap" scope="col">{escape(WORKLOADS[workload].title)}</th>'
            for workload in shown
        ),
        "</tr><tr>",
        *(f'<th scope="col">x{budget:g}</th>' for budget in findings.budgets),
        *(
            f"<th>test {escape(WORKLOADS[workload].metric.__name__)}<br>test loss</th>"
            for workload in shown
        ),
        "</tr>",
    ]
    best_ranks = {budget: min(means.values()) for budget, means in findings.ranks.items()}
    body = []
    for family, policies in charts.families(findings.policies).items():
        width = 1 + len(findings.budgets) + len(shown)
        body.append(
            f'<tr class="family"><th scope="rowgroup">{escape(family)}</th>'
            f'<td colspan="{width - 1}"></td></tr>'
        )
        for policy in policies:
            cells = [f'<th scope="row">{escape(policy)}</th>']
            for budget in findings.budgets:
                mean = findings.ranks[budget].get(policy, np.nan)
                text = f"{mean:.1f}" if np.isfinite(mean) else "-"
                cells.append(
                    f"<td><b>{text}</b></td>" if mean == best_ranks[budget] else f"<td>{text}</td>"
                )
            for workload in shown:
                if policy not in losses[workload]:
                    cells.append("<td>-</td>")
                    continue
                by_metric = {name: _negated(value) for name, value in metrics[workload].items()}
                lines = [
                    _score(policy, metrics[workload], rivals(by_metric), "{:.3f}".format),
                    _score(policy, losses[workload], rivals(losses[workload]), loss),
                ]
                gone = diverged(findings.by_key[workload, policy, findings.budget])
                if gone:
                    seeds = len(findings.by_key[workload, policy, findings.budget].seeds)
                    lines.append(f'<span class="diverged">{gone} of {seeds} diverged</span>')
                cells.append(f"<td>{'<br>'.join(lines)}</td>")
            body.append(f"<tr>{''.join(cells)}</tr>")
    return scrolled(
        f'<table class="overview"><thead>{"".join(head)}</thead>'
        f"<tbody>{''.join(body)}</tbody></table>",
        "Test metric and test loss of every policy on every workload",
    )


def _negated(value: Interval) -> Interval:
    """Return the interval of the negated values, for which lower is better."""
    return Interval(-value.median, -value.high, -value.low, value.confidence)


def _score(
    policy: str,
    intervals: dict[str, Interval],
    leading: tuple[str, list[str]],
    form: Callable[[float], str],
) -> str:
    best, others = leading
    text = with_interval(intervals[policy], form)
    # A policy whose median equals the best one is marked as best as well.
    if intervals[policy].median == intervals[best].median:
        return f'<span class="best">{text}</span>'
    return f'<span class="near">{text}</span>' if policy in others else f"<span>{text}</span>"


def loss(value: float) -> str:
    """Format a loss with three significant digits.

    >>> from benchmarks.report.sections import loss
    >>> loss(0.1), loss(2.0)
    ('0.100', '2.00')
    """
    return f"{value:#.3g}".rstrip(".")


def with_interval(value: Interval, form: Callable[[float], str] = loss) -> str:
    """Return a median with its interval as HTML; an infinite median becomes "diverged"."""

    def format_end(end: float) -> str:
        return form(end) if np.isfinite(end) else "∞" if end > 0 else "-∞"

    median = format_end(value.median) if np.isfinite(value.median) else "diverged"
    text = f"{median} <small>{format_end(value.low)} to {format_end(value.high)}</small>"
    return text.replace("-", "\N{MINUS SIGN}")


def profiles(findings: Findings) -> str:
    """Return performance profiles of the updates to the targets, and of the time."""
    names = dict.fromkeys(trial.workload for trial in findings.whole)
    if not names:
        return "<p>No workload has all policies, so there is nothing to compare.</p>"
    targets = ", ".join(f"{WORKLOADS[name].target:g} on {name}" for name in names)
    costs = findings.costs(timed=False)
    unreached = [
        name
        for place, name in enumerate(names)
        if not any(np.isfinite(cost[place]) for cost in costs.values())
    ]
    note = f" No policy reached it on {', '.join(unreached)}." if unreached else ""
    return (
        "<p>Fraction of the workloads on which a policy reaches the target (a validation loss of "
        f"{escape(targets)}) within a factor of the fewest updates of any policy. The number of "
        "updates is the median of the runs. The left end shows how often a policy is the fastest; "
        f"the right end, how often it needs at most {FACTOR:g} times the fewest updates. Faint "
        f"lines: all other policies.{escape(note)}</p>"
        + _profile_panels(findings, timed=False)
        + "<details><summary>Profiles of the time</summary><p>Number of updates times the seconds "
        "of one update. The seconds are measured while the runs of a policy train side by side in "
        "one program, so they are a share of the throughput, not the time of a single run. Other "
        "load on the machine is included.</p>"
        + _profile_panels(findings, timed=True)
        + "</details>"
    )


def profile_data(findings: Findings, *, timed: bool) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Return the profiles of all policies, and their factors, of shape ``(97,)``."""
    costs = findings.costs(timed=timed)
    factors = np.geomspace(1, FACTOR, 97)
    return profile(costs, factors), factors


def _profile_panels(findings: Findings, *, timed: bool) -> str:
    drawn, factors = profile_data(findings, timed=timed)
    what = "seconds" if timed else "updates"
    return family_panels(
        list(drawn),
        partial(charts.draw_profile, profiles=drawn, factors=factors),
        f"{what}, as a multiple of the fewest",
        f"profile of {what}",
        f"profile-{what}",
    )


def budgets(findings: Findings) -> str:
    """Return the charts of the mean rank at each budget."""
    means = findings.shared_ranks
    if len(means) < 2:
        return "<p>The study has one budget, or no workload with every policy at every budget.</p>"
    drawn = family_panels(
        findings.policies,
        partial(charts.draw_budgets, means=means),
        *("budget", "mean rank at each budget", "budgets"),
        right=122,
    )
    return (
        "<p>Mean ranks by the median test loss, with the best on top, over the workloads that have "
        f"every budget: {escape(', '.join(findings.everywhere))}. Rates are tuned separately at "
        f"each budget. Where lines cross, the better policy depends on the budget.</p>{drawn}"
    )


def sensitivity(findings: Findings) -> str:
    """Return the charts of the usable rates, and of the decrease of the loss at each rate."""
    relative = findings.protocol.draw(1.0)
    if len(relative) < 2:
        return "<p>One rate was tried, so the study has no information about others.</p>"
    widths = charts.widths(findings.ranges)
    medians = charts.median_shares(findings.here, findings.least)
    by_family = family_panels(
        list(medians),
        partial(charts.draw_shares, relative=relative, medians=medians),
        "rate, as a multiple of the centre",
        "fraction of the best decrease at each rate",
        "shares",
    )
    return (
        '<div class="beside"><div>'
        "<p>A rate is <b>usable</b> if the decrease of the validation loss is at least 95 % of "
        "that at the best rate of the best policy. The wider the range of usable rates, the less a "
        "wrong guess costs. A bar is the median over the workloads. A circle is one workload; a "
        "triangle is one whose range may continue outside the "
        f"{findings.protocol.decades:g} decades of tuned rates. Zero means that no tuned rate is "
        "usable.</p>"
        + legend(findings)
        + "</div>"
        + panels([(widths, "decades of usable rates of each policy")], "widths", "single")
        + "</div>"
        + "<p>Decrease of the loss at each rate as a fraction of the best decrease; medians over "
        "the workloads. Rates are relative to the centre of the tuned range, which is the rate of "
        "the workload for Adam and transforms around Adam, and 1 for adaptive methods. Faint lines:"
        " all other policies; dotted line: 95 %.</p>"
        + by_family
        + f"<details><summary>Usable rates on every workload</summary>{_ranges(findings)}</details>"
    )


def _ranges(findings: Findings) -> str:
    shown = [name for name in findings.workloads if findings.of(name)]
    rows = [
        [policy, f"{findings.widths[policy]:.1f}"]
        + [_range(ranges[name]) if name in ranges else "-" for name in shown]
        for policy, ranges in findings.ranges.items()
    ]
    return table(["policy", "decades, median", *shown], rows, "Usable rates on every workload")


def _range(bounded_range: tuple[Usable, bool]) -> str:
    width, is_bounded = bounded_range
    if not width.decades:
        return "none"
    return f"{width.low:.1g} to {width.high:.1g}" + ("" if is_bounded else " +")


def workloads(findings: Findings) -> str:
    """Return a collapsed section with curves, rates and scores for every workload."""
    return "".join(_workload(findings, name) for name in findings.workloads if findings.of(name))


def _workload(findings: Findings, name: str) -> str:
    workload, trials = WORKLOADS[name], findings.of(name)
    first = trials[0]
    names = [trial.policy for trial in trials]
    relative = findings.protocol.draw(1.0)
    curves = []
    for family, policies in charts.groups(names).items():
        figure = charts.panel(340, 290)
        losses, applied = figure.subplots(2, 1, height_ratios=[2, 1])
        charts.draw_curves(losses, applied, trials, policies)
        losses.set_title(f"{family}: loss")
        applied.set_title("learning rate", size=11, weight="normal", color=charts.MUTED, pad=3)
        applied.set_xlabel("update")
        curves.append((figure, f"{name}: validation loss and learning rate, {family}"))
    best, others = rivals(findings.test_losses(name))
    sweep = ""
    if len(relative) > 1:
        sweep = (
            "<h4>Final validation loss of every rate</h4><p>The centre of the rates is "
            f"{workload.around:g} for Adam and transforms around Adam, and 1 for adaptive methods. "
            "Crosses: rates at which a run diverged.</p>"
        ) + family_panels(
            names,
            partial(charts.draw_sensitivity, relative=relative, trials=trials),
            "rate, as a multiple of the centre",
            f"{name}: final validation loss at each rate",
            f"rates-{name}",
        )
    return (
        f'<details class="workload" id="{name}"><summary><b>{escape(workload.title)}</b> '
        f"<span>{first.steps} updates of {first.batch_size} examples; best test loss: "
        f"{escape(best)}, {len(others)} of {len(trials) - 1} others tied</span></summary>"
        f"<p>{escape(_about(name))}</p>"
        "<h4>Validation loss and learning rate</h4><p>Lines are medians over the seeds; bands are "
        "their intervals. Faint lines: all other policies. A line ends where half of the runs have "
        "diverged.</p>"
        + panels(curves, f"courses-{name}")
        + sweep
        + "<h4>Selected rates and scores</h4>"
        + _scores(findings, name)
        + "</details>"
    )


def _about(name: str) -> str:
    """Return the data, the target, the metric and the budgets of a workload."""
    workload = WORKLOADS[name]
    return (
        f"{name}. Data: {workload.source}. Target: a validation loss of {workload.target:g}. "
        f"Metric: {workload.metric.__name__}. Budgets: "
        f"{', '.join(f'x{b:g} ({workload.steps_of(b)} updates)' for b in workload.budgets)}."
    )


def _scores(findings: Findings, name: str) -> str:
    target = WORKLOADS[name].target
    rows = []
    for trial in findings.of(name):
        rates = []
        for budget in findings.budgets:
            at_budget = findings.by_key.get((name, trial.policy, budget))
            mark = {"lowest": LOWEST, "highest": HIGHEST, "": ""}
            text = f"{at_budget.rate:.2g}{mark[edge(at_budget)]}" if at_budget else "-"
            rates.append(text)
        reached = interval(steps_to(trial, target))
        gone = diverged(trial)
        rows.append(
            [
                trial.policy,
                *rates,
                _range(findings.ranges[trial.policy][name]),
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
        *(f"rate at x{budget:g}" for budget in findings.budgets),
        "usable",
        "validation loss",
        "test loss",
        f"test {WORKLOADS[name].metric.__name__}",
        f"updates to {target:g}",
        "diverged",
        "schedule",
    ]
    note = (
        f"<p><small>{LOWEST} the lowest tuned rate, {HIGHEST} the highest: a better rate may exist "
        "outside the range. + the usable range may continue outside the tuned rates.</small></p>"
    )
    return table(headings, rows, f"Selected rates and scores on {name}") + note


def costs(tables: Sequence[CostTable]) -> str:
    """Return the tables of the cost benchmarks, all but the first one collapsed."""
    if not tables:
        return "<p>No measurements of costs are stored with the study.</p>"
    blocks = []
    for index, each in enumerate(tables):
        versions = ", ".join(f"{name} {version}" for name, version in each.versions.items())
        blocks.append(
            f"<details{' open' if not index else ''}>"
            f"<summary><b>{escape(each.title)}</b></summary>"
            f"<p>{escape(each.caption)}</p>{table(each.columns, each.rows, each.title)}"
            f"<p><small><code>{escape(each.command)}</code> {escape(versions)}</small></p>"
            "</details>"
        )
    return "".join(blocks)


def method(findings: Findings) -> str:
    """Return the protocol, the sources of the data and the limits of the study."""
    protocol = findings.protocol
    confidence = interval(findings.here[0].final["loss"]).confidence
    evaluations = sorted({len(trial.evaluated) for trial in findings.trials})
    sources = "".join(
        f"<li>{escape(WORKLOADS[name].title)}: {escape(WORKLOADS[name].source)}.</li>"
        for name in findings.workloads
    )
    tuned = " or ".join(map(str, sorted({t.tuning["loss"].shape[1] for t in findings.trials})))
    return f"""<ol>
<li><b>Tuning.</b> Every policy is tried at {number(protocol.rates, "rate")} on every workload at
every budget, from the same draw: one from each of {protocol.rates} equal intervals of
{protocol.decades:g} decades on a logarithmic axis. The centre is the rate of the workload, or 1 for
an adaptive method. Number of seeds per rate: {tuned}. The rate with the lowest mean final
validation loss is selected. Nothing else of a policy is tuned: warmups, cooldowns, factors and
patience are fixed.</li>
<li><b>Scoring.</b> {number(protocol.seeds, "run")} with other seeds use the selected rate. The
report states the median, with the interval of order statistics that contains the true median with a
confidence of {confidence:.0%}, for any continuous distribution. The test split is not used for the
selection.</li>
<li><b>Equal conditions.</b> Runs with the same seed have the same initial parameters and the same
mini-batches under every policy. The held-out splits are evaluated
{" or ".join(map(str, evaluations))} times in a run, at equal distances.</li>
<li><b>Ranks</b> are by the median test loss on a workload at a budget; their means are over the
workloads that have all policies. <b>Profiles</b> follow Dolan and Moré (2002).</li>
</ol>
<h3>Data</h3><ul>{sources}</ul>
<h3>Limits</h3><ul>
<li>Models and data are small and runs are short. The differences between policies may not hold for
a large language model.</li>
<li>Where intervals overlap, {number(protocol.seeds, "seed")} do not separate two policies; this
does not mean that they are equal.</li>
<li>The loss is interpolated linearly over the logarithm of the rate. The usable range extends from
the lowest usable rate to the highest, including unusable rates between them.</li>
<li>Whether a target is reached is known at evaluations only, so the number of updates is a multiple
of 1/{max(evaluations)} of a run.</li>
<li>Seconds are measured with runs side by side on one machine.</li>
<li>Policies drive Adam or wrap it, or are optimizers of their own. With other optimizers, schedules
may rank differently.</li>
</ul>
<p>The file <code>{escape(findings.data)}</code> has all trials, with every rate, seed and curve;
<code>benchmarks.store.read_study</code> reads it.</p>"""


def legend(findings: Findings) -> str:
    """Return the legend of the colours of the families."""
    items = (
        f'<li><i style="background: {css(charts.family_colour(names[0]))}"></i>'
        f"{escape(family)}</li>"
        for family, names in charts.families(findings.policies).items()
    )
    return f'<ul class="legend">{"".join(items)}</ul>'


def css(colour: str) -> str:
    """Return the CSS variable of a colour of the charts."""
    return f"var(--{VARIABLES[colour]})"


class Html(str):
    """Text that is already HTML and must not be escaped."""


def table(headings: Sequence[str], rows: Sequence[Sequence[str]], label: str) -> str:
    """Return an HTML table whose first column stays visible while the others scroll."""
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
    """Wrap HTML in a box that scrolls horizontally, with the keyboard as well."""
    return (
        f'<div class="scroll" role="region" tabindex="0" aria-label="{escape(label)}">{inner}</div>'
    )


def family_panels(
    policies: Sequence[str],
    draw: Callable[..., None],
    xlabel: str,
    label: str,
    name: str,
    **margins: float,
) -> str:
    """Return one chart for each family of policies, with that family in the foreground.

    Args:
      policies: Policies to draw.
      draw: Function that draws on axes, with the policies in the foreground as ``about``.
      xlabel: Label of the horizontal axes.
      label: Description for screen readers, without the family.
      name: Prefix of the ids, unique in the page.
      **margins: Margins of `charts.panel`.
    """
    figures = []
    for family, about in charts.groups(policies).items():
        figure = charts.panel(**margins)
        ax = figure.add_subplot()
        draw(ax, about=about)
        ax.set(title=family, xlabel=xlabel)
        figures.append((figure, f"{label}: {family}"))
    return panels(figures, name)


def panels(figures: Sequence[tuple[Figure, str]], name: str, kind: str = "panels") -> str:
    """Return charts in a row that wraps at the width of the page."""
    drawn = (
        f"<figure>{inline(figure, f'{name}-{place}', label)}</figure>"
        for place, (figure, label) in enumerate(figures)
    )
    return f'<div class="{kind}">{"".join(drawn)}</div>'
