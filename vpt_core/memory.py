"""How many images go through a model at once, from what one image holds in memory."""

from __future__ import annotations

from dataclasses import replace
from itertools import chain
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from vpt_core.device import CPU
from vpt_core.embed import Feed
from vpt_core.model import Model

SHARE = 0.5
"""Part of the free memory that a step may take: what a block computes on its way is not counted, and others need some too."""
_CGROUP = Path("/sys/fs/cgroup")


def available(device: torch.device = CPU) -> int:
    """Bytes of memory that are free for this process: of a GPU's; of the machine's and a container's limit if there is one.

    2**62 where the system does not tell (it has no /proc/meminfo).
    """
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    rooms = [2**62]
    meminfo = Path("/proc/meminfo")
    if meminfo.exists():
        lines = dict(line.split(":") for line in meminfo.read_text().splitlines())
        rooms.append(1024 * int(lines["MemAvailable"].split()[0]))
    limit, used = _CGROUP / "memory.max", _CGROUP / "memory.current"
    if limit.exists() and (text := limit.read_text().strip()) != "max":
        rooms.append(int(text) - int(used.read_text()))
    return max(0, min(rooms))


def held(model: Model, data: Feed, images: int) -> int:
    """Bytes that a forward pass of the first `images` of `data` holds for the backward, weights not counted.

    Each storage counts once. No number is drawn: dropout is off.
    """
    own = {_place(t) for t in chain(model.parameters(), model.backbone.parameters(), model.backbone.buffers())}
    sizes: dict[int, int] = {}
    kept: list[Tensor] = []  # a storage that went back to the allocator could come again under the same address

    def hold(t: Tensor) -> Tensor:
        if _place(t) not in own:
            sizes[_place(t)] = t.untyped_storage().nbytes()
            kept.append(t)
        return t

    x, labels = data.batch(torch.arange(images))
    model.eval()
    with torch.autograd.graph.saved_tensors_hooks(hold, lambda t: t):
        logits = model(x, data.start)
        F.cross_entropy(logits, labels.to(logits.device))
    return sum(sizes.values())


def images_at_once(model: Model, data: Feed, batch_size: int, room: int) -> int:
    """How many of the `batch_size` images of a step fit in `room` bytes together, at least 1; all for a method that is not
    `divisible`.

    A method that can hold less and compute more (`How`) is told to where that makes room for more images.
    """
    batch = min(batch_size, len(data))
    if batch < 2 or not model.method.divisible:
        return max(1, batch)
    fitting = _fitting(model, data, batch, room)
    if fitting < batch and model.method.by_hand:
        model.method.how = replace(model.method.how, lean=True)
        fitting = _fitting(model, data, batch, room)
    return fitting


def _fitting(model: Model, data: Feed, batch: int, room: int) -> int:
    one = held(model, data, 1)
    each = max(1, held(model, data, 2) - one)
    return max(1, min(batch, 1 + (room - one) // each))


def _place(t: Tensor) -> int:
    return t.untyped_storage().data_ptr()
