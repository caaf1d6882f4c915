"""Runs made wrong on purpose: the diagnosis names what is wrong with each."""

import json

import pytest

from benchmarks import diagnose


@pytest.fixture(scope="module")
def rows():
    """Seeds other than those that set the thresholds."""
    return diagnose.diagnose_cases("teacher", "Adam", (200, 201))


def test_the_diagnosis_names_what_was_made_wrong(rows):
    wrong = [row for row in rows if not row.is_right]
    assert len(rows) == 24
    assert len(wrong) <= 3, wrong
    # The cases that are no matter of degree.
    assert {row.case for row in wrong} <= {"0.1 x", "0.333 x", "3 x", "no warmup"}


def test_the_table_counts_what_was_said(rows):
    table = diagnose.confusion(rows)
    assert f"of {len(rows)} runs" in table.title
    assert table.row_count >= 12


def test_the_command_writes_its_rows(rows, monkeypatch, tmp_path):
    monkeypatch.setattr(diagnose, "BEST", {("teacher", "Adam"): 0.06})
    monkeypatch.setattr(diagnose, "diagnose_cases", lambda *_: rows)
    diagnose.main(["--out", str(tmp_path / "rows.json")])
    assert len(json.loads((tmp_path / "rows.json").read_text())) == len(rows)
