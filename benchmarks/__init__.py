"""Flax workloads on real data, trained under several learning-rate policies side by side.

`python -m benchmarks` trains everything, prints a table a workload and draws the picture in the
README; `python -m benchmarks.peaks` is the sweep that chose each workload's peak rate.

`python -m benchmarks which-rate` finds the usable rates of optimizers, data sets and model sizes,
`python -m benchmarks.scaling_rules` tries the papers' rules for carrying a rate over, and
`python -m benchmarks.sweep_speed` and `python -m benchmarks.cost` say what all of it costs.
`python -m benchmarks.bounds` draws what theory says of schedules before a run, and
`python -m benchmarks.refinement` makes one of the gradients that a run had.

A workload (`workloads/`) says what is trained, a policy (`policies.py`) says at which rate,
`training.py` compiles the two into one program, and `comparison.py` runs them all.
"""
