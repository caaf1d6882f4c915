"""How a peer's function takes its arguments: checked, under the peer's own names."""

import difflib
import inspect
from collections.abc import Callable, Mapping
from functools import wraps
from typing import NoReturn, ParamSpec, TypeAlias, TypeVar

from lrsched.arguments import bind_arguments, validate_arguments

P = ParamSpec("P")
R = TypeVar("R")
Missing: TypeAlias = Callable[[str], NoReturn]


def ported(*unused: str, **elsewhere: str) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Check a function's arguments by their annotations, as `lrsched.schedule` does for its own.

    So that what is refused is called what the peer calls it, whatever it is built from.

    Args:
      *unused: parameters that mean nothing here; anything but their default is refused.
      **elsewhere: parameters that something else of ours is for; the same, and it is named.
    """
    refused = dict.fromkeys(unused, "a schedule has no use for it") | elsewhere

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        check = validate_arguments(function)
        signature = inspect.signature(function)

        @wraps(check)
        def refusing(*args: P.args, **kwargs: P.kwargs) -> R:
            given = bind_arguments(function.__name__, signature, args, kwargs).arguments
            for key in refused:
                default = signature.parameters[key].default
                if given[key] != default:
                    raise ValueError(
                        f"{function.__name__}: {key}={given[key]!r} is not accepted; {key} must be "
                        f"left at {default!r}, as {refused[key]}."
                    )
            return check(*args, **kwargs)

        return refusing

    return decorate


def missing_attribute(module: str, ours: list[str], known: Mapping[str, str]) -> Missing:
    """A module's ``__getattr__``: what the peer has and ours does not, with the nearest of ours.

    Args:
      module: the module's name.
      ours: its public names.
      known: names of the peer that ours lacks, with what to use in their place.
    """

    def refuse(name: str) -> NoReturn:
        instead = known.get(name)
        if instead is None:
            near = difflib.get_close_matches(name, ours, n=3, cutoff=0.4)
            instead = f"the nearest are {', '.join(near or ours)}"
        raise AttributeError(f"{module} has no {name!r}; {instead}.", name=name)

    return refuse
