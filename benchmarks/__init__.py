"""Flax models on real data under every learning-rate policy: `python -m benchmarks --help`.

A workload (`workloads/`, a page each) says what is trained, a policy (`policies.py`) at which rate.
`protocol.py` says how policies are compared: tuned alike, then scored; `study.py` goes through many
of them, `store.py` keeps what came of it, `analysis.py` says what that means, and `tables.py`,
`figures.py` and `report.py` show it.

`twins.py`, `schedule_cost.py`, `cost.py` and `sweep_speed.py` set ours beside the peers;
`which_rate.py` and `scaling_rules.py` ask what the guides say of a rate, `bounds.py` and
`refinement.py` what theory does, `predict.py` and `law_protocols.py` how well loss laws predict.
"""
