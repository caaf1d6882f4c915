"""What the site generates has every name there is; that all of it is one site, `.ci/run` builds."""

import importlib
import json
import pkgutil
import re
from collections import Counter
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest

import lrsched
from docs import gallery
from docs.generate import adaptive, pages, porting, reference, schedules
from lrsched._schedule import REGISTRY
from lrsched.expressions import LIBRARIES, parse_call

DOCS = Path(__file__).parent.parent / "docs"
ADAPTIVE = (DOCS / "adaptive.md").read_text()
CELLS = {
    row[0].strip("`"): row
    for row in (
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in ADAPTIVE.partition("## Non-finite gradients")[0].splitlines()
        if re.match(r"\| `\w+` \|", line)
    )
}


def registered():
    found = {name: known.function.__module__ for name, known in REGISTRY.items()}
    return {
        name
        for name, module in found.items()
        if module.startswith(("lrsched.schedules.", "lrsched.algebra", "lrsched.transforms.rate"))
    }


def test_the_gallery_has_every_registered_schedule_once(monkeypatch):
    monkeypatch.setattr(schedules.gallery, "svg", lambda title, schedule: "<svg/>")
    section = schedules.section()
    assert Counter(re.findall(r"^### \[`(\w+)`\]", section, re.MULTILINE)) == dict.fromkeys(
        registered(), 1
    )
    assert section.count("<svg") == sum(map(len, gallery.pictures().values()))


def test_the_gallery_says_when_to_use_each():
    assert gallery.WHEN.keys() | gallery.missing() == registered()


@pytest.mark.parametrize("name", sorted(registered()))
def test_a_card_has_formula_and_source_and_its_code_makes_what_is_drawn(name):
    about, source = schedules.formula(name)
    assert "`" in about
    assert source or name == "table" or name in gallery.GALLERY["algebra"]
    drawn = {
        title: schedule
        for family in gallery.pictures().values()
        for title, schedule in family.items()
        if title.split(",")[0] == name
    }
    for title, schedule in drawn.items():
        made = eval(schedules.lines_of_code()[title], {**vars(gallery), "lrsched": lrsched})
        assert made == schedule or name == "from_function"


def test_the_adaptive_page_has_a_row_for_every_transform():
    assert CELLS.keys() == set(adaptive.transforms())


@pytest.mark.parametrize("name", adaptive.transforms())
def test_what_is_counted_is_what_was_measured(name):
    cells = adaptive.costs(ADAPTIVE).get(name)
    state = adaptive.state(name)
    of_adam = 2 if state.has_base or name == "reduce_on_plateau" else 0
    assert cells is None or float(cells[0]) == state.copies + of_adam


@pytest.mark.parametrize("name", adaptive.transforms())
def test_the_metric_that_a_row_names_is_the_one_that_is_asked_for(name):
    transform, params = adaptive.with_defaults(name), jnp.ones(2)
    state = transform.init(params)
    is_rule = isinstance(state, lrsched.ControllerState)

    def is_refused():
        try:
            jax.eval_shape(transform.update, params, state, params)
        except ValueError as error:
            return "value" in str(error)
        return False

    assert (CELLS[name][3] != "no") == (is_rule or is_refused())


@pytest.mark.parametrize("peer", LIBRARIES)
def test_the_porting_page_has_every_name_of_a_peer(peer):
    module = importlib.import_module(f"lrsched.compat.{peer}")
    names = [call.partition("(")[0] for call in porting.CALLS[peer]]
    assert sorted(names) == sorted(set(module.__all__) - {"Schedule"})
    assert f"<!-- generated: porting {peer} -->" in (DOCS / "porting.md").read_text()


@pytest.mark.parametrize(
    ("peer", "call"), [(peer, call) for peer in LIBRARIES for call in porting.CALLS[peer]]
)
def test_a_ported_call_is_the_translated_one(peer, call):
    made = porting.evaluate(peer, call)
    if isinstance(made, lrsched.Schedule) and "lambda" not in call:
        assert made == parse_call(call, peer, porting.RATE)


def test_the_reference_has_a_page_for_each_name_and_a_table_of_them():
    made = reference.pages()
    assert len({path.lower() for path in made}) == len(made)  # also where the case does not count
    assert len(made) == 1 + len(reference.PAGES) + len(reference.NAMES)
    page = made["reference/transforms/muon.md"]
    assert page.startswith("[Transforms](../transforms.md): `lrsched.transforms.matrix`")
    assert "::: lrsched.muon\n" in page
    row = (
        "| [`muon`](transforms/muon.md) | Muon for matrices and AdamW for the rest, with two rates"
    )
    assert row in made["reference/transforms.md"]
    assert "reference/algebra/schedule.md" in made
    assert "reference/algebra/Schedule-class.md" in made


@pytest.mark.parametrize(
    ("name", "where", "first"),
    [
        ("lrsched.constant", "lrsched.algebra", "A constant: ``value``."),
        ("lrsched.scaling.RULES", "lrsched.scaling", "The rules by name."),
        ("lrsched.tuning.Sensitivity", "lrsched.tuning", "How much the final loss depends on"),
    ],
)
def test_a_row_is_the_first_sentence_of_the_documentation(name, where, first):
    found = reference.summary(name, where)
    assert found.startswith(first)
    assert "  " not in found
    assert "\n" not in found


def test_the_reference_has_every_public_name_once():
    listed = Counter(reference.NAMES)
    assert set(listed.values()) == {1}
    packages = [
        importlib.import_module(module.name)
        for module in pkgutil.walk_packages(lrsched.__path__, "lrsched.")
        if ".cli" not in module.name and not module.name.endswith("__main__")
    ]
    offered = {name for package in packages for name in reference.public(package)} & {
        reference.path(package, name)
        for package in packages
        for name in getattr(package, "__all__", ())
    }
    assert offered | {name for name, _ in reference.TOP} <= listed.keys()
    assert len(reference.TOP) == len(lrsched.__all__) - 3  # the modules have pages of their own


@pytest.mark.parametrize("name", ["benchmarks.md", "porting.md", "recipes.md", "schedules.md"])
def test_the_tables_in_the_repository_are_current(name):
    text = (DOCS / name).read_text()
    assert pages.written(text) == text, "run python -m docs.generate"


@pytest.mark.parametrize("page", sorted(DOCS.glob("*.md")), ids=lambda page: page.name)
def test_every_page_can_be_completed(page, monkeypatch):
    monkeypatch.setitem(pages.PARTS, "schedules", str)  # its pictures take a while
    completed = pages.complete(page.name, page.read_text())
    assert not pages.MARK.search(completed)
    assert "](../" not in completed


NOTEBOOKS = sorted((DOCS / "notebooks").glob("*.ipynb"))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_on_the_site_and_stored_without_outputs(path):
    # The site's build runs all of them, and stops at an error.
    assert f"notebooks/{path.name}" in (DOCS.parent / "mkdocs.yml").read_text()
    cells = json.loads(path.read_text())["cells"]
    assert cells[0]["cell_type"] == "markdown"
    code = [cell for cell in cells if cell["cell_type"] == "code"]
    assert all(cell["outputs"] == [] and cell["execution_count"] is None for cell in code)
