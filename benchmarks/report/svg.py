"""Inline SVG of the charts, in the colours of the page's theme."""

import io
import re
from html import escape

import matplotlib as mpl
from matplotlib.figure import Figure

from benchmarks.report.charts import FAINT, GRID, INK, MUTED, SERIES

VARIABLES = {INK: "ink", MUTED: "muted", GRID: "grid", FAINT: "faint"} | {
    colour: f"series-{place}" for place, colour in enumerate(SERIES)
}
"""CSS custom property of each colour of the charts."""


def inline(figure: Figure, name: str, label: str) -> str:
    """Return a figure as an ``<svg>`` element.

    Text stays text, and colours become the CSS variables of the page.

    Args:
      figure: Figure in the colours of `charts`.
      name: Prefix of the ids, unique in the page.
      label: Description for screen readers.

    Returns:
      The SVG element as text.
    """
    buffer = io.StringIO()
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": name}):
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    svg = buffer.getvalue()
    svg = svg[svg.index("<svg") :].strip()
    # The style element would apply to the whole page, and the metadata has URLs of other hosts.
    svg = re.sub(r"<metadata>.*?</metadata>|<style.*?</style>|<!--.*?-->", "", svg, flags=re.S)
    used = set(re.findall(r'(?:url\(|href=")#([\w-]+)', svg))
    svg = re.sub(r' id="([^"]*)"', lambda m: m[0] if m[1] in used else "", svg)
    svg = re.sub(r'( id="|url\(#|href="#)', rf"\g<1>{name}-", svg)
    svg = re.sub(r"<[^>]+>", lambda tag: re.sub(r"(\d\.\d\d)\d+", r"\1", tag[0]), svg)
    svg = re.sub(r" ?font-family: [^;\"]*;?", "", svg)
    svg = re.sub(r"font: ([\d.]+)px [^;\"]*", r"font-size: \1px", svg)
    svg = re.sub(r"font: (\w+) ([\d.]+)px [^;\"]*", r"font-weight: \1; font-size: \2px", svg)
    for colour, variable in VARIABLES.items():
        svg = svg.replace(colour, f"var(--{variable})")
    svg = re.sub(r"\n\s*", "\n", svg)
    box = re.search(r'viewBox="[^"]*"', svg)
    assert box is not None
    head = f'<svg {box[0]} role="img" aria-label="{escape(label)}">'
    return head + svg[svg.index(">") + 1 :]
