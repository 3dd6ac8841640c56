"""Two-dimensional maps of embeddings, and what the full space says beside them."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np

from vpt_core.errors import UserError
from vpt_core.metrics import Score

NEIGHBOURS = 15


@dataclass(frozen=True)
class Maps:
    """The same N images before and after tuning, (N, 2) each, on one pair of axes."""

    before: np.ndarray
    after: np.ndarray
    method: str


def umap_maps(before: np.ndarray, after: np.ndarray, seed: int = 0) -> Maps:
    """UMAP (McInnes et al. 2018) of features (N, d) before and after tuning.

    The second map starts from the first one's places and is turned and moved onto it, so that points move instead of
    being dealt out anew; equal features give equal maps. Distances between far clusters mean little in either.
    Raises `UserError` for fewer than 5 images.
    """
    _need(before, 5)
    first = _umap(before, "spectral" if len(before) > 12 else "random", seed)
    first -= first.mean(axis=0)
    if np.array_equal(before, after):
        return Maps(first, first, "UMAP")
    return Maps(first, _turned(_umap(after, first, seed), first), "UMAP")


def _turned(places: np.ndarray, onto: np.ndarray) -> np.ndarray:
    """Places (N, 2) centred and turned or mirrored, never stretched, to lie closest to centred ones (orthogonal Procrustes)."""
    centred = places - places.mean(axis=0)
    left, _, right = np.linalg.svd(centred.T @ onto)
    return (centred @ left @ right).astype(np.float32)


def _need(features: np.ndarray, least: int) -> None:
    if len(features) < least:
        raise UserError(f"A map needs {least} test images or more; this run has {len(features)}.")


def _umap(features: np.ndarray, init: str | np.ndarray, seed: int) -> np.ndarray:
    import umap  # takes seconds to import (numba); everything else starts without it

    neighbours = min(NEIGHBOURS, len(features) - 1)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="n_jobs value", category=UserWarning)
        return umap.UMAP(n_neighbors=neighbours, init=init, random_state=seed).fit_transform(features)


def pca_maps(before: np.ndarray, after: np.ndarray) -> Maps:
    """The two principal components of features (N, d) before and after tuning, one pair of axes for both.

    Each set is centred and brought to the same spread first: tuning moves all features together, and that shift would
    take up the first axis. Raises `UserError` for fewer than 2 images.
    """
    _need(before, 2)
    both = np.concatenate([_standard(before), _standard(after)])
    _, _, axes = np.linalg.svd(both, full_matrices=False)
    places = (both @ axes[:2].T).astype(np.float32)
    return Maps(places[: len(before)], places[len(before) :], "PCA")


def _standard(features: np.ndarray) -> np.ndarray:
    centred = features - features.mean(axis=0, dtype=np.float64)
    return centred / max(float(np.sqrt((centred**2).sum(axis=1).mean())), 1e-12)


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
