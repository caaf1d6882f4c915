"""The table of the page docs/comparison.md says what happens."""

import json
import re
from pathlib import Path

import pytest

from tests.comparison import ROWS, of_optax, ours

ROOT = Path(__file__).parents[1]
RECORDED = json.loads((ROOT / "tests/comparison/pytorch.json").read_text())["answers"]
ROW_OF = {sentence: row for row, sentence in ROWS.items()}
CELL = re.compile(r"\[(yes|no)\]\(\.\./(tests/comparison/\w+\.py)\)")
TABLE = [
    (line.split(" | ")[0].removeprefix("| "), CELL.findall(line))
    for line in (ROOT / "docs/comparison.md").read_text().splitlines()
    if CELL.search(line)
]


def test_it_has_every_row_once():
    assert sorted(sentence for sentence, _ in TABLE) == sorted(ROW_OF)


@pytest.mark.parametrize(
    ("sentence", "cells"), TABLE, ids=[ROW_OF.get(row, row) for row, _ in TABLE]
)
def test_a_row_is_what_happens(sentence, cells):
    row = ROW_OF[sentence]
    answers = {
        "tests/comparison/ours.py": getattr(ours, row)(),
        "tests/comparison/of_optax.py": getattr(of_optax, row)(),
        "tests/comparison/of_pytorch.py": RECORDED[row],
    }
    assert cells == [("yes" if answer else "no", link) for link, answer in answers.items()]
