"""timm, whose schedulers are told before each update how many there have been.

No call here has a restart that timm misses: with ``cycle_mul=3`` those before 1210 are right.
"""

import functools

from tests.parity.peers.torch import Peer

PACKAGES = ["timm", "torch"]

CALLS = {
    "CosineLRScheduler(0.1, t_initial=100)": 120,
    "CosineLRScheduler(0.1, 100, lr_min=0.01)": 120,
    "CosineLRScheduler(0.1, t_initial=1)": 4,
    "CosineLRScheduler(0.1, t_initial=100, warmup_t=5, warmup_lr_init=1e-4)": 120,
    "CosineLRScheduler(0.1, t_initial=100, warmup_t=5, warmup_prefix=True)": 120,
    "CosineLRScheduler(0.1, t_initial=100, k_decay=2.0)": 120,
    "CosineLRScheduler(0.1, t_initial=100, k_decay=0.5, lr_min=0.02)": 120,
    "CosineLRScheduler(0.1, t_initial=20, cycle_limit=3)": 80,
    "CosineLRScheduler(0.1, t_initial=20, cycle_limit=4, cycle_decay=0.5, lr_min=0.001)": 100,
    "CosineLRScheduler(0.1, t_initial=10, cycle_mul=2.0, cycle_limit=5)": 330,
    "CosineLRScheduler(0.1, t_initial=10, cycle_mul=3.0, cycle_limit=4, cycle_decay=0.8)": 500,
    "CosineLRScheduler(0.1, t_initial=10, cycle_mul=1.5, cycle_limit=4)": 120,
    "CosineLRScheduler(0.1, 10, cycle_mul=1.5, cycle_limit=6, cycle_decay=0.9, k_decay=1.5)": 260,
    "CosineLRScheduler(0.1, 20, cycle_limit=2, warmup_t=7, warmup_prefix=True)": 60,
    "CosineLRScheduler(0.1, 20, cycle_mul=2.0, cycle_limit=2, warmup_t=30)": 80,
    "TanhLRScheduler(0.1, t_initial=100)": 120,
    "TanhLRScheduler(0.1, 100, lb=-4.0, ub=2.0, lr_min=0.01)": 120,
    "TanhLRScheduler(0.1, t_initial=100, warmup_t=50, warmup_lr_init=1e-3)": 120,
    "TanhLRScheduler(0.1, t_initial=100, warmup_t=10, warmup_prefix=True)": 130,
    "TanhLRScheduler(0.1, t_initial=20, cycle_mul=2.0, cycle_limit=3, cycle_decay=0.7)": 160,
    "PolyLRScheduler(0.1, t_initial=100)": 120,
    "PolyLRScheduler(0.1, 100, power=2.0, lr_min=0.01)": 120,
    "PolyLRScheduler(0.1, t_initial=100, power=1.0, k_decay=2.0)": 120,
    "PolyLRScheduler(0.1, 100, power=1.0, warmup_t=5, warmup_lr_init=1e-3)": 120,
    "PolyLRScheduler(0.1, 100, power=0.9, warmup_t=5, warmup_prefix=True)": 120,
    "PolyLRScheduler(0.1, 20, power=2.0, cycle_limit=3, cycle_decay=0.5)": 80,
    "PolyLRScheduler(0.1, 10, power=1.0, cycle_mul=2.0, cycle_limit=4, lr_min=0.01)": 170,
    "StepLRScheduler(0.1, decay_t=30, decay_rate=0.1)": 130,
    "StepLRScheduler(0.1, 30, 0.5, warmup_t=5, warmup_lr_init=1e-4)": 130,
    "StepLRScheduler(0.1, 30, 0.5, warmup_t=5, warmup_prefix=False)": 130,
    "StepLRScheduler(0.048, decay_t=2.4, decay_rate=0.97, warmup_t=3, warmup_lr_init=1e-6)": 450,
    "StepLRScheduler(0.1, decay_t=1.1, decay_rate=0.9)": 120,
    "StepLRScheduler(0.1, decay_t=0.5, decay_rate=0.9)": 40,
    "StepLRScheduler(0.1, decay_t=3002.4, decay_rate=0.97)": 31000,
    "MultiStepLRScheduler(0.1, [30, 60, 90], 0.1)": 110,
    "MultiStepLRScheduler(0.1, [30, 60], decay_rate=0.5, warmup_t=5)": 80,
    "MultiStepLRScheduler(0.1, [30, 60], 0.5, warmup_t=40, warmup_prefix=False)": 80,
    "WSDLRScheduler(0.1, t_initial=100, decay_t=20)": 120,
    "WSDLRScheduler(0.1, 100, 20, lr_min=0.01, warmup_t=10, warmup_lr_init=1e-3)": 130,
    "WSDLRScheduler(0.1, 100, 100, decay_fn='linear')": 120,
    "WSDLRScheduler(0.1, 100, 30, decay_fn='cosine', warmup_t=10)": 130,
    "WSDLRScheduler(0.1, 100, 30, decay_fn='power', decay_power=2.0, warmup_t=10)": 130,
    "WSDLRScheduler(0.1, 100, 30, decay_fn='power', lr_min=0.02)": 130,
    "WSDLRScheduler(0.1, 100, 30, decay_fn='exp', warmup_t=10)": 130,
    "WSDLRScheduler(0.1, 100, 30, decay_fn='exp', decay_ratio=0.01, lr_min=0.005)": 130,
    "WSDLRScheduler(0.1, 100, 30, decay_fn=lambda x: (1 - x) ** 3)": 130,
    "WSDLRScheduler(0.1, 100, 30, stable_fn='rsqrt', warmup_t=10)": 130,
    "WSDLRScheduler(0.1, 100, 30, stable_fn='rsqrt', stable_timescale=25, lr_min=0.05)": 130,
    "WSDLRScheduler(0.1, 90, 30, 0.001, 'power', 7.5, 0.8, 'linear', warmup_t=10)": 130,
    "create_scheduler_v2(0.1)[0]": 320,
    "create_scheduler_v2(0.1, 'cosine', num_epochs=50, warmup_epochs=5, min_lr=1e-5)[0]": 60,
    "create_scheduler_v2(0.1, 'tanh', num_epochs=50, cycle_limit=2)[0]": 110,
    "create_scheduler_v2(0.1, 'step', num_epochs=50, decay_epochs=2.4, decay_rate=0.97)[0]": 60,
    "create_scheduler_v2(0.1, 'multistep', 50, decay_milestones=[20, 40], warmup_epochs=3)[0]": 60,
    "create_scheduler_v2(0.1, 'poly', num_epochs=50, decay_rate=2.0)[0]": 60,
    "create_scheduler_v2(0.1, 'wsd', num_epochs=50, warmup_epochs=5)[0]": 60,
    "create_scheduler_v2(0.1, 'rsqrt', 50, warmup_epochs=5, warmup_prefix=True)[0]": 60,
    "create_scheduler_v2(0.1, 'constant', num_epochs=50, warmup_epochs=5)[0]": 60,
    "create_scheduler_v2(0.1, 'wsd', 10, decay_epochs=2, warmup_epochs=1, step_on_epochs=False, "
    "updates_per_epoch=17)[0]": 180,
    "create_scheduler_v2(0.1, 'step', 10, decay_epochs=2.4, warmup_epochs=1, step_on_epochs=False, "
    "updates_per_epoch=17, warmup_prefix=True)[0]": 200,
}


class Updates(Peer):
    """A scheduler to be, told before each update how many there have been."""

    def __call__(self, steps):
        import torch

        parameter = torch.nn.Parameter(torch.zeros(1))
        optimizer = torch.optim.SGD([parameter], lr=self.base_lr)
        scheduler = self.build(optimizer)
        tell = scheduler.step if scheduler.t_in_epochs else scheduler.step_update
        for step in range(steps):
            tell(step)
            yield optimizer.param_groups[0]["lr"]


@functools.cache
def _schedulers():
    """``timm.scheduler`` without ``timm/__init__.py``, whose models need torchvision."""
    import importlib
    import sys
    import types

    timm = types.ModuleType("timm")
    timm.__path__ = importlib.util.find_spec("timm").submodule_search_locations
    sys.modules["timm"] = timm
    return importlib.import_module("timm.scheduler")


def originals():
    schedulers = _schedulers()
    return {
        name: value
        for name, value in vars(schedulers).items()
        if name.endswith("Scheduler") or name.startswith("create_")
    }


def namespace():
    def peer(scheduler):
        def for_optimizer(base_lr, *args, **kwargs):
            return Updates(base_lr, lambda optimizer: scheduler(optimizer, *args, **kwargs))

        return for_optimizer

    def create_scheduler_v2(base_lr, *args, **kwargs):
        def build(optimizer):
            return originals()["create_scheduler_v2"](optimizer, *args, **kwargs)[0]

        return [Updates(base_lr, build)]

    peers = {name: peer(value) for name, value in originals().items()}
    return peers | {"create_scheduler_v2": create_scheduler_v2}
