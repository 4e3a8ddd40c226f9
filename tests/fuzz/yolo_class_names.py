"""Darknet's `obj.data`, lists of class names, and Label Studio's `notes.json`: one of them, by how the input begins."""

from __future__ import annotations

from pathlib import Path

from singleshot.data.boxes import yolo
from tests.fuzz.harness import Target, main
from tests.fuzz.images import small_image
from tests.fuzz.laws import check_dataset

DATA = b"classes = 2\ntrain = data/train.txt\nvalid = data/none.txt\nnames = data/obj.names\nbackup = backup/\n"
NAMES = b"cat\ndog\n"
NOTES = b'{"categories": [{"id": 0, "name": "cat"}, {"id": 1, "name": "dog"}], "info": {}}'
PIECES = (
    b'classes = train valid names obj.names data/ ../ /etc/passwd a.png cat "categories" "name" [] {} [ ] , : null '
    b"\r \n \x00 \x85 \xff \xef\xbb\xbf"
).split(b" ")


def run(data: bytes, scratch: Path) -> str:
    """What comes out obeys the law of boxes."""
    small_image(scratch / "a.png")
    (scratch / "a.txt").write_bytes(b"1 0.5 0.5 0.25 0.5\n")
    (scratch / "train.txt").write_bytes(b"data/a.png\n")
    (scratch / "obj.names").write_bytes(NAMES)
    for name in ("obj.data", "notes.json", "classes.txt"):
        (scratch / name).unlink(missing_ok=True)
    chosen = "notes.json" if data[:1] == b"{" else "obj.data" if b"=" in data else "obj.names"
    (scratch / chosen).write_bytes(data)
    return check_dataset(yolo.read(scratch, (yolo.splits(scratch) or ["train"])[0]))


TARGET = Target("yolo_class_names", [DATA, NAMES, NOTES], PIECES, run)

if __name__ == "__main__":
    main(TARGET)
