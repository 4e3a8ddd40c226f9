"""Lists of ids: VOC's `ImageSets/Main/*.txt`."""

from __future__ import annotations

from pathlib import Path

from singleshot.data.boxes import voc
from tests.fuzz.harness import Target, main

PIECES = (
    b"\r\n",
    b"\n",
    b"\r",
    b" 1",
    b" -1",
    b"  0",
    b"\t",
    b"\xef\xbb\xbf",
    b"\xff",
    b"\x00",
    b"../",
    b"my photo 1",
    b"a",
)


def run(data: bytes, scratch: Path) -> str:
    """Lines count up, and an id is neither empty nor padded."""
    file = scratch / "train.txt"
    file.write_bytes(data)
    found = list(voc.ids(file, {"a": scratch / "a.jpg", "my photo 1": scratch / "b.jpg"}))
    lines = [line for line, _ in found]
    assert lines == sorted(set(lines)) and all(1 <= line <= data.count(b"\n") + 1 for line in lines)
    assert all(image_id and image_id == image_id.strip() and "\n" not in image_id for _, image_id in found)
    return f"{min(len(found), 9)} ids, photo {'my photo 1' in dict(found).values()}"


TARGET = Target("split_list", [b"a\nb\n", b"\xef\xbb\xbfa 1\r\nmy photo 1\r\n", b""], PIECES, run)

if __name__ == "__main__":
    main(TARGET)
