"""Form fields from options: what `vpt_core.options.option` describes, as Gradio components."""

from __future__ import annotations

from typing import Any

import gradio as gr

from vpt_core.errors import UserError
from vpt_core.options import Option, options_of

_SLIDER_STEPS = 500  # a range of more steps than this is typed, not slid


def control(name: str, opt: Option, default: Any, prefix: str, **rest: Any) -> gr.components.Component:
    """The form field of one option, with its range, help and an elem_id `prefix`-name."""
    common: dict[str, Any] = {"label": opt.label, "info": opt.help, "value": default, "elem_id": f"{prefix}-{name}", **rest}
    if opt.choices is not None:
        return gr.Dropdown(choices=list(opt.choices), **common)
    if isinstance(default, bool):
        return gr.Checkbox(**common)
    if isinstance(default, str):
        return gr.Textbox(max_lines=1, **common)
    if isinstance(default, int) and opt.low is not None and opt.high is not None and opt.high - opt.low <= _SLIDER_STEPS:
        return gr.Slider(minimum=opt.low, maximum=opt.high, step=1, **common)
    return gr.Number(precision=0 if isinstance(default, int) else None, **common)


def typed(owner: Any, values: dict[str, Any]) -> dict[str, Any]:
    """What the page sent, as the types of the options of `owner`: JSON knows one kind of number, a slider sends 10.0.

    Raises `UserError` for an empty field.
    """
    known = options_of(owner)
    out = {}
    for name, value in values.items():
        opt, default = known[name]
        if value is None:
            raise UserError(f"{opt.label} is empty; fill it in (usual: {default}).")
        whole = isinstance(default, int) and isinstance(value, float) and value.is_integer()
        out[name] = int(value) if whole else value
    return out
