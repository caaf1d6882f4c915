"""What importing the package does, and what is published with it."""

import ast
import importlib
import inspect
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

import lrsched

ROOT = Path(__file__).parents[1]
CORE = {"jax", "jaxlib", "numpy", "optax", "scipy"}  # the last is a dependency of jax
EXTRAS = {"chex", "flax", "matplotlib", "optuna", "orbax", "pandas", "rich", "sklearn", "tyro"}


def test_importing_warns_of_nothing_asks_no_network_and_loads_no_extra():
    script = f"""
import sys

def refuse(event, arguments):
    assert not event.startswith(("socket.connect", "socket.getaddrinfo")), (event, arguments)

sys.addaudithook(refuse)
import jax, optax
before = set(sys.modules)
import lrsched
print(sorted({{name.partition(".")[0] for name in set(sys.modules) - before}} & {EXTRAS!r}))
lrsched.cosine(1.0, steps=10)(3)
"""
    run = subprocess.run(
        [sys.executable, "-W", "error", "-c", script], capture_output=True, text=True, check=False
    )
    assert (run.returncode, run.stdout, run.stderr) == (0, "[]\n", "")


def _imports(path):
    """The modules that are imported as soon as the file at this path is."""
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module


MODULES = sorted((ROOT / "src/lrsched").rglob("*.py"))
OF_EXTRAS = ("cli", "tuning", "flax.py", "pictures/plots.py", "pictures/terminal.py")


@pytest.mark.parametrize(
    "path",
    [
        path
        for path in MODULES
        if not path.relative_to(ROOT / "src/lrsched").as_posix().startswith(OF_EXTRAS)
    ],
    ids=lambda path: path.relative_to(ROOT / "src/lrsched").as_posix(),
)
def test_the_core_imports_what_it_depends_on_and_nothing_else(path):
    roots = {name.partition(".")[0] for name in _imports(path)}
    assert roots - CORE - set(sys.stdlib_module_names) <= {"lrsched"}


def test_the_citation_is_of_this_version():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert citation["version"] == lrsched.__version__
    assert f"## [{lrsched.__version__}]" in (ROOT / "CHANGELOG.md").read_text()


def test_a_name_of_several_libraries_is_located_in_each():
    with pytest.raises(AttributeError, match=r"compat.keras.\w+ or lrsched.compat.torch.Reduce"):
        _ = lrsched.ReduceLROnPlateau


def test_the_import_starts_no_backend():
    """Otherwise ``jax.distributed.initialize`` after it fails."""
    code = (
        "import jax, lrsched, lrsched.tuning, lrsched.theory, lrsched.compat.torch;"
        "from jax._src import xla_bridge; assert not xla_bridge._backends"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


PUBLIC_MODULES = [
    "lrsched",
    *(
        f"lrsched.{name}"
        for name in ("units", "pictures", "monitor", "recipes", "scaling", "theory", "tuning")
    ),
    *(f"lrsched.compat.{name}" for name in (*lrsched.compat.LIBRARIES, "configs")),
]


def _signatures(module):
    """The signature of each public function of a module, as ``help()`` begins with it."""
    package = importlib.import_module(module)
    for name, value in vars(package).items():
        if not inspect.isfunction(value) or name.startswith("_"):
            continue
        if name in getattr(package, "__all__", ()) or value.__module__ == module:
            yield name, str(inspect.signature(value))


@pytest.mark.parametrize("module", PUBLIC_MODULES)
def test_help_begins_with_a_signature_as_it_is_written(module):
    evaluated = ("Annotated[", "Union[", "ForwardRef", "._src.", "jaxlib")
    unreadable = {
        name: signature
        for name, signature in _signatures(module)
        if any(part in signature for part in evaluated)
    }
    assert not unreadable
