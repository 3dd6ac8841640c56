"""What the cards of classes hold so far, and what is still lacking: said before anything is imported or even opened."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from app import settings
from vpt_core.tasks.checks import FEW
from vpt_core.tasks.names import clean_name, shorten

LEAST = 3  # images a class: one to train on, one to choose the best epoch with, one to test


def each(names: Sequence[str], counts: Sequence[int]) -> list[str]:
    """A sentence a card, of the names in the cards and the numbers of files dropped there; '' for an untouched one."""
    classes = _classes(names, counts)
    return [_card(name, count, classes[_class(name)]) for name, count in zip(names, counts, strict=True)]


def _card(name: str, count: int, whole: int) -> str:
    if not count:
        return "No images yet." if name.strip() else ""
    if not name.strip():
        return f"{_images(count)}. Write above what they show."
    more = f" of {whole} with this name" if whole > count else ""
    return f"{_images(count)}{more}." + (f" {LEAST - whole} more needed." if whole < LEAST else "")


def together(names: Sequence[str], counts: Sequence[int]) -> str:
    """One sentence on all cards, and what is still lacking before they can be tuned on."""
    total, most = sum(counts), settings.LIMITS.images
    classes = +_classes(names, counts)
    if not total:
        return ""
    held = f"{_images(total)} in {len(classes)} {'class' if len(classes) == 1 else 'classes'} so far"
    if total > most:
        return f"{held}: more than the {most:,} that are taken here. Take some out."
    unnamed = any(count and not name.strip() for name, count in zip(names, counts, strict=True))
    small = [f"“{shorten(name, 40)}” has {count}" for name, count in classes.items() if count < LEAST]
    if len(classes) < 2 or small:
        return f"{held}. Needed: 2 classes with {LEAST} images each. {'; '.join(small)}{'.' if small else ''}".rstrip()
    if unnamed:
        return f"{held}. A card with images has no name yet."
    few = min(classes.values()) < FEW
    return f"{held}: enough to begin." + (f" {FEW} or more in each give a usable test." if few else "")


def _classes(names: Sequence[str], counts: Sequence[int]) -> Counter[str]:
    """Files by class; cards of the same name are one."""
    classes: Counter[str] = Counter()
    for name, count in zip(names, counts, strict=True):
        if name.strip():
            classes[_class(name)] += count
    return classes


def _class(name: str) -> str:
    return clean_name(name.strip())


def _images(number: int) -> str:
    return f"{number:,} image{'' if number == 1 else 's'}"
