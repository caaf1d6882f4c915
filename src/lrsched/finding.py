"""One finding about a run: a sentence with its number, its threshold and the threshold's source."""

from typing import NamedTuple


class Finding(NamedTuple):
    """One property of a run that deserves attention; ``print`` shows it as a sentence.

    Attributes:
      kind: Name of the kind, such as ``"too high"``; `diagnose` and `theory.explain` list theirs.
      text: Statement about the measured quantity.
      value: The measured number.
      threshold: The number beyond which it is a finding.
      source: Source of the threshold: a paper, "heuristic", or a law.
      fix: A line of code, or a change, to try; empty if there is nothing to change any more.

    Example:
      >>> import lrsched
      >>> print(lrsched.Finding("too high", "the ratio", 2.0, 1.0, "heuristic", "a third of it"))
      too high: the ratio (2, threshold 1, heuristic); try a third of it.
    """

    kind: str
    text: str
    value: float
    threshold: float
    source: str
    fix: str = ""

    def __str__(self) -> str:
        remedy = f"; try {self.fix}" if self.fix else ""
        return (
            f"{self.kind}: {self.text} ({self.value:.3g}, threshold {self.threshold:.3g}, "
            f"{self.source}){remedy}."
        )
