"""The table of docs/comparison.md: each cell is a function that tries what the row says.

A column is a file: ours.py, of_optax.py, of_pytorch.py. The tests' environment has no PyTorch: its
answers are recorded in pytorch.json by ``python -m tests.comparison``, which prints the table, and
fails with ``--check`` where the installed one answers otherwise.
"""

ROWS = {
    "prints": "A schedule prints its numbers",
    "compares": "Two with the same numbers are equal",
    "is_made_again": "A file alone makes it again",
    "is_swept": "`vmap` runs over peaks and lengths",
    "is_read": "The rate in use is read out of any chain",
    "is_held": "A rate set by hand stays, on top of a schedule",
    "is_carried": "A checkpoint carries the schedule",
    "keeps_its_tail": "The last steps of a cosine of a million are right",
    "trains_bfloat16": "AdamW with a scheduled rate trains bfloat16 parameters",
    "acts_below_zero": "Plateau rules act on a metric below zero",
    "has_wsd": "Warmup, stable, decay in one call",
    "needs_no_rate": "Learning-rate-free methods, under a warmup from zero",
    "finds_rates": "Range test, sweep and automatic choice",
}
