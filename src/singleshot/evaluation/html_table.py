"""The tables of the terminal as HTML, for reports that a notebook shows.

The colours are the notebook's own, so that a table can be read in its light and in its dark scheme.
"""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.table import Table


def html_table(table: Table, line: str = "") -> str:
    """Return a `rich.table.Table` as an HTML table, with its title above and, if there is one, a line of text below.

    Text is escaped: class names come from files. A table without rows has its header alone.
    """
    aligned = [f' style="text-align: {column.justify}"' for column in table.columns]
    header = "".join(
        f"<th{style}>{_escaped(column.header)}</th>" for style, column in zip(aligned, table.columns, strict=True)
    )
    body = []
    for row, cells in zip(table.rows, zip(*(column.cells for column in table.columns), strict=True), strict=True):
        tag = "th" if row.style == "bold" else "td"
        texts = zip(aligned, cells, strict=True)
        body.append(f"<tr>{''.join(f'<{tag}{style}>{_escaped(cell)}</{tag}>' for style, cell in texts)}</tr>")
    parts = [f"<caption>{_escaped(table.title or '')}</caption>", f"<thead><tr>{header}</tr></thead>"]
    below = f"<p>{escape(line)}</p>" if line else ""
    return f"<table>{''.join(parts)}<tbody>{''.join(body)}</tbody></table>{below}"


def _escaped(cell: Any) -> str:
    from rich.text import Text

    return escape(cell.plain if isinstance(cell, Text) else Text.from_markup(str(cell)).plain)
