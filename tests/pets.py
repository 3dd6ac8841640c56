"""Small data sets of strangers, made in code."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import numpy as np
from PIL import Image

from vpt_core.tasks import Task


def photo(seed: int, kind: str = "JPEG", size: tuple[int, int] = (20, 16), mode: str = "RGB") -> bytes:
    """The bytes of a small picture that differs from seed to seed."""
    noise = np.random.default_rng(seed).integers(0, 256, (4, 4, 3), dtype=np.uint8)
    out = io.BytesIO()
    Image.fromarray(noise).resize(size).convert(mode).save(out, kind)
    return out.getvalue()


def two_classes(each: int = 5) -> dict[str, bytes]:
    return {f"{name}/{i}.jpg": photo(100 * c + i) for c, name in enumerate(("cat", "dog")) for i in range(each)}


def zipped(tmp_path: Path, files: dict[str, bytes], name: str = "pets.zip") -> Path:
    with zipfile.ZipFile(tmp_path / name, "w", zipfile.ZIP_DEFLATED) as archive:
        for path, data in files.items():
            archive.writestr(path, data)
    return tmp_path / name


def sizes(task: Task) -> dict[str, int]:
    return {name: sum(splits.values()) for name, splits in task.report.classes.items()}
