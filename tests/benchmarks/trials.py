"""Trials by a formula, for the tests of what is said about trials. Nothing was trained for them."""

import zlib

import numpy as np

from benchmarks.policies import POLICIES
from benchmarks.protocol import Protocol, Trial
from benchmarks.workloads import WORKLOADS

PROTOCOL = Protocol(rates=5, seeds=5, tuning_seeds=2)
FIRST = 2.0


def trial(workload, policy, budget=1.0, *, protocol=PROTOCOL, diverged=0, **fields):
    """One with a valley of losses over the logarithm of the rate, its place set by the names.

    `diverged` runs of those that are scored end in an infinite loss, as the benchmarks write them;
    the greatest rate diverges in tuning whenever one of them does. `fields` replace what is made.
    """
    work = WORKLOADS[workload]
    random = np.random.default_rng(zlib.crc32(f"{workload} {policy} {budget}".encode()))
    around = POLICIES[policy].around or work.around
    rates = protocol.draw(around)
    steps = work.steps_of(budget)
    away = np.log10(rates / around) - random.uniform(-1, 1)
    floor = 0.05 + 0.1 * random.uniform() / np.sqrt(budget)
    noise = random.normal(0, 0.01, (protocol.rates, protocol.tuning_seeds))
    losses = np.minimum(FIRST, floor + random.uniform(0.1, 0.6) * away**2)[:, None] + abs(noise)
    if diverged:
        losses[-1, 0] = np.inf
    best = int(np.argmin(losses.mean(axis=1)))
    evaluated = steps * np.arange(1, work.evaluations + 1) // work.evaluations
    final = floor + abs(random.normal(0, 0.02, (protocol.seeds, 1)))
    course = final + (FIRST - final) * np.exp(-6 * evaluated / steps)
    course[:diverged, work.evaluations // 2 :] = np.inf
    gone = ~np.isfinite(course)
    made = {
        "workload": workload,
        "policy": policy,
        "budget": budget,
        "steps": steps,
        "batch_size": work.batch_size,
        "first": FIRST,
        "rates": rates,
        "tuning": {"loss": losses, "test_metric": 1 - losses / 2},
        "rate": float(rates[best]),
        "schedule": "made_up()",
        "evaluated": evaluated,
        "curves": {
            "loss": course,
            "metric": np.where(gone, np.inf, 1 - course / 2),
            "test_loss": 1.1 * course,
            "test_metric": np.where(gone, np.inf, 1 - course / 2),
            "train_loss": np.repeat(course, 2, axis=1),
            "learning_rate": np.where(gone, np.inf, rates[best]),
        },
        "seeds": protocol.scored_on(),
        "seconds": {"compile": 1.0, "update": 1e-4 * (1 + random.uniform())},
        "digest": "made up",
        "made_on": {"versions": {"made-up": "0.0"}, "machine": {"device": "none"}},
    }
    return Trial(**{**made, **fields})


def study(workloads, policies, budgets=(1.0,), *, protocol=PROTOCOL, diverged=()):
    """All of them; of the policies in `diverged` two runs diverge."""
    return [
        trial(w, p, b, protocol=protocol, diverged=2 * (p in diverged))
        for w in workloads
        for p in policies
        for b in budgets
    ]


def with_losses(losses, *, workload="digits-mlp", policy="constant", **fields):
    """One whose scored runs have these losses at their evaluations, (seeds, evaluations)."""
    losses = np.asarray(losses, float)
    names = ("loss", "test_loss", "test_metric", "metric", "train_loss", "learning_rate")
    curves = dict.fromkeys(names, losses)
    evaluated = 10 * np.arange(1, losses.shape[1] + 1)
    return trial(workload, policy, **{"curves": curves, "evaluated": evaluated} | fields)


def with_tuning(rates, losses, *, first=1.0, **fields):
    """One whose rates had these losses in tuning, each the same for two seeds."""
    rates = np.asarray(rates, float)
    tuning = {"loss": np.repeat(np.asarray(losses, float)[:, None], 2, axis=1)}
    made = {"rates": rates, "tuning": tuning, "first": first, "rate": float(rates[0])}
    workload, policy = fields.pop("workload", "digits-mlp"), fields.pop("policy", "constant")
    return trial(workload, policy, **made | fields)
