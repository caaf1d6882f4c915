"""Recipes of speech recognition and translation."""

from functools import partial
from typing import Final

from lrsched.recipes._parts import Arguments, Decay, Parts
from lrsched.recipes._recipe import recipe
from lrsched.recipes._shapes import ramp, sequence, warmup_linear
from lrsched.schedules.decay import exponential
from lrsched.schedules.power import inverse_sqrt, noam

_SPEECH_ADAM: Final[Arguments] = {"name": "adam", "b1": 0.9, "b2": 0.98}
_speech: Final = partial(recipe, family="speech")
_translation: Final = partial(recipe, family="translation")


@_speech(
    "whisper-large-v1",
    source="Whisper (arXiv 2212.04356), section 2.4",
    batch="256 segments",
    missing="The peak was read in notes that quote appendix F.",
)
def whisper_large_v1(steps: int = 2**20, peak: float = 1.75e-4, warmup: int = 2048) -> Parts:
    """Whisper large: warmup, then a line to 0."""
    return Parts(
        {"all": warmup_linear(peak, steps, warmup)},
        {"name": "adamw", "b1": 0.9, "b2": 0.98, "eps": 1e-6},
        weight_decay=Decay(0.1),
        clip=1.0,
    )


@_speech(
    "wav2vec2-base-100h-tristage",
    source="pytorch/fairseq base_100h.yaml, tri_stage_lr_scheduler.py, trainer.py @148327d",
    batch="2 GPUs x 3.2M samples x 4",
    notes="The warmup starts at 1%, and the decay is exponential, to 5%.",
)
def wav2vec2_base_100h_tristage(steps: int = 80_000, peak: float = 3e-5) -> Parts:
    """wav2vec 2.0, fine-tuning on 100 hours: three stages of 10%, 40% and 50%."""
    warmup, flat = round(0.1 * steps), round(0.4 * steps)
    decay = steps - warmup - flat
    rate = sequence(
        (ramp(0.01 * peak, peak, warmup), warmup),
        (peak, flat),
        (exponential(peak, 0.05, every=decay, end=0.05 * peak), decay),
    )
    return Parts({"all": rate}, _SPEECH_ADAM)


@_speech(
    "conformer-l-librispeech",
    source="Conformer (arXiv 2005.08100), section 3.2",
    missing="The paper was read in quotations; a counter from 1 is assumed.",
    notes="The rate has no end.",
)
def conformer_l_librispeech(width: int = 512, warmup: int = 10_000) -> Parts:
    """Conformer L: the Transformer's schedule with the peak ``0.05 / sqrt(width)``."""
    return Parts(
        {"all": noam(0.05 * warmup**0.5, width=width, warmup=warmup)},
        {**_SPEECH_ADAM, "eps": 1e-9},
        weight_decay=Decay(1e-6, coupling="coupled"),
    )


@_translation(
    "transformer-base-noam-t2t-v1",
    source="tensorflow/tensor2tensor models/transformer.py, learning_rate.py @bafdc1b",
    notes="The constants multiply to 1. The rate has no end.",
)
def transformer_base_noam_t2t_v1(width: int = 512, warmup: int = 4000) -> Parts:
    """Transformer base: warmup, then the inverse square root."""
    return Parts({"all": noam(1.0, width=width, warmup=warmup)}, {**_SPEECH_ADAM, "eps": 1e-9})


@_translation(
    "flax-lm1b-rsqrt",
    source="google/flax examples/lm1b/configs/default.py, train.py @18f8f31",
    notes="The rate has no end.",
)
def flax_lm1b_rsqrt(peak: float = 0.0016, warmup: int = 1000) -> Parts:
    """Language model of Flax's examples: warmup, then the inverse square root."""
    rate = sequence((ramp(0.0, peak, warmup), warmup), (inverse_sqrt(peak, timescale=warmup), None))
    return Parts({"all": rate}, {"name": "adamw"}, weight_decay=Decay(0.1))
