"""The index cache: whatever stands in its file, the answer is that of the data."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from singleshot.data import index_cache
from singleshot.errors import Fault
from singleshot.structures import Dataset, LabelMap, Sample
from tests.fuzz.harness import Target, main

FAULT = Fault(Path("a.xml"), 3, "odd-box", "warning", "thin.")
DATASET = Dataset(
    Path("data"),
    "voc",
    "train",
    LabelMap(("cat", "dog")),
    [Sample("a", Path("a.jpg"), (40, 60), np.array([[1.0, 2, 3, 4]]), np.array([1]), np.array([False]))],
    (FAULT,),
)
PIECES = (index_cache.MAGIC, b"singleshot index 0\n", b"\x00" * 8, b"\xff" * 8, b'{"record"', b"F64", b"[0,32]", b"}")


def cached(scratch: Path) -> Dataset:
    """The data set through a cache below `scratch`."""
    os.environ["XDG_CACHE_HOME"] = str(scratch)
    return index_cache.cached({"root": "data", "split": "train"}, [], lambda: DATASET)


def run(data: bytes, scratch: Path) -> str:
    """Never an error, and never another answer."""
    before = os.environ.get("XDG_CACHE_HOME")
    try:
        cached(scratch)
        (file,) = (scratch / "singleshot" / "index").glob("*.index")
        good = file.read_bytes()
        file.write_bytes(good if data == b"good" else data)
        found = cached(scratch)
        healed = file.read_bytes() == good
    finally:
        if before is None:
            del os.environ["XDG_CACHE_HOME"]
        else:
            os.environ["XDG_CACHE_HOME"] = before
    (sample,) = found.samples
    assert (found.label_map, found.faults, sample.image_id) == (DATASET.label_map, (FAULT,), "a")
    assert sample.boxes_xyxy.tolist() == [[1, 2, 3, 4]] and healed
    return "right"


TARGET = Target("index_cache", [b"good", b"", index_cache.MAGIC + bytes(64)], PIECES, run)

if __name__ == "__main__":
    main(TARGET)
