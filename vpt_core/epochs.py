"""What a run had learned after each epoch: prompt files in its folder, so that the way there can be looked at later."""

from __future__ import annotations

import json
import math
import re
from dataclasses import asdict
from pathlib import Path

from vpt_core.model import Model
from vpt_core.prompt_file import About, save_prompt

FOLDER = "epochs"
MOST_BYTES = 16 * 1024**2
"""Of all epochs of a run; where they would take more, only every k-th one is kept."""
MOST_EACH = 4 * 1024**2
"""Of one epoch; of a method that learns more than that none is kept."""
_NAME = re.compile(r"([0-9]{3,6})\.safetensors")


class EpochFiles:
    """Keeps a training's epochs in `folder`, if its method moves the features at all: those of a linear probe stay.

    `every` is 1 where each of the `epochs` is kept, k for every k-th one, 0 for none.
    """

    def __init__(self, folder: Path, model: Model, about: About, epochs: int) -> None:
        self.folder, self.model, self.about = folder / FOLDER, model, about
        moves = model.method.cut < len(model.method.stages)
        self.every = every(file_bytes(model, about), epochs) if moves else 0

    def begin(self, after: int) -> None:
        """Forget what a broken training kept after epoch `after`, from which it goes on: it may stop earlier this time."""
        for number, file in kept_epochs(self.folder.parent).items():
            if number > after:
                file.unlink()

    def keep(self, epoch: int) -> None:
        """Write what the model holds at the end of `epoch`, whole or not at all, if it is one to keep."""
        if self.every and epoch % self.every == 0:
            self.folder.mkdir(exist_ok=True)
            save_prompt(self.folder / f"{epoch:03}.safetensors", self.model, self.about)


def every(size: int, epochs: int) -> int:
    """Each how many of `epochs` one is kept when one takes `size` bytes; 0 when none is."""
    return math.ceil(epochs / (MOST_BYTES // size)) if size <= MOST_EACH else 0


def file_bytes(model: Model, about: About) -> int:
    """About how many bytes the prompt file of a model takes."""
    tensors = model.state_dict()
    return sum(t.numel() * t.element_size() for t in tensors.values()) + 100 * len(tensors) + len(json.dumps(asdict(about)))


def kept_epochs(run: Path) -> dict[int, Path]:
    """The prompt files of a run folder's epochs, by number and in order. `load_prompt` reads them, as it does a stranger's."""
    named = ((_NAME.fullmatch(file.name), file) for file in (run / FOLDER).glob("*.safetensors"))
    return dict(sorted((int(match[1]), file) for match, file in named if match))
