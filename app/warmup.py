"""Work that the first visitor would otherwise wait for, done in the background after the page stands."""

from __future__ import annotations

import logging
import threading
import time

import torch

from vpt_core.analysis import warm_up
from vpt_core.backbones import BACKBONES, card, load_backbone
from vpt_core.embed import EVAL_BATCH
from vpt_core.errors import UserError
from vpt_core.model import Model

log = logging.getLogger(__name__)
_speed: dict[str, float] = {}


def begin() -> None:
    """Load the bundled backbone, measure it, and compile UMAP, in a thread."""
    threading.Thread(target=_warm, name="warm-up", daemon=True).start()


def forward_seconds(params: int, tokens: int) -> float:
    """Seconds of one image through a frozen transformer on this machine, scaled from a measured one by its matrix products.

    Before the measurement is done, a figure of a slow two-core machine stands in.
    """
    return params * tokens * _speed.get("seconds per weight and token", 2.0e-11)


def _warm() -> None:
    try:
        measure()
        warm_up()
        measure()  # what else the machine did at first may be over, and a tuning that seems too long is refused
    except UserError as error:
        log.warning("warm-up: %s", error)


def measure() -> None:
    """Time the default backbone as runs use it: the best of all passes so far, two of them new. Noise only adds time."""
    backbone = load_backbone(next(iter(BACKBONES)))
    size = backbone.default_size
    model, pixels = Model(backbone, "linear", {}, classes=2).eval(), torch.zeros(EVAL_BATCH, 3, size, size)
    tokens = card(backbone.name).tokens(size) + 1
    seconds = []
    for _ in range(2):
        began = time.perf_counter()
        with torch.no_grad():
            model.run(pixels)
        seconds.append((time.perf_counter() - began) / len(pixels))
    speed = min(seconds) / (backbone.params * tokens)
    _speed["seconds per weight and token"] = min(speed, _speed.get("seconds per weight and token", speed))
