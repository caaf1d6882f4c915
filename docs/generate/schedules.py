"""Gallery of the schedules: picture, formula, use, source and code of each."""

import ast
import inspect
import re
from collections.abc import Mapping
from pathlib import Path

import lrsched
from docs import gallery
from docs.generate.reference import markdown, markdown_table


def section() -> str:
    """Return the Markdown of all cards, by family."""
    code = lines_of_code()
    lines = []
    for family, schedules in gallery.pictures().items():
        lines += ["", f"## {family.capitalize()}", "", '<div class="schedules" markdown>']
        for name in dict.fromkeys(title.split(",")[0] for title in schedules):
            shown = {
                title: schedule
                for title, schedule in schedules.items()
                if title.split(",")[0] == name
            }
            lines += ["", "<div markdown>", "", *_card(name, shown, code), "", "</div>"]
        lines += ["", "</div>"]
    return "\n".join(lines)


def table() -> str:
    """Return tables of all schedules, one for each family, without pictures."""
    code = lines_of_code()
    lines = []
    for family, schedules in gallery.pictures().items():
        rows = [
            (" ".join(formula(name)[0].split()), f"`{code[name]}`")
            for name in dict.fromkeys(title.split(",")[0] for title in schedules)
        ]
        lines += ["", f"## {family.capitalize()}", "", markdown_table(("schedule", "code"), rows)]
    return "\n".join(lines).strip()


def _card(name: str, shown: Mapping[str, lrsched.Schedule], code: Mapping[str, str]) -> list[str]:
    about, source = formula(name)
    lines = [f"### [`{name}`][lrsched.{name}] {{ #{name} data-toc-label='{name}' }}", ""]
    for title, schedule in shown.items():
        variant = title.partition(", ")[2]
        caption = f"<figcaption>{variant}</figcaption>" if variant else ""
        lines += [f"<figure>{gallery.svg(title, schedule)}{caption}</figure>", ""]
    lines += [about, ""]
    lines += [f"**When.** {gallery.WHEN[name]}", ""] if name in gallery.WHEN else []
    lines += [f"**Source.** {source}", ""] if source else []
    return [*lines, "```python", code[name], "```"]


def formula(name: str) -> tuple[str, str]:
    """Return the first paragraphs of a docstring, with the formula, and its source."""
    text = inspect.getdoc(getattr(lrsched, name)) or ""
    before, *_ = re.split(r"^(?:Args|Returns|Raises|References):", text, flags=re.MULTILINE)
    paragraphs = before.strip().split("\n\n")
    wanted = paragraphs[:1] if "``" in paragraphs[0] else paragraphs[:2]
    source = re.search(r"^References:\n(.+?)(?:\n\n|\Z)", text, re.MULTILINE | re.DOTALL)
    return markdown("\n\n".join(wanted)), markdown(inspect.cleandoc(source[1])) if source else ""


class _Plain(ast.NodeTransformer):
    """Replace the short names of the gallery with those that a script uses."""

    def visit_Name(self, node: ast.Name) -> ast.expr:
        if node.id == "STEPS":
            return ast.Constant(gallery.STEPS)
        return ast.Name("lrsched") if node.id == "lr" else node


def lines_of_code() -> dict[str, str]:
    """Return the code of each schedule in the gallery, by its title."""
    tree = ast.parse(inspect.getsource(gallery))
    table = next(
        node.value
        for node in tree.body
        if isinstance(node, ast.AnnAssign) and ast.unparse(node.target) == "GALLERY"
    )
    code = {name: gallery.example(name) for name in gallery.missing()}
    return code | {
        title.value: ast.unparse(_Plain().visit(expression))
        for schedules in table.values
        for title, expression in zip(schedules.keys, schedules.values, strict=True)
    }


def others() -> str:
    """Return a table of the public schedules that no row of docs/catalogue.md has."""
    page = (Path(gallery.__file__).parent / "catalogue.md").read_text()
    rows = [
        (formula(name)[0].partition(":")[0], f"`{gallery.example(name)}`")
        for name in sorted(gallery.missing())
        if f"lr.{name}(" not in page
    ]
    return markdown_table(("what", "here"), rows) if rows else ""
