"""The page as a program visits it: a server in this process, and visitors with sessions of their own."""

from __future__ import annotations

import os
import secrets
import socket
import time
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from gradio_client import Client, handle_file
from PIL import Image
from tiny import RANDOM

from app import health
from app.ui import build
from vpt_core.backbones import BACKBONES, card


@contextmanager
def serving(**launch: Any) -> Iterator[str]:
    """The address of the page, with a tiny backbone among its choices."""
    BACKBONES[RANDOM] = card(RANDOM)
    os.environ["GRADIO_HEARTBEAT_INTERVAL"] = "0.3"  # so soon a client notices that it was closed
    demo = build()
    demo.queue(default_concurrency_limit=8, max_size=64)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    rest: dict[str, Any] = {"show_error": False, "allowed_paths": [], "run_history": False, "quiet": True}
    routes = {"app_kwargs": {"routes": health.ROUTES}}
    demo.launch(server_name="127.0.0.1", server_port=port, prevent_thread_lock=True, **rest, **routes, **launch)
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        demo.close(verbose=False)
        del BACKBONES[RANDOM], os.environ["GRADIO_HEARTBEAT_INTERVAL"]


class Visitor:
    """A browser with one open page: `token` is what its storage held, and holds."""

    def __init__(self, url: str, token: str = "", **rest: Any) -> None:
        self.url = url
        self.client = Client(url, verbose=False, **rest)
        config = self.client.config
        self._props = {c["id"]: c["props"] for c in config["components"]}
        self._fields = {props.get("elem_id"): i for i, props in self._props.items()}
        self._states = {c["id"] for c in config["components"] if c["type"] == "state"}
        self._events = config["dependencies"]
        for endpoint in self.client.endpoints.values():
            endpoint.is_valid = True  # private ones answer whoever asks; the client alone refuses
        self.token = self.call("enter", token)
        self.source, self.job = "sprites-position", ""

    def call(self, handler: str, *data: Any) -> Any:
        """What a handler answers, as the page would get it."""
        number = next(i for i, e in enumerate(self._events) if e["api_name"] == handler)
        return self.client.predict(*data, fn_index=number)

    def fill(self, elem_id: str, *data: Any) -> Any:
        """What the first handler that takes a result, then `data`, then fields as they are, puts into this component."""
        place, first = self._fields[elem_id], self._fields["result"]
        event = next(e for e in self._events if place in e["outputs"] and e["inputs"][:1] == [first])
        taken = [i for i in event["inputs"] if i not in self._states]
        rest = [self._props[i].get("value") for i in taken[len(data) :]]
        answer = self.client.predict(*data, *rest, fn_index=self._events.index(event))
        shown = [i for i in event["outputs"] if i not in self._states]
        return _value(answer[shown.index(place)] if len(shown) > 1 else answer)

    def raw(self, handler: str, *data: Any) -> str:
        """What a handler answers, asked by bare HTTP: the client would upload files whose paths stand in `data`."""
        number = next(i for i, e in enumerate(self._events) if e["api_name"] == handler)
        session = secrets.token_hex(8)
        httpx.post(f"{self.url}/gradio_api/queue/join", json={"data": data, "fn_index": number, "session_hash": session})
        with httpx.stream("GET", f"{self.url}/gradio_api/queue/data?session_hash={session}", timeout=60) as answer:
            return next(line for line in answer.iter_lines() if "process_completed" in line)

    def upload(self, path: Path) -> None:
        """Load a zip in Data."""
        self.source = self.call("take", handle_file(path), self.source)[0]

    def tune(self, **form: Any) -> None:
        """Start a tuning with the tiny backbone; `form` are fields of the form in Tune, by their elem_id without "tune-"."""
        self.job = self.call("begin", self.source, *self.form(**form))

    def form(self, **changes: Any) -> list[Any]:
        """The values of the form as it is when a page opens, but for `changes`."""
        _, *fields = next(e for e in self._events if e["api_name"] == "begin")["inputs"]
        changes = {"backbone": RANDOM, "methods": ["linear"], "shots": 0} | changes
        return [changes.get(p["elem_id"].removeprefix("tune-"), p.get("value")) for p in (self._props[i] for i in fields)]

    def look(self) -> dict[str, Any] | None:
        """The line on how far the tuning is, as the value of the bar."""
        return _value(self.call("look", self.job))

    def results(self) -> list[str]:
        """Keys of the results on offer."""
        *_, answer = self.call("catch_up", "", None)
        return [key for _, key in answer["choices"]]

    def leave(self) -> None:
        """Close the page."""
        self.client.close()


def _value(answer: Any) -> Any:
    return answer["value"] if isinstance(answer, dict) and answer.get("__type__") == "update" else answer


def photos(path: Path, names: tuple[str, ...], each: int = 8) -> Path:
    """A zip of class folders with noise of a colour for each class."""
    random = np.random.default_rng(len(names[0]))
    with zipfile.ZipFile(path, "w") as archive:
        for c, name in enumerate(names):
            for i in range(each):
                noise = random.integers(0, 90, (24, 24, 3), dtype=np.uint8)
                noise[..., c % 3] += 120
                image = path.with_suffix(".png")
                Image.fromarray(noise).save(image)
                archive.write(image, f"{name}/{i}.png")
    return path


def until(true: Callable[[], bool], seconds: float = 60.0) -> None:
    """Wait for something that another thread does."""
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.05)
