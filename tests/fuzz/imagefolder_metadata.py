"""Hugging Face's `metadata.jsonl` and `metadata.csv`: what begins with a brace is given as the first."""

from __future__ import annotations

from pathlib import Path

from singleshot.data.boxes import imagefolder
from tests.fuzz.harness import Target, main
from tests.fuzz.images import small_image
from tests.fuzz.laws import check_dataset

LINES = (
    b'{"file_name": "a.png", "objects": {"bbox": [[1, 2, 30.5, 20], [5, 5, 4, 4]], "categories": [0, "dog"]}}\n'
    b'{"file_name": "b.png", "objects": [{"bbox": [1, 2, 3, 4], "category": "cat"}]}\n'
)
TABLE = b'file_name,objects\na.png,"{""bbox"": [[1, 2, 30, 20]], ""categories"": [""cat""]}"\n'
PIECES = (
    b'"file_name" "objects" "bbox" "categories" "label" "a.png" null true NaN -1 1e400 1e149 0 [] {} [ ] { } , : '
    b'"" """ "a\\u0000" [[[[[[[[ 99999999999999999999 0.5 \r \n \xff \xef\xbb\xbf'
).split(b" ")


def run(data: bytes, scratch: Path) -> str:
    """What comes out obeys the law of boxes."""
    small_image(scratch / "a.png")
    small_image(scratch / "b.png")
    file = scratch / ("metadata.jsonl" if data.lstrip()[:1] == b"{" else "metadata.csv")
    file.write_bytes(data)
    return check_dataset(imagefolder.read(file, "all"))


TARGET = Target("imagefolder_metadata", [LINES, TABLE], PIECES, run)

if __name__ == "__main__":
    main(TARGET)
