"""Many: any number of prompt files on one frozen backbone."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from itertools import count
from pathlib import Path

import numpy as np

from vpt_core.backbones import Backbone, to_pixels
from vpt_core.errors import UserError
from vpt_core.metrics import softmax
from vpt_core.mixed import Plan, pass_of, plan_of
from vpt_core.model import Model
from vpt_core.prompt_file import Classifier, load_prompt
from vpt_core.tasks import load_image, resize

IN_A_PASS = 64  # tasks at most that are asked of a photo together


class Many:
    """Tasks by name, all on the same frozen backbone: each adds only what its prompt file holds.

        many = vpt_core.load_prompts(["flowers.safetensors", "where.safetensors"])
        many.answer("photo.jpg")    # {"Flowers": probabilities of its classes, "Where": of its own}
        many.logits(pixels, ["Flowers", "Where"])    # one pass, each image of another task

    `backbone` is the one that files have to be made for; without it the first file names it. Give it for strangers' files.
    """

    def __init__(self, backbone: Backbone | None = None) -> None:
        self.backbone = backbone
        self._classifiers: dict[str, Classifier] = {}
        self._plans: dict[str, Plan | None] = {}

    def add(self, file: str | Path, name: str | None = None) -> str:
        """Load a prompt file and give the name of its task: `name`, or else what the file calls it, numbered if taken.

        Raises `UserError` when the file cannot be used or is of another backbone, and when `name` is taken.
        """
        if name in self._classifiers:
            raise UserError(f"There is a task {name!r} already. Give this one another name, or remove that one first.")
        classifier = load_prompt(file, self.backbone)
        self.backbone = classifier.model.backbone
        name = name or self._free(classifier.about.task)
        self._classifiers[name], self._plans[name] = classifier, plan_of(classifier.model)
        return name

    def _free(self, name: str) -> str:
        return next(n for k in count(1) if (n := name if k == 1 else f"{name} ({k})") not in self._classifiers)

    def remove(self, name: str) -> None:
        """Forget a task. Raises `UserError` when there is none of this name."""
        self.classifier(name)
        del self._classifiers[name], self._plans[name]

    @property
    def names(self) -> tuple[str, ...]:
        """The tasks, in the order in which they came."""
        return tuple(self._classifiers)

    def classifier(self, name: str) -> Classifier:
        """One task alone, for any number of images. Raises `UserError` when there is none of this name."""
        if name not in self._classifiers:
            raise UserError(f"There is no task {name!r} here. Choose one of: {', '.join(self.names) or 'none is loaded yet'}.")
        return self._classifiers[name]

    def model(self, name: str) -> Model:
        """The model of one task, on the shared backbone. Raises `UserError` when there is none of this name."""
        return self.classifier(name).model

    def shares(self, name: str) -> bool:
        """True for a task that can share a pass with others of its image size: prompts in a ViT or a Swin, or a head."""
        return self._plans[name] is not None

    def logits(self, pixels: np.ndarray, tasks: Sequence[str]) -> list[np.ndarray]:
        """Logits of square uint8 images (B, S, S, 3), of which image b belongs to `tasks[b]`, in one pass of the backbone.

        Gives B arrays, float32 (classes of its task,): what each task's own `classifier(name).logits` would say. Raises
        `UserError` for an unknown task, tasks that were tuned at different image sizes, and tasks that cannot share a pass.
        """
        if len(pixels) != len(tasks):
            raise UserError(f"There are {len(pixels)} images and {len(tasks)} tasks. Name one task for each image.")
        if not len(tasks):
            return []
        size = self._one_size(tasks)
        self._refuse_alone(tasks)
        passed = pass_of(self.backbone, [self._plans[name] for name in tasks]).logits(to_pixels(resize(pixels, size)))
        return [row.numpy() for row in passed]

    def _one_size(self, tasks: Sequence[str]) -> int:
        sizes = {self.classifier(name).about.image_size: name for name in tasks}
        if len(sizes) > 1:
            said = ", ".join(f"{name!r} at {size} pixels a side" for size, name in sizes.items())
            raise UserError(f"These tasks were tuned at different image sizes: {said}. One pass has one size; ask for one size "
                            "at a time, or use answer, which does so.")
        return next(iter(sizes))

    def _refuse_alone(self, tasks: Sequence[str]) -> None:
        alone = [name for name in dict.fromkeys(tasks) if not self.shares(name)]
        if alone:
            said = ", ".join(f"{name!r} ({self.model(name).method.title})" for name in alone)
            raise UserError(f"{said} cannot share a pass on {self.backbone.title}: only prompts in a Swin or a ViT's standard "
                            "blocks and heads on frozen features can. Ask each alone, with classifier(name), or use answer.")

    def passes(self) -> list[list[str]]:
        """The tasks that `answer` asks together: those of one image size that can share a pass, and each other one alone."""
        shared: dict[int, list[str]] = defaultdict(list)
        alone = []
        for name in self.names:
            if self.shares(name):
                shared[self.classifier(name).about.image_size].append(name)
            else:
                alone.append([name])
        parts = [names[i : i + IN_A_PASS] for names in shared.values() for i in range(0, len(names), IN_A_PASS)]
        return parts + alone

    def answer(self, photo: str | Path | bytes | np.ndarray) -> dict[str, np.ndarray]:
        """What every task says of one photo: its name to the probabilities (classes,) of its classes, float32.

        `photo` is an image file, its bytes, or square uint8 pixels (S, S, 3). Raises `UserError` for what is not an image.
        """
        if not isinstance(photo, np.ndarray):
            photo = load_image(photo if isinstance(photo, bytes) else Path(photo))
        said: dict[str, np.ndarray] = {}
        for names in self.passes():
            if not self.shares(names[0]):
                rows = self.classifier(names[0]).logits(photo[None])
            else:
                fitted = resize(photo[None], self.classifier(names[0]).about.image_size)
                rows = self.logits(np.repeat(fitted, len(names), axis=0), names)
            said |= {name: softmax(row) for name, row in zip(names, rows, strict=True)}
        return {name: said[name] for name in self.names}


def load_prompts(files: Iterable[str | Path], backbone: Backbone | None = None) -> Many:
    """Prompt files on one frozen backbone (see `Many`): `backbone`, or the one that the first file names.

    Raises `UserError` when one of them cannot be used or is of another backbone.
    """
    many = Many(backbone)
    for file in files:
        many.add(file)
    return many
