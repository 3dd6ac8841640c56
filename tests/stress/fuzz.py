"""Random changes to good files: whatever comes in ends as a result or as a sentence. Not part of the suite.

    python tests/stress/fuzz.py [--number 5000] [--seed 0] [--seconds 0]

Each round takes a good zip, tar, tar.gz, prompt file, image or saved run, changes it at random and gives it to what reads such
files. It counts as a failure when anything but a `UserError` comes out, when it takes longer than `LIMIT`, and when a file is
left behind. Prints a table, then each failure with the number that repeats it (`--seed N --number 1`); exit code 1 if there is
one.
"""

from __future__ import annotations

import argparse
import faulthandler
import gzip
import io
import json
import random
import shutil
import signal
import struct
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter, defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parents[2])]

import numpy as np  # noqa: E402
import torch  # noqa: E402
from hostile import CSV, GBK, PETS, TABLE, tar_of, zip_of  # noqa: E402
from PIL import Image  # noqa: E402
from tiny import RANDOM, SIZE, saved_task  # noqa: E402

from vpt_core.backbones import BACKBONES, card, load_backbone  # noqa: E402
from vpt_core.errors import UserError  # noqa: E402
from vpt_core.execute import tune  # noqa: E402
from vpt_core.model import Model  # noqa: E402
from vpt_core.prompt_file import About, load_prompt, save_prompt  # noqa: E402
from vpt_core.run_zip import unpack_run  # noqa: E402
from vpt_core.spec import Spec  # noqa: E402
from vpt_core.tasks import PAGE_LIMITS, import_task, load_image  # noqa: E402

LIMIT = 10.0  # seconds for one file
LOADED = "loaded"  # the folder of runs that were read
WORDS = ('"', "9", "-", "[", "]", "{", "null", "1e999", "../", "<img src=x onerror=alert(1)>", "\\ud800", "0" * 50)
Change = Callable[[random.Random, bytearray], None]


class Hang(BaseException):
    """Not an `Exception`: the decoder's own guard must not take it for a damaged photo."""


def flip(dice: random.Random, data: bytearray) -> None:
    for _ in range(dice.choice((1, 1, 3, 20, 200))):
        data[dice.randrange(len(data))] ^= 1 << dice.randrange(8)


def number(dice: random.Random, data: bytearray) -> None:
    """A length or an offset that is at its end, or off by one."""
    form = dice.choice(("<H", ">H", "<I", ">I", "<Q"))
    size = struct.calcsize(form)
    at, most = dice.randrange(max(1, len(data) - size)), 256**size - 1
    ends = (0, 1, most, most - 1, most >> 1, (most >> 1) + 1, dice.randrange(most))
    data[at : at + size] = struct.pack(form, dice.choice(ends))


def cut(dice: random.Random, data: bytearray) -> None:
    at = dice.randrange(len(data))
    del data[at : dice.choice((len(data), at + dice.randrange(1, 400)))]


def put(dice: random.Random, data: bytearray) -> None:
    at = dice.randrange(len(data))
    data[at:at] = dice.choice((dice.randbytes(dice.randrange(1, 400)), bytes(5_000), b"\xff" * 5_000))


def double(dice: random.Random, data: bytearray) -> None:
    start, at = dice.randrange(len(data)), dice.randrange(len(data))
    data[at:at] = data[start : start + dice.randrange(1, 2_000)] * dice.choice((1, 2, 50))


def swap(dice: random.Random, data: bytearray) -> None:
    a, b, size = dice.randrange(len(data)), dice.randrange(len(data)), dice.randrange(1, 200)
    data[a : a + size], data[b : b + size] = data[b : b + size], data[a : a + size]


CHANGES: tuple[Change, ...] = (flip, flip, number, number, cut, put, double, swap)


def changed(dice: random.Random, good: bytes) -> bytes:
    data = bytearray(good)
    for _ in range(dice.choice((1, 1, 1, 2, 4))):
        if data:
            dice.choice(CHANGES)(dice, data)
    return bytes(data)


def images() -> list[bytes]:
    """One photo of each format and kind."""
    pixels = np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)
    photo, found = Image.fromarray(pixels), []
    kinds: list[tuple[str, str, dict[str, Any]]] = [
        ("JPEG", "RGB", {}), ("JPEG", "L", {"progressive": True}), ("JPEG", "CMYK", {}), ("PNG", "RGBA", {}), ("PNG", "P", {}),
        ("PNG", "I;16", {}), ("GIF", "P", {"save_all": True, "append_images": [photo.convert("P")]}), ("WEBP", "RGB", {}),
        ("WEBP", "RGBA", {"lossless": True}), ("BMP", "RGB", {}),
    ]  # fmt: skip
    for kind, mode, options in kinds:
        image = photo.convert("L").convert("I").convert(mode) if mode == "I;16" else photo.convert(mode)
        exif = Image.Exif()
        exif[0x0112] = 6
        image.save(out := io.BytesIO(), kind, **({"exif": exif} if kind in ("JPEG", "PNG", "WEBP") else {}), **options)
        found.append(out.getvalue())
    return found


def prompt_file(folder: Path) -> bytes:
    backbone = load_backbone(RANDOM)
    options = {"prompts": 2}
    model = Model(backbone, "vpt-deep", options, classes=2, seed=0, image_size=SIZE)
    about = About(RANDOM, backbone.weights_hash, "vpt-deep", options, ["x", "y"], SIZE, "t", 0, "0.1.0")
    save_prompt(folder / "good", model, about)
    data = (folder / "good").read_bytes()
    (folder / "good").unlink()
    return data


class Fuzz:
    """Good files by kind, and a change of one on demand."""

    def __init__(self, folder: Path) -> None:
        self.images, self.prompts, self.run = images(), prompt_file(folder), saved_run(folder)
        tars = [tar_of(PETS), tar_of(GBK, format=1), tar_of(CSV | {"labels.csv": TABLE})]
        self.archives = {
            "zip": [zip_of(PETS), zip_of(GBK), zip_of(PETS, 0), zip_of(PETS, force_zip64=True)],
            "tar": tars,
            "tar.gz": [gzip.compress(tar) for tar in tars],
        }
        self.kinds: dict[str, Callable[[random.Random], bytes]] = {
            **{kind: lambda dice, kind=kind: changed(dice, dice.choice(self.archives[kind])) for kind in self.archives},
            "tar.gz of a changed tar": lambda dice: gzip.compress(changed(dice, dice.choice(tars)), 1),
            "zip of changed images": self.zip_of_images,
            "image": lambda dice: changed(dice, dice.choice(self.images)),
            "prompt file": lambda dice: changed(dice, self.prompts),
            "prompt file, header": self.header,
            "run zip": self.run_zip,
        }

    def zip_of_images(self, dice: random.Random) -> bytes:
        """The archive is good, what is in it is not; also the table of labels."""
        files = {f"{name}/{i}": changed(dice, dice.choice(self.images)) for name in ("cat", "dog") for i in range(3)}
        return zip_of(dice.choice((files, CSV | {"labels.csv": changed(dice, TABLE)})))

    def run_zip(self, dice: random.Random) -> bytes:
        """One file of a saved run is changed; the zip is good."""
        name = dice.choice(list(self.run))
        return zip_of(self.run | {name: changed(dice, self.run[name])})

    def header(self, dice: random.Random) -> bytes:
        """The JSON is changed and its length put right, so that what stands behind it is met."""
        length = struct.unpack("<Q", self.prompts[:8])[0]
        head, body = json.loads(self.prompts[8 : 8 + length]), self.prompts[8 + length :]
        where = dice.choice([*head, "visual_prompt_tuning"])
        text = json.dumps(head[where]) if where in head else head["__metadata__"][where]
        for _ in range(dice.choice((1, 1, 2, 5))):
            at = dice.randrange(len(text))
            text = text[:at] + dice.choice(WORDS) + text[at + dice.choice((0, 1, 5)) :]
        if where in head:
            parts = {name: json.dumps(value) for name, value in head.items()} | {where: text}
            new = "{" + ",".join(f"{json.dumps(name)}:{value}" for name, value in parts.items()) + "}"
        else:
            new = json.dumps(head | {"__metadata__": {where: text}})
        return struct.pack("<Q", len(new.encode())) + new.encode() + body


def saved_run(folder: Path) -> dict[str, bytes]:
    """The files of a run of a second on a tiny backbone."""
    options = {"prompts": 2}
    spec = Spec(task=saved_task(folder / "task"), backbone=RANDOM, options=options, image_size=SIZE, epochs=2, batch_size=6)
    run = tune(spec, folder / "runs").folder
    found = {f"run/{file.relative_to(run)}": file.read_bytes() for file in run.rglob("*") if file.is_file()}
    for made in (folder / "task", folder / "runs"):
        shutil.rmtree(made)
    return found


def read(kind: str, path: Path) -> None:
    if kind == "run zip":
        shutil.rmtree(unpack_run(path, path.parent / LOADED).folder)
    elif kind.startswith("prompt"):
        load_prompt(path)
    elif kind == "image":
        load_image(path)
    else:
        import_task(path, limits=PAGE_LIMITS).report.text()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--number", type=int, default=5_000)
    parser.add_argument("--seed", type=int, default=0, help="of the first round; each further one has the next")
    parser.add_argument("--seconds", type=float, default=0, help="stop after so long; 0: never")
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)

    def hang(*_: Any) -> None:
        raise Hang(f"longer than {LIMIT:.0f} s")

    signal.signal(signal.SIGALRM, hang)
    with tempfile.TemporaryDirectory() as folder:
        return fuzz(Path(folder), args.number, args.seed, args.seconds)


def fuzz(folder: Path, number: int, first: int, seconds: float) -> int:
    BACKBONES[RANDOM] = card(RANDOM)  # runs that are loaded have to be on one of the list
    made, ends, longest, failures = Fuzz(folder), defaultdict(Counter), Counter(), []
    tempfile.tempdir = str(folder)
    begun, path = time.monotonic(), folder / "file"
    for seed in range(first, first + number):
        if seconds and time.monotonic() - begun > seconds:
            break
        dice = random.Random(seed)
        kind = dice.choice(list(made.kinds))
        path.write_bytes(made.kinds[kind](dice))
        start = time.perf_counter()
        faulthandler.dump_traceback_later(6 * LIMIT, exit=True)  # for what does not come back to Python
        signal.setitimer(signal.ITIMER_REAL, LIMIT)
        try:
            read(kind, path)
            end = "read"
        except UserError as error:
            end = "refused" if str(error) and "Traceback" not in str(error) else "refused without words"
        except (Exception, Hang) as error:
            end = f"{type(error).__name__}: {error}"
            failures.append(f"seed {seed}, {kind}: {''.join(traceback.format_exception(error)[-3:])}")
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            faulthandler.cancel_dump_traceback_later()
        if stray := [f.name for f in folder.rglob("*") if f not in (path, folder / LOADED)]:
            failures.append(f"seed {seed}, {kind}: left behind {stray}")
        ends[kind][end] += 1
        longest[kind] = max(longest[kind], time.perf_counter() - start)
    report(ends, longest, failures, time.monotonic() - begun)
    return 1 if failures else 0


def report(ends: dict[str, Counter[str]], longest: dict[str, float], failures: list[str], seconds: float) -> None:
    print("| kind | files | read | refused | failed | longest, s |\n|---|---|---|---|---|---|")
    for kind in sorted(ends):
        all_, good, bad = ends[kind].total(), ends[kind]["read"], ends[kind]["refused"]
        print(f"| {kind} | {all_} | {good} | {bad} | {all_ - good - bad} | {longest[kind]:.2f} |")
    print(f"{sum(c.total() for c in ends.values())} files in {seconds:.0f} s, {len(failures)} failures")
    print("\n".join(failures[:20]))


if __name__ == "__main__":
    sys.exit(main())
