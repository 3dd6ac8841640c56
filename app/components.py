"""The page's own components: charts, the attention viewer, confidence bars and result cards.

Each is a `gr.HTML` whose value is JSON and whose drawing is one file of assets/js. An update redraws in place,
so nothing flickers and the zoom stays. Values carry strangers' words: the scripts write them with textContent only.
"""

from __future__ import annotations

import base64
import io
import json
import math
from collections.abc import Sequence
from typing import Any

import gradio as gr
import numpy as np
import plotly.graph_objects as go
from PIL import Image

from app.theme import ASSETS, PLOTLY

# One colour a class or method, in this order; each stands out from white and from the dark page by 3:1 at least.
COLOURS: tuple[str, ...] = ("#0d9488", "#d97706", "#6366f1", "#db2777", "#65a30d", "#0284c7", "#dc2626", "#64748b")

# Scripts of assets/js/shared that stand before a component's own.
SHARED: dict[str, tuple[str, ...]] = {"plot": ("numbers", "save", "steps"), "attention": ("numbers", "maps", "save")}

# The slider of a chart with steps; a translation passes the same keys as `words`.
PLOT_WORDS: dict[str, str] = {"play": "Play", "pause": "Pause", "step": "Step"}

# The sentences of the attention viewer; a translation passes the same keys as `words`.
ATTENTION_WORDS: dict[str, str] = {
    "layer": "Layer {layer} of {layers}",
    "head": "Head",
    "mean": "Mean of all heads",
    "max": "Strongest head, patch by patch",
    "one": "Head {head}",
    "opacity": "Overlay",
    "smooth": "Smooth",
    "scale": "Attention to one patch",
    "patch": "Row {row}, column {column}: {share} of the attention",
    "shares": "In layer {layer} {query} gives {prompts} of its attention to the {count} prompts, "
              "{image} to the image, {rest} to {self}.",
    "shares_max": "In layer {layer} head {head} looks most at the {count} prompts: "
                  "{query} gives them {prompts} of its attention.",
    "no_prompts": "There are no prompts in this layer: {query} gives {image} of its attention to the image, {rest} to {self}.",
    "no_prompts_max": "There are no prompts in this layer. The picture shows, patch by patch, the head that looks there most.",
    "mean of patches": "the mean of the patches",
    "itself": "itself",
    "others": "[CLS] and registers",
    "prompts": "Attention to each prompt: from {query}, and from the patches",
    "prompts_short": "Attention to each prompt",
    "prompt": "Prompt {prompt}",
    "grid": "Share that goes to the prompts, by layer and head",
    "cell": "Layer {layer}, head {head}: {share} to the prompts",
    "view": "Shown",
    "view_query": "Where {query} looks",
    "view_spread": "How much images differ there",
    "spread": "In layer {layer} what {query} gives to a patch differs between the images by {most} at most: one standard "
              "deviation, of several heads their mean or the largest.",
    "view_rollout": "Where {query} comes from: rollout over the layers",
    "view_prompt": "Where prompt {prompt} looks",
    "both": "{share}, {received}",
    "rollout": "Traced back from layer {layer} to the first by attention alone, {image} of {query} comes from the image, "
               "{prompts} from the prompts, {rest} from {self}. A sketch of the flow: all but attention is left out.",
    "prompt_row": "In layer {layer} prompt {prompt} gives {image} of its attention to the image.",
    "prompt_idle": "In layer {layer} prompt {prompt} gives {image} of its attention to the image. What the layer computes at "
                   "its place is thrown away, so this changes no answer: what counts is who looks at the prompt.",
    "prompt_none": "Prompt {prompt} does not stand in layer {layer}.",
}


def plot(value: dict[str, Any] | None = None, *, label: str, empty: str = "Nothing to show yet.", height: int = 360,
         **rest: Any) -> gr.HTML:
    """A chart drawn by plotly.js in the browser. Value: what `figure` gives, or None for the sentence `empty`.

    `label` is read to those who cannot see the picture and names its PNG and CSV; `height` is in pixels, unless the layout has
    one. A click on a point triggers `select` with `evt._data` =
    {"curve", "index", "customdata", "x", "y"} (`index` is [row, column] in a heat map). A value with "frames",
    [{"name": "epoch 1", "traces": [2, 3], "data": [{"x": [...], "y": [...]}, ...]}, ...], gets a slider through them, which
    asks no server. `rest` goes to `gr.HTML`.
    """
    script = f'<script src="gradio_api/file={PLOTLY.as_posix()}"></script>'
    return component("plot", value, label=label, empty=empty, height=height, min_height=height,
                      colours=COLOURS, words=PLOT_WORDS, head=script, **rest)


def figure(fig: go.Figure, thumbs: dict[str, Any] | None = None) -> dict[str, Any]:
    """The value of `plot` for a plotly figure, without plotly's own template: fonts and colours follow the page.

    With `thumbs` (from `sprite`) a card with the picture appears beside a point whose customdata
    begins with the number of its thumb; the card's text is the point's `hovertext`, else its `text`.
    """
    value = json.loads(fig.to_json())
    value["layout"].pop("template", None)
    return value | {"thumbs": thumbs} if thumbs else value


def plain(text: object, limit: int = 40) -> str:
    """Text as plotly shows it letter by letter, cut to `limit` letters.

    Plotly reads a little HTML in titles, names, texts and categories, so strangers' words go there through this.
    """
    line = " ".join(str(text).split())
    line = line if len(line) <= limit else line[:limit - 1] + "…"
    return line.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def attention_viewer(value: dict[str, Any] | None = None, *, empty: str = "Choose an image to see where the model looks.",
                     words: dict[str, str] = ATTENTION_WORDS, **rest: Any) -> gr.HTML:
    """Where a query looks, layer by layer and head by head, redrawn in the browser without a call to the server.

    Value: what `attention_value` gives, or None for the sentence `empty`. `rest` goes to `gr.HTML`.
    """
    return component("attention", value, empty=empty, words=words, **rest)


def bars(value: dict[str, Any] | None = None, *, empty: str = "No prediction yet.", **rest: Any) -> gr.HTML:
    """Confidence of one or more methods, class by class; each method's top class is bold.

    Value: {"columns": ["Linear probe", "VPT-deep"], "rows": [{"label": "cat", "values": [0.2, 0.9]}, ...]} with shares
    from 0 to 1, one for each column; None shows the sentence `empty`. `rest` goes to `gr.HTML`.
    """
    return component("bars", value, empty=empty, **rest)


def answers_table(value: dict[str, Any] | None = None, *, empty: str = "No answer yet.", **rest: Any) -> gr.HTML:
    """What each of many tasks says of one image, a row a task.

    Value: {"said": "24 tasks, one pass, 0.12 s", "rows": [{"task": "Pets", "how": "VPT-deep", "best": "cat", "share": 0.9},
    ...], "left_out": ["a sentence", ...]}; None shows the sentence `empty`. `rest` goes to `gr.HTML`.
    """
    return component("answers", value, empty=empty, **rest)


def stat_cards(value: list[dict[str, str]] | None = None, *, empty: str = "No result yet.", **rest: Any) -> gr.HTML:
    """Result cards in a row that wraps.

    Value: [{"title": "VPT-deep", "big": "93 %", "small": "14 of 15", "note": "a sentence", "tone": "good"}, ...];
    every text but `title` and `big` may be missing, `tone` is "", "accent", "good" or "warn". None shows the
    sentence `empty`. `rest` goes to `gr.HTML`.
    """
    return component("cards", value, empty=empty, **rest)


def progress_bar(*, empty: str, **rest: Any) -> gr.HTML:
    """One line on what is going on and a bar.

    Value: {"text", "done", "total", "tone"}: total 0 is a bar without an end, done None no bar; `tone` is "" or "warn".
    None shows the sentence `empty`. `rest` goes to `gr.HTML`.
    """
    return component("progress", None, empty=empty, **rest)


def texts(component: gr.HTML, **new: Any) -> gr.HTML:
    """The update that gives a component other texts: `label`, `empty`, `words`. Return it for the component.

    Gradio replaces all of a component's own properties at once, so the others are sent along.
    """
    return gr.HTML(**(component.props | new))


def component(name: str, value: Any, *, elem_classes: Sequence[str] = (), **rest: Any) -> gr.HTML:
    """The template is empty for good: assets/js/<name>.js builds the elements once, so Gradio never replaces them.

    The script knows the first texts as `own`: Gradio may mount a component with its value alone.
    """
    files = [*(f"shared/{part}.js" for part in ("given", *SHARED.get(name, ()))), f"{name}.js"]
    own = {key: rest[key] for key in ("label", "empty", "height", "colours", "words") if key in rest}
    parts = [f"const own = {json.dumps(own)};", *((ASSETS / "js" / file).read_text(encoding="utf-8") for file in files)]
    return gr.HTML(value, html_template="<div></div>", js_on_load="\n".join(parts), apply_default_css=False,
                   elem_classes=["vpt", f"vpt-is-{name}", *elem_classes], **rest)


def data_uri(pixels: np.ndarray, quality: int = 85) -> str:
    """A WebP picture of uint8 pixels (H, W, 3) that fits into a value."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "WEBP", quality=quality)
    return f"data:image/webp;base64,{base64_text(buffer.getvalue())}"


def sprite(pixels: np.ndarray, size: int = 64) -> dict[str, Any]:
    """One sheet of thumbs, `size` pixels a side, row by row, of square images uint8 (N, S, S, 3), N at least 1.

    Gives {"src": data URI, "size": pixels, "columns": thumbs in a row}, the `thumbs` of `figure`.
    """
    columns = math.ceil(math.sqrt(len(pixels)))
    rows = math.ceil(len(pixels) / columns)
    sheet = Image.new("RGB", (columns * size, rows * size))
    for i, image in enumerate(pixels):
        thumb = Image.fromarray(image).resize((size, size), Image.Resampling.LANCZOS)
        sheet.paste(thumb, (i % columns * size, i // columns * size))
    return {"src": data_uri(np.asarray(sheet), quality=75), "size": size, "columns": columns}


def attention_value(image: np.ndarray, patches: np.ndarray, to_prompts: list[np.ndarray], to_self: np.ndarray,
                    query: str = "[CLS]", title: str = "") -> dict[str, Any]:
    """The value of `attention_viewer`: image uint8 (S, S, 3), what the query gives to patches (L, H, gh, gw), in each
    layer to its prompts, L arrays (H, p), and to itself and the other tokens (L, H). In a layer and head these sum to 1.
    """
    layers, heads, rows, columns = patches.shape
    prompts = [shares.shape[1] for shares in to_prompts]
    padded = np.zeros((layers, heads, max(prompts)))
    for row, shares in zip(padded, to_prompts, strict=True):
        row[:, :shares.shape[1]] = shares
    return {
        "image": data_uri(image), "grid": [rows, columns], "layers": layers, "heads": heads, "prompts": prompts,
        "patches": half_text(patches), "to_prompts": half_text(padded), "to_self": half_text(to_self),
        "query": query, "title": title,
    }


def half_text(numbers: np.ndarray) -> str:
    """Little-endian float16, row by row, in base64: a sixth of the same numbers in JSON."""
    return base64_text(np.ascontiguousarray(numbers, dtype="<f2").tobytes())


def base64_text(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")
