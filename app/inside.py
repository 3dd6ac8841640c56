"""What looking inside a run needs, computed once: attention of an image, maps of the embeddings."""

from __future__ import annotations

import logging
import threading
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from app import pictures
from app.models import classifier
from app.results import Result
from app.verdict import labels
from app.viewer import image_value
from vpt_core.analysis import Attention, Maps, knn_accuracy, read_attention, umap_maps
from vpt_core.runs import Run, write_array

log = logging.getLogger(__name__)
MAP_FILE = "umap.npy"
_attention_lock, _map_lock = threading.Lock(), threading.Lock()
_kept_maps: dict[Path, np.ndarray] = {}  # of runs whose folder cannot be written


def attention(run: Run, image: int) -> Attention:
    """Attention of a run's read-out for one of its test images; the latest ones stay in memory.

    Raises `UserError` when the data set, the prompt file or the backbone is not there.
    """
    with _attention_lock:  # of two visitors with the same wish the second one finds it done
        return _attention(run.folder, image)


@lru_cache(maxsize=128)
def _attention(folder: Path, image: int) -> Attention:
    run = Run(folder)
    return read_attention(classifier(run).model, pictures.pixels(Result("", (run,)), image, run.spec.image_size))


def attention_view(result: Result, run: Run, image: int) -> dict[str, Any]:
    """The value of the attention viewer. Raises `UserError` as `attention` does."""
    seen = attention(run, image)
    name = labels(result)[result.runs.index(run)]
    title = f"Image {image + 1}, {name}"
    if not any(shares.shape[1] for shares in seen.to_prompts):
        title += ": the frozen model, without prompts"
    photo = pictures.pixels(result, image, run.spec.image_size)
    return image_value(photo, seen, classifier(run).model, title)


def recorded_maps(run: Run) -> Maps | None:
    """The UMAP of a run that was drawn before; None when it was not."""
    if run.folder in _kept_maps:
        places = _kept_maps[run.folder]
    elif (run.folder / MAP_FILE).exists():
        places = run.array(Path(MAP_FILE).stem)
    else:
        return None
    return Maps(places[0], places[1], "UMAP")


def draw_maps(run: Run) -> Maps:
    """The UMAP of a run, drawn now unless it was before, and kept in its folder. Raises `UserError` for too few images."""
    with _map_lock:
        known = recorded_maps(run)
        if known:
            return known
        maps = umap_maps(run.array("frozen"), run.array("features"))
        places = np.stack([maps.before, maps.after]).astype(np.float32)  # (2, N, 2)
        try:
            write_array(run.folder / MAP_FILE, places)
        except OSError as error:
            log.warning("the map of %s stays in memory only: %s", run.name, error)
            _kept_maps[run.folder] = places
        return maps


def neighbours(features: tuple[np.ndarray, np.ndarray], labels: np.ndarray, sides: tuple[str, str]) -> str:
    """What the full space of two sides, (N, d) each, says beside their maps, which may mislead; `sides` names them.
    Raises `UserError` for fewer than 2 test images.
    """
    left, right = (knn_accuracy(one, labels) for one in features)
    width = features[1].shape[1]
    said = f"In all {width} dimensions the 5 nearest neighbours name an image's class for {left.correct} of {left.total}"
    if np.array_equal(*features):
        return f"{said} images. Up to here the method leaves the features as they are, so both maps are the same."
    return f"{said} images {sides[0]} and {right.correct} of {right.total} {sides[1]}."
