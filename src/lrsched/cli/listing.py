"""Lists of schedules and transforms: family, name, signature and first sentence of each."""

from __future__ import annotations

import inspect
import re
from typing import Any

import lrsched
from lrsched._schedule import REGISTRY, shown_signature


def schedules() -> list[dict[str, str]]:
    """Return a row for each registered schedule, sorted by family, without ported ones."""
    rows = []
    for name, one in REGISTRY.items():
        module = one.function.__module__
        if not module.startswith("lrsched.compat."):
            shown = shown_signature(one)
            named = [
                parameter
                if one.argument_types[parameter.name]
                else parameter.replace(annotation=Any)
                for parameter in shown.parameters.values()
            ]
            signature = str(shown.replace(parameters=named)).rpartition(" -> ")[0]
            rows.append(_row(module, name, signature.replace(": typing.Any", ""), one.function))
    return sorted(rows, key=lambda row: row["family"])


def transforms() -> list[dict[str, str]]:
    """Return a row for each public transform of `lrsched.adaptive`, sorted by family."""
    rows = []
    for name in lrsched.__all__:
        thing = getattr(lrsched, name)
        module = getattr(thing, "__module__", "")
        if inspect.isfunction(thing) and module.startswith("lrsched.adaptive."):
            signature = inspect.signature(thing)
            if "GradientTransformation" in str(signature.return_annotation):
                shown = signature.replace(return_annotation=inspect.Signature.empty)
                rows.append(_row(module, name, _without_annotations(shown), thing))
    return sorted(rows, key=lambda row: row["family"])


def _without_annotations(signature: inspect.Signature) -> str:
    plain = [one.replace(annotation=one.empty) for one in signature.parameters.values()]
    return re.sub(r"<function (\w+) at \w+>", r"\1", str(signature.replace(parameters=plain)))


def _row(module: str, name: str, signature: str, thing: object) -> dict[str, str]:
    about = (inspect.getdoc(thing) or "").partition("\n")[0]
    family = module.rpartition(".")[2].replace("_", " ")
    return {"family": family, "name": name, "signature": signature, "about": about}
