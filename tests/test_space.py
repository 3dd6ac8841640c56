"""Layouts of several states in one frame, features along a tuning, and what the full space says."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from test_projection import clusters
from tiny import pictures, tiny_backbone

from vpt_core.analysis import LAYOUTS, before_tuning, follow, lay_out, nearest, separability, silhouette
from vpt_core.backbones import to_pixels
from vpt_core.embed import drain
from vpt_core.errors import UserError
from vpt_core.metrics import Score
from vpt_core.model import Model


@pytest.mark.parametrize("method", ["pca", "tsne", pytest.param("umap", marks=pytest.mark.slow)])
def test_equal_states_are_the_same_map_and_others_stay_near(method):
    features, _ = clusters()
    moved = features + np.random.default_rng(1).normal(0, 0.02, features.shape).astype(np.float32)
    maps = lay_out([features, features.copy(), moved], method)
    assert maps.shape == (3, 36, 2) and maps.dtype == np.float32
    assert np.allclose(maps[0], maps[1], atol=1e-5) and not np.allclose(maps[1], maps[2], atol=1e-5)
    assert np.corrcoef(maps[1].ravel(), maps[2].ravel())[0, 1] > 0.8  # turned the same way


@pytest.mark.parametrize("method", ["pca", "tsne"])
def test_a_state_that_parts_the_classes_parts_the_map(method):
    noise = np.random.default_rng(0).normal(size=(36, 8)).astype(np.float32)
    tuned, labels = clusters()
    mixed, parted = (silhouette(places - places.mean(0), labels) for places in lay_out([noise, tuned], method))
    assert parted > 0.7 > mixed


def test_too_few_images_and_unknown_methods_are_refused():
    few = np.zeros((4, 3), np.float32)
    for method in ("umap", "tsne"):
        with pytest.raises(UserError, match=f"A map by {LAYOUTS[method].title} needs 5"):
            lay_out([few, few], method)
    with pytest.raises(UserError, match="'tsen'. Did you mean 'tsne'"):
        lay_out([few, few], "tsen")


def test_features_are_followed_model_by_model():
    backbone = tiny_backbone()
    tuned = Model(backbone, "vpt-deep", {"prompts": 3}, 3).eval()
    pixels = pictures(np.arange(70) % 3)
    work = follow(iter([before_tuning(tuned), tuned]), pixels, 2)
    assert next(work) == (16, 140)
    found = drain(work)
    assert found.shape == (2, 70, 32) and torch.is_grad_enabled()
    with torch.no_grad():
        assert np.allclose(found[0], backbone(to_pixels(pixels)), atol=1e-5)
        assert np.allclose(found[1], tuned.run(to_pixels(pixels)), atol=1e-5)
    assert np.abs(found[0] - found[1]).max() > 1e-3


def test_the_nearest_others_come_first():
    features = np.array([[1.0, 0], [2, 0.1], [0, 1], [1, 1], [-1, 0]], np.float32)
    order, cosines = nearest(features, 0, 3)
    assert order.tolist() == [1, 3, 2] and cosines == pytest.approx([0.99875, 0.70711, 0], abs=1e-4)
    assert len(nearest(features, 4)[0]) == 4
    assert nearest(np.zeros((3, 2), np.float32), 1)[0].tolist() == [0, 2]


def test_numbers_of_the_full_space_tell_clusters_from_noise():
    features, labels = clusters()
    noise = np.random.default_rng(0).normal(size=features.shape).astype(np.float32)
    assert silhouette(features, labels) > 0.9 and abs(silhouette(noise, labels)) < 0.2
    assert separability(features, labels) == Score(36, 36) and separability(noise, labels).correct < 24
    assert separability(1000 * features + 5, labels) == Score(36, 36)  # standardised


def test_what_is_alone_in_its_class_counts_as_wrong():
    features, labels = clusters(6)
    labels[-1] = 9
    assert separability(features, labels) == Score(17, 18)
    assert silhouette(features, labels) > 0.5
    assert separability(features[:7], labels[:7]) == Score(6, 7)  # one class of six, one of one


@pytest.mark.parametrize("labels", [[0, 0, 0], [0, 1, 2], []])
def test_classes_that_say_nothing_are_refused(labels):
    features = np.ones((len(labels), 2), np.float32)
    for ask in (silhouette, separability):
        with pytest.raises(UserError, match="needs 2 classes"):
            ask(features, np.array(labels, int))
