"""The factory that a frozen dataclass becomes: its signature, its names, its errors."""

import dataclasses
import inspect
import pickle

import pytest

from lrsched.adaptive._factory import make_factory, snake_case
from lrsched.arguments import DecayRate, PositiveInt


@dataclasses.dataclass(frozen=True)
class HalfWay:
    """Half of the way."""

    size: PositiveInt
    _: dataclasses.KW_ONLY
    decay: DecayRate = 0.5


def build(method: HalfWay) -> tuple[int, float]:
    return method.size, method.decay


half_way = make_factory(HalfWay, build)


def test_the_factory_has_the_signature_and_the_docstring_of_the_class():
    assert half_way(3) == (3, 0.5)
    assert half_way(size=3, decay=0.25) == (3, 0.25)
    assert half_way.__doc__ == "Half of the way."
    assert str(inspect.signature(half_way)) == (
        "(size: PositiveInt, *, decay: DecayRate = 0.5) -> tuple[int, float]"
    )


def test_errors_begin_with_the_name_of_the_factory():
    with pytest.raises(ValueError, match=r"^half_way: size=0 is not accepted; size must be"):
        half_way(0)
    with pytest.raises(ValueError, match=r"^half_way: decay=1.0 is not accepted; decay must be"):
        half_way(1, decay=1.0)
    with pytest.raises(TypeError, match=r"^half_way: .*it takes size, decay=0.5"):
        half_way(1, 2, 3)


def test_the_class_and_the_factory_are_pickled_by_their_names():
    assert pickle.loads(pickle.dumps(half_way)) is half_way
    assert pickle.loads(pickle.dumps(HalfWay(2))) == HalfWay(2)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("Prodigy", "prodigy"),
        ("LDoG", "ldog"),
        ("DAdaptAdamW", "dadapt_adamw"),
        ("AdaLRS", "adalrs"),
        ("ReduceOnPlateau", "reduce_on_plateau"),
    ],
)
def test_names_are_in_snake_case(name, expected):
    assert snake_case(name) == expected
