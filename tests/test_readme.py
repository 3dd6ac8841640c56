"""The README's examples of the library run as they stand there; only the tasks are made smaller, so that they take seconds."""

from __future__ import annotations

import re
from pathlib import Path

from markdown_it import MarkdownIt
from PIL import Image

from vpt_core import Spec, load_task, tune
from vpt_core.methods import METHODS

README = Path(__file__).resolve().parents[1] / "README.md"


def _examples(section: str = "The library") -> list[str]:
    text = README.read_text(encoding="utf-8").split(f"\n## {section}\n")[1].split("\n## ")[0]
    tokens = MarkdownIt().parse(text)
    return [token.content for token in tokens if token.type == "fence" and token.info == "python"]


def test_the_readme_has_its_four_examples():
    tune, compare, swap, own = _examples()
    assert "load_prompt(" in tune and "compare(" in compare and "load_prompts(" in swap and "METHODS[" in own


def test_the_examples_run(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Image.new("RGB", (64, 48), (200, 30, 30)).save("photo.jpg")
    names: dict[str, object] = {}
    try:
        for code in _examples():
            smaller, count = re.subn(r"shots=16", "shots=1, epochs=1, image_size=28", code)
            smaller = smaller.replace("**METHODS[method].recipe", "").replace("resized(112)", "resized(28)")
            assert count
            exec(compile(smaller, str(README), "exec"), names)
    finally:
        METHODS.pop("shift", None)
    said = capsys.readouterr().out
    assert "of 270" in said and "prompting is" in said and "top left" in said
    assert len(list((tmp_path / "runs").iterdir())) == 9
    assert names["Shift"].__name__ == "Shift" and names["many"].names == ("Which place", "Which shape")



def test_the_examples_of_looking_inside_run(tmp_path, capsys):
    run = tune(Spec(task="sprites-position", method="vpt-deep", shots=1, epochs=2, image_size=28), tmp_path)
    image = load_task("sprites-position").resized(28)[0]
    names: dict[str, object] = {"run": run, "classifier": run.classifier(), "image": image}
    for section in ("Looking inside", "What an answer rests on"):
        (code,) = _examples(section)
        exec(compile(code.replace("resized(112)", "resized(28)"), str(README), "exec"), names)
    assert names["features"].shape == (4, 100, 384) and names["maps"].shape == (4, 100, 2)
    assert names["found"].patches.shape == (2, 2) and "random" in capsys.readouterr().out
