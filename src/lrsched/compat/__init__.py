"""Schedules of other libraries under their own names: one module for each library.

A ported function has the name and the arguments of the original and returns a `Schedule`, or a
transform where the original follows a metric. Where the original takes an optimizer, the ported
function takes ``base_lr``, the optimizer's learning rate. The values equal the original's at every
step, including its off-by-one steps and its increase after the end.

`lrsched.compat.configs` converts configuration sections of trainers.
"""

from typing import Final

from lrsched._schedule import register_namespace

LIBRARIES: Final = ("keras", "optax", "timm", "torch", "transformers")
"""The source libraries, which are also the prefixes of their schedules' names in JSON."""
NAMESPACES: Final = (*LIBRARIES, "configs")
"""Prefixes of the names of schedules that are defined in a module of this package."""

# A file with "torch.one_cycle" must be readable in a process that never imported the module, and
# importing all of them would make `import lrsched` slower for everyone who does not port anything.
for _namespace in NAMESPACES:
    register_namespace(_namespace, f"{__name__}.{_namespace}")
