"""Events: how handlers are called that no person and no program asks for by name."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import gradio as gr

QUIET: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}
"""For an event that is no part of the API and shows no progress of its own."""

LATEST: dict[str, Any] = QUIET | {"trigger_mode": "always_last"}
"""As `QUIET`; of the calls that come while one is running the last one counts. Without it they are dropped."""


def when(triggers: Sequence[Any], fn: Callable[..., Any], inputs: Any = None, outputs: Any = None) -> gr.events.Dependency:
    """Run `fn` as `LATEST` says after any of `triggers`, beside all else that follows them.

    For every event of a component that has several handlers. Gradio 6 runs those one after the other, each when the answer of
    the one before is there, and if one of them was still busy with an earlier event, it repeats the event for all of them:
    two such rounds can follow each other for ever. Neither holds for what follows a handler, so there is one in between
    that the browser runs alone.
    """
    return gr.on(triggers, None, js="() => {}", **QUIET).success(fn, inputs, outputs, **LATEST)
