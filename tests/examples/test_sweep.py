"""64 members: the best peak is inside of the range, where its ends are much worse."""

import tyro

from examples import sweep


def test_64_members_make_a_u_curve(tmp_path):
    picture = tmp_path / "sweep.png"
    found = tyro.cli(sweep.main, args=["--steps", "60", "--picture", str(picture)])
    assert len(found.table) == 64
    assert (found.table["updates"] == 60).all()
    peaks, losses = found.curve()
    means = losses.mean(axis=1)
    assert float(found.best()(0)) in peaks[1:-1].astype("float32")
    assert min(means[0], means[-1]) > 2 * means.min()
    assert picture.read_bytes().startswith(b"\x89PNG")
