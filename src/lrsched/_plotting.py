"""Drawing functions by name, so that a result can draw itself without importing a plotting module.

`lrsched.pictures` lies above the modules whose results it draws. It registers its functions here
when `lrsched` is imported; matplotlib is imported by the first function that is called.
"""

from collections.abc import Callable
from typing import Any, Final

_FUNCTIONS: Final[dict[str, Callable[..., object]]] = {}


def register_plot(name: str, function: Callable[..., object]) -> None:
    """Register the function that draws what ``name`` says."""
    _FUNCTIONS[name] = function


def plot(name: str, *args: object, **kwargs: object) -> Any:
    """Call the registered function.

    Returns:
      What the function returns, matplotlib axes.

    Raises:
      ValueError: If no function of this name is registered.
    """
    if name not in _FUNCTIONS:
        raise ValueError(
            f"plot: {name!r} is not registered; import lrsched.pictures, which draws it."
        )
    return _FUNCTIONS[name](*args, **kwargs)
