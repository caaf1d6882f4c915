"""Griffe's part of the reference: docstrings as Markdown, and signatures that decorators make."""

from typing import Any

import griffe

from docs.generate.reference import markdown


class Docstrings(griffe.Extension):
    """Docstrings of the house become Markdown, and schedules lose their step."""

    def on_instance(self, *, obj: griffe.Object, **kwargs: Any) -> None:
        """Called by griffe for every module, class, function and attribute."""
        if obj.docstring:
            obj.docstring.value = markdown(obj.docstring.value, obj.module.path)

    def on_function(self, *, func: griffe.Function, **kwargs: Any) -> None:
        """A function under ``@schedule`` takes no step: it makes a `Schedule`."""
        if any(str(each.value).split("(")[0] == "schedule" for each in func.decorators):
            del func.parameters[0]
            func.returns = griffe.ExprName("Schedule", parent=func.parent)
