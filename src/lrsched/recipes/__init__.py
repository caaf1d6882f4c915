"""The recipes of published training runs, as functions of their scale.

Each recipe is one short function in a module of its family. `names` lists them, `get` looks one up,
and every one is also an attribute of this package: ``recipes.nanogpt_gpt2_124m(steps=20_000)``.
`recipe` adds one; `sequence`, `trapezoid`, `warmup_cosine` and `warmup_linear` are the shapes that
most of them are made of.

Example:
  >>> from lrsched import recipes
  >>> recipe = recipes.get("smollm2-135m")(steps=20_000, warmup=100, cooldown=4000)
  >>> recipe.schedules["all"]([0, 100, 16_000, 18_000, 20_000]).tolist()
  [0.0, 0.003000000026077032, 0.003000000026077032, 0.001500000013038516, 0.0]
  >>> recipe.parts.weight_decay.value, recipe.parts.clip
  (0.01, 1.0)
  >>> recipes.Recipe.from_dict(recipe.to_dict()) == recipe
  True
"""

from lrsched.recipes import control_and_science as _control_and_science
from lrsched.recipes import language_models as _language_models
from lrsched.recipes import optimizers as _optimizers
from lrsched.recipes import speech as _speech
from lrsched.recipes import vision as _vision
from lrsched.recipes._parts import Decay, Parts
from lrsched.recipes._recipe import (
    RECIPES,
    Recipe,
    get,
    listing,
    names,
    recipe,
    to_json,
)
from lrsched.recipes._shapes import sequence, trapezoid, warmup_cosine, warmup_linear

# The modules of the families register their recipes when they are imported.
del _control_and_science, _language_models, _optimizers, _speech, _vision

for _create in RECIPES.values():
    globals()[_create.__name__] = _create
del _create

__all__ = [
    "RECIPES",
    "Decay",
    "Parts",
    "Recipe",
    "get",
    "listing",
    "names",
    "recipe",
    "sequence",
    "to_json",
    "trapezoid",
    "warmup_cosine",
    "warmup_linear",
]
