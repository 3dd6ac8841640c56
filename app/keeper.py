"""What a public server drops, and when: data that nobody uses, and tunings whose page was closed."""

from __future__ import annotations

import ctypes
import gc
import logging
import os
import shutil
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from app import downloads, settings
from app.jobs import JOBS, Jobs
from app.visitors import VISITORS, all_folders, folder_of, size
from vpt_core.runs import list_runs

log = logging.getLogger(__name__)
TICK, SWEEP = 5.0, 60.0  # seconds between looks at closed pages, and between sweeps
LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None
PRESENT = 600.0  # seconds: who did something since then is not idle, however full the server is


@dataclass(frozen=True)
class Holding:
    """What one visitor has: when they used it last, in seconds since 1970; `busy` while a tuning of theirs goes on or waits."""

    owner: str
    used: float
    bytes: int
    busy: bool = False


def to_drop(holdings: Sequence[Holding], now: float, idle: float, room: float) -> list[str]:
    """Whose holdings go, the longest unused first: those unused for more than `idle` seconds, and as many more as it takes
    to bring the rest to `room` bytes. Nobody who is busy, and for room nobody who was there in the last `PRESENT` seconds.
    """
    left = sum(h.bytes for h in holdings)
    drop = []
    for holding in sorted((h for h in holdings if not h.busy), key=lambda h: h.used):
        age = now - holding.used
        if age > idle or (left > room and age > PRESENT):
            drop.append(holding.owner)
            left -= holding.bytes
    return drop


def sweep(now: float, jobs: Jobs = JOBS) -> list[str]:
    """Drop what `to_drop` says of the visitors' folders; gives the owners."""
    busy = {job.owner for job in jobs.active()}
    holdings = []
    for place in all_folders().glob("*"):
        used = max(place.stat().st_mtime, VISITORS.used(place.name))
        os.utime(place, (used, used))  # a restart finds it there
        holdings.append(Holding(place.name, used, size(place), place.name in busy))
    idle = 60.0 * settings.IDLE_MINUTES
    dropped = to_drop(holdings, now, idle, 1e6 * settings.TOTAL_MB)
    for owner in dropped:
        drop(owner)
    downloads.trim(1e6 * settings.TOTAL_MB, now - SWEEP)
    VISITORS.forget(now - idle)
    if dropped:
        log.info("dropped the data of %d idle visitors", len(dropped))
    return dropped


def drop(owner: str) -> None:
    """Delete all that a visitor of a public server has, on disk and in memory."""
    place = folder_of(owner)
    half = place.with_name(f".{place.name}.dropped")
    if place.exists():
        place.rename(half)  # at once out of everybody's sight
    shutil.rmtree(half, ignore_errors=True)
    for module in [m for name, m in sys.modules.items() if name.startswith("app.")]:
        for value in vars(module).values():
            if hasattr(value, "cache_clear"):  # each such cache of the app holds somebody's images or models
                value.cache_clear()
    downloads.clear()
    gc.collect()
    if hasattr(LIBC, "malloc_trim"):
        LIBC.malloc_trim(0)  # glibc keeps what was freed; other programs may want it


def stop_left(jobs: Jobs = JOBS) -> None:
    """Stop the tunings of those who closed their page and did not come back within the grace."""
    for job in jobs.active():
        if not job.stopping.is_set() and VISITORS.away(job.owner) > settings.GRACE_SECONDS:
            jobs.stop(job, "The page was closed.")


def tidy(root: Path) -> None:
    """Remove what a kill between the last two steps of a run leaves behind."""
    for run in list_runs(root):
        if run.finished:
            run.checkpoint.unlink(missing_ok=True)


def begin() -> None:
    """Tidy up, and on a public server keep at it in a thread."""
    for root in (settings.RUNS, *all_folders().glob("*")):
        tidy(root)
    if settings.PUBLIC:
        threading.Thread(target=_keep, name="keeper", daemon=True).start()


def _keep() -> None:
    swept = 0.0
    while True:
        try:
            stop_left()
            if time.monotonic() - swept > SWEEP:
                sweep(time.time())
                swept = time.monotonic()
        except OSError as error:
            log.warning("the keeper met %s; it goes on", error)
        time.sleep(TICK)
