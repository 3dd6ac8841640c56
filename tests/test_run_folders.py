"""Run folders that somebody damaged: what is read from them is whole, or it is a sentence that names the file."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from vpt_core.errors import UserError
from vpt_core.runs import Run, list_runs
from vpt_core.spec import Spec

scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10)
values = scalars | st.lists(scalars, max_size=3) | st.dictionaries(st.text(max_size=5), scalars, max_size=3)
same_folder = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)


def read(run: Run) -> None:
    assert isinstance(run.spec, Spec) and run.status["state"] and isinstance(run.history, list)


@pytest.mark.parametrize("name", ["spec.json", "status.json"])
@given(data=st.data())
@same_folder
def test_any_value_in_a_record_is_read_or_refused(name, data, copied_run, finished_run):
    record = json.loads((finished_run.folder / name).read_text())
    record[data.draw(st.sampled_from([*record, "more"]))] = data.draw(values)
    (copied_run.folder / name).write_text(json.dumps(record))
    try:
        read(Run(copied_run.folder))
    except UserError as error:
        assert str(error)


@pytest.mark.parametrize("name", ["spec.json", "status.json", "history.jsonl"])
@given(noise=st.binary(max_size=40), share=st.floats(0, 1))
@same_folder
def test_any_bytes_in_a_record_are_read_or_refused(name, noise, share, copied_run, finished_run):
    good = (finished_run.folder / name).read_bytes()
    at = int(share * len(good))
    (copied_run.folder / name).write_bytes(good[:at] + noise + good[at + len(noise) :])
    try:
        read(Run(copied_run.folder))
    except UserError as error:
        assert str(error)
    (copied_run.folder / name).write_bytes(good)


@pytest.mark.parametrize("text", ["", "[]", "[" * 100_000, "\0", '{"state": "running"}', '{"state": ["done"]}'])
def test_a_damaged_status_names_the_file_and_the_run(text, copied_run: Run, tmp_path: Path):
    (copied_run.folder / "status.json").write_text(text)
    with pytest.raises(UserError, match=f"status.json of the run {copied_run.name} is damaged"):
        _ = copied_run.status


@pytest.mark.parametrize("name", ["spec.json", "status.json", "history.jsonl"])
def test_a_damaged_run_does_not_hide_the_others(name, copied_run: Run, finished_run: Run, caplog):
    root = copied_run.folder.parent
    whole = shutil.copytree(finished_run.folder, root / "20990101-000000-whole")
    (copied_run.folder / name).write_text("{{\n")
    assert [run.folder for run in list_runs(root)] == [whole]
    assert name in caplog.text and copied_run.name in caplog.text
