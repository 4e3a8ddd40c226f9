"""Which fault is tested where: the rows of the fault matrix and, by their names, the tests of each.

`python -m tools.fault_rows` writes docs/fault-rows.md. A test belongs to every row that its name begins with, in small
letters (`test_f7_f8_a_failing_disk_…`). A row without a test has a reason, or is shown as open.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

ROWS, PAGE, TESTS = Path("tools/fault_rows.tsv"), Path("docs/fault-rows.md"), Path("tests")
PARTS = {
    "A": "Dataset files",
    "B": "Annotations",
    "C": "Pictures",
    "D": "Videos",
    "E": "Checkpoints and models",
    "F": "Training",
    "G": "Evaluation",
    "H": "Export, serving, page",
    "I": "Several processes, bulk work",
    "J": "Command line, settings, environment",
}
HEAD = """# Faults and their tests

What can go wrong, and the test that says what a user then sees. Written by `python -m tools.fault_rows` from the names
of the tests and from `tools/fault_rows.tsv`; `tests/tools/test_fault_rows.py` fails where it is out of date.
"""


@dataclass(frozen=True)
class Row:
    """A row of the matrix.

    Args:
        name: such as `F7`.
        fault: what goes wrong.
        left_out: why there is no test; empty where there should be one.
    """

    name: str
    fault: str
    left_out: str


def read_rows(file: Path) -> list[Row]:
    """The rows in a file of three columns, which tabs divide; its first line names them."""
    return [Row(*line.split("\t")) for line in file.read_text(encoding="utf-8").splitlines()[1:]]


def found_tests(folder: Path) -> list[tuple[str, str]]:
    """File and name of every test function, in order."""
    return [
        (path.as_posix(), name)
        for path in sorted(folder.rglob("test_*.py"))
        for name in re.findall(r"^(?:async )?def (test_\w+)", path.read_text(encoding="utf-8"), re.MULTILINE)
    ]


def rows_of(test: str) -> list[str]:
    """The rows that a test's name begins with, or names after `and`.

    >>> rows_of("test_f7_f8_a_failing_disk"), rows_of("test_b8_to_b11_any_box"), rows_of("test_half_of_a")
    (['F7', 'F8'], ['B8', 'B9', 'B10', 'B11'], [])
    """
    words = test.removeprefix("test_").split("_")
    found: list[str] = []
    for place, word in enumerate(words):
        if not re.fullmatch(r"[a-j][0-9]{1,2}", word) or (place and not found):
            continue
        if words[place - 1] == "to" and found and found[-1][0] == word[0].upper():
            found += [f"{found[-1][0]}{n}" for n in range(int(found[-1][1:]) + 1, int(word[1:]))]
        found.append(word.upper())
    return found


def page(rows: Sequence[Row], tests: Sequence[tuple[str, str]]) -> str:
    """The page as Markdown."""
    by_row: dict[str, list[str]] = {}
    for file, test in tests:
        for name in rows_of(test):
            by_row.setdefault(name, []).append(f"`{test}` ({file.removeprefix('tests/')})")
    counts = [_state(row, by_row) for row in rows]
    lines = [HEAD, f"{len(rows)} rows: {counts.count('tested')} tested, {counts.count('left out')} left out with the "]
    lines[-1] += f"reason, {counts.count('open')} open.\n"
    for letter, title in PARTS.items():
        lines += [f"## {letter} {title}\n", "| row | fault | test |", "|---|---|---|"]
        for row in rows:
            if row.name[0] == letter:
                said = "<br>".join(by_row.get(row.name, ())) or (
                    f"left out: {row.left_out}" if row.left_out else "open"
                )
                lines.append(f"| {row.name} | {row.fault} | {said} |")
        lines.append("")
    return "\n".join(lines)


def _state(row: Row, by_row: Mapping[str, Sequence[str]]) -> str:
    return "tested" if row.name in by_row else "left out" if row.left_out else "open"


def main() -> int:
    """Write the page; 1 where there are no rows."""
    rows = read_rows(ROWS)
    if not rows:
        sys.stderr.write(f"no rows in {ROWS}\n")
        return 1
    PAGE.write_text(page(rows, found_tests(TESTS)), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
