"""Flat maps of the same images in several states, in one frame: points move from one to the next and don't jump."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from sklearn.manifold import TSNE
from sklearn.metrics import pairwise_distances
from threadpoolctl import threadpool_limits

from vpt_core.errors import UserError
from vpt_core.table import Table

NEIGHBOURS = 15  # of UMAP
PERPLEXITY = 30.0  # of t-SNE
EXACT = 4096  # images up to which UMAP itself compares all with all
_AGAIN = {"n_epochs": 200, "learning_rate": 0.5}  # UMAP from places that are good already; a first map takes 500 rounds and 1
_AGAIN_TSNE = 300  # rounds; a first map takes 1000
Steps = Sequence[np.ndarray]


@dataclass(frozen=True)
class Layout:
    """A way to draw features (N, d) on a plane: `draw` gives places (E, N, 2) of E states; it needs `least` images."""

    title: str
    least: int
    draw: Callable[[Steps, int], np.ndarray]


def lay_out(steps: Steps, method: str = "umap", seed: int = 0) -> np.ndarray:
    """Maps (E, N, 2) float32 of the same N images in E states, features (N, d) each, by a method of `LAYOUTS`.

    UMAP (McInnes et al. 2018) and t-SNE (van der Maaten and Hinton 2008) start each map from the places of the one before and
    turn and move it onto that one, so that points move instead of being dealt out anew; PCA has one pair of axes for all.
    Equal states give equal maps. Raises `UserError` for an unknown method and for too few images.
    """
    layout = LAYOUTS[method]
    if len(steps[0]) < layout.least:
        raise UserError(f"A map by {layout.title} needs {layout.least} test images or more; this run has {len(steps[0])}.")
    return layout.draw(steps, seed)


def _chained(first: Callable[[np.ndarray, int], np.ndarray],
             again: Callable[[np.ndarray, np.ndarray, int], np.ndarray]) -> Callable[[Steps, int], np.ndarray]:
    """Draws the first state with `first`, each other one with `again` from the places of the one before it."""

    def draw(steps: Steps, seed: int) -> np.ndarray:
        places = first(steps[0], seed)
        maps = [places - places.mean(axis=0)]
        for before, features in zip(steps, steps[1:], strict=False):
            same = np.array_equal(before, features)
            maps.append(maps[-1] if same else turned(again(features, maps[-1], seed), maps[-1]))
        return np.stack(maps).astype(np.float32)

    return draw


def turned(places: np.ndarray, onto: np.ndarray) -> np.ndarray:
    """Places (N, 2) centred and turned or mirrored, never stretched, to lie closest to centred ones (orthogonal Procrustes)."""
    centred = places - places.mean(axis=0)
    left, _, right = np.linalg.svd(centred.T @ onto)
    return (centred @ left @ right).astype(np.float32)


def _umap(features: np.ndarray, seed: int, init: str | np.ndarray | None = None, **rest: float) -> np.ndarray:
    import umap  # takes seconds to import (numba); everything else starts without it

    init = ("spectral" if len(features) > 12 else "random") if init is None else init
    near = _nearest(features) if len(features) <= EXACT else (None, None, None)
    threads = torch.get_num_threads()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="n_jobs value", category=UserWarning)
        warnings.filterwarnings("ignore", message="precomputed_knn", category=UserWarning)
        made = umap.UMAP(n_neighbors=_near_count(features), init=init, random_state=seed, precomputed_knn=near, **rest)
        try:
            return made.fit_transform(features)
        finally:
            torch.set_num_threads(threads)  # which numba sets to the number of cores


def _near_count(features: np.ndarray) -> int:
    return min(NEIGHBOURS, len(features) - 1)


def _nearest(features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Numbers and distances (N, k) of the nearest images, itself among them. UMAP's own search compiles for 8 s first."""
    distances = pairwise_distances(features)
    nearest = np.argsort(distances, axis=1, kind="stable")[:, : _near_count(features)]
    return nearest, np.take_along_axis(distances, nearest, axis=1)


def _umap_again(features: np.ndarray, start: np.ndarray, seed: int) -> np.ndarray:
    return _umap(features, seed, start, **_AGAIN)


def _tsne(features: np.ndarray, seed: int, init: str | np.ndarray = "pca", **rest: float) -> np.ndarray:
    made = TSNE(perplexity=min(PERPLEXITY, (len(features) - 1) / 3), init=init, random_state=seed, **rest)
    with threadpool_limits(1, "openmp"):  # numba leaves threads behind that wait for each other: ten times as slow
        return made.fit_transform(features)


def _tsne_again(features: np.ndarray, start: np.ndarray, seed: int) -> np.ndarray:
    # No exaggeration: it would draw the start together before it parts it.
    return _tsne(features, seed, start, early_exaggeration=1.0, max_iter=_AGAIN_TSNE)


def _pca(steps: Steps, seed: int) -> np.ndarray:
    """Each state is centred and brought to the same spread first: tuning moves all features together, and that shift would
    take up the first axis. Nothing is drawn at random, so `seed` changes nothing.
    """
    every = np.concatenate([_standard(features) for features in steps])
    _, _, axes = np.linalg.svd(every, full_matrices=False)
    return (every @ axes[:2].T).astype(np.float32).reshape(len(steps), -1, 2)


def _standard(features: np.ndarray) -> np.ndarray:
    centred = features - features.mean(axis=0, dtype=np.float64)
    return centred / max(float(np.sqrt((centred**2).sum(axis=1).mean())), 1e-12)


LAYOUTS: Table[Layout] = Table(
    "way to draw a map",
    {
        "umap": Layout("UMAP", 5, _chained(_umap, _umap_again)),
        "pca": Layout("PCA", 2, _pca),
        "tsne": Layout("t-SNE", 5, _chained(_tsne, _tsne_again)),
    },
)
