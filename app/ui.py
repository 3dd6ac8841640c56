"""The page: header, status strip, tabs. Each tab makes and wires its own components."""

from __future__ import annotations

import gradio as gr

from app import results, settings, visitors
from app.events import QUIET
from app.messages import shows_user_errors
from app.page import Page
from app.tabs import compare, data, inspect, save, start, tryit, tune

TITLE = "VPT Studio"
TABS = (
    ("start", "Start", start),
    ("data", "Data", data),
    ("tune", "Tune", tune),
    ("compare", "Compare", compare),
    ("inspect", "Look inside", inspect),
    ("try", "Try it", tryit),
    ("save", "Save", save),
)
_HERO = """<h1>VPT Studio</h1>
<p>A frozen vision model learns your task from a few learnable tokens. Tune visual prompts next to a linear probe,
see what they do, and take them away in a file of some kilobytes.</p>"""
# Browser storage needs a name and a key that survive restarts; what is stored are ids, nothing that needs hiding.
_STORAGE = {"secret": "vpt-studio"}

# Seconds: how often Gradio's copies of uploads and downloads are looked through, and how old they get.
_CACHE = (600, 60 * settings.IDLE_MINUTES) if settings.PUBLIC else (3600, 14400)


def build() -> gr.Blocks:
    """The whole page, ready to launch."""
    with gr.Blocks(title=TITLE, analytics_enabled=False, delete_cache=_CACHE) as demo:
        gr.HTML(_HERO, elem_classes=["hero"])
        result = gr.Dropdown(label="Results on show", elem_id="result", **results.choices(None))
        token = gr.BrowserState("", storage_key="vpt-visitor", **_STORAGE)
        state = {
            "entered": gr.State(False),
            "image": gr.State(0),
            "source": gr.BrowserState("sprites-position", storage_key="vpt-source", **_STORAGE),
            "job": gr.BrowserState("", storage_key="vpt-job", **_STORAGE),
        }
        with gr.Tabs(elem_id="tabs") as tabs:
            page = Page(demo, result=result, tabs=tabs, **state)
            for id, title, module in TABS:
                with gr.Tab(title, id=id, elem_id=f"tab-{id}") as tab:
                    module.build(page, tab)
        demo.load(shows_user_errors(visitors.enter), token, [token, page.entered], **QUIET)
        demo.unload(visitors.leave)
    return demo
