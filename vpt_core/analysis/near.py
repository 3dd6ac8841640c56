"""What prompts are near: image patches with the most similar keys, layer by layer, and prompts among themselves."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from vpt_core.analysis.atlas import BATCH, prompt_counts
from vpt_core.analysis.attention import entering, grid_of, queries_and_keys
from vpt_core.errors import UserError
from vpt_core.model import Model

MOST_BYTES = 2 * 1024**3  # of one layer's keys of all images


@dataclass(frozen=True)
class Near:
    """For each of L layers with p prompts the K images with the most similar patch, and its place, most similar first.

    image       for each layer (p, K), numbers into the images; an image is there once for a prompt, with its best patch
    row, column for each layer (p, K), place of the patch in the grid
    cosine      for each layer (p, K), of patch key and prompt key
    among       for each layer (p, p), cosines of the prompts' keys; near 1: two prompts are asked for by the same queries
    grid        rows and columns of patches

    Keys are those of all heads joined. What all patches' keys have in common, their mean, is taken away first: attention
    is the same with and without it.
    """

    image: list[np.ndarray]
    row: list[np.ndarray]
    column: list[np.ndarray]
    cosine: list[np.ndarray]
    among: list[np.ndarray]
    grid: tuple[int, int]


def find_near(model: Model, pixels: np.ndarray, count: int = 12) -> Generator[int, None, Near]:
    """The `count` images (N, S, S, 3) uint8, at the model's image size, that each prompt is nearest to in each layer.

    A prompt that is carried from layer to layer has another key in each image: it is held against that image's patches.
    Yields how many images are done, returns all (`yield from`, or `drain`). Raises `UserError` for a model without prompt
    tokens, no images, and images whose keys do not fit in `MOST_BYTES`.
    """
    counts, grid = _checked(model, pixels)
    found = Near([], [], [], [], [], grid)
    keys: list[list[tuple[Tensor, Tensor]]] = [[] for _ in counts]
    for first in range(0, len(pixels), BATCH):
        for layer, pair in enumerate(_keys(model, pixels[first : first + BATCH], counts)):
            keys[layer].append(pair)
        yield min(first + BATCH, len(pixels))
    for parts in keys:
        _add(found, parts, min(count, len(pixels)))
        parts.clear()
    return found


def _checked(model: Model, pixels: np.ndarray) -> tuple[tuple[int, ...], tuple[int, int]]:
    if model.backbone.family != "vit" or not any(prompt_counts(model)):
        raise UserError(f"{model.method.title} has no prompt tokens here that could be near to anything. Choose VPT on a ViT.")
    if not len(pixels):
        raise UserError("There are no images to look for patches in.")
    counts, grid = prompt_counts(model), grid_of(model, pixels.shape[1])
    needed = 2 * len(counts) * len(pixels) * (grid[0] * grid[1] + max(counts)) * model.backbone.embed_dim
    if needed > MOST_BYTES:
        raise UserError(f"The keys of {len(pixels):,} images need {needed / 1e9:.1f} GB. Choose "
                        f"{len(pixels) * MOST_BYTES // needed:,} images or fewer.")
    return counts, grid


@torch.no_grad()
def _keys(model: Model, pixels: np.ndarray, counts: tuple[int, ...]) -> list[tuple[Tensor, Tensor]]:
    """For each layer the keys of patches (B, m, d) and of prompts (B, p, d), all heads joined, in half precision."""
    prefix, found = model.backbone.num_prefix_tokens, []
    for i, tokens, block in entering(model, pixels):
        key = queries_and_keys(block, tokens)[1].transpose(1, 2).flatten(2).half()
        first = prefix + counts[i - 1]
        found.append((key[:, first:].clone(), key[:, prefix:first].clone()))
    return found


@torch.no_grad()
def _add(found: Near, parts: list[tuple[Tensor, Tensor]], count: int) -> None:
    """One more layer, given the keys of all its images."""
    patches, prompts = (torch.cat([pair[k] for pair in parts]).float() for k in (0, 1))
    common = patches.mean(dim=(0, 1))
    prompts = F.normalize(prompts - common, dim=-1)
    similar = prompts @ F.normalize(patches - common, dim=-1).transpose(1, 2)  # (N, p, m)
    best, place = similar.max(dim=2)  # (N, p)
    cosine, image = best.T.topk(count, dim=1)
    place = place.T.gather(1, image)
    found.image.append(image.numpy())
    found.row.append((place // found.grid[1]).numpy())
    found.column.append((place % found.grid[1]).numpy())
    found.cosine.append(cosine.numpy())
    found.among.append((prompts @ prompts.transpose(1, 2)).mean(dim=0).numpy())
