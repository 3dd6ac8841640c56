"""Results that stay in memory."""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)
Found = TypeVar("Found")


class Kept(Generic[Key, Found]):
    """The latest `most` results of a long computation. One is computed at a time: of two visitors with the same wish the
    second one finds it done.
    """

    def __init__(self, most: int) -> None:
        self.most = most
        self._found: dict[Key, Found] = {}
        self._lock = threading.Lock()

    def known(self, key: Key) -> Found | None:
        """What was found, if it still is here."""
        return self._found.get(key)

    def find(self, key: Key, compute: Callable[[], Found]) -> Found:
        """What was found, computed now unless it still is here."""
        with self._lock:
            if key not in self._found:
                self._found[key] = compute()
                for old in list(self._found)[: -self.most]:
                    del self._found[old]
            return self._found[key]
