"""Two-dimensional maps of embeddings."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np

from vpt_core.errors import UserError

NEIGHBOURS = 15


@dataclass(frozen=True)
class Maps:
    """The same N images before and after tuning, (N, 2) each, on one pair of axes."""

    before: np.ndarray
    after: np.ndarray
    method: str


def umap_maps(before: np.ndarray, after: np.ndarray, seed: int = 0) -> Maps:
    """UMAP (McInnes et al. 2018) of features (N, d) before and after tuning.

    The second map starts from the first one's places, so that points move instead of being dealt out anew; equal
    features give equal maps. Distances between far clusters mean little in either.
    Raises `UserError` for fewer than 5 images.
    """
    if len(before) < 5:
        raise UserError(f"A map needs 5 test images or more; this run has {len(before)}.")
    first = _umap(before, "spectral" if len(before) > 12 else "random", seed)
    if np.array_equal(before, after):
        return Maps(first, first, "UMAP")
    return Maps(first, _umap(after, first, seed), "UMAP")


def _umap(features: np.ndarray, init: str | np.ndarray, seed: int) -> np.ndarray:
    import umap  # takes seconds to import (numba); everything else starts without it

    neighbours = min(NEIGHBOURS, len(features) - 1)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="n_jobs value", category=UserWarning)
        return umap.UMAP(n_neighbors=neighbours, init=init, random_state=seed).fit_transform(features)


def warm_up() -> None:
    """Import and compile UMAP ahead of its first use."""
    noise = np.random.default_rng(0).normal(size=(20, 4)).astype(np.float32)
    umap_maps(noise, noise + 1)
