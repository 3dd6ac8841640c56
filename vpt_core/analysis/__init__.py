"""Looks inside: arrays in, arrays out."""

from vpt_core.analysis.atlas import Atlas, Shares, read_atlas
from vpt_core.analysis.attention import Attention, attention_weights, read_attention
from vpt_core.analysis.findings import Finding, attention_and_effect
from vpt_core.analysis.knockout import SCOPES, Knockout, Removal, knock_out, removals
from vpt_core.analysis.near import Near, find_near
from vpt_core.analysis.projection import Maps, knn_accuracy, pca_maps, umap_maps, warm_up

__all__ = [
    "SCOPES", "Atlas", "Attention", "Finding", "Knockout", "Maps", "Near", "Removal", "Shares", "attention_and_effect",
    "attention_weights", "find_near", "knn_accuracy", "knock_out", "pca_maps", "read_atlas", "read_attention", "removals",
    "umap_maps", "warm_up",
]  # fmt: skip
