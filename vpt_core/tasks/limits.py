"""How much of a stranger's data is taken in."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """Upper bounds of an import; whatever exceeds one is refused or skipped with a sentence that names it."""

    images: int = 20_000
    classes: int = 1_000
    entries: int = 100_000  # files and folders, of any kind
    pixels: int = 25_000_000  # width times height of one image
    file_bytes: int = 20_000_000  # of one image file
    total_bytes: int = 4_000_000_000  # unpacked, counted as it is read; what a header claims is not believed
    total_pixels: int = 500_000_000_000  # of all images, which is what decoding costs in time
    depth: int = 16  # folders above a file


LIMITS = Limits()
"""For a person at their own machine."""

PAGE_LIMITS = Limits(images=2_000, entries=5_000, total_bytes=300_000_000, total_pixels=4_000_000_000)
"""For visitors of a public page."""
