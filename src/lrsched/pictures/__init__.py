"""Curves as numbers, as matplotlib figures and as text in a terminal."""

import functools
import importlib
from typing import Any, Final

from lrsched._plotting import register_plot

_PLOTS: Final = ("plot_comparison", "plot_range_test", "plot_runs", "plot_sweep")


def _draw(name: str, *args: Any, **kwargs: Any) -> Any:
    # The module is imported at the first call: `import lrsched` must not import all that it draws.
    return getattr(importlib.import_module("lrsched.pictures.plots"), name)(*args, **kwargs)


for _name in _PLOTS:
    register_plot(_name, functools.partial(_draw, _name))
