"""A task as a folder: task.json (everything but the pixels) and pixels.npy. No pickle, on either side."""

from __future__ import annotations

import json
import os
import shutil
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from vpt_core.errors import UserError
from vpt_core.tasks.images import STORE_SIZE
from vpt_core.tasks.report import SPLITS, Report

if TYPE_CHECKING:
    from vpt_core.tasks.task import Task

GROUPS = ("natural", "specialized", "structured", "own")
RECORD, PIXELS = "task.json", "pixels.npy"

_FORMAT = 1
_LARGEST_RECORD = 100_000_000  # bytes; 20,000 images with long names need about 5 MB
_TEXTS = ("name", "title", "group", "about")
_LISTS = ("classes", "labels", "given", "names")


def save(task: Task, folder: Path) -> None:
    """As `Task.save`."""
    record = {
        "format": _FORMAT,
        **{name: getattr(task, name) for name in _TEXTS},
        "classes": task.classes,
        "labels": task.labels.tolist(),
        "given": task.given.tolist(),
        "names": task.names,
        "report": task.report.to_json(),
    }
    if folder.exists():
        raise UserError(f"{folder} exists already; choose another name or remove it first.")
    half = folder.with_name(f".{folder.name}.{uuid.uuid4().hex}")
    try:
        half.mkdir(parents=True)
        (half / RECORD).write_text(json.dumps(record), encoding="utf-8")
        np.save(half / PIXELS, task.pixels, allow_pickle=False)
        os.rename(half, folder)  # whole or not at all: a reader never meets half a task
    except OSError as error:
        raise UserError(f"{folder} cannot be written ({error.strerror}); check the place and its free space.") from error
    finally:
        shutil.rmtree(half, ignore_errors=True)


def load(folder: Path) -> dict[str, Any]:
    """The fields of the `Task` in `folder`. Raises `UserError` as `Task.load` says."""
    record = _record(folder)
    pixels = _pixels(folder)
    if len(pixels) != len(record["labels"]):
        raise _broken(folder, f"{PIXELS} holds {len(pixels)} images, {RECORD} names {len(record['labels'])}")
    return {
        **{name: record[name] for name in _TEXTS},
        "classes": tuple(record["classes"]),
        "pixels": pixels,
        "labels": np.array(record["labels"], dtype=np.int64),
        "given": np.array(record["given"], dtype="<U5"),
        "names": tuple(record["names"]),
        "report": Report.from_json(record["report"]),
    }


def _record(folder: Path) -> dict[str, Any]:
    try:
        if (folder / RECORD).stat().st_size > _LARGEST_RECORD:
            raise _broken(folder, f"{RECORD} is too large")
        record = json.loads((folder / RECORD).read_bytes())
    except OSError as error:
        raise UserError(f"{folder} is not a saved task: {RECORD} cannot be read ({error.strerror}).") from error
    except (ValueError, RecursionError) as error:
        if isinstance(error, UserError):
            raise
        raise _broken(folder, f"{RECORD} is not JSON") from error
    if problem := _problem(record):
        raise _broken(folder, problem)
    return record


def _problem(record: Any) -> str:
    """What is wrong with the content of task.json; empty when nothing is."""
    wanted = {"format", "report", *_TEXTS, *_LISTS}
    if not isinstance(record, dict) or set(record) != wanted:
        return f"{RECORD} has to be an object with the fields {', '.join(sorted(wanted))}"
    if record["format"] != _FORMAT:
        return f"its format is {record['format']!r}, this version reads {_FORMAT}"
    if not all(isinstance(record[name], str) for name in _TEXTS) or record["group"] not in GROUPS:
        return f"{', '.join(_TEXTS)} have to be texts, group one of {', '.join(GROUPS)}"
    if not all(isinstance(record[name], list) for name in _LISTS):
        return f"{', '.join(_LISTS)} have to be lists"
    return _problem_of_lists(**{name: record[name] for name in _LISTS})


def _problem_of_lists(classes: list[Any], labels: list[Any], given: list[Any], names: list[Any]) -> str:
    if not all(isinstance(name, str) for name in [*classes, *names]):
        return "classes and names have to be texts"
    if len(classes) < 2 or len(set(classes)) < len(classes):
        return "classes have to be at least two different names"
    if not len(labels) == len(given) == len(names) > 0:
        return "labels, given and names have to be equally many, at least one"
    if not all(type(label) is int and 0 <= label < len(classes) for label in labels):
        return f"labels have to be whole numbers from 0 to {len(classes) - 1}"
    if not all(split in ("", *SPLITS) for split in given):
        return f"given has to hold '' or {', '.join(SPLITS)}"
    return ""


def _pixels(folder: Path) -> np.ndarray:
    try:
        pixels = np.lib.format.open_memmap(folder / PIXELS, mode="r")  # unlike np.load it reads nothing but this format
    except (OSError, ValueError, EOFError, SyntaxError, TypeError) as error:
        raise _broken(folder, f"{PIXELS} cannot be read") from error
    if pixels.dtype != np.uint8 or pixels.ndim != 4 or pixels.shape[1] != pixels.shape[2] or pixels.shape[3] != 3:
        raise _broken(folder, f"{PIXELS} has to be (N, S, S, 3) uint8, it is {pixels.shape} {pixels.dtype}")
    if not 1 <= pixels.shape[1] <= STORE_SIZE:
        raise _broken(folder, f"{PIXELS} has images of {pixels.shape[1]} pixels a side; 1 to {STORE_SIZE} are allowed")
    return pixels


def _broken(folder: Path, problem: str) -> UserError:
    return UserError(f"The task in {folder} cannot be loaded: {problem}. Import the images again.")
