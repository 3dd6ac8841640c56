"""How each family of timm's models is cut into stages."""

from __future__ import annotations

from itertools import chain

import torch
from timm.models import ConvNeXt, ResNet, SwinTransformer, VisionTransformer, VisionTransformerDistilled
from torch import Tensor, nn

from vpt_core.backbones.backbone import Backbone
from vpt_core.backbones.cards import Card, Family
from vpt_core.errors import UserError


class ViT(Backbone):
    """`VisionTransformer` of timm, with or without [CLS], registers, distillation token; any size its patches divide.

    Between the stages go tokens (B, N, d): `num_prefix_tokens` of [CLS] and its like, then the image's.
    """

    def __init__(self, net: VisionTransformer, card: Card) -> None:
        super().__init__(net, card)
        self.num_heads: int = next(m.num_heads for m in net.blocks[0].modules() if hasattr(m, "num_heads"))
        self.patch_size: tuple[int, int] = net.patch_embed.feat_ratio(as_scalar=False)
        self.num_prefix_tokens: int = net.num_prefix_tokens
        self.has_class_token: bool = net.has_class_token
        distilled = isinstance(net, VisionTransformerDistilled)  # reads the mean of the class and distillation tokens
        self.read_rows = (2 if distilled else 1) if card.reads == "cls" else None

    @property
    def blocks(self) -> list[nn.Module]:
        return list(self.net.blocks)

    @property
    def last_norm(self) -> list[nn.Module]:
        return [self.net.norm, self.net.fc_norm]

    def stem(self, pixels: Tensor) -> Tensor:
        """Pixels (B, 3, H, W) in [0, 1] to tokens (B, num_prefix_tokens + gh * gw, d) with their position embedding."""
        net = self.net
        x = net.patch_embed(self.normalised(pixels))  # (B, gh, gw, d)
        return net.norm_pre(net.patch_drop(net._pos_embed(x)))

    def pool(self, tokens: Tensor) -> Tensor:
        """Tokens (B, N, d) to one feature vector an image (B, d)."""
        return self.net.forward_head(self.net.norm(tokens), pre_logits=True)

    def read(self, tokens: Tensor, first: int, stop: int | None) -> Tensor:
        """Features (B, d) as the mean of the tokens from `first` to before `stop`, with the model's own norms."""
        return self.net.fc_norm(self.net.norm(tokens)[:, first:stop].mean(dim=1))

    def grid(self, size: int) -> tuple[int, int]:
        """Rows and columns of patches, (gh, gw), of an image of `size` pixels a side."""
        return self.net.patch_embed.dynamic_feat_size((size, size))


class Swin(Backbone):
    """`SwinTransformer` of timm, any size its patches divide. Between the stages go maps (B, H, W, width).

    Its patch mergings are stages of their own between the layers; the width doubles at each.
    """

    @property
    def blocks(self) -> list[nn.Module]:
        return _flat(self.net.layers)

    @property
    def layers(self) -> list[int]:
        return _without_downsampling(self.net.layers)

    @property
    def last_norm(self) -> list[nn.Module]:
        return [self.net.norm]

    def stem(self, pixels: Tensor) -> Tensor:
        """Pixels (B, 3, H, W) in [0, 1] to a map (B, H / 4, W / 4, width)."""
        return self.net.patch_embed(self.normalised(pixels))

    def pool(self, x: Tensor) -> Tensor:
        """The last map to its mean over the image, (B, d)."""
        return self.net.forward_head(self.net.norm(x), pre_logits=True)


class Conv(Backbone):
    """`ConvNeXt` and `ResNet` of timm, any size. Between the stages go maps (B, channels, H, W)."""

    @property
    def blocks(self) -> list[nn.Module]:
        net = self.net
        if isinstance(net, ResNet):
            return list(chain(net.layer1, net.layer2, net.layer3, net.layer4))
        return _flat(net.stages)

    @property
    def layers(self) -> list[int]:
        return super().layers if isinstance(self.net, ResNet) else _without_downsampling(self.net.stages)

    @property
    def last_norm(self) -> list[nn.Module]:
        return [] if isinstance(self.net, ResNet) else [self.net.norm_pre, self.net.head.norm]

    def stem(self, pixels: Tensor) -> Tensor:
        """Pixels (B, 3, H, W) in [0, 1] to the map that the first block takes in."""
        x, net = self.normalised(pixels), self.net
        return net.maxpool(net.act1(net.bn1(net.conv1(x)))) if isinstance(net, ResNet) else net.stem(x)

    def pool(self, x: Tensor) -> Tensor:
        """The last map to its mean over the image, (B, d)."""
        return self.net.forward_head(x if isinstance(self.net, ResNet) else self.net.norm_pre(x), pre_logits=True)


class Whole(Backbone):
    """Any other model of timm: all of it is the stem, so no layer of it can be told from another."""

    def stem(self, pixels: Tensor) -> Tensor:
        """Pixels (B, 3, H, W) in [0, 1] to the model's last features, in whatever shape it has them."""
        return self.net.forward_features(self.normalised(pixels))

    def pool(self, x: Tensor) -> Tensor:
        """These features to one vector an image (B, d)."""
        return self.net.forward_head(x, pre_logits=True)

    def check_size(self, size: int) -> None:
        """What sizes an unknown model takes only a try can tell: one image of zeros goes through."""
        super().check_size(size)
        try:
            feature_shape(self.net, size)
        except Exception as error:  # whatever a model of timm that works otherwise may raise
            raise UserError(f"{self.title} cannot work on images of {size} pixels a side ({type(error).__name__}). "
                            f"It does on {', '.join(map(str, self.sizes))}.") from error


def _flat(stages: nn.Sequential) -> list[nn.Module]:
    """The blocks of timm's stages in order, each downsampling as a block of its own."""
    return [m for stage in stages for m in (stage.downsample, *stage.blocks) if not isinstance(m, nn.Identity)]


def _without_downsampling(stages: nn.Sequential) -> list[int]:
    """Where among `_flat`, counted from 1, the blocks are that are no downsampling."""
    between = {id(stage.downsample) for stage in stages}
    return [i for i, module in enumerate(_flat(stages), start=1) if id(module) not in between]


FAMILIES: dict[Family, type[Backbone]] = {"vit": ViT, "swin": Swin, "conv": Conv, "other": Whole}
_TYPES: dict[type[nn.Module], Family] = {
    VisionTransformer: "vit", VisionTransformerDistilled: "vit", SwinTransformer: "swin", ConvNeXt: "conv", ResNet: "conv",
}  # fmt: skip


def family_of(net: nn.Module) -> Family:
    """The family of a model of timm. Subclasses of the known types may compute something else, so they are "other"."""
    return _TYPES.get(type(net), "other")


def wrap(net: nn.Module, card: Card) -> Backbone:
    """A model of timm, without classifier, as the `Backbone` of its family."""
    return FAMILIES[card.family](net, card)


@torch.no_grad()
def feature_shape(net: nn.Module, size: int) -> tuple[int, ...]:
    """Shape of the features of one image, found by running `net` (on "meta" nothing is computed) in eval mode, as it will be:
    batch norms in training take no single image."""
    net.eval()
    device = next(net.parameters()).device
    x = net.forward_features(torch.zeros(1, 3, size, size, device=device))
    return tuple(net.forward_head(x, pre_logits=True).shape)
