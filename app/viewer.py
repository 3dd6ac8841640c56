"""Values of the attention viewer: of one image with all there is to see in it, and of many images."""

from __future__ import annotations

from typing import Any

import numpy as np

from app.components import attention_value, base64_text, half_text
from vpt_core.analysis import Atlas, Attention
from vpt_core.methods import Prompted
from vpt_core.model import Model

MOST_BYTES = 2**21  # of all prompts' rows; beyond it they are left out and the viewer does without


def image_value(photo: np.ndarray, seen: Attention, model: Model, title: str) -> dict[str, Any]:
    """One image (S, S, 3) uint8 and all its attention, prompts' own rows among it."""
    value = attention_value(photo, seen.patches, seen.to_prompts, seen.to_self, seen.query, title)
    received = _padded(seen.received, max(value["prompts"]))
    rows = _padded(seen.prompt_rows, max(value["prompts"]))
    return value | _more(received, seen.rollout, seen.rolled) | _rows(rows) | {"idle": _idle(model)}


def atlas_value(picture: np.ndarray, atlas: Atlas, model: Model, title: str) -> dict[str, Any]:
    """The mean over images and the spread between them, drawn over a `picture` (S, S, 3) uint8 of them."""
    mean = atlas.mean
    to_prompts = [shares[:, :count] for shares, count in zip(mean.to_prompts, atlas.prompts, strict=True)]
    value = attention_value(picture, mean.patches, to_prompts, mean.to_self, atlas.query, title)
    more = _more(mean.received, mean.rollout, mean.rolled) | _rows(mean.prompt_rows) | {"idle": _idle(model)}
    return value | more | {"spread": half_text(atlas.spread.patches)}


def _more(received: np.ndarray, rollout: np.ndarray, rolled: np.ndarray) -> dict[str, str]:
    return {"received": half_text(received), "rollout": half_text(rollout), "rolled": half_text(rolled)}


def _padded(parts: list[np.ndarray], most: int) -> np.ndarray:
    """L arrays (H, p, ...) as one (L, H, most, ...), 0 where there are fewer."""
    first = parts[0]
    whole = np.zeros((len(parts), first.shape[0], most, *first.shape[2:]), np.float32)
    for layer, part in zip(whole, parts, strict=True):
        layer[:, : part.shape[1]] = part
    return whole


def _rows(rows: np.ndarray) -> dict[str, str]:
    """What prompts give to patches (L, H, P, gh, gw), a byte each, of the largest of its row; nothing where that would be too
    much to send.
    """
    if not rows.size or rows.size > MOST_BYTES:
        return {}
    tops = rows.max(axis=(3, 4))
    scaled = np.rint(255 * rows / np.maximum(tops, 1e-12)[..., None, None]).astype(np.uint8)
    return {"rows": base64_text(scaled.tobytes()), "row_tops": half_text(tops)}


def _idle(model: Model) -> list[bool]:
    """For each layer whether what it computes at the prompts' places is thrown away: by prompts of the next layer's own, and
    at the end unless the answer is read there.
    """
    depth, method = model.backbone.depth, model.method
    if not isinstance(method, Prompted):
        return [True] * depth
    return [i + 1 in method.at for i in range(1, depth)] + [method.options.readout != "prompts"]
