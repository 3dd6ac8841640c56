"""The look of the page: theme, style sheet and the files that it serves. No request leaves the machine.

    gr.set_static_paths(STATIC)
    demo.launch(theme=THEME, css_paths=CSS_PATHS, head=HEAD)
"""

from __future__ import annotations

from pathlib import Path

import gradio as gr
import plotly

ASSETS = Path(__file__).resolve().parent.parent / "assets"
PLOTLY = Path(plotly.__file__).resolve().parent / "package_data" / "plotly.min.js"

STATIC: list[Path] = [PLOTLY]
CSS_PATHS: list[Path] = [ASSETS / "style.css"]
HEAD = '<meta name="color-scheme" content="light dark">'

# IBM Plex comes with Gradio, whose semibold cut (600) lacks most letters: bold (700) stands in for it.
# The names after it are the systems' own fonts for Chinese.
_WEIGHTS = (400, 700)
_FONTS = (gr.themes.LocalFont("IBM Plex Sans", _WEIGHTS), "PingFang SC", "Microsoft YaHei", "Noto Sans CJK SC", "sans-serif")
_MONO = (gr.themes.LocalFont("IBM Plex Mono", _WEIGHTS), "Consolas", "monospace")


_LOOK: dict[str, str] = {
    "body_background_fill": "*neutral_50",
    "body_background_fill_dark": "*neutral_950",
    "body_text_color": "*neutral_800",
    "body_text_color_dark": "*neutral_100",
    "body_text_color_subdued": "*neutral_600",
    "body_text_color_subdued_dark": "*neutral_400",
    "background_fill_primary": "white",
    "background_fill_primary_dark": "*neutral_900",
    "background_fill_secondary": "*neutral_50",
    "background_fill_secondary_dark": "*neutral_900",
    "block_background_fill": "white",
    "block_background_fill_dark": "*neutral_900",
    "block_border_color": "*neutral_200",
    "block_border_color_dark": "*neutral_800",
    "block_label_background_fill": "transparent",
    "block_label_background_fill_dark": "transparent",
    "block_label_text_color": "*neutral_600",
    "block_label_text_color_dark": "*neutral_300",
    "block_title_text_weight": "600",
    "block_info_text_color": "*neutral_600",
    "block_info_text_color_dark": "*neutral_400",
    "border_color_primary": "*neutral_200",
    "border_color_primary_dark": "*neutral_800",
    "color_accent": "*primary_700",
    "border_color_accent": "*primary_700",
    "border_color_accent_dark": "*primary_400",
    "link_text_color": "*primary_700",
    "link_text_color_dark": "*primary_300",
    "button_primary_background_fill": "*primary_700",
    "button_primary_background_fill_hover": "*primary_800",
    "button_primary_background_fill_dark": "*primary_700",
    "button_primary_background_fill_hover_dark": "*primary_800",
    "button_primary_border_color": "*primary_700",
    "button_primary_border_color_dark": "*primary_700",
    "button_primary_text_color": "white",
    "button_secondary_background_fill": "white",
    "button_secondary_background_fill_hover": "*neutral_100",
    "button_secondary_background_fill_dark": "*neutral_800",
    "button_secondary_background_fill_hover_dark": "*neutral_700",
    "button_secondary_border_color": "*neutral_300",
    "button_secondary_border_color_dark": "*neutral_700",
    "button_border_width": "1px",
    "input_border_width": "1px",
    "checkbox_background_color_selected": "*primary_700",
    "checkbox_background_color_selected_dark": "*primary_600",
    "checkbox_border_color_selected": "*primary_700",
    "checkbox_border_color_selected_dark": "*primary_600",
    "checkbox_label_border_width": "1px",
    "checkbox_label_border_color": "*neutral_300",
    "checkbox_label_border_color_dark": "*neutral_700",
    "input_background_fill": "white",
    "input_background_fill_dark": "*neutral_950",
    "input_border_color": "*neutral_300",
    "input_border_color_dark": "*neutral_700",
    "slider_color": "*primary_700",
    "slider_color_dark": "*primary_400",
}

# One accent (teal), slate neutrals, white cards on a faint ground. Contrast of text is at least 4.5:1.
THEME = gr.themes.Base(
    primary_hue="teal", secondary_hue="teal", neutral_hue="slate", radius_size="lg", font=_FONTS, font_mono=_MONO
).set(**_LOOK)
