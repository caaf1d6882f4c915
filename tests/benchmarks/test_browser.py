"""The page in headless Chromium, of the extra ``browser``: what only a browser can tell."""

import shutil
from pathlib import Path

import pytest

from benchmarks.costs import CostTable
from benchmarks.report.findings import Findings
from benchmarks.report.page import page
from tests.benchmarks.test_charts import contrast
from tests.benchmarks.trials import PROTOCOL, study

playwright = pytest.importorskip("playwright.sync_api", reason="needs the extra `browser`")
PHONE = {"width": 360, "height": 740}
WIDE = {"width": 1280, "height": 900}


@pytest.fixture(scope="module")
def browser():
    with playwright.sync_playwright() as started:
        names = ("chromium", "chromium-browser", "google-chrome", started.chromium.executable_path)
        path = next(filter(None, map(shutil.which, names)), None)
        if path is None:
            pytest.skip(f"no Chromium: none of {', '.join(map(str, names))}")
        browser = started.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    path = tmp_path_factory.mktemp("report") / "report.html"
    policies = ["constant", "wsd-mirror-cosine", "dog"]
    trials = study(["digits-mlp", "mnist-vit"], policies, (0.25, 1.0))
    columns = [f"column {place}" for place in range(12)]
    wide = CostTable("Wide", "python -m benchmarks cost", "", columns, [columns] * 3, {})
    path.write_text(page(Findings("made-up", PROTOCOL, trials, "x.json.gz"), [wide]), "utf-8")
    return path


@pytest.fixture
def visit(browser, file):
    """Opens the page, with all of it unfolded, where no network is; tells what went wrong."""
    contexts = []

    def opened(size, theme="light"):
        context = browser.new_context(viewport=size, color_scheme=theme, offline=True)
        contexts.append(context)
        shown = context.new_page()
        shown.wrong, shown.asked = [], []
        shown.on("console", lambda message: shown.wrong.append(message.text))
        shown.on("pageerror", lambda error: shown.wrong.append(str(error)))
        shown.on("request", lambda request: shown.asked.append(request.url))
        shown.goto(Path(file).as_uri())
        shown.evaluate("document.querySelectorAll('details').forEach(d => d.open = true)")
        return shown

    yield opened
    for context in contexts:
        context.close()


def test_it_asks_for_nothing_and_nothing_goes_wrong(visit, file):
    shown = visit(WIDE)
    assert shown.asked == [Path(file).as_uri()]
    assert shown.wrong == []


@pytest.mark.parametrize("size", [PHONE, WIDE], ids=["phone", "wide"])
def test_only_tables_scroll_sideways(visit, size):
    shown = visit(size)
    width = "Math.max(document.documentElement.scrollWidth, document.body.scrollWidth)"
    assert shown.evaluate(width) == size["width"]
    inside = """[...document.querySelectorAll('.scroll, figure, p, li, summary, dd')]
        .map(e => e.getBoundingClientRect()).every(r => r.left >= 0 && r.right <= innerWidth)"""
    assert shown.evaluate(inside)
    scrolls = "[...document.querySelectorAll('.scroll')].filter(e => e.scrollWidth > e.clientWidth)"
    assert shown.evaluate(f"{scrolls}.length") > 0 or size is WIDE
    assert shown.evaluate(f"{scrolls}.every(e => e.tabIndex == 0)")


def test_names_of_rows_stay_while_a_table_scrolls(visit):
    shown = visit(PHONE)
    before, after, away = shown.evaluate("""() => {
        const box = document.querySelector('table.overview').parentElement
        const name = box.querySelector('tbody tr:last-child th')
        const before = name.getBoundingClientRect().left
        box.scrollLeft = 200
        return [before, name.getBoundingClientRect().left, box.scrollLeft]
    }""")
    assert away > 100
    assert before == after
    # What goes by behind them is not seen through.
    name = "document.querySelector('table.overview tbody tr:last-child th')"
    assert shown.evaluate(f"getComputedStyle({name}).backgroundColor") == "rgb(255, 255, 255)"


def test_charts_are_there_and_their_letters_can_be_read_on_a_phone(visit):
    shown = visit(PHONE)
    charts = shown.evaluate("""[...document.querySelectorAll('figure svg')].map(e => {
        const box = e.getBoundingClientRect()
        const sizes = [...e.querySelectorAll('text')].map(t => getComputedStyle(t).fontSize)
        const least = Math.min(...sizes.map(parseFloat))
        return [box.width, box.height, e.viewBox.baseVal.width, least]
    })""")
    assert len(charts) > 20
    for width, height, drawn, letters in charts:
        assert min(width, height) > 90
        assert letters * width / drawn >= 8.5


def test_no_letters_leave_their_chart(visit):
    shown = visit(PHONE)
    outside = """[...document.querySelectorAll('figure svg')].flatMap(e => {
        const box = e.getBoundingClientRect()
        return [...e.querySelectorAll('text')].filter(t => {
            const r = t.getBoundingClientRect()
            return r.left < box.left - 1 || r.right > box.right + 6
        }).map(t => t.textContent)
    })"""
    assert shown.evaluate(outside) == []


def test_the_theme_is_the_reader_s_and_can_be_read_in_both(visit):
    seen = {}
    for theme in ("light", "dark"):
        shown = visit(WIDE, theme)
        seen[theme] = shown.evaluate("""() => {
            const style = (query) => getComputedStyle(document.querySelector(query))
            return [style('body').backgroundColor, style('figure svg text').fill, style('p').color]
        }""")
    for one, other in zip(seen["light"], seen["dark"], strict=True):
        assert one != other
    for behind, *inks in seen.values():
        for ink in inks:
            assert contrast(_hex(ink), _hex(behind)) >= 4.5


def _hex(colour):
    numbers = colour.removeprefix("rgb(").removesuffix(")").split(",")
    return "#" + "".join(f"{int(number):02x}" for number in numbers)
