"""The command line: what it prints, how it exits, and that it never shows a traceback for what a person did."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from pets import photo, two_classes, zipped
from tiny import RANDOM

from vpt_core import execute as execution
from vpt_core.__main__ import TABLES, main
from vpt_core.backbones import BACKBONES
from vpt_core.errors import UserError
from vpt_core.methods import METHODS
from vpt_core.options import flag, options_of
from vpt_core.runs import Run, list_runs
from vpt_core.spec import Spec
from vpt_core.tasks import PAGE_LIMITS, TASKS
from vpt_core.train import Epoch

ROOT = Path(__file__).parents[1]


@pytest.fixture
def tuning(task_folder: str, tmp_path: Path) -> list[str]:
    """Arguments of a run of about a second."""
    return ["tune", "--task", task_folder, "--backbone", RANDOM, "--image-size", "32", "--epochs", "2", "--lr", "0.01",
            "--batch-size", "6", "--prompts", "3", "--runs", str(tmp_path / "runs")]  # fmt: skip


def refused(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """What is said on stderr, in a sentence or two, when the exit code is 2."""
    try:
        code = main(arguments)
    except SystemExit as end:  # argparse
        code = end.code
    said = capsys.readouterr()
    assert code == 2 and said.err.strip() and "Traceback" not in said.err
    return said.err


def python(*arguments: str, **rest) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, *arguments], cwd=ROOT, capture_output=True, text=True, **rest)


@pytest.mark.parametrize(("what", "table"), zip(TABLES, (TASKS, METHODS, BACKBONES), strict=True))
def test_list_prints_a_name_a_line(what, table, capsys):
    assert main(["list", what]) == 0
    assert capsys.readouterr().out.splitlines() == list(table)


def test_check_accepts(tmp_path, capsys):
    files = {f"train/{path}": data for path, data in two_classes().items()}
    files |= {f"test/{name}/9.jpg": photo(i) for i, name in enumerate(("cat", "dog"))} | {"train/cat/notes.txt": b"x"}
    source = zipped(tmp_path, files)
    assert main(["check", str(source), "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["accepted"] is True and report["images"] == 12 and report["splits"] == {"train": 10, "test": 2}
    assert report["classes"] == {name: {"train": 5, "test": 1} for name in ("cat", "dog")}
    assert [name for name, _ in report["skipped"]] == ["train/cat/notes.txt"]
    assert main(["check", str(source)]) == 0
    out = capsys.readouterr().out
    assert "pets.zip" in out and "train/cat/notes.txt" in out


def test_check_refuses(tmp_path, capsys):
    source = zipped(tmp_path, {"cat/1.jpg": photo(1)})
    assert main(["check", str(source), "--json"]) == 2
    said = capsys.readouterr()
    answer = json.loads(said.out)
    assert answer["accepted"] is False and answer["refusal"].startswith("Only one class") and said.err == ""
    assert "Only one class" in refused(["check", str(source)], capsys)
    assert "nowhere" in refused(["check", str(tmp_path / "nowhere")], capsys)


def test_check_has_the_limits_of_the_page_on_request(tmp_path, capsys):
    source = zipped(tmp_path, {f"cat/{i}.txt": b"" for i in range(PAGE_LIMITS.entries + 1)})
    assert "no image" in refused(["check", str(source)], capsys)
    assert "more than 5,000 files" in refused(["check", "--page", str(source)], capsys)


@pytest.mark.parametrize("good", [True, False])
def test_check_needs_no_torch(good, tmp_path):
    source = zipped(tmp_path, two_classes() if good else {"cat/1.jpg": photo(1)})
    code = ("import sys; from vpt_core.__main__ import main; code = main(['check', sys.argv[1], '--json']); "
            "sys.exit(9 if {'torch', 'timm'} & set(sys.modules) else code)")
    done = python("-c", code, str(source), timeout=60)
    assert done.returncode == (0 if good else 2) and json.loads(done.stdout)["accepted"] is good


def test_a_bad_data_set_as_a_command(tmp_path):
    done = python("-m", "vpt_core", "check", str(tmp_path), timeout=60)
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr.startswith("vpt_core: ") and "Traceback" not in done.stderr


def test_tune_prints_epochs_and_the_folder_last(tuning, tmp_path, capsys):
    assert main(tuning) == 0
    lines = capsys.readouterr().out.splitlines()
    run = Run(Path(lines[-1]))
    assert run.folder.parent == tmp_path / "runs" and run.status["state"] == "done"
    assert (run.spec.epochs, run.spec.backbone, run.spec.image_size, run.spec.method) == (2, RANDOM, 32, "vpt-deep")
    assert run.spec.options == {"prompts": 3}
    epochs = [line for line in lines if line.startswith("epoch ")]
    first = run.history[0]
    assert len(epochs) == 2 and epochs[0].startswith(f"epoch 1/2  loss {first.loss:.4f}  val {first.val_correct} of 6 (")
    assert epochs[0].endswith("*")
    assert lines[-2].startswith(f"Test: {run.test}. Learned {run.status['trained']:,} numbers, ")


def test_every_option_is_a_flag(capsys):
    with pytest.raises(SystemExit) as end:
        main(["tune", "--help"])
    text = capsys.readouterr().out
    names = [*options_of(Spec), *(name for method in METHODS.values() for name in options_of(method.Options))]
    assert end.value.code == 0 and all(f"{flag(name)} " in text for name in names)


@pytest.mark.parametrize("method", METHODS)
def test_each_method_is_tuned_by_its_recipe_unless_told_otherwise(method, monkeypatch, capsys):
    asked = []

    def new_run(spec, root):
        asked.append(spec)
        raise UserError("that is enough")

    monkeypatch.setattr("vpt_core.runs.new_run", new_run)
    refused(["tune", "--method", method], capsys)
    refused(["tune", "--method", method, "--epochs", "7", "--weight-decay", "0.5"], capsys)
    recipe = METHODS[method].recipe
    assert asked == [Spec(method=method, **recipe), Spec(method=method, **recipe | {"epochs": 7, "weight_decay": 0.5})]


def test_ctrl_c_keeps_the_best(tuning, capsys, monkeypatch):
    handler = signal.getsignal(signal.SIGINT)
    real = execution.execute

    def interrupted(run, stop):
        for record in real(run, stop):
            yield record
            if isinstance(record, Epoch) and record.epoch == 1:
                signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(execution, "execute", interrupted)
    assert main([*tuning, "--epochs", "900"]) == 0
    lines = capsys.readouterr().out.splitlines()
    run = Run(Path(lines[-1]))
    assert run.status["state"] == "stopped" and run.finished and len(run.history) == 1
    assert "Stopping after this batch; the best epoch is kept." in lines
    assert any(line.startswith("Stopped in epoch 2. The best model (epoch 1") for line in lines)
    assert signal.getsignal(signal.SIGINT) is handler


@pytest.mark.slow
def test_ctrl_c_in_a_terminal(tuning, tmp_path):
    command = [sys.executable, "-m", "vpt_core", *tuning, "--epochs", "1000"]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        said = []
        for line in process.stdout:
            said.append(line)
            if line.startswith("epoch 2/"):
                break
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=120)
    finally:
        process.kill()
    run = Run(Path(out.splitlines()[-1]))
    assert process.returncode == 0 and err == ""
    assert run.status["state"] == "stopped" and run.finished and 2 <= len(run.history) < 1000


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--task", "sprite-count"], "There is no task 'sprite-count'"),
        (["--method", "vpt-deap"], "There is no method 'vpt-deap'. Did you mean 'vpt-deep'? Choose one of: linear, "),
        (["--backbone", "vit-xxl"], "There is no backbone 'vit-xxl'"),
        (["--method", "linear"], "Linear probe (linear) has no option 'prompts'; it has no options"),
        (["--epochs", "0"], "Epochs is 0; it has to be from 1 to 1000"),
        (["--lr", "nan"], "Learning rate is nan; it has to be a finite number"),
        (["--lr", "fast"], "--lr"),
        (["--epochs", "1.5"], "--epochs"),
        (["--prompts", "501"], "Prompt tokens is 501"),
        (["--layers", "0-3"], "Prompted layers is '0-3'"),
        (["--image-size", "33"], "33 is no multiple of that. Use 32 or 48"),
        (["--colour", "red"], "--colour"),
    ],
)
def test_what_cannot_be_tuned(arguments, words, tuning, capsys):
    assert words in refused([*tuning, *arguments], capsys)


@pytest.mark.parametrize("arguments", [[], ["dance"], ["list"], ["list", "colours"], ["check"], ["show"], ["predict", "x"]])
def test_what_is_no_command(arguments, capsys):
    assert "usage:" in refused(arguments, capsys)


def test_show(finished_run, capsys):
    assert main(["show", str(finished_run.folder)]) == 0
    text = capsys.readouterr().out
    assert text.startswith("VPT-deep on ") and ", done." in text.splitlines()[0]
    assert f"Test: {finished_run.test}" in text and RANDOM in text
    assert main(["show", str(finished_run.folder), "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown == {"spec": finished_run.spec.to_json(), "status": finished_run.status}


def test_show_a_failed_run(tuning, tmp_path, capsys):
    refused([*tuning, "--task", "nowhere"], capsys)
    (run,) = list_runs(tmp_path / "runs")
    assert main(["show", str(run.folder)]) == 0
    text = capsys.readouterr().out
    assert ", failed. " in text and "There is no task 'nowhere'" in text and "Test:" not in text


def test_show_what_is_no_run(tmp_path, capsys):
    assert "is not the folder of a run: it has no spec.json" in refused(["show", str(tmp_path)], capsys)


def test_predict(finished_run, tmp_path, capsys):
    images = []
    for i in range(2):
        images.append(str(tmp_path / f"{i}.jpg"))
        Path(images[-1]).write_bytes(photo(i))
    shares = finished_run.classifier().predict(images)
    for source in (finished_run.folder, finished_run.prompt_file):
        assert main(["predict", str(source), *images]) == 0
        lines = capsys.readouterr().out.splitlines()
        assert len(lines) == 2
        for line, image, row in zip(lines, images, shares, strict=True):
            best = "abc"[row.argmax()]
            assert line.startswith(f"{image}: {best} {row.max():.1%}, ") and line.count("%") == 3


def test_predict_what_cannot_be(finished_run, tmp_path, capsys):
    (tmp_path / "x.jpg").write_bytes(b"no image")
    good = str(finished_run.folder)
    assert "cannot be used" in refused(["predict", good, str(tmp_path / "x.jpg")], capsys)
    assert "none.jpg" in refused(["predict", good, str(tmp_path / "none.jpg")], capsys)
    assert "There is no file" in refused(["predict", str(tmp_path), str(tmp_path / "x.jpg")], capsys)
    assert "not a valid safetensors file" in refused(["predict", str(tmp_path / "x.jpg"), str(tmp_path / "x.jpg")], capsys)


def test_the_version(capsys):
    with pytest.raises(SystemExit) as end:
        main(["--version"])
    assert end.value.code == 0 and capsys.readouterr().out.strip() == "0.1.0"
