"""Frozen vision transformers as lists of stages: which there are, where their weights come from, how they run."""

from vpt_core.backbones.backbone import Backbone, to_pixels
from vpt_core.backbones.cards import BACKBONES, Card
from vpt_core.backbones.load import Availability, availability, card, load_backbone
from vpt_core.backbones.timm_vit import describe

__all__ = ["BACKBONES", "Availability", "Backbone", "Card", "availability", "card", "describe", "load_backbone", "to_pixels"]
