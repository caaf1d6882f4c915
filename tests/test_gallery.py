"""The picture of all schedules has all of them, and can be drawn."""

from docs.gallery import draw, missing


def test_every_schedule_has_its_picture():
    assert not missing()


def test_it_can_be_drawn(tmp_path):
    draw(tmp_path / "gallery.png")
    assert (tmp_path / "gallery.png").stat().st_size > 50_000
