"""The report: one file that fetches and runs nothing, shows strangers' words as text, and says what the run says."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from faked import run as faked_run

from vpt_core.__main__ import main
from vpt_core.analysis import knock_out, save_knockout, silhouette
from vpt_core.embed import drain
from vpt_core.errors import UserError
from vpt_core.report import report, write_report
from vpt_core.report.examples import chosen
from vpt_core.runs import Run
from vpt_core.spec import Spec
from vpt_core.tasks import load_task

EVIL = ["<img src=x onerror=alert(1)>", "\"'><script>alert(2)</script>", "</style></title><iframe src=//evil>"]


class Seen(HTMLParser):
    """Tags with their attributes, and all text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data

    def of(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


@pytest.fixture(scope="module")
def page(finished_run: Run) -> Seen:
    return Seen(report(finished_run))


def refuses_to_fetch(seen: Seen) -> None:
    for tag, attributes in seen.tags:
        assert tag not in ("script", "iframe", "object", "embed", "link", "base", "form", "a", "use", "image"), tag
        assert not any(name.startswith("on") for name in attributes)
        for name in ("src", "href", "srcset", "data", "action", "xlink:href"):
            assert attributes.get(name, "data:").startswith("data:image/webp;base64,") or name not in attributes
        assert "url(" not in (attributes.get("style") or "")
    policy = next(m["content"] for m in seen.of("meta") if m.get("http-equiv") == "Content-Security-Policy")
    assert "default-src 'none'" in policy and "script" not in policy


def test_it_holds_the_numbers_and_the_pictures(page: Seen, finished_run: Run):
    assert f"Test: {finished_run.test}." in page.text and "Prompt tokens 2" in page.text
    for heading in ("How it learned", "What is taken for what", "A few test images", "How tuning moved the images"):
        assert heading in page.text
    examples = len(chosen(finished_run))
    assert len(page.of("img")) == 4 * examples and page.text.count("completeness error") == 2 * examples
    assert "Attention to the prompts, layer by layer" in page.text and "Through the epochs" not in page.text
    assert len(page.of("svg")) == 5 and all(s["aria-label"] for s in page.of("svg")) and all(i["alt"] for i in page.of("img"))
    assert page.text.count("5 random orders;") == examples
    assert "What each prompt adds in" in page.text and page.text.count("layer 6") == 1
    assert f"{silhouette(finished_run.array('features'), finished_run.labels):.2f}" in page.text
    refuses_to_fetch(page)


def test_what_was_knocked_out_before_is_in_it(copied_run: Run):
    model, images = copied_run.classifier().model, load_task(copied_run.spec.task).resized(copied_run.spec.image_size)[:3]
    save_knockout(drain(knock_out(model, images, np.zeros(3, int), "layers")), copied_run.knockout_file("layers"))
    seen = Seen(report(copied_run))
    assert "Prompts taken away" in seen.text and "Taken away: all prompts of a layer. " in seen.text
    assert "Taken away: each prompt" not in seen.text and len(seen.of("svg")) == 6
    refuses_to_fetch(seen)


def test_the_way_through_the_epochs_is_in_it_where_it_was_followed(copied_run: Run):
    labels = [0, 1, 2, 0]
    np.save(copied_run.folder / "journey.npy", np.random.default_rng(0).normal(size=(5, 4, 64)).astype(np.float32))
    (copied_run.folder / "journey.json").write_text(json.dumps({"epochs": [1, 2, 3], "labels": labels, "said": [0, 1, 2, 1]}))
    seen = Seen(report(copied_run))
    assert "Through the epochs" in seen.text and "After epoch 2" in seen.text and "The same 4 test" in seen.text
    assert len(seen.of("svg")) == 10
    refuses_to_fetch(seen)


def test_strangers_words_stay_words(tmp_path: Path):
    labels = np.arange(6) % 3
    names = [f"{EVIL[0]}{i}" for i in range(6)]
    run = faked_run(tmp_path / "run", Spec(task="gone"), EVIL, labels, (labels + 1) % 3, names=names)
    status = json.loads((run.folder / "status.json").read_text())
    (run.folder / "status.json").write_text(json.dumps(status | {"task_title": EVIL[1], "reason": EVIL[2]}))
    seen = Seen(report(run))
    refuses_to_fetch(seen)
    for words in EVIL:
        assert words in seen.text
    assert not seen.of("img") and "The images of this run are not on this computer any more." in seen.text


def test_the_surest_wrong_and_right_images_are_chosen(tmp_path: Path):
    labels = np.array([0, 0, 0, 1, 1, 1])
    run = faked_run(tmp_path / "run", Spec(task="gone"), ["a", "b"], labels, np.array([0, 1, 1, 0, 1, 1]))
    logits = run.array("logits").copy()
    logits *= np.array([1, 3, 1, 2, 5, 1], np.float32)[:, None]
    np.save(run.folder / "logits.npy", logits, allow_pickle=False)
    assert chosen(run) == [1, 3, 4]


def test_numbers_that_cannot_be_are_said(tmp_path: Path):
    labels = np.zeros(6, int)
    run = faked_run(tmp_path / "run", Spec(task="gone"), ["a", "b"], labels, labels)
    assert Seen(report(run)).text.count("too few images") == 4  # of one class only: no silhouette, nothing to separate


def test_many_classes_become_a_list_of_mistakes(tmp_path: Path):
    labels, classes = np.arange(30), [f"class {k}" for k in range(30)]
    run = faked_run(tmp_path / "run", Spec(task="gone"), classes, labels, np.where(labels < 2, 5, labels))
    text = Seen(report(run)).text
    assert "1 × “class 0” called “class 5”" in text and "1 × “class 1” called “class 5”" in text and text.count("called “") == 2


def test_a_run_that_has_not_finished_is_refused(copied_run: Run):
    (copied_run.folder / "logits.npy").unlink()
    with pytest.raises(UserError, match="has not finished"):
        report(copied_run)


def test_the_command_writes_it(finished_run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch):
    monkeypatch.setattr("vpt_core.report.run_report.report", lambda run: f"<p>{run.name}")
    file = tmp_path / "report.html"
    assert main(["report", str(finished_run.folder), str(file)]) == 0 and capsys.readouterr().out.strip() == str(file)
    assert file.read_text() == f"<p>{finished_run.name}"
    assert main(["report", str(finished_run.folder), str(tmp_path / "no" / "x.html")]) == 2
    assert "cannot be written" in capsys.readouterr().err
    assert main(["report", str(tmp_path), str(file)]) == 2


def test_it_is_small(finished_run: Run, tmp_path: Path):
    file = write_report(finished_run, tmp_path / "report.html")
    assert file.stat().st_size < 1_000_000 and not re.search(r"https?://", file.read_text())
