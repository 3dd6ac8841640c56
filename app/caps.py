"""How much one tuning may ask of the server, said before it starts."""

from __future__ import annotations

from collections.abc import Sequence

from app import settings, visitors
from app.estimate import in_words
from vpt_core.backbones import card
from vpt_core.errors import UserError
from vpt_core.spec import Spec

COPIES = 5  # of what is learned: weights, best epoch and two moments of the optimizer in a checkpoint, and the prompt file
_FLOAT = 4  # bytes


def check_caps(asked: Sequence[Spec], seconds: float) -> None:
    """Raise `UserError` when runs that take `seconds` as estimated are too long or too large for this server."""
    if settings.JOB_MINUTES and seconds > 60 * settings.JOB_MINUTES:
        raise UserError(
            f"This would take {in_words(seconds)}; this server allows {settings.JOB_MINUTES} min at once. "
            "Take fewer epochs, images a class, methods or seeds, a smaller image size or a smaller backbone."
        )
    visitors.check_room(sum(map(_bytes, asked)))


def _bytes(spec: Spec) -> float:
    """What a run may write while it goes on. Only methods that release the backbone's own weights count."""
    shape = card(spec.backbone)
    shares = {"full": 1.0, "partial": int(spec.options.get("blocks", 1)) / max(1, shape.depth)}
    return COPIES * _FLOAT * shape.params * shares.get(spec.method, 0.0)
