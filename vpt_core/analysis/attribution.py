"""Attribution: what each part of an image adds to the score of a class. The methods are Captum's (Kokhlikyan et al. 2020)."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from captum.attr import FeatureAblation, InputXGradient, IntegratedGradients, Saliency
from torch import Tensor

from vpt_core.analysis.cells import BASELINES, BATCH, STEP_BATCH, Margin, cell_sums, cells, check_image
from vpt_core.backbones import to_pixels
from vpt_core.errors import UserError
from vpt_core.model import Model
from vpt_core.table import Table

STEPS, MOST_STEPS = 32, 1000
ROUGH = 0.1
"""Relative completeness error beyond which integrated gradients are taken again in more steps."""


@dataclass(frozen=True)
class Attribution:
    """What the parts of one image add to the score of class `target`: its logit less the mean of all logits.

    map        (S, S) float32; above 0 speaks for the class, below 0 against it (saliency is never below 0)
    patches    (g, g) float32, sums of the map over the patches of a ViT, over squares of some 16 pixels elsewhere
    score, empty   the score of the image and of the baseline
    steps      of integrated gradients; without meaning elsewhere, as is the baseline for saliency
    error      integrated gradients only, else None: |sum of the map - (score - empty)|. 0 with infinitely many steps
    """

    method: str
    baseline: str
    steps: int
    target: int
    map: np.ndarray
    patches: np.ndarray
    score: float
    empty: float
    error: float | None
    seconds: float

    @property
    def relative_error(self) -> float | None:
        """`error` as a share of |score - empty|; infinite where these are equal, None where there is no error."""
        if self.error is None:
            return None
        change = abs(self.score - self.empty)
        return self.error / change if change else float("inf")


@dataclass(frozen=True)
class Method:
    """A row of `ATTRIBUTIONS`. `make` gives a map (S, S) of pixels x and baseline (1, 3, S, S), cells (S, S) and steps."""

    name: str
    title: str
    about: str
    uses_baseline: bool
    make: Callable[[Margin, Tensor, Tensor, np.ndarray, int], np.ndarray]


def attribute(model: Model, image: np.ndarray, target: int, method: str = "integrated-gradients", baseline: str = "mean",
              steps: int | None = None) -> Attribution:
    """The attribution of one image (S, S, 3) uint8 at the model's image size to class `target`; any method, any backbone.

    `method` is a row of `ATTRIBUTIONS`, `baseline` one of `BASELINES`. `steps` are those of integrated gradients: by default
    `STEPS`, and where these miss completeness by more than `ROUGH`, four times as many. Nothing of the model changes.
    Raises `UserError` for an unknown name or class, for steps out of range, and for another image.
    """
    check_image(image)
    if steps is not None and not 1 <= steps <= MOST_STEPS:
        raise UserError(f"Steps are {steps}; use 1 to {MOST_STEPS}.")
    row, score, empty = ATTRIBUTIONS[method], Margin(model, target), BASELINES[baseline].make(image)
    found = _attribute(row, score, image, empty, steps or STEPS)
    if steps is None and (found.relative_error or 0) > ROUGH:
        found = _attribute(row, score, image, empty, 4 * STEPS)
    return replace(found, baseline=baseline)


def _attribute(row: Method, score: Margin, image: np.ndarray, empty: np.ndarray, steps: int) -> Attribution:
    cell, began = cells(score.model.backbone, len(image)), time.perf_counter()
    made = row.make(score, to_pixels(image[None]), to_pixels(empty[None]), cell, steps).astype(np.float32)
    ends = score.of(image), score.of(empty)
    error = abs(float(made.sum(dtype=np.float64)) - (ends[0] - ends[1])) if row.make is _integrated else None
    seconds = time.perf_counter() - began
    return Attribution(row.name, "", steps, score.target, made, cell_sums(made, cell), *ends, error, seconds)


def before_tuning(model: Model) -> Model:
    """The frozen backbone alone under the head of `model`: what was there before prompts or whatever else was tuned, read by
    a head that was learned with them. Its answers may be off for that reason; a linear probe is the fairer yardstick.
    """
    frozen = Model(model.backbone, "linear", {}, model.head.out_features)
    frozen.head.load_state_dict(model.head.state_dict())
    return frozen.eval()


def _integrated(score: Margin, x: Tensor, empty: Tensor, cell: np.ndarray, steps: int) -> np.ndarray:
    found = IntegratedGradients(score).attribute(x, empty, n_steps=steps, internal_batch_size=STEP_BATCH)
    return found[0].sum(dim=0).detach().numpy()


def _saliency(score: Margin, x: Tensor, empty: Tensor, cell: np.ndarray, steps: int) -> np.ndarray:
    return Saliency(score).attribute(x.requires_grad_())[0].amax(dim=0).detach().numpy()


def _input_x_gradient(score: Margin, x: Tensor, empty: Tensor, cell: np.ndarray, steps: int) -> np.ndarray:
    """Against the baseline, too: (x - baseline) * gradient. With black that is the usual input x gradient."""
    away = (x - empty).requires_grad_()
    return InputXGradient(lambda away: score(away + empty)).attribute(away)[0].sum(dim=0).detach().numpy()


def _occlusion(score: Margin, x: Tensor, empty: Tensor, cell: np.ndarray, steps: int) -> np.ndarray:
    """A cell's fall of the score is spread over its pixels, so that it is the cell's sum."""
    mask = torch.from_numpy(cell)[None, None]
    with torch.no_grad():
        falls = FeatureAblation(score).attribute(x, empty, feature_mask=mask, perturbations_per_eval=BATCH)
    return falls[0, 0].numpy() / np.bincount(cell.ravel())[cell]


_ROWS = (
    Method("integrated-gradients", "Integrated gradients",
           "Gradients along the straight way from the baseline to the image, added up (Sundararajan et al. 2017): the parts "
           "sum to what the image scores above the baseline.", True, _integrated),
    Method("occlusion", "Occlusion",
           "Each patch is replaced by the baseline, one at a time (Zeiler and Fergus 2014): how far the score falls.", True,
           _occlusion),
    Method("input-x-gradient", "Input × gradient",
           "The gradient at the image times the image's distance from the baseline: integrated gradients in a single step.",
           True, _input_x_gradient),
    Method("saliency", "Saliency",
           "The size of the gradient at the image (Simonyan et al. 2014): where a small change would change the score most, "
           "in whichever direction.", False, _saliency),
)  # fmt: skip
ATTRIBUTIONS: Table[Method] = Table("attribution method", {row.name: row for row in _ROWS})
