"""What PyTorch does, a function for each row; it need be installed to record only."""

import json

import torch

from tests.comparison.common import MILLION, any_named, right_in_the_tail


def _cosine(steps=100, rate=1e-3):
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.ones(1))], lr=rate)
    return optimizer, torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=steps)


def _names():
    return [*dir(torch.optim), *dir(torch.optim.lr_scheduler)]


def prints():
    return "0.001" in repr(_cosine()[1])


def compares():
    return _cosine()[1] == _cosine()[1]


def is_made_again():
    return "Cosine" in json.dumps(_cosine()[1].state_dict())


def is_swept():
    try:
        torch.vmap(lambda n: _cosine(n)[1].get_last_lr()[0])(torch.tensor([100, 200]))
    except ValueError:
        return False
    return True


def is_read():
    return _cosine()[1].get_last_lr() == [1e-3]


def is_held():
    optimizer, scheduler = _cosine()
    optimizer.param_groups[0]["lr"] = 1e-2
    optimizer.step()
    scheduler.step()
    return optimizer.param_groups[0]["lr"] == 1e-2


def is_carried():
    _, second = _cosine(steps=200)
    second.load_state_dict(_cosine(steps=100)[1].state_dict())
    return second.T_max == 100


def keeps_its_tail():
    optimizer, scheduler = _cosine(steps=MILLION)
    optimizer.step()
    for _ in range(MILLION - 10):
        scheduler.step()
    return right_in_the_tail(scheduler.get_last_lr()[0])


def trains_bfloat16():
    weight = torch.nn.Parameter(torch.ones(2, dtype=torch.bfloat16))
    optimizer = torch.optim.AdamW([weight], lr=1e-3)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=100)
    for _ in range(2):
        weight.grad = torch.ones_like(weight)
        optimizer.step()
        scheduler.step()
    return bool(torch.isfinite(weight).all())


def acts_below_zero():
    optimizer, _ = _cosine()
    scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, factor=0.5, patience=2)
    for _ in range(9):
        scheduler.step(-1.0)
    return optimizer.param_groups[0]["lr"] < 1e-3


def has_wsd():
    return any_named(_names(), "wsd", "stable", "trapezoid")


def needs_no_rate():
    return any_named(_names(), "prodigy", "dadapt", "dog", "mechan")


def finds_rates():
    return any_named(_names(), "range_test", "finder", "sweep", "lr_find")
