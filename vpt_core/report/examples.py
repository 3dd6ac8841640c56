"""A few test images, looked into: what the run says of them, where it looks, and what its answer rests on."""

from __future__ import annotations

import numpy as np

from vpt_core.analysis import attribute_prompts, before_tuning, delete_and_insert, overlay, read_attention
from vpt_core.analysis.attribution import Attribution, attribute
from vpt_core.errors import UserError
from vpt_core.methods import Prompted
from vpt_core.metrics import softmax
from vpt_core.model import Model
from vpt_core.prompt_file import Classifier
from vpt_core.report.charts import heat_table, line_chart
from vpt_core.report.document import Element, el, note, picture, section
from vpt_core.runs import Run
from vpt_core.standing import right
from vpt_core.tasks import Task, resize

SIDE = 224  # pixels a side of each picture
EXAMPLES, WRONG = 3, 2  # how many are shown, and how many of them are wrong ones where there are so many
_NOTE = (
    "The image; the attention of the read-out's query in the last layer, mean of its heads; what the score of the true class "
    "rests on by integrated gradients against the image's mean colour: before tuning, which is the frozen backbone under this "
    "run's classifier, and after. Teal parts speak for the class, red ones against it, each picture on a scale of its own. "
    "Look whether the colour lies on what the class is about. Neither attention nor a map is a reason as a person has one, "
    "another baseline draws another map, and a handful of images is no sample: these are those that the run was surest of."
)

_PROMPTS_NOTE = (
    "Integrated gradients over the prompts. Teal speaks for the class, red against it. Look for layers and prompts that stand "
    "out. A zero prompt still takes attention, so this is not what removing one would do; Knock-out on the page measures that."
)


def examples(run: Run, task: Task, classifier: Classifier) -> Element:
    """The section with the most confident errors and the surest right answers, and what the prompts add to the first."""
    test, images = task.splits(run.spec.seed, run.spec.shots).test, chosen(run)
    pixels = resize(np.asarray(task.pixels[test[images]]), run.spec.image_size)
    shown = [_example(run, image, one, classifier) for image, one in zip(images, pixels, strict=True)]
    told = [*_by_layer(pixels, classifier), *_prompts(run, images[0], pixels[0], classifier)]
    return section("A few test images", *shown, note(_NOTE), *told)


def _by_layer(pixels: np.ndarray, classifier: Classifier) -> list[Element]:
    """How much of the attention goes to the prompts, by layer; nothing where there are none to attend to."""
    try:
        seen = [read_attention(classifier.model, one) for one in pixels]
    except UserError:  # `_attention` says why
        return []
    shares = np.array([[layer.sum(axis=1).mean() if layer.size else 0.0 for layer in one.to_prompts] for one in seen])  # (n, L)
    if not shares.any():
        return []
    layers = list(range(1, shares.shape[1] + 1))
    chart = line_chart(layers, shares.mean(axis=0).tolist(), "attention to the prompts by layer", "layer", 1.0, percent=True)
    return [el("h3", "Attention to the prompts, layer by layer"), el("div", el("figure", chart), class_="row"),
            note(f"What {seen[0].query} gives to all prompts together, mean of the heads and of these {len(seen)} images. Much "
                 "attention does not mean much influence: the prompts' values may be small. Knock-out measures that.")]


def _prompts(run: Run, image: int, pixels: np.ndarray, classifier: Classifier) -> list[Element]:
    """What each prompt adds to the score of the true class of an image; nothing where there are no prompts to ask about."""
    true = int(run.labels[image])
    if not isinstance(classifier.model.method, Prompted) or not classifier.model.method.options.prompts:
        return []
    found = attribute_prompts(classifier.model, pixels, true)
    columns = [str(k + 1) for k in range(found.shares.shape[1])]
    said = (f"From zero prompts to the learned ones the score of “{run.classes[true]}” goes from {found.zero:.2f} to "
            f"{found.score:.2f}; the cells sum to that but for {found.error:.2g}.")
    return [el("h3", f"What each prompt adds in {run.image_names[image]}"), el("p", said),
            heat_table(found.shares, found.rows, columns, "prompt"), note(_PROMPTS_NOTE)]  # fmt: skip


def chosen(run: Run) -> list[int]:
    """Numbers of the test images to show: the surest wrong answers, then the surest right ones."""
    sure, good = softmax(run.array("logits")).max(axis=1), right(run)
    order = np.argsort(-sure, kind="stable")
    wrong = order[~good[order]][:WRONG]
    return [*wrong.tolist(), *order[good[order]][: EXAMPLES - len(wrong)].tolist()]


def _example(run: Run, image: int, pixels: np.ndarray, classifier: Classifier) -> Element:
    model, true = classifier.model, int(run.labels[image])
    after = attribute(model, pixels, true)
    figures = [picture(resize(pixels[None], SIDE)[0], "the test image", run.image_names[image]), _attention(model, pixels)]
    if run.spec.method != "linear":  # a linear probe leaves the backbone as it was
        figures.append(_map(pixels, attribute(before_tuning(model), pixels, true), "before tuning"))
    figures.append(_map(pixels, after, "after tuning"))
    tested = delete_and_insert(model, pixels, true, after.patches)
    shares = softmax(run.array("logits")[image])
    top = np.argsort(-shares, kind="stable")[:3]
    said = ", ".join(f"“{run.classes[k]}” {shares[k]:.0%}" for k in top)
    return el("div", el("p", el("strong", f"True “{run.classes[true]}”"), f"; the run says {said}."),
              el("div", *figures, class_="four"), note(tested.sentence), class_="example")  # fmt: skip


def _map(pixels: np.ndarray, found: Attribution, when: str) -> Element:
    caption = f"{when}; completeness error {found.error:.2g} of {abs(found.score - found.empty):.2g}"
    return picture(overlay(pixels, found.patches, SIDE), f"attribution {when}", caption)


def _attention(model: Model, pixels: np.ndarray) -> Element:
    try:
        seen = read_attention(model, pixels)
    except UserError as error:
        return el("figure", el("figcaption", str(error)))
    to_prompts = seen.to_prompts[-1].sum(axis=1).mean()
    caption = "attention in the last layer"
    return picture(overlay(pixels, seen.patches[-1].mean(axis=0), SIDE), "attention to the patches",
                   f"{caption}; {to_prompts:.0%} goes to the prompts" if seen.to_prompts[-1].size else caption)  # fmt: skip
