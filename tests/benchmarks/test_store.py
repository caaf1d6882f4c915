import gzip
import json
from dataclasses import fields, replace

import numpy as np
import pytest

from benchmarks.protocol import Protocol, Trial
from benchmarks.store import Store, from_json, made_on, read_study, to_json, write_study

TRIAL = Trial(
    workload="digits-mlp",
    policy="cosine",
    budget=0.25,
    steps=200,
    batch_size=32,
    first=2.5,
    rates=np.array([1e-3, 1e-2]),
    tuning={"loss": np.array([[0.5, 0.25], [np.inf, 1.0]])},
    rate=1e-3,
    schedule="cosine(peak=0.001, steps=200)",
    evaluated=np.array([100, 200]),
    curves={"loss": np.array([[0.75, 0.5], [np.nan, np.inf]])},
    seeds=[500, 501],
    seconds={"compile": 1.5, "update": 0.0625},
    digest="ab" * 32,
    made_on={"versions": {"jax": "0.10.2"}},
)


def same(one, other):
    for field in fields(Trial):
        np.testing.assert_equal(getattr(one, field.name), getattr(other, field.name))


def test_a_trial_goes_through_json_whatever_became_of_it():
    text = json.dumps(to_json(TRIAL), allow_nan=False)
    same(from_json(json.loads(text)), TRIAL)


def test_a_trial_is_found_by_its_digest(tmp_path):
    store = Store(tmp_path)
    assert store.load(TRIAL.digest) is None
    store.save(TRIAL)
    same(store.load(TRIAL.digest), TRIAL)
    assert store.load("cd" * 32) is None
    assert [file.suffix for file in tmp_path.rglob("*") if file.is_file()] == [".json"]


def test_a_study_is_one_file_the_same_for_the_same_numbers(tmp_path):
    protocol = Protocol(rates=2, seeds=2, seed=3)
    trials = [TRIAL, replace(TRIAL, policy="wsd")]
    for name in ("one", "other"):
        write_study(tmp_path / f"{name}.json.gz", "small", protocol, trials)
    assert len({(tmp_path / f"{name}.json.gz").read_bytes() for name in ("one", "other")}) == 1
    name, read, found = read_study(tmp_path / "one.json.gz")
    assert (name, read) == ("small", protocol)
    for one, other in zip(found, trials, strict=True):
        same(one, other)
    assert gzip.decompress((tmp_path / "one.json.gz").read_bytes()).startswith(b"{")


def test_numbers_say_what_they_were_made_on():
    facts = made_on()
    assert {"python", "jax", "flax", "optax", "lrsched-jax"} <= facts["versions"].keys()
    assert facts["machine"]["cores"] >= 1
    json.dumps(facts)


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: data[: len(data) // 2],
        lambda data: b"",
        lambda data: b"[1, 2]",
        lambda data: b"\xff" + data,
        lambda data: data.replace(b"0.25", b"0.35"),
        lambda data: data.replace(b"abab", b"cdcd"),
    ],
    ids=["truncated", "empty", "another type", "no text", "a digit", "another digest"],
)
def test_a_damaged_file_is_one_trial_to_run_again(tmp_path, damage):
    store = Store(tmp_path)
    store.save(TRIAL)
    (file,) = tmp_path.rglob("*.json")
    file.write_bytes(damage(file.read_bytes()))
    with pytest.warns(RuntimeWarning, match="is damaged .*; its trial is run again"):
        assert store.load(TRIAL.digest) is None
    store.save(TRIAL)
    same(store.load(TRIAL.digest), TRIAL)


def test_a_file_without_a_checksum_is_read(tmp_path):
    store = Store(tmp_path)
    store.save(TRIAL)
    (file,) = tmp_path.rglob("*.json")
    file.write_text(json.dumps(to_json(TRIAL)))
    same(store.load(TRIAL.digest), TRIAL)


def test_half_a_file_is_never_seen(tmp_path, monkeypatch):
    store = Store(tmp_path)
    monkeypatch.setattr("pathlib.Path.replace", lambda *_: (_ for _ in ()).throw(OSError))
    with pytest.raises(OSError):  # noqa: PT011
        store.save(TRIAL)
    assert store.load(TRIAL.digest) is None
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]
