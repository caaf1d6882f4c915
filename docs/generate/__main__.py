"""Write the generated tables into the pages of the repository: ``python -m docs.generate``."""

from pathlib import Path

from docs.generate import pages

for page in sorted(Path(__file__).parents[1].glob("*.md")):
    text = page.read_text()
    if (current := pages.written(text)) != text:
        page.write_text(current)
        print(f"Wrote {page}")
