"""Fixtures that several test files share."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tiny import RANDOM, SIZE, saved_task

from vpt_core.execute import tune
from vpt_core.runs import Run
from vpt_core.spec import Spec

torch.set_num_threads(1)  # for models this small, more threads only wait for each other


@pytest.fixture(scope="session")
def task_folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A saved task of three classes with ten images each, as a `Spec` names it."""
    return saved_task(tmp_path_factory.mktemp("tasks") / "small")


@pytest.fixture(scope="session")
def small_spec(task_folder: str) -> Spec:
    """VPT-deep on a random backbone: a run of about a second."""
    few = {"prompts": 2}
    return Spec(task=task_folder, backbone=RANDOM, options=few, image_size=SIZE, epochs=3, batch_size=6, lr=1e-2, seed=4)


@pytest.fixture(scope="session")
def finished_run(small_spec: Spec, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """`small_spec`, done. Only to be read; `copied_run` may be changed."""
    return tune(small_spec, tmp_path_factory.mktemp("runs"))


@pytest.fixture(scope="session")
def two_runs(finished_run: Run, small_spec: Spec, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A root with a linear probe and VPT-deep on the same images. Only to be read."""
    root = tmp_path_factory.mktemp("results")
    shutil.copytree(finished_run.folder, root / finished_run.name)
    tune(replace(small_spec, method="linear", options={}), root)
    return root


@pytest.fixture
def copied_run(finished_run: Run, tmp_path: Path) -> Run:
    folder = tmp_path / finished_run.name
    shutil.copytree(finished_run.folder, folder)
    return Run(folder)
