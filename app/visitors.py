"""Who is there. On a public server each visitor has a folder of their own; locally there is one for all, and for ever.

A browser keeps a random token and shows it when a page is loaded, so that a reload finds its things again. The page's session
then stands for the visitor; in folders, logs and memory only a digest of the token is used.
"""

from __future__ import annotations

import hashlib
import os
import re
import secrets
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import gradio as gr
from gradio.context import LocalContext

from app import settings
from vpt_core.errors import UserError

LOCAL = ""
"""The owner of everything on a server that is not public."""
_TOKEN = re.compile(r"[\w-]{43}", re.ASCII)
_STRANGER = "This page has lost touch with the server. Reload it; what you made is there unless it was left unused for long."


@dataclass
class _Visitor:
    used: float
    pages: set[str] = field(default_factory=set)  # sessions that are open


class Visitors:
    """The visitors of this process and their sessions. `clock` gives seconds since 1970."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._owners: dict[str, str] = {}  # session to owner
        self._visitors: dict[str, _Visitor] = {}

    def enter(self, token: object, session: str) -> str:
        """A page of the visitor with this token was opened; gives the token for the browser to keep, new for a new visitor.

        Raises `UserError` when the session is another visitor's.
        """
        token = token if isinstance(token, str) and _TOKEN.fullmatch(token) else secrets.token_urlsafe(32)
        owner = hashlib.sha256(token.encode()).hexdigest()[:32]
        with self._lock:
            if self._owners.setdefault(session, owner) != owner:
                raise UserError(_STRANGER)
        self.owner(session)
        return token

    def owner(self, session: str | None) -> str | None:
        """Whose this session is, and a note that they are there; None when it is nobody's."""
        with self._lock:
            owner = self._owners.get(session or "")
            if owner is not None:
                visitor = self._visitors.setdefault(owner, _Visitor(0.0))
                visitor.used = self._clock()
                visitor.pages.add(session or "")
            return owner

    def leave(self, session: str | None) -> None:
        """A page was closed, or its connection broke. An event from it opens it again."""
        with self._lock:
            visitor = self._visitors.get(self._owners.get(session or "", ""))
            if visitor and session in visitor.pages:
                visitor.pages.discard(session)
                visitor.used = self._clock()

    def used(self, owner: str) -> float:
        """When this visitor did something last; 0 when that was before this process."""
        with self._lock:
            return self._visitors[owner].used if owner in self._visitors else 0.0

    def away(self, owner: str) -> float:
        """Seconds since the last page of this visitor was closed; 0 while one is open."""
        with self._lock:
            visitor = self._visitors.get(owner)
            return 0.0 if visitor is None or visitor.pages else self._clock() - visitor.used

    def forget(self, before: float) -> None:
        """Drop the memory of those who did nothing since then; their browsers still have their tokens."""
        with self._lock:
            gone = {owner for owner, visitor in self._visitors.items() if visitor.used < before}
            self._owners = {session: owner for session, owner in self._owners.items() if owner not in gone}
            self._visitors = {owner: visitor for owner, visitor in self._visitors.items() if owner not in gone}


VISITORS = Visitors()
"""Those of this process."""


def enter(token: str, request: gr.Request) -> tuple[str, bool]:
    """Handler of a page that opens: the token that its browser keeps, and True."""
    return (VISITORS.enter(token, request.session_hash) if settings.PUBLIC else token), True


def leave(request: gr.Request) -> None:
    """Handler of a page that closes."""
    VISITORS.leave(request.session_hash)


def owner() -> str | None:
    """Whose event is being handled; None for a page that is not known, and while the page is built."""
    if not settings.PUBLIC:
        return LOCAL
    request = LocalContext.request.get(None)
    return VISITORS.owner(request.session_hash) if request else None


def folder() -> Path | None:
    """Where the runs of the visitor lie whose event is being handled; it may not exist yet. None where `owner` is None."""
    whose = owner()
    return None if whose is None else folder_of(whose)


def own_folder() -> Path:
    """As `folder`, for those who write. Raises `UserError` where there is none."""
    found = folder()
    if found is None:
        raise UserError(_STRANGER)
    return found


def all_folders() -> Path:
    """Where the folders of a public server's visitors lie."""
    return settings.RUNS / "visitors"


def folder_of(whose: str) -> Path:
    """The folder of an owner."""
    return settings.RUNS if whose == LOCAL else all_folders() / whose


def size(place: Path) -> int:
    """Bytes of all files in a folder, 0 when it is not there. Files and folders that go meanwhile do not count."""
    total = 0
    for folder, _, files in os.walk(place):  # unlike rglob it bears that a folder goes
        for name in files:
            try:
                total += os.lstat(os.path.join(folder, name)).st_size
            except FileNotFoundError:
                continue
    return total


def check_room(more: float = 0) -> None:
    """Raise `UserError` when `more` bytes have no room beside what the visitor has. Only a public server has bounds."""
    if not settings.PUBLIC:
        return
    has = size(own_folder()) / 1e6
    if has + more / 1e6 > settings.VISITOR_MB:
        needs = f" and this would need up to {more / 1e6:,.0f} MB more while it goes on" if more else ""
        raise UserError(
            f"Your data and runs have {has:,.0f} MB{needs}; {settings.VISITOR_MB:,} MB are allowed on this server. "
            "Take away what you need in Save, then delete your data at the end of Data"
            + (", or learn less: prompts, LoRA or a smaller backbone." if more else ".")
        )
    everybody = size(all_folders()) / 1e6
    if everybody + more / 1e6 > 1.25 * settings.TOTAL_MB:  # the keeper brings it back below TOTAL_MB where people are away
        raise UserError("This server is full for the moment. Try again in some minutes; nothing of yours is lost.")
