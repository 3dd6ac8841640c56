"""Looks inside: arrays in, arrays out."""

from vpt_core.analysis.attention import Attention, attention_weights, read_attention
from vpt_core.analysis.attribution import ATTRIBUTIONS, Attribution, attribute, before_tuning
from vpt_core.analysis.cells import BASELINES
from vpt_core.analysis.deletion import Deletion, delete_and_insert
from vpt_core.analysis.overlay import overlay
from vpt_core.analysis.projection import Maps, knn_accuracy, pca_maps, umap_maps, warm_up
from vpt_core.analysis.prompt_attribution import PromptAttribution, attribute_prompts

__all__ = ["ATTRIBUTIONS", "BASELINES", "Attention", "Attribution", "Deletion", "Maps", "PromptAttribution",
           "attention_weights", "attribute", "attribute_prompts", "before_tuning", "delete_and_insert", "knn_accuracy",
           "overlay", "pca_maps", "read_attention", "umap_maps", "warm_up"]  # fmt: skip
