"""Tiny backbones, images and tasks, made in code, for tests that train."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import timm
import torch
from torch import Tensor, nn

from vpt_core.backbones import Backbone, describe, wrap
from vpt_core.embed import drain, feed
from vpt_core.model import Model
from vpt_core.spec import Spec
from vpt_core.tasks import Report, Task
from vpt_core.tasks.report import counts
from vpt_core.train import Epoch, Step, fit

RANDOM = "test_vit:random"  # timm's 0.3 million parameter ViT: 6 layers, width 64, patches of 16 pixels
SIZE = 32  # pixels a side: 2 x 2 patches
KINDS: dict[str, dict[str, Any]] = {
    "plain": {},
    "registers": {"reg_tokens": 4, "no_embed_class": True},
    "mean": {"global_pool": "avg"},
    "no [CLS]": {"class_token": False, "global_pool": "avg"},
    "CLIP": {"pre_norm": True, "init_values": 0.1},
    "query and key norms": {"qk_norm": True},
}
"""Changes to timm's ViT for each kind of backbone there is."""
PLAIN: dict[str, Any] = {"keyed": False, "untouched": lambda i: False}
"""Attributes of a prompted method that runs as it is defined: prompts as tokens, timm's own blocks, autograd's backward."""
FITTING: dict[str, dict[str, Any]] = {"vpt-frame": {"width": 8}}
"""Options that suit these backbones where a method's defaults do not: a frame of half a patch on each side."""


def tiny_backbone(**changes: Any) -> Backbone:
    """Four layers of width 32, two heads; random weights, all of them far from 0 and 1 so that each one matters."""
    shape = {"img_size": SIZE, "patch_size": 16, "embed_dim": 32, "depth": 4, "num_heads": 2, "num_classes": 0}
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(1)
        vit = timm.create_model("vit_tiny_patch16_224", dynamic_img_size=True, **shape | changes)
        for p in vit.parameters():
            p.add_(torch.randn(p.shape), alpha=0.2)
    return wrap(vit, describe(vit, "tiny"))


def pictures(labels: np.ndarray, size: int = SIZE, seed: int = 0) -> np.ndarray:
    """Noise (N, size, size, 3) uint8, a little brighter in the colour that says the class: to be learned, but not at once."""
    pixels = np.random.default_rng(seed).integers(0, 200, (len(labels), size, size, 3), dtype=np.uint8)
    for i, label in enumerate(labels):
        pixels[i, :, :, label % 3] += 55
    return pixels


def labels_of(each: int, classes: int = 3) -> np.ndarray:
    return np.repeat(np.arange(classes, dtype=np.int64), each)


def small_task(each: int = 10, classes: int = 3, splits: list[str] | None = None) -> Task:
    """`each` images in each class; `splits` are the given ones, none by default."""
    labels = labels_of(each, classes)
    given = np.array(splits or [""] * len(labels), dtype="<U5")
    names = tuple(f"{chr(97 + label)}/{i}.png" for i, label in enumerate(labels))
    kinds = tuple("abcdefg"[:classes])
    return Task("small", "Small", "own", "made up", kinds, pictures(labels), labels, given, names,
                Report("small", counts(kinds, labels, given)))


def saved_task(folder: Path, **rest: Any) -> str:
    """What a `Spec` calls a `small_task` that lies in `folder`."""
    small_task(**rest).save(folder)
    return str(folder)


def history(
    model: Model, spec: Spec, stop: Callable[[], bool] = lambda: False, each: int = 8, val: int = 4
) -> list[tuple[float, ...]]:
    """What training on `each` images a class says, without the times: losses of steps, records of epochs."""
    return [told(record) for record in training(model, spec, stop, each, val)]


def training(
    model: Model, spec: Spec, stop: Callable[[], bool] = lambda: False, each: int = 8, val: int = 4
) -> Iterator[Step | Epoch]:
    """`fit` on made up images, of which `each` a class train and `val` a class validate."""
    learn, check = labels_of(each), labels_of(val)
    train = drain(feed(model, pictures(learn), learn))
    return fit(model, train, drain(feed(model, pictures(check, seed=1), check)), spec, stop)


def told(record: Step | Epoch) -> tuple[Any, ...]:
    if isinstance(record, Step):
        return record.epoch, record.step, record.loss
    return record.epoch, record.loss, record.val_loss, record.val_correct, record.lr, record.best


def weights(module: nn.Module) -> dict[str, Tensor]:
    """A copy of all that `module` holds, to compare with later."""
    return {name: t.detach().clone() for name, t in [*module.named_parameters(), *module.named_buffers()]}


def same(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(t, b[name]) for name, t in a.items())
