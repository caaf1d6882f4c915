"""Record the peers' own numbers: ``python -m tests.parity.record [PEER ...]``, peers installed.

Each call of `tests/parity/peers/<peer>.py` is run for its number of updates in the real peer, and
written with the peer's version to `tests/parity/numbers/<peer>.json`. ``--check`` writes nothing
and fails where the installed peer no longer gives the recorded numbers.
"""

import importlib
import importlib.metadata
import inspect
import json
import sys
from pathlib import Path

import numpy as np

NUMBERS = Path(__file__).parent / "numbers"
PEERS = sorted(path.stem for path in (Path(__file__).parent / "peers").glob("[!_]*.py"))


def record(peer: str) -> dict:
    """The arguments of every function, and the values of every call at 0 ... steps - 1."""
    module = importlib.import_module(f"tests.parity.peers.{peer}")
    namespace = module.namespace()
    calls = {
        call: [float(f"{float(value):.10g}") for value in eval(call, dict(namespace))(steps)]
        for call, steps in module.CALLS.items()
    }
    arguments = {
        name: [key for key in inspect.signature(function).parameters if key != "self"]
        for name, function in module.originals().items()
    }
    versions = {name: importlib.metadata.version(name) for name in module.PACKAGES}
    return {"versions": versions, "arguments": arguments, "calls": calls}


def differs(peer: str) -> list[str]:
    """The calls whose values, and functions whose arguments, are no longer the recorded ones."""
    old, new = json.loads((NUMBERS / f"{peer}.json").read_text()), record(peer)
    return [
        call
        for call, values in new["calls"].items()
        if not np.allclose(old["calls"].get(call, np.nan), values, rtol=1e-9, atol=0)
    ] + [name for name, keys in new["arguments"].items() if old["arguments"].get(name) != keys]


def command(arguments, known, record, differs, write):
    """Record these, or all that are known; with ``--check``, only say what has changed."""
    chosen = [argument for argument in arguments if argument != "--check"] or known
    if "--check" not in arguments:
        for name in chosen:
            recorded = record(name)
            write(name, recorded)
            print(f"{name}: {len(recorded['calls'])} calls of {recorded['versions']}")
        return 0
    changed = {name: differs(name) for name in chosen}
    for name, calls in changed.items():
        print(f"{name}: {len(calls)} differences", *calls, sep="\n  ")
    return int(any(changed.values()))


def write(peer: str, recorded: dict) -> None:
    """One call a line."""
    text = json.dumps(recorded, indent=1).replace("\n   ", " ").replace("\n  ]", "]")
    (NUMBERS / f"{peer}.json").write_text(text + "\n")


if __name__ == "__main__":
    sys.exit(command(sys.argv[1:], PEERS, record, differs, write))
