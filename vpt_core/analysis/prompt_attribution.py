"""Attribution to the prompts themselves: what each one adds to the score of a class in one image."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass

import numpy as np
import torch
from captum.attr import IntegratedGradients
from torch import Tensor
from torch.func import functional_call

from vpt_core.analysis.attribution import STEPS
from vpt_core.analysis.cells import Margin, check_image
from vpt_core.backbones import to_pixels
from vpt_core.errors import UserError
from vpt_core.methods import Prompted
from vpt_core.model import Model


@dataclass(frozen=True)
class PromptAttribution:
    """What the prompts add to the score of class `target`: its logit less the mean of all logits.

    shares      (rows, p) float32, signed: integrated gradients from zero prompts to the learned ones, all at once
    rows        whose prompts a row is: "layer 3", or "all layers" for shared ones
    score, zero the score with the learned prompts and with zero ones
    error       |sum of the shares - (score - zero)|, 0 with infinitely many steps

    A zero prompt is not a missing one: its key and value are what the layer's biases make of nothing, and it still takes
    attention. Removing prompts is another question (knock-out) with another answer.
    """

    target: int
    shares: np.ndarray
    rows: tuple[str, ...]
    score: float
    zero: float
    error: float
    seconds: float


def attribute_prompts(model: Model, image: np.ndarray, target: int, steps: int = STEPS) -> PromptAttribution:
    """Integrated gradients over the prompts of a model for one image (S, S, 3) uint8 at the model's image size.

    The baseline are zero prompts. The frozen leading stages run once. Raises `UserError` for a method without prompts, an
    unknown class, or another image.
    """
    check_image(image)
    if not isinstance(model.method, Prompted):
        raise UserError(f"{model.method.title} has no prompts. Choose a run of VPT-shallow or VPT-deep.")
    if not model.method.options.prompts and model.method.options.place != "add":
        raise UserError("This run has 0 prompts, so there is nothing to attribute to.")
    clock = time.perf_counter()
    score = Margin(_private_copy(model, len(image)), target)
    cut = model.method.cut
    with torch.no_grad():
        x = score.model.run(to_pixels(image[None]), 0, cut)
    names = [name for name, _ in score.model.method.named_parameters(prefix="method")]
    learned = tuple(p.detach()[None] for p in score.model.method.parameters())  # (1, layers, p, ...) each

    def of_prompts(*prompts: Tensor) -> Tensor:
        return torch.cat([_scored(score, dict(zip(names, one, strict=True)), x, cut) for one in zip(*prompts, strict=True)])

    found = IntegratedGradients(of_prompts).attribute(learned, n_steps=steps, internal_batch_size=1)
    shares = np.concatenate([part[0].flatten(2).sum(dim=2).detach().numpy() for part in found]).astype(np.float32)
    with torch.no_grad():
        ends = [float(of_prompts(*prompts)) for prompts in (learned, tuple(map(torch.zeros_like, learned)))]
    error = abs(float(shares.sum(dtype=np.float64)) - (ends[0] - ends[1]))
    return PromptAttribution(target, shares, _rows(model.method), *ends, error, time.perf_counter() - clock)


def _scored(score: Margin, prompts: dict[str, Tensor], x: Tensor, start: int) -> Tensor:
    """The score (1,) with other prompts. They are the model's own for the time of the call, so it has to be a private one."""
    return score.from_logits(functional_call(score.model, prompts, (x, start)))


def _private_copy(model: Model, size: int) -> Model:
    """The same model on the same backbone with tensors of its own: others may be using the given one at the same time."""
    method = model.method
    copy = Model(model.backbone, method.name, asdict(method.options), model.head.out_features, image_size=size)
    copy.load_state_dict(model.state_dict())
    return copy


def _rows(method: Prompted) -> tuple[str, ...]:
    if not method.shared:
        return tuple(f"layer {number}" for number in method.layers)
    widths = [tensor.shape[-1] for tensor in method.parameters()]
    return ("all layers",) if len(widths) == 1 else tuple(f"layers of width {width}" for width in widths)
