"""How long a run will take, said before it starts."""

from __future__ import annotations

from app.warmup import forward_seconds
from vpt_core.backbones import card
from vpt_core.methods import METHODS
from vpt_core.spec import Spec
from vpt_core.tasks import Task

BACKWARD = 1.5  # a backward pass next to a forward pass: 1.2 (VPT-deep) to 1.6 (LoRA) in benchmarks/steps.py


def run_seconds(spec: Spec, task: Task) -> float:
    """Rough seconds of `execute` for this spec on this machine; loading of images and weights is left out."""
    splits = task.splits(spec.seed, spec.shots)
    train, val, test = len(splits.train), len(splits.val), len(splits.test)
    shape, method = card(spec.backbone), METHODS[spec.method]
    first = method.first_layer(method.read_options(spec.options), shape.depth)
    depth = max(1, shape.depth)
    live = min(1.0, (shape.depth + 1 - first) / depth) if shape.depth or method.recipe.get("epochs") != 100 else 0.0
    tokens = shape.tokens(spec.image_size) + 1 + int(spec.options.get("prompts", 0))
    again = live if spec.augment == "none" else 1.0  # the part of a forward pass that every step takes
    steps = spec.epochs * ((again + BACKWARD * live) * train + live * val)
    once = (1 - live) * (train + val) + (1 + live) * test
    return forward_seconds(shape.params, tokens) * (steps + once)


def in_words(seconds: float) -> str:
    """ "about 40 s", "about 3 min"."""
    if seconds < 10:
        return "some seconds"
    if seconds < 90:
        return f"about {round(seconds, -1):.0f} s"
    return f"about {seconds / 60:.0f} min"
