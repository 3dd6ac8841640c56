"""Charts as SVG elements, drawn by hand: no script, no network, sharp on paper."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from vpt_core.report.document import Element, el

COLOURS = ("#0d9488", "#d97706", "#6366f1", "#db2777", "#65a30d", "#0284c7", "#dc2626", "#64748b")
_WIDTH, _HEIGHT, _LEFT, _BOTTOM, _TOP = 460, 250, 54, 34, 12
MOST_POINTS = 1000


def line_chart(x: Sequence[float], y: Sequence[float], label: str, x_title: str, most: float, percent: bool = False) -> Element:
    """One line over `x`, from 0 to `most`. `label` is read to those who cannot see it."""
    wide, high = _WIDTH - _LEFT - 12, _HEIGHT - _TOP - _BOTTOM
    start, end = min(x), max(x)
    across = [_LEFT + wide * (v - start) / ((end - start) or 1) for v in x]
    up = [_TOP + high * (1 - v / (most or 1)) for v in y]
    points = " ".join(f"{a:.1f},{b:.1f}" for a, b in zip(across, up, strict=True))
    marks = [el("circle", cx=f"{a:.1f}", cy=f"{b:.1f}", r=3, fill=COLOURS[0]) for a, b in zip(across, up, strict=True)]
    return el(
        "svg", *_grid(most, percent), el("polyline", points=points, fill="none", stroke=COLOURS[0], stroke_width=2.5),
        *(marks if len(marks) <= 40 else []), _text(_LEFT, _HEIGHT - 18, f"{start:g}"),
        _text(_WIDTH - 12, _HEIGHT - 18, f"{end:g}", "end"), _text(_LEFT + wide / 2, _HEIGHT - 4, x_title, "middle"),
        viewBox=f"0 0 {_WIDTH} {_HEIGHT}", role="img", aria_label=label,
    )  # fmt: skip


def _grid(most: float, percent: bool) -> list[Element]:
    made = []
    for k in range(5):
        value, y = most * k / 4, _TOP + (_HEIGHT - _TOP - _BOTTOM) * (1 - k / 4)
        made.append(el("line", x1=_LEFT, x2=_WIDTH - 12, y1=f"{y:.1f}", y2=f"{y:.1f}", stroke="var(--line)"))
        made.append(_text(_LEFT - 8, y + 4, f"{value:.0%}" if percent else f"{value:.2g}", "end"))
    return made


def _text(x: float, y: float, text: str, anchor: str = "start") -> Element:
    return el("text", text, x=f"{x:.1f}", y=f"{y:.1f}", text_anchor=anchor)


def scatter(places: np.ndarray, both: np.ndarray, labels: np.ndarray, right: np.ndarray, label: str) -> Element:
    """Points (N, 2) on the axes of `both` maps (2, N, 2): colour by class, crosses where not `right`. At most `MOST_POINTS`."""
    low, high = both.reshape(-1, 2).min(axis=0), both.reshape(-1, 2).max(axis=0)
    spots = 12 + 376 * (places - low) / np.maximum(high - low, 1e-9)
    chosen = np.linspace(0, len(places) - 1, min(len(places), MOST_POINTS)).astype(int)
    marks = [_point(*spots[i], COLOURS[labels[i] % len(COLOURS)], bool(right[i])) for i in chosen]
    return el("svg", *marks, viewBox="0 0 400 400", role="img", aria_label=label)


def points(x: np.ndarray, y: np.ndarray, label: str, x_title: str) -> Element:
    """Points (N,) over values `x` from 0 on, with a dotted line at y = 0. `label` is read to those who cannot see it."""
    wide, high = _WIDTH - _LEFT - 12, _HEIGHT - _TOP - _BOTTOM
    most, low, top = float(x.max()) or 1.0, min(0.0, float(y.min())), max(0.0, float(y.max()))
    across, up = _LEFT + wide * x / most, _TOP + high * (top - y) / ((top - low) or 1.0)
    zero = _TOP + high * top / ((top - low) or 1.0)
    marks = [el("circle", cx=f"{a:.1f}", cy=f"{b:.1f}", r=4, fill=COLOURS[0], fill_opacity=0.7)
             for a, b in zip(across, up, strict=True)]
    marks += [_text(_LEFT - 8, place + 4, f"{value:+.2g}" if value else "0", "end")
              for place, value in {_TOP: top, _TOP + high: low, zero: 0.0}.items()]
    line = el("line", x1=_LEFT, x2=_WIDTH - 12, y1=f"{zero:.1f}", y2=f"{zero:.1f}", stroke=COLOURS[6], stroke_dasharray="3 4")
    return el(
        "svg", line, *marks,
        _text(_LEFT, _HEIGHT - 18, "0"), _text(_WIDTH - 12, _HEIGHT - 18, f"{most:.2g}", "end"),
        _text(_LEFT + wide / 2, _HEIGHT - 4, x_title, "middle"),
        viewBox=f"0 0 {_WIDTH} {_HEIGHT}", role="img", aria_label=label,
    )  # fmt: skip


def _point(x: float, y: float, ink: str, good: bool) -> Element:
    y = 400 - y
    if good:
        return el("circle", cx=f"{x:.1f}", cy=f"{y:.1f}", r=4, fill=ink, fill_opacity=0.8)
    way = f"M{x - 4:.1f} {y - 4:.1f}l8 8m0 -8l-8 8"
    return el("path", d=way, stroke=ink, stroke_width=2, fill="none")


def legend(names: Sequence[str]) -> Element:
    """Colours of the classes, as far as there are colours."""
    items: list[Element | str] = []
    for k, name in enumerate(names):
        items += [el("span", "● ", style=f"color: {COLOURS[k % len(COLOURS)]}"), f"{name}   "]
    return el("p", *items, "✕ called wrongly by the tuned model", class_="note")


def counts_table(counts: np.ndarray, names: Sequence[str]) -> Element:
    """A confusion matrix (C, C) as a table: rows are true classes, teal is right, red is wrong, stronger for a larger share."""
    head = el("tr", el("th", "true ↓ called →"), *(el("th", name) for name in names))
    rows = []
    for i, row in enumerate(counts.tolist()):
        cells = [el("td", str(n) if n else "", style=_shade(n / max(1, sum(row)), i == j)) for j, n in enumerate(row)]
        rows.append(el("tr", el("th", names[i]), *cells))
    return el("div", el("table", head, *rows, class_="counts"), class_="wide")


def heat_table(values: np.ndarray, rows: Sequence[str], columns: Sequence[str], what: str) -> Element:
    """Signed numbers (R, C) as a table: teal above 0, red below, stronger for a larger one; `what` the columns are."""
    most = float(np.abs(values).max()) or 1.0
    lines = [el("tr", el("th", what), *(el("th", name) for name in columns))]
    for name, row in zip(rows, values.tolist(), strict=True):
        cells = (el("td", f"{value:.2f}", style=_shade(abs(value) / most, value >= 0)) for value in row)
        lines.append(el("tr", el("th", name), *cells))
    return el("div", el("table", *lines, class_="counts"), class_="wide")


def _shade(share: float, right: bool) -> str:
    red, green, blue = (13, 148, 136) if right else (220, 38, 38)
    return f"background: rgba({red}, {green}, {blue}, {0.1 + 0.7 * share if share else 0:.2f})"
