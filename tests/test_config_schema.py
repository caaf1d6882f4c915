import json

import pytest

import lrsched
from lrsched._schedule import REGISTRY
from tests import catalogue

yaml = pytest.importorskip("yaml")
jsonschema = pytest.importorskip("jsonschema")

TEXT = """
schedule: join
operands:
- schedule: multiply
  operands: [{schedule: warmup, steps: 1e2}, 3e-4]
- {schedule: wsd, peak: 3e-4, steps: 1e4, warmup: 0, cooldown: 2e3, ramp: linear}
"""
EXPECTED = lrsched.warmup(100) * 3e-4 >> lrsched.wsd(3e-4, 10_000, 0, 2000, ramp="linear")


@pytest.fixture(scope="module")
def validator():
    schema = lrsched.json_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


def test_yaml_is_read_though_it_takes_3e_4_for_a_string():
    data = yaml.safe_load(TEXT)
    assert data["operands"][1]["peak"] == "3e-4"
    assert lrsched.from_dict(data) == EXPECTED


def test_omegaconf_is_read():
    omegaconf = pytest.importorskip("omegaconf")
    config = omegaconf.OmegaConf.create("peak: 3e-4\nrate:" + TEXT.replace("\n", "\n  "))
    config.rate.operands[1].peak = "${peak}"
    assert lrsched.from_dict(config.rate) == EXPECTED


def test_ml_collections_are_read():
    ml_collections = pytest.importorskip("ml_collections")
    config = ml_collections.ConfigDict(lrsched.to_dict(EXPECTED))
    config.operands[1]["steps"] = 1e4
    assert lrsched.from_dict(config) == EXPECTED
    bounded = lrsched.clip(lrsched.cosine(0.1, 10), 0.0, 0.05)  # frozen, it takes no list of dicts
    frozen = ml_collections.FrozenConfigDict(lrsched.to_dict(bounded))
    assert lrsched.from_dict(frozen) == bounded


def test_a_length_that_is_not_whole_is_refused():
    with pytest.raises(ValueError, match=r"steps=10.5 is not accepted"):
        lrsched.from_dict({"schedule": "cosine", "peak": "1e-3", "steps": "10.5"})
    with pytest.raises(ValueError, match="peak='high' is not accepted"):
        lrsched.from_dict({"schedule": "cosine", "peak": "high", "steps": 10})
    with pytest.raises(ValueError, match=r"warmup=1.0 is not accepted"):
        lrsched.from_dict({"schedule": "wsd", "peak": 1, "steps": 10, "warmup": 1.0, "cooldown": 0})


@pytest.mark.parametrize("case", catalogue.cases(1000), ids=catalogue.name)
def test_the_schema_accepts_every_schedule_and_each_file_can_name_it(case, validator):
    data = {"$schema": "lrsched.json", **json.loads(json.dumps(lrsched.to_dict(case.schedule)))}
    validator.validate(data)
    assert lrsched.from_dict(data) == case.schedule


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"schedule": "cosin", "peak": 1, "steps": 10}, "'cosin' is not one of"),
        ({"schedule": "cosine", "peak": 1}, "'steps' is a required property"),
        ({"schedule": "cosine", "peak": 1, "steps": 0}, "0 is less than the minimum of 1"),
        ({"schedule": "cosine", "peak": 1, "steps": 9, "step": 1}, "'step' was unexpected"),
        ({"peak": 1}, "'schedule' is a required property"),
    ],
)
def test_the_schema_refuses_what_from_dict_refuses(data, message, validator):
    (error,) = validator.iter_errors(data)
    assert message in error.message
    with pytest.raises(ValueError, match=r"."):
        lrsched.from_dict(data)


def test_the_schema_has_every_schedule_that_a_file_can_hold():
    described = lrsched.json_schema()["$defs"].keys() - {"schedule"}
    ours = {name for name in REGISTRY if "." not in name and hasattr(lrsched, name)}
    assert ours - described == {"from_function"}
    cosine = lrsched.json_schema()["$defs"]["cosine"]
    assert all("description" in of for name, of in cosine["properties"].items()
               if name not in ("$schema", "schedule"))  # fmt: skip
