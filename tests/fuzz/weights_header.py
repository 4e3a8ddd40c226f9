"""Weights files: safetensors with our record. Most mutations fall into header and record: the tensors are small."""

from __future__ import annotations

import functools
import hashlib
import json
import struct
from pathlib import Path

from singleshot import weights
from singleshot.storage import sealed
from tests.fuzz.harness import Target, main

PIECES = (
    b'"dtype" "shape" "data_offsets" "__metadata__" "F32" "F64" "BOOL" [0,4] [] {} [ ] { } , : -1 0 1e9 '
    b"99999999999999999999 \\u0000 \xff \x00 \x80\x02cos system PK\x03\x04 null true NaN [[[[[["
).split(b" ")


@functools.cache
def seeds() -> tuple[bytes, ...]:
    """A file as safetensors has it, with a record of ours that has the right hash but no network in it."""
    files = []
    for record in ({"schema": 1, "task": "detection", "config": {}, "provenance": {}}, {"schema": 99}, []):
        text = json.dumps(record, sort_keys=True)
        metadata = {sealed.RECORD: text, sealed.HASH: hashlib.sha256(text.encode()).hexdigest(), sealed.FORMAT: "pt"}
        header = {"__metadata__": metadata, "a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}
        blob = json.dumps(header).encode()
        files.append(struct.pack("<Q", len(blob)) + blob + bytes(8))
    return (*files, b"\x80\x02}q\x00.", b"PK\x03\x04" + bytes(30))


def run(data: bytes, scratch: Path) -> str:
    """No file that was made without us is taken for one of ours."""
    file = scratch / "a.safetensors"
    file.write_bytes(data)
    weights.read_any(file)
    raise AssertionError("it was taken for a weights file")


TARGET = Target("weights_header", seeds(), PIECES, run)

if __name__ == "__main__":
    main(TARGET)
