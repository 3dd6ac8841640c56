"""The line of jobs and what a public server keeps: turns, bounds, caps, the log, and what is dropped and when."""

from __future__ import annotations

import json
import logging
import os
import time
from pathlib import Path

import faked
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tiny import RANDOM
from visiting import photos, until

from app import caps, downloads, joblog, keeper, results, settings, visitors
from app.jobs import JOBS, Job, Jobs, in_turn
from app.keeper import Holding, to_drop
from app.tabs import unfinished
from app.visitors import Visitors
from vpt_core.errors import UserError
from vpt_core.runs import Run, new_run, write_json
from vpt_core.spec import Spec

QUICK = Spec(task="sprites-count", backbone=RANDOM, method="vpt-deep", image_size=32, shots=1, epochs=2)
LONG = Spec(**{**QUICK.to_json(), "epochs": 1000})


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_tokens_are_long_random_and_only_digests_are_kept():
    there = Visitors()
    tokens = {there.enter(bad, f"s{i}") for i, bad in enumerate(["", None, 7, "short", "x" * 44, "ü" * 43, ["x"] * 43])}
    assert len(tokens) == 7 and all(len(token) == 43 for token in tokens)
    assert there.enter(max(tokens), "t") == max(tokens)
    assert not any(token in str(vars(there)) for token in tokens)
    assert there.owner("unknown") is None and there.owner(None) is None and there.owner("") is None


def test_a_folder_that_goes_while_it_is_measured_does_not_count(tmp_path, monkeypatch):
    for name in ("kept", "dropped/inside"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "file").write_bytes(bytes(10))
    assert visitors.size(tmp_path) == 20
    real, place_elsewhere = os.scandir, tmp_path.with_name("elsewhere")

    def scandir(place):
        if Path(place).name == "dropped":  # after its name was read, before what is in it
            Path(place).rename(place_elsewhere)
        return real(place)

    monkeypatch.setattr(os, "scandir", scandir)
    assert visitors.size(tmp_path) == 10 and visitors.size(tmp_path / "nowhere") == 0


def test_who_is_away_is_counted_from_the_last_page_on():
    clock = Clock()
    there = Visitors(clock)
    token = there.enter("", "one")
    there.enter(token, "two")
    owner = there.owner("one")
    there.leave("one")
    clock.now += 100
    assert there.away(owner) == 0  # the other page is open
    there.leave("two")
    there.leave("two")
    clock.now += 20
    assert there.away(owner) == 20 and there.used(owner) == 1100
    there.enter(token, "three")
    assert there.away(owner) == 0
    there.forget(before=clock.now + 1)
    assert there.owner("three") is None and there.away(owner) == 0 and there.used(owner) == 0


HOLDINGS = st.lists(
    st.builds(Holding, owner=st.uuids().map(str), used=st.floats(0, 10_000), bytes=st.integers(0, 100), busy=st.booleans()),
    max_size=12,
)


@given(holdings=HOLDINGS, idle=st.floats(700, 9000), room=st.integers(0, 500))
def test_the_oldest_idle_ones_go_and_never_a_busy_one(holdings, idle, room):
    now = 10_000.0
    gone = set(to_drop(holdings, now, idle, room))
    kept = [h for h in holdings if h.owner not in gone]
    for h in holdings:
        if h.owner in gone:
            assert not h.busy and now - h.used > keeper.PRESENT
            assert not any(k.used < h.used and not k.busy for k in kept)  # nobody older stays
        else:
            assert h.busy or now - h.used <= idle
    may_go = [h for h in kept if not h.busy and now - h.used > keeper.PRESENT]
    assert not may_go or sum(h.bytes for h in kept) <= room


def test_a_sweep_drops_folders_by_their_last_use(tmp_path, monkeypatch):
    monkeypatch.setattr(settings, "RUNS", tmp_path)
    monkeypatch.setattr(settings, "IDLE_MINUTES", 10)
    now = time.time()
    for name, minutes in (("old", 11), ("busy", 30), ("new", 9)):
        (tmp_path / "visitors" / name).mkdir(parents=True)
        os.utime(tmp_path / "visitors" / name, (now - 60 * minutes,) * 2)
    jobs = Jobs.__new__(Jobs)
    jobs.active = lambda: [Job([], owner="busy")]
    assert keeper.sweep(now, jobs) == ["old"]
    assert sorted(p.name for p in (tmp_path / "visitors").iterdir()) == ["busy", "new"]


def test_what_is_dropped_is_gone_from_memory_and_downloads_too(tmp_path, monkeypatch):
    monkeypatch.setattr(settings, "RUNS", tmp_path)
    place = visitors.folder_of("x" * 32)
    place.mkdir(parents=True)
    (place / "photo.png").write_bytes(b"private")
    (download := downloads.new_folder()).joinpath("run.zip").write_bytes(b"private")
    results.cached_task("sprites-count")
    keeper.drop("x" * 32)
    assert not list(visitors.all_folders().iterdir()) and not download.exists()
    assert results.cached_task.cache_info().currsize == 0
    keeper.drop("y" * 32)  # who has nothing


def test_visitors_take_turns():
    def job(owner: str, number: int) -> Job:
        return Job([], owner=owner, number=number)

    ada, bob = [job("ada", n) for n in (1, 2, 3)], [job("bob", n) for n in (4, 5)]
    late = job("carl", 6)
    order = in_turn([*ada, *bob, late], {"ada": 1})
    assert order == [bob[0], late, ada[0], bob[1], ada[1], ada[2]]
    assert in_turn([job("", n) for n in (3, 1, 2)], {})[0].number == 1 and in_turn([], {}) == []


def test_the_line_has_bounds_and_says_where_one_is(tmp_path, monkeypatch):
    monkeypatch.setattr(settings, "JOBS_EACH", 2)
    monkeypatch.setattr(settings, "QUEUE", 2)
    jobs = Jobs()
    first = jobs.submit([LONG], tmp_path / "a", "ada", seconds=40)
    until(lambda: first.state == "running")
    second, third = jobs.submit([QUICK], tmp_path / "a", "ada", 20), jobs.submit([QUICK], tmp_path / "b", "bob", 10)
    assert (jobs.ahead(first), jobs.ahead(third), jobs.ahead(second)) == (0, 1, 2)
    assert 30 < jobs.wait(third) <= 40 and 40 < jobs.wait(second) <= 50
    with pytest.raises(UserError, match="2 tunings of yours are in line, and 2 are allowed at once"):
        jobs.submit([QUICK], tmp_path / "a", "ada")
    with pytest.raises(UserError, match="The line is full: 2 tunings are waiting, for about 70 s. Try again later"):
        jobs.submit([QUICK], tmp_path / "c", "carl")
    assert not (tmp_path / "c").exists()
    for job in (second, third, first):
        jobs.stop(job)
    until(lambda: not first.active)
    assert (second.state, third.state) == ("stopped", "stopped") and first.runs[0].status["state"] in ("stopped", "failed")
    assert second.runs[0].status["state"] == "failed"
    assert jobs.get(first.id, "bob") is None and jobs.get(first.id, None) is None and jobs.get(first.id, "ada") is first


def test_a_tuning_that_takes_much_longer_than_estimated_is_stopped(tmp_path, monkeypatch):
    jobs = Jobs()
    monkeypatch.setattr(settings, "JOB_MINUTES", 1e-4)
    job = jobs.submit([LONG], tmp_path)
    until(lambda: not job.active)
    assert job.state in ("stopped", "failed") and job.stopping.is_set()


def test_caps_are_said_before_the_start(tmp_path, monkeypatch):
    monkeypatch.setattr(settings, "PUBLIC", True)
    monkeypatch.setattr(visitors, "own_folder", lambda: tmp_path)
    monkeypatch.setattr(settings, "JOB_MINUTES", 10)
    caps.check_caps([QUICK], 599)
    with pytest.raises(UserError, match="This would take about 20 min; this server allows 10 min at once. Take fewer epochs"):
        caps.check_caps([QUICK], 1200)
    full = Spec(backbone="vit-b16-in21k", method="full", image_size=224)
    with pytest.raises(UserError, match=r"have 0 MB and this would need up to 1,7\d\d MB more .* 500 MB are allowed"):
        caps.check_caps([full], 10)
    monkeypatch.setattr(settings, "PUBLIC", False)
    monkeypatch.setattr(settings, "JOB_MINUTES", 0)
    caps.check_caps([full], 1e9)


def test_the_log_of_jobs_has_no_names(tmp_path, caplog):
    caplog.set_level(logging.INFO, "vpt.jobs")
    jobs = Jobs()
    task = photos(tmp_path / "secret.zip", ("kim", "lee"))
    job = jobs.submit([Spec(**{**QUICK.to_json(), "task": str(task)})], tmp_path / "runs", "owner-digest", 3)
    until(lambda: not job.active)
    lines = [json.loads(record.message) for record in caplog.records if record.name == "vpt.jobs"]
    assert [line["event"] for line in lines] == ["waiting", "started", "ended"]
    assert lines[0]["methods"] == ["vpt-deep"] and lines[2]["images"] == 8 and lines[2]["state"] == "done"
    assert not any(word in str(lines) for word in ("secret", "kim", "owner-digest", job.id, job.runs[0].name, "127.0"))


def test_the_log_is_a_json_line_on_stderr(capsys):
    before = list(joblog.log.handlers), joblog.log.propagate
    joblog.begin()
    joblog.note("started", 3)
    joblog.log.handlers[:], joblog.log.propagate = before
    line = json.loads(capsys.readouterr().err)
    assert line.pop("at").endswith("+00:00") and line == {"event": "started", "job": 3}


def test_a_broken_run_is_offered_and_goes_on(tmp_path, monkeypatch):
    monkeypatch.setattr(settings, "RUNS", tmp_path)
    assert not unfinished.offer()[0].visible
    run = new_run(QUICK, tmp_path)
    write_json(run.folder / "status.json", run.status | {"process": "999999999-gone"})
    section, choice = unfinished.offer()
    assert section.visible and choice.value == run.name and "0 of 2 epochs" in choice.choices[0][0]
    job = JOBS.get(unfinished.go_on(run.name))
    assert not unfinished.offer()[0].visible
    until(lambda: not job.active)
    assert job.state == "done" and Run(run.folder).finished
    with pytest.raises(Exception, match="nothing is left to do"):
        unfinished.go_on(run.name)
    with pytest.raises(Exception, match="There is no run"):
        unfinished.go_on("../x")


def test_tidying_removes_the_checkpoint_of_a_finished_run(tmp_path):
    run = faked.judged(tmp_path / "a", QUICK, np.ones(3, bool))
    run.checkpoint.write_bytes(b"x")
    keeper.tidy(tmp_path)
    assert not run.checkpoint.exists() and run.finished


def test_logins_are_a_pair_or_a_file_of_pairs(tmp_path):
    file = tmp_path / "logins"
    file.write_text("ada:one:two\n\n bob:three \n")
    assert settings.logins("") is None and settings.logins("class:x") == [("class", "x")]
    assert settings.logins(str(file)) == [("ada", "one:two"), ("bob", "three")]
    for bad in ("nocolon", ":x", "x:"):
        with pytest.raises(SystemExit, match="VPT_LOGIN has to be name:password"):
            settings.logins(bad)


def test_copies_of_uploads_are_bounded_oldest_first(tmp_path, monkeypatch):
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
    for age in range(5):
        file = tmp_path / str(age) / "photo.jpg"
        file.parent.mkdir()
        file.write_bytes(bytes(1000))
        os.utime(file, (1000 - age, 1000 - age))
    assert downloads.trim(most=5000, before=1e9) == 0
    assert downloads.trim(most=3000, before=1e9) == 2 and {f.parent.name for f in tmp_path.rglob("*.jpg")} == {"0", "1", "2"}
    assert downloads.trim(most=0, before=998) == 1  # whoever sent the others a moment ago still needs them
