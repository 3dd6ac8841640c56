"""Small data sets of strangers, made in code."""

from __future__ import annotations

import io
import subprocess
import sys
import zipfile
from collections.abc import Sequence
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


def peak_megabytes(sources: Sequence[Path]) -> int:
    """What a process that imports each of `sources`, or has it refused, takes of memory at most. Linux only."""
    code = (
        "import sys; from pathlib import Path; from vpt_core.tasks import PAGE_LIMITS, import_task\n"
        "for name in sys.argv[1:]:\n"
        "    try: import_task(Path(name), limits=PAGE_LIMITS)\n"
        "    except ValueError: pass\n"
        "print(int(Path('/proc/self/status').read_text().split('VmHWM:')[1].split()[0]) // 1000)"
    )
    work = [sys.executable, "-c", code, *map(str, sources)]
    done = subprocess.run(work, cwd=Path(__file__).parents[1], capture_output=True, text=True, check=True)
    return int(done.stdout)
