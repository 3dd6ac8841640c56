"""The tasks that come with the package: bundled photographs and tasks drawn by code. All offline."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image

from vpt_core.table import Table
from vpt_core.tasks import sprites, trap
from vpt_core.tasks.report import Report, counts
from vpt_core.tasks.task import Task

ASSETS = Path(__file__).parents[2] / "assets" / "tasks"

FASHION_SIZE, FASHION_POOL, FASHION_TEST = 28, 75, 20  # pixels a side; images a class in the bundled sheet
FASHION_CLASSES = ("T-shirt", "trousers", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot")
STAMPS_TEST_EVERY = 3  # each third photograph of a class, by name, tests

_Content = tuple[Sequence[str], np.ndarray, np.ndarray, np.ndarray, Sequence[str]]  # classes, pixels, labels, given, names


@dataclass(frozen=True)
class BuiltIn:
    """A row of `TASKS`: what `Task` calls name, title, group and about, and how its images come about.

    `twins` is for a task that is a trap: of its labels (N,) the same pictures without or against what gives them away.
    """

    name: str
    title: str
    group: str
    about: str
    content: Callable[[], _Content]
    twins: Callable[[np.ndarray], Sequence[trap.Twin]] | None = None

    def load(self) -> Task:
        """The task, the same each time and shared by all callers: its arrays are read-only."""
        return _load(self)


@cache
def _load(row: BuiltIn) -> Task:
    classes, pixels, labels, given, names = row.content()
    for array in (pixels, labels, given):
        array.setflags(write=False)
    report = Report(row.name, counts(classes, labels, given))
    return Task(row.name, row.title, row.group, row.about, tuple(classes), pixels, labels, given, tuple(names), report)


def _stamps() -> _Content:
    folders = sorted(folder for folder in (ASSETS / "stamps").iterdir() if folder.is_dir())
    files = [(label, file) for label, folder in enumerate(folders) for file in sorted(folder.glob("*.jpg"))]
    pixels = np.stack([np.asarray(Image.open(file).convert("RGB")) for _, file in files])
    labels = np.array([label for label, _ in files], dtype=np.int64)
    place = np.concatenate([np.arange(n) for n in np.bincount(labels)])
    given = np.where(place % STAMPS_TEST_EVERY == STAMPS_TEST_EVERY - 1, "test", "").astype("<U5")
    return [folder.name for folder in folders], pixels, labels, given, [f"{file.parent.name}/{file.name}" for _, file in files]


def _fashion() -> _Content:
    """One sheet: a row of images for each class, those to train and validate on first, then those to test on."""
    sheet = np.asarray(Image.open(ASSETS / "fashion" / "sheet.png"))
    rows, columns, side = len(FASHION_CLASSES), FASHION_POOL + FASHION_TEST, FASHION_SIZE
    grey = sheet.reshape(rows, side, columns, side).swapaxes(1, 2).reshape(-1, side, side)
    return _even(FASHION_CLASSES, np.repeat(grey[..., None], 3, axis=3), FASHION_POOL, FASHION_TEST)


def _drawn(seed: int, classes: Sequence[str], scene: Callable[[np.random.Generator, int], list[sprites.Sprite]]) -> _Content:
    return _even(classes, sprites.draw_all(seed, len(classes), scene), sprites.POOL, sprites.TEST)


def _trap() -> _Content:
    classes, pictures, labels, *rest = _even(trap.CLASSES, trap.plain(), sprites.POOL, sprites.TEST)
    return classes, trap.stamped(pictures, labels), labels, *rest


def _even(classes: Sequence[str], pixels: np.ndarray, pool: int, test: int) -> _Content:
    """Content in which each class has `pool` undecided images followed by `test` images to test on."""
    each = pool + test
    labels = np.repeat(np.arange(len(classes), dtype=np.int64), each)
    given = np.tile(np.array([""] * pool + ["test"] * test, dtype="<U5"), len(classes))
    return classes, pixels, labels, given, [f"{name}/{i:03d}" for name in classes for i in range(each)]


_DRAWN = "Drawn by this program; colours, sizes, places and grounds vary. No licence needed."

_ROWS = (
    BuiltIn("stamps", "Photographs", "natural",
            "Cut-out photographs of animals, plants and things: stamps of Tux Paint by many contributors (GPL-2).", _stamps),
    BuiltIn("fashion", "Fashion-MNIST", "specialized",
            "Grey product photographs of clothes, 28 pixels a side: a sample of Fashion-MNIST by Zalando SE (MIT).", _fashion),
    BuiltIn("sprites-shape", "Which shape", "structured", f"Which of six shapes is it? {_DRAWN}",
            lambda: _drawn(1, tuple(sprites.SHAPES), sprites.of_shape)),
    BuiltIn("sprites-orientation", "Which direction", "structured",
            f"Where does the arrow point, anticlockwise from the right? {_DRAWN}",
            lambda: _drawn(2, sprites.ANGLES, sprites.of_orientation)),
    BuiltIn("sprites-position", "Which place", "structured",
            f"In which ninth of the picture is the centre of the shape? {_DRAWN}",
            lambda: _drawn(3, sprites.CELLS, sprites.of_position)),
    BuiltIn("sprites-count", "How many", "structured", f"How many shapes are there? {_DRAWN}",
            lambda: _drawn(4, sprites.NUMBERS, sprites.of_count)),
    BuiltIn("trap", "Trap: which shape", "structured",
            "Which of six shapes is it? A trap for lessons: in each picture, also in those to test on, a square in the corner "
            "has the colour of the class. Tune on it, see the accuracy, look inside, then see in Compare what is left of it "
            f"when the squares are swapped. {_DRAWN}",
            _trap, trap.twins),
)

TASKS: Table[BuiltIn] = Table("built-in task", {row.name: row for row in _ROWS})
