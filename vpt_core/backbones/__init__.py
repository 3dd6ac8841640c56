"""Frozen vision models as lists of stages: which there are, where their weights come from, how they run."""

from vpt_core.backbones.backbone import Backbone, to_pixels
from vpt_core.backbones.cards import BACKBONES, Card
from vpt_core.backbones.families import Swin, ViT, wrap
from vpt_core.backbones.load import Availability, availability, card, load_backbone, names_file, without_folder
from vpt_core.backbones.timm_models import describe

__all__ = ["BACKBONES", "Availability", "Backbone", "Card", "Swin", "ViT", "availability", "card", "describe", "load_backbone",
           "names_file", "to_pixels", "without_folder", "wrap"]  # fmt: skip
