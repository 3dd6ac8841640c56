"""From paths to classes and splits: wrapper folders peeled, train/val/test recognised, the rest is class folders."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field

from vpt_core.errors import UserError
from vpt_core.tasks.names import shorten

_SPLIT_WORDS = {
    "train": "train", "training": "train",
    "val": "val", "valid": "val", "validation": "val", "dev": "val",
    "test": "test", "testing": "test",
}  # fmt: skip
_FILLERS = {"set", "data", "dataset", "split", "images", "image", "imgs", "img", "seg", ""}

Parts = tuple[str, ...]


@dataclass
class Layout:
    """For each image its (class, split), split '' when the source gives none, or the reason why it has no class."""

    places: list[tuple[str, str] | str]
    notes: list[str] = field(default_factory=list)


def split_of(folder: str) -> str:
    """The split that a folder is named after ("train", "test_set", "Validation"); empty for none ("train station")."""
    words = [word for word in re.split(r"[\W_0-9]+", folder.casefold()) if word not in _FILLERS]
    return _SPLIT_WORDS.get(words[0], "") if len(words) == 1 else ""


def arrange(paths: Sequence[Parts]) -> Layout:
    """Classes and splits of the images at `paths` (folders, then file name).

    A class is the topmost folder that directly holds images, below the wrapper folders and the split folder. Raises
    `UserError` when the images lie in no folders at all, or directly in split folders.
    """
    if not any(len(path) > 1 for path in paths):
        _no_folders(len(paths))
    wrapper = _wrapper(paths)
    inner = [path[len(wrapper) :] if path[:-1][: len(wrapper)] == wrapper else path[-1:] for path in paths]
    tops = _split_folders(inner)
    places: list[tuple[str, str] | str] = []
    above: dict[str, set[Parts]] = defaultdict(set)
    holders = {path[:-1] for path in inner}
    for path in inner:
        split = split_of(path[0]) if path[0] in tops and len(path) > 1 else ""
        if tops and not split:
            places.append("outside of the folders of the given split (train, val, test)")
            continue
        start = 1 if split else 0
        if len(path) - 1 <= start:
            places.append("not in a class folder")
            continue
        depth = next(d for d in range(start + 1, len(path)) if path[:d] in holders)
        above[split].add(path[start : depth - 1])
        places.append((path[depth - 1], split))
    return Layout(places, _notes(tops, above))


def _no_folders(images: int) -> None:
    found = f"{images} images" if images > 1 else "1 image"
    raise UserError(
        f"I found {found} but no class folders. "
        "Put each class in its own folder, for example cat/1.jpg, dog/1.jpg, and zip again; or add a labels.csv "
        "with the columns file and label."
    )


def _wrapper(paths: Sequence[Parts]) -> Parts:
    """The folders that hold everything: while there is one folder only, with folders in it and no split by name."""
    wrapper: Parts = ()
    inside = [path for path in paths if len(path) > 1]
    while True:
        depth = len(wrapper)
        names = {path[depth] for path in inside}
        deeper = [path for path in inside if len(path) > depth + 2]
        if len(names) != 1 or not deeper or split_of(next(iter(names))):
            return wrapper
        wrapper, inside = (*wrapper, *names), deeper


def _split_folders(paths: Sequence[Parts]) -> set[str]:
    """The top folders that are splits: all that have class folders in them are named so, and hold most of the images.

    The second condition keeps a class called "train", beside a "bus", a class.
    """
    nested = Counter(path[0] for path in paths if len(path) > 2)
    if not nested:
        tops = {path[0] for path in paths if len(path) > 1}
        if tops and all(split_of(name) for name in tops):
            raise UserError(
                f"The images lie directly in {', '.join(sorted(tops))}. "
                "In each of them, put each class in its own folder, for example train/cat/1.jpg, test/cat/2.jpg."
            )
        return set()
    if all(split_of(name) for name in nested) and 2 * sum(nested.values()) >= len(paths):
        return set(nested)
    return set()


def _notes(tops: set[str], above: dict[str, set[Parts]]) -> list[str]:
    notes = []
    if tops:
        named = ", ".join(top if top == split_of(top) else f"{shorten(top)} as {split_of(top)}" for top in sorted(tops))
        notes.append(f"The given split is kept: {named}.")
    if any(len(prefixes) > 1 for prefixes in above.values()):
        unused = sorted({"/".join(prefix) for prefixes in above.values() for prefix in prefixes if prefix})
        listed = ", ".join(shorten(name) for name in unused[:5]) + (", …" if len(unused) > 5 else "")
        notes.append(f"Class folders lie inside other folders ({listed}); only the one that holds the images names the class.")
    return notes
