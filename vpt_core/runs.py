"""A run is a folder, and it is the truth.

    spec.json            what was asked
    history.jsonl        a line an epoch
    status.json          state, reason, classes, scores, seconds, versions
    tuned.safetensors    only what was learned (a prompt file)
    test.json            labels and file names of the test images
    logits.npy           (N, classes) float32, of the test images
    features.npy         (N, d) float32, what the head saw of them
    frozen.npy           (N, d) float32, the same from the untuned backbone
    epochs/NNN.safetensors   what was learned after epoch NNN, where the features move and it is small (`vpt_core.epochs`)
    umap.npy, journey.npy, journey.json   maps and features along the epochs, once the page was asked for them; those of an
                         earlier layer in journey-LAYER.npy
    checkpoint.safetensors   only until it is finished: all that training needs to go on (`vpt_core.checkpoint`)
"""

from __future__ import annotations

import io
import json
import logging
import os
import re
import secrets
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from vpt_core.backbones import Backbone, card
from vpt_core.epochs import kept_epochs
from vpt_core.errors import UserError
from vpt_core.files import write_whole
from vpt_core.ledger import FLOAT32, FULL, Cost
from vpt_core.methods import METHODS
from vpt_core.metrics import Score
from vpt_core.prompt_file import Classifier, load_prompt
from vpt_core.shortage import shortages_in_words
from vpt_core.spec import Spec
from vpt_core.train import Epoch

log = logging.getLogger(__name__)

_TOKEN = secrets.token_hex(4)
WAITING, FINISHED = ("waiting", "running"), ("done", "stopped")
STATES = (*WAITING, *FINISHED, "interrupted", "failed")
_PROCESS = re.compile(r"[0-9]{1,9}-[0-9a-z]+")
_NAME = re.compile(r"[0-9a-z][0-9a-z.-]{0,99}")


class Run:
    """A run folder, read on demand. Cheap to make; what it returns is what the files hold now."""

    def __init__(self, folder: Path) -> None:
        self.folder = Path(folder)
        self.name = self.folder.name

    @cached_property
    def spec(self) -> Spec:
        return Spec.from_json(_read_json(self.folder / "spec.json"))

    @property
    def status(self) -> dict[str, Any]:
        """`status.json`, its `state` waiting, running, done, stopped, interrupted or failed.

        A run that says "waiting" or "running" in a process that is gone is reported as interrupted.
        """
        path = self.folder / "status.json"
        status = _read_json(path)
        going_on = status.get("state") in WAITING
        if status.get("state") not in STATES or (going_on and not _PROCESS.fullmatch(str(status.get("process")))):
            raise _damaged(path)
        if going_on and not _alive(status["process"]):
            status |= {"state": "interrupted", "reason": "The program ended while this run was going on."}
        return status

    @property
    def history(self) -> list[Epoch]:
        path = self.folder / "history.jsonl"
        try:
            lines = path.read_text().split("\n") if path.exists() else [""]
            return [Epoch(**json.loads(line)) for line in lines[:-1]]  # what follows the last line's end is half a line
        except (ValueError, TypeError, RecursionError) as error:
            raise _damaged(path) from error

    @property
    def finished(self) -> bool:
        """True when there is something learned to look at."""
        return (self.folder / "logits.npy").exists() and self.status["state"] in FINISHED

    @property
    def unfinished(self) -> bool:
        """True when it was broken off and can be gone on with, from its checkpoint or from the start."""
        state = self.status["state"]
        return state == "interrupted" or (state == "failed" and self.checkpoint.exists())

    @property
    def classes(self) -> list[str]:
        return self.status["classes"]

    @property
    def title(self) -> str:
        return METHODS[self.spec.method].title

    @property
    def test(self) -> Score:
        return Score(**self.status["test"])

    def array(self, name: str) -> np.ndarray:
        """`logits`, `features` or `frozen` of the test images, in the order of `labels`."""
        return np.load(self.folder / f"{name}.npy", allow_pickle=False)

    @property
    def labels(self) -> np.ndarray:
        """True classes (N,) of the test images."""
        return np.array(_read_json(self.folder / "test.json")["labels"], dtype=np.int64)

    @property
    def image_names(self) -> list[str]:
        return _read_json(self.folder / "test.json")["names"]

    @property
    def prompt_file(self) -> Path:
        return self.folder / "tuned.safetensors"

    @property
    def epochs(self) -> dict[int, Path]:
        """Prompt files of what it had learned after an epoch, for those that were kept."""
        return kept_epochs(self.folder)

    def knockout_file(self, scope: str) -> Path:
        """Where knock-outs of a scope (`vpt_core.analysis.SCOPES`) are kept once they were computed."""
        return self.folder / f"knockout-{scope}.safetensors"

    @property
    def checkpoint(self) -> Path:
        return self.folder / "checkpoint.safetensors"

    @property
    def cost(self) -> Cost:
        """What this task adds to the storage of a finished run's backbone."""
        return Cost(self.status["trained"], self.status["file_bytes"], whole=self.spec.method == FULL)

    @property
    def backbone_bytes(self) -> int:
        """Size of the frozen backbone in float32, as the prompt files are, whatever its own weight file has."""
        return FLOAT32 * self.status["backbone_parameters"]

    def classifier(self, backbone: Backbone | None = None) -> Classifier:
        """The tuned model, from the folder alone and a frozen backbone."""
        return load_prompt(self.prompt_file, backbone)


def list_runs(root: Path) -> list[Run]:
    """The run folders under `root`, newest first. A damaged one is left out, and the log says which file it is."""
    folders = sorted((f.parent for f in Path(root).glob("*/spec.json")), key=lambda f: f.name, reverse=True)
    return [run for run in map(Run, folders) if _readable(run)]


def _readable(run: Run) -> bool:
    try:
        _ = run.spec, run.status, run.history
    except UserError as error:
        log.warning("left out of the list: %s", error)
        return False
    return True


def open_run(root: Path, name: str) -> Run:
    """The run called `name` under `root`. Raises `UserError` when there is none; `name` is never used as a path."""
    if not _NAME.fullmatch(name) or not (Path(root) / name / "spec.json").is_file():
        raise UserError(f"There is no run {name!r} here any more. Choose one of the list.")
    return Run(Path(root) / name)


def check_spec(spec: Spec) -> None:
    """Raise `UserError` when `spec` cannot be, as far as that is known without images and weights."""
    method = METHODS[spec.method]
    method.check(method.read_options(spec.options), card(spec.backbone), spec.image_size)


def new_run(spec: Spec, root: Path) -> Run:
    """Make the folder of a run that is yet to be executed. Raises `UserError` when `spec` cannot be."""
    check_spec(spec)
    with shortages_in_words():
        folder = make_folder(spec, root)
        write_json(folder / "status.json", {"state": "waiting", "reason": "", "process": process_id()})
        write_json(folder / "spec.json", spec.to_json())  # last: it is what makes a folder a run for `list_runs`
    return Run(folder)


def make_folder(spec: Spec, root: Path) -> Path:
    """An empty folder for a run of `spec`, named so that no other one has its name and the order of names is that of making."""
    label = re.sub(r"[^a-z0-9]+", "-", f"{Path(spec.task).stem[:30]}-{spec.method}".lower()).strip("-")
    folder = Path(root) / f"{datetime.now():%Y%m%d-%H%M%S-%f}-{label}-{secrets.token_hex(3)}"
    folder.mkdir(parents=True)
    return folder


def check_unfinished(run: Run) -> None:
    """Raise `UserError` when there is nothing to go on with in `run`, or when it goes on already."""
    state = run.status["state"]
    if state in WAITING:
        raise UserError(f"{run.name} is {state}; wait until it has ended, or stop it.")
    if state in FINISHED:
        raise UserError(f"{run.name} is {state}: nothing is left to do in it. Tune anew for more epochs.")


def put_in_line(run: Run) -> None:
    """Record of a run that was broken off that this process will go on with it."""
    write_json(run.folder / "status.json", run.status | {"state": "waiting", "reason": "", "process": process_id()})


def give_up(run: Run, reason: str) -> None:
    """Record of a run that was waiting that it will not be executed."""
    write_json(run.folder / "status.json", run.status | {"state": "failed", "reason": reason})


def process_id() -> str:
    """This process, told apart from an earlier one of the same number, as a container gives it after a restart."""
    return f"{os.getpid()}-{_TOKEN}"


def _alive(process: str) -> bool:
    number = int(process.partition("-")[0])
    if number == os.getpid():
        return process == process_id()
    try:
        os.kill(number, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # somebody else's, so it is there
        return True
    return True


def _read_json(path: Path) -> dict[str, Any]:
    """What is written in a file of a run. Raises `UserError` when it is no JSON object."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError, RecursionError) as error:
        raise _damaged(path) from error
    if not isinstance(data, dict):
        raise _damaged(path)
    return data


def _damaged(path: Path) -> UserError:
    return UserError(f"{path.name} of the run {path.parent.name} is damaged or missing. Take its folder out of the runs.")


def write_json(path: Path, data: Any) -> None:
    """Write `path` whole or not at all."""
    write_whole(path, json.dumps(data, indent=1, ensure_ascii=False).encode())


def write_array(path: Path, array: np.ndarray) -> None:
    """Write `path` (.npy) whole or not at all."""
    buffer = io.BytesIO()  # numpy itself does not say that a disk was full
    np.save(buffer, array, allow_pickle=False)
    write_whole(path, buffer.getvalue())
