"""The index cache: whatever stands in its file, the answer is that of the data."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import numpy as np

from singleshot.data import cache
from singleshot.data.load.samples import SampleTable
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
PIECES = (cache.MAGIC, b"singleshot index 0\n", b"\x00" * 8, b"\xff" * 8, b'{"record"', b"F64", b"[0,32]", b"}")


def cached(scratch: Path) -> Dataset:
    """The data set through a cache below `scratch`."""
    os.environ["XDG_CACHE_HOME"] = str(scratch)
    return cache.cached({"root": "data", "split": "train"}, [], lambda: DATASET)


def sealed(body: bytes) -> bytes:
    """An index of any body, with the right hash: the parser behind it is under test, too."""
    return cache.MAGIC + hashlib.sha256(body).digest() + body


def packed(facts: str) -> bytes:
    """The body of a good index."""
    table = SampleTable.from_samples(DATASET.samples)
    return cache._packed(DATASET, table, facts)[len(cache.MAGIC) + 32 :]


def run(data: bytes, scratch: Path) -> str:
    """Never an error; never another answer where the file is damaged. A body that begins with `=` is hashed anew."""
    before = os.environ.get("XDG_CACHE_HOME")
    for old in scratch.rglob("*.index"):
        old.unlink()
    try:
        cached(scratch)
        (file,) = (scratch / "singleshot" / "index").glob("*.index")
        good = file.read_bytes()
        if data[:1] == b"=":
            file.write_bytes(sealed(data[1:]))
            return f"{type(cached(scratch)).__name__} from a hashed body"
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


FACTS = hashlib.sha256().hexdigest()  # of no source
TARGET = Target("index_cache", [b"good", b"", cache.MAGIC + bytes(64), b"=" + packed(FACTS), b"="], PIECES, run)

if __name__ == "__main__":
    main(TARGET)
