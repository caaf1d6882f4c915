"""transformers, whose schedules are PyTorch's `LambdaLR`.

Its hard restarts are right for fewer than 22 cycles: with 22 the one that begins after 15 of them
comes a step late, with a 0 where the peak should be, as ``22.0 * (15 / 22) % 1.0`` is not 0.
"""

from tests.parity.peers.torch import Peer

PACKAGES = ["transformers", "torch"]

_RESTARTS = "get_cosine_with_hard_restarts_schedule_with_warmup"
_MIN_LR = "get_cosine_with_min_lr_schedule_with_warmup"

CALLS = {
    "get_constant_schedule(0.1)": 5,
    "get_constant_schedule_with_warmup(0.1, 10)": 20,
    "get_constant_schedule_with_warmup(0.1, num_warmup_steps=0)": 5,
    "get_constant_schedule_with_warmup(3e-5, num_warmup_steps=1)": 5,
    "get_linear_schedule_with_warmup(0.1, 10, 100)": 120,
    "get_linear_schedule_with_warmup(5e-5, num_warmup_steps=0, num_training_steps=50)": 60,
    "get_linear_schedule_with_warmup(5e-5, 500, 5000)": 5100,
    "get_linear_schedule_with_warmup(0.1, 9, 10)": 15,
    "get_cosine_schedule_with_warmup(0.1, 10, 110)": 450,
    "get_cosine_schedule_with_warmup(0.1, num_warmup_steps=0, num_training_steps=25)": 60,
    "get_cosine_schedule_with_warmup(0.1, 10, 100, num_cycles=2.0)": 200,
    "get_cosine_schedule_with_warmup(0.1, 5, 77, num_cycles=0.7)": 300,
    "get_cosine_schedule_with_warmup(0.1, 5, 1000, num_cycles=7.5)": 2100,
    "get_cosine_schedule_with_warmup(0.1, 100, 10000)": 10200,
    f"{_RESTARTS}(0.1, 10, 110)": 130,
    f"{_RESTARTS}(0.1, 10, 110, num_cycles=4)": 130,
    f"{_RESTARTS}(0.1, num_warmup_steps=0, num_training_steps=64, num_cycles=8)": 80,
    f"{_RESTARTS}(0.1, 5, 80, num_cycles=2)": 90,
    f"{_MIN_LR}(0.1, 10, 110, min_lr=0.01)": 330,
    f"{_MIN_LR}(0.1, 10, 110, min_lr_rate=0.2)": 330,
    f"{_MIN_LR}(0.1, num_warmup_steps=0, num_training_steps=30, min_lr=0.0)": 60,
    f"{_MIN_LR}(0.1, 10, 90, num_cycles=1.5, min_lr_rate=0.05)": 200,
    f"{_MIN_LR}_lr_rate(0.1, 5, 25, min_lr=0.01)": 60,
    f"{_MIN_LR}_lr_rate(0.1, 10, 110, min_lr_rate=0.2)": 330,
    f"{_MIN_LR}_lr_rate(0.1, 10, 110, min_lr_rate=0.2, warmup_lr_rate=0.3)": 150,
    f"{_MIN_LR}_lr_rate(0.1, 1, 30, min_lr_rate=0.1, warmup_lr_rate=0.5)": 40,
    f"{_MIN_LR}_lr_rate(0.1, 0, 30, num_cycles=1.0, min_lr=0.02)": 70,
    "get_polynomial_decay_schedule_with_warmup(0.1, 10, 100)": 120,
    "get_polynomial_decay_schedule_with_warmup(0.1, 10, 100, lr_end=0.01, power=2.0)": 120,
    "get_polynomial_decay_schedule_with_warmup(5e-5, 0, 40, lr_end=1e-6, power=0.5)": 50,
    "get_inverse_sqrt_schedule(0.1, 10)": 300,
    "get_inverse_sqrt_schedule(0.1, 10, timescale=100)": 300,
    "get_inverse_sqrt_schedule(0.1, num_warmup_steps=0)": 300,
    "get_inverse_sqrt_schedule(0.1, 0, timescale=20)": 300,
    "get_wsd_schedule(0.1, 10, 20, num_training_steps=100)": 120,
    "get_wsd_schedule(0.1, 10, 20, num_stable_steps=50, min_lr_ratio=0.1)": 100,
    "get_wsd_schedule(0.1, 10, 20, 90, warmup_type='cosine', decay_type='linear')": 100,
    "get_wsd_schedule(0.1, 10, 20, 90, warmup_type='1-sqrt', decay_type='1-sqrt')": 100,
    "get_wsd_schedule(0.1, 10, 20, 90, decay_type='1-sqrt', min_lr_ratio=0.2)": 100,
    "get_wsd_schedule(0.1, 0, 20, 90, num_cycles=1.25, min_lr_ratio=0.1)": 100,
    "get_wsd_schedule(0.1, 10, 0, num_stable_steps=20, min_lr_ratio=0.1)": 40,
    "get_scheduler('linear', 0.1, 10, 100)": 110,
    "get_scheduler('cosine', 0.1, num_warmup_steps=10, num_training_steps=100)": 110,
    "get_scheduler('cosine_with_restarts', 0.1, 10, 110, {'num_cycles': 2})": 120,
    "get_scheduler('polynomial', 0.1, 10, 100, scheduler_specific_kwargs={'power': 3.0})": 110,
    "get_scheduler('constant', 0.1)": 5,
    "get_scheduler('constant_with_warmup', 0.1, num_warmup_steps=5, num_training_steps=9)": 15,
    "get_scheduler('inverse_sqrt', 0.1, 10, None, {'timescale': 30})": 90,
    "get_scheduler('cosine_with_min_lr', 0.1, 10, 100, {'min_lr': 0.01})": 110,
    "get_scheduler('cosine_warmup_with_min_lr', 0.1, 10, 100, {'min_lr_rate': 0.1})": 110,
    "get_scheduler('warmup_stable_decay', 0.1, 10, 100, {'num_decay_steps': 30})": 110,
}


def originals():
    from transformers import optimization

    functions = {name: value for name, value in vars(optimization).items() if callable(value)}
    return {name: value for name, value in functions.items() if name.startswith("get_")}


def namespace():

    def peer(function):
        def for_optimizer(base_lr, *args, **kwargs):
            return Peer(base_lr, lambda optimizer: function(optimizer, *args, **kwargs))

        return for_optimizer

    def get_scheduler(name, base_lr, *args, **kwargs):
        def build(optimizer):
            return originals()["get_scheduler"](name, optimizer, *args, **kwargs)

        return Peer(base_lr, build)

    peers = {name: peer(value) for name, value in originals().items()}
    return peers | {"get_scheduler": get_scheduler}
