"""The page about a study, of trials that are made up."""

import dataclasses
import gzip
import json
import re
import shlex
from html import escape
from html.parser import HTMLParser

import numpy as np
import pytest
import tyro

from benchmarks import report
from benchmarks.analysis import Interval
from benchmarks.costs import CostTable
from benchmarks.policies import POLICIES
from benchmarks.protocol import Protocol
from benchmarks.report import measured, sections
from benchmarks.report.findings import Findings, command, rivals, sentences
from benchmarks.report.page import page
from benchmarks.store import write_study
from benchmarks.study import FULL, QUICK, Study
from benchmarks.workloads import WORKLOADS
from tests.benchmarks.trials import PROTOCOL, study, trial, with_losses

UNTUNED = Protocol(rates=1, seeds=1, tuning_seeds=1)
NAMES = ["cancer-logistic", "digits-mlp"]
SOME = ["constant", "linear", "clr", "dog"]
TABLE = {
    "title": "A <cost>",
    "command": "python -m benchmarks schedules",
    "caption": "Medians.",
    "columns": ["schedule", "ours, us"],
    "rows": [["cosine", "1.5"]],
    "versions": {"jax": "0.0"},
}


def findings(trials, protocol=PROTOCOL, name="made-up"):
    return Findings(name, protocol, trials, "made-up.json.gz")


class Reader(HTMLParser):
    """Tags that close in order, and the attributes of all."""

    VOID = frozenset({"meta", "br", "link", "img", "input", "hr"})

    def __init__(self, text):
        super().__init__()
        self.open, self.attributes, self.tags, self.words = [], [], [], []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)


@pytest.fixture(scope="module")
def made():
    """The page of two workloads, four policies of which one diverges, and two budgets."""
    trials = study(NAMES, SOME, (0.25, 1.0), diverged=["clr"])
    return page(findings(trials), [CostTable(**TABLE)])


@pytest.fixture(scope="module")
def read(made):
    return Reader(made)


def test_tags_are_closed_in_order_and_ids_are_unique(read):
    assert not read.open
    ids = [value for name, value in read.attributes if name == "id"]
    assert len(ids) == len(set(ids))
    pointed = {v[1:] for n, v in read.attributes if n.endswith("href") and v.startswith("#")}
    pointed |= set(re.findall(r"url\(#([^)]*)\)", str(read.attributes)))
    assert pointed <= set(ids)


def test_nothing_is_fetched_and_nothing_runs(made, read):
    assert not {"script", "link", "img", "iframe", "object"} & set(read.tags)
    for name, value in read.attributes:
        if not name.startswith("xmlns"):
            assert "://" not in (value or ""), (name, value)
        if name.split(":")[-1] in ("src", "href"):
            assert value.startswith("#")
    assert "@import" not in made
    assert "@font-face" not in made


def test_every_workload_and_policy_and_cost_is_there(read):
    words = "\n".join(read.words)
    for name in [*SOME, *NAMES, *(WORKLOADS[name].title for name in NAMES), "A <cost>"]:
        assert name in words
    # Direct labels in the profiles by updates and by time, ranks, shares and both per workload.
    for policy in SOME:
        assert read.words.count(policy) >= 3 + 2 * len(NAMES)
    for source in (WORKLOADS[name].source for name in NAMES):
        assert source in words


def test_diverged_runs_are_shown(made):
    assert made.count("2 of 5 diverged") == len(NAMES)
    assert "8 of 80 scored runs diverged" in made


def test_a_policy_whose_runs_all_diverge_is_shown_and_never_the_best():
    trials = [trial("digits-mlp", name) for name in ("constant", "linear")]
    trials.append(trial("digits-mlp", "dog", diverged=5))
    found = findings(trials)
    table = sections.overview(found)
    cell = re.search(r'"row">dog</th>.*?</tr>', table)[0]
    assert cell.count("diverged <small>") == 2
    assert "5 of 5 diverged" in cell
    assert 'class="best"' not in cell
    assert 'class="near"' not in cell
    assert found.ranks[1.0]["dog"] == 3


def test_the_best_is_marked_and_what_the_seeds_do_not_tell_from_it():
    losses = {"constant": [1, 2, 3], "linear": [2.5, 2.6, 2.7], "dog": [4, 5, 6]}
    trials = [with_losses(np.c_[x], policy=name) for name, x in losses.items()]
    table = sections.overview(findings(trials))
    rows = {name: re.search(rf'"row">{name}</th>.*?</tr>', table)[0] for name in losses}
    # The metric is higher where the loss is: the best of the one is the worst of the other.
    assert re.findall(r'class="(\w+)">([\d.]+)', rows["constant"]) == [("best", "2.00")]
    assert re.findall(r'class="(\w+)">([\d.]+)', rows["linear"]) == [("near", "2.60")]
    assert re.findall(r'class="(\w+)">([\d.]+)', rows["dog"]) == [("best", "5.000")]


def test_rivals_overlap_with_the_best():
    found = {"a": Interval(2, 1, 3, 0.9), "b": Interval(4, 3, 5, 0.9), "c": Interval(9, 8, 9, 0.9)}
    assert rivals(found) == ("a", ["b"])


def test_chosen_rates_at_an_edge_are_marked():
    low = trial("digits-mlp", "constant")
    low = trial("digits-mlp", "constant", rate=float(low.rates[0]))
    high = trial("digits-mlp", "linear", rate=float(low.rates[-1]))
    made = sections.workloads(findings([low, high, trial("digits-mlp", "dog")]))
    assert made.count(f"{sections.LOWEST}</td>") == made.count(f"{sections.HIGHEST}</td>") == 1


@pytest.mark.parametrize(
    ("trials", "protocol"),
    [
        (study(["digits-mlp"], ["constant"], (4.0,)), PROTOCOL),
        (
            study(["digits-mlp"], ["wsd", "dog"], protocol=UNTUNED),
            UNTUNED,
        ),
        (study(["digits-mlp"], ["wsd", "dog"])[:1] + study(["mnist-vit"], ["dog"]), PROTOCOL),
        ([trial("digits-mlp", "dog", diverged=5)], PROTOCOL),
    ],
    ids=["one budget", "one rate", "nothing in common", "all diverged"],
)  # fmt: skip
def test_a_study_of_little_has_a_page_too(trials, protocol):
    reader = Reader(page(findings(trials, protocol), []))
    assert not reader.open
    assert "No measurements" in "".join(reader.words)


def test_the_same_study_gives_the_same_page():
    trials = study(["digits-mlp"], ["constant"])
    assert page(findings(trials), []) == page(findings(trials), [])


def test_words_of_the_data_are_no_markup():
    found = findings([trial("digits-mlp", "dog", schedule="<b>&")], name="<i>")
    made = page(found, [])
    assert "&lt;b&gt;&amp;" in made
    assert "<i>" not in made


@pytest.mark.parametrize(("field", "what"), [("policy", "cosin"), ("workload", "digits")])
def test_what_is_not_known_is_refused_in_one_sentence(field, what):
    strange = dataclasses.replace(trial("digits-mlp", "dog"), **{field: what})
    with pytest.raises(ValueError, match=rf"the {field} '{what}', which .*digits-mlp|cosine"):
        findings([strange])
    with pytest.raises(ValueError, match="has no trials"):
        findings([])


@pytest.mark.parametrize(
    ("name", "given"),
    [
        ("full", {}),
        ("full", {"workloads": ("digits-mlp",), "policies": ("wsd", "dog"), "rates": 5}),
        ("mine", {"budgets": (0.5, 2.0), "seeds": 3, "tuning_seeds": 2, "seed": 7}),
        ("quick", {}),
        ("quick", {"policies": ("constant",)}),
    ],
)
def test_the_command_makes_the_same_study(name, given):
    base = QUICK if name == "quick" else FULL
    wanted = dataclasses.replace(base, **given)
    trials = [
        trial(w, p, b, protocol=wanted.protocol if wanted.tuning_seeds else PROTOCOL)
        for w in wanted.workloads
        for p in wanted.policies
        for b in wanted.budgets or WORKLOADS[w].budgets
    ]
    words = shlex.split(command(name, wanted.protocol, trials))
    assert words[:4] == ["python", "-m", "benchmarks", "quick" if base is QUICK else "full"]
    assert len(words) == 4 or given
    assert tyro.cli(Study, default=base, args=words[4:]) == wanted


def test_sentences_say_what_the_numbers_are():
    losses = {"constant": 1.0, "linear": 2.0, "clr": 3.0, "dog": np.inf}
    trials = [
        with_losses([[loss]] * 3, policy=policy, budget=budget, seeds=[0, 1, 2])
        for budget in (1.0, 4.0)
        for policy, loss in losses.items()
    ]
    said = dict(sentences(findings(trials)))
    assert "constant (1.0), then linear (2.0) and clr (3.0)" in said["Ranks"]
    assert "dog (4.0)" in said["Ranks"]
    assert "0 of 3 on digits-mlp" in said["Ties"]
    assert "rank correlation of 1.00" in said["Budgets"]
    assert said["Divergence"].startswith("6 of 24 ")


def test_main_writes_the_page_and_the_pictures(tmp_path, capsys):
    data, out = tmp_path / "mine.json.gz", tmp_path / "made" / "page.html"
    write_study(data, "mine", PROTOCOL, study(["digits-mlp"], ["constant", "wsd"], (0.25, 1.0)))
    (tmp_path / "schedules.json").write_text(json.dumps(TABLE))
    options = ["--study", str(data), "--costs", str(tmp_path), "--out", str(out)]
    report.main(options)
    assert "mine.json.gz" in out.read_text(encoding="utf-8")
    assert "A &lt;cost&gt;" in out.read_text(encoding="utf-8")
    names = {"courses", "profiles", "sensitivity", "usable", "budgets"}
    assert {path.stem for path in out.parent.glob("*.svg")} == names
    printed = "".join(capsys.readouterr().out.split())
    for path in out.parent.glob("*.svg"):
        assert "</svg>" in path.read_text()
        assert path.name in printed


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--out", "page.txt"], "out must end in .html, not 'page.txt'"),
        (["--study", "nowhere.json.gz"], "nowhere.json.gz is missing"),
    ],
)
def test_bad_input_is_one_sentence(arguments, message, capsys):
    with pytest.raises(SystemExit, match="2"):
        report.main(arguments)
    printed = capsys.readouterr()
    assert message in " ".join((printed.out + printed.err).replace("│", " ").split())


def test_without_a_study_it_says_what_makes_one(tmp_path, monkeypatch):
    monkeypatch.setattr(report, "RESULTS", tmp_path)
    with pytest.raises(SystemExit, match="benchmarks quick"):
        report.main([])
    (tmp_path / "quick.json.gz").write_bytes(gzip.compress(b"{}"))
    with pytest.raises(KeyError):  # it is found, and read
        report.main([])


def test_a_file_of_the_general_shape_is_a_table_as_it_is(tmp_path):
    (tmp_path / "one.json").write_text(json.dumps(TABLE))
    (tmp_path / "other.json").write_text(json.dumps({"curves": [1, 2]}))
    (tmp_path / "list.json").write_text("[]")
    (found,) = measured.read(tmp_path)
    assert found == CostTable(**TABLE)
    assert measured.read(tmp_path / "nowhere") == []


def test_costs_of_transforms_have_theirs_beside_ours(tmp_path):
    numbers = {"time_ratio": [1.0, 1.25, 1.5], "state": 2.0, "all_reduces": 3, "least": 4.0}
    found = {
        "adam": numbers,
        "prodigy(slice_p=11)": numbers,
        "kt": numbers,
        "optax adam": numbers,
        "optax prodigy": {**numbers, "state": 5.0},
    }
    file = tmp_path / "cost.json"
    file.write_text(json.dumps({"versions": {"jax": "0.0"}, "costs": {"here": found}}))
    (table,) = measured.read(tmp_path)
    assert table.title == "Transforms, here"
    assert [row[0] for row in table.rows] == ["adam", "prodigy(slice_p=11)", "kt"]
    assert {len(row) for row in table.rows} == {len(table.columns)}
    by_name = {row[0]: row[1:] for row in table.rows}
    ratio = "1.25 (1.00 to 1.50)"
    assert by_name["prodigy(slice_p=11)"] == [ratio, ratio, "2.00", "5.00", "3", "3", "4.00"]
    assert by_name["kt"] == [ratio, "-", "2.00", "-", "3", "-", "4.00"]


def test_speeds_of_sweeps_are_three_tables(tmp_path):
    found = {
        "sweep": {"vmap": [[1.0, 4.0], [2.0, 3.0]], "lrsched, 2 devices": [[1.0, 1.0]]},
        "range tests": {"torch-lr-finder": 0.5},
        "devices": {"2": {"seconds": 0.25, "collectives": 0}},
    }
    (tmp_path / "sweep-speed.json").write_text(json.dumps(found))
    ways, tests, devices = measured.read(tmp_path)
    assert ways.rows[0] == ["vmap", "1.00", "3.00", "4.00", "2.0"]
    assert tests.rows == [["torch-lr-finder", "0.500"]]
    assert devices.rows == [["2", "0.25", "0"]]


def test_all_policies_and_workloads_can_be_written():
    """No name, family or number of them is taken for granted."""
    found = findings(study(list(WORKLOADS), list(POLICIES)))
    assert found.policies == list(POLICIES)
    table = sections.overview(found)
    for name in [*POLICIES, *(WORKLOADS[name].title for name in WORKLOADS)]:
        assert f">{escape(name)}</th>" in table
