"""State and cost of each transform, for the tables of docs/adaptive.md.

The state is counted from the result of ``init``. The cost comes from the measured table at the end
of the page.
"""

import inspect
import math
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

import lrsched
from lrsched.cli import listing

BASE = optax.chain(optax.scale_by_adam(), lrsched.scale_by_learning_rate(1e-3))
DEFAULTS: Mapping[str, Any] = {
    "base": BASE,
    "learning_rate": 1.0,
    "schedule": lrsched.wsd(1.0, 1000, 0, 0.2),
}
"""Values of the arguments without a default, by name."""
PARAMETERS = {"kernel": jnp.zeros((48, 80)), "bias": jnp.zeros(80)}
RECORDERS = ("noise_scale", "record_health", "record_norms")
"""Transforms that only record statistics."""
ROW = re.compile(r"^\| `(\w+)` \|.*\|$", re.MULTILINE)
MEASURED = re.compile(r"^\| `(\w+)(?:\(adam\))?` \|(.+)\|$", re.MULTILINE)


class State(NamedTuple):
    """Size of a state, without the state of the base optimizer.

    Attributes:
      copies: Number of copies of the parameters.
      numbers: Number of other entries.
      has_base: Whether the transform has a base optimizer.
    """

    copies: float
    numbers: int
    has_base: bool

    def __str__(self) -> str:
        copies = f"base + {self.copies:g}" if self.has_base else f"{self.copies:g}"
        return f"{copies} + {self.numbers} numbers"


def transforms() -> list[str]:
    """Return the names of the public transforms, without those that only record statistics."""
    return [row["name"] for row in listing.transforms() if row["name"] not in RECORDERS]


def with_defaults(name: str) -> optax.GradientTransformationExtraArgs:
    """Return a transform with its defaults."""
    return optax.with_extra_args_support(getattr(lrsched, name)(**_needed(name)))


def state(name: str) -> State:
    """Return the size of the state of a transform."""
    copies, numbers = _state_size(with_defaults(name))
    if "base" in _needed(name):
        of_base, numbers_of_base = _state_size(BASE)
        copies, numbers = copies - of_base, numbers - numbers_of_base
    has_base = "base" in inspect.signature(getattr(lrsched, name)).parameters
    return State(round(copies, 1), numbers, has_base)


def _needed(name: str) -> dict[str, Any]:
    parameters = inspect.signature(getattr(lrsched, name)).parameters.values()
    return {each.name: DEFAULTS[each.name] for each in parameters if each.default is each.empty}


def _state_size(transform: optax.GradientTransformation) -> tuple[float, int]:
    """Count the copies of the parameters, and the entries of arrays with other shapes."""
    leaves = jax.tree.leaves(jax.eval_shape(transform.init, PARAMETERS))
    shapes = {leaf.shape for leaf in PARAMETERS.values()}
    copies = [leaf for leaf in leaves if leaf.shape in shapes or leaf.shape[1:] in shapes]
    parameters = sum(leaf.size for leaf in PARAMETERS.values())
    in_copies = sum(math.prod(leaf.shape) for leaf in copies)
    return in_copies / parameters, sum(math.prod(leaf.shape) for leaf in leaves) - in_copies


def costs(page: str) -> dict[str, list[str]]:
    """Return the cells of the measured table by transform, without their names."""
    table = page.partition("## What each costs")[2].partition("\n\n*Least*")[0]
    return {
        name: [cell.strip() for cell in cells.split("|")] for name, cells in MEASURED.findall(table)
    }


def with_state_and_cost(page: str) -> str:
    """Return the page with the columns state, traffic and time in its first tables."""
    measured = costs(page)
    before, which, after = re.split(r"(?=^## Which one|^AdaGrad, RMSProp)", page, flags=re.M)
    which = which.replace(
        "| it fails where |\n| --- |",
        "| it fails where | state | traffic | time |\n| --- | --- | --- | --- |",
    )

    def extended(row: re.Match[str]) -> str:
        cells = measured.get(row[1])
        least, time = (cells[1], cells[8]) if cells else ("-", "-")
        linked = row[0].replace(f"`{row[1]}`", f"[`{row[1]}`][lrsched.{row[1]}]", 1)
        return f"{linked} {state(row[1])} | {least} | {time} |"

    note = (
        "*State*: copies of the parameters and other numbers in the state, counted from `init` "
        "with defaults. *Traffic*: copies that an update reads and writes; that of Adam is "
        f"{measured['adam'][1]}. *Time*: that of an update on two CPU cores, divided by that of "
        "`optax.adam`. Traffic and time of controllers and of methods with a base include Adam; "
        "see [the measurement](#what-each-costs).\n\n"
    )
    return f"{before}{ROW.sub(extended, which)}{note}{after}"
