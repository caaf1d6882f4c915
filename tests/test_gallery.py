"""The picture of all schedules has all of them, and can be drawn."""

import re
import types
from pathlib import Path

import lrsched
from docs import gallery
from docs.gallery import draw
from docs.generate import schedules
from lrsched._schedule import REGISTRY

HOUSE = Path(gallery.__file__).parent / "architecture.md"


def test_a_new_schedule_needs_no_entry_in_the_documentation(monkeypatch):
    """The example of docs/architecture.md touches three files: its module, the names, the tests."""
    section = HOUSE.read_text().partition("## Add a schedule")[2]
    code = re.search(r"```python\n(.*?)```", section, re.DOTALL)[1].partition("\nschedule = ")[0]
    monkeypatch.setitem(REGISTRY, "smoothstep", None)  # is removed again after the test
    module = types.ModuleType("lrsched.schedules.decay")
    exec(code, vars(module))
    monkeypatch.setattr(lrsched, "smoothstep", module.smoothstep, raising=False)
    monkeypatch.setattr(lrsched, "__all__", [*lrsched.__all__, "smoothstep"])
    assert gallery.missing() == {"smoothstep"}
    assert gallery.pictures()["decay"]["smoothstep"] == module.smoothstep(1.0, steps=100)
    monkeypatch.setattr(schedules.gallery, "svg", lambda title, schedule: "<svg/>")
    assert "### [`smoothstep`]" in schedules.section()
    assert "| `lrsched.smoothstep(1.0, steps=100)` |" in schedules.others()


def test_it_can_be_drawn(tmp_path):
    draw(tmp_path / "gallery.svg")
    text = (tmp_path / "gallery.svg").read_text()
    assert all(f"<!-- {name}" in text for name in ("cosine", "wsd", "one_cycle"))
