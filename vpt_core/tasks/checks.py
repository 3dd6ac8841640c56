"""What a person should know about a data set before they believe a result: said in the report's warnings and notes."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence

import numpy as np

from vpt_core.errors import UserError
from vpt_core.tasks.names import shorten
from vpt_core.tasks.task import Task

FEW, UNEVEN = 5, 3  # images a class that give a usable test; largest class against the smallest

_NAMED = 5  # examples in one sentence


def complete(task: Task, digests: Sequence[bytes]) -> None:
    """Add warnings and notes to the report of an imported `task`, whose images have these `digests`.

    Raises `UserError` when nothing is there to train on.
    """
    warnings, notes = task.report.warnings, task.report.notes
    warnings += _few(task) + _uneven(task) + _same_but_case(task) + _without_split(task)
    copies = _copies(digests)
    warnings += _contradictions(task, copies) + _leaks(task, copies)
    extra = sum(len(group) - 1 for group in copies)
    if extra:
        notes.append(f"Exact copies of other images: {extra}. They stay on one side when a split is drawn.")


def left_out(folders: set[tuple[str, ...]], used: set[tuple[str, ...]]) -> list[str]:
    """A warning that names the innermost `folders` from whose files no image was `used` (paths)."""
    in_use = {path[:i] for path in used for i in range(len(path))}
    parents = {folder[:-1] for folder in folders}
    classes = {path[:-1] for path in used}
    inside_class = {folder for folder in folders if any(folder[:i] in classes for i in range(1, len(folder)))}
    empty = sorted(folders - in_use - parents - inside_class)
    return [f"Left out, because they hold no usable image: {_list(folder[-1] for folder in empty)}."] if empty else []


def _few(task: Task) -> list[str]:
    sizes = np.bincount(task.labels, minlength=len(task.classes))
    single = [name for name, size in zip(task.classes, sizes, strict=True) if size == 1]
    few = [f"{shorten(name, 40)} ({size})" for name, size in zip(task.classes, sizes, strict=True) if 1 < size < FEW]
    warnings = []
    if single:
        warnings.append(f"Only one image, which can only be used for training: {_list(single)}.")
    if few:
        warnings.append(f"Few images: {_list(few)}. {FEW} or more in each class give a usable test.")
    return warnings


def _uneven(task: Task) -> list[str]:
    sizes = np.bincount(task.labels, minlength=len(task.classes))
    most, least = int(sizes.argmax()), int(sizes.argmin())
    if sizes[most] <= UNEVEN * sizes[least]:
        return []
    return [
        f"Uneven classes: “{task.classes[most]}” has {_images(sizes[most])}, “{task.classes[least]}” {sizes[least]}. "
        "A high accuracy may only say that the large classes are guessed; look at the accuracy of each class."
    ]


def _same_but_case(task: Task) -> list[str]:
    alike: dict[str, list[str]] = defaultdict(list)
    for name in task.classes:
        alike[name.casefold()].append(name)
    return [
        f"These classes differ in case only: {_list(names)}. If they are one class, merge their folders."
        for names in alike.values()
        if len(names) > 1
    ]


def _without_split(task: Task) -> list[str]:
    """Classes that a given split leaves without images to train or to test on."""
    training = np.isin(task.given, ("", "train"))
    if not training.any():
        raise UserError("All images are in val or test folders. Put images to train on in a folder named train.")
    warnings = []
    for split, chosen in (("train", training), ("test", task.given == "test")):
        lacking = [name for label, name in enumerate(task.classes) if not (chosen & (task.labels == label)).any()]
        if lacking and chosen.any():
            warnings.append(f"No image in the given {split} split: {_list(lacking)}.")
    return warnings


def _copies(digests: Sequence[bytes]) -> list[list[int]]:
    """Groups of two or more images with the same pixels."""
    groups: dict[bytes, list[int]] = defaultdict(list)
    for i, digest in enumerate(digests):
        groups[digest].append(i)
    return [group for group in groups.values() if len(group) > 1]


def _contradictions(task: Task, copies: Sequence[list[int]]) -> list[str]:
    found = [group for group in copies if len(set(task.labels[group])) > 1]
    pairs = (" = ".join(task.names[i] for i in group[:3]) for group in found)
    return [f"The same image under different classes, so one label is wrong: {_list(pairs)}."] if found else []


def _leaks(task: Task, copies: Sequence[list[int]]) -> list[str]:
    """Copies that the given split put on both sides."""
    warnings = []
    for split, tells in (("test", "the test result will look too good"), ("val", "the best epoch may be chosen wrongly")):
        leaked = [i for group in copies for i in group if task.given[i] == split and _trains(task, group)]
        if leaked:
            examples = _list(task.names[i] for i in leaked)
            warnings.append(f"Also in train: {_images(len(leaked))} of the given {split} split, so {tells}: {examples}.")
    return warnings


def _trains(task: Task, group: list[int]) -> bool:
    return any(task.given[i] in ("", "train") for i in group)


def _images(number: int) -> str:
    return f"{number} image" + ("" if number == 1 else "s")


def _list(names: Iterable[str]) -> str:
    """The first few names and how many more there are."""
    names = list(names)
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(shorten(name, 60) for name in names[:_NAMED]) + more
