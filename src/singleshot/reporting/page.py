"""The parts of a report's page: text, tables, tiles and images as HTML that needs nothing from outside.

One file that opens anywhere, in ten years too: styles are in it, charts are SVG, images are JPEG in base64, and there
is no script. Every text that comes from data (file names, class names, commands) is escaped here and nowhere else:
functions take text and return `Html`, and what is `Html` already is not escaped again.

A report is sent by mail and opened on a phone. Images are reduced, and once their budget is spent the page says that
there is no more room, which is better than a file that nobody can open.
"""

from __future__ import annotations

import base64
import html
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import UInt8
from numpy import ndarray

from singleshot.errors import CannotCreateError, StorageError, visible
from singleshot.storage import atomic

GENERATOR = '<meta name="generator" content="singleshot report">'
HEAD_BYTES = 1024
BUDGET_BYTES = 7_000_000
"""Of all images. Base64 makes a third more of it: a page stays under 10 MB with its charts and tables."""
JPEG_QUALITY = 82
SECURITY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
STYLE = """
:root { color-scheme: light dark; --paper: #ffffff; --ink: #1c1f23; --soft: #5a626b; --line: #d8dde3; --tint: #f3f5f8;
  --accent: 0, 114, 178; --c0: #0072b2; --c1: #c04a00; --c2: #00785a; --c3: #a8498a; --c4: #8a6100; --c5: #2f7fb0;
  --c6: #5b5b5b; --warn: #fff4de; }
@media (prefers-color-scheme: dark) { :root { --paper: #14171a; --ink: #e8eaed; --soft: #a3abb5; --line: #373d45;
  --tint: #1e2328; --accent: 86, 180, 233; --c0: #56b4e9; --c1: #ff9e57; --c2: #3fd0a6; --c3: #e39ac6; --c4: #f0c040;
  --c5: #9ad0ff; --c6: #b9bec5; --warn: #3a3015; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink); font: 16px/1.5 system-ui, sans-serif; }
main { max-width: 1120px; margin: 0 auto; padding: 24px 20px 64px; }
h1 { font-size: 1.7rem; margin: 0 0 4px; } h2 { font-size: 1.25rem; margin: 44px 0 8px; padding-top: 12px;
  border-top: 1px solid var(--line); } h3 { font-size: 1rem; margin: 22px 0 6px; }
p { max-width: 78ch; } .soft, figcaption { color: var(--soft); font-size: 0.9rem; }
code { background: var(--tint); padding: 1px 5px; border-radius: 4px; overflow-wrap: anywhere; font-size: 0.88rem; }
nav a { margin-right: 14px; } a { color: var(--c0); }
.tiles { display: flex; flex-wrap: wrap; gap: 12px; margin: 16px 0; }
.tile { background: var(--tint); border-radius: 8px; padding: 10px 16px; min-width: 120px; }
.tile b { display: block; font-size: 1.5rem; line-height: 1.25; font-variant-numeric: tabular-nums; }
.tile span { color: var(--soft); font-size: 0.85rem; }
.note { background: var(--warn); border-left: 4px solid var(--c4); padding: 8px 14px; border-radius: 4px; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; margin: 10px 0; font-variant-numeric: tabular-nums; font-size: 0.92rem; }
th { white-space: nowrap; } th, td { padding: 4px 12px; border-bottom: 1px solid var(--line); text-align: right; }
.words { text-align: left; } th { color: var(--soft); font-weight: 600; }
tr.sum td { font-weight: 700; } .matrix td { min-width: 54px; text-align: center; }
.matrix th { white-space: normal; max-width: 130px; overflow-wrap: anywhere; }
.matrix td:first-child, .matrix th:first-child { font-weight: 600; text-align: left; }
.charts, .shots { display: flex; flex-wrap: wrap; gap: 18px; margin: 12px 0; align-items: flex-start; }
figure { margin: 0; } figcaption { padding-top: 4px; max-width: 60ch; overflow-wrap: anywhere; }
.grid { display: grid; grid-template-columns: repeat(auto-fill, minmax(240px, 1fr)); gap: 24px 18px; }
.grid img { max-width: 100%; height: auto; border-radius: 4px; display: block; }
.shots img { max-width: 100%; height: auto; border-radius: 4px; display: block; }
svg text { fill: var(--ink); font: 12px system-ui, sans-serif; } svg .dim { fill: var(--soft); }
svg .grid { stroke: var(--line); stroke-width: 1; } svg .axis { stroke: var(--soft); stroke-width: 1; }
@media print { h2 { break-after: avoid; } figure { break-inside: avoid; } }
"""


class Html(str):
    """Markup that may go into a page as it is."""

    __slots__ = ()


def text(value: object) -> Html:
    """Return a value as escaped text; `Html` as it is. None is `n/a`, a fraction of type float has three digits.

    >>> text("<b>"), text(0.12345), text(None), text(7)
    ('&lt;b&gt;', '0.123', 'n/a', '7')
    """
    if isinstance(value, Html):
        return value
    if value is None:
        return Html("n/a")
    plain = f"{value:.3f}" if isinstance(value, float) else str(value)
    return Html(html.escape(visible(plain)))


def joined(parts: Iterable[Html]) -> Html:
    """Return the parts one after another."""
    return Html("\n".join(parts))


def element(tag: str, content: object, kind: str = "") -> Html:
    """Return one element around a text or around markup."""
    return Html(f"<{tag}{f' class={kind!r}' if kind else ''}>{text(content)}</{tag}>")


def paragraph(content: object, kind: str = "") -> Html:
    """Return a paragraph; `kind` may be `soft` or `note`."""
    return element("p", content, kind)


def tiles(figures: Iterable[tuple[str, object]]) -> Html:
    """Return the few figures at the head of the page, from names and values."""
    boxes = (f"<div class='tile'><b>{text(value)}</b><span>{text(name)}</span></div>" for name, value in figures)
    return Html(f"<div class='tiles'>{''.join(boxes)}</div>")


def table(
    columns: Sequence[object], rows: Iterable[Sequence[object]], *, sums: int = 0, words: Collection[int] = (0,)
) -> Html:
    """Return a table. Wide ones scroll by themselves.

    Args:
        columns: their headings.
        rows: of cells.
        sums: how many last rows are set in bold.
        words: indices of columns of words, which are aligned left; numbers are aligned right.
    """
    starts = [f"<td{' class=words' if index in words else ''}>" for index in range(len(columns))]
    lines = [
        f"<tr>{''.join(f'{start}{text(cell)}</td>' for start, cell in zip(starts, row, strict=True))}</tr>"
        for row in rows
    ]
    if sums:
        lines[-sums:] = [line.replace("<tr>", "<tr class='sum'>", 1) for line in lines[-sums:]]
    head = "".join(
        f"<th scope='col'{' class=words' if index in words else ''}>{text(column)}</th>"
        for index, column in enumerate(columns)
    )
    return Html(f"<div class='wide'><table><thead><tr>{head}</tr></thead><tbody>{''.join(lines)}</tbody></table></div>")


def matrix(names: Sequence[str], last_row: str, last_column: str, counts: Sequence[Sequence[int]]) -> Html:
    """Return a confusion matrix, each cell shaded by its share of its row.

    Args:
        names: of the classes; rows are true, columns predicted.
        last_row: the heading of the row after the classes, if `counts` has one.
        last_column: likewise for the column.
        counts: rows of numbers.
    """
    lines = []
    for name, row in zip((*names, last_row), counts, strict=False):
        whole = max(1, sum(row))
        cells = (
            f"<td style='background: rgba(var(--accent), {0.75 * count / whole:.2f})' "
            f"title='{count / whole:.1%}'>{count or '·'}</td>"
            for count in row
        )
        lines.append(f"<tr><td>{text(name)}</td>{''.join(cells)}</tr>")
    head = "".join(f"<th scope='col'>{text(name)}</th>" for name in ("truth ↓", *names, *filter(None, [last_column])))
    return Html(
        f"<div class='wide'><table class='matrix'><thead><tr>{head}</tr></thead><tbody>{''.join(lines)}</tbody>"
        "</table></div>"
    )


def figure(content: Html, caption: object = "") -> Html:
    """Return a chart or an image with its caption below it."""
    below = element("figcaption", caption) if caption else ""
    return Html(f"<figure>{content}{below}</figure>")


@dataclass
class Album:
    """Puts images on a page while their budget lasts.

    Args:
        left_bytes: how much of the budget is left.
    """

    left_bytes: int = BUDGET_BYTES

    def image(self, image_rgb: UInt8[ndarray, "H W 3"], caption: str, *, width: int = 480) -> Html:
        """Return an image with its caption, no wider than `width` pixels; a line of text where no room is left."""
        bgr = cv2.cvtColor(reduced(image_rgb, width), cv2.COLOR_RGB2BGR)
        encoded, jpeg = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
        if not encoded:
            raise StorageError("the image could not be encoded")
        data = np.asarray(jpeg).tobytes()
        if len(data) > self.left_bytes:
            return paragraph(f"{caption} (not shown: the report would grow over 10 MB)", "soft")
        self.left_bytes -= len(data)
        source = f"data:image/jpeg;base64,{base64.b64encode(data).decode()}"
        return figure(Html(f"<img src='{source}' alt='{text(caption)}' decoding='async'>"), caption)


def reduced(image_rgb: UInt8[ndarray, "H W 3"], width: int) -> UInt8[ndarray, "h w 3"]:
    """Return the image at most `width` pixels wide and one and a half times as tall; a smaller one as it is."""
    tall, wide = image_rgb.shape[:2]
    share = min(1.0, width / wide, 1.5 * width / tall)
    if share == 1.0:
        return image_rgb
    size = (max(1, round(wide * share)), max(1, round(tall * share)))
    return cv2.resize(image_rgb, size, interpolation=cv2.INTER_AREA)


def section(name: str, *parts: Html) -> tuple[str, Html]:
    """Return a titled part of the page."""
    return name, joined(parts)


def document(title: str, lead: Html, sections: Sequence[tuple[str, Html]]) -> str:
    """Return the whole page.

    Args:
        title: of the page.
        lead: the first part, under the title.
        sections: from `section`; each gets a link at the top.
    """
    links = " ".join(f"<a href='#s{index}'>{text(name)}</a>" for index, (name, _) in enumerate(sections))
    body = "\n".join(
        f"<h2 id='s{index}'>{text(name)}</h2>\n{content}" for index, (name, content) in enumerate(sections)
    )
    return (
        f'<!doctype html>\n<html lang="en">\n<head><meta charset="utf-8">{GENERATOR}\n'
        f'<meta http-equiv="Content-Security-Policy" content="{SECURITY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{text(title)}</title>\n<style>{STYLE}</style></head>\n"
        f"<body><main><h1>{text(title)}</h1>\n{lead}\n<nav>{links}</nav>\n{body}\n</main></body>\n</html>\n"
    )


def is_ours(path: Path) -> bool:
    """Return whether a file is a report of ours, which may be replaced without asking."""
    if not path.is_file():
        return False
    with path.open("rb") as stream:
        return GENERATOR.encode() in stream.read(HEAD_BYTES)


def check_target(path: Path, *, overwrite: bool = False) -> None:
    """Raise CannotCreateError for a file that exists and is no report of ours."""
    if path.is_dir():
        raise CannotCreateError("is a folder", remedy="Name a file", file=path)
    if path.is_file() and not overwrite and not is_ours(path):
        remedy = "Choose another name or pass --overwrite"
        raise CannotCreateError("already exists and is no report of ours", remedy=remedy, file=path)


def write(path: Path, page: str) -> Path:
    """Write a page into a file, whole or not at all, and return the file."""
    atomic.write_text(path, page)
    return path
