"""Imports go one way, and every module is reachable under its own name."""

import ast
import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

SOURCE = Path(__file__).parents[1] / "src" / "lrsched"

# From the lowest layer to the highest. A module may import modules of its own layer and of those
# before it. ``package.*`` is the modules of a package without its ``__init__``.
LAYERS = (
    ("lrsched.numerics", "lrsched.finding", "lrsched._functions", "lrsched._plotting"),
    ("lrsched.arguments",),
    ("lrsched._schedule",),
    ("lrsched._phases", "lrsched.serialize", "lrsched.config_schema", "lrsched.compat"),
    ("lrsched.algebra",),
    ("lrsched.schedules", "lrsched.schedules.*"),
    ("lrsched.units", "lrsched.scaling", "lrsched.scaling.*"),
    ("lrsched.transforms", "lrsched.transforms.*"),
    ("lrsched.adaptive", "lrsched.adaptive.*"),
    ("lrsched.running", "lrsched.running.*"),
    ("lrsched.recipes", "lrsched.recipes.*", "lrsched.merging", "lrsched.transfer"),
    ("lrsched.tuning", "lrsched.tuning.*"),
    ("lrsched.theory", "lrsched.theory.*"),
    ("lrsched.pictures", "lrsched.pictures.*"),
    ("lrsched",),
    ("lrsched.flax", "lrsched.compat.*", "lrsched.expressions", "lrsched.monitor"),
    ("lrsched.cli", "lrsched.cli.*", "lrsched.__main__"),
)


def modules() -> dict[str, Path]:
    """Every module by its full name."""
    names = {}
    for path in sorted(SOURCE.rglob("*.py")):
        parts = ("lrsched", *path.relative_to(SOURCE).with_suffix("").parts)
        names[".".join(parts).removesuffix(".__init__")] = path
    return names


MODULES = modules()


def type_checking_only(tree: ast.AST) -> set[int]:
    """The nodes that only a type checker runs."""
    blocks = [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test)
    ]
    return {id(inner) for block in blocks for inner in ast.walk(block)}


def imports_of(text: str, known: set[str]) -> Iterator[str]:
    """The modules of the package that a source text imports, within functions too."""
    tree = ast.parse(text)
    skipped = type_checking_only(tree)
    for node in ast.walk(tree):
        if id(node) in skipped:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in known)
        elif isinstance(node, ast.ImportFrom) and node.module in known:
            full = [f"{node.module}.{alias.name}" for alias in node.names]
            yield from (name if name in known else node.module for name in full)


def graph() -> dict[str, set[str]]:
    known = set(MODULES)
    return {
        name: set(imports_of(path.read_text(), known)) - {name} for name, path in MODULES.items()
    }


def layer_of(module: str) -> int:
    package = module.rpartition(".")[0]
    for names in ((module,), (f"{package}.*",)):
        for level, layer in enumerate(LAYERS):
            if set(names) & set(layer):
                return level
    raise AssertionError(f"{module} is in no layer")


def circles(edges: dict[str, set[str]]) -> list[list[str]]:
    """Every module that is reachable from itself, with the way back."""
    found = []
    for start in edges:
        ways = [[start]]
        seen = set()
        while ways:
            way = ways.pop()
            for target in sorted(edges[way[-1]]):
                if target == start:
                    found.append([*way, start])
                elif target not in seen:
                    seen.add(target)
                    ways.append([*way, target])
    return found


def test_no_module_imports_one_of_a_layer_above_it():
    upward = [
        f"{name} -> {target}"
        for name, targets in graph().items()
        for target in sorted(targets)
        if layer_of(target) > layer_of(name)
    ]
    assert upward == []


def test_no_module_is_imported_by_what_it_imports():
    assert circles(graph()) == []


def test_a_lazy_import_and_a_circle_are_seen():
    known = {"lrsched.a", "lrsched.b"}
    text = "def f():\n    from lrsched.b import g\n"
    assert list(imports_of(text, known)) == ["lrsched.b"]
    assert (
        list(
            imports_of(
                "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import lrsched.b", known
            )
        )
        == []
    )
    assert circles({"a": {"b"}, "b": {"a"}}) == [["a", "b", "a"], ["b", "a", "b"]]


@pytest.mark.parametrize("name", sorted(name for name in MODULES if "." in name))
def test_a_module_is_found_under_its_own_name(name):
    package, _, short = name.rpartition(".")
    assert short not in sys.stdlib_module_names
    if short != "__main__":
        module = importlib.import_module(name)
        assert isinstance(module, ModuleType)
        assert getattr(importlib.import_module(package), short) is module
