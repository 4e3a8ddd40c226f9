"""What holds of anything that a reader returns."""

from __future__ import annotations

import json

import numpy as np

from singleshot.errors import Fault
from singleshot.structures import Dataset


def check_faults(faults: tuple[Fault, ...]) -> None:
    """Every fault is one printable line that names its file, and JSON can hold it."""
    for fault in faults:
        line = str(fault)
        assert "\n" not in line and line.isprintable() and line.startswith(str(fault.file)), line
        assert fault.severity in ("fatal", "warning", "note") and fault.kind and fault.message
        json.dumps(fault.as_json())


def check_dataset(dataset: Dataset) -> str:
    """Boxes are finite, not empty, inside their picture and of a class that there is. Returns the kinds of fault."""
    check_faults(dataset.faults)
    for sample in dataset.samples:
        boxes_xyxy = sample.boxes_xyxy
        assert np.isfinite(boxes_xyxy).all()
        assert (boxes_xyxy[:, :2] < boxes_xyxy[:, 2:]).all()
        assert ((sample.class_ids >= 0) & (sample.class_ids < len(dataset.label_map))).all()
        if sample.size_hw is not None:
            height, width = sample.size_hw
            assert (boxes_xyxy >= 0).all() and (boxes_xyxy <= (width, height, width, height)).all()
    return "read " + " ".join(sorted({fault.kind for fault in dataset.faults}))
