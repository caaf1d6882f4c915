"""Recipes of image models: classification, detection, generation, neural fields."""

import math
from functools import partial
from typing import Final

from lrsched.algebra import add, constant, minimum, multiply, reverse
from lrsched.recipes._parts import DECAYS_KERNELS, DECAYS_MATRICES, Decay, Parts
from lrsched.recipes._recipe import recipe
from lrsched.recipes._shapes import ahead, ramp, sequence, stairs, warmup_cosine
from lrsched.schedules.decay import cosine, exponential, linear, multistep
from lrsched.schedules.power import inverse_sqrt

_vision: Final = partial(recipe, family="vision")
_diffusion: Final = partial(recipe, family="diffusion")
_neural_field: Final = partial(recipe, family="neural-fields")


@_vision(
    "timm-train-default-sgd",
    source="huggingface/pytorch-image-models train.py, timm/scheduler/cosine_lr.py @aa4b585",
    batch="128",
    notes=(
        "One rate for an epoch. The cosine counts the warmup epochs, so that the peak is never "
        "reached."
    ),
    free=("epochs",),
)
def timm_train_default_sgd(
    epochs: int = 300, steps_per_epoch: int = 10_009, batch: int = 128, warmup: int = 5
) -> Parts:
    """Timm's defaults with SGD: the rate is 0.1 for each 256 examples of the batch."""
    peak = 0.1 * batch / 256

    def rate(epoch: int) -> float:
        if epoch < warmup:
            return 1e-5 + epoch * (peak - 1e-5) / warmup
        return peak * 0.5 * (1 + math.cos(math.pi * epoch / epochs))

    return Parts({"all": stairs(rate, steps_per_epoch, epochs)}, {"name": "sgd"})


@_vision(
    "convnext-tiny-300ep",
    source="facebookresearch/ConvNeXt TRAINING.md, utils.py, main.py @048efce",
    batch="4096",
    notes="The full rate is reached at the last update of the warmup. The average is optional.",
)
def convnext_tiny_300ep(
    epochs: int = 300, steps_per_epoch: int = 312, peak: float = 4e-3, warmup: int = 20
) -> Parts:
    """ConvNeXt tiny: warmup of 20 epochs, cosine to 1e-6."""
    steps, rise = epochs * steps_per_epoch, warmup * steps_per_epoch
    rate = sequence(
        (ramp(0.0, peak, rise - 1), rise - 1),
        (peak, 1),
        (cosine(peak, steps=max(steps - rise, 1), end=1e-6), steps - rise),
    )
    return Parts({"all": rate}, {"name": "adamw"}, weight_decay=Decay(0.05), ema=0.9999)


@_vision(
    "bigvision-vit-s16-i1k-90ep",
    source="google-research/big_vision configs/vit_s16_i1k.py, utils.py, optax.py @0127fb6",
    batch="1024",
    missing="The size of the 99% split was assumed.",
    notes="The weight decay follows the curve of the rate, but not its peak.",
)
def bigvision_vit_s16_i1k_90ep(
    steps: int = 111_477, peak: float = 1e-3, warmup: int = 10_000
) -> Parts:
    """ViT S/16 of big_vision: warmup and cosine to 0, decoupled weight decay of 1e-4."""
    curve = warmup_cosine(1.0, steps, warmup)
    return Parts(
        {"lr": peak * curve},
        {"name": "adam", "mu_dtype": "bfloat16"},
        {"weight_decay": 1e-4 * curve},
        weight_decay=Decay(1e-4, DECAYS_KERNELS, "relative"),
        clip=1.0,
    )


@_vision(
    "flax-imagenet-resnet50",
    source="google/flax examples/imagenet/configs/default.py, train.py @18f8f31",
    batch="128",
    notes="The weight decay is part of the loss: coupled to the gradient.",
)
def flax_imagenet_resnet50(
    epochs: int = 100, steps_per_epoch: int = 10_009, batch: int = 128, warmup: int = 5
) -> Parts:
    """ResNet-50 of Flax: warmup of 5 epochs, cosine to 0."""
    steps, rise = epochs * steps_per_epoch, warmup * steps_per_epoch
    return Parts(
        {"all": warmup_cosine(0.1 * batch / 256, steps, rise)},
        {"name": "sgd", "momentum": 0.9, "nesterov": True},
        weight_decay=Decay(1e-4, DECAYS_MATRICES, "coupled"),
    )


@_vision(
    "yolov5-coco-scratch-low",
    source="ultralytics/yolov5 hyp.scratch-low.yaml, train.py @5081342",
    batch="64",
    missing="The number of batches is derived from the size of COCO.",
    notes="The biases warm down from ten times the rate. One rate for an epoch afterwards.",
)
def yolov5_coco_scratch_low(epochs: int = 300, steps_per_epoch: int = 1849) -> Parts:
    """YOLOv5 on COCO: a line in epochs to a hundredth, momentum with a warmup."""
    peak, rise = 0.01, max(3 * steps_per_epoch, 100)

    def target(epoch: int) -> float:
        return peak * ((1 - epoch / epochs) * 0.99 + 0.01)

    rate = multiply(linear(0.0, 1.0, steps=rise), stairs(target, steps_per_epoch, epochs))
    return Parts(
        {"weights_and_bn": rate, "biases": add(rate, linear(0.1, 0.0, steps=rise))},
        {"name": "sgd", "momentum": "momentum", "nesterov": True},
        {"momentum": linear(0.8, 0.937, steps=rise)},
        group_decays={"weights_and_bn": Decay(5e-4, DECAYS_MATRICES, "coupled")},
    )


@_vision(
    "detectron2-frcnn-r50-fpn-1x",
    source="facebookresearch/detectron2 Base-RCNN-FPN.yaml, config/defaults.py @02b5c4e",
    batch="16",
    missing="Whether the drop is at the milestone or after it.",
    notes="The warmup starts at 0.1% of the rate.",
)
def detectron2_frcnn_r50_fpn_1x(
    steps: int = 90_000, peak: float = 0.02, warmup: int = 1000
) -> Parts:
    """Faster R-CNN, the schedule called 1x: drops by 10 at 2/3 and 8/9 of the run."""
    milestones = [round(steps * 2 / 3), round(steps * 8 / 9)]
    drops = ahead(multistep(peak, milestones), warmup)
    rate = sequence((ramp(peak / 1000, peak, warmup), warmup), (drops, steps - warmup))
    return Parts(
        {"all": rate},
        {"name": "sgd", "momentum": 0.9},
        weight_decay=Decay(1e-4, "all but norms", "coupled"),
    )


@_vision(
    "efficientnet-b0",
    source="tensorflow/tpu models/official/efficientnet/utils.py @139e1f4, main.py @01b6706",
    batch="2048",
    notes="The stairs count the warmup: two drops are over when it ends.",
)
def efficientnet_b0(epochs: int = 350, examples: int = 1_281_167, batch: int = 2048) -> Parts:
    """EfficientNet B0: a factor of 0.97 each 2.4 epochs, with fractional steps for an epoch."""
    peak, per_epoch = 0.016 * batch / 256, examples / batch
    warmup, steps = int(5 * per_epoch), math.ceil(epochs * per_epoch)
    every = 2.4 * per_epoch
    decay = stairs(lambda k: peak * 0.97**k, every, math.ceil(steps / every))
    return Parts(
        {"all": sequence((linear(0.0, peak, steps=warmup), warmup), (ahead(decay, warmup), None))},
        {"name": "rmsprop", "decay": 0.9, "momentum": 0.9, "eps": 0.001},
        weight_decay=Decay(1e-5, coupling="coupled"),
        ema=0.9999,
    )


@_diffusion(
    "dit-xl2",
    source="facebookresearch/DiT train.py @ed81ce2",
    batch="256",
    notes="No warmup and no decay. The rate has no end.",
)
def dit_xl2(peak: float = 1e-4) -> Parts:
    """DiT XL/2: a constant rate."""
    return Parts({"all": constant(peak)}, {"name": "adamw"}, ema=0.9999)


@_diffusion(
    "edm2-img512-xs",
    source="NVlabs/edm2 training/training_loop.py, train_edm2.py @4bf8162",
    batch="2048",
    notes="The warmup is 10 million images: 4882.8 updates. The average is fitted afterwards.",
)
def edm2_img512_xs(
    peak: float = 0.012, flat: int = 70_000, batch: int = 2048, warmup_images: float = 1e7
) -> Parts:
    """EDM2 XS: warmup in images, a plateau, then the inverse square root."""
    rise = warmup_images / batch
    until = math.ceil(rise)
    decay = sequence((peak, flat), (inverse_sqrt(peak, timescale=flat), None))
    rate = multiply(minimum(linear(0.0, until / rise, steps=until), 1.0), decay)
    return Parts({"all": rate}, {"name": "adam", "b1": 0.9, "b2": 0.99})


@_neural_field(
    "mipnerf",
    source="google/mipnerf internal/math.py, internal/utils.py, train.py @84c969e",
    batch="4096 rays",
    notes="The counter starts at 1. The highest rate is below the peak.",
)
def mipnerf(steps: int = 1_000_000, peak: float = 5e-4, end: float = 5e-6) -> Parts:
    """Mip-NeRF: a log-linear decay, multiplied by a quarter of a sine over 2500 steps."""
    decay = exponential(peak, end / peak, every=steps, end=end)
    delay = add(0.01, reverse(cosine(0.99, steps=2500, exponent=0.5)))
    return Parts({"all": ahead(multiply(delay, decay))}, {"name": "adam"})
