"""Pages of the site: docs/*.md with their generated parts, and pages that are wholly generated."""

import re
from collections.abc import Callable, Mapping
from functools import partial

from docs.generate import adaptive, benchmarks, examples, porting, recipes, reference, schedules

PARTS: dict[str, Callable[[], str]] = {
    "report": benchmarks.link,
    "study": benchmarks.table,
    "recipes": recipes.section,
    "starting points": recipes.starting_points,
    "schedules": schedules.section,
    "other schedules": schedules.others,
    **{f"porting {library}": partial(porting.table, library) for library in porting.CALLS},
}
"""Function that generates the part of a page below the line ``<!-- generated: NAME -->``."""
WRITTEN: Mapping[str, Callable[[], str]] = {
    "study": benchmarks.table,
    "schedules": schedules.table,
    "recipes": recipes.table,
    "starting points": recipes.starting_points,
    **{name: part for name, part in PARTS.items() if name.startswith("porting")},
}
"""Functions for the parts that are written into the repository, without pictures and site links."""
MARK = re.compile(
    r"^<!-- generated: ([\w ]+) -->$(?:\n(?:.*\n)*?<!-- end of \1 -->$)?", re.MULTILINE
)
ELSEWHERE: Mapping[str, str] = {
    r"src/lrsched/pictures/plots\.py": "reference/text.md",
    r"src/lrsched/recipes/.*": "reference/recipes.md",
    r"src/lrsched/scaling/.*": "reference/units.md",
    r"src/lrsched/theory/.*": "reference/theory.md",
    r"src/lrsched/.*": "reference/index.md",
    r"examples/(\w+)\.py": r"examples.md#\1",
    r"examples/(README\.md)?": "examples.md",
    r"README\.md": "index.md",
    r"tests/comparison/.*": "comparison.md",
    r"CONTRIBUTING\.md": "architecture.md",
}
"""Page of the site for each file of the repository outside of docs/."""


def made() -> dict[str, str]:
    """Return the pages that have no file in docs/, by their paths."""
    return reference.pages() | examples.pages() | {"report.html": benchmarks.report()}


def written(markdown: str) -> str:
    """Return a page of docs/ with its generated tables updated, as stored in the repository."""

    def part(match: re.Match[str]) -> str:
        if match[1] not in WRITTEN:
            return match[0]
        # A link to a name in the reference is a link on the site only.
        text = re.sub(r"\[(`[^`]+`|the&nbsp;same)\]\[[\w.]+\]", r"\1", WRITTEN[match[1]]())
        return f"<!-- generated: {match[1]} -->\n\n{text}\n\n<!-- end of {match[1]} -->"

    return MARK.sub(part, markdown)


def complete(path: str, markdown: str) -> str:
    """Return a page of docs/ as the site shows it; a generated one is complete already."""
    if path.startswith("reference/"):
        return markdown
    markdown = MARK.sub(lambda match: PARTS[match[1]](), markdown)
    if path == "adaptive.md":
        markdown = adaptive.with_state_and_cost(markdown)
    return re.sub(r"\]\(\.\./([^)#]+)", lambda match: f"]({inside(match[1])}", markdown)


def inside(target: str) -> str:
    """Return the page of the site for a file of the repository."""
    for pattern, page in ELSEWHERE.items():
        if match := re.fullmatch(pattern, target):
            return match.expand(page)
    raise ValueError(f"../{target} is not on the site; add it to docs.generate.pages.ELSEWHERE.")
