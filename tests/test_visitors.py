"""A public server: visitors are kept apart, whatever way they ask."""

from __future__ import annotations

import json
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path

import gradio as gr
import httpx
import pytest
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError
from visiting import Visitor, photos, serving, until

from app import health, keeper, settings, visitors
from app.jobs import JOBS
from vpt_core.run_zip import pack_run
from vpt_core.runs import list_runs


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Settings of a public server, and its folder."""
    folder = tmp_path_factory.mktemp("public")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(settings, "PUBLIC", True)
        patch.setattr(settings, "RUNS", folder / "runs")
        patch.setattr(settings, "JOBS_EACH", 3)
        yield folder


@pytest.fixture(scope="module")
def url(home: Path) -> Iterator[str]:
    with serving() as address:
        yield address


@pytest.fixture(scope="module")
def bob(url: str) -> Visitor:
    """Another one, with nothing."""
    return Visitor(url)


@pytest.fixture(scope="module")
def ada(url: str, home: Path) -> Visitor:
    """A visitor with a data set of her own, tuned."""
    ada = Visitor(url)
    ada.upload(photos(home / "secret cats.zip", ("adas-cat", "adas-dog")))
    ada.tune(methods=["vpt-deep"], epochs=1)
    until(lambda: not JOBS.get(ada.job, owner_of(ada)).active)
    assert JOBS.get(ada.job, owner_of(ada)).state == "done"
    return ada


def owner_of(visitor: Visitor) -> str:
    return visitors.VISITORS.owner(visitor.client.session_hash)


def hers(key: str) -> bool:
    return json.loads(key)[0] == "False"


def test_what_a_visitor_makes_is_there_for_them_after_a_reload(ada, url):
    assert [hers(key) for key in ada.results()] == [True, False]
    again = Visitor(url, token=ada.token)
    assert again.token == ada.token and again.results() == ada.results()
    again.source = ada.source
    assert "adas-cat" in str(again.call("show", again.source))


def test_nobody_else_sees_it_on_the_page(ada, bob):
    assert bob.token != ada.token and not any(map(hers, bob.results()))
    (key, _) = ada.results()
    with pytest.raises(AppError, match="not in the list of choices"):
        bob.call("pack", key, None)
    with pytest.raises(AppError, match="not on this computer"):
        bob.call("show", ada.source)
    with pytest.raises(AppError, match="not on this computer"):
        bob.call("begin", ada.source, *bob.form())
    assert bob.call("look", ada.job) is None
    bob.call("halt", ada.job)
    assert not JOBS.get(ada.job, owner_of(ada)).stopping.is_set() and JOBS.get(ada.job, owner_of(bob)) is None
    assert bob.call("held") == "You have 0.0 MB here."


def test_a_page_that_did_not_say_who_it_is_gets_nothing(ada, bob):
    assert "lost touch with the server. Reload it" in bob.raw("begin", "sprites-position", *bob.form())
    answer = bob.raw("look", ada.job)
    assert '"success":true' in answer and "Done" not in answer


def test_a_session_stays_its_owners(ada, url):
    number = next(i for i, e in enumerate(ada._events) if e["api_name"] == "enter")
    body = {"data": ["x" * 43], "fn_index": number, "session_hash": ada.client.session_hash}
    answer = httpx.post(f"{url}/gradio_api/run/predict", json=body)
    assert answer.status_code == 500 and "lost touch" in answer.text
    assert [hers(key) for key in ada.results()] == [True, False]


def test_files_of_a_visitor_have_no_address(ada, url):
    (run,) = list_runs(visitors.folder_of(owner_of(ada)))
    inside = [f for f in settings.RUNS.rglob("*") if f.is_file()]
    assert len(inside) > 8
    for file in [*inside[:12], run.prompt_file, Path("app.py").resolve(), Path("/etc/passwd")]:
        for path in (file, f"{run.folder}/../{run.name}/{file.name}"):
            assert httpx.get(f"{url}/gradio_api/file={path}").status_code in (403, 404), path


def test_a_path_on_the_server_is_not_an_upload(ada, bob):
    (run,) = list_runs(visitors.folder_of(owner_of(ada)))
    for path in (run.folder / "logits.npy", run.prompt_file, "/etc/hostname"):
        answer = bob.raw("take", {"path": str(path), "meta": {"_type": "gradio.FileData"}}, bob.source)
        assert '"success":false' in answer and '"error":null' in answer  # refused before the handler was asked


def test_a_saved_run_that_is_loaded_is_ones_own_and_leads_to_nobodys_images(ada, url, home):
    (run,) = list_runs(visitors.folder_of(owner_of(ada)))
    pack_run(run, home / "run.zip")
    spec = {"spec.json": json.dumps(run.spec.to_json())}  # with the place of her images
    with zipfile.ZipFile(home / "run.zip") as good, zipfile.ZipFile(home / "forged.zip", "w") as forged:
        for name in good.namelist():
            forged.writestr(name, spec.get(name.split("/")[-1], good.read(name)))
    eve = Visitor(url)
    answer, _ = eve.call("load", handle_file(home / "forged.zip"), None)
    key = answer["value"]
    assert json.loads(key)[0] == "loaded" and key in eve.results() and key not in ada.results()
    assert "adas-cat" in str(eve.fill("compare-classes", key))  # the zip says so
    (mine,) = list_runs(visitors.folder_of(owner_of(eve)))
    assert str(settings.RUNS) not in mine.spec.task
    with pytest.raises(AppError, match="images of this result are not on this computer"):
        eve.fill("try-samples", key)
    (home / "no.zip").write_bytes(b"PK no")
    with pytest.raises(AppError, match="damaged or incomplete"):
        eve.call("load", handle_file(home / "no.zip"), key)


def test_cards_of_classes_say_what_was_dropped_there_and_open_nothing(bob, home):
    (home / "1.jpg").write_bytes(b"no photo")
    said = bob.call("count", "<b>", *[None] * 5, [handle_file(home / "1.jpg")] * 4, *[None] * 5)
    assert said[0] == "4 images." and said[-1] == "4 images in 1 class so far. Needed: 2 classes with 3 images each."


def test_the_pages_own_texts_name_nobody(ada, url):
    said = httpx.get(f"{url}/config").text + httpx.get(url).text + httpx.get(f"{url}/gradio_api/info").text
    assert "adas-cat" not in said and owner_of(ada) not in said and ada.token not in said and "secret cats" not in said


def test_the_health_route_counts_and_names_nobody(ada, url):
    answer = httpx.get(f"{url}/health")
    assert answer.json() == {"ok": True, "version": "0.1.0", "running": 0, "waiting": 0}


def test_a_closed_page_stops_its_tuning_and_a_reload_does_not(url, monkeypatch):
    first = Visitor(url)
    first.tune(methods=["vpt-deep"], epochs=1000, shots=1)
    job = JOBS.get(first.job, owner_of(first))
    second = Visitor(url, token=first.token)
    mine = owner_of(first)
    first.leave()
    monkeypatch.setattr(settings, "GRACE_SECONDS", 0)
    time.sleep(0.3)
    keeper.stop_left()
    assert job.active and visitors.VISITORS.away(mine) == 0
    second.leave()
    until(lambda: visitors.VISITORS.away(mine) > 0)
    keeper.stop_left()
    until(lambda: not job.active)
    assert job.state in ("stopped", "failed") and job.message


def test_a_visitor_can_delete_everything(bob, home):
    bob.upload(photos(home / "bob.zip", ("e", "f")))
    place = visitors.folder_of(owner_of(bob))
    assert place.is_dir()
    assert bob.call("delete") == ("sprites-position", "", "Everything was deleted.")
    assert not place.exists() and not list(place.parent.glob(".*"))


def test_a_login_shuts_out_others_but_not_the_health_route():
    with gr.Blocks() as page:
        gr.Markdown("hello")
    _, address, _ = page.launch(
        auth=settings.logins("class:s3cret"), app_kwargs={"routes": health.ROUTES}, prevent_thread_lock=True, quiet=True
    )
    assert httpx.get(f"{address}config").status_code == 401
    assert httpx.get(f"{address}health").json()["ok"]
    assert Client(address, auth=("class", "s3cret"), verbose=False).config
    page.close(verbose=False)
