"""Data sets of the hub on the loopback interface: what the library for them asks of it, and files in parts."""

from __future__ import annotations

import http.server
import io
import json
import re
import threading
import urllib.parse
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import datasets
import pyarrow.parquet as parquet
from pets import photo

SHA = "0123456789abcdef0123456789abcdef01234567"
CONVERTED = "refs/convert/parquet"


@dataclass
class Sets:
    """Files by repository, revision and path; what was asked."""

    endpoint: str = ""
    files: dict[str, dict[str, dict[str, bytes]]] = field(default_factory=dict)
    gated: set[str] = field(default_factory=set)
    asked: list[str] = field(default_factory=list)


class Handler(http.server.BaseHTTPRequestHandler):
    sets: Sets
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        path = self.path.partition("?")[0].replace("%2F", "/")
        self.sets.asked.append(f"{self.command} {path}")
        for pattern, answer in self.routes.items():
            if match := re.fullmatch(pattern, path):
                return answer(self, *match.groups())
        self._send(404, {"X-Error-Code": "EntryNotFound"})

    do_HEAD = do_POST = do_GET

    def _repository(self, name: str, revision: str) -> dict[str, bytes] | None:
        """The files of a commit; answers itself where there is none."""
        revisions = self.sets.files.get(name)
        if name in self.sets.gated:
            return self._send(403, {"X-Error-Code": "GatedRepo"})
        if revisions is None:
            return self._send(404, {"X-Error-Code": "RepoNotFound"})
        found = next(iter(revisions.values())) if revision == SHA else revisions.get(revision)
        return found if found is not None else self._send(404, {"X-Error-Code": "RevisionNotFound"})

    def _info(self, name: str, revision: str | None) -> None:
        files = self._repository(name, revision or "main")
        if files is not None:
            self._json({"id": name, "sha": SHA, "tags": [], "siblings": [{"rfilename": file} for file in files]})

    def _paths(self, name: str, revision: str) -> None:
        files = self._repository(name, revision)
        if files is not None:
            asked = urllib.parse.parse_qs(self.body.decode()).get("paths", [])
            self._json([entry(path, files[path]) for path in asked if path in files])

    def _tree(self, name: str, revision: str, folder: str) -> None:
        files = self._repository(name, revision)
        if files is not None:
            self._json([entry(path, data) for path, data in files.items() if path.startswith(folder.strip("/"))])

    def _file(self, name: str, revision: str, path: str) -> None:
        files = self._repository(name, revision)
        if files is None:
            return
        if path not in files:
            return self._send(404, {"X-Error-Code": "EntryNotFound"})
        data, part = files[path], re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        headers = {"ETag": '"x"', "X-Repo-Commit": SHA, "Accept-Ranges": "bytes"}
        if part is None:
            return self._send(200, headers, data)
        end = min(int(part[2] or len(data) - 1), len(data) - 1)
        headers["Content-Range"] = f"bytes {part[1]}-{end}/{len(data)}"
        self._send(206, headers, data[int(part[1]) : end + 1])

    routes = {
        r"/api/datasets/([^/]+/[^/]+)(?:/revision/(.+))?": _info,
        r"/api/datasets/([^/]+/[^/]+)/paths-info/(.+)": _paths,
        r"/api/datasets/([^/]+/[^/]+)/tree/([^/]+)(.*)": _tree,
        r"/datasets/([^/]+/[^/]+)/resolve/([^/]+)/(.+)": _file,
    }

    def _json(self, answer: Any) -> None:
        self._send(200, {"Content-Type": "application/json"}, json.dumps(answer).encode())

    def _send(self, status: int, headers: dict[str, str], body: bytes = b"") -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


def entry(path: str, data: bytes) -> dict[str, Any]:
    return {"type": "file", "path": path, "size": len(data), "oid": "0" * 40}


@contextmanager
def serving() -> Iterator[Sets]:
    """The stand-in, until the block ends; afterwards its port refuses connections."""
    state = Sets()
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), type("Bound", (Handler,), {"sets": state}))
    state.endpoint = f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    try:
        yield state
    finally:
        server.shutdown()
        server.server_close()


def table(labels: list[Any], kinds: Any = ("cat", "dog"), columns: Any = ("image", "label"), first: int = 0) -> bytes:
    """A parquet file of small photos as the hub keeps them; `kinds` are the classes, or the kind of the column of labels."""
    images = [{"bytes": photo(first + i), "path": f"{i}.jpg"} for i in range(len(labels))]
    kind = datasets.ClassLabel(names=list(kinds)) if isinstance(kinds, tuple) else kinds
    features = datasets.Features({columns[0]: datasets.Image(), columns[1]: kind})
    held = datasets.Dataset.from_dict({columns[0]: images, columns[1]: labels}, features=features)
    out = io.BytesIO()
    parquet.write_table(held.data.table, out, row_group_size=10)
    return out.getvalue()
