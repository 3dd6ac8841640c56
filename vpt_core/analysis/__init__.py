"""Looks inside: arrays in, arrays out."""

from vpt_core.analysis.attention import Attention, attention_weights, read_attention
from vpt_core.analysis.projection import Maps, umap_maps, warm_up

__all__ = ["Attention", "Maps", "attention_weights", "read_attention", "umap_maps", "warm_up"]
