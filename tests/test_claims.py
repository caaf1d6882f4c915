"""What the pages claim is checked: `claims.toml` names the check of each claim.

A claim is a sentence of README.md or docs/*.md with a number or one of the words "every", "never",
"only", "all" and "faster". To add one, write one line below the name of its page in `claims.toml`::

    "a part of the sentence that no other claim of the page has" = "what checks it"

or a list of checks. A check is one of

- `tests/FILE.py::FUNCTION`: a test that fails if the sentence becomes false,
- `python -m benchmarks COMMAND`: the command that measured the number, as the page reports it,
- `https://...`, `arXiv ...` or a package with its version, as in `optax 0.2.8`: the source of a
  fact that is not about lrsched.
"""

import ast
import functools
import re
import tomllib
from pathlib import Path

import pytest

from benchmarks.__main__ import COMMANDS

ROOT = Path(__file__).parent.parent
TABLE = tomllib.loads((ROOT / "tests/claims.toml").read_text())
PAGES = {path.name: path for path in [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]}
NOT_YET_COVERED: set[str] = set()
"""Pages whose claims have no checks yet."""

NOT_PROSE = (
    r"<!-- generated: ([\w ]+) -->.*?<!-- end of \1 -->",  # Tables that a test keeps current.
    r"^( *)```.*?^\1```",
    r"<!--.*?-->",
    r"^## (Reference|References|Versions|House rules)\n.*?(?=^## |\Z)",  # Citations, intentions.
    r"^\*\*Symptom\.\*\*.*?\n\n",  # The trouble of the reader.
    r"^ *(\||#|!\[|<).*?$",  # Rows of tables, headings, pictures and HTML.
)
"""Parts of a page that are not sentences, or that say nothing of lrsched. Their order counts."""


NO_CLAIM = (
    r"``.*?``|`[^`]*`",
    r"(?<=\])\([^)]*\)",  # Targets of links.
    r"\$[^$]*\$",
    r"arXiv:? ?\d{4}\.\d{4,5}",
    r"\b(19[5-9]|20[0-3])\d\b(?! (steps|updates))",  # Years.
    r"\b(Python|jax|flax|optax|PyTorch|Keras|NumPy|libtpu|torch-lr-finder) \d[\d.]*\d",
    r"\b([Ss]tep|[Ss]ection|[Ff]igure|[Ee]quation|[Aa]lgorithm|version) \d[\d.]*\b",
    r"\b1-sqrt\b|\b[23]D\b",  # Names with a digit in front.
)
"""Text within a sentence that makes no claim: code, addresses, years, versions and labels."""

INSTRUCTION = re.compile(
    r"(Add|Build|Call|Choose|Count|Define|Give|Install|Join|Keep|Leave|Multiply|Pass|Put|Read|Return"
    r"|Run|Save|See|Set|Start|Take|Test|Try|Use|Wrap|Write)\b"
)
"""An instruction to the reader asserts nothing."""

CLAIM = re.compile(r"\b(every|never|only|all|faster)\b|(?<![\w.])(?<![A-Za-z]-)\d", re.IGNORECASE)


def claims(page: str) -> list[str]:
    """Return the sentences of the Markdown `page` that claim a number or a generality."""
    for pattern in NOT_PROSE:
        page = re.sub(pattern, "\n", page, flags=re.MULTILINE | re.DOTALL)
    paragraphs = re.split(r"\n\s*\n|^ *(?:[-*]|\d+\.) ", page, flags=re.MULTILINE)
    sentences = [
        sentence
        for paragraph in paragraphs
        for sentence in re.split(
            r"(?<!et al\.)(?<!e\.g\.)(?<=[.!?])\**\s+(?=[^a-z])", " ".join(paragraph.split())
        )
    ]
    return [
        sentence
        for sentence in sentences
        if CLAIM.search(re.sub("|".join(NO_CLAIM), "", sentence))
        and not INSTRUCTION.match(sentence)
    ]


@functools.cache
def functions(path: str) -> set[str]:
    """Return the names of the functions that the file at `path` defines."""
    if not (ROOT / path).is_file():
        return set()
    tree = ast.parse((ROOT / path).read_text())
    return {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}


def exists(check: str) -> bool:
    """Return whether a test or a command exists, or a source has an address or a version."""
    if check.startswith("tests/"):
        path, _, name = check.partition("::")
        return name.startswith("test_") and name in functions(path)
    if check.startswith("python "):
        command = re.match(r"python -m benchmarks(?: ([\w-]+))?", check)
        return command is not None and (command[1] or "quick") in COMMANDS
    return re.match(r"https://|arXiv \d{4}\.\d{4,5}|[\w-]+ \d[\d.]*\d", check) is not None


@pytest.mark.parametrize("name", sorted(PAGES.keys() - NOT_YET_COVERED))
def test_every_claim_of_a_page_has_one_entry_and_every_entry_a_claim(name):
    found = claims(PAGES[name].read_text())
    entries = TABLE.get(name, {})
    assert [s for s in found if not any(entry in s for entry in entries)] == []
    assert [e for e in entries if sum(e in sentence for sentence in found) != 1] == []


def test_every_check_exists():
    checks = [
        (page, check)
        for page, entries in TABLE.items()
        for given in entries.values()
        for check in (given if isinstance(given, list) else [given])
    ]
    assert [(page, check) for page, check in checks if not exists(check)] == []


def test_the_table_has_pages_of_the_site_only():
    assert PAGES.keys() - NOT_YET_COVERED >= TABLE.keys()


def test_claims_are_found_and_what_asserts_nothing_is_left_out():
    page = """# All of it
Since 2024, this needs `all` of [it](2.md). It never fails. Use 3 seeds. It has 3 seeds.

| 7 |
```python
3
```
"""
    assert claims(page) == ["It never fails.", "It has 3 seeds."]


@pytest.mark.parametrize(
    "check",
    [
        "tests/test_claims.py::test_of_nothing",
        "tests/none.py::test_it",
        "python -m benchmarks none",
        "hope",
    ],
)
def test_a_check_that_does_not_exist_is_seen(check):
    assert not exists(check)
