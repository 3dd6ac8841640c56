"""Attention rollout (Abnar and Zuidema 2020, arXiv 2005.00928), with prompts as sources of their own."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from vpt_core.analysis.attention import Layer

PROMPTS, PREFIX = 0, 1
"""Columns of `Rollout`: all prompts together, and [CLS] and registers; from 2 on stand the patches."""


class Rollout:
    """Where each token of a layer's output comes from, when attention is all that mixes tokens.

    Each layer mixes by half the mean of the heads' attention and half the identity (the residual connection). A prompt
    that a layer gets anew is a source, like a patch of the input: what is given to it goes no further down. A prompt that
    is carried on passes on what it took. Values, feed-forward layers and norms are left out, so it is a sketch of
    the flow and no measurement of influence.
    """

    def __init__(self) -> None:
        self._mix: Tensor | None = None  # (B, N, 2 + m), of each token; its rows sum to 1

    def step(self, layer: Layer) -> Tensor:
        """Go through one more layer: (B, 2 + m), where its query's output comes from; columns as above, rows sum to 1."""
        weights = layer.weights.mean(dim=1)  # (B, N, N)
        before = self._entering(layer)
        self._mix = (weights @ before + before) / 2
        return self._mix[:, layer.read].mean(dim=1)

    def _entering(self, layer: Layer) -> Tensor:
        """The mix of the tokens that enter `layer`, its own prompts put in their places."""
        batch, tokens = len(layer.weights), layer.weights.shape[-1]
        patches = tokens - layer.first
        if self._mix is None:
            source = torch.zeros(tokens, 2 + patches)
            source[: layer.prefix, PREFIX] = 1
            source[layer.prefix : layer.first, PROMPTS] = 1
            source[layer.first :, 2:] = torch.eye(patches)
            return source.expand(batch, -1, -1)
        if not layer.own:
            return self._mix
        prompts = torch.zeros(batch, layer.prompts, 2 + patches)
        prompts[..., PROMPTS] = 1
        return torch.cat([self._mix[:, : layer.prefix], prompts, self._mix[:, -patches:]], dim=1)
