"""Looks inside: arrays in, arrays out."""

from vpt_core.analysis.atlas import Atlas, Shares, read_atlas
from vpt_core.analysis.attention import Attention, attention_weights, read_attention
from vpt_core.analysis.attribution import ATTRIBUTIONS, Attribution, attribute, before_tuning
from vpt_core.analysis.cells import BASELINES
from vpt_core.analysis.deletion import Deletion, delete_and_insert
from vpt_core.analysis.findings import Finding, attention_and_effect
from vpt_core.analysis.journey import follow
from vpt_core.analysis.knockout import SCOPES, Knockout, Removal, knock_out, removals
from vpt_core.analysis.knockout_file import load_knockout, save_knockout
from vpt_core.analysis.layers import check_layers, read_layers
from vpt_core.analysis.layout import LAYOUTS, lay_out
from vpt_core.analysis.near import Near, find_near
from vpt_core.analysis.overlay import overlay
from vpt_core.analysis.projection import Maps, knn_accuracy, pca_maps, two_maps, umap_maps, warm_up
from vpt_core.analysis.prompt_attribution import PromptAttribution, attribute_prompts
from vpt_core.analysis.space import nearest, separability, silhouette

__all__ = [
    "ATTRIBUTIONS", "BASELINES", "LAYOUTS", "SCOPES", "Atlas", "Attention", "Attribution", "Deletion", "Finding", "Knockout",
    "Maps", "Near", "PromptAttribution", "Removal", "Shares", "attention_and_effect", "attention_weights", "attribute",
    "attribute_prompts", "before_tuning", "check_layers", "delete_and_insert", "find_near", "follow", "knn_accuracy",
    "knock_out", "lay_out", "load_knockout", "nearest", "overlay", "pca_maps", "read_atlas", "read_attention", "read_layers",
    "removals", "save_knockout", "separability", "silhouette", "two_maps", "umap_maps", "warm_up",
]  # fmt: skip
