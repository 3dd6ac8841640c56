"""What an operator sets, by environment variables."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

from vpt_core.tasks import PAGE_LIMITS, Limits


def _flag(name: str, default: bool) -> bool:
    said = os.environ.get(name, "").strip().lower()
    if said in ("", "0", "false", "no", "1", "true", "yes"):
        return said in ("1", "true", "yes") if said else default
    raise SystemExit(f"{name} is {said!r}; it has to be 1 or 0.")


def _number(name: str, default: int) -> int:
    said = os.environ.get(name, "").strip() or str(default)
    if said.isdecimal():
        return int(said)
    raise SystemExit(f"{name} is {said!r}; it has to be a whole number, 0 or more.")


def _limits() -> Limits:
    """Those of the page, but for what the operator says; what follows from the number of images grows with it."""
    images = max(2, _number("VPT_IMAGES", PAGE_LIMITS.images))
    return replace(
        PAGE_LIMITS,
        images=images,
        classes=max(2, _number("VPT_CLASSES", PAGE_LIMITS.classes)),
        pixels=_number("VPT_MEGAPIXELS", PAGE_LIMITS.pixels // 1_000_000) * 1_000_000,
        total_bytes=_number("VPT_UNPACKED_MB", PAGE_LIMITS.total_bytes // 1_000_000) * 1_000_000,
        entries=max(PAGE_LIMITS.entries, 2 * images),
        total_pixels=PAGE_LIMITS.total_pixels * max(1, images // PAGE_LIMITS.images),
    )


def logins(said: str) -> list[tuple[str, str]] | None:
    """Names and passwords in "name:password", or in a file of such lines; None for an empty text.

    Raises `SystemExit` with a sentence, which does not repeat what was said, when it is neither.
    """
    if not said:
        return None
    lines = Path(said).read_text(encoding="utf-8").splitlines() if Path(said).is_file() else [said]
    pairs = [tuple(line.strip().split(":", 1)) for line in lines if line.strip()]
    if not pairs or not all(len(pair) == 2 and all(pair) for pair in pairs):
        raise SystemExit("VPT_LOGIN has to be name:password, or a file with such a line for each login.")
    return [(name, password) for name, password in pairs]


RUNS = Path(os.environ.get("VPT_RUNS", "runs"))
"""Where run folders are kept; imported data sets lie in its folder `data`, a public server's visitors in `visitors`."""

UPLOAD_MB = _number("VPT_UPLOAD_MB", 100)
"""The largest file a visitor may upload."""

LIMITS = _limits()
"""Bounds of one data set, which the page says."""

PUBLIC = _flag("VPT_PUBLIC", "SPACE_ID" in os.environ)
"""Strangers use this server: everybody sees only their own data and runs, and idle ones are dropped. On Spaces by default."""

HUB = _flag("VPT_HUB", not PUBLIC)
"""Visitors may have this server fetch data sets from the hub."""

IDLE_MINUTES = _number("VPT_IDLE_MINUTES", 120)
"""Public: what nobody has used for so long is dropped."""

VISITOR_MB = _number("VPT_VISITOR_MB", 500)
"""Public: room for the data and runs of one visitor."""

TOTAL_MB = _number("VPT_TOTAL_MB", 4000)
"""Public: room for those of all visitors; beyond it the oldest idle ones are dropped."""

JOB_MINUTES = _number("VPT_JOB_MINUTES", 10 if PUBLIC else 0)
"""The longest tuning that may be started, as estimated; 0: any."""

JOBS_EACH = _number("VPT_JOBS_EACH", 3 if PUBLIC else 0)
"""Tunings that one visitor may have in line, the running one among them; 0: any number."""

QUEUE = _number("VPT_QUEUE", 32)
"""Tunings that may wait in the line of the whole server."""

GRACE_SECONDS = _number("VPT_GRACE_SECONDS", 30)
"""Public: so long after its page was closed a tuning is stopped; a reload takes less."""
