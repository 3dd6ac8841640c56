"""The page in a real browser: the journeys of a newcomer. Skipped without a Chromium, unless VPT_REQUIRE_BROWSER is set."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Browser, Page, expect, sync_playwright
from tiny import RANDOM, SIZE

from vpt_core import Spec, load_prompt, tune

pytestmark = [pytest.mark.browser, pytest.mark.slow]
ROOT = Path(__file__).resolve().parents[1]
HOSTILE = "<img src=x onerror=alert(1)>"
TABS = ("Start", "Data", "Tune", "Compare", "Look inside", "Try it", "Save")
LONG = 240_000  # milliseconds; bounds on a busy machine, not measurements
expect.set_options(timeout=30_000)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    path = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if path is None:
        if os.environ.get("VPT_REQUIRE_BROWSER"):
            pytest.fail("VPT_REQUIRE_BROWSER is set, but there is no Chromium.")
        pytest.skip("no Chromium here")
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking"]
    with sync_playwright() as play:
        yield play.chromium.launch(executable_path=path, args=flags)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """The page as `python app.py` starts it, with empty run and cache folders; address and log file."""
    home = tmp_path_factory.mktemp("home")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    env = os.environ | {
        "GRADIO_SERVER_PORT": str(port),
        "VPT_RUNS": str(home / "runs"),
        "GRADIO_TEMP_DIR": str(home / "cache"),
        "HF_HUB_OFFLINE": "1",
    }
    log = home / "log.txt"
    with log.open("w") as out:
        process = subprocess.Popen([sys.executable, "app.py"], cwd=ROOT, env=env, stdout=out, stderr=subprocess.STDOUT)
        try:
            yield _answering(f"http://127.0.0.1:{port}", process, log), log
        finally:
            process.terminate()
            process.wait(30)


def _answering(url: str, process: subprocess.Popen, log: Path) -> str:
    for _ in range(240):
        assert process.poll() is None, log.read_text()
        try:
            urllib.request.urlopen(url, timeout=5).close()
            return url
        except OSError:
            time.sleep(0.5)
    raise AssertionError(f"no answer from {url}: {log.read_text()}")


@pytest.fixture
def page(browser: Browser, server: tuple[str, Path]) -> Iterator[Page]:
    """A visitor's page; at the end it must rest, and have had no script error, no dialog, no request to elsewhere."""
    context = browser.new_context(viewport={"width": 1280, "height": 900}, accept_downloads=True)
    page, faults = context.new_page(), []
    page.set_default_timeout(60_000)
    page.on("pageerror", lambda error: faults.append(f"script error: {error}"))
    page.on("dialog", lambda dialog: (faults.append(f"dialog: {dialog.message}"), dialog.dismiss()))
    page.on("request", lambda request: None if _local(request.url, server[0]) else faults.append(f"request to {request.url}"))
    page.goto(server[0])
    yield page
    _rests(page)
    context.close()
    assert not faults
    assert "Traceback" not in server[1].read_text()


def _rests(page: Page) -> None:
    """Wait until the page has asked nothing of the server for some seconds; it must come to that."""
    calls: list[str] = []
    page.on("request", lambda request: calls.append(request.post_data or "") if "queue/join" in request.url else None)
    for _ in range(30):
        before = len(calls)
        page.wait_for_timeout(3000)
        if len(calls) == before:
            return
    raise AssertionError(f"the page goes on asking: {calls[-20:]}")


def _local(url: str, address: str) -> bool:
    return url.startswith((address, "data:", "blob:"))


def _open(page: Page, tab: str) -> None:
    page.get_by_role("tab", name=TABS[0], exact=True).first.wait_for()
    button = page.get_by_role("tab", name=tab, exact=True)
    if not button.first.is_visible():  # on a phone the last tabs are in a menu
        page.locator(".overflow-menu > button").first.click()
        page.locator(".overflow-dropdown button", has_text=tab).click()
        return
    button.first.click()


def _tune(page: Page, epochs: int, shots: int) -> None:
    _open(page, "Tune")
    for name, value in (("epochs", epochs), ("shots", shots)):
        field = page.locator(f"#tune-{name} input[type=number]")
        field.fill(str(value))
        field.press("Tab")
    expect(page.locator("#tune-estimate")).to_contain_text("images train")
    page.locator("#tune-go").click()


def _two_results(page: Page) -> None:
    expect(page.locator("#tune-cards article")).to_have_count(2, timeout=LONG)
    expect(page.locator("#tune-status")).to_contain_text("Done", timeout=LONG)
    expect(page.locator("#tune-cards")).to_contain_text(re.compile(r"\d+ of \d+ test images, 95 % interval"))


def _looked_inside(page: Page) -> None:
    """Attention and maps of the result on show."""
    _open(page, "Look inside")
    viewer = page.locator("#inspect-attention")
    expect(viewer).to_contain_text("to the 10 prompts", timeout=LONG)
    slider = viewer.locator("input[type=range]").first
    slider.focus()
    slider.press("Home")
    expect(viewer).to_contain_text("Layer 1 of 12")
    expect(page.locator("#inspect-shares svg.main-svg").first).to_be_visible()
    page.get_by_role("tab", name="How images moved").click()
    expect(page.locator("#inspect-map-status")).to_contain_text("Drawn by UMAP", timeout=LONG)
    for chart in ("#inspect-before", "#inspect-after"):
        expect(page.locator(f"{chart} svg.main-svg").first).to_be_visible()


def test_a_recorded_run_is_on_screen_at_once(page: Page) -> None:
    cards = page.locator("#start-cards article")
    expect(cards.first).to_contain_text("Linear probe")
    expect(cards.last).to_contain_text("VPT-deep")
    expect(page.locator("#start-before svg.main-svg").first).to_be_visible()
    viewer = page.locator("#start-attention")
    slider = viewer.locator("input[type=range]").first
    slider.focus()
    slider.press("Home")
    expect(viewer).to_contain_text("Layer 1 of 12")
    slider.press("ArrowRight")
    expect(viewer).to_contain_text("Layer 2 of 12")


def test_a_structured_task_from_data_to_prompt_file(page: Page, tmp_path: Path) -> None:
    _open(page, "Data")
    page.locator("#data-task").get_by_text("How many").click()
    expect(page.locator("#data-about")).to_contain_text("How many shapes are there?")
    expect(page.locator("#data-cards")).to_contain_text("540")
    page.locator("#data-next").click()
    _tune(page, epochs=1, shots=2)
    _two_results(page)
    expect(page.locator("#tune-curves svg.main-svg").first).to_be_visible()

    page.locator("#tune-compare").click()
    expect(page.locator("#compare-verdict")).to_contain_text("of 180", timeout=LONG)
    expect(page.locator("#compare-table")).to_contain_text("VPT-deep")
    expect(page.locator("#compare-confusion-1 svg.main-svg").first).to_be_visible()
    _looked_inside(page)

    _open(page, "Try it")
    page.locator("#try-samples button.thumbnail-item, #try-samples .grid-container button").first.click()
    expect(page.locator("#try-answer")).to_contain_text("It is: 1 object", timeout=LONG)
    expect(page.locator("#try-bars")).to_contain_text("%")

    _open(page, "Save")
    expect(page.locator("#save-code")).to_contain_text("load_prompt")
    with page.expect_download() as download:
        page.locator("#save-prompt").click()
    download.value.save_as(tmp_path / "prompts.safetensors")
    classifier = load_prompt(tmp_path / "prompts.safetensors")
    assert classifier.about.method == "vpt-deep" and len(classifier.classes) == 6

    page.reload()  # runs are folders: they are still there
    _open(page, "Compare")
    expect(page.locator("#compare-verdict")).to_contain_text("of 180")


def _zip(path: Path) -> Path:
    """Two classes, one with a hostile name, and a broken file."""
    random = np.random.default_rng(0)
    with zipfile.ZipFile(path, "w") as archive:
        for c, name in enumerate(("cat", HOSTILE)):
            for i in range(30):
                noise = random.integers(0, 80, (40, 40, 3), dtype=np.uint8)
                noise[..., c] += 150
                image = path.with_name("one.png")
                Image.fromarray(noise).save(image)
                archive.write(image, f"mine/{name}/{i}.png")
        archive.writestr("mine/cat/broken.jpg", b"not an image")
    return path


def test_a_zip_of_own_images(page: Page, tmp_path: Path) -> None:
    _open(page, "Data")
    page.locator("#data-upload input[type=file]").set_input_files(_zip(tmp_path / "pets.zip"))
    expect(page.locator("#data-cards")).to_contain_text("60", timeout=LONG)
    expect(page.locator("#data-skipped")).to_contain_text("broken.jpg")
    expect(page.locator("#data-counts")).to_contain_text(HOSTILE)
    _tune(page, epochs=1, shots=0)
    _two_results(page)
    _looked_inside(page)
    expect(page.locator("#inspect-line")).to_contain_text("Image 1")
    _open(page, "Try it")
    photo = tmp_path / "photo.png"
    Image.fromarray(np.full((60, 40, 3), (200, 20, 20), np.uint8)).save(photo)
    page.locator("#try-photo input[type=file]").set_input_files(photo)
    expect(page.locator("#try-bars")).to_contain_text(HOSTILE, timeout=LONG)
    expect(page.locator("#try-bars")).to_contain_text("cat")


def test_a_bad_zip_is_answered_with_a_sentence(page: Page, tmp_path: Path) -> None:
    bad = tmp_path / "bad.zip"
    bad.write_bytes(b"<html>404</html>")
    _open(page, "Data")
    expect(page.locator("#data-cards")).to_contain_text("Images")
    page.locator("#data-upload input[type=file]").set_input_files(bad)
    expect(page.locator(".toast-body").first).to_contain_text("zip")


def test_looking_inside_follows_without_the_server(page: Page) -> None:
    _open(page, "Look inside")
    viewer = page.locator("#inspect-attention")
    expect(viewer).to_contain_text("to the 10 prompts", timeout=LONG)
    _rests(page)  # what the tab loads by itself
    calls: list[str] = []
    page.on("request", lambda request: calls.append(request.url) if "queue/join" in request.url else None)
    slider = viewer.locator("input[type=range]").first
    slider.focus()
    for _ in range(6):
        slider.press("ArrowLeft")
    expect(viewer).to_contain_text("Layer 6 of 12")
    viewer.locator("button.vpt-prompt").nth(2).click()
    expect(viewer).to_contain_text("In layer 6 prompt 3 gives")
    viewer.locator("select.vpt-view").select_option("rollout")
    expect(viewer).to_contain_text("Traced back from layer 6")
    took = slider.evaluate("""input => {
      const times = [];
      for (let layer = 1; layer <= 12; layer++) {
        const before = performance.now();
        input.value = layer;
        input.dispatchEvent(new Event("input"));
        times.push(performance.now() - before);
      }
      return times.sort((a, b) => a - b)[6];
    }""")
    assert took < 50, took  # milliseconds of a redraw, the middle one
    assert calls == []
    with page.expect_download() as saved:
        viewer.get_by_role("button", name="JSON").click()
    assert '"to_prompts"' in saved.value.path().read_text()
    with page.expect_download() as saved:
        page.locator("#inspect-shares").get_by_role("button", name="CSV").click()
    assert saved.value.path().read_text().startswith("trace,x,y,value,text\n")


def test_a_click_on_a_point_is_followed_by_all_views(page: Page) -> None:
    _open(page, "Look inside")
    expect(page.locator("#inspect-attention")).to_contain_text("to the 10 prompts", timeout=LONG)
    page.get_by_role("tab", name="How images moved").click()
    page.locator("#inspect-layer input").click()
    page.get_by_role("option", name="layer 2", exact=True).click()
    expect(page.locator("#inspect-after-title")).to_contain_text("layer 2", timeout=LONG)
    expect(page.locator("#inspect-map-status")).to_contain_text("Drawn by UMAP", timeout=LONG)
    expect(page.locator("#inspect-space")).to_contain_text("of layer 2")
    expect(page.locator("#inspect-around-after-said")).to_contain_text("layer 2", timeout=LONG)
    chart = page.locator("#inspect-after .js-plotly-plot")
    image = chart.evaluate("chart => chart.data.find(trace => trace.customdata?.length > 3).customdata[3]")
    chart.evaluate("""(chart, image) => {
      const curve = chart.data.findIndex(trace => trace.customdata?.includes(image));
      const point = chart.data[curve].customdata.indexOf(image), { x, y, customdata } = chart.data[curve];
      chart.emit("plotly_click", { points: [{ curveNumber: curve, pointNumber: point, customdata: customdata[point],
                                              x: x[point], y: y[point] }] });
    }""", image)
    said = f"image {image + 1} "
    expect(page.locator("#inspect-line")).to_contain_text(f"I{said[1:]}")
    expect(page.locator("#inspect-around-after-said")).to_contain_text(said)
    expect(page.locator("#inspect-attention")).to_contain_text(f"Image {image + 1},")
    with page.expect_download() as saved:
        page.locator("#inspect-around-csv").click()
    assert saved.value.path().read_text().startswith("map,rank,image,class\n")
    page.get_by_role("tab", name="Knock-out").click()
    expect(page.locator("#knockout-answer-said")).to_contain_text(f"mage {image + 1}", timeout=LONG)
    page.locator("#inspect-filter").get_by_text("Surest errors").click()
    expect(page.locator("#inspect-count")).to_contain_text("images that this method gets wrong")


def test_an_explained_image_is_shown_whole_again(page: Page) -> None:
    _open(page, "Look inside")
    expect(page.locator("#inspect-attention")).to_contain_text("to the 10 prompts", timeout=LONG)
    page.locator("#inspect-run").get_by_text("Linear probe").click()
    page.get_by_role("tab", name="Attribution").click()
    page.locator("#inspect-explain").click()
    strip, line = page.locator("#inspect-strip .grid-container button"), page.locator("#inspect-attribution-line")
    for image in (1, 2, 1):
        strip.nth(image - 1).click()
        expect(line).to_contain_text(f"of image {image} ", timeout=LONG)
        expect(page.locator("#inspect-deletion-said")).to_contain_text("random order", timeout=LONG)
        _rests(page)
        expect(page.locator("#inspect-deletion svg.main-svg").first).to_be_visible()
        expect(page.locator("#inspect-deletion .vpt-empty")).to_be_hidden()
        expect(page.locator("#inspect-attribution-pair img")).to_have_count(2)


def test_the_way_through_the_epochs_is_stepped_without_the_server(page: Page, server: tuple[str, Path]) -> None:
    spec = Spec(task="sprites-count", backbone=RANDOM, options={"prompts": 2}, image_size=SIZE, shots=4, epochs=3)
    tune(spec, server[1].parent / "runs")
    page.reload()
    page.locator("#result input").click()
    page.get_by_role("option", name=f"{SIZE} px").click()
    _open(page, "Look inside")
    page.get_by_role("tab", name="How images moved").click()
    page.locator("#inspect-map").get_by_text("PCA").click()
    expect(page.locator("#inspect-map-status")).to_contain_text("Drawn by PCA")
    expect(page.locator("#journey-guess")).to_contain_text("3 of 3 kept epochs")
    page.locator("#journey-go").click()
    expect(page.locator("#journey-status")).to_contain_text("Done", timeout=LONG)
    expect(page.locator("#journey-drawn")).to_contain_text("Drawn by PCA")
    _rests(page)
    calls: list[str] = []
    page.on("request", lambda request: calls.append(request.url) if "queue/join" in request.url else None)
    chart = page.locator("#journey-chart")
    places = "chart => chart.data.flatMap(trace => trace.customdata ? Array.from(trace.x) : [])"
    before = chart.locator(".js-plotly-plot").evaluate(places)
    slider = chart.locator("input[type=range]")
    slider.focus()
    slider.press("ArrowRight")
    expect(chart).to_contain_text("Step 2 / 5: epoch 1")
    slider.press("End")
    expect(chart).to_contain_text("Step 5 / 5: tuned (epoch")
    after = chart.locator(".js-plotly-plot").evaluate(places)
    assert len(before) == len(after) > 100 and before != after
    chart.get_by_role("button", name="Play").click()
    expect(chart).to_contain_text("Step 3 / 5: epoch 2")
    chart.get_by_role("button", name="Pause").click()
    assert calls == []
    with page.expect_download() as saved:
        chart.get_by_role("button", name="CSV").click()
    lines = saved.value.path().read_text().splitlines()
    assert lines[0] == "step,trace,x,y,value,text" and sum(line.startswith("epoch 2,") for line in lines) >= len(after)


def test_knock_out_of_layers(page: Page) -> None:
    _open(page, "Look inside")
    expect(page.locator("#inspect-attention")).to_contain_text("to the 10 prompts", timeout=LONG)
    page.get_by_role("tab", name="Knock-out").click()
    expect(page.locator("#knockout-status")).to_contain_text("Done before, for 200 images.", timeout=LONG)
    expect(page.locator("#knockout-said")).to_contain_text("of the 120 knock-outs")
    page.locator("#knockout-scope").get_by_text("all prompts of a layer").click()
    expect(page.locator("#knockout-said")).to_contain_text("of the 12 knock-outs", timeout=LONG)
    page.locator("#knockout-count").get_by_text("8", exact=True).click()
    expect(page.locator("#knockout-guess")).to_contain_text("8 of the 270")
    page.locator("#knockout-go").click()
    expect(page.locator("#knockout-status")).to_contain_text("Done for 8 images.", timeout=LONG)
    expect(page.locator("#knockout-said")).to_contain_text("the 8 images")
    expect(page.locator("#knockout-chart svg.main-svg").first).to_be_visible()
    expect(page.locator("#knockout-table")).to_contain_text("all prompts of layer")


def test_stop_keeps_the_best(page: Page) -> None:
    _tune(page, epochs=500, shots=1)
    expect(page.locator("#tune-status")).to_contain_text("VPT-deep (2 of 2): epoch", timeout=LONG)
    expect(page.locator("#tune-curves svg.main-svg").first).to_be_visible()
    page.locator("#tune-stop").click()
    expect(page.locator("#tune-status")).to_contain_text("Stopped in epoch", timeout=LONG)
    expect(page.locator("#tune-cards article")).to_have_count(2)


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_a_phone_never_scrolls_sideways(page: Page, server: tuple[str, Path], theme: str) -> None:
    page.set_viewport_size({"width": 390, "height": 844})
    page.goto(f"{server[0]}/?__theme={theme}")
    for tab in TABS:
        _open(page, tab)
        page.wait_for_timeout(1000)
        assert page.evaluate("document.documentElement.scrollWidth") <= 390, tab
