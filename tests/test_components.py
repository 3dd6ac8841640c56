"""The components' values, the scripts they run and the colours they use; no browser."""

from __future__ import annotations

import base64
import io
import json
import re

import gradio as gr
import numpy as np
import plotly.graph_objects as go
import pytest
from fastapi.testclient import TestClient
from PIL import Image

from app import components, theme

SCRIPTS = sorted((theme.ASSETS / "js").glob("*.js"))
EVIL = '<img src=x onerror="alert(1)">'


def _pixels(uri: str) -> np.ndarray:
    head, data = uri.split(",", 1)
    assert head == "data:image/webp;base64"
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(data))).convert("RGB"))


def _numbers(text: str, *shape: int) -> np.ndarray:
    return np.frombuffer(base64.b64decode(text), dtype="<f2").reshape(shape).astype(np.float64)


def _all_components() -> dict[str, gr.HTML]:
    return {"plot": components.plot(label="Accuracy"), "attention": components.attention_viewer(),
            "bars": components.bars(), "cards": components.stat_cards(),
            "progress": components.progress_bar(empty="Nothing yet."), "answers": components.answers_table()}


def test_figure_is_json_without_plotlys_template():
    fig = go.Figure(go.Scatter(x=np.arange(3), y=np.arange(3.0)), frames=[go.Frame(name="after")])
    value = components.figure(fig)
    assert json.loads(json.dumps(value)) == value
    assert "template" not in value["layout"] and "thumbs" not in value
    assert value["frames"][0]["name"] == "after"


def test_figure_carries_its_thumbs():
    thumbs = {"src": "data:", "size": 64, "columns": 1}
    assert components.figure(go.Figure(), thumbs)["thumbs"] == thumbs


def test_plain_leaves_plotly_no_markup():
    assert components.plain(EVIL) == '&lt;img src=x onerror="alert(1)"&gt;'
    assert components.plain("cat & <b>dog</b>") == "cat &amp; &lt;b&gt;dog&lt;/b&gt;"
    assert components.plain("a\n b") == "a b"
    assert components.plain(7) == "7"


def test_plain_cuts_letters_not_entities():
    assert components.plain("<" * 5, limit=3) == "&lt;&lt;…"


@pytest.mark.parametrize("count", [1, 5, 9])
def test_sprite_holds_each_image_in_its_place(count):
    colours = np.random.default_rng(0).integers(0, 256, (count, 3), dtype=np.uint8)
    sheet = components.sprite(np.broadcast_to(colours[:, None, None], (count, 20, 20, 3)), size=32)
    pixels = _pixels(sheet["src"])
    for i, colour in enumerate(colours):
        row, column = divmod(i, sheet["columns"])
        middle = pixels[row * 32 + 16, column * 32 + 16].astype(int)
        assert np.abs(middle - colour).max() < 30


def _attention(prompts: list[int], layers: int = 3, heads: int = 2, grid: int = 4):
    rng = np.random.default_rng(0)
    rows = [rng.dirichlet(np.ones(1 + p + grid * grid), heads) for p in prompts]
    patches = np.stack([row[:, 1 + p:] for row, p in zip(rows, prompts, strict=True)]).reshape(layers, heads, grid, grid)
    to_prompts = [row[:, 1:1 + p] for row, p in zip(rows, prompts, strict=True)]
    to_self = np.stack([row[:, 0] for row in rows])
    image = np.full((28, 28, 3), 90, dtype=np.uint8)
    return components.attention_value(image, patches, to_prompts, to_self, title=EVIL), patches, to_prompts


def test_attention_value_keeps_shares_that_sum_to_one():
    value, patches, to_prompts = _attention([5, 0, 2])
    kept = _numbers(value["patches"], 3, 2, 16), _numbers(value["to_prompts"], 3, 2, 5), _numbers(value["to_self"], 3, 2, 1)
    np.testing.assert_allclose(sum(part.sum(-1) for part in kept), 1, atol=2e-3)
    np.testing.assert_allclose(kept[0], patches.reshape(3, 2, 16), atol=1e-3)
    np.testing.assert_allclose(kept[1][2, :, :2], to_prompts[2], atol=1e-3)
    assert value["prompts"] == [5, 0, 2] and not kept[1][1].any() and not kept[1][2, :, 2:].any()
    assert value["grid"] == [4, 4] and (value["layers"], value["heads"]) == (3, 2)
    assert np.abs(_pixels(value["image"]).astype(int) - 90).max() < 4
    assert json.loads(json.dumps(value)) == value


def test_attention_value_without_prompts():
    value, _, _ = _attention([0, 0, 0])
    assert value["to_prompts"] == "" and value["prompts"] == [0, 0, 0]


@pytest.mark.parametrize("name", ["plot", "attention", "bars", "cards", "progress", "answers"])
def test_component_runs_its_script_and_never_puts_a_value_into_its_template(name):
    component = _all_components()[name]
    own = [f"shared/{part}.js" for part in ("given", *components.SHARED.get(name, ()))] + [f"{name}.js"]
    known, _, script = component.js_on_load.partition("\n")
    assert script == "\n".join((theme.ASSETS / "js" / file).read_text(encoding="utf-8") for file in own)
    texts = json.loads(known.removeprefix("const own = ").removesuffix(";"))
    assert texts["empty"] == component.props["empty"] and EVIL not in known
    assert component.html_template == "<div></div>" and component.css_template == ""
    value = {"data": [EVIL]}
    assert component.postprocess(value) is value


def test_each_script_belongs_to_a_component():
    assert {path.stem for path in SCRIPTS} == set(_all_components())


@pytest.mark.parametrize("path", [*SCRIPTS, *(theme.ASSETS / "js" / "shared").glob("*.js")], ids=lambda path: path.stem)
def test_scripts_make_markup_only_from_constants(path):
    script = path.read_text(encoding="utf-8")
    assert all("${" not in markup for markup in re.findall(r"innerHTML = `(.*?)`", script, re.DOTALL))
    assert script.count("innerHTML") == script.count("innerHTML = `")
    assert not re.search(r"\beval\b|new Function|insertAdjacentHTML|outerHTML|document\.write|https?://|fetch\(", script)


def test_words_of_the_viewer_are_those_its_script_asks_for():
    script = (theme.ASSETS / "js" / "attention.js").read_text(encoding="utf-8")
    asked = set(re.findall(r'words\("(\w+)"', script)) | {"shares", "shares_max", "no_prompts", "no_prompts_max"}
    asked |= {"itself", "others", "mean of patches", "prompt_row", "prompt_idle"}
    assert asked == set(components.ATTENTION_WORDS)


def test_texts_changes_some_and_keeps_the_rest():
    chart = components.plot(label="Accuracy", empty="No run yet.", height=300)
    assert components.texts(chart, empty="还没有数据").props == chart.props | {"empty": "还没有数据"}


def test_components_take_gradios_own_arguments_and_events():
    with gr.Blocks():
        chart = components.plot(label="Accuracy", elem_id="curve", elem_classes=["wide"], visible=False)
        chart.select(lambda: None)
    assert chart.elem_id == "curve" and "wide" in chart.elem_classes and chart.visible is False


def test_plotly_is_served_from_here_and_nothing_beside_it():
    gr.set_static_paths(theme.STATIC)
    with gr.Blocks() as demo:
        chart = components.plot(label="Accuracy")
    address = re.fullmatch(r'<script src="(gradio_api/file=[^"]+)"></script>', chart.head).group(1)
    client = TestClient(gr.routes.App.create_app(demo))
    assert "plotly.js" in client.get(f"/{address}").text[:200]
    assert client.get(f"/gradio_api/file={theme.PLOTLY.parent.parent / '__init__.py'}").status_code == 403


def test_the_page_asks_no_other_host_for_anything():
    texts = [path.read_text(encoding="utf-8") for path in theme.CSS_PATHS] + [theme.HEAD]
    assert not any(re.search(r"https?:|@import|url\(", text) for text in texts)
    assert theme.THEME._stylesheets == []
    assert "IBMPlexSans-Regular" in "".join(theme.THEME._font_css)


def test_no_font_cut_that_lacks_letters():
    assert "SemiBold" not in "".join(theme.THEME._font_css)


def test_documented_classes_exist():
    css = theme.CSS_PATHS[0].read_text(encoding="utf-8")
    comment, rules = css.split("*/", 1)
    named = re.findall(r"^   (\.[\w-]+) ", comment, re.MULTILINE)
    assert len(named) == 6 and all(name in rules for name in named)


def test_bars_have_the_colours_of_the_charts():
    css = theme.CSS_PATHS[0].read_text(encoding="utf-8")
    assert tuple(re.findall(r"--vpt-tone-\d: (#\w+);", css)) == components.COLOURS[:4]


def _luminance(colour: str) -> float:
    parts = [int(colour[i:i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [x / 12.92 if x <= 0.04045 else ((x + 0.055) / 1.055) ** 2.4 for x in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def _contrast(a: str, b: str) -> float:
    """WCAG 2 contrast ratio, 1 to 21."""
    light, dark = sorted((_luminance(_hex(a)), _luminance(_hex(b))), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def _hex(colour: str) -> str:
    colour = getattr(theme.THEME, colour[1:]) if colour.startswith("*") else colour
    return "#ffffff" if colour == "white" else colour


@pytest.mark.parametrize("text", ["body_text_color", "body_text_color_subdued", "block_label_text_color",
                                  "block_info_text_color", "link_text_color"])
@pytest.mark.parametrize("ground", ["body_background_fill", "block_background_fill"])
@pytest.mark.parametrize("dark", ["", "_dark"])
def test_text_is_readable(text, ground, dark):
    assert _contrast(getattr(theme.THEME, text + dark), getattr(theme.THEME, ground + dark)) >= 4.5


def test_primary_button_is_readable():
    for fill in ("", "_hover", "_dark", "_hover_dark"):
        assert _contrast(getattr(theme.THEME, f"button_primary_background_fill{fill}"), "white") >= 4.5


@pytest.mark.parametrize("colour", components.COLOURS)
def test_chart_colours_stand_out_on_both_grounds(colour):
    grounds = theme.THEME.block_background_fill, theme.THEME.block_background_fill_dark
    assert min(_contrast(colour, ground) for ground in grounds) >= 3
