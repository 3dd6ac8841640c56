"""A line of JSON on stderr for each thing that happens to a tuning, without anything personal: no names, classes, addresses."""

from __future__ import annotations

import json
import logging
from datetime import UTC, datetime
from typing import Any

log = logging.getLogger("vpt.jobs")


def begin() -> None:
    """Write the lines bare to stderr, whatever the other logs do."""
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(message)s"))
    log.handlers[:] = [handler]
    log.setLevel(logging.INFO)
    log.propagate = False


def note(event: str, job: int, **numbers: Any) -> None:
    """Log an `event` of the `job`-th tuning of this process. What goes in has to be counts, seconds and names of methods."""
    at = datetime.now(UTC).isoformat(timespec="seconds")
    log.info(json.dumps({"at": at, "event": event, "job": job, **numbers}))
