"""Who trains, who validates, who tests: drawn per class, by the seed, the same on every machine.

The rule:

- A split that the source gave is kept. Images without one count as training images.
- Where the source gave no test split (no validation split), 20 % of the training images of each class become one;
  with nothing given that is 60/20/20. Each class keeps a training image: of two images one trains and one tests.
- An image's place in the draw depends on the seed and on its own pixels alone, so another image more moves few others.
- Copies (the same pixels) count as one image and stay together. Copies under contradicting labels always train.
- `shots` takes the first so many training images of each class, and a quarter as many for validation (rounded up); so
  fewer shots are part of more shots. The test images depend on neither the shots nor the validation draw.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Splits:
    """Indices into the images of a task, ascending int64 arrays that share no element."""

    train: np.ndarray
    val: np.ndarray
    test: np.ndarray


def draw(labels: np.ndarray, given: np.ndarray, digests: Sequence[bytes], seed: int, shots: int) -> Splits:
    """The splits of images with `labels` (N,), `given` splits (N,) and `digests` of their pixels, by the rule above.

    `shots` caps the training images of each class; 0 takes all.
    """
    rank = [hashlib.sha256(seed.to_bytes(8, "little") + digest).digest() for digest in digests]
    split = np.where(given == "", "train", given)
    missing = [name for name in ("test", "val") if not (given == name).any()]
    for group, name in _drawn(labels, split, rank, missing):
        split[group] = name
    order = np.array(sorted(range(len(labels)), key=lambda i: (rank[i], i)), dtype=np.int64)
    cap = {"train": shots, "val": -(-shots // 4), "test": 0}
    return Splits(**{name: _first(order[split[order] == name], labels, cap[name]) for name in ("train", "val", "test")})


def _drawn(labels: np.ndarray, split: np.ndarray, rank: Sequence[bytes], missing: list[str]) -> list[tuple[list[int], str]]:
    """(indices of copies of one image, split that it is drawn into) for all that leave the training images."""
    copies: dict[bytes, list[int]] = defaultdict(list)
    for i in np.flatnonzero(split == "train"):
        copies[rank[i]].append(int(i))
    classes: dict[int, list[list[int]]] = defaultdict(list)
    for _, group in sorted(copies.items()):
        if len({int(labels[i]) for i in group}) == 1:
            classes[int(labels[group[0]])].append(group)
    drawn = []
    for groups in classes.values():
        share = max(1, (2 * len(groups) + 5) // 10)  # 20 %, rounded, at least one
        left = groups
        for name in missing:
            if len(left) > share:
                drawn += [(group, name) for group in left[:share]]
                left = left[share:]
    return drawn


def _first(order: np.ndarray, labels: np.ndarray, cap: int) -> np.ndarray:
    """The indices in `order`, at most `cap` of each class (0: all), sorted."""
    if cap:
        taken: dict[int, int] = defaultdict(int)
        kept = []
        for i in order:
            taken[int(labels[i])] += 1
            if taken[int(labels[i])] <= cap:
                kept.append(i)
        order = np.array(kept, dtype=np.int64)
    return np.sort(order)
