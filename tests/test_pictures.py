"""Pictures as files: the same picture is one file, whole at any moment, whoever writes it meanwhile."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from app import pictures
from app.tabs import data, tryit
from vpt_core.tasks import load_task


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
    return tmp_path


NOISE = np.random.default_rng(0).integers(0, 255, (64, 48, 3), dtype=np.uint8)


def test_a_picture_is_one_file_and_no_other_pictures(cache):
    path = Path(pictures.as_file(NOISE, "png"))
    assert np.array_equal(np.asarray(Image.open(path)), NOISE) and path.is_relative_to(cache)
    number = path.stat().st_ino
    assert pictures.as_file(NOISE, "png") == str(path) and path.stat().st_ino == number
    others = {pictures.as_file(NOISE), pictures.as_file(NOISE.transpose(1, 0, 2)), pictures.as_file(NOISE.reshape(48, 64, 3))}
    assert len(others | {str(path)}) == 4 == len(list(path.parent.iterdir()))


def test_who_reads_finds_it_whole_while_others_write_it(cache):
    path = Path(pictures.as_file(NOISE))
    whole, torn = path.read_bytes(), []

    def write() -> None:
        for _ in range(30):
            path.unlink(missing_ok=True)  # so that all of them have to write it
            pictures.as_file(NOISE)

    writers = [threading.Thread(target=write) for _ in range(4)]
    for thread in writers:
        thread.start()
    while any(thread.is_alive() for thread in writers):
        try:
            torn += [] if path.read_bytes() == whole else [True]
        except FileNotFoundError:
            continue
    assert not torn and list(path.parent.iterdir()) == [path]


def test_galleries_of_the_page_are_files():
    for shown in (data.samples_of(load_task("stamps")), tryit.offer(None)):
        assert all(Path(file).is_file() for file, _ in shown)
