"""MLP-k: hidden layers between the frozen features and the linear head."""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt

import torch
from torch import Tensor, nn

from vpt_core.backbones import Backbone
from vpt_core.methods.base import Linear, Options
from vpt_core.options import option


@dataclass(frozen=True)
class MlpOptions(Options):
    hidden_layers: int = option(2, "Hidden layers", "before the linear head; 2 are the paper's MLP-3", low=1, high=10)
    dropout: float = option(0.1, "Dropout", "share of the hidden features zeroed in a training step", low=0.0, high=0.9,
                            advanced=True)


class Hidden(nn.Module):
    """Linear layer d -> d, ReLU, batch norm, dropout: features (B, d) to features (B, d)."""

    def __init__(self, width: int, dropout: float, generator: torch.Generator) -> None:
        super().__init__()
        self.linear = nn.utils.skip_init(nn.Linear, width, width)
        with torch.no_grad():
            self.linear.weight.copy_(torch.randn(width, width, generator=generator) * sqrt(2 / width))  # He et al. 2015
            self.linear.bias.zero_()
        self.norm = nn.BatchNorm1d(width)
        self.dropout = dropout
        self.generator = generator

    def forward(self, x: Tensor) -> Tensor:
        x = self.linear(x).relu()
        if not self.training:
            return self.norm(x)
        if len(x) > 1:  # of a single image there are no statistics: the running ones stand in
            x = self.norm(x)
        else:
            x = nn.functional.batch_norm(x, self.norm.running_mean, self.norm.running_var, self.norm.weight, self.norm.bias)
        kept = torch.rand(x.shape, generator=self.generator) >= self.dropout
        return x * kept.to(x) / (1 - self.dropout)


class Mlp(Linear):
    """MLP-k (paper, section 4.1): k linear layers instead of one."""

    name = "mlp"
    title = "MLP"
    about = "Hidden layers between the frozen features and the linear head learn."
    Options = MlpOptions
    recipe = {"epochs": 100, "lr": 1e-3}
    divisible = False  # batch norm

    def __init__(self, backbone: Backbone, options: MlpOptions, generator: torch.Generator, size: int) -> None:
        super().__init__(backbone, options, generator, size)
        layers = (Hidden(backbone.embed_dim, options.dropout, generator) for _ in range(options.hidden_layers))
        self.hidden = nn.Sequential(*layers)
        self.stages.append(self.hidden)
