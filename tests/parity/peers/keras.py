"""Keras on its JAX backend, whose schedules are read off an optimizer before each of its updates.

Keras computes in float32, and in integers where the initial rate is one: rates here are floats.
"""

PACKAGES = ["keras", "jax"]

CALLS = {
    "ExponentialDecay(0.1, 10, 0.5)": 120,
    "ExponentialDecay(0.1, decay_steps=30, decay_rate=0.96)": 200,
    "ExponentialDecay(0.1, 30, 0.96, True)": 200,
    "ExponentialDecay(0.1, decay_steps=41, decay_rate=0.5, staircase=True)": 170,
    "ExponentialDecay(1e-3, decay_steps=1, decay_rate=0.9)": 60,
    "ExponentialDecay(1e-3, decay_steps=25, decay_rate=1.5)": 120,
    "PiecewiseConstantDecay([10, 20], [1.0, 0.5, 0.1])": 30,
    "PiecewiseConstantDecay([1, 2, 3], values=[0.4, 0.5, 0.6, 0.7])": 8,
    "PiecewiseConstantDecay(boundaries=[0, 7], values=[0.1, 0.3, 0.2])": 12,
    "PiecewiseConstantDecay(boundaries=[15], values=[0.1, 0.01], name='PiecewiseConstant')": 30,
    "PolynomialDecay(0.1, 100)": 130,
    "PolynomialDecay(0.1, 50, 0.01, power=0.5)": 70,
    "PolynomialDecay(0.1, decay_steps=64, end_learning_rate=0.0, power=2.0)": 80,
    "PolynomialDecay(0.01, decay_steps=30, end_learning_rate=0.1, power=3.0)": 45,
    "PolynomialDecay(0.1, decay_steps=1, end_learning_rate=0.01)": 5,
    "PolynomialDecay(0.1, 20, 0.01, cycle=True)": 110,
    "PolynomialDecay(0.1, 20, 0.0, power=2.0, cycle=True)": 110,
    "PolynomialDecay(0.1, 16, 0.01, power=0.5, cycle=True)": 70,
    "PolynomialDecay(0.1, 1, 0.01, cycle=True)": 6,
    "InverseTimeDecay(0.1, 10, 0.5)": 150,
    "InverseTimeDecay(0.1, decay_steps=1, decay_rate=0.1)": 100,
    "InverseTimeDecay(0.1, decay_steps=1.0, decay_rate=0.5)": 40,
    "InverseTimeDecay(0.1, 10, 0.96, staircase=True)": 150,
    "InverseTimeDecay(0.1, decay_steps=47, decay_rate=2.0, staircase=True)": 200,
    "CosineDecay(0.1, 100)": 120,
    "CosineDecay(0.1, decay_steps=25, alpha=0.1)": 40,
    "CosineDecay(1e-3, decay_steps=1000, alpha=0.01)": 1050,
    "CosineDecay(0.1, decay_steps=1)": 4,
    "CosineDecay(0.0, 90, warmup_target=0.1, warmup_steps=10)": 120,
    "CosineDecay(0.01, 50, alpha=0.2, warmup_target=0.5, warmup_steps=20)": 90,
    "CosineDecay(0.5, 50, 0.1, 'CosineDecay', 0.2, 5)": 70,
    "CosineDecay(0.0, decay_steps=30, warmup_target=0.1, warmup_steps=0)": 40,
    "CosineDecay(0.0, decay_steps=1, warmup_target=0.1, warmup_steps=1)": 5,
    "CosineDecayRestarts(0.1, 10)": 160,
    "CosineDecayRestarts(0.1, first_decay_steps=20, t_mul=1.0)": 110,
    "CosineDecayRestarts(0.1, first_decay_steps=10, t_mul=3.0, m_mul=0.5)": 420,
    "CosineDecayRestarts(0.1, first_decay_steps=10, t_mul=3, alpha=0.1)": 1250,
    "CosineDecayRestarts(0.1, 15, t_mul=2.0, m_mul=0.8, alpha=0.2)": 250,
    "CosineDecayRestarts(0.1, 15, t_mul=1.0, m_mul=0.9, alpha=0.01)": 100,
    "CosineDecayRestarts(0.1, 10, t_mul=1.0, m_mul=1.2)": 60,
    "CosineDecayRestarts(0.1, 1, t_mul=2.0)": 40,
    "CosineDecayRestarts(0.1, 10, t_mul=1.5)": 300,
    "CosineDecayRestarts(0.1, 16, t_mul=1.25, m_mul=0.9, alpha=0.1)": 300,
    "CosineDecayRestarts(0.1, 7, t_mul=2.5, m_mul=0.7)": 300,
    "CosineDecayRestarts(0.1, 9, t_mul=1.7, alpha=0.05)": 200,
}


def _rates(schedule, steps):
    import jax
    import keras

    optimizer = keras.optimizers.SGD(learning_rate=schedule)
    variable = keras.Variable(0.0)
    optimizer.build([variable])
    with jax.disable_jit():  # or each `ops.cond` of Keras would be compiled at each step anew
        for _ in range(steps):
            yield optimizer.learning_rate
            optimizer.apply_gradients([(keras.ops.ones(()), variable)])


def originals():
    import os

    os.environ["KERAS_BACKEND"] = "jax"
    import keras

    schedules = vars(keras.optimizers.schedules).items()
    return {name: schedule for name, schedule in schedules if isinstance(schedule, type)}


def namespace():
    import functools

    def peer(schedule):
        return lambda *args, **kwargs: functools.partial(_rates, schedule(*args, **kwargs))

    return {name: peer(schedule) for name, schedule in originals().items()}
