"""Griffe extension of the reference: docstrings as Markdown, and signatures of factories."""

import importlib
import inspect
from typing import Any

import griffe

from docs.generate.reference import PLACES, markdown


class Docstrings(griffe.Extension):
    """Show docstrings as Markdown, and functions with the signature that a caller sees."""

    def on_instance(self, *, obj: griffe.Object, **kwargs: Any) -> None:
        """Convert the docstring of a module, class, function or attribute to Markdown."""
        if obj.docstring:
            obj.docstring.value = markdown(obj.docstring.value, obj.module.path)

    def on_function(self, *, func: griffe.Function, **kwargs: Any) -> None:
        """Remove the step from a function under ``@schedule``, which returns a `Schedule`."""
        if any(str(each.value).split("(")[0] == "schedule" for each in func.decorators):
            del func.parameters[0]
            func.returns = griffe.ExprName("Schedule", parent=func.parent)

    def on_module_members(self, *, mod: griffe.Module, **kwargs: Any) -> None:
        """Replace a factory that a class defines, such as ``dog = adaptive_transform(DoG)``.

        Griffe reads the source, where such a factory is an attribute without a docstring. The
        function has the signature and the docstring of the class.
        """
        for name, member in list(mod.members.items()):
            if isinstance(member, griffe.Attribute) and name in PLACES:
                function = getattr(importlib.import_module(mod.path), name, None)
                if inspect.isfunction(function):
                    mod.set_member(name, _function(function, mod, member.lineno))


def _function(function: Any, module: griffe.Module, line: int | None) -> griffe.Function:
    signature = inspect.signature(function)
    parameters = [
        griffe.Parameter(
            each.name,
            annotation=_text(each.annotation),
            kind=griffe.ParameterKind(each.kind.description),
            default=None if each.default is each.empty else repr(each.default),
        )
        for each in signature.parameters.values()
    ]
    docstring = markdown(inspect.getdoc(function) or "", module.path)
    return griffe.Function(
        function.__name__,
        lineno=line,
        parameters=griffe.Parameters(*parameters),
        returns=_text(signature.return_annotation),
        docstring=griffe.Docstring(docstring, parser="google"),
        parent=module,
    )


def _text(annotation: Any) -> str | None:
    if annotation is inspect.Signature.empty:
        return None
    return getattr(annotation, "__name__", None) or str(annotation)
