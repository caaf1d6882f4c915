"""Curves as numbers, as SVG, as matplotlib figures and as text in a terminal.

Importing this package registers the functions with which schedules and results draw themselves.
"""

import functools
import importlib
from typing import Final

from lrsched._plotting import register_plot

_MODULES: Final = {
    "sparkline": "lrsched.pictures.curves",
    **dict.fromkeys(
        ("plot_comparison", "plot_range_test", "plot_runs", "plot_schedule", "plot_sweep"),
        "lrsched.pictures.plots",
    ),
}


def _draw(name: str, *args: object, **kwargs: object) -> object:
    # Import at the first call: `import lrsched` must stay fast and not need Matplotlib.
    return getattr(importlib.import_module(_MODULES[name]), name)(*args, **kwargs)


for _name in _MODULES:
    register_plot(_name, functools.partial(_draw, _name))
