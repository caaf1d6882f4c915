"""Run by `test_batched_runner.py`: ``python -m tests.tuning.cached_sweep DIRECTORY``.

It sweeps twice with JAX's persistent compilation cache in the directory, and prints the hits and
misses of the cache after the first sweep, and the number of compilations of the second.
"""

import collections
import sys

import jax
from jax import monitoring

from lrsched import tuning
from tests.tuning.faulty_sweep import SCHEDULES, regression

jax.config.update("jax_compilation_cache_dir", sys.argv[1])
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)

events: collections.Counter[str] = collections.Counter()
monitoring.register_event_listener(lambda event, **_: events.update([event]))
monitoring.register_event_duration_secs_listener(lambda event, *_, **__: events.update([event]))

run = regression()
plan = tuning.ExecutionPlan(1, 2)
tuning.sweep(run, SCHEDULES, plan=plan, progress=False)
print(events["/jax/compilation_cache/cache_hits"], events["/jax/compilation_cache/cache_misses"])
events.clear()
others = [schedule.replace(peak=0.3) for schedule in SCHEDULES[:2]]
tuning.sweep(run, others, plan=plan, seeds=[7], progress=False)
print(events["/jax/core/compile/backend_compile_duration"])
