"""What is timed: training steps and passes of models that benchmarks set against each other. Weights are random."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vpt_core.backbones import Backbone
from vpt_core.methods.how import choose_how
from vpt_core.mixed import pass_of, plan_of
from vpt_core.model import Model
from vpt_core.precision import FLOAT32

MODELS = {"ViT-S/16": "vit-s16-augreg:random", "ViT-B/16": "vit-b16-in21k:random"}
CLASSES = 10
CONCATENATED = {"keyed": False, "untouched": lambda i: False}
"""For `deep`: prompts as tokens, through timm's own blocks and autograd's backward."""


def step(model: Model, x: Tensor, start: int = 0) -> Callable[[], None]:
    """One training step on a batch: forward, backward, AdamW."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    labels = torch.arange(len(x)) % CLASSES

    def run() -> None:
        model.train()
        optimizer.zero_grad(set_to_none=True)
        F.cross_entropy(model(x, start), labels).backward()
        optimizer.step()

    return run


def inference(model: Callable[[Tensor], Tensor], x: Tensor) -> Callable[[], None]:
    """A forward pass without gradients."""

    @torch.no_grad()
    def run() -> None:
        model(x)

    return run


def deep(backbone: Backbone, size: int, prompts: int = 50, layers: str = "all", precision: str = FLOAT32,
         **path: object) -> Model:
    """VPT-deep, by the path that a run chooses or by another one (`keyed`, `how`)."""
    options = {"prompts": prompts, "dropout": 0.0, "layers": layers}
    model = Model(backbone, "vpt-deep", options, CLASSES, image_size=size, precision=precision)
    vars(model.method).update({"how": choose_how(precision), **path})
    return model


def cached(model: Model, x: Tensor) -> Callable[[], None]:
    """A step on the outputs of the frozen leading stages, which are computed once, before."""
    with torch.no_grad():
        entering = model.run(x, 0, model.method.cut)
    return step(model, entering, model.method.cut)


def peft_lora(backbone: Backbone) -> nn.Module:
    """The same timm model with peft's LoRA on qkv and a head, called as a `Model` is."""
    from peft import LoraConfig, get_peft_model

    lora = get_peft_model(copy.deepcopy(backbone.net), LoraConfig(r=8, lora_alpha=8, target_modules=["qkv"]))

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.lora, self.head = lora, nn.Linear(backbone.embed_dim, CLASSES)

        def forward(self, x: Tensor, start: int = 0) -> Tensor:
            return self.head(self.lora(backbone.normalised(x)))

        def parameters(self, recurse: bool = True) -> Iterator[nn.Parameter]:
            return (p for p in super().parameters(recurse) if p.requires_grad)

    return Net()


def autocast(run: Callable[[], None]) -> Callable[[], None]:
    """The same with its products in bfloat16."""

    def inside() -> None:
        with torch.autocast("cpu", torch.bfloat16):
            run()

    return inside


def many_tasks(backbone: Backbone, size: int) -> dict[str, Callable[[], object]]:
    """One pass of 24 images, each of a task with 10 deep prompts a layer: of 24 tasks, or all of the same one."""
    models = [Model(backbone, "vpt-deep", {"prompts": 10}, CLASSES, seed, size).eval() for seed in range(24)]
    plans, x = [plan_of(model) for model in models], torch.rand(24, 3, size, size)
    return {"24 tasks": lambda: pass_of(backbone, plans).logits(x),
            "one task": lambda: pass_of(backbone, plans[:1] * 24).logits(x)}
