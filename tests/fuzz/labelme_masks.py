"""LabelMe's files as masks."""

from __future__ import annotations

import json
from pathlib import Path

from singleshot.data.masks import files, outlines
from singleshot.structures import UNKNOWN
from tests.fuzz.harness import Target, main
from tests.fuzz.images import small_image
from tests.fuzz.labelme_json import GOOD, PIECES
from tests.fuzz.laws import check_faults


def run(data: bytes, scratch: Path) -> str:
    """Every pixel of a mask is of a class that there is, or void; a class of the data set is known to its masks."""
    small_image(scratch / "a.png")
    (scratch / "a.json").write_bytes(data)
    dataset = outlines.read(scratch, "all")
    check_faults(dataset.faults)
    for sample in dataset.samples:
        assert sample.mask_path is not None and dataset.mask_code is not None
        if sample.size_hw is not None and sample.size_hw[0] * sample.size_hw[1] > 10**6:
            return "large"
        drawn = files.read(sample.mask_path, dataset.mask_code)
        assert drawn.shape == sample.size_hw and not (drawn == UNKNOWN).any()
        assert ((drawn < len(dataset.label_map)) | (drawn == 255)).all()
    return "read " + " ".join(sorted({fault.kind for fault in dataset.faults}))


TARGET = Target("labelme_masks", [json.dumps(GOOD).encode()], PIECES, run)

if __name__ == "__main__":
    main(TARGET)
