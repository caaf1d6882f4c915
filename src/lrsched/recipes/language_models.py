"""Recipes of language models: pretraining and fine-tuning."""

import math
from functools import partial
from typing import Final

from lrsched._schedule import Schedule
from lrsched.algebra import add, constant, join, multiply, repeat, reverse
from lrsched.recipes._parts import DECAYS_MATRICES, Arguments, Decay, Parts
from lrsched.recipes._recipe import recipe
from lrsched.recipes._shapes import (
    ahead,
    ramp,
    sequence,
    trapezoid,
    warmup_cosine,
    warmup_linear,
)
from lrsched.schedules.constant import piecewise_constant
from lrsched.schedules.decay import cosine, exponential, linear
from lrsched.schedules.power import inverse_sqrt, inverse_time

_ADAMW: Final[Arguments] = {"name": "adamw", "b1": 0.9, "b2": 0.95, "eps": 1e-8}
_pretraining: Final = partial(recipe, family="llm-pretrain")
_finetuning: Final = partial(recipe, family="llm-finetune")


@_pretraining(
    "nanogpt-gpt2-124m",
    source="karpathy/nanoGPT config/train_gpt2.py, train.py @3adf61e",
    batch="491,520 tokens",
    notes="The first rate is peak / (warmup + 1), and the run makes 600,001 updates.",
)
def nanogpt_gpt2_124m(steps: int = 600_001, peak: float = 6e-4, warmup: int = 2000) -> Parts:
    """GPT-2 124M of nanoGPT: cosine to a tenth of the peak at the last update."""
    rate = warmup_cosine(peak, steps - 1, warmup, end=peak / 10, init=peak / (warmup + 1))
    decay = Decay(0.1, DECAYS_MATRICES)
    return Parts({"all": rate}, _ADAMW, weight_decay=decay, clip=1.0)


@_pretraining(
    "nanochat-d12",
    source="karpathy/nanochat scripts/base_train.py, nanochat/gpt.py @92d63d4",
    batch="524,288 tokens",
    notes=(
        "Rates follow the square root of the batch; those of the embeddings and the head also "
        "width**-0.5. The curves continue past the last update as the formulas do. Its Muon "
        "orthogonalises by Polar Express and normalises each row or column as NorMuon does."
    ),
)
def nanochat_d12(steps: int = 2520, tokens_per_step: int = 2**19, width: int = 768) -> Parts:
    """Nanochat of depth 12: Muon and AdamW, momentum and weight decay with their own schedules."""
    down = round(0.65 * steps)
    beyond = down // 19  # The line reaches 0 at down / 19 steps past the end.

    def line(start: float, end: float) -> Schedule:
        """Return a line over ``down`` steps, continued past its end."""
        return linear(start, end + (end - start) * beyond / down, steps=down + beyond)

    curve = sequence((ramp(1 / 40, 41 / 40, 40), 40), (1.0, steps - down - 40)) >> line(1.0, 0.05)
    batch, wide = math.sqrt(tokens_per_step / 2**19), (width / 768) ** -0.5
    rates = {
        "matrix_muon": 0.02 * batch,
        "lm_head": 0.008 * batch * wide,
        "embed": 0.3 * batch * wide,
        "value_embeds": 0.15 * batch * wide,
        "resid_lambdas": 0.005 * batch,
        "x0_lambdas": 0.5 * batch,
        "smear_backout": 0.2,
    }
    momentum = sequence((linear(0.85, 0.97, steps=400), 400), (0.97, steps - down - 400))
    decay = 0.28 * batch * 2520 * 2**19 / (steps * tokens_per_step)
    return Parts(
        {group: value * curve for group, value in rates.items()},
        {"name": "adamw", "b1": 0.8, "b2": 0.95, "eps": 1e-10},
        {
            "muon_momentum": momentum >> line(0.97, 0.90),
            "muon_weight_decay": cosine(decay, steps=steps) >> reverse(cosine(decay, steps=steps)),
        },
        {"matrix_muon": {"name": "nanochat's Muon", "beta": "muon_momentum"}},
        group_decays={
            "matrix_muon": Decay("muon_weight_decay", cautious=True),
            "lm_head": Decay(0.01),
            "embed": Decay(0.001),
            "value_embeds": Decay(0.01),
            "resid_lambdas": Decay(0.05),
        },
    )


@_pretraining(
    "modded-nanogpt-track1",
    source="KellerJordan/modded-nanogpt train_gpt.py @f411b3d",
    batch="131,072 / 262,144 / 393,216 tokens by stage",
    notes=(
        "The rate jumps up with the batch, once inside the cooldown. Adam's groups step in every "
        "second update only."
    ),
)
def modded_nanogpt_track1(steps: int = 1270, extension: int = 15) -> Parts:
    """Speed run of GPT-2: NorMuon and Adam, batch and rate in three stages."""
    start, total = steps - round(0.6 * steps), steps + extension
    second, third = round(steps / 3), round(2 * steps / 3)
    stage = piecewise_constant([1.0, 1.52, 1.73], [second, third])
    falling = sequence((1.0, start), (linear(1.0, 0.0, steps=steps - start), steps - start))
    rising = sequence((0.0, start), (linear(0.0, 0.15, steps=steps - start), steps - start))
    curve = add(multiply(stage, falling), rising)
    momentum = sequence(
        (linear(0.85, 0.95, steps=300), 300),
        (0.95, total - 350),
        (linear(0.95, 0.85, steps=50), 50),
    )
    peaks = {
        "normuon": 0.023,
        "adam": 0.008,
        "value_and_bigram_embeds": 0.6,
        "scalars_resid_lambdas": 0.04,
        "mudd": 0.002,
        "mudd_gates": 8e-4,
        "smear_gate": 8e-5,
    }
    return Parts(
        {group: peak * curve for group, peak in peaks.items()},
        {"name": "adam", "eps": 1e-10},
        {"normuon_momentum": momentum},
        {"normuon": {"name": "NorMuon", "beta": "normuon_momentum"}},
        group_decays={
            "normuon": Decay(1.2, coupling="squared", cautious=True),
            "adam": Decay(0.75, "the embedding and the head", "squared", cautious=True),
            "value_and_bigram_embeds": Decay(0.025, coupling="squared", cautious=True),
        },
    )


@_pretraining(
    "modded-nanogpt-track3-tuned-muon",
    source="KellerJordan/modded-nanogpt track_3_optimization result #36 @f411b3d",
    batch="524,288 tokens",
    notes="A trapezoid without warmup, whose last rate is peak / (0.7 steps).",
)
def modded_nanogpt_track3_tuned_muon(steps: int = 3250) -> Parts:
    """Tuned Muon baseline of the optimizer track."""
    down = round(0.7 * steps)
    curve = trapezoid(1.0, steps, 0, down)
    peaks = {"muon": 0.025, "embed": 0.7, "proj": 0.004, "one_d": 0.015}
    return Parts(
        {group: peak * curve for group, peak in peaks.items()},
        {"name": "adamw", "b1": 0.8, "b2": 0.95, "eps": 1e-10},
        group_optimizers={"muon": {"name": "muon", "beta": 0.95, "bias_correction": False}},
        weight_decay=Decay(0.001),
        group_decays={"muon": Decay(0.05)},
    )


@_pretraining(
    "olmo2-7b-stage1",
    source="allenai/OLMo configs/official-1124/OLMo2-7B-stage1.yaml, olmo/optim.py @59a53e3",
    batch="1024 sequences of 4096 = 4,194,304 tokens",
    notes="The counter starts at 1. The run ends at step 928,646, before the cosine does.",
)
def olmo2_7b_stage1(
    tokens: float = 5e12, tokens_per_step: int = 2**22, peak: float = 3e-4, warmup: int = 2000
) -> Parts:
    """OLMo 2 7B, first stage: cosine to a tenth of the peak at ``tokens``."""
    steps = round(tokens / tokens_per_step)
    rate = ahead(warmup_cosine(peak, steps, warmup, end=peak / 10))
    decay = Decay(0.1, "all but the embeddings")
    return Parts({"all": rate}, _ADAMW, weight_decay=decay, clip=1.0)


@_pretraining(
    "olmo3-7b-pretrain-extended",
    source="allenai/OLMo-core OLMo-3-1025-7B-pretrain-{1,2}.py, optim/scheduler.py @fa6c501",
    batch="512 sequences of 8192 = 4,194,304 tokens",
    notes="The horizon was extended at the midpoint of the cosine: the value stays, the slope not.",
)
def olmo3_7b_pretrain_extended(
    tokens: float = 5e12,
    extended_tokens: float = 7e12,
    tokens_per_step: int = 2**22,
    peak: float = 3e-4,
    warmup: int = 2000,
) -> Parts:
    """OLMo 3 7B: a cosine for ``tokens``, extended to ``extended_tokens`` half way."""
    steps, extended = (math.ceil(t / tokens_per_step) for t in (tokens, extended_tokens))
    middle = (steps - 1) // 2 + warmup // 2
    remaining, end = extended - middle, peak / 10
    first = warmup_cosine(peak, steps, warmup, end)
    second = ahead(cosine(peak, steps=2 * remaining, end=end), remaining)
    rate = ahead(sequence((first, middle), (second, remaining)))
    decay = Decay(0.1, "all but the embeddings")
    return Parts({"all": rate}, _ADAMW, weight_decay=decay, clip=1.0)


@_pretraining(
    "olmo3-7b-midtrain",
    source="allenai/OLMo-core OLMo-3-1025-7B-midtrain.py, optim/scheduler.py @fa6c501",
    batch="2,097,152 tokens",
    notes="The counter starts at 1, so that the last update has the rate 0.",
)
def olmo3_7b_midtrain(
    tokens: float = 1e11, tokens_per_step: int = 2**21, peak: float = 0.00020712352850360292
) -> Parts:
    """OLMo 3 7B, midtraining: a line to 0."""
    rate = ahead(linear(peak, 0.0, steps=math.ceil(tokens / tokens_per_step)))
    decay = Decay(0.1, "all but the embeddings")
    return Parts({"all": rate}, _ADAMW, weight_decay=decay, clip=1.0)


@_pretraining(
    "smollm3-3b-stage1-to-3",
    source="huggingface/smollm smollm3/stage{1,3}*.yaml @a041759; nanotron helpers.py @2411b02",
    batch="192 x 3 x 4096 = 2,359,296 tokens",
    notes="The cooldown starts one step late, so that the last update is not 0.",
)
def smollm3_3b_stage1_to_3(
    steps: int = 4_720_000, peak: float = 2e-4, warmup: int = 2000, cooldown: int = 522_000
) -> Parts:
    """SmolLM3 3B, all stages: a trapezoid."""
    rate = trapezoid(peak, steps + 1, warmup, cooldown)
    decay = Decay(0.1, "all but named exclusions")
    return Parts({"all": rate}, _ADAMW, weight_decay=decay, clip=1.0)


@_pretraining(
    "smollm2-135m",
    source="huggingface/smollm config_smollm2_135M.yaml @a041759; nanotron helpers.py @2411b02",
    batch="64 x 8 x 2048 = 1,048,576 tokens",
)
def smollm2_135m(
    steps: int = 2_000_000, peak: float = 3e-3, warmup: int = 2000, cooldown: int = 400_000
) -> Parts:
    """SmolLM2 135M: a trapezoid with a fifth of the run as its cooldown."""
    rate = trapezoid(peak, steps, warmup, cooldown)
    return Parts({"all": rate}, _ADAMW, weight_decay=Decay(0.01), clip=1.0)


@_pretraining(
    "deepseek-v3",
    source="DeepSeek-V3 (arXiv 2412.19437), training hyper-parameters",
    batch="3072 to 15,360 sequences of 4096",
    missing="How the batch grows during the warmup, which is counted in steps.",
    notes="Two constants end the run; the second is a third of the first.",
)
def deepseek_v3(
    tokens: float = 14.8e12,
    tokens_per_step: int = 15_360 * 4096,
    peak: float = 2.2e-4,
    warmup: int = 2000,
) -> Parts:
    """DeepSeek-V3: a plateau, a cosine to a tenth, and two constants, in proportions of tokens."""
    ends = [tokens * part / 14.8e12 / tokens_per_step for part in (10e12, 14.3e12, 14.633e12)]
    flat, cosine_end, jump = map(round, ends)
    rate = sequence(
        (ramp(0.0, peak, warmup), warmup),
        (peak, flat - warmup),
        (cosine(peak, steps=max(cosine_end - flat, 1), end=peak / 10), cosine_end - flat),
        (peak / 10, jump - cosine_end),
        (peak * 7.3 / 220, round(tokens / tokens_per_step) - jump),
    )
    return Parts({"all": rate}, _ADAMW, weight_decay=Decay(0.1), clip=1.0)


@_pretraining(
    "llama3-405b",
    source="Llama 3 (arXiv 2407.21783), section 3.4.1",
    batch="4M, 8M, then 16M tokens",
    missing="Whether step 0 has the rate 0 and whether the warmup is part of the length.",
    notes="The floor is 1% of the peak. The final annealing is not part of it.",
)
def llama3_405b(steps: int = 1_200_000, peak: float = 8e-5, warmup: int = 8000) -> Parts:
    """Llama 3 405B: cosine to a hundredth of the peak."""
    rate = warmup_cosine(peak, steps, warmup, end=peak / 100)
    return Parts({"all": rate}, {"name": "adamw"})


@_pretraining(
    "minicpm-2.4b-wsd",
    source="MiniCPM (arXiv 2404.06395)",
    batch="3.93M tokens",
    missing="The length of the warmup. The authors' blog has a half-life of 8000 steps.",
    notes="The cooldown is exponential and never reaches 0. The peak is that of muP.",
)
def minicpm_2_4b_wsd(
    steps: int = 273_000,
    peak: float = 0.01,
    warmup: int = 0,
    cooldown: int = 10_000,
    half_life: int = 5000,
) -> Parts:
    """MiniCPM 2.4B: warmup, stable phase, exponential cooldown."""
    rate = sequence(
        (ramp(0.0, peak, warmup), warmup),
        (peak, steps - cooldown - warmup),
        (exponential(peak, 0.5, every=half_life), cooldown),
    )
    return Parts({"all": rate}, {"name": "adam"})


@_pretraining(
    "pythia-160m",
    source="EleutherAI/pythia models/160M/pythia-160m.yml @a19eecb; gpt-neox @ea7aefd",
    batch="1024 sequences of 2048 = 2,097,152 tokens",
    missing="DeepSpeed's order of optimizer and scheduler is assumed.",
    notes="The updates 0 and 1 have the same rate.",
)
def pythia_160m(steps: int = 143_000, peak: float = 6e-4) -> Parts:
    """Pythia 160M: 1% warmup, cosine to a tenth of the peak."""
    warmup, end = round(0.01 * steps), peak / 10
    rate = sequence(
        (peak / max(warmup, 1), min(warmup, 1)),
        (ramp(peak / max(warmup, 1), peak, warmup - 1), max(warmup - 1, 0)),
        (cosine(peak, steps=steps - warmup, end=end), steps - warmup),
    )
    return Parts({"all": rate}, {**_ADAMW, "name": "adam"}, weight_decay=Decay(0.1), clip=1.0)


@_pretraining(
    "t5-1.1-c4-pretrain",
    source="google-research/t5x configs/runs/pretrain.gin, utils.py @cc342d4",
    notes="There is no warmup: ``warmup_steps`` only flattens the start. The rate has no end.",
)
def t5_1_1_c4_pretrain(flat: int = 10_000) -> Parts:
    """T5 1.1: constant, then the inverse square root of the step."""
    peak = flat**-0.5
    rate = sequence((peak, flat), (inverse_sqrt(peak, timescale=flat), None))
    return Parts({"all": rate}, {"name": "adafactor"})


@_pretraining(
    "bert-pretraining-flags",
    source="google-research/bert optimization.py, run_pretraining.py @eedf571",
    notes="The line falls underneath the warmup: the rate jumps from almost 1 to 0.9 of the peak.",
)
def bert_pretraining_flags(steps: int = 100_000, peak: float = 5e-5, warmup: int = 10_000) -> Parts:
    """BERT with its flags' defaults: warmup, then a line that started at step 0."""
    line = ahead(linear(peak, 0.0, steps=steps), warmup)
    rate = sequence((ramp(0.0, peak, warmup), warmup), (line, steps - warmup))
    decay = Decay(0.01, "all but norms and biases")
    return Parts({"all": rate}, {"name": "adamw", "eps": 1e-6}, weight_decay=decay, clip=1.0)


@_pretraining(
    "modernbert-base-stage1",
    source="AnswerDotAI/ModernBERT src/scheduler.py @8c57a0f",
    missing="The values of the yaml were read second-hand.",
    notes="Counted in tokens; later stages decay separately.",
)
def modernbert_base_stage1(
    tokens: float = 1.719e12, tokens_per_step: int = 4608 * 1024, peak: float = 8e-4
) -> Parts:
    """ModernBERT base, first stage: warmup over 3 billion tokens, then constant."""
    steps, warmup = (round(t / tokens_per_step) for t in (tokens, 3e9))
    rate = trapezoid(peak, steps, warmup, 0, init=1e-10 * peak)
    return Parts(
        {"all": rate},
        {"name": "StableAdamW", "b1": 0.9, "b2": 0.98},
        weight_decay=Decay(1e-5, coupling="relative"),
    )


@_pretraining(
    "levanter-gpt2-small-fast",
    source="stanford-crfm/levanter config/gpt2_small_fast.yaml, optim/config.py @9263f81",
    batch="256 sequences of 1024",
)
def levanter_gpt2_small_fast(steps: int = 20_000, peak: float = 1e-3) -> Parts:
    """GPT-2 small of Levanter: 1% warmup, cosine to a tenth of the peak."""
    rate = warmup_cosine(peak, steps, int(0.01 * steps), end=peak / 10)
    return Parts({"all": rate}, {"name": "adamw"}, weight_decay=Decay(0.1))


@_pretraining(
    "marin-8b-kestrel-wsd-s",
    source="marin-community/marin exp600_tootsie.py @04558ef; levanter optim/config.py @9263f81",
    batch="1024 sequences of 4096",
    missing="The floor of a tenth is levanter's default; cycles changed after step 200,000.",
    notes="Cyclic: each cycle starts at the full rate. 1 / rate falls on a line.",
)
def marin_8b_kestrel_wsd_s(
    cycles: int = 20, cycle: int = 10_000, cooldown: int = 1000, peak: float = 1e-3
) -> Parts:
    """Marin 8B: cycles of a plateau and a cooldown of ``1 / rate``, warmup in the first."""
    top = peak / (9 / max(cooldown, 1) + 1)
    fall = join(constant(top, steps=1), inverse_time(top, 9 / (cooldown + 9), every=1))
    first = sequence(
        (linear(0.0, peak, steps=1000), 1000), (peak, cycle - cooldown - 1000), (fall, cooldown)
    )
    later = sequence((peak, cycle - cooldown), (fall, cooldown))
    rate = first if cycles == 1 else first >> repeat(later, times=cycles - 1)
    decay = Decay(0.05, "all but embeddings and norms")
    return Parts({"all": rate}, {"name": "adamw"}, weight_decay=decay)


@_pretraining(
    "maxtext-default",
    source="AI-Hypercomputer/maxtext configs/base.yml, utils/maxtext_utils.py @e591f30",
    notes="The floor is reached at the last update.",
)
def maxtext_default(steps: int = 150_001, peak: float = 3e-5) -> Parts:
    """MaxText's defaults: 10% warmup, cosine to a tenth of the peak."""
    rate = warmup_cosine(peak, steps - 1, int(0.1 * steps), end=peak / 10)
    return Parts({"all": rate}, _ADAMW, weight_decay=Decay(0.1), clip=1.0)


@_pretraining(
    "moonlight-toy-muon",
    source="MoonshotAI/Moonlight examples/toy_train.py @c2ad5b2; transformers @005edac",
    notes=(
        "One rate for both optimizers. That of Muon is shown times 0.2 sqrt(max(rows, columns)), "
        "as the script has it; the optimizer is right for matrices of every shape."
    ),
    free=("steps",),
)
def moonlight_toy_muon(
    steps: int = 1000, peak: float = 1e-3, warmup: int = 100, rows: int = 1024, columns: int = 4096
) -> Parts:
    """Moonlight's example: Muon at AdamW's rate, warmup and cosine to 0."""
    rate = warmup_cosine(peak, steps, warmup)
    group, side = f"muon_{rows}x{columns}", math.sqrt(max(rows, columns))
    # Moonlight's script has the factor of the shape in the rate, but not in the decay. The rms of
    # 1 / side makes the group right for matrices of every other shape as well.
    muon: Arguments = {
        "name": "muon",
        "beta": 0.95,
        "scale": "rms",
        "rms": 1 / side,
        "bias_correction": False,
    }
    return Parts(
        {"adamw": rate, group: 0.2 * side * rate},
        _ADAMW,
        group_optimizers={group: muon},
        weight_decay=Decay(0.1),
        group_decays={group: Decay(0.1 / (0.2 * side))},
    )


@_finetuning(
    "t5x-finetune-default",
    source="google-research/t5x configs/runs/finetune.gin @cc342d4",
    notes="A warmup is set, but has no effect.",
)
def t5x_finetune_default(peak: float = 1e-3) -> Parts:
    """T5X fine-tuning: a constant rate."""
    return Parts({"all": constant(peak)}, {"name": "adafactor"})


def _zephyr(steps: int, peak: float) -> Parts:
    rate = warmup_cosine(peak, steps, math.ceil(0.1 * steps))
    return Parts({"all": rate}, {"name": "adamw"})


@_finetuning(
    "zephyr-7b-sft",
    source="huggingface/alignment-handbook zephyr-7b-beta/sft/config_full.yaml @925acdf",
    batch="8 x 16 = 128 sequences",
    missing="How the warmup is rounded.",
    free=("steps",),
)
def zephyr_7b_sft(steps: int = 1000, peak: float = 2e-5) -> Parts:
    """Zephyr 7B, full fine-tuning: 10% warmup, cosine to 0."""
    return _zephyr(steps, peak)


@_finetuning(
    "zephyr-7b-sft-qlora",
    source="huggingface/alignment-handbook zephyr-7b-beta/sft/config_qlora.yaml @925acdf",
    missing="How the warmup is rounded.",
    notes="Ten times the peak of full fine-tuning.",
    free=("steps",),
)
def zephyr_7b_sft_qlora(steps: int = 1000, peak: float = 2e-4) -> Parts:
    """Zephyr 7B with QLoRA: 10% warmup, cosine to 0."""
    return _zephyr(steps, peak)


@_finetuning(
    "tulu3-8b-sft",
    source="allenai/open-instruct tulu3/finetune_8b.sh, finetune.py @e6c3044",
    batch="64 x 1 x 2 = 128 sequences",
    missing="accelerate's stepping was read in comments.",
    free=("steps",),
)
def tulu3_8b_sft(steps: int = 1000, peak: float = 5e-6) -> Parts:
    """Tulu 3 8B, supervised fine-tuning: 3% warmup, a line to 0."""
    rate = warmup_linear(peak, steps, round(0.03 * steps))
    return Parts({"all": rate}, {"name": "adamw"})


@_finetuning(
    "tulu3-8b-dpo",
    source="allenai/open-instruct tulu3/dpo_8b.sh, dpo_tune_cache.py @e6c3044",
    batch="32 x 1 x 16 = 512 pairs",
    missing="accelerate's stepping was read in comments.",
    free=("steps",),
)
def tulu3_8b_dpo(steps: int = 1000, peak: float = 5e-7) -> Parts:
    """Tulu 3 8B, preference tuning: 10% warmup, a line to 0."""
    rate = warmup_linear(peak, steps, round(0.1 * steps))
    return Parts({"all": rate}, {"name": "adamw"})


@_finetuning(
    "olmo3-7b-think-rl-grpo",
    source="allenai/open-instruct scripts/train/olmo3/7b_think_rl.sh, grpo_fast.py @e6c3044",
    batch="64 prompts x 8 samples",
    notes="Tulu 3 uses a constant 5e-7.",
)
def olmo3_7b_think_rl_grpo(peak: float = 1e-6) -> Parts:
    """OLMo 3 7B, reinforcement learning: a constant rate."""
    return Parts({"all": constant(peak)}, {"name": "adamw"}, clip=1.0)


@_finetuning(
    "trl-sft-default",
    source="huggingface/trl trl/trainer/sft_config.py @f2cd577",
    missing="The line without warmup is the default of the Trainer.",
    notes="Preference tuning and GRPO default to 1e-6, reward models to 1e-4.",
    free=("steps",),
)
def trl_sft_default(steps: int = 1000, peak: float = 2e-5) -> Parts:
    """TRL's defaults for supervised fine-tuning: a line to 0."""
    return Parts({"all": warmup_linear(peak, steps, 0)}, {"name": "adamw"})


@_finetuning(
    "tinker-lora-llama-3.1-8b",
    source="thinking-machines-lab/tinker-cookbook hyperparam_utils.py @9dfcc3a",
    notes="The exponent of the width depends on the family of models.",
    free=("steps",),
)
def tinker_lora_llama_3_1_8b(steps: int = 1000, width: int = 4096) -> Parts:
    """Tinker's rates for Llama 3.1: a power of the width, ten times as large with LoRA."""
    peak = 5e-5 * (2000 / width) ** 0.781
    return Parts(
        {
            "lora": linear(10 * peak, 0.0, steps=steps),
            "full_finetune": linear(peak, 0.0, steps=steps),
        },
        {"name": "adam"},
    )
