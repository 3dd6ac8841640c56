"""Bring your own images: an archive, images class by class, or a data set of the hub. A part of Data."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr

from app import settings, sources
from app.events import LATEST, QUIET
from app.messages import sentence, shows_user_errors
from app.page import Page
from app.tabs import counted
from vpt_core.errors import UserError
from vpt_core.tasks import LIMITS

CARDS, SHOWN = 6, 2  # classes that can be given one by one, and how many of their cards a new page shows
ARCHIVES = [".zip", ".tar", ".gz", ".tgz"]
PHOTOS = [".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif"]


@dataclass(frozen=True)
class Fields:
    """What a person fills in. `hub` is empty where the hub is not on offer."""

    archive: gr.File
    names: list[gr.Textbox]
    files: list[gr.File]
    use: gr.Button
    hub: list[Any]


def rules() -> str:
    """What is taken, with the limits of this server."""
    limits = settings.LIMITS
    return (
        "One folder for each class: `cat/1.jpg`, `cat/2.jpg`, `dog/1.jpg` ..., packed as zip or tar.gz. Folders `train`, `val` "
        "and `test` above the class folders are kept. Images in any folders with a `labels.csv` (columns `file` and "
        "`label`, or also `split`) work too. JPEG, PNG, WebP, BMP, GIF.\n\n"
        f"Up to {settings.UPLOAD_MB} MB, {limits.total_bytes // 1_000_000:,} MB unpacked; {limits.images:,} images of "
        f"{limits.pixels // 1_000_000} megapixels and {limits.file_bytes // 1_000_000} MB each; {limits.classes:,} classes. "
        "The images stay on the computer that runs this page."
    )


def archive() -> gr.File:
    """The field for an archive, with what it has to hold."""
    field = gr.File(
        label="Or your own images: a zip or tar.gz of class folders", file_types=ARCHIVES, height=150, elem_id="data-upload"
    )
    gr.Markdown(rules(), elem_classes=["note"])
    return field


def build(archive: gr.File) -> Fields:
    """The other ways, over the whole width of the tab."""
    with gr.Accordion("Your own images class by class", open=False, elem_id="data-classes"):
        with gr.Row():
            cards = [_card(i) for i in range(CARDS)]
        total = sentence(css="note", elem_id="data-classes-total")
        with gr.Row():
            more = gr.Button("One more class", elem_id="data-classes-more")
            use = gr.Button("Use these images", elem_id="data-classes-use")
    shown = gr.State(SHOWN)
    columns, names, files, lines = (list(parts) for parts in zip(*cards, strict=True))
    more.click(_one_more, shown, [shown, more, *columns], **QUIET)
    gr.on([*(name.blur for name in names), *(field.change for field in files)], count, [*names, *files], [*lines, total],
          preprocess=False, **LATEST)  # without: Gradio would make an empty file for each
    return Fields(archive, names, files, use, _hub() if settings.HUB else [])


def _card(i: int) -> tuple[gr.Column, gr.Textbox, gr.File, gr.HTML]:
    with gr.Column(visible=i < SHOWN, min_width=320, elem_id=f"data-class-{i}") as column:
        name = gr.Textbox(label=f"Class {i + 1}", placeholder=("cat", "dog")[i] if i < 2 else "its name", max_length=80,
                          elem_id=f"data-class-{i}-name")  # fmt: skip
        files = gr.File(label=f"Images of class {i + 1}", file_count="multiple", file_types=PHOTOS, height=130,
                        elem_id=f"data-class-{i}-files")  # fmt: skip
        line = sentence(css="note", elem_id=f"data-class-{i}-line")
    return column, name, files, line


def _hub() -> list[Any]:
    with gr.Accordion("A data set of the Hugging Face hub", open=False, elem_id="data-hub"), gr.Row():
        name = gr.Textbox(label="Its name", placeholder="owner/name", max_length=200, min_width=280, elem_id="data-hub-name",
                          info="A set of images with one label each. A configuration comes after a colon: owner/name:small.")
        most = min(settings.LIMITS.images, LIMITS.images)
        images = gr.Slider(20, most, min(1_000, most), step=10, precision=0, label="Images to take", min_width=280,
                           elem_id="data-hub-images")  # fmt: skip
        get = gr.Button("Get a sample", min_width=160, scale=0, elem_id="data-hub-get")
    return [name, images, get]


def _one_more(shown: int) -> list[Any]:
    shown = min(shown + 1, CARDS)
    return [shown, gr.Button(visible=shown < CARDS), *(gr.Column(visible=i < shown) for i in range(CARDS))]


def wire(fields: Fields, page: Page, show: Callable[..., Any], shown: list[Any], **private: Any) -> None:
    """Each way to bring images ends in `show`, which fills `shown` from the source."""
    taken = [fields.archive.upload(take, [fields.archive, page.source], [page.source, fields.archive], **private),
             fields.use.click(take_classes, [*fields.names, *fields.files], page.source, **private)]
    if fields.hub:
        name, images, get = fields.hub
        taken.append(get.click(take_from_hub, [name, images], page.source, **private))
    taken[0].failure(lambda: None, None, fields.archive, **QUIET)  # what was refused makes room for the next one
    for event in taken:
        event.success(show, page.source, shown, **private)


@shows_user_errors
def take(path: str | None, before: str, progress: gr.Progress = gr.Progress()) -> tuple[str, None]:  # noqa: B008 (Gradio's way)
    """Import an upload; gives its source and empties the upload field."""
    if path is None:
        return before, None
    progress(0, "Reading the archive")
    return sources.take_in(Path(path), _told(progress)), None


@shows_user_errors
def count(*values: Any) -> list[str]:
    """What each card holds and all together, from the names and the lists of files, which are not looked at."""
    names = [name or "" for name in values[:CARDS]]  # None before anybody wrote there
    counts = [len(files or []) for files in values[CARDS:]]
    return [*counted.each(names, counts), counted.together(names, counts)]


@shows_user_errors
def take_classes(*values: Any) -> str:
    """Import images class by class: the names, then the files of each; gives their source."""
    return sources.take_classes(classes_of(values[:CARDS], values[CARDS:]))


@shows_user_errors
def take_from_hub(name: str, images: int, progress: gr.Progress = gr.Progress()) -> str:  # noqa: B008
    """Import a sample of a data set of the hub; gives its source."""
    progress(0, "Asking the hub")
    return sources.take_from_hub(name, images, _told(progress))


def _told(progress: gr.Progress) -> Callable[[int, int], None]:
    return lambda done, total: progress((done, total), "Reading the images")


def classes_of(names: Sequence[str], files: Sequence[list[str] | None]) -> dict[str, list[Path]]:
    """Files by the name of their class; cards of the same name are one. Raises `UserError` for images without a name."""
    classes: dict[str, list[Path]] = {}
    for number, (name, mine) in enumerate(zip(names, files, strict=True), start=1):
        name = (name or "").strip()
        if mine and not name:
            raise UserError(f"The images of class {number} have no name. Write what they show above them.")
        if mine:
            classes.setdefault(name, []).extend(Path(file) for file in mine)
    if len(classes) < 2:
        raise UserError("Give two classes or more: for each a name, and the images that show it.")
    return classes
