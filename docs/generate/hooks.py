"""Hooks of mkdocs, which call `docs.generate.pages` while the site is built."""

import sys
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

# mkdocs loads this file by its path, so the root of the repository is not importable.
sys.path.insert(0, str(Path(__file__).parent.parent.parent))

from docs.generate import pages


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that have no file in docs/."""
    for path, content in pages.made().items():
        files.append(File.generated(config, path, content=content))
    return files


def on_page_markdown(markdown: str, page: Page, **_: Any) -> str:
    """Insert the generated parts of a page, and point its links to pages of the site."""
    # A page that is a tab by itself has no neighbours, so its navigation would be empty.
    if page.parent is None:
        page.meta.setdefault("hide", ["navigation"])
    if page.file.src_uri.endswith(".ipynb"):
        return markdown  # its links are those of a page of the site already
    return pages.complete(page.file.src_uri, markdown)
