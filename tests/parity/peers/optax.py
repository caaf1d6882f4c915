"""optax, whose schedules are read as its users read them: off the updates of a jitted transform.

optax computes in float32, so its calls here are short, and no ``staircase=True`` has a length whose
float32 reciprocal is off: the jump of 41 steps, for one, comes a step late under ``jit``.
"""

PACKAGES = ["optax", "jax"]

_CYCLE = "dict(init_value=0.0, peak_value=1.0, warmup_steps=10, decay_steps=50)"
_SHORT_CYCLE = "dict(init_value=0.1, peak_value=0.5, warmup_steps=0, decay_steps=30, end_value=0.1)"
_LONG_CYCLE = "dict(init_value=0.2, peak_value=0.8, warmup_steps=5, decay_steps=80, exponent=2.0)"

CALLS = {
    "constant_schedule(0.1)": 5,
    "constant_schedule(3)": 5,
    "polynomial_schedule(1.0, 0.01, 2, 100)": 120,
    "polynomial_schedule(1.0, 0.01, power=2.0, transition_steps=100, transition_begin=5)": 120,
    "polynomial_schedule(0.0, 0.5, power=3.0, transition_steps=64)": 80,
    "polynomial_schedule(0.3, 0.03, power=0.9, transition_steps=77, transition_begin=20)": 110,
    "polynomial_schedule(0.3, 0.03, power=2.0, transition_steps=0)": 10,
    "polynomial_schedule(0.3, 0.03, power=2.0, transition_steps=10, transition_begin=-3)": 20,
    "linear_schedule(1e-3, 0.0, 1000)": 1100,
    "linear_schedule(0.0, 0.1, transition_steps=7)": 12,
    "linear_schedule(0.1, 0.02, transition_steps=1, transition_begin=3)": 8,
    "linear_schedule(0.1, 0.02, transition_steps=-5)": 8,
    "linear_schedule(-0.1, 0.2, transition_steps=30, transition_begin=15)": 60,
    "exponential_decay(0.1, 10, 0.5)": 200,
    "exponential_decay(0.1, transition_steps=100, decay_rate=0.96, staircase=True)": 450,
    "exponential_decay(0.1, 7, 0.9, transition_begin=13)": 120,
    "exponential_decay(0.1, 7, 0.9, transition_begin=13, staircase=True, end_value=0.05)": 120,
    "exponential_decay(1e-3, 20, 1.5, end_value=0.01)": 150,
    "exponential_decay(0.2, 4, 0.5, transition_begin=6, end_value=0.3)": 20,
    "exponential_decay(0.1, 1, 0.8)": 40,
    "exponential_decay(0.1, transition_steps=0, decay_rate=0.5)": 8,
    "exponential_decay(0.1, transition_steps=5, decay_rate=0.0)": 12,
    "exponential_decay(0.1, transition_steps=5, decay_rate=0.5, transition_begin=-4)": 12,
    "cosine_decay_schedule(1e-3, 1000)": 1100,
    "cosine_decay_schedule(0.1, decay_steps=25, alpha=0.1)": 40,
    "cosine_decay_schedule(0.1, decay_steps=50, alpha=0.2, exponent=2.0)": 60,
    "cosine_decay_schedule(0.1, decay_steps=50, exponent=0.75)": 60,
    "cosine_decay_schedule(0.1, decay_steps=1)": 4,
    "cosine_decay_schedule(1.0, decay_steps=3000, alpha=0.01)": 3050,
    "cosine_decay_schedule(1000.0, decay_steps=10**10)": 10,
    "piecewise_constant_schedule(0.1)": 5,
    "piecewise_constant_schedule(0.1, {30: 0.1, 60: 0.1, 90: 0.5})": 100,
    "piecewise_constant_schedule(0.1, {60: 3.0, 0: 0.5, 45: 0.0, 20: 2.0})": 70,
    "piecewise_interpolate_schedule('linear', 1.0, {4: 0.1, 8: 0.01})": 15,
    "piecewise_interpolate_schedule('cosine', 1.0, {20: 2.0, 50: 0.25, 51: 0.5, 90: 0.1})": 110,
    "piecewise_interpolate_schedule('linear', 1.0, {0: 2.0, 5: 3.0})": 10,
    "piecewise_interpolate_schedule('cosine', 0.5)": 5,
    "linear_onecycle_schedule(100, 0.1)": 120,
    "linear_onecycle_schedule(77, 0.1, pct_start=0.21, pct_final=0.6, div_factor=5.0)": 90,
    "linear_onecycle_schedule(50, 0.1, pct_final=1.0, final_div_factor=10.0)": 60,
    "linear_onecycle_schedule(1, 0.1)": 4,
    "cosine_onecycle_schedule(100, 0.1)": 120,
    "cosine_onecycle_schedule(33, 2.0, pct_start=0.5, div_factor=10.0, final_div_factor=2.0)": 45,
    "cosine_onecycle_schedule(transition_steps=2, peak_value=0.1, pct_start=0.4)": 6,
    "warmup_constant_schedule(0.0, 0.1, warmup_steps=20)": 40,
    "warmup_constant_schedule(0.05, 0.1, warmup_steps=1)": 5,
    "warmup_constant_schedule(0.05, 0.1, warmup_steps=0)": 5,
    "warmup_cosine_decay_schedule(0.0, 1e-3, 100, 1000)": 1100,
    "warmup_cosine_decay_schedule(0.0, 0.1, 10, 60, end_value=0.01)": 80,
    "warmup_cosine_decay_schedule(0.2, 1.21, 50, 100, end_value=-3.0, exponent=2.0)": 120,
    "warmup_cosine_decay_schedule(0.2, 0.0, 50, 100, end_value=-3.0)": 120,
    "warmup_cosine_decay_schedule(0.2, 0.1, warmup_steps=0, decay_steps=30)": 40,
    "warmup_cosine_decay_schedule(0.0, 0.1, warmup_steps=29, decay_steps=30)": 40,
    "warmup_exponential_decay_schedule(0.0, 0.1, 20, 10, 0.5)": 120,
    "warmup_exponential_decay_schedule(0.01, 0.1, 5, 8, 0.9, 4, True, 0.05)": 120,
    "warmup_exponential_decay_schedule(0.0, 0.1, warmup_steps=0, transition_steps=9, "
    "decay_rate=0.7)": 60,
    f"sgdr_schedule([{_CYCLE}])": 70,
    f"sgdr_schedule([{_CYCLE}, {_SHORT_CYCLE}, {_LONG_CYCLE}])": 200,
    "sgdr_schedule([dict(init_value=0.0, peak_value=0.1 * 0.8**k, warmup_steps=3, "
    "decay_steps=10 * 2**k) for k in range(5)])": 350,
    "join_schedules([constant_schedule(1.0), constant_schedule(2.0), constant_schedule(0.5)], "
    "[3, 6])": 10,
    "join_schedules([linear_schedule(0.0, 1.0, 20), cosine_decay_schedule(1.0, 30)], [10])": 60,
    "join_schedules([linear_schedule(0.0, 1.0, 5), linear_schedule(1.0, 0.5, 5), "
    "exponential_decay(1.0, 8, 0.5)], [10, 10])": 40,
    "join_schedules([constant_schedule(0.1), lambda t: 0.1 / (1 + t)], [4])": 20,
}


class Peer:
    """A schedule of optax, called with the number of updates to make with it."""

    def __init__(self, schedule):
        self.schedule = schedule

    def __call__(self, steps):
        import jax
        import optax

        transform = optax.scale_by_schedule(self.schedule)
        update = jax.jit(transform.update)
        gradient, state = jax.numpy.float32(1), transform.init(None)
        for _ in range(steps):
            rate, state = update(gradient, state)
            yield rate


def originals():
    import inspect

    import optax

    return dict(inspect.getmembers(optax.schedules, inspect.isfunction))


def namespace():
    import optax

    def peer(factory):
        return lambda *args, **kwargs: Peer(factory(*args, **kwargs))

    def join_schedules(schedules, boundaries):
        plain = [getattr(schedule, "schedule", schedule) for schedule in schedules]
        return Peer(optax.join_schedules(plain, boundaries))

    peers = {name: peer(function) for name, function in originals().items()}
    return peers | {"join_schedules": join_schedules}
