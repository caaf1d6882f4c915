"""Every adaptive transform, as the contract tests take it, and the problem that they solve."""

import functools

import jax
import jax.numpy as jnp
import optax

import lrsched


def after_a_rate(make):
    """A controller, or an average, behind gradient descent at a rate."""
    return lambda rate=1.0: optax.chain(
        lrsched.scale_by_learning_rate(rate * lrsched.constant(0.1)), make()
    )


def base(rate=1.0):
    return optax.chain(
        optax.scale_by_adam(), lrsched.scale_by_learning_rate(rate * lrsched.constant(0.1))
    )


FINDERS = {
    "adagrad_norm": lambda rate=1.0: lrsched.adagrad_norm(rate),
    "adagrad_norm, after a base": lambda rate=1.0: optax.chain(
        optax.scale_by_adam(), lrsched.adagrad_norm(rate)
    ),
    "alig": lrsched.alig,
    "alig, with momentum": functools.partial(lrsched.alig, momentum=0.5),
    "cocob": functools.partial(lrsched.cocob, alpha=10.0),
    "dadapt_adagrad": lrsched.dadapt_adagrad,
    "dadapt_adamw": lrsched.dadapt_adamw,
    "dadapt_adamw, with every option": functools.partial(
        lrsched.dadapt_adamw, weight_decay=0.1, bias_correction=True, growth_rate=1.02
    ),
    "dadapt_lion": lrsched.dadapt_lion,
    "dadapt_sgd": lrsched.dadapt_sgd,
    "dog": lrsched.dog,
    "dowg": lrsched.dowg,
    "ema_nesterov": lambda rate=1.0: lrsched.ema_nesterov(base(rate), 0.3 * lrsched.constant(1.0)),
    "hdm": lrsched.hdm,
    "hypergradient": lambda rate=1.0: lrsched.hypergradient(None, rate, initial_rate=0.1),
    "hypergradient, of adam": lambda rate=1.0: lrsched.hypergradient(
        optax.scale_by_adam(), rate, update_rule="additive", hypergradient_rate=1e-3
    ),
    "kt": lambda rate=1.0: optax.chain(optax.clip_by_global_norm(1.0), lrsched.kt(rate)),
    "ldog": lrsched.ldog,
    "mechanize": lambda rate=1.0: lrsched.mechanize(base(rate)),
    "momo": functools.partial(lrsched.momo, weight_decay=0.01, adapt_lower_bound=True),
    "momo_adam": lrsched.momo_adam,
    "polyak": lrsched.polyak,
    "prodigy": lrsched.prodigy,
    "prodigy, with every option": functools.partial(
        lrsched.prodigy, weight_decay=0.1, decoupled=False, bias_correction=True, slice_p=2
    ),
    "schedule_free": lambda rate=1.0: lrsched.schedule_free(lrsched.prodigy(rate, b1=0.0)),
    "schedule_free_adamw": lrsched.schedule_free_adamw,
    "schedule_free_plus": lrsched.schedule_free_plus,
    "schedule_free_radam": lrsched.schedule_free_radam,
    "schedule_free_sgd": lambda rate=1.0: lrsched.schedule_free_sgd(rate * lrsched.constant(0.5)),
}
"""They find the step: their state is an `AdaptiveState`, but for those in a chain."""
CONTROLLERS = {
    "adalrs": after_a_rate(functools.partial(lrsched.adalrs, window=5)),
    "adaptive_kl": after_a_rate(functools.partial(lrsched.adaptive_kl, target=1e-3, min_scale=0.5)),
    "backoff_on_spike": after_a_rate(functools.partial(lrsched.backoff_on_spike, patience=3)),
    "bold_driver": after_a_rate(lrsched.bold_driver),
    "greedy": after_a_rate(functools.partial(lrsched.greedy, patience=2)),
    "reduce_on_overfitting": after_a_rate(lrsched.reduce_on_overfitting),
    "reduce_on_plateau": after_a_rate(functools.partial(lrsched.reduce_on_plateau, patience=2)),
    "reduce_on_plateau, smoothed": after_a_rate(
        functools.partial(
            lrsched.reduce_on_plateau,
            patience=2,
            accumulation_size=2,
            window_size=3,
            ema_decay=0.5,
            active_from=3,
        )
    ),
}
"""They scale a rate by what a metric says."""
AVERAGES = {
    "ema_params": after_a_rate(functools.partial(lrsched.ema_params, decay=0.9)),
    "lawa": after_a_rate(functools.partial(lrsched.lawa, num_snapshots=3, updates_per_snapshot=2)),
    "annealing_average": after_a_rate(
        lambda: lrsched.annealing_average(lrsched.wsd(1.0, 40, warmup=0, cooldown=0.5))
    ),
    "polynomial_average": after_a_rate(lrsched.polynomial_average),
}
"""They keep an average of the parameters."""
RECORDERS = {
    "noise_scale": lambda rate=1.0: lrsched.noise_scale(
        lrsched.scale_by_learning_rate(rate), 2, small_batch_size=1
    ),
    "record_health": lambda rate=1.0: lrsched.record_health(
        lrsched.scale_by_learning_rate(rate), max_records=4, window=4
    ),
    "record_norms": after_a_rate(functools.partial(lrsched.record_norms, max_records=4)),
}
"""They keep what they see of the updates."""
METHODS = FINDERS | CONTROLLERS | AVERAGES | RECORDERS
NEEDS_VALUE = ("alig", "hdm", "momo", "polyak", "schedule_free_plus")
WARMUP = lrsched.warmup(5) * lrsched.cosine(1.0, steps=40)


def parameters(dtype=None):
    """All of one dtype, or one array of each that there is on an accelerator."""
    return {
        "b": jnp.ones(3, dtype or jnp.float16),
        "c": jnp.array([2.0, -0.5], dtype or jnp.float32),
        "w": jnp.array([[1.0, -2.0, 0.5], [0.25, 3.0, -1.0]], dtype or jnp.bfloat16),
    }


def gradients_of(params):
    """Of `loss_of`."""
    return jax.tree.map(lambda leaf: (0.5 * leaf).astype(leaf.dtype), params)


def loss_of(params):
    """A quadratic whose minimum is 0, at 0."""
    return sum(0.25 * jnp.sum(jnp.square(leaf.astype(float))) for leaf in jax.tree.leaves(params))


def update(optimizer, state, params, gradients_of=gradients_of):
    """One update and what it makes of the parameters, with all metrics given."""
    value = loss_of(params)
    if isinstance(optimizer, optax.GradientTransformation):
        optimizer = optax.with_extra_args_support(optimizer)
    updates, state = optimizer.update(
        gradients_of(params), state, params, value=value, validation=value
    )
    return optax.apply_updates(params, updates), state


def train(optimizer, params, steps, gradients_of=gradients_of):
    """The parameters and the state after so many updates, and the rates that they applied."""

    def step(carry, _):
        params, state = update(optimizer, carry[1], carry[0], gradients_of)
        return (params, state), lrsched.learning_rate(state)

    return jax.lax.scan(step, (params, optimizer.init(params)), length=steps)


def is_sound(tree):
    """Whether no number is NaN; infinity is how a state begins that has seen no metric."""
    numbers = [leaf for leaf in jax.tree.leaves(tree) if jnp.issubdtype(leaf.dtype, jnp.floating)]
    return not any(bool(jnp.any(jnp.isnan(leaf))) for leaf in numbers)


def find(kind, state):
    """The first state of this type within another."""
    nodes = jax.tree.leaves(state, is_leaf=lambda node: isinstance(node, kind))
    return next(node for node in nodes if isinstance(node, kind))
