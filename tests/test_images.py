"""Decoding one photo: formats, colour, orientation, bombs."""

from __future__ import annotations

import io
import json
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from vpt_core.errors import UserError
from vpt_core.tasks import STORE_SIZE, load_image

HOSTILE = Path(__file__).parents[2] / "shared" / "bad_uploads"


def encoded(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def test_formats_are_told_by_content_and_decoded_alike() -> None:
    picture = Image.linear_gradient("L").convert("RGB")
    for kind in ("PNG", "BMP", "GIF", "WEBP", "JPEG"):
        assert load_image(encoded(picture, kind)).shape == (STORE_SIZE, STORE_SIZE, 3)
    with pytest.raises(UserError, match="TIFF"):
        load_image(encoded(picture, "TIFF"))
    with pytest.raises(UserError, match="No such file"):
        load_image(Path("no such file.jpg"))


def test_depth_transparency_and_animation() -> None:
    deep = np.full((8, 8), 128 << 8, dtype=np.uint16)
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
    assert (load_image(encoded(Image.fromarray(deep))) == 128).all()
    assert (load_image(encoded(Image.new("RGBA", (8, 8), (9, 9, 9, 0)))) == 255).all()
    assert (load_image(encoded(frames[0], save_all=True, append_images=frames[1:])) == [255, 0, 0]).all()
    assert (load_image(encoded(Image.new("1", (8, 8), 1))) == 255).all()


@pytest.mark.parametrize("orientation", range(1, 9))
def test_photos_are_turned_upright(orientation: int) -> None:
    """What Pillow's own turning gives, whichever way the note says."""
    image = Image.fromarray(np.random.default_rng(0).integers(90, 160, (6, 9, 3), dtype=np.uint8))
    exif = Image.Exif()
    exif[0x0112] = orientation
    turned = ImageOps.exif_transpose(Image.open(io.BytesIO(encoded(image, exif=exif))))
    difference = load_image(encoded(image, exif=exif)).astype(int) - load_image(encoded(turned)).astype(int)
    assert np.abs(difference).max() <= 2  # the order of the two passes of a resize rounds differently


def test_a_bomb_is_refused_by_its_header() -> None:
    size = (50_000).to_bytes(4, "big") * 2
    header = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", size + b"\1\0\0\0\0") + chunk(b"IDAT", b"") + chunk(b"IEND", b"")
    with pytest.raises(UserError, match="too large"):
        load_image(header)
    with pytest.raises(UserError, match="too large: 36 MP > 25 MP"):
        load_image(encoded(Image.new("1", (6000, 6000))))


def chunk(kind: bytes, data: bytes) -> bytes:
    return len(data).to_bytes(4, "big") + kind + data + zlib.crc32(kind + data).to_bytes(4, "big")


@pytest.mark.parametrize("data", [b"", b"GIF89a", b"\xff\xd8\xff\xe0junk", b"BM", b"RIFF\0\0\0\0WEBP", b"\x89PNG\r\n\x1a\n"])
def test_a_beginning_without_an_image_is_refused(data: bytes) -> None:
    with pytest.raises(UserError):
        load_image(data)


def test_each_truncation_of_a_photo_is_refused() -> None:
    for kind in ("PNG", "JPEG"):
        whole = encoded(Image.effect_noise((40, 40), 60).convert("RGB"), kind)
        for length in range(0, len(whole) - 20, 37):
            with pytest.raises(UserError):
                load_image(whole[:length])


def hostile_images() -> list[dict]:
    if not HOSTILE.is_dir():
        return []
    return [entry for entry in json.loads((HOSTILE / "manifest.json").read_text())["files"] if entry["kind"] == "image"]


@pytest.mark.parametrize("entry", hostile_images(), ids=lambda entry: entry["file"])
def test_hostile_images(entry: dict) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow warns of a broken note in a good photo
        try:
            pixels = load_image(HOSTILE / entry["file"])
        except UserError as error:
            assert entry["expect"] != "accept", error
            return
    assert entry["expect"] != "reject" and pixels.shape == (STORE_SIZE, STORE_SIZE, 3)


def split_at(data: bytes, at: int, piece: bytes, number: int) -> bytes:
    return data[:at] + piece * number + data[at:]


def fragmented() -> dict[str, bytes]:
    """Small photos blown up with pieces that say nothing."""
    jpeg, png = (encoded(Image.new("RGB", (20, 20)), kind) for kind in ("JPEG", "PNG"))
    gif = encoded(Image.new("P", (20, 20)), "GIF")
    first = gif.index(b",", 13)
    return {
        "segments": split_at(jpeg, 2, b"\xff\xfe\0\2", 9_000),
        "fill": split_at(jpeg, 2, b"\xff", 9_000),
        "zeros": b"\xff\xd8\xff" + bytes(1_000_000),
        "scans": split_at(jpeg, jpeg.index(b"\xff\xda"), jpeg[jpeg.index(b"\xff\xda") : -2], 70),
        "chunks": split_at(png, 33, chunk(b"teXt", b""), 9_000),
        "comments": split_at(gif, first, b"!\xfe\1a\0", 9_000),
        "comment": split_at(gif, first, b"!\xfe" + b"\1a" * 9_000 + b"\0", 1),
        "stray": split_at(gif, first, b"\1", 9_000),
    }


@pytest.mark.parametrize("case", fragmented())
def test_photos_of_a_thousand_pieces_are_refused_before_they_are_read(case, monkeypatch) -> None:
    monkeypatch.setattr(Image, "open", lambda *_, **__: pytest.fail("it was opened"))
    with pytest.raises(UserError, match="too many pieces"):
        load_image(fragmented()[case])


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF"])
def test_photos_of_a_few_more_pieces_are_read(kind) -> None:
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (700, 700, 3), dtype=np.uint8))
    assert load_image(encoded(noise, kind, **({"progressive": True, "quality": 100} if kind == "JPEG" else {}))).any()
