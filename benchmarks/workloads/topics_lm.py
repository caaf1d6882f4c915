"""Character language model on the help topics of Python: 464,473 characters."""

import hashlib
import platform
import warnings
from pydoc_data.topics import topics

from benchmarks.workloads.base import Data, Workload, accuracy, cross_entropy
from benchmarks.workloads.characters import LENGTH, Transformer, windows

PUBLISHED = "3.11.7"
"""Version of CPython whose text the published results use."""
DIGESTS = {
    "3.11.2": "bb411fb6a1a704c61a1e655980bd9e3b42b7e0232dcb6ea275ed58a00672b676",
    "3.11.7": "b61d082f373f608306b71e4b69c64ac24b650139c6f185e038e420244affbc70",
    "3.12.1": "b227914cb5873dda6f2f3d48fc8c9ae9f348c926241b63ef6ce0bfe4b8ee19f7",
    "3.13.0": "94e2778ee65800415cf087a530f13705fe2cd52305575aef16b053574b6b7bcf",
}
"""SHA-256 of the text of some versions. Results on different texts are not comparable."""


def load() -> Data:
    """Return windows of 64 characters and the next characters; the last sixteenth is held out.

    Warns if the text differs from that of the published results.
    """
    content = text()
    warn_of_another(content, platform.python_version())
    return windows(content, held_out=len(content) // LENGTH // 32)


def text() -> str:
    """Return the help topics of this Python in the order of their names."""
    return "\n".join(topics[name] for name in sorted(topics)).encode("ascii", "ignore").decode()


def version_of(text: str) -> str | None:
    """Return the version of CPython with this text, or None if it is not listed."""
    digest = hashlib.sha256(text.encode()).hexdigest()
    return next((version for version, known in DIGESTS.items() if known == digest), None)


def warn_of_another(text: str, python: str) -> None:
    """Warn if a text is not that of the published results; ``python`` is the running version."""
    version = version_of(text)
    if version != PUBLISHED:
        whose = f"CPython {version}'s" if version else "none that is listed"
        warnings.warn(
            f"topics-lm: the help topics of this Python {python} are another text than those of "
            f"{PUBLISHED}, which the published figures are of: {len(text):,} characters, {whose}. "
            "Losses on the two are not comparable.",
            stacklevel=3,
        )


WORKLOAD = Workload(
    name="topics-lm",
    title="Character LM on Python's help",
    source="the help topics in Python's standard library, PSF licence",
    data=load,
    model=Transformer,
    loss=cross_entropy,
    metric=accuracy,
    batch_size=16,
    steps=200,
    around=1e-2,
    target=2.4,
    budgets=(0.25, 1.0),
    tuning_seeds=1,
    evaluations=10,
)
