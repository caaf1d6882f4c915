"""Benchmarks of learning-rate policies on Flax models and real data: `python -m benchmarks --help`.

The study: a workload (`workloads/`) defines model and data, a policy (`policies.py`) the schedule
and the optimizer. `protocol.py` tunes and scores a policy, `study.py` runs many trials, `store.py`
saves them, `analysis.py` computes their statistics, and `tables.py`, `figures.py` and `report/`
show them. `runs.py` and `platforms.py` are shared by all benchmarks, `costs.py` and `traffic.py` by
the cost benchmarks, and `law_protocols.py` belongs to `predict.py`. docs/benchmarks.md has a table
of all commands.
"""
