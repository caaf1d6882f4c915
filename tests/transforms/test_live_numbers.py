"""Injected numbers: every public transform follows them at each update, as if made again."""

import functools
import inspect

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import lrsched
from lrsched.transforms.learning_rate import scale_by_learning_rate

PARAMS = {"w": jnp.array([[1.0, -2.0], [0.5, 3.0]])}
RATES = (0.1, 0.2, 0.4)
DECAYS = (0.0, 0.5, 0.3)


def behind_a_rate(transform):
    """A controller or a multiplier does nothing visible on its own: it stands behind a rate."""
    return optax.chain(scale_by_learning_rate(0.5), transform)


def adaptive(factory, **options):
    return lambda number: factory(learning_rate=number, **options)


FALLING_RATE = lrsched.linear(1.0, 0.0, steps=10)
RATE_OF = {
    "adagrad_norm": adaptive(lrsched.adagrad_norm),
    "alig": lambda number: lrsched.alig(max_learning_rate=number),
    "cocob": adaptive(lrsched.cocob, alpha=10.0),
    "dadapt_adagrad": adaptive(lrsched.dadapt_adagrad, d0=0.1),
    "dadapt_adamw": adaptive(lrsched.dadapt_adamw, d0=0.1),
    "dadapt_lion": adaptive(lrsched.dadapt_lion, d0=0.1),
    "dadapt_sgd": adaptive(lrsched.dadapt_sgd, d0=0.1),
    "dog": adaptive(lrsched.dog, reps_rel=0.1),
    "dowg": adaptive(lrsched.dowg, reps_rel=0.1),
    "ema_nesterov": lambda number: lrsched.ema_nesterov(optax.sgd(0.1), number, decay=0.5),
    "hdm": adaptive(lrsched.hdm),
    "hyperball": lambda number: lrsched.hyperball(optax.scale_by_adam(), number, 0.1),
    "hypergradient": lambda number: lrsched.hypergradient(
        optax.scale_by_adam(), number, initial_rate=0.1
    ),
    "kt": adaptive(lrsched.kt),
    "layerwise_decay": lambda number: behind_a_rate(
        lrsched.layerwise_decay(number, lambda path: 1)
    ),
    "ldog": adaptive(lrsched.ldog, reps_rel=0.1),
    "learning_rate_groups": lambda number: behind_a_rate(
        lrsched.learning_rate_groups([("w", number)])
    ),
    "mechanize": lambda number: lrsched.mechanize(optax.sgd(0.1), learning_rate=number, s_init=0.1),
    "momo": adaptive(lrsched.momo),
    "momo_adam": adaptive(lrsched.momo_adam),
    "muon": adaptive(lrsched.muon),
    "polyak": adaptive(lrsched.polyak),
    "prodigy": adaptive(lrsched.prodigy, d0=0.1),
    "scale_by_learning_rate": scale_by_learning_rate,
    "schedule_free": lambda number: lrsched.schedule_free(optax.sgd(0.1), number),
    "schedule_free_adamw": adaptive(lrsched.schedule_free_adamw),
    "schedule_free_plus": adaptive(lrsched.schedule_free_plus),
    "schedule_free_radam": adaptive(lrsched.schedule_free_radam, silent_sgd_phase=False),
    "schedule_free_sgd": adaptive(lrsched.schedule_free_sgd),
    "with_weight_decay": lambda number: lrsched.with_weight_decay(
        optax.scale_by_adam(), number, 0.1
    ),
}
"""The rate, or the multiplier of one."""
DECAY_OF = {
    "cocob": lambda number: lrsched.cocob(0.5, alpha=10.0, weight_decay=number),
    "dadapt_adagrad": lambda number: lrsched.dadapt_adagrad(weight_decay=10 * number, d0=0.1),
    "dadapt_adamw": lambda number: lrsched.dadapt_adamw(weight_decay=number, d0=0.1),
    "dadapt_lion": lambda number: lrsched.dadapt_lion(weight_decay=number, d0=0.1),
    "dadapt_sgd": lambda number: lrsched.dadapt_sgd(weight_decay=number, d0=0.1),
    "dog": lambda number: lrsched.dog(weight_decay=number, init_eta=0.1),
    "dowg": lambda number: lrsched.dowg(weight_decay=number, reps_rel=0.1),
    "kt": lambda number: lrsched.kt(weight_decay=number),
    "ldog": lambda number: lrsched.ldog(weight_decay=number, init_eta=0.1),
    "momo": lambda number: lrsched.momo(0.1, weight_decay=number),
    "momo_adam": lambda number: lrsched.momo_adam(0.1, weight_decay=number),
    "muon": lambda number: lrsched.muon(0.1, weight_decay=number),
    "prodigy": lambda number: lrsched.prodigy(weight_decay=number, d0=0.1),
    "schedule_free_adamw": lambda number: lrsched.schedule_free_adamw(0.1, weight_decay=number),
    "schedule_free_plus": lambda number: lrsched.schedule_free_plus(0.1, weight_decay=number),
    "schedule_free_radam": lambda number: lrsched.schedule_free_radam(
        0.1, weight_decay=number, silent_sgd_phase=False
    ),
    "schedule_free_sgd": lambda number: lrsched.schedule_free_sgd(0.1, weight_decay=number),
    "with_weight_decay": lambda number: lrsched.with_weight_decay(
        optax.scale_by_adam(), FALLING_RATE, number
    ),
    "with_weight_decay, relative": lambda number: lrsched.with_weight_decay(
        optax.scale_by_adam(), FALLING_RATE, number, "relative", cautious=True
    ),
}
"""The weight decay."""
AVERAGE_OF = {
    "annealing_average": lambda number: lrsched.annealing_average(
        lrsched.linear(1.0, 0.0, steps=10) * number
    ),
    "ema_params": lrsched.ema_params,
    "polynomial_average": lrsched.polynomial_average,
}
"""A number of an average of the parameters."""
ELSEWHERE = {
    # tests/adaptive/test_controller.py has the thresholds of every controller.
    *("adalrs", "adaptive_kl", "backoff_on_spike", "bold_driver", "greedy"),
    *("reduce_on_overfitting", "reduce_on_plateau"),
    # Their numbers are lengths and sizes of arrays, or change no update.
    *("lawa", "noise_scale", "record_health", "record_norms"),
    "inject_schedules",
}


def test_every_public_transform_is_tried():
    transforms = {
        name
        for name in lrsched.__all__
        if inspect.isfunction(function := getattr(lrsched, name))
        and "GradientTransformation" in str(inspect.signature(function).return_annotation)
    }
    assert transforms - ELSEWHERE == RATE_OF.keys() | AVERAGE_OF.keys()


def injected_by_lrsched(make, numbers):
    return lrsched.inject_schedules(lambda number: make(number))(lrsched.table(numbers))


def injected_by_optax(make, numbers):
    return optax.inject_hyperparams(lambda number: make(number))(
        number=lambda step: jnp.asarray(numbers)[step]
    )


def update_of(optimizer, state, params):
    optimizer = optax.with_extra_args_support(optimizer)
    updates, state = optimizer.update(PARAMS, state, params, value=jnp.float32(300.0))
    params = optax.apply_updates(params, updates)
    moved = [tree["w"] - PARAMS["w"] for tree in (params, lrsched.eval_params(state, params))]
    return params, state, jnp.stack(moved)


def made_again_by_hand(make, numbers):
    """Return the results of all updates, and that of the last with the first number instead.

    The transform of each number is given the state without the number before: leaves whose value
    after ``init`` depends on the number hold it, and all others are what the method has learned.
    """
    fresh = [make(number).init(PARAMS) for number in numbers]
    holds_number = jax.tree.map(
        lambda *leaves: any(not np.array_equal(leaves[0], leaf) for leaf in leaves), *fresh
    )

    def update(index, state, params):
        state = jax.tree.map(
            lambda holds, new, old: new if holds else old, holds_number, fresh[index], state
        )
        return update_of(make(numbers[index]), state, params)

    state, params, results = fresh[0], PARAMS, []
    for index in range(len(numbers)):
        before = state, params
        params, state, result = update(index, *before)
        results.append(result)
    return results, update(0, *before)[2]


CASES = {
    **{f"rate of {name}": (make, RATES) for name, make in RATE_OF.items()},
    **{f"decay of {name}": (make, DECAYS) for name, make in DECAY_OF.items()},
    **{name: (make, RATES) for name, make in AVERAGE_OF.items()},
}


@pytest.mark.parametrize(("make", "numbers"), CASES.values(), ids=CASES)
def test_an_injected_number_is_followed_at_every_update(make, numbers):
    expected, frozen = made_again_by_hand(make, numbers)
    assert not np.allclose(expected[-1], frozen, rtol=1e-2, atol=0)
    for inject in (injected_by_lrsched, injected_by_optax):
        optimizer = inject(make, numbers)
        params, state = PARAMS, optimizer.init(PARAMS)
        update = jax.jit(functools.partial(update_of, optimizer))
        for result in expected:
            params, state, found = update(state, params)
            np.testing.assert_allclose(found, result, rtol=1e-5, atol=1e-6 * np.abs(result).max())


ARGUMENTS = {
    "adagrad_norm": {"learning_rate": 0.1},
    "adaptive_kl": {"target": 0.01},
    "alig": {"max_learning_rate": 0.5, "momentum": 0.5},
    "annealing_average": {"schedule": FALLING_RATE},
    "ema_nesterov": {"base": optax.sgd(0.1), "beta": 0.3, "end": 9},
    "hyperball": {"base": optax.scale_by_adam(), "learning_rate": 0.1, "rest_learning_rate": 0.1},
    "hypergradient": {"base": optax.scale_by_adam(), "initial_rate": 0.1},
    "layerwise_decay": {"decay": 0.5, "depth_fn": lambda path: 1},
    "learning_rate_groups": {"groups": [("w", 0.5)]},
    "mechanize": {"base": optax.sgd(0.1)},
    "muon": {"learning_rate": 0.1, "adam_learning_rate": 0.1},
    "noise_scale": {"optimizer": optax.sgd(0.1), "batch_size": 8, "micro_batches": 2},
    "prodigy": {"b3": 0.9, "weight_decay": 0.1},
    "record_health": {"optimizer": optax.sgd(0.1)},
    "scale_by_learning_rate": {"learning_rate": 0.1},
    "schedule_free": {"base": optax.sgd(0.1), "learning_rate": 0.1},
    "with_weight_decay": {
        "direction": optax.scale_by_adam(),
        "learning_rate": 0.1,
        "weight_decay": 0.1,
    },
}
"""What a transform cannot do without, and numbers that its defaults leave out."""
SIZES = {
    "lawa": ("num_snapshots",),
    "noise_scale": ("micro_batches",),
    "prodigy": ("slice_p",),
    "record_health": ("max_records", "window"),
    "record_norms": ("max_records",),
    **dict.fromkeys(
        ("adaptive_kl", "bold_driver", "greedy", "reduce_on_plateau"), ("window_size",)
    ),
}
"""Numbers that decide shapes, in the order in which they are refused."""
TRACED = sorted({*RATE_OF, *AVERAGE_OF, *ELSEWHERE} - {"inject_schedules"})


@pytest.mark.parametrize("name", TRACED)
def test_all_numbers_may_be_traced_at_once_or_a_sentence_names_the_one_that_may_not(name):
    arguments = ARGUMENTS.get(name, {})
    static = {key for key, value in arguments.items() if not isinstance(value, int | float)}

    def trace(static):
        inject = optax.inject_hyperparams(getattr(lrsched, name), static_args=static)
        optimizer = optax.with_extra_args_support(inject(**arguments))
        jax.eval_shape(lambda p: update_of(optimizer, optimizer.init(p), p)[0], PARAMS)

    for size in SIZES.get(name, ()):
        with pytest.raises(ValueError, match=rf"inject_schedules.*static_args=\('{size}',\)"):
            trace(static)
        static.add(size)
    trace(static)
