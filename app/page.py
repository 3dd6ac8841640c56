"""What the tabs share: the chosen result, the chosen image, and the ways to other tabs."""

from __future__ import annotations

from dataclasses import dataclass

import gradio as gr


@dataclass(frozen=True)
class Page:
    """Components that stand above the tabs or are known to all of them.

    demo    the Blocks
    entered State: changes when a page was opened and its visitor is known, which is what `load` is elsewhere
    result  Dropdown: key of the `Result` that Compare, Look inside, Try it and Save show
    image   State: number of the chosen test image of that result (0 .. n - 1)
    source  BrowserState: the visitor's data set, a built-in task's name or the id of an import
    job     BrowserState: id of the visitor's latest job
    tabs    the Tabs; `gr.Tabs(selected=...)` with "start", "data", "tune", "compare", "inspect", "try", "save"
    """

    demo: gr.Blocks
    entered: gr.State
    result: gr.Dropdown
    image: gr.State
    source: gr.BrowserState
    job: gr.BrowserState
    tabs: gr.Tabs
