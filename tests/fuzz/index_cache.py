"""The index cache: whatever stands in its file, the answer is that of the data."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

import numpy as np

from singleshot.data import cache
from singleshot.errors import Fault
from singleshot.storage import sealed
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
PIECES = (b"__metadata__", b"\x00" * 8, b"\xff" * 8, b'{"record"', b"F64", b"[0,32]", b"}")


def cached(scratch: Path) -> Dataset:
    """The data set through a cache below `scratch`."""
    os.environ["XDG_CACHE_HOME"] = str(scratch)
    return cache.cached({"root": "data", "split": "train"}, [], lambda: DATASET)


def seal(file: Path, data: bytes) -> None:
    """Replace the record of an index, and leave out some of its arrays, with the right hash."""
    tensors, _, _ = sealed.read(file)
    kept = {
        name: tensor.clone() for row, (name, tensor) in enumerate(tensors.items()) if not data[:1] or row != data[0]
    }
    sealed.write(file, kept, data[1:].decode("utf-8", "replace"))


def record(facts: str) -> bytes:
    """The record of a good index."""
    row = {
        "facts": facts,
        "layout": "voc",
        "split": "train",
        "names": ["cat", "dog"],
        "category_ids": [],
        "outlines": 0,
    }
    return json.dumps(row | {"faults": [FAULT.as_json()]}).encode()


def run(data: bytes, scratch: Path) -> str:
    """Never an error; never another answer where the file is damaged. Behind `=` is a record to seal."""
    before = os.environ.get("XDG_CACHE_HOME")
    for old in scratch.rglob("*.index"):
        old.unlink()
    try:
        cached(scratch)
        (file,) = (scratch / "singleshot" / "index").glob("*.index")
        good, digest = file.read_bytes(), sealed.read(file)[2]
        if data[:1] == b"=":
            seal(file, data[1:])
            return f"{type(cached(scratch)).__name__} from a sealed record"
        file.write_bytes(good if data == b"good" else data)
        found = cached(scratch)
        healed = sealed.read(file)[2] == digest
    finally:
        if before is None:
            del os.environ["XDG_CACHE_HOME"]
        else:
            os.environ["XDG_CACHE_HOME"] = before
    (sample,) = found.samples
    assert (found.label_map, found.faults, sample.image_id) == (DATASET.label_map, (FAULT,), "a")
    assert sample.boxes_xyxy.tolist() == [[1, 2, 3, 4]] and healed
    return "right"


FACTS = hashlib.sha256().hexdigest()  # of no source
TARGET = Target(
    "index_cache", [b"good", b"", bytes(64), b"=\xff" + record(FACTS), b"=\x02" + record(FACTS), b"="], PIECES, run
)

if __name__ == "__main__":
    main(TARGET)
