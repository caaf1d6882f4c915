"""Record the peers' own numbers: ``python -m tests.parity.record [PEER ...]``, peers installed.

Each call of `tests/parity/peers/<peer>.py` is run for its number of updates in the real peer, and
written with the peer's version to `tests/parity/numbers/<peer>.json`. ``--check`` writes nothing
and fails where the installed peer no longer gives the recorded numbers.
"""

import importlib
import importlib.metadata
import json
import sys
from pathlib import Path

import numpy as np

NUMBERS = Path(__file__).parent / "numbers"
PEERS = sorted(path.stem for path in (Path(__file__).parent / "peers").glob("[!_]*.py"))


def record(peer: str) -> dict:
    """The values of every call, at the updates 0 ... steps - 1."""
    module = importlib.import_module(f"tests.parity.peers.{peer}")
    namespace = module.namespace()
    calls = {
        call: [float(value) for value in eval(call, dict(namespace))(steps)]
        for call, steps in module.CALLS.items()
    }
    versions = {name: importlib.metadata.version(name) for name in module.PACKAGES}
    return {"versions": versions, "calls": calls}


def differs(peer: str) -> list[str]:
    """The calls whose values are no longer the recorded ones."""
    old, new = json.loads((NUMBERS / f"{peer}.json").read_text()), record(peer)
    return [
        call
        for call, values in new["calls"].items()
        if not np.allclose(old["calls"].get(call, np.nan), values, rtol=1e-9, atol=0)
    ]


def main(arguments: list[str]) -> int:
    checks = "--check" in arguments
    peers = [argument for argument in arguments if argument != "--check"] or PEERS
    failed = 0
    for peer in peers:
        if checks:
            changed = differs(peer)
            failed += len(changed)
            print(f"{peer}: {len(changed)} calls differ", *changed, sep="\n  ")
        else:
            recorded = record(peer)
            text = json.dumps(recorded, indent=1).replace("\n   ", " ").replace("\n  ]", "]")
            (NUMBERS / f"{peer}.json").write_text(text + "\n")
            print(f"{peer}: {len(recorded['calls'])} calls of {recorded['versions']}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
