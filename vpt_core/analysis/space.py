"""What the full space of features says, since a flat map may mislead: neighbours, silhouette, linear separability."""

from __future__ import annotations

import warnings

import numpy as np
from sklearn.linear_model import RidgeClassifierCV
from sklearn.metrics import silhouette_score
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from vpt_core.errors import UserError
from vpt_core.metrics import Score

FOLDS = 5
_ALPHAS = tuple(10.0**k for k in range(5))


def nearest(features: np.ndarray, image: int, count: int = 6) -> tuple[np.ndarray, np.ndarray]:
    """Numbers and cosines (k,) of the `count` other images nearest to `image` in features (N, d), nearest first; of equally
    near ones the first. k is less than `count` where there are fewer others.
    """
    unit = features / np.maximum(np.linalg.norm(features, axis=1, keepdims=True), 1e-12)
    cosines = unit @ unit[image]
    order = np.argsort(-cosines, kind="stable")
    order = order[order != image][:count]
    return order, cosines[order]


def silhouette(features: np.ndarray, labels: np.ndarray) -> float:
    """Mean silhouette (Rousseeuw 1987) of features (N, d) by cosine distance under labels (N,), from -1 to 1.

    Near 1 each image is far nearer to its class than to the next one, near 0 classes touch or lie mixed. An image that is
    alone in its class counts 0. Raises `UserError` for fewer than 2 classes, or where no class has two images.
    """
    classes = len(np.unique(labels))
    if not 2 <= classes < len(labels):
        raise UserError(f"A silhouette needs 2 classes and one of them with 2 images; here are {len(labels)} images of "
                        f"{classes} classes.")
    return float(silhouette_score(features, labels, metric="cosine"))


def separability(features: np.ndarray, labels: np.ndarray) -> Score:
    """How many images (N, d) a linear classifier names right that has learned from the others: labels (N,).

    Ridge regression to the classes on standardised features, its penalty chosen within the images that it learns from;
    `FOLDS`-fold cross-validation with a fixed draw, even over the classes. An image that is alone in its class counts as
    wrong: nobody could have learned it. Raises `UserError` for fewer than 2 classes, or where no class has two images.
    """
    classes, place, counts = np.unique(labels, return_inverse=True, return_counts=True)
    together = counts[place] > 1
    if len(classes) < 2 or not together.any():
        raise UserError(f"Separability needs 2 classes and one of them with 2 images; here are {len(labels)} images of "
                        f"{len(classes)} classes.")
    if (counts > 1).sum() == 1:  # what is learned from may be of a single class, which is then always named
        return Score(int(counts[counts > 1].sum()), len(labels))
    folds = StratifiedKFold(min(FOLDS, int(counts.max())), shuffle=True, random_state=0)
    linear = make_pipeline(StandardScaler(), RidgeClassifierCV(alphas=_ALPHAS))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The least populated class", category=UserWarning)
        said = cross_val_predict(linear, features[together], labels[together], cv=folds)
    return Score(int((said == labels[together]).sum()), len(labels))
