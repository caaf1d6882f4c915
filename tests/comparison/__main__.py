"""Record PyTorch's answers and print the table, or ``--check`` them."""

import importlib.metadata
import json
import sys
from pathlib import Path

from tests.comparison import ROWS, of_optax, of_pytorch, ours

RECORDED = Path(__file__).with_name("pytorch.json")


def main(arguments):
    columns = {
        name: {row: bool(getattr(module, row)()) for row in ROWS}
        for name, module in {"lrsched": ours, "optax": of_optax, "PyTorch": of_pytorch}.items()
    }
    answers = columns["PyTorch"]
    if "--check" in arguments:
        old = json.loads(RECORDED.read_text())["answers"]
        changed = [row for row in ROWS if old.get(row) != answers[row]]
        print("comparison:", ", ".join(changed) or "PyTorch answers as it did")
        return len(changed)
    found = {"version": importlib.metadata.version("torch"), "answers": answers}
    RECORDED.write_text(json.dumps(found, indent=1) + "\n")
    for row, sentence in ROWS.items():
        cells = ("yes" if column[row] else "no" for column in columns.values())
        print("|", sentence, "|", " | ".join(cells), "|")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
