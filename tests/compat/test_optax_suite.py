"""optax's own tests of its schedules, unchanged, on ours."""

import importlib.util
import unittest

from lrsched.compat import optax as ours


def load(name):
    """A copy of optax's test module for which our module is the one under test."""
    spec = importlib.util.find_spec(f"optax.schedules.{name}")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module._schedule = module._join = ours
    return module


for module in map(load, ["_schedule_test", "_join_test"]):
    globals().update(
        {
            name: case
            for name, case in vars(module).items()
            if isinstance(case, type) and issubclass(case, unittest.TestCase)
        }
    )
