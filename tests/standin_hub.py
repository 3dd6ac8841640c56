"""A Hugging Face hub on the loopback interface: accounts, repositories, commits with large files, downloads."""

from __future__ import annotations

import base64
import hashlib
import http.server
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from huggingface_hub import ModelCard

USER, TOKEN = "ada", "hf_standin"
HEAD = "0123456789abcdef0123456789abcdef01234567"
JSON = {"Content-Type": "application/json"}


@dataclass
class Repository:
    private: bool = False
    files: dict[str, bytes] = field(default_factory=dict)
    commits: list[list[str]] = field(default_factory=list)


@dataclass
class Hub:
    """What the stand-in holds, and what it was asked."""

    endpoint: str = ""
    repositories: dict[str, Repository] = field(default_factory=dict)
    objects: dict[str, bytes] = field(default_factory=dict)  # large files by their sha256
    sizes: dict[str, int] = field(default_factory=dict)  # lies about sizes, by file
    asked: list[str] = field(default_factory=list)


class Refusal(Exception):
    def __init__(self, status: int, code: str = "", message: str = "") -> None:
        self.status = status
        self.headers = {k: v for k, v in {"X-Error-Code": code, "X-Error-Message": message}.items() if v}


class Handler(http.server.BaseHTTPRequestHandler):
    hub: Hub

    def do_GET(self) -> None:
        self._do(self._get)

    do_HEAD = do_GET

    def do_POST(self) -> None:
        self._do(self._post)

    def do_PUT(self) -> None:
        self._do(self._put)

    def _do(self, work: Any) -> None:
        self.body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.hub.asked.append(f"{self.command} {self.path}")
        try:
            self._send(*work(self.path.partition("?")[0].strip("/")))
        except Refusal as refusal:
            self._send(refusal.status, refusal.headers, b"{}")

    def _send(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _user(self) -> str | None:
        given = self.headers.get("Authorization")
        if given not in (None, f"Bearer {TOKEN}"):
            raise Refusal(401, message="Invalid credentials in Authorization header")
        return USER if given else None

    def _repository(self, name: str) -> Repository:
        user, found = self._user(), self.hub.repositories.get(name)
        if found is None or (found.private and not user):
            raise Refusal(404 if user else 401, "RepoNotFound")
        return found

    def _get(self, path: str) -> tuple[int, dict[str, str], bytes]:
        if path.startswith("cdn/"):
            return 200, {}, self.hub.objects[path.removeprefix("cdn/")]
        if path.startswith("api/models/"):
            name = path.removeprefix("api/models/")
            found = self._repository(name)
            said = {"id": name, "private": found.private, "tags": [], "siblings": [{"rfilename": f} for f in found.files]}
            return 200, JSON, json.dumps(said).encode()
        name, _, (revision, _, file) = *path.partition("/resolve/")[:2], path.partition("/resolve/")[2].partition("/")
        files = self._repository(name).files
        if revision not in ("main", HEAD):
            raise Refusal(404, "RevisionNotFound")
        if file not in files:
            raise Refusal(404, "EntryNotFound")
        digest = hashlib.sha256(files[file]).hexdigest()
        self.hub.objects[digest] = files[file]
        cdn = self.hub.endpoint.replace("127.0.0.1", "localhost")  # another host, as is the real one
        headers = {"X-Repo-Commit": HEAD, "X-Linked-Etag": f'"{digest}"', "Location": f"{cdn}/cdn/{digest}",
                   "X-Linked-Size": str(self.hub.sizes.get(file, len(files[file])))}  # fmt: skip
        return 302, headers, b""

    def _post(self, path: str) -> tuple[int, dict[str, str], bytes]:
        if path.endswith("/verify"):
            return 200, JSON, b"{}"
        if not self._user():
            raise Refusal(401, message="Invalid credentials in Authorization header")
        if "/commit/" in path:
            answer = self._commit(path)
        elif path == "api/validate-yaml":
            ModelCard(json.loads(self.body)["content"])  # raises for what is not YAML
            answer = {"errors": [], "warnings": []}
        else:
            answer = self._other(path, json.loads(self.body))
        return 200, JSON, json.dumps(answer).encode()

    def _other(self, path: str, asked: dict[str, Any]) -> dict[str, Any]:
        if path == "api/repos/create":
            name = f"{asked['organization']}/{asked['name']}"
            if asked["organization"] != USER:
                raise Refusal(403, message="You don't have the rights to create a model under this namespace")
            self.hub.repositories[name] = Repository(asked.get("visibility") == "private", {".gitattributes": b""})
            return {"url": f"{self.hub.endpoint}/{name}"}
        if "/preupload/" in path:
            modes = {f["path"]: "lfs" if f["path"].endswith(".safetensors") else "regular" for f in asked["files"]}
            return {"files": [{"path": p, "uploadMode": mode, "shouldIgnore": False} for p, mode in modes.items()]}
        assert path.endswith(".git/info/lfs/objects/batch")
        at = f"{self.hub.endpoint}/lfs"
        return {"objects": [wanted | {"actions": {"upload": {"href": f"{at}/{wanted['oid']}"},
                                                  "verify": {"href": f"{at}/{wanted['oid']}/verify"}}}
                            for wanted in asked["objects"]]}  # fmt: skip

    def _put(self, path: str) -> tuple[int, dict[str, str], bytes]:
        assert path == f"lfs/{hashlib.sha256(self.body).hexdigest()}"
        self.hub.objects[path.removeprefix("lfs/")] = self.body
        return 200, {}, b""

    def _commit(self, path: str) -> dict[str, str]:
        name = path.removeprefix("api/models/").partition("/commit/")[0]
        repository = self._repository(name)
        lines = [json.loads(line) for line in self.body.splitlines()]
        new = {line["value"]["path"]: base64.b64decode(line["value"]["content"]) for line in lines if line["key"] == "file"}
        large = [line["value"] for line in lines if line["key"] == "lfsFile"]
        repository.files |= new | {value["path"]: self.hub.objects[value["oid"]] for value in large}
        repository.commits.append(sorted([*new, *(value["path"] for value in large)]))
        return {"commitUrl": f"{self.hub.endpoint}/{name}/commit/{HEAD}", "commitOid": HEAD}

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def serving() -> Iterator[Hub]:
    """The hub, served until the block ends; afterwards its port refuses connections."""
    state = Hub()
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), type("Bound", (Handler,), {"hub": state}))
    state.endpoint = f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    try:
        yield state
    finally:
        server.shutdown()
        server.server_close()
