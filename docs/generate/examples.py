"""Page of the examples: each script of examples/ with its docstring."""

import ast
import textwrap
from pathlib import Path

EXAMPLES = Path(__file__).parent.parent.parent / "examples"


def pages() -> dict[str, str]:
    """Return the Markdown of the page by its path."""
    lines = [
        "# Examples",
        "",
        "Scripts in `examples/` of the repository. Each one is short, needs no other script and",
        "runs as a test.",
    ]
    for script in sorted(EXAMPLES.glob("[!_]*.py")):
        lines += ["", *_section(script)]
    return {"examples.md": "\n".join(lines)}


def _section(script: Path) -> list[str]:
    source = script.read_text()
    tree = ast.parse(source)
    about = ast.get_docstring(tree) or ""
    below = source.splitlines()[tree.body[0].end_lineno if about else 0 :]
    code = textwrap.indent("\n".join(below).strip(), "    ")
    return [
        f"## {script.stem}",
        "",
        about,
        "",
        f'??? quote "`python examples/{script.name}`"',
        "",
        "    ```python",
        code,
        "    ```",
    ]
