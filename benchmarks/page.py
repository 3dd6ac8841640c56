"""What a person waits for on the page: seconds from the press of Tune to the first point of a curve, and to each result.

    python benchmarks/page.py            three times; results/page.csv
    python benchmarks/page.py --table

`fashion` (10 classes of 16 images) on the bundled backbone at 112 px: the linear probe, then VPT-deep with 10 prompts for 10
epochs. Server and browser (a Chromium, headless) share the machine; each time is a new server, 30 s after its first answer,
when it has warmed up. Needs requirements-dev.txt and an otherwise idle machine: this is the clock's time.
"""

from __future__ import annotations

import argparse
import csv
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Page, expect, sync_playwright

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
from benchmarks.side_by_side import machine  # noqa: E402

FILE = ROOT / "benchmarks" / "results" / "page.csv"
PORT = 7961
FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking"]
WAITS = {
    "first point": "the first point of a curve",
    "linear": "the linear probe's result",
    "deep": "VPT-deep's result",
}


def main() -> None:
    """Measure, keep, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--times", type=int, default=3)
    parser.add_argument("--table", action="store_true", help="only print the table")
    args = parser.parse_args()
    if not args.table:
        write([measure() for _ in range(args.times)])
    with FILE.open() as file:
        print(table(list(csv.DictReader(file))))


def measure() -> dict[str, float]:
    """Seconds from the press of Tune to what is in `WAITS`, with a server and a browser of its own."""
    with server() as address, sync_playwright() as play:
        browser = play.chromium.launch(executable_path=shutil.which("chromium") or shutil.which("google-chrome"), args=FLAGS)
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        page.goto(address)
        choose(page)
        time.sleep(30)
        return watched(page)


@contextmanager
def server() -> Iterator[str]:
    """The page as `python app.py` starts it, with empty folders; its address, once it answers."""
    with tempfile.TemporaryDirectory() as home:
        env = os.environ | {"GRADIO_SERVER_PORT": str(PORT), "VPT_RUNS": home, "GRADIO_TEMP_DIR": f"{home}/cache"}
        process = subprocess.Popen([sys.executable, "app.py"], cwd=ROOT, env=env, stderr=subprocess.DEVNULL)
        try:
            while process.poll() is None:
                try:
                    urllib.request.urlopen(f"http://127.0.0.1:{PORT}/health", timeout=5).close()
                    break
                except OSError:
                    time.sleep(0.5)
            yield f"http://127.0.0.1:{PORT}"
        finally:
            process.terminate()
            process.wait(30)


def choose(page: Page) -> None:
    """The task in Data; the rest are the defaults of Tune."""
    page.get_by_role("tab", name="Data", exact=True).click()
    page.locator("#data-task").get_by_text("Fashion").click()
    expect(page.locator("#data-about")).to_contain_text("Fashion")
    page.locator("#data-next").click()
    expect(page.locator("#tune-estimate")).to_contain_text("160 images train", timeout=30_000)


def watched(page: Page) -> dict[str, float]:
    """Press Tune and note when each of `WAITS` is seen."""
    page.locator("#tune-go").click()
    began, seen = time.perf_counter(), {}
    while len(seen) < len(WAITS):
        cards = page.locator("#tune-cards article").count()
        there = {"first point": page.locator("#tune-curves svg.main-svg").count() > 0, "linear": cards > 0, "deep": cards > 1}
        seen |= {name: time.perf_counter() - began for name, is_there in there.items() if is_there and name not in seen}
        time.sleep(0.2)
    return seen


def write(found: list[dict[str, float]]) -> None:
    with FILE.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["wait", "median", "low", "high", "times", "machine"])
        for name in WAITS:
            times = sorted(one[name] for one in found)
            kept = (f"{t:.1f}" for t in (statistics.median(times), times[0], times[-1]))
            writer.writerow([name, *kept, len(times), f"{os.cpu_count()} threads of {machine()}"])


def table(rows: list[dict[str, str]]) -> str:
    """Markdown."""
    lines = ["| from the press of Tune to | seconds (lowest to highest) |", "|---|---|"]
    return "\n".join(lines + [f"| {WAITS[r['wait']]} | {r['median']} ({r['low']} to {r['high']}) |" for r in rows])


if __name__ == "__main__":
    main()
