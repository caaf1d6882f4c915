"""Cards of the recipes: picture, scale, optimizer, notes and source."""

from collections.abc import Mapping

import numpy as np

from docs.gallery import svg
from docs.generate.reference import markdown_table
from lrsched import recipes

STARTING_POINTS: Mapping[str, tuple[str, ...]] = {
    "convolutional network, images, from scratch": ("flax-imagenet-resnet50", "efficientnet-b0"),
    "vision transformer or ConvNeXt, from scratch": (
        "bigvision-vit-s16-i1k-90ep",
        "convnext-tiny-300ep",
    ),
    "object detection": ("detectron2-frcnn-r50-fpn-1x", "yolov5-coco-scratch-low"),
    "language model, a known length": ("nanogpt-gpt2-124m", "olmo2-7b-stage1"),
    "language model, a length that may change": ("smollm2-135m", "minicpm-2.4b-wsd"),
    "language model with Muon": ("moonlight-toy-muon", "nanochat-d12"),
    "full fine-tuning of a language model": ("tulu3-8b-sft", "zephyr-7b-sft"),
    "LoRA": ("zephyr-7b-sft-qlora", "tinker-lora-llama-3.1-8b"),
    "preference tuning, RL of a language model": ("tulu3-8b-dpo", "olmo3-7b-think-rl-grpo"),
    "reinforcement learning": ("cleanrl-ppo", "cleanrl-dqn-atari", "dreamerv3"),
    "diffusion": ("dit-xl2", "edm2-img512-xs"),
    "speech": ("whisper-large-v1", "conformer-l-librispeech"),
    "translation": ("transformer-base-noam-t2t-v1",),
    "physics-informed or scientific": ("jaxpi-burgers-pinn", "mace-plateau"),
}
"""Recipes to begin with, by task."""


def starting_points() -> str:
    """Return a table of what to try first for each task."""
    listing = {row["name"]: row for row in recipes.listing()}
    rows = []
    for task, names in STARTING_POINTS.items():
        for name in names:
            row = listing[name]
            about = row["about"].partition(": ")[2].rstrip(".").replace("``", "`")
            group, rate = _highest_rate(recipes.get(name)())
            rate = f"{rate:.2g}" + (f" ({group})" if group else "")
            optimizer = row["optimizer"].partition("(")[0]
            rows.append((task, f"`{name}`", optimizer, rate, about))
    return markdown_table(("task", "recipe", "optimizer", "highest rate", "schedule"), rows)


def _highest_rate(recipe: recipes.Recipe) -> tuple[str, float]:
    """Return the first group, empty if it is the only one, and its highest rate."""
    group, schedule = next(iter(recipe.schedules.items()))
    end = schedule.horizon or 10**6
    steps = np.unique(
        np.concatenate([np.geomspace(1, end, 1000), np.linspace(0, end, 1000)]).round()
    )
    values = np.asarray(schedule(steps.astype(np.int32)))
    return "" if len(recipe.schedules) == 1 else group, float(np.nanmax(values))


def section() -> str:
    """Return the Markdown of all recipes, by family."""
    lines: list[str] = []
    family = ""
    for row in recipes.listing():
        if row["family"] != family:
            family = row["family"]
            lines += ["", f"## {family}", ""]
        lines += [f"### {row['name']}", "", *_card(recipes.get(row["name"])())]
    return "\n".join(lines)


def table() -> str:
    """Return a table of all recipes, without pictures."""
    created = [recipes.get(row["name"])() for row in recipes.listing()]
    rows = [
        (one.family, f"`{one.name}`", f"`{next(iter(one.schedules.values()))}`") for one in created
    ]
    return markdown_table(("family", "recipe", "schedule of its first group"), rows)


def _card(recipe: recipes.Recipe) -> list[str]:
    group, schedule = next(iter(recipe.schedules.items()))
    figure = f"<figure>{svg(group, schedule)}</figure>"
    return [figure, "", "```text", str(recipe), "```", ""]
