"""Tables of figures in the pages, generated from the JSON files in docs/figures.

Each file has the commands that measure its figures, the date and the machine of the measurement, and a table: columns
and rows of cells, in Markdown. A page shows it between two comments, and nobody edits what stands between them:

    <!-- figures: bccd -->
    …
    <!-- end of figures -->

A page may name rows (`<!-- figures: bccd rows: 0 1 -->`) and columns (`columns: 0 3`) to show only these. `quoted` in a
file lists what else the pages say in words: text that must stand in that page as it is, up to line breaks.
`python -m tools.figures` rewrites the pages; tests/tools/test_figures.py fails where a page and a file differ.
"""

from __future__ import annotations

import json
import re
from datetime import date
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "docs" / "figures"
PAGES = (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")))
FIELDS = {"command", "date", "machine", "columns", "rows", "quoted"}
_BLOCK = re.compile(
    r"^<!-- figures: (?P<name>\S+)(?: rows:(?P<rows>[ \d]+))?(?: columns:(?P<columns>[ \d]+))? -->\n"
    r"(?P<text>.*?)^<!-- end of figures -->$",
    re.MULTILINE | re.DOTALL,
)


def read(path: Path) -> dict[str, Any]:
    """Read a file of figures. Raises ValueError if a field is missing, unknown or empty, or a row does not fit."""
    data = json.loads(path.read_text(encoding="utf-8"))
    if set(data) != FIELDS:
        raise ValueError(f"{path.name}: has the fields {sorted(data)}, not {sorted(FIELDS)}")
    if not (data["command"] and data["machine"] and data["rows"]):
        raise ValueError(f"{path.name}: command, machine or rows are empty")
    date.fromisoformat(data["date"])
    wrong = [row for row in data["rows"] if len(row) != len(data["columns"])]
    if wrong:
        raise ValueError(f"{path.name}: not one cell for each of {len(data['columns'])} columns: {wrong[0]}")
    return data


def table(data: dict[str, Any], rows: list[int] | None = None, columns: list[int] | None = None) -> str:
    """Return the figures, or some of their rows and columns, as a Markdown table.

    >>> print(table({"columns": ["", "mAP"], "rows": [["vgg300", "0.917"], ["lite320", "0.922"]]}, rows=[1]), end="")
    | | mAP |
    |---|---|
    | lite320 | 0.922 |
    """
    shown = range(len(data["columns"])) if columns is None else columns
    lines = [data["columns"], *(data["rows"] if rows is None else [data["rows"][index] for index in rows])]
    text = ["|" + "|".join(f" {line[index]} " if line[index] else " " for index in shown) + "|\n" for line in lines]
    return text[0] + "|" + "---|" * len(shown) + "\n" + "".join(text[1:])


def filled(page: str, folder: Path = FOLDER) -> str:
    """Return a page with every block of figures generated anew."""

    def block(match: re.Match[str]) -> str:
        rows, columns = (
            None if match[name] is None else [int(each) for each in match[name].split()] for name in ("rows", "columns")
        )
        made = table(read(folder / f"{match['name']}.json"), rows, columns)
        head = match[0].partition("\n")[0]
        return f"{head}\n{made}<!-- end of figures -->"

    return _BLOCK.sub(block, page)


def shown(page: str) -> set[str]:
    """Return the names of the files whose figures a page shows."""
    return {match["name"] for match in _BLOCK.finditer(page)}


def main() -> None:
    """Rewrite every page whose figures differ from their file."""
    for path in PAGES:
        page = path.read_text(encoding="utf-8")
        made = filled(page)
        if made != page:
            path.write_text(made, encoding="utf-8")
            print(path.relative_to(ROOT))


if __name__ == "__main__":
    main()
