"""Lines a file: the house's measure of whether a file is still one idea.

`python -m tools.size` prints every source file, longest first, and the median; a file over the budget gets a mark.
The mark is a question to its author, not an error. (A hard limit is a test: tests/test_house.py.)
"""

from __future__ import annotations

import statistics
import sys
from pathlib import Path

BUDGET = 250
SOURCE = Path("src/singleshot")


def lines_of(root: Path) -> dict[Path, int]:
    """Number of lines of each Python file below `root`, longest first. Files without a line are left out."""
    counts = {path: len(path.read_text(encoding="utf-8").splitlines()) for path in root.rglob("*.py")}
    return {path: count for path, count in sorted(counts.items(), key=lambda item: (-item[1], item[0])) if count}


def main(root: Path = SOURCE) -> int:
    """Print the table; 1 where there is no file to count, since then the answer means nothing."""
    counts = lines_of(root)
    if not counts:
        print(f"no Python file with a line in it below {root}", file=sys.stderr)
        return 1
    for path, count in counts.items():
        print(f"{count:5}  {path.relative_to(root)}{'   <- more than one idea?' if count > BUDGET else ''}")
    over = sum(count > BUDGET for count in counts.values())
    median = statistics.median(counts.values())
    print(f"{len(counts)} files, {sum(counts.values())} lines, median {median:g}, over {BUDGET}: {over}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
