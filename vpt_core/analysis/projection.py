"""Two-dimensional maps of embeddings, and what the full space says beside them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vpt_core.analysis.layout import LAYOUTS, lay_out
from vpt_core.errors import UserError
from vpt_core.metrics import Score


@dataclass(frozen=True)
class Maps:
    """The same N images before and after tuning, (N, 2) each, on one pair of axes."""

    before: np.ndarray
    after: np.ndarray
    method: str


def two_maps(before: np.ndarray, after: np.ndarray, method: str = "umap", seed: int = 0) -> Maps:
    """Maps of features (N, d) before and after tuning, by a method of `LAYOUTS`, as `lay_out` draws two states.

    Distances between far clusters mean little in UMAP and t-SNE. Raises `UserError` for too few images.
    """
    places = lay_out([before, after], method, seed)
    return Maps(places[0], places[1], LAYOUTS[method].title)


def umap_maps(before: np.ndarray, after: np.ndarray, seed: int = 0) -> Maps:
    """`two_maps` by UMAP; 5 images or more."""
    return two_maps(before, after, "umap", seed)


def pca_maps(before: np.ndarray, after: np.ndarray) -> Maps:
    """`two_maps` by the two principal components of both sets together, each brought to the same spread; 2 images or more."""
    return two_maps(before, after, "pca")


def knn_accuracy(features: np.ndarray, labels: np.ndarray, k: int = 5) -> Score:
    """How often the k nearest other images (cosine) name the class: leave-one-out over features (N, d), labels (N,).

    The most votes win, in a tie the nearer neighbours. With k others or fewer, all of them vote.
    Raises `UserError` for fewer than 2 images.
    """
    if len(features) < 2:
        raise UserError(f"Neighbours need 2 test images or more; this run has {len(features)}.")
    norms = np.linalg.norm(features, axis=1, keepdims=True)
    unit = features / np.maximum(norms, 1e-12)
    similar = unit @ unit.T  # (N, N)
    np.fill_diagonal(similar, -np.inf)
    nearest = np.argsort(-similar, axis=1, kind="stable")[:, : min(k, len(features) - 1)]
    weight = 1 + np.take_along_axis(similar, nearest, axis=1) / 1000  # only a tie lets the similarity decide
    votes = np.zeros((len(features), int(labels.max()) + 1))
    np.add.at(votes, (np.arange(len(features))[:, None], labels[nearest]), weight)
    return Score(int((votes.argmax(axis=1) == labels).sum()), len(labels))


def warm_up() -> None:
    """Import and compile UMAP ahead of its first use."""
    noise = np.random.default_rng(0).normal(size=(20, 4)).astype(np.float32)
    umap_maps(noise, noise + 1)
