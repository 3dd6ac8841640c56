"""HTML as a tree: what is put in as text comes out as text, since the writer escapes it and nothing is pasted together."""

from __future__ import annotations

import base64
import io
from xml.etree import ElementTree

import numpy as np
from PIL import Image

Element = ElementTree.Element
Child = Element | str | None

_STYLE = """
:root { color-scheme: light dark; --ink: #1e293b; --muted: #475569; --line: #e2e8f0; --ground: #ffffff; --good: #0d9488;
  --bad: #dc2626; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e2e8f0; --muted: #94a3b8; --line: #334155; --ground: #0f172a; --good: #2dd4bf; --bad: #f87171; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 32px clamp(16px, 4vw, 48px); max-width: 1000px; background: var(--ground); color: var(--ink);
  font: 16px/1.55 "IBM Plex Sans", "Segoe UI", "PingFang SC", "Microsoft YaHei", "Noto Sans CJK SC", system-ui, sans-serif; }
h1 { font-size: 2rem; line-height: 1.2; margin: 0 0 8px; overflow-wrap: anywhere; }
h2 { font-size: 1.3rem; margin: 48px 0 12px; }
p { max-width: 46em; overflow-wrap: anywhere; }
.big { font-size: 1.2rem; font-weight: 700; }
.note, figcaption { color: var(--muted); font-size: 0.93rem; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: 0.93rem; }
th, td { padding: 5px 14px 5px 0; text-align: left; border-bottom: 1px solid var(--line); vertical-align: top;
  overflow-wrap: anywhere; }
th { font-weight: 400; color: var(--muted); white-space: nowrap; }
.counts td { padding: 6px; text-align: center; min-width: 34px; border: 1px solid var(--ground); }
.counts th { padding: 4px 8px; border: 0; max-width: 12em; overflow: hidden; text-overflow: ellipsis; }
.row { display: grid; gap: 20px; grid-template-columns: repeat(auto-fit, minmax(min(100%, 300px), 1fr)); }
.four { display: grid; gap: 12px; grid-template-columns: repeat(auto-fit, minmax(min(45%, 170px), 1fr)); }
figure { margin: 0; min-width: 0; }
.four img { width: 100%; border-radius: 6px; display: block; }
svg { width: 100%; height: auto; display: block; }
svg text { fill: var(--muted); font-size: 13px; }
.example { border-top: 1px solid var(--line); padding: 20px 0 8px; }
@media print { body { max-width: none; } .example, svg { break-inside: avoid; } }
"""
# Even a mistake in this file could not fetch or run anything.
_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"


def el(tag: str, *children: Child, **attributes: object) -> Element:
    """An element; `class_` is class, other underscores are hyphens. Texts among the children stay texts."""
    named = {name.rstrip("_").replace("_", "-"): str(value) for name, value in attributes.items()}
    made = Element(tag, named)
    for child in children:
        if isinstance(child, Element):
            made.append(child)
        elif child:
            if len(made):
                made[-1].tail = (made[-1].tail or "") + child
            else:
                made.text = (made.text or "") + child
    return made


def section(title: str, *children: Child) -> Element:
    """A part of the page with its heading."""
    return el("section", el("h2", title), *children)


def note(text: str) -> Element:
    """The sentence under a picture."""
    return el("p", text, class_="note")


def picture(pixels: np.ndarray, alt: str, caption: str) -> Element:
    """A figure of uint8 pixels (H, W, 3), inside the page."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "WEBP", quality=82)
    source = f"data:image/webp;base64,{base64.b64encode(buffer.getvalue()).decode('ascii')}"
    return el("figure", el("img", src=source, alt=alt), el("figcaption", caption))


def document(title: str, *children: Child) -> str:
    """A whole page that needs no other file."""
    head = el("head", el("meta", charset="utf-8"), el("title", title),
              el("meta", name="viewport", content="width=device-width, initial-scale=1"),
              el("meta", http_equiv="Content-Security-Policy", content=_POLICY), el("style", _STYLE))  # fmt: skip
    page = el("html", head, el("body", el("main", el("h1", title), *children)), lang="en")
    return "<!doctype html>\n" + ElementTree.tostring(page, encoding="unicode", method="html") + "\n"
