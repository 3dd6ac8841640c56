"""Prompt files to and from a hub on the loopback interface, and the sentence for every way that fails."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np
import pytest
from huggingface_hub import ModelCard, close_session, constants
from hypothesis import given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from markdown_it.common.utils import escapeHtml
from PIL import Image
from standin_hub import HEAD, TOKEN, Hub, Repository, serving
from tiny import SIZE

from app.results import Result
from app.tabs import save
from app.ui import build
from vpt_core import hub as core
from vpt_core.__main__ import main
from vpt_core.errors import UserError
from vpt_core.hub import CARD, FILE, pull_prompt, push_prompt
from vpt_core.model_card import MOST_CLASSES, _code, model_card
from vpt_core.prompt_file import MAX_BYTES, load_prompt, read_about, save_prompt
from vpt_core.tasks.names import clean_name, shorten

NAME = "ada/flowers-vpt"
SECRET = "hf_nobody\nshould-see"
ROOT = Path(__file__).parents[1]


@pytest.fixture(autouse=True)
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """The stand-in, which is all that the tests of this process can reach; nobody is logged in."""
    with serving() as served:
        _reach(monkeypatch, served.endpoint)
        for name, value in {"HF_HUB_CACHE": str(tmp_path / "cache"), "HF_TOKEN_PATH": str(tmp_path / "token")}.items():
            monkeypatch.setattr(constants, name, value)
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)  # the stand-in speaks the older protocol of large files
        for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv("NO_PROXY", "127.0.0.1,localhost")
        close_session()
        yield served
    close_session()


def _reach(monkeypatch: pytest.MonkeyPatch, endpoint: str) -> None:
    monkeypatch.setattr(constants, "ENDPOINT", endpoint)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", endpoint + "/{repo_id}/resolve/{revision}/{filename}")


def refuse(work: Any, *arguments: Any, **rest: Any) -> str:
    with pytest.raises(UserError) as error:
        work(*arguments, **rest)
    said = str(error.value)
    assert len(said) < 400 and "\n" not in said and "Traceback" not in said and "hf_" not in said
    return said


def test_there_and_back(hub, finished_run):
    assert push_prompt(finished_run.folder, NAME, TOKEN) == f"{hub.endpoint}/{NAME}"
    there = hub.repositories[NAME]
    assert there.commits == [[CARD, FILE]] and not there.private
    assert there.files[CARD].decode() == model_card(finished_run.classifier().about, len(there.files[FILE]), NAME)
    hub.asked.clear()
    path = pull_prompt(NAME)
    assert path.name == FILE and path.read_bytes() == finished_run.prompt_file.read_bytes()
    assert {asked.rpartition("/")[2] for asked in hub.asked if "/resolve/" in asked} == {FILE}
    pixels = np.random.default_rng(0).integers(0, 256, (3, SIZE, SIZE, 3), dtype=np.uint8)
    assert (load_prompt(path).logits(pixels) == finished_run.classifier().logits(pixels)).all()


def test_pushing_again_replaces_both_files(hub, finished_run):
    hub.repositories[NAME] = Repository(files={".gitattributes": b"", CARD: b"earlier", FILE: b"earlier"})
    push_prompt(finished_run.prompt_file, NAME, TOKEN)
    there = hub.repositories[NAME]
    assert there.files[FILE] == finished_run.prompt_file.read_bytes() and b"earlier" not in there.files[CARD]
    assert there.commits == [[CARD, FILE]] and not any("repos/create" in asked for asked in hub.asked)


def test_a_private_repository_is_private_and_pulled_with_the_login(hub, finished_run, monkeypatch):
    push_prompt(finished_run.folder, NAME, TOKEN, private=True)
    assert hub.repositories[NAME].private
    assert "or it is private" in refuse(pull_prompt, NAME)
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    assert pull_prompt(NAME).read_bytes() == finished_run.prompt_file.read_bytes()
    push_prompt(finished_run.folder, NAME)  # and pushed to


@pytest.mark.parametrize("private", [False, True])
def test_what_is_there_and_not_for_this_stays_as_it_is(hub, finished_run, private):
    files = {FILE: b"mine"} if private else {"config.json": b"{}", CARD: b"another model"}
    hub.repositories[NAME] = Repository(files=dict(files))
    said = refuse(push_prompt, finished_run.folder, NAME, TOKEN, private)
    assert ("is public" if private else "config.json") in said
    assert hub.repositories[NAME].files == files


@pytest.mark.parametrize("name", ["", "flowers", "a/b/c", "../b", "ada/--", "a/x.git", "a/x y", "a/", "é/x", "a/" + "b" * 99])
def test_a_bad_name_is_refused_before_anything_is_asked(hub, finished_run, name):
    for work in (lambda: push_prompt(finished_run.folder, name, TOKEN), lambda: pull_prompt(name)):
        assert "is not the name of a repository" in refuse(work)
    assert hub.asked == []


@pytest.mark.parametrize("token", [None, "", "  ", SECRET, "é", "x" * 2001])
def test_what_is_no_token_is_refused_before_anything_is_asked(hub, finished_run, token):
    said = refuse(push_prompt, finished_run.folder, NAME, token)
    assert f"{hub.endpoint}/settings/tokens" in said and "nobody" not in said
    assert hub.asked == []


def test_a_file_that_cannot_be_loaded_is_not_sent(hub, copied_run):
    classifier = copied_run.classifier()
    copied_run.prompt_file.write_bytes(copied_run.prompt_file.read_bytes()[:-4])
    assert "not a valid safetensors file" in refuse(push_prompt, copied_run.folder, NAME, TOKEN)
    save_prompt(copied_run.prompt_file, classifier.model, replace(classifier.about, weights_hash="0" * 64))
    assert "was tuned on other weights" in refuse(push_prompt, copied_run.folder, NAME, TOKEN)
    copied_run.prompt_file.unlink()
    assert "There is no file" in refuse(push_prompt, copied_run.folder, NAME, TOKEN)
    assert hub.asked == []


def test_tokens_that_may_not(hub, finished_run):
    assert "does not know this token (HTTP 401)" in refuse(push_prompt, finished_run.folder, NAME, "hf_wrong")
    assert "not allowed to do that with bob/x (HTTP 403)" in refuse(push_prompt, finished_run.folder, "bob/x", TOKEN)
    assert hub.repositories == {}


def test_what_is_not_there_to_pull(hub):
    assert "There is no repository ada/flowers-vpt" in refuse(pull_prompt, NAME)
    hub.repositories[NAME] = Repository(files={CARD: b"", "model.bin": b"code"})
    assert "has no tuned.safetensors" in refuse(pull_prompt, NAME)
    assert "no such revision" in refuse(pull_prompt, NAME, "elsewhere")


def test_revisions(hub, finished_run):
    push_prompt(finished_run.folder, NAME, TOKEN)
    assert pull_prompt(NAME, HEAD) == pull_prompt(NAME, "main")


def test_what_is_too_large_is_not_fetched(hub, finished_run):
    push_prompt(finished_run.folder, NAME, TOKEN)
    hub.sizes[FILE] = MAX_BYTES + 1
    assert "537 MB at most. It was not fetched" in refuse(pull_prompt, NAME)
    assert not any(asked.startswith("GET") and FILE in asked or "/cdn/" in asked for asked in hub.asked)


def test_what_is_no_prompt_file_is_refused_when_pulled(hub, finished_run):
    whole = finished_run.prompt_file.read_bytes()
    for content in (whole[:-4], b"\x80\x04pickle", b"{}" * 100):
        hub.repositories[NAME] = Repository(files={FILE: content})
        assert "is not a valid safetensors file" in refuse(pull_prompt, NAME)


def test_no_network(finished_run, monkeypatch):
    with serving() as gone:
        pass
    _reach(monkeypatch, gone.endpoint)
    start = time.perf_counter()
    for work in (lambda: push_prompt(finished_run.folder, NAME, TOKEN), lambda: pull_prompt(NAME)):
        said = refuse(work)
        assert f"{gone.endpoint} could not be asked for {NAME}" in said and "HF_ENDPOINT" in said
    assert time.perf_counter() - start < 5


def test_offline(hub, finished_run, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    close_session()
    for work in (lambda: push_prompt(finished_run.folder, NAME, TOKEN), lambda: pull_prompt(NAME)):
        assert "HF_HUB_OFFLINE forbids" in refuse(work)
    assert hub.asked == []


def test_a_login_page_in_the_place_of_the_hub(finished_run, monkeypatch):
    handler = "standin_hub.Handler._get"
    monkeypatch.setattr(handler, lambda self, path: (200, {"Content-Type": "text/html"}, b"<html>Welcome to the hotel</html>"))
    assert "could not be asked" in refuse(push_prompt, finished_run.folder, NAME, TOKEN)
    refuse(pull_prompt, NAME)


# ---- the card


@pytest.fixture
def about(finished_run):
    return read_about(finished_run.prompt_file)


STRANGE = ["<img src=x onerror=alert(1)>", "a: b\n---", "`</code><script>`", "``", "](https://evil.example)", "|x|", "{title}"]


def test_the_card_says_what_it_is(about):
    text = model_card(replace(about, backbone="vit-b16-augreg", metrics={"test": {"correct": 3, "total": 4}}), 12_345, NAME)
    assert ModelCard(text).data.to_dict() == {
        "base_model": "timm/vit_base_patch16_224.augreg_in21k", "library_name": "vpt_core",
        "pipeline_tag": "image-classification", "tags": ["visual-prompt-tuning", "vpt-deep"],
    }  # fmt: skip
    for part in (about.weights_hash, "VPT-deep on ViT-B/16", "`prompts = 2`", "12 kB", "3 of 4 (75%, 95 % interval 30% to 95%)",
                 "3 classes: `a`, `b`, `c`", f'vpt_core.load_prompt(vpt_core.pull_prompt("{NAME}"))'):
        assert part in text


@pytest.mark.parametrize("backbone", ["vit-s14-saliency", "vit-b16-augreg:random", "swin-t:own.safetensors"])
def test_a_backbone_that_the_hub_does_not_have_is_not_named_as_base_model(about, backbone):
    assert "base_model" not in ModelCard(model_card(replace(about, backbone=backbone), 1)).data.to_dict()


def test_strangers_words_stay_words(about):
    strange = replace(about, classes=STRANGE, task=STRANGE[0], options={STRANGE[0]: STRANGE[1]}, weights_hash=STRANGE[2])
    plain = model_card(replace(about, classes=list("abcdefg")), 1)
    text = model_card(strange, 1)
    assert ModelCard(text).data.to_dict() == ModelCard(plain).data.to_dict()
    shown = MarkdownIt("gfm-like", {"linkify": False, "html": True}).render(ModelCard(text).text)
    assert "<img" not in shown and "<script" not in shown and "evil.example)" in shown and 'href="https://evil' not in shown
    for name in STRANGE:
        assert f"<code>{escapeHtml(clean_name(name))}</code>" in shown


@settings(deadline=None)
@given(st.text(max_size=120))
def test_any_text_is_one_code_span(text):
    shown = MarkdownIt("commonmark").render(f"x {_code(text)} y")
    assert shown == f"<p>x <code>{escapeHtml(shorten(clean_name(text)))}</code> y</p>\n"


@pytest.mark.parametrize("test", [None, 3, {}, {"correct": 5, "total": 4}, {"correct": "<b>", "total": 4}, {"correct": 1}])
def test_a_test_result_that_is_none_is_not_shown(about, test):
    assert "- Test: the file does not say\n" in model_card(replace(about, metrics={"test": test}), 1)


def test_many_classes_are_counted(about):
    text = model_card(replace(about, classes=[f"c{i}" for i in range(MOST_CLASSES + 1234)]), 1)
    assert "1334 classes" in text and f"`c{MOST_CLASSES - 1}` and 1,234 more" in text and f"`c{MOST_CLASSES}`" not in text


# ---- the command and the page


def test_the_command(hub, finished_run, tmp_path):
    """In a process of its own, where the hub's library reads the environment as it does for a person."""
    photo, file = tmp_path / "photo.png", tmp_path / "mine.safetensors"
    Image.new("RGB", (40, 40), "orange").save(photo)
    commands = [["push", str(finished_run.folder), NAME, "--private"], ["pull", NAME], ["pull", NAME, "--to", str(file)],
                ["predict", str(file), str(photo)], ["predict", str(finished_run.folder), str(photo)],
                ["pull", NAME, "--to", str(file)]]  # fmt: skip
    code = f"from vpt_core.__main__ import main\nprint([main(c) for c in {commands}])"
    kept = {k: v for k, v in os.environ.items() if not k.startswith("HF_") and not k.lower().endswith("_proxy")}
    settings = {"HF_HOME": str(tmp_path / "home"), "HF_ENDPOINT": hub.endpoint, "HF_TOKEN": TOKEN, "HF_HUB_DISABLE_XET": "1"}
    done = subprocess.run([sys.executable, "-c", code], env=kept | settings, cwd=ROOT, capture_output=True, text=True)
    url, cached, copy, predicted, expected, codes = done.stdout.splitlines()
    assert url == f"{hub.endpoint}/{NAME}" and hub.repositories[NAME].private
    assert Path(cached).is_relative_to(tmp_path / "home") and copy == str(file) and predicted == expected
    assert Path(cached).read_bytes() == file.read_bytes() == finished_run.prompt_file.read_bytes()
    assert codes == "[0, 0, 0, 0, 0, 2]" and "is there already" in done.stderr and "Traceback" not in done.stderr


def test_the_command_says_what_is_wrong(finished_run, tmp_path, capsys):
    assert main(["push", str(finished_run.folder), NAME]) == 2
    assert "Pushing needs a token" in capsys.readouterr().err
    push_prompt(finished_run.folder, NAME, TOKEN)
    assert main(["pull", NAME, "--to", str(tmp_path / "no" / "folder.safetensors")]) == 2
    assert "cannot be written" in capsys.readouterr().err


@pytest.fixture
def on_show(finished_run, monkeypatch) -> tuple[str, str]:
    """Key of a result with the finished run, and the run's name."""
    monkeypatch.setattr(save, "find_seed", lambda key: Result("key", (finished_run,)) if key else None)
    return "key", finished_run.name


def test_the_page_pushes_with_the_visitors_token_only(hub, on_show, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", TOKEN)  # the server's own
    with pytest.raises(gr.Error, match="Paste a token"):
        save.push(*on_show, NAME, " ", False)
    with pytest.raises(gr.Error, match="HTTP 401"):
        save.push(*on_show, NAME, "hf_theirs", False)
    with pytest.raises(gr.Error, match="no run to push"):
        save.push(None, None, NAME, TOKEN, False)
    assert hub.repositories == {}
    pushed = save.push(*on_show, f" {NAME} ", TOKEN, True)
    assert pushed.value == f"Pushed: <{hub.endpoint}/{NAME}>" and hub.repositories[NAME].private


def test_the_page_forgets_the_token_after_success_and_failure():
    config = build().get_config_file()
    (token,) = [c["id"] for c in config["components"] if c["props"].get("elem_id") == "save-token"]
    (pushing,) = [d["id"] for d in config["dependencies"] if token in d["inputs"]]
    after = [d for d in config["dependencies"] if d["trigger_after"] == pushing and d["outputs"] == [token]]
    assert [(d["trigger_only_on_success"], d["trigger_only_on_failure"]) for d in after] == [(True, False), (False, True)]


def test_the_token_never_reaches_a_log(on_show, caplog, capfd, monkeypatch):
    def broken(*_: Any, **__: Any) -> None:
        raise KeyError("a bug")

    monkeypatch.setattr(core.HfApi, "create_commit", broken)
    with pytest.raises(gr.Error, match="Something went wrong"):
        save.push(*on_show, NAME, TOKEN, False)
    assert "a bug" in caplog.text and TOKEN not in caplog.text + "".join(capfd.readouterr())
