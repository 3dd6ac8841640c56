"""Try it: one photo, every method's answer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np

from app.components import bars
from app.events import when
from app.messages import shows_user_errors
from app.models import classifier
from app.page import Page
from app.pictures import as_file
from app.results import find_seed
from app.tabs import together
from app.verdict import labels
from vpt_core.metrics import softmax
from vpt_core.tasks import load_image

SAMPLES = 12
SHOWN = 8  # classes with a bar
UNSURE = 0.5


def build(page: Page, tab: gr.Tab) -> None:
    """Components and events of the tab."""
    with gr.Row():
        with gr.Column(scale=2, min_width=320):
            photo = gr.Image(
                label="A photo of your own: drop, paste, or use the camera",
                type="filepath",
                height=280,
                sources=["upload", "clipboard", "webcam"],
                elem_id="try-photo",
            )
            gr.Markdown("Or a test image that no method was tuned on:")
            samples = gr.Gallery(
                label="Test images",
                show_label=False,
                columns=6,
                height=240,
                allow_preview=False,
                interactive=False,
                buttons=[],
                object_fit="cover",
                fit_columns=False,
                elem_id="try-samples",
                elem_classes=["thumbs"],
            )
        with gr.Column(scale=3, min_width=320):
            answer = gr.HTML(elem_id="try-answer", html_template="<p><strong>{{value}}</strong></p>")
            confidences = bars(empty="Choose an image to see what each method says.", elem_id="try-bars")
            gr.Markdown(
                "Confidence is what the model says, not how often it is right: on images unlike the training images it "
                "can be sure and wrong. A model knows only its own classes.",
                elem_classes=["note"],
            )
    seen = gr.State()
    all_tasks = together.build(page, seen)
    shown = [answer, confidences, seen]
    where: dict[str, Any] = {"api_visibility": "private", "show_progress_on": [confidences]}
    when([tab.select, page.result.change], offer, page.result, samples)
    cleared = when([page.result.change], lambda: (None, None, None), None, shown)
    for event in (
        cleared,
        photo.change(answer_photo, [page.result, photo], shown, **where),
        samples.select(answer_sample, page.result, shown, **where),
    ):
        event.success(**all_tasks)


@shows_user_errors
def offer(key: str | None) -> list[tuple[str, str]]:
    """Files of some test images of the result, evenly spread."""
    result = find_seed(key)
    return [(as_file(np.asarray(result.task.pixels[i])), "") for i in _sample(result.test_index)] if result else []


def _sample(test: np.ndarray) -> np.ndarray:
    return test[np.unique(np.linspace(0, len(test) - 1, SAMPLES).astype(int))] if len(test) else test


@shows_user_errors
def answer_photo(key: str | None, path: str | None) -> tuple[Any, Any, Any]:
    """Every method's answer to an uploaded photo, and the photo."""
    if path is None:
        return None, None, None
    pixels = load_image(Path(path))
    return *answers(key, pixels, None), pixels


@shows_user_errors
def answer_sample(key: str | None, event: gr.SelectData) -> tuple[Any, Any, Any]:
    """Every method's answer to a test image with the truth, and the image."""
    result = find_seed(key)
    i = _sample(result.test_index)[event.index]
    pixels = np.asarray(result.task.pixels[i])
    return *answers(key, pixels, result.task.classes[result.task.labels[i]]), pixels


def answers(key: str | None, pixels: np.ndarray, truth: str | None) -> tuple[str, dict[str, Any]]:
    """A sentence and the value of `bars` for one square uint8 image (S, S, 3)."""
    result = find_seed(key)
    names = labels(result)
    shares = np.stack([softmax(classifier(run).logits(pixels[None]))[0] for run in result.runs])  # (runs, classes)
    classes = result.runs[0].classes
    best = [classes[k] for k in shares.argmax(axis=1)]
    said = (
        f"All say {best[0]}." if len(set(best)) == 1 else "; ".join(f"{n}: {b}" for n, b in zip(names, best, strict=True)) + "."
    )
    if len(best) == 1:
        said = f"{names[0]}: {best[0]}."
    if truth is not None:
        said += f" It is: {truth}."
    elif shares.max() < UNSURE:
        said += " No method is sure; perhaps it is none of these classes."
    order = np.argsort(-shares.max(axis=0))[:SHOWN]
    return said, {"columns": names, "rows": [{"label": classes[k], "values": shares[:, k].tolist()} for k in order]}
