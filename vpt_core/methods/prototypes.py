"""First prompts from the task's own images: means of clusters of the tokens that enter a layer.

Prompts that start near the tokens they will stand beside learn where uniform ones hardly do, as on masked autoencoders
(the idea of Wang et al. 2024, "Revisiting the Power of Prompt for Visual Prompt Tuning").
"""

from __future__ import annotations

import numpy as np
import torch
from sklearn.cluster import KMeans
from torch import Tensor

from vpt_core.backbones import Backbone, to_pixels
from vpt_core.errors import UserError

IMAGES = 64  # evenly spread over the training images; more change the means little


@torch.no_grad()
def prototypes(backbone: Backbone, images: np.ndarray, stages: tuple[int, ...], count: int, seed: int) -> dict[int, Tensor]:
    """For each of `stages` the means (count, d) of k-means clusters of the frozen image tokens that enter it.

    `images` are uint8 (N, S, S, 3). Raises `UserError` when they have fewer tokens than `count`.
    """
    some = images[np.unique(np.linspace(0, len(images) - 1, IMAGES).astype(int))]
    x, found = to_pixels(some).to(backbone.device), {}
    for i, stage in enumerate(backbone.stages[: max(stages) + 1]):
        if i in stages:
            tokens = x.flatten(1, -2)[:, getattr(backbone, "num_prefix_tokens", 0) :].flatten(0, 1)  # (images * m, d)
            if len(tokens) < count:
                raise UserError(f"First prompts is prototypes: {count} prompts need as many image tokens, and the training "
                                f"images have {len(tokens)} in a layer. Use fewer prompts or uniform.")
            means = KMeans(count, n_init=1, random_state=seed).fit(tokens.float().cpu().numpy()).cluster_centers_
            found[i] = torch.from_numpy(means.astype(np.float32))
        x = stage(x)
    return found
