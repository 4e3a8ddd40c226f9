"""YOLO's `data.yaml`."""

from __future__ import annotations

from pathlib import Path

from singleshot.data.boxes import yolo_yaml
from tests.fuzz.harness import Target, main
from tests.fuzz.laws import check_faults

GOOD = b"path: .\ntrain: images/train\nval: [images/val, more]\nnc: 2\nnames:\n  0: cat\n  1: dog\n"
PIECES = (
    b"&a *a <<: !!python/object:os.system !!binary !!set {} [] { } [ ] : - ? | > ' \" # --- ... ~ null yes 0x1 1e9 "
    b".nan names: train: path: nc: 0: \xff \x00 \xef\xbb\xbf \t %YAML @ ` *"
).split(b" ")


def run(data: bytes, scratch: Path) -> str:
    """Names are texts, each once."""
    file = scratch / "data.yaml"
    file.write_bytes(data)
    found = yolo_yaml.read(file)
    check_faults(found.faults)
    assert all(isinstance(name, str) and name for name in found.names) and len(set(found.names)) == len(found.names)
    return f"{min(len(found.names), 9)} names {' '.join(sorted({fault.kind for fault in found.faults}))}"


SEEDS = [GOOD, b"train: a\nnames: [cat, dog]\n", b"train: a\nnames: &x [cat]\nval: b\n"]
TARGET = Target("yolo_yaml", SEEDS, [*PIECES, b"\n", b"\n  ", b" "], run)

if __name__ == "__main__":
    main(TARGET)
