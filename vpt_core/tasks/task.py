"""Task: named classes and the pixels, labels and splits of their images. Plain arrays; nothing here knows a model."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from vpt_core.tasks import store
from vpt_core.tasks.images import resize
from vpt_core.tasks.report import Report
from vpt_core.tasks.splits import Splits, draw


@dataclass(frozen=True, eq=False)
class Task:
    """A classification data set small enough to hold in memory.

    name: what a `Spec` calls it. title, about: for people; about says what is seen, the source and the licence.
    group: 'natural', 'specialized' or 'structured' as in VTAB, 'own' for imported images.
    pixels: (N, S, S, 3) uint8 RGB, S at most `STORE_SIZE`. labels: (N,) int64 into `classes`.
    given: (N,) '<U5', the split that the source gave: 'train', 'val', 'test' or '' for none. names: N file names.
    """

    name: str
    title: str
    group: str
    about: str
    classes: tuple[str, ...]
    pixels: np.ndarray
    labels: np.ndarray
    given: np.ndarray
    names: tuple[str, ...]
    report: Report

    def resized(self, size: int) -> np.ndarray:
        """The images at (N, size, size, 3) uint8; no copy when that is their size."""
        return resize(self.pixels, size)

    def splits(self, seed: int, shots: int) -> Splits:
        """The images to train, validate and test on; `vpt_core.tasks.splits` states the rule.

        `shots` caps the training images of each class and, at a quarter of it, the validation images; 0 takes all.
        """
        return draw(self.labels, self.given, self.digests, seed, shots)

    @cached_property
    def digests(self) -> tuple[bytes, ...]:
        """One SHA-256 for each image; equal for equal pixels."""
        return tuple(map(digest, self.pixels))

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256, in hex, of classes, labels, given splits and pixels: equal for equal tasks, whatever they are called."""
        head = json.dumps([self.classes, self.labels.tolist(), self.given.tolist(), self.pixels.shape])
        return hashlib.sha256(head.encode() + b"".join(self.digests)).hexdigest()

    def save(self, folder: Path) -> None:
        """Write `folder` with task.json and pixels.npy, whole or not at all.

        Raises `UserError` when `folder` exists or cannot be written.
        """
        store.save(self, folder)

    @classmethod
    def load(cls, folder: Path) -> Task:
        """The task in a folder that `save` wrote; the pixels stay on disk until they are used.

        Raises `UserError` when anything in the folder is not as `save` writes it.
        """
        return cls(**store.load(folder))


def digest(image: np.ndarray) -> bytes:
    """SHA-256 of an image's pixels."""
    return hashlib.sha256(np.ascontiguousarray(image)).digest()
