"""Files of default boxes: what `train --anchors` takes."""

from __future__ import annotations

from pathlib import Path

from singleshot.data import anchor_fit
from singleshot.detection.ssd import config_for
from tests.fuzz.harness import Target, main

CONFIG = config_for("lite320", ("cat",))
GOOD = anchor_fit.AnchorFile("lite320", CONFIG.input_size_hw, "warp", CONFIG.anchors).to_json().encode()
PIECES = (
    b'"model" "input_size_hw" "fit" "feature_maps" "ratios" "size_hw" "step" "min_size" "max_size" null true NaN '
    b"Infinity -1 0 1e400 0.5 99999999999999999999 [] {} [ ] { } , : \xff [[[[[["
).split(b" ")


def run(data: bytes, scratch: Path) -> str:
    """Lengths are positive."""
    file = scratch / "anchors.json"
    file.write_bytes(data)
    found = anchor_fit.read_anchors(file)
    assert all(0 < row.min_size < 1e6 and all(0 < ratio < 1e6 for ratio in row.ratios) for row in found.feature_maps)
    return f"{min(len(found.feature_maps), 9)} maps"


TARGET = Target("anchor_file", [GOOD], PIECES, run)

if __name__ == "__main__":
    main(TARGET)
