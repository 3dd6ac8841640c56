"""Weights from a hub on the loopback interface: download, cache, offline, and the sentence for every way it fails."""

from __future__ import annotations

import hashlib
import http.server
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import save

REPOSITORY = "timm/test_vit.r160_in1k"
ROOT = Path(__file__).resolve().parents[1]
ASK = """
import json, sys, time
import torch
from vpt_core.backbones import availability, load_backbone
from vpt_core.errors import UserError
for name in sys.argv[1:]:
    said = {"before": availability(name).text}
    start = time.perf_counter()
    try:
        said["sum"] = load_backbone(name)(torch.ones(1, 3, 160, 160)).sum().item()
    except UserError as error:
        said["error"] = str(error)
    print(json.dumps(said | {"seconds": time.perf_counter() - start, "after": availability(name).text}))
"""


class Hub(http.server.BaseHTTPRequestHandler):
    """The hub's layout and headers for one repository, its refusals for two more, and a firewall's for all others."""

    file = b""
    refusals = {
        "timm/test_vit2.r160_in1k": (404, "EntryNotFound"),
        "timm/vit_small_patch14_dinov2.lvd142m": (401, "RepoNotFound"),
    }
    asked: list[str] = []

    def do_HEAD(self) -> None:
        self.answer(b"")

    def do_GET(self) -> None:
        self.answer(self.file)

    def answer(self, body: bytes) -> None:
        self.asked.append(self.path.rsplit("/", 1)[-1])
        repository = self.path.removeprefix("/").partition("/resolve/")[0]
        found = self.path == f"/{REPOSITORY}/resolve/main/model.safetensors"
        status, code = (200, "") if found else self.refusals.get(repository, (404, ""))
        self.send_response(status)
        if found:
            self.send_header("ETag", f'"{hashlib.sha256(self.file).hexdigest()}"')
            self.send_header("X-Repo-Commit", "0123456789abcdef0123456789abcdef01234567")
        if code:
            self.send_header("X-Error-Code", code)
        self.send_header("Content-Length", str(len(self.file) if found else 0))
        self.end_headers()
        if found:
            self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def hub() -> Iterator[str]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


def ask(home: Path, endpoint: str, *names: str, **environment: str) -> subprocess.Popen[str]:
    """A process of its own, as the hub's library reads its settings once, when it is imported."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith("HF_") and not key.lower().endswith("_proxy")}
    environment = kept | {"HF_HOME": str(home), "HF_ENDPOINT": endpoint, "PYTHONPATH": str(ROOT)} | environment
    return subprocess.Popen([sys.executable, "-c", ASK, *names], env=environment, text=True,
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def answers(process: subprocess.Popen[str]) -> tuple[list[dict], str]:
    out, log = process.communicate(timeout=120)
    assert process.returncode == 0, log
    return [json.loads(line) for line in out.splitlines()], log


@pytest.mark.slow
def test_download_cache_and_failures(tmp_path):
    torch.manual_seed(0)
    vit = timm.create_model("test_vit", dynamic_img_size=True).eval()
    Hub.file = save({name: t.contiguous() for name, t in vit.state_dict().items()})
    # timm's pixels are normalised by mean = std = 0.5, so a white image is 1 everywhere.
    expected = vit.forward_head(vit.forward_features(torch.ones(1, 3, 160, 160)), pre_logits=True).sum().item()
    with hub() as endpoint:
        names = ("test_vit", "test_vit2", "vit-s14-dinov2", "vit-b16-clip")
        (loaded, no_file, no_repository, no_hub), log = answers(ask(tmp_path, endpoint, *names))
    assert loaded["before"] == "download of 1 MB" and loaded["after"] == "cached, 1 MB"
    assert loaded["sum"] == pytest.approx(expected, rel=1e-4)
    for said, repository in ((no_file, "timm/test_vit2.r160_in1k"), (no_repository, "timm/vit_small_patch14_dinov2.lvd142m")):
        assert f"{repository}) are not public at {endpoint} as model.safetensors" in said["error"]
        assert said["after"] == said["before"]
    assert f"could not be downloaded from {endpoint} (HTTP 404). Check the network" in no_hub["error"]
    assert "model.safetensors" in Hub.asked and not any(name.endswith((".bin", ".pth")) for name in Hub.asked)
    assert "Traceback" not in log

    # The hub is gone now: its port refuses connections.
    refused, offline = (ask(tmp_path, endpoint, "test_vit", "test_vit2", **more) for more in ({}, {"HF_HUB_OFFLINE": "1"}))
    for process, words in ((refused, "HF_ENDPOINT"), (offline, "HF_HUB_OFFLINE forbids")):
        (loaded, failed), log = answers(process)
        assert loaded["before"] == "cached, 1 MB" and loaded["sum"] == pytest.approx(expected, rel=1e-4)
        for part in (words, "2 MB", "'vit-s14-saliency' needs no download"):
            assert part in failed["error"]
        assert failed["seconds"] < 10 and "Traceback" not in log and "Retry" not in log
