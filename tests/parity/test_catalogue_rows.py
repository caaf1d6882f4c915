"""Rows of the catalogue for trainers' inverse-square-root schedules, against their formulas."""

import re
from pathlib import Path

import numpy as np
import pytest

import lrsched

ROWS = (Path(__file__).parents[2] / "docs" / "catalogue.md").read_text().splitlines()
STEPS = np.array([0, 1, 37, 99, 100, 101, 150, 400, 9_999], np.float64)
WARMUP, TIMESCALE, SHIFT = 100, 1000, 200


def row(source):
    """The schedule in the last column of the row that names a source."""
    (line,) = [line for line in ROWS if source in "|".join(line.split("|")[2:3])]
    (code,) = re.findall(r"`([^`]*)` \|$", line)
    return eval(code, {"lr": lrsched})


def t5x_rsqrt_decay(t):
    """T5X with the factors "constant * linear_warmup * rsqrt_decay"."""
    return 0.5 * np.minimum(1.0, t / WARMUP) / np.sqrt(np.maximum(t, WARMUP))


def t5x_rsqrt_normalized_decay(t):
    """The same with "rsqrt_normalized_decay", and the schedule of Flax's WMT example."""
    return 1e-3 * np.minimum(1.0, t / WARMUP) * np.sqrt(WARMUP / np.maximum(t, WARMUP))


def big_vision_rsqrt(t):
    """big_vision.utils.create_learning_rate_schedule with decay_type="rsqrt"."""
    elapsed = np.maximum(t - WARMUP, 0.0)
    return 1e-3 * np.minimum(1.0, t / WARMUP) / np.sqrt(1 + (elapsed + SHIFT) / TIMESCALE)


@pytest.mark.parametrize(
    ("source", "formula"),
    [
        ("linear_warmup * rsqrt_decay", t5x_rsqrt_decay),
        ("rsqrt_normalized_decay", t5x_rsqrt_normalized_decay),
        ('big_vision "rsqrt"', big_vision_rsqrt),
    ],
)
def test_a_row_of_the_catalogue_is_the_trainers_schedule(source, formula):
    np.testing.assert_allclose(row(source)(STEPS.astype(int)), formula(STEPS), rtol=1e-6)
