"""Roboflow's table of mask classes."""

from __future__ import annotations

from pathlib import Path

from singleshot.data.masks import roboflow
from singleshot.structures import UNKNOWN, VOID
from tests.fuzz.harness import Target, main

GOOD = b"Pixel Value, Class\n0, background\n1, cat\n12, dog\n"
PIECES = b'Pixel Class , 0 254 255 -1 1e3 \xd9\xa1 "cat" "" " \r \n \x00 \x0b \x85 \xff \xef\xbb\xbf'.split(b" ")


def run(data: bytes, scratch: Path) -> str:
    """Every class has one number, and every number means a class, void or nothing."""
    file = scratch / "_classes.csv"
    file.write_bytes(data)
    found = roboflow.read_classes(file)
    values = [value for value in found.code.values if value not in (UNKNOWN, VOID)]
    assert sorted(values) == list(range(len(found.label_map)))
    return "read"


TARGET = Target("roboflow_classes", [GOOD], PIECES, run)

if __name__ == "__main__":
    main(TARGET)
