"""One decode for every photo: an upload, a file of a data set, a picture to try. Only formats on a list are opened."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from PIL import Image

from vpt_core.errors import UserError
from vpt_core.tasks.limits import LIMITS, Limits
from vpt_core.tasks.structure import too_fragmented

STORE_SIZE = 224
"""Pixels a side at which images are kept; squashed to a square, as the paper does for VTAB."""

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF")
"""What is opened. Pillow could open more (PostScript by starting a program, TIFF and FITS with a record of holes)."""

HEAD = 32
"""Leading bytes that `sniff` looks at."""

_ORIENTATION = 0x0112
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}

_CONVERT = "export it as JPEG or PNG"
_ARCHIVE = "an archive inside the data; unpack it and put its folders in the zip"
_NOT_AN_IMAGE = "not a JPEG, PNG, WebP, BMP or GIF image"

_WANTED = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"BM", b"GIF87a", b"GIF89a")
_UNWANTED = (
    (b"II*\0", f"TIFF is not read; {_CONVERT}"),
    (b"MM\0*", f"TIFF is not read; {_CONVERT}"),
    (b"\0\0\0\x0cjP", f"JPEG 2000 is not read; {_CONVERT}"),
    (b"\xff\x4f\xff\x51", f"JPEG 2000 is not read; {_CONVERT}"),
    (b"\0\0\1\0", f"an icon; {_CONVERT}"),
    (b"%PDF", f"a PDF; {_CONVERT}"),
    (b"%!PS", f"PostScript is not read; {_CONVERT}"),
    (b"8BPS", f"Photoshop files are not read; {_CONVERT}"),
    (b"<svg", f"SVG is not read; {_CONVERT}"),
    (b"PK\3\4", _ARCHIVE),
    (b"PK\5\6", _ARCHIVE),
    (b"7z\xbc\xaf\x27\x1c", _ARCHIVE),
    (b"Rar!", _ARCHIVE),
    (b"\x1f\x8b", _ARCHIVE),
)


def sniff(head: bytes) -> str:
    """Why a file that begins with `head` (its first `HEAD` bytes) is not opened; empty when it is of a wanted format."""
    if not head:
        return "empty file"
    if head.startswith(_WANTED) or (head[:4] == b"RIFF" and head[8:12] == b"WEBP"):
        return ""
    if head[4:8] == b"ftyp":
        return _sniff_phone(head[8:12])
    return next((reason for mark, reason in _UNWANTED if head.startswith(mark)), _NOT_AN_IMAGE)


def _sniff_phone(brand: bytes) -> str:
    if brand in (b"heic", b"heix", b"hevc", b"heim", b"heis", b"mif1", b"msf1"):
        return "HEIC, the format of iPhones; export it as JPEG (Settings, Camera, Formats, Most Compatible)"
    return f"AVIF is not read; {_CONVERT}" if brand in (b"avif", b"avis") else "a video; save single frames as JPEG or PNG"


def load_image(source: bytes | Path, limits: Limits = LIMITS) -> np.ndarray:
    """The photo in a file or in its bytes, as every task holds it: (STORE_SIZE, STORE_SIZE, 3) uint8, RGB.

    Turned upright by its EXIF note, transparent parts on white, squashed to a square, first frame of an animation.
    Raises `UserError` when it is too large, damaged or of a format that is not on the list.
    """
    if isinstance(source, Path):
        try:
            with source.open("rb") as file:
                source = file.read(limits.file_bytes + 1)
        except OSError as error:
            raise UserError(f"{source.name} cannot be read ({error.strerror}).") from error
    try:
        return decode(source, limits)[0]
    except UserError as error:
        raise UserError(f"This image cannot be used: {error}.") from error


def decode(data: bytes, limits: Limits) -> tuple[np.ndarray, int]:
    """As `load_image`, and how many pixels the image has; the `UserError` is the bare reason, for a list of skipped files."""
    if len(data) > limits.file_bytes:
        raise UserError(f"larger than {limits.file_bytes / 1e6:.0f} MB")
    if reason := sniff(data[:HEAD]):
        raise UserError(reason)
    if too_fragmented(data):
        raise UserError(f"made of far too many pieces; {_CONVERT} again")
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            area = _check_size(image, limits)
            image.draft(None, (2 * STORE_SIZE, 2 * STORE_SIZE))  # a JPEG decodes to a fraction of its size where that is enough
            square = _rgb(image).resize((STORE_SIZE, STORE_SIZE), Image.Resampling.BICUBIC)
            return np.asarray(_upright(square, image)), area
    except UserError:
        raise
    except Image.DecompressionBombError as error:
        raise UserError(f"too large: more than {limits.pixels / 1e6:.0f} MP") from error
    except Exception as error:  # a damaged file can fail anywhere in a decoder, in any way; all of them mean the same
        raise UserError("damaged") from error


def _check_size(image: Image.Image, limits: Limits) -> int:
    """Pixels of the image by its header, before anything is decoded: it is what a bomb would unpack to."""
    area = image.width * image.height
    if area > limits.pixels:
        raise UserError(f"too large: {area / 1e6:.0f} MP > {limits.pixels / 1e6:.0f} MP; shrink it to 512 pixels or so")
    return area


def _rgb(image: Image.Image) -> Image.Image:
    """RGB of the same size: 16 bits scaled to 8, transparency laid on white."""
    if image.mode.startswith("I"):  # 16-bit grey, which convert() would clip to white instead of scaling
        return Image.fromarray((np.asarray(image) >> 8).astype(np.uint8)).convert("RGB")
    if image.has_transparency_data:
        layer = image.convert("RGBA")
        ground = Image.new("RGB", layer.size, "white")
        ground.paste(layer, mask=layer.getchannel("A"))
        return ground
    return image.convert("RGB")


def _upright(square: Image.Image, image: Image.Image) -> Image.Image:
    """`square` turned as the EXIF note of `image` says. To squash first and turn then is the same and cheaper."""
    try:
        turn = _UPRIGHT.get(image.getexif().get(_ORIENTATION))
    except Exception:  # a note that cannot be read says nothing; the picture itself is good
        turn = None
    return square if turn is None else square.transpose(turn)


def resize(pixels: np.ndarray, size: int) -> np.ndarray:
    """(N, S, S, 3) uint8 to (N, size, size, 3): bicubic, with antialiasing when it shrinks; itself when sizes match."""
    if pixels.shape[1] == size:
        return pixels
    out = np.empty((len(pixels), size, size, 3), dtype=np.uint8)
    for i, image in enumerate(pixels):
        out[i] = Image.fromarray(image).resize((size, size), Image.Resampling.BICUBIC)
    return out
