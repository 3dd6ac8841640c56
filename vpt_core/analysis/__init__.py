"""Looks inside: arrays in, arrays out."""

from vpt_core.analysis.attention import Attention, attention_weights, read_attention
from vpt_core.analysis.projection import Maps, knn_accuracy, pca_maps, umap_maps, warm_up

__all__ = ["Attention", "Maps", "attention_weights", "knn_accuracy", "pca_maps", "read_attention", "umap_maps", "warm_up"]
