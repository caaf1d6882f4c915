"""Flax workloads on real data, trained under several learning-rate policies side by side.

`python -m benchmarks` trains everything, prints a table a workload and draws the picture in the
README; `python -m benchmarks.peaks` is the sweep that chose each workload's peak rate.

A workload (`workloads/`) says what is trained, a policy (`policies.py`) says at which rate,
`training.py` compiles the two into one program, and `comparison.py` runs them all.
"""
