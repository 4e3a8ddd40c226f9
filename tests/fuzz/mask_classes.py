"""The class lists of mask folders: classes.json, or classes.txt or labelmap.txt where the first byte says so."""

from __future__ import annotations

from pathlib import Path

from singleshot.data.masks import folders as mask_folders
from tests.fuzz.harness import Target, main

GOOD = b'[{"id": 0, "name": "road", "colour": [1, 2, 3]}, {"id": 7, "name": "void", "evaluated": false},'
GOOD += b'{"id": 2, "name": "a"}]'
PIECES = (
    b'"id" "name" "colour" "evaluated" null true false NaN 1e9 -1 255 256 99999999999999999999 [] {} [ ] { } , : "" '
    b'"\\u0000" [[[[[[[[ \xff \xef\xbb\xbf \n \r road ~ # :: 0,0,0 ,, -1,0,0 256,0,0'
).split(b" ")


def run(data: bytes, scratch: Path) -> str:
    """Every value means a class that there is, or void, or nothing."""
    name = {b"#": "classes.txt", b"~": "labelmap.txt"}.get(data[:1], "classes.json")
    for each in ("classes.txt", "classes.json", "labelmap.txt"):
        (scratch / each).unlink(missing_ok=True)
    (scratch / name).write_bytes(data[1:] if name == "labelmap.txt" else data)
    found = mask_folders.read_classes(scratch)
    count = len(found.label_map)
    assert all(value < count or value in (254, 255) for value in found.code.values)
    assert len(found.colours) in (0, count) and all(0 <= part <= 255 for row in found.colours for part in row)
    return f"{min(count, 5)} classes, {name}"


LABELMAP = b"~# label:color_rgb:parts:actions\nbackground:0,0,0::\ncat:128,0,0::\ndog:0,128,0:head,tail:runs\n"
TARGET = Target("mask_classes", [GOOD, b"# road\ncar\n", b"[]", LABELMAP], PIECES, run)

if __name__ == "__main__":
    main(TARGET)
