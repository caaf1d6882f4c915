"""Public factories made of frozen dataclasses: the declaration of every adaptive transform."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

import optax

from lrsched.arguments import validate_arguments

P = ParamSpec("P")
Configuration = TypeVar("Configuration")
Transform = TypeVar("Transform")


def make_factory(
    cls: Callable[P, Configuration], build: Callable[[Configuration], Transform]
) -> Callable[P, Transform]:
    """Return a function that validates the fields of ``cls`` and builds a transform from them.

    The function has the signature and the docstring of the class. Its name is that of the class in
    snake case (``DAdaptAdamW`` gives ``dadapt_adamw``); its error messages begin with it. Class and
    function have different names, so that both can be imported, and pickle finds each of them.

    Args:
      cls: Frozen dataclass. The annotation of each field is the type of the argument, such as
        `lrsched.arguments.PositiveFloat`; fields after ``_: dataclasses.KW_ONLY`` are keywords.
      build: Function that returns the transform of an instance. Its return annotation becomes that
        of the factory.

    Returns:
      The factory. It raises ``ValueError`` if a field is not accepted by its annotation.
    """

    def create(*args: P.args, **kwargs: P.kwargs) -> Transform:
        return build(cls(*args, **kwargs))

    signature = inspect.signature(cls, eval_str=True)
    # A dataclass lists the fields of its bases first; `help` shows those of the class itself first.
    classes = inspect.getmro(cls)  # type: ignore[arg-type]
    order = [name for each in classes for name in inspect.get_annotations(each)]
    parameters = sorted(
        signature.parameters.values(), key=lambda each: (each.kind, order.index(each.name))
    )
    # As written: evaluated, optax's types are shown with the private modules that define them.
    returned = inspect.signature(build).return_annotation
    description = {
        "__name__": snake_case(cls.__name__),
        "__qualname__": snake_case(cls.__name__),
        "__module__": cls.__module__,
        "__doc__": cls.__doc__,
        "__signature__": signature.replace(parameters=parameters, return_annotation=returned),
    }
    for attribute, value in description.items():
        setattr(create, attribute, value)
    return validate_arguments(create)


def transform_of(configuration: Any) -> optax.GradientTransformationExtraArgs:
    """Return the transform whose ``init`` and ``update`` are those of a dataclass."""
    return optax.GradientTransformationExtraArgs(configuration.init, configuration.update)


def snake_case(name: str) -> str:
    """Return a class name in snake case.

    >>> [snake_case(name) for name in ("Prodigy", "LDoG", "DAdaptAdamW", "AdaLRS", "BoldDriver")]
    ['prodigy', 'ldog', 'dadapt_adamw', 'adalrs', 'bold_driver']
    """
    # An underscore stands before a capital that starts a lower-case word and follows a lower-case
    # letter: the initials of DAdapt, DoG and AdaLRS are kept together, as in the public names.
    return re.sub(r"(?<=[a-z])(?=[A-Z][a-z])", "_", name).lower()
