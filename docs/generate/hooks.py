"""What mkdocs calls while it builds the site; all of it is `docs.generate.pages`."""

import sys
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

sys.path.insert(0, str(Path(__file__).parent.parent.parent))  # mkdocs runs this file by its path

from docs.generate import pages


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that are made of the library alone."""
    for path, content in pages.made().items():
        files.append(File.generated(config, path, content=content))
    return files


def on_page_markdown(markdown: str, page: Page, **_: Any) -> str:
    """Put the generated parts where a page asks for them, and lead its links into the site."""
    if page.parent is None:  # a tab of its own has no neighbours to list
        page.meta.setdefault("hide", ["navigation"])
    if page.file.src_uri.endswith(".ipynb"):
        return markdown  # its links are those of a page of the site already
    return pages.complete(page.file.src_uri, markdown)
