"""The site's pages: docs/*.md with what is generated in them, and those made as a whole."""

import re
from collections.abc import Callable, Mapping
from functools import partial

from docs.generate import adaptive, benchmarks, examples, porting, recipes, reference, schedules

PARTS: dict[str, Callable[[], str]] = {
    "report": benchmarks.link,
    "recipes": recipes.section,
    "schedules": schedules.section,
    **{f"porting {peer}": partial(porting.table, peer) for peer in porting.CALLS},
}
"""What a line ``<!-- generated: NAME -->`` in a page stands for."""
MARK = re.compile(r"^<!-- generated: ([\w ]+) -->$", re.MULTILINE)
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
"""Where the site has what lies beside docs/ in the repository."""


def made() -> dict[str, str]:
    """The pages that are no files, by their paths."""
    return reference.pages() | examples.pages() | {"report.html": benchmarks.report()}


def complete(path: str, markdown: str) -> str:
    """A page of docs/ as the site shows it."""
    markdown = MARK.sub(lambda found: PARTS[found[1]](), markdown)
    if path == "adaptive.md":
        markdown = adaptive.with_state_and_cost(markdown)
    return re.sub(r"\]\(\.\./([^)#]+)", lambda found: f"]({inside(found[1])}", markdown)


def inside(target: str) -> str:
    """The page of the site for a file of the repository."""
    for pattern, page in ELSEWHERE.items():
        if found := re.fullmatch(pattern, target):
            return found.expand(page)
    raise ValueError(f"../{target} is not on the site; add it to docs.generate.pages.ELSEWHERE.")
