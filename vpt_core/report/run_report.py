"""The report on a run, section by section."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from vpt_core.analysis import pca_maps
from vpt_core.backbones import card
from vpt_core.errors import UserError
from vpt_core.methods import METHODS
from vpt_core.metrics import confusion
from vpt_core.options import options_of
from vpt_core.prompt_file import Classifier
from vpt_core.report.charts import counts_table, legend, line_chart, scatter
from vpt_core.report.document import Element, document, el, note, section
from vpt_core.report.examples import examples
from vpt_core.report.journey import journey
from vpt_core.report.knockouts import knockouts
from vpt_core.report.space import space
from vpt_core.runs import Run
from vpt_core.standing import right
from vpt_core.tasks import load_task
from vpt_core.traps import spring

MOST_CLASSES = 20  # of a confusion matrix and of a legend


def write_report(run: Run, path: str | Path) -> Path:
    """Write `report(run)` to `path`. Raises `UserError` when the run has not finished or `path` cannot be written."""
    text = report(run)
    try:
        Path(path).write_text(text, encoding="utf-8")
    except OSError as error:
        raise UserError(f"{str(path)!r} cannot be written ({error.strerror}). Name another file.") from None
    return Path(path)


def report(run: Run) -> str:
    """The report on a finished run as HTML that stands alone, some 300 kB.

    Names of classes and files are shown letter by letter, whatever they are. Takes a look into a few images, which needs the
    backbone and the data set; where they are not here any more, a sentence says so and the numbers stay.
    """
    if not run.finished:
        raise UserError(f"{run.name} has not finished ({run.status['state']}). Tune it first.")
    title = f"{run.title} on {run.status['task_title']}"
    looks = [*_inside(run), *knockouts(run), _maps(run), *journey(run)]
    return document(title, *_summary(run), _curves(run), _confusion(run), *looks, _end(run))


def _summary(run: Run) -> list[Element]:
    status, spec = run.status, run.spec
    method = METHODS[spec.method]
    backbone = status["backbone_parameters"]
    chosen = method.read_options(spec.options)
    facts = {
        "Backbone": f"{card(spec.backbone).title}, frozen, {backbone:,} numbers",
        "Learned": f"{status['trained']:,} numbers ({100 * status['trained'] / backbone:.2g} % of the backbone), classifier "
                   f"included; a file of {status['file_bytes'] / 1000:,.0f} kB",
        "Images": ", ".join(f"{n} {name}" for name, n in status.get("counts", {}).items())
                  + f"; {spec.image_size} pixels a side; {spec.shots or 'all'} a class to train on; seed {spec.seed}",
        "Options": ", ".join(f"{option.label} {getattr(chosen, name)}" for name, (option, _) in options_of(chosen).items())
                   or "none",
        "Training": f"{spec.epochs} epochs, batches of {spec.batch_size}, learning rate {spec.lr:g}, weight decay "
                    f"{spec.weight_decay:g}; {status['seconds']['total']:.0f} s; best epoch {status['best_epoch'] or 'none'}",
        "State": f"{status['state']}. {status['reason']}" + " Loaded from a zip made elsewhere." * ("loaded" in status),
    }  # fmt: skip
    table = el("table", *(el("tr", el("th", name), el("td", value)) for name, value in facts.items()))
    return [el("p", method.about, class_="note"), el("p", f"Test: {run.test}.", class_="big"),
            note("The interval covers the chance of drawing these test images, not another seed, camera or place."),
            el("div", table, class_="wide")]  # fmt: skip


def _curves(run: Run) -> Element:
    history = run.history
    checked = [e for e in history if e.val_accuracy is not None]
    drawn = []
    if history:
        loss = [e.loss for e in history]
        drawn.append(_drawn(line_chart([e.epoch for e in history], loss, "training loss by epoch", "epoch", max(loss)),
                            "Loss of the training images"))
    if checked:
        share = [e.val_accuracy or 0.0 for e in checked]
        chart = line_chart([e.epoch for e in checked], share, "validation accuracy by epoch", "epoch", 1.0, percent=True)
        drawn.append(_drawn(chart, f"Accuracy on the {checked[0].val_total} validation images"))
    return section("How it learned", el("div", *drawn, class_="row"), note(
        "Look whether the accuracy still rises at the end. A falling loss alone does not mean that new images are classified "
        "better, and with few validation images the right line jumps."))  # fmt: skip


def _drawn(chart: Element, caption: str) -> Element:
    return el("figure", chart, el("figcaption", caption))


def _confusion(run: Run) -> Element:
    counts = confusion(run.array("logits").argmax(axis=1), run.labels, len(run.classes))
    if len(counts) <= MOST_CLASSES:
        return section("What is taken for what", counts_table(counts, run.classes), note(
            "Test images by true class (row) and by what the run called them (column). A few images in a cell are examples, no "
            "pattern."))  # fmt: skip
    mistakes = sorted(((int(counts[i, j]), i, j) for i, j in np.argwhere(counts) if i != j), reverse=True)
    said = [el("li", f"{n} × “{run.classes[i]}” called “{run.classes[j]}”") for n, i, j in mistakes[:MOST_CLASSES]]
    return section("What is taken for what", el("ul", *said) if said else el("p", "No test image is called wrongly."), note(
        f"The most frequent mistakes; a table of {len(counts)} classes would not fit on a page."))  # fmt: skip


def _inside(run: Run) -> list[Element]:
    """The trap, where it is one, and a few images; a sentence where images or backbone are gone."""
    try:
        task = load_task(run.spec.task)
    except UserError:  # its text may name a folder of a server
        return [section("A few test images", el("p", "The images of this run are not on this computer any more."))]
    try:
        classifier = run.classifier()
    except UserError as error:
        return [section("A few test images", el("p", f"The run cannot be looked into: {error}"))]
    return [*_trap(run, classifier), *([examples(run, task, classifier)] if len(run.labels) else [])]


def _trap(run: Run, classifier: Classifier) -> list[Element]:
    sprung = spring(run, classifier)
    return [section("This task is a trap", el("p", sprung.sentence))] if sprung else []


def _maps(run: Run) -> Element:
    if len(run.labels) < 2:
        return section("How tuning moved the images", el("p", "There are too few test images for a map."))
    drawn = run.folder / "umap.npy"
    how = "UMAP" if drawn.exists() else "the two main components"
    both = run.array("umap") if drawn.exists() else _main_components(run)
    titles = ("before tuning (frozen backbone)", "after tuning")
    figures = [_drawn(scatter(places, both, run.labels, right(run), title), title.capitalize())
               for places, title in zip(both, titles, strict=True)]  # fmt: skip
    few = len(run.classes) <= MOST_CLASSES
    names = legend(run.classes if few else [])
    return section("How tuning moved the images", el("div", *figures, class_="row"), names, note(
        f"Each point is a test image, drawn by {how}. Look for classes that part. A flat map can hide or invent gaps, and "
        "distances between far groups mean little: the table is of the full space."), *space(run))  # fmt: skip


def _main_components(run: Run) -> np.ndarray:
    maps = pca_maps(run.array("frozen"), run.array("features"))
    return np.stack([maps.before, maps.after])


def _end(run: Run) -> Element:
    status = run.status
    versions = ", ".join(f"{name} {number}" for name, number in status.get("versions", {}).items())
    return note(f"Made from the run {run.name}, started {status.get('started', 'at an unknown time')}, {versions}.")
