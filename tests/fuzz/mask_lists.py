"""Lists of images and masks, `image mask` a line."""

from __future__ import annotations

from pathlib import Path

from singleshot.data.masks import folders as mask_folders
from tests.fuzz.harness import Target, main

GOOD = b"seq1/1.png m1/1.png\r\nseq2/1.png m2/1.png\n/Seg/a.png /Seg/b.png\nmy photo.png my mask.png\n"
PIECES = b"a.png|b.png| |\t|\n|\r|/|../|//|\xef\xbb\xbf|\xff|\x00|my photo.png my mask.png".split(b"|")


def run(data: bytes, scratch: Path) -> str:
    """Each picture comes once under an id of its own, and every fault has its line."""
    for name in ("a.png", "b.png", "my photo.png", "my mask.png"):
        (scratch / name).touch()
    file = scratch / "train.txt"
    file.write_bytes(data)
    mask_folders.is_list(file)
    pairs, faults = mask_folders.read_list(file)
    assert len({pair.image_path for pair in pairs}) == len(pairs)
    assert all(fault.line and 1 <= fault.line <= data.count(b"\n") + 1 for fault in faults)
    return f"{min(len(pairs), 9)} pairs, {min(len(faults), 3)} faults"


TARGET = Target("mask_lists", [GOOD, b""], PIECES, run)

if __name__ == "__main__":
    main(TARGET)
