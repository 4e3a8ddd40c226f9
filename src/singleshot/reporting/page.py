"""The parts of a report's page: text, tables, tiles and pictures as HTML that needs nothing from outside.

One file that opens anywhere, in ten years too: styles are in it, charts are SVG, pictures are JPEG in base64, and
there is no script. Every text that comes from data (file names, class names, commands) is escaped here and nowhere
else: functions take text and give `Html`, and what is `Html` already is not escaped again.
"""

from __future__ import annotations

import html
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path

from singleshot.errors import CannotCreateError, visible
from singleshot.storage import atomic

GENERATOR = '<meta name="generator" content="singleshot report">'
LOOKED_AT = 1024
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
.shots img { max-width: 100%; height: auto; border-radius: 4px; display: block; }
svg text { fill: var(--ink); font: 12px system-ui, sans-serif; } svg .dim { fill: var(--soft); }
svg .grid { stroke: var(--line); stroke-width: 1; } svg .axis { stroke: var(--soft); stroke-width: 1; }
@media print { h2 { break-after: avoid; } figure { break-inside: avoid; } }
"""


class Html(str):
    """Markup that may go into a page as it is."""

    __slots__ = ()


def text(value: object) -> Html:
    """A value as harmless text; `Html` passes. None is `n/a`, a fraction of type float has three digits.

    >>> text("<b>"), text(0.12345), text(None), text(7)
    ('&lt;b&gt;', '0.123', 'n/a', '7')
    """
    if isinstance(value, Html):
        return value
    if value is None:
        return Html("n/a")
    said = f"{value:.3f}" if isinstance(value, float) else str(value)
    return Html(html.escape(visible(said)))


def joined(parts: Iterable[Html]) -> Html:
    """Parts one after another."""
    return Html("\n".join(parts))


def element(tag: str, content: object, kind: str = "") -> Html:
    """One element around a text or around markup."""
    return Html(f"<{tag}{f' class={kind!r}' if kind else ''}>{text(content)}</{tag}>")


def paragraph(content: object, kind: str = "") -> Html:
    """A paragraph; `kind` may be `soft` or `note`."""
    return element("p", content, kind)


def tiles(figures: Iterable[tuple[str, object]]) -> Html:
    """The few figures to see first, as (what it is, value)."""
    boxes = (f"<div class='tile'><b>{text(value)}</b><span>{text(name)}</span></div>" for name, value in figures)
    return Html(f"<div class='tiles'>{''.join(boxes)}</div>")


def table(
    columns: Sequence[object], rows: Iterable[Sequence[object]], *, sums: int = 0, words: Collection[int] = (0,)
) -> Html:
    """A table. Wide ones scroll by themselves.

    Args:
        columns: what stands above.
        rows: of cells.
        sums: the last rows that are set off.
        words: columns of words, which begin at the left; numbers end at the right.
    """
    starts = [f"<td{' class=words' if place in words else ''}>" for place in range(len(columns))]
    lines = [
        f"<tr>{''.join(f'{start}{text(cell)}</td>' for start, cell in zip(starts, row, strict=True))}</tr>"
        for row in rows
    ]
    if sums:
        lines[-sums:] = [line.replace("<tr>", "<tr class='sum'>", 1) for line in lines[-sums:]]
    head = "".join(
        f"<th scope='col'{' class=words' if place in words else ''}>{text(column)}</th>"
        for place, column in enumerate(columns)
    )
    return Html(f"<div class='wide'><table><thead><tr>{head}</tr></thead><tbody>{''.join(lines)}</tbody></table></div>")


def matrix(names: Sequence[str], last_row: str, last_column: str, counts: Sequence[Sequence[int]]) -> Html:
    """A confusion matrix, each cell shaded by its share of its row.

    Args:
        names: of the classes; rows are true, columns detected.
        last_row: what the row after the classes is called, if `counts` has one.
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
    """A chart or a picture with what it shows below it."""
    said = element("figcaption", caption) if caption else ""
    return Html(f"<figure>{content}{said}</figure>")


def section(name: str, *parts: Html) -> tuple[str, Html]:
    """A titled part of the page."""
    return name, joined(parts)


def document(title: str, lead: Html, sections: Sequence[tuple[str, Html]]) -> str:
    """The whole page.

    Args:
        title: of the page.
        lead: what stands first, under the title.
        sections: from `section`; each gets a place in the list at the top.
    """
    links = " ".join(f"<a href='#s{place}'>{text(name)}</a>" for place, (name, _) in enumerate(sections))
    body = "\n".join(
        f"<h2 id='s{place}'>{text(name)}</h2>\n{content}" for place, (name, content) in enumerate(sections)
    )
    return (
        f'<!doctype html>\n<html lang="en">\n<head><meta charset="utf-8">{GENERATOR}\n'
        f'<meta http-equiv="Content-Security-Policy" content="{SECURITY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{text(title)}</title>\n<style>{STYLE}</style></head>\n"
        f"<body><main><h1>{text(title)}</h1>\n{lead}\n<nav>{links}</nav>\n{body}\n</main></body>\n</html>\n"
    )


def is_ours(path: Path) -> bool:
    """Whether a file is a report that was written here. Those are made anew without asking."""
    if not path.is_file():
        return False
    with path.open("rb") as stream:
        return GENERATOR.encode() in stream.read(LOOKED_AT)


def check_target(path: Path, *, overwrite: bool = False) -> None:
    """Refuse a file that is there already and is no report of ours. Raises CannotCreateError."""
    if path.is_dir():
        raise CannotCreateError("is a folder", remedy="Name a file", file=path)
    if path.is_file() and not overwrite and not is_ours(path):
        remedy = "Choose another name or pass --overwrite"
        raise CannotCreateError("already exists and is no report of ours", remedy=remedy, file=path)


def write(path: Path, page: str) -> Path:
    """Put a page into a file, whole or not at all. Returns the file."""
    atomic.write_text(path, page)
    return path
