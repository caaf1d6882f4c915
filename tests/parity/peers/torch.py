"""PyTorch, whose schedulers are read off an optimizer before each of its updates.

Recorded to the last update that PyTorch allows: `OneCycleLR` raises after ``total_steps``.
"""

PACKAGES = ["torch"]

_LINEAR = "LinearLR(0.1, start_factor=0.1, total_iters=10)"
_COSINE = "CosineAnnealingLR(0.1, T_max=30)"

CALLS = {
    "LambdaLR(0.1, lambda epoch: 0.95 ** epoch)": 120,
    "LambdaLR(0.1, lr_lambda=lambda epoch: 1 / (1 + epoch // 7))": 60,
    "MultiplicativeLR(0.1, lambda epoch: 0.95)": 120,
    "MultiplicativeLR(0.1, lambda epoch: 1 - 1 / (epoch + 10))": 5000,
    "StepLR(0.1, 30)": 130,
    "StepLR(0.1, step_size=7, gamma=0.5)": 60,
    "StepLR(0.1, step_size=1, gamma=0.9)": 60,
    "StepLR(3e-4, step_size=10, gamma=0.999)": 5000,
    "StepLR(0.1, step_size=5, gamma=1.1)": 40,
    "MultiStepLR(0.1, [30, 80])": 120,
    "MultiStepLR(0.1, milestones=[80, 30, 60], gamma=0.3)": 120,
    "MultiStepLR(0.1, milestones=[10, 20, 20, 30], gamma=0.5)": 40,
    "MultiStepLR(0.1, milestones=[1], gamma=0.1)": 5,
    "MultiStepLR(0.1, [])": 5,
    "ConstantLR(0.1)": 12,
    "ConstantLR(0.1, factor=0.5, total_iters=8)": 20,
    "ConstantLR(0.1, factor=1.0, total_iters=1)": 5,
    "LinearLR(0.1)": 12,
    "LinearLR(0.1, start_factor=0.001, total_iters=100)": 130,
    "LinearLR(0.1, start_factor=1.0, end_factor=0.0, total_iters=50)": 60,
    "LinearLR(0.1, 0.5, 0.25, 7)": 12,
    "LinearLR(0.1, 0.25, total_iters=1)": 4,
    "ExponentialLR(0.1, 0.9)": 100,
    "ExponentialLR(0.1, gamma=0.95)": 300,
    "ExponentialLR(1e-3, gamma=0.9999)": 20000,
    "ExponentialLR(1e-3, gamma=1.01)": 100,
    "PolynomialLR(0.1)": 10,
    "PolynomialLR(0.1, total_iters=50, power=2.0)": 60,
    "PolynomialLR(0.1, total_iters=33, power=0.9)": 40,
    "PolynomialLR(0.1, total_iters=1)": 4,
    "CosineAnnealingLR(0.1, 50)": 260,
    "CosineAnnealingLR(0.1, T_max=50, eta_min=0.001)": 260,
    "CosineAnnealingLR(0.1, T_max=7, eta_min=0.05)": 60,
    "CosineAnnealingLR(0.1, T_max=1)": 8,
    "CosineAnnealingLR(0.1, T_max=2, eta_min=0.01)": 20,
    "CosineAnnealingLR(0.01, T_max=3000)": 9100,
    "CosineAnnealingWarmRestarts(0.1, 10)": 45,
    "CosineAnnealingWarmRestarts(0.1, T_0=10, T_mult=2)": 320,
    "CosineAnnealingWarmRestarts(0.1, T_0=10, T_mult=3, eta_min=0.01)": 3700,
    "CosineAnnealingWarmRestarts(0.1, T_0=1, T_mult=2)": 70,
    "CosineAnnealingWarmRestarts(0.1, T_0=7, T_mult=1, eta_min=0.05)": 30,
    "CyclicLR(0.01, 0.1, step_size_up=20)": 130,
    "CyclicLR(0.01, 0.1, step_size_up=20, step_size_down=35)": 200,
    "CyclicLR(0.01, 0.1, step_size_up=20, mode='triangular2')": 200,
    "CyclicLR(0.01, 0.1, step_size_up=20, step_size_down=10, mode='exp_range', gamma=0.99)": 200,
    "CyclicLR(0.001, 0.006, mode='exp_range', gamma=0.99994)": 9000,
    "CyclicLR(0.01, 0.1, 10, scale_fn=lambda x: 1 / x)": 100,
    "CyclicLR(0.01, 0.1, 10, 5, scale_fn=lambda x: 0.999**x, scale_mode='iterations')": 100,
    "CyclicLR(0.01, 0.1, step_size_up=1, cycle_momentum=False)": 10,
    "CyclicMomentum(0.8, 0.9, step_size_up=20)": 130,
    "CyclicMomentum(0.8, 0.95, step_size_up=20, step_size_down=35, mode='triangular2')": 200,
    "CyclicMomentum(0.8, 0.9, step_size_up=20, mode='exp_range', gamma=0.99)": 130,
    "OneCycleLR(0.1, total_steps=100)": 100,
    "OneCycleLR(0.1, 1000, pct_start=0.25, div_factor=10.0, final_div_factor=100.0)": 1000,
    "OneCycleLR(0.1, epochs=5, steps_per_epoch=11)": 55,
    "OneCycleLR(0.1, total_steps=77, anneal_strategy='linear')": 77,
    "OneCycleLR(0.1, total_steps=77, pct_start=0.35, three_phase=True)": 77,
    "OneCycleLR(0.1, total_steps=90, anneal_strategy='linear', three_phase=True)": 90,
    "OneCycleLR(0.1, total_steps=50, pct_start=0.0)": 50,
    "OneCycleLR(0.1, total_steps=50, pct_start=1.0)": 50,
    "OneCycleMomentum(0.85, 0.95, total_steps=100)": 100,
    "OneCycleMomentum(0.8, 0.9, total_steps=77, pct_start=0.25, anneal_strategy='linear')": 77,
    "OneCycleMomentum(total_steps=90, three_phase=True)": 90,
    "SWALR(0.1, 0.05)": 30,
    "SWALR(0.1, swa_lr=0.01, anneal_epochs=20, anneal_strategy='linear')": 40,
    "SWALR(0.01, swa_lr=0.1, anneal_epochs=7)": 20,
    "SWALR(0.1, swa_lr=0.05, anneal_epochs=0)": 6,
    "SWALR(0.1, swa_lr=0.05, anneal_epochs=1, anneal_strategy='linear')": 6,
    f"SequentialLR(0.1, [{_LINEAR}, {_COSINE}], milestones=[10])": 120,
    f"SequentialLR(0.1, [{_LINEAR}, ConstantLR(0.1, 1.0, 1), {_LINEAR}], [10, 25])": 60,
    f"SequentialLR(0.1, [{_LINEAR}, ExponentialLR(0.1, 0.9)], milestones=[5])": 60,
    "SequentialLR(0.1, [ConstantLR(0.1, 0.1, 20), StepLR(0.1, 7), PolynomialLR(0.1, 9, 2.0)], "
    "[20, 40])": 60,
    f"SequentialLR(0.1, [{_LINEAR}, CosineAnnealingWarmRestarts(0.1, 5, 2)], [10])": 60,
    f"SequentialLR(0.1, [{_LINEAR}, LambdaLR(0.1, lambda epoch: 0.9**epoch)], [10])": 60,
    f"SequentialLR(0.1, [{_LINEAR}, MultiStepLR(0.1, [3, 8])], [10])": 60,
    "SequentialLR(0.02, [LinearLR(0.02), OneCycleLR(0.5, 40)], [10])": 50,
    "ChainedScheduler(0.1, [ConstantLR(0.1, 0.1, 20), ExponentialLR(0.1, 0.9)])": 60,
    f"ChainedScheduler(0.1, [{_LINEAR}, StepLR(0.1, 15, 0.5), MultiStepLR(0.1, [20, 25])])": 60,
    f"ChainedScheduler(0.1, [{_LINEAR}, {_COSINE}])": 200,
    f"ChainedScheduler(0.1, [{_COSINE}, ExponentialLR(0.1, 0.97)])": 200,
    f"ChainedScheduler(0.1, [ExponentialLR(0.1, 0.97), {_COSINE}])": 200,
    f"ChainedScheduler(0.1, [StepLR(0.1, 20, 0.5), {_COSINE}, ExponentialLR(0.1, 0.98)])": 200,
    "ChainedScheduler(0.1, [PolynomialLR(0.1, 40), MultiplicativeLR(0.1, lambda epoch: 0.99)])": 60,
    f"ChainedScheduler(0.1, [{_LINEAR}, PolynomialLR(0.1, 40), CosineAnnealingLR(0.1, 30)])": 120,
}


class Peer:
    """A scheduler to be, called with the number of updates to make under it."""

    def __init__(self, base_lr, build, read=lambda group: group["lr"]):
        self.base_lr, self.build, self.read = base_lr, build, read

    def __call__(self, steps):
        import torch

        parameter = torch.nn.Parameter(torch.zeros(1))
        optimizer = torch.optim.SGD([parameter], lr=self.base_lr, momentum=0.9)
        scheduler = self.build(optimizer)
        for step in range(steps):
            yield self.read(optimizer.param_groups[0])
            optimizer.step()
            if step < steps - 1:
                scheduler.step()


def originals():
    from torch.optim import lr_scheduler, swa_utils

    schedulers = {name: getattr(lr_scheduler, name) for name in lr_scheduler.__all__}
    return schedulers | {"SWALR": swa_utils.SWALR}


def namespace():
    from torch.optim import lr_scheduler

    def after_base_lr(scheduler):
        def peer(base_lr, *args, **kwargs):
            return Peer(base_lr, lambda optimizer: scheduler(optimizer, *args, **kwargs))

        return peer

    def instead_of_base_lr(scheduler):
        def peer(*args, **kwargs):
            return Peer(1.0, lambda optimizer: scheduler(optimizer, *args, **kwargs))

        return peer

    def momentum_of(scheduler, *rates):
        def peer(base=0.85, high=0.95, **kwargs):
            def build(optimizer):
                momenta = {"base_momentum": base, "max_momentum": high}
                return scheduler(optimizer, *rates, **momenta, **kwargs)

            return Peer(1.0, build, lambda group: group["momentum"])

        return peer

    def sequential(base_lr, peers, milestones):
        def build(optimizer):
            parts = [part.build(optimizer) for part in peers]
            return lr_scheduler.SequentialLR(optimizer, parts, milestones)

        return Peer(base_lr, build)

    def chained(base_lr, peers):
        def build(optimizer):
            return lr_scheduler.ChainedScheduler([part.build(optimizer) for part in peers])

        return Peer(base_lr, build)

    return {name: after_base_lr(scheduler) for name, scheduler in originals().items()} | {
        "CyclicLR": instead_of_base_lr(lr_scheduler.CyclicLR),
        "CyclicMomentum": momentum_of(lr_scheduler.CyclicLR, 0.01, 0.1),
        "OneCycleLR": instead_of_base_lr(lr_scheduler.OneCycleLR),
        "OneCycleMomentum": momentum_of(lr_scheduler.OneCycleLR, 0.1),
        "SequentialLR": sequential,
        "ChainedScheduler": chained,
    }
