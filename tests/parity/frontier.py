"""Numbers that were computed independently from the sources, by function."""

import json
from pathlib import Path

import pytest

NUMBERS = json.loads((Path(__file__).parent / "numbers/frontier.json").read_text())


def cases(function):
    """The cases of a function as parameters of a test: inputs, expected, relative tolerance."""
    return [
        pytest.param(case["inputs"], case["expected"], case["rtol"], id=f"{function}-{index}")
        for index, case in enumerate(NUMBERS[function])
    ]
