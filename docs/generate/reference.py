"""Pages of the API reference: a page with a table for each subject, and one for each name."""

import ast
import functools
import importlib
import inspect
import itertools
import re
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import ModuleType

import lrsched


@dataclass(frozen=True)
class Page:
    """Page of the reference.

    Attributes:
      title: Title of the page.
      modules: Modules whose public names are on the page, without the prefix ``lrsched.``.
    """

    title: str
    modules: tuple[str, ...]


PAGES: Mapping[str, Page] = {
    "schedules": Page("Schedules", ("schedules",)),
    "algebra": Page("The algebra", ("_schedule", "serialize", "algebra")),
    "transforms": Page("Transforms", ("transforms", "flax")),
    "adaptive": Page("Adaptive rates", ("adaptive",)),
    "running": Page("A running job", ("running", "finding", "merging", "monitor")),
    "units": Page("Units and scaling", ("units", "scaling")),
    "recipes": Page("Recipes", ("recipes",)),
    "tuning": Page("Tuning", ("tuning",)),
    "theory": Page("Theory", ("theory",)),
    "text": Page("Text, files, pictures", ("expressions", "config_schema", "pictures.plots")),
    "compat-optax": Page("compat.optax", ("compat.optax",)),
    "compat-torch": Page("compat.torch", ("compat.torch",)),
    "compat-timm": Page("compat.timm", ("compat.timm",)),
    "compat-transformers": Page("compat.transformers", ("compat.transformers",)),
    "compat-keras": Page("compat.keras", ("compat.keras",)),
    "compat-configs": Page("compat.configs", ("compat.configs",)),
    "blocks": Page(
        "Building blocks",
        (
            *("arguments", "numerics", "schedules.ramps", "pictures.curves"),
            *("adaptive.base", "adaptive.controller"),
        ),
    ),
}
"""Pages by their file names."""
LIBRARY = (
    *("schedules", "transforms", "adaptive"),
    *("_schedule", "serialize", "algebra", "finding", "merging", "running", "config_schema"),
)
"""Packages and modules whose public names are all names of `lrsched` itself."""


def path(package: ModuleType, name: str) -> str:
    """Return the full name of a public object.

    If a function and its module have the same name, griffe resolves the name to the module.
    Therefore the name within the module is returned.
    """
    full = f"{package.__name__}.{name}"
    return f"{full}.{name}" if getattr(getattr(package, name), "__module__", "") == full else full


TOP = sorted(
    (
        (path(lrsched, name), getattr(lrsched, name).__module__)
        for name in lrsched.__all__
        if not inspect.ismodule(getattr(lrsched, name))
    ),
    key=lambda pair: pair[1],
)
"""Public names of `lrsched`, each with the module in which it is defined, sorted by module."""


def names(page: Page) -> Iterator[tuple[str, str]]:
    """Yield the full names on a page, each with the module in which it is defined."""
    for module in page.modules:
        whole = f"lrsched.{module}"
        if module in LIBRARY:
            yield from ((name, where) for name, where in TOP if f"{where}.".startswith(f"{whole}."))
        else:
            yield from ((name, whole) for name in public(importlib.import_module(whole)))


def public(module: ModuleType) -> list[str]:
    """Return the full names of the public objects of a module that `lrsched` itself lacks."""
    offered = getattr(module, "__all__", None) or _documented(module)
    return [
        path(module, name)
        for name in offered
        if getattr(lrsched, name, None) is not getattr(module, name)
    ]


def _documented(module: ModuleType) -> Iterator[str]:
    """Yield functions, classes and documented constants in the order of the file."""
    body = ast.parse(inspect.getsource(module)).body
    for node, after in zip(body, [*body[1:], None], strict=True):
        match node, after:
            case ((ast.FunctionDef(name=name) | ast.ClassDef(name=name)), _):
                public_name = name
            case ast.AnnAssign(target=ast.Name(id=public_name)), ast.Expr(value=ast.Constant()):
                pass
            case _:
                continue
        if not public_name.startswith("_"):
            yield public_name


def pages() -> dict[str, str]:
    """Return the Markdown of each page by its path; mkdocstrings inserts the docstrings."""
    content = {"reference/index.md": _index()}
    for file, page in PAGES.items():
        content[f"reference/{file}.md"] = _page(file, page)
        for name, where in names(page):
            content[f"reference/{_file(file, name)}"] = _name_page(file, page, name, where)
    return content


def _file(file: str, name: str) -> str:
    """Return the path of the page of a name, relative to the reference."""
    end = name.rpartition(".")[2]
    # Some file systems take Schedule.md and schedule.md for one file.
    is_class = end.lower() != end and end.lower() in PLACES
    return f"{file}/{end}{'-class' if is_class else ''}.md"


def summary(name: str, where: str) -> str:
    """Return the first sentence of the documentation of a public name.

    >>> summary("lrsched.constant", "lrsched.schedules.constant")
    'A constant: ``value`` at every step.'
    """
    end = name.rpartition(".")[2]
    thing = getattr(importlib.import_module(where), end)
    # The docstring of a constant follows it in the source; its value has that of its type.
    modules = [module for key, module in sys.modules.items() if f"{key}.".startswith(f"{where}.")]
    written = (_documentation(module)[end] for module in modules if end in _documentation(module))
    text = next(written, None) or inspect.getdoc(thing) or ""
    first = re.match(r"(?s).+?(?:(?<! al)\.(?=\s|$)|(?=\n\n)|$)", text)
    return " ".join(first[0].split()).rstrip(":") if first else ""


@functools.cache
def _documentation(module: ModuleType) -> Mapping[str, str]:
    """Return the documentation of the constants of a module, by name."""
    body = ast.parse(inspect.getsource(module)).body
    found = {}
    for node, after in itertools.pairwise(body):
        match node, after:
            case (
                (ast.AnnAssign(target=ast.Name(id=name)) | ast.Assign(targets=[ast.Name(id=name)])),
                ast.Expr(value=ast.Constant(value=str(text))),
            ):
                found[name] = inspect.cleandoc(text)
            case _:
                continue
    return found


def markdown(text: str, near: str = "lrsched") -> str:
    """Convert a docstring to Markdown: fences around examples, links for `names`.

    Args:
      text: Docstring.
      near: Module in which its names are looked up first.

    Returns:
      The Markdown.
    """
    text = re.sub(r"^( *)>>> (?:.+\n?)+", _fenced, text, flags=re.MULTILINE)
    text = re.sub(r"::\n\n", ":\n\n", text)
    return re.sub(r"(?<!`)`([\w.]+)`(?!`)", lambda match: _link(match, near), text)


def markdown_table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table in Markdown."""
    lines = (headings, ["---"] * len(headings), *rows)
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _fenced(match: re.Match[str]) -> str:
    space = match[1]
    return f"{space}```pycon\n{match[0].rstrip()}\n{space}```\n"


def _link(match: re.Match[str], near: str) -> str:
    """Return a link to the nearest public name, searched from the module outwards."""
    name, packages = match[1], near.split(".")
    inward = (".".join(packages[:depth]) for depth in range(len(packages), 0, -1))
    near_by = [f"{package}.{end}" for package in inward for end in (name, f"{name}.{name}")]
    target = next((full for full in (name, *near_by) if full in NAMES), PLACES.get(name))
    return f"[`{name}`][{target}]" if target else match[0]


def _page(file: str, page: Page) -> str:
    lines, last = [f"# {page.title}", ""], None
    for name, where in names(page):
        if where != last:
            about = inspect.getdoc(importlib.import_module(where)) or ""
            head = ["| name | what it is |", "| --- | --- |"]
            lines += ["", f"## `{where}`", "", markdown(about, where), "", *head]
            last = where
        end = name.rpartition(".")[2]
        # A bar inside of code would end the cell.
        text = markdown(summary(name, where), where).replace("|", "\\|")
        lines.append(f"| [`{end}`]({_file(file, name)}) | {text} |")
    return "\n".join([*lines, ""])


def _name_page(file: str, page: Page, name: str, where: str) -> str:
    place = f"[{page.title}](../{file}.md): `{where}`"
    return f"{place}\n\n::: {name}\n    options: {{heading_level: 1}}\n"


def _index() -> str:
    lines = [
        "# Reference",
        "",
        "A page for each public name. Every example on these pages runs as a test.",
        "",
    ]
    for file, page in PAGES.items():
        links = ", ".join(
            f"[`{name.rpartition('.')[2]}`]({_file(file, name)})" for name, _ in names(page)
        )
        lines += [f"**[{page.title}]({file}.md)**: {links}", ""]
    return "\n".join(lines)


NAMES = [name for page in PAGES.values() for name, _ in names(page)]
"""Full names in the reference, page by page."""
PLACES = {name.rpartition(".")[2]: name for name in reversed(NAMES)}
"""Full name for a name without its module: the first one of the reference."""
