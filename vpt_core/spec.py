"""Spec: everything that was asked of a run. Frozen, and the same as JSON."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, fields
from typing import Any

from vpt_core.errors import UserError
from vpt_core.options import check, option


@dataclass(frozen=True)
class Spec:
    """What to tune on what, and how.

    Two runs with equal specs on the same machine have equal histories. `options` are those of the method
    (for vpt-deep: prompts, dropout, layers); the method checks them.
    """

    task: str = option("sprites-position", "Task", "a built-in task, a folder or archive of class folders, or hub:NAME")
    backbone: str = option("vit-s14-saliency", "Backbone", "a backbone of the list, or any timm model")
    method: str = option("vpt-deep", "Method", "how the frozen backbone is adapted")
    options: dict[str, Any] = field(default_factory=dict)
    image_size: int = option(112, "Image size", "pixels a side; images are squashed to squares", low=14, high=1024)
    shots: int = option(0, "Images a class", "to train on, and a quarter to validate; 0: all",
                        low=0, high=100_000)
    epochs: int = option(10, "Epochs", "passes over the training images", low=1, high=1000)
    batch_size: int = option(8, "Batch size", "images a step", low=1, high=1024, advanced=True)
    lr: float = option(3e-3, "Learning rate", "AdamW, peak after the warm-up", low=1e-7, high=100.0, advanced=True)
    weight_decay: float = option(1e-4, "Weight decay", "AdamW, decoupled", low=0.0, high=1.0, advanced=True)
    warmup: float = option(0.1, "Warm-up", "share of the steps in which the learning rate rises; a cosine to 0 follows",
                           low=0.0, high=0.9, advanced=True)
    augment: str = option("none", "Augmentation", "of training images, drawn anew each step, so that nothing frozen is cached; "
                          "flip where left and right mean the same", choices=("none", "flip", "flip and shift"), advanced=True)
    precision: str = option("auto", "Precision", "of products in training; auto: bfloat16 where this machine is faster in it",
                            choices=("auto", "float32", "bfloat16"), advanced=True)
    seed: int = option(0, "Seed", "draws split, first weights and order", low=0, high=2**31 - 1)

    def __post_init__(self) -> None:
        check(self)

    def to_json(self) -> dict[str, Any]:
        """A dict of JSON values; `from_json` gives the same spec back."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Spec:
        """The spec of a saved run. Raises `UserError` when it is not one."""
        names = {f.name for f in fields(cls)}
        if not isinstance(data, dict) or not isinstance(data.get("options", {}), dict) or set(data) - names:
            raise UserError(f"This is not the spec of a run: a JSON object with fields among {', '.join(sorted(names))}.")
        return cls(**data)
