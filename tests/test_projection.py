"""Maps of embeddings, and what the nearest neighbours say."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from vpt_core.analysis import knn_accuracy, pca_maps, umap_maps
from vpt_core.errors import UserError
from vpt_core.metrics import Score


def clusters(each: int = 12, spread: float = 0.1, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Three clusters (N, 8) float32 and their labels."""
    labels = np.repeat(np.arange(3), each)
    noise = np.random.default_rng(seed).normal(0, spread, (3 * each, 8))
    return (np.eye(3, 8)[labels] * 5 + noise).astype(np.float32), labels


@pytest.mark.slow
def test_umap_of_equal_features_is_the_same_map_twice():
    features, _ = clusters()
    maps = umap_maps(features, features.copy())
    assert maps.before.shape == maps.after.shape == (36, 2) and maps.method == "UMAP"
    assert (maps.before == maps.after).all()
    assert (umap_maps(features, features).before == maps.before).all()
    assert np.isfinite(maps.before).all()


@pytest.mark.slow
def test_umap_leaves_torchs_threads_alone():
    """numba sets OpenMP's to the number of cores; a run after it would be computed in other parts."""
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        umap_maps(*np.random.default_rng(0).normal(size=(2, 20, 4)).astype(np.float32))
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)


def test_umap_parts_what_tuning_parted():
    noise = np.random.default_rng(0).normal(size=(36, 8)).astype(np.float32)
    tuned, labels = clusters()
    maps = umap_maps(noise, tuned)
    near, far = (knn_accuracy(m - m.mean(0), labels).accuracy for m in (maps.before, maps.after))
    assert far > 0.95 > near


@pytest.mark.slow
@pytest.mark.parametrize("images", [5, 6, 13])
def test_umap_of_few_images(images):
    features, _ = clusters(5)
    maps = umap_maps(features[:images], features[-images:] + 1)
    assert maps.before.shape == maps.after.shape == (images, 2) and np.isfinite(maps.after).all()


@pytest.mark.parametrize("images", [0, 4])
def test_umap_of_too_few_images_is_refused(images):
    features = np.zeros((images, 8), np.float32)
    with pytest.raises(UserError, match=f"needs 5 test images or more; this run has {images}"):
        umap_maps(features, features)


def test_pca_is_one_projection_for_both():
    before, _ = clusters()
    maps = pca_maps(before, 3 * before + 1)  # moved and stretched as a whole: nothing that a map should show
    assert maps.before.shape == (36, 2) and maps.method == "PCA" and np.allclose(maps.before, maps.after, atol=1e-5)
    spread = np.linalg.eigvalsh(np.cov(before.T.astype(np.float64)))[::-1]
    assert maps.before.var(0) == pytest.approx(spread[:2] / spread.sum(), rel=1e-4)  # the share of each axis
    other = pca_maps(before, before[::-1])
    assert np.allclose(other.after, other.before[::-1], atol=1e-5)


def test_neighbours_name_the_class():
    features, labels = clusters()
    assert knn_accuracy(features, labels) == Score(36, 36)
    assert knn_accuracy(features, np.roll(labels, 1)).correct < 36
    assert knn_accuracy(features[[0, 1, 12, 13]], labels[[0, 1, 12, 13]], k=1) == Score(4, 4)
    assert knn_accuracy(features[[0, 12]], np.array([0, 1])) == Score(0, 2)  # the only other image is of the other class


def test_neighbours_are_others_and_near_by_angle():
    features = np.array([[1.0, 0], [100, 1], [0, 1], [1, 100]], np.float32)
    assert knn_accuracy(features, np.array([0, 0, 1, 1]), k=1) == Score(4, 4)
    assert knn_accuracy(features, np.array([0, 1, 2, 3]), k=1) == Score(0, 4)


def test_too_few_images_are_refused():
    one = np.zeros((1, 8), np.float32)
    for ask in (lambda: pca_maps(one, one), lambda: knn_accuracy(one, np.array([0]))):
        with pytest.raises(UserError, match="2 test images or more; this run has 1"):
            ask()
