from __future__ import annotations

import numpy as np
import pytest

from singleshot.data.boxes.coco_segmentation import Runs, checked


@pytest.mark.parametrize(
    ("field", "what"),
    [
        ({"size": [0, 0], "counts": [1]}, "without a size"),
        ({"size": [2, "3"], "counts": [6]}, "without a size"),
        ({"counts": [6]}, "without a size"),
        ({"size": [2, 3]}, "no list"),
        ({"size": [2, 3], "counts": [7, -1]}, "not a whole number"),
        ({"size": [2, 3], "counts": [1.5]}, "not a whole number"),
        ({"size": [2, 3], "counts": "~~~~"}, "none of COCO's"),
        ({"size": [2, 3], "counts": "o" * 50}, "none of COCO's"),
        ({"size": [2, 3], "counts": "\u20ac"}, "none of COCO's"),
        ([[0, 0, 1e8, 0, 1e8, 1e8]], "farther than"),
        ([[0, 0, float("inf"), 0]], "farther than"),
        ([[0, 0, 1]], "not pairs"),
        ([[0, 0, "1", 2]], "something else than numbers"),
        ([[0, 0, [1], 2]], "something else than numbers"),
        ([5], "not a list"),
        ("text", "neither"),
        (None, "neither"),
    ],
)
def test_b29_what_would_crash_or_stall_a_decoder_is_named_and_never_decoded(field: object, what: str) -> None:
    found = checked(field)
    assert isinstance(found, str)
    assert what in found


def test_polygons_and_no_polygon_are_in_order() -> None:
    assert checked([[1, 1, 9, 1, 9.5, 9.5], [0, 0, 1, 0, 1, 1]]) is None
    assert checked([]) is checked([[]]) is None


def test_packed_runs_cover_what_the_reference_packed() -> None:
    mask = pytest.importorskip("pycocotools.mask")
    rng = np.random.default_rng(1)
    for share in (0.0, 0.01, 0.5, 1.0):
        picture = np.asfortranarray(rng.random((37, 53)) < share, dtype=np.uint8)
        counts = mask.encode(picture)["counts"].decode()
        assert checked({"size": [37, 53], "counts": counts}) == Runs((37, 53), 37 * 53)


def test_runs_worked_by_hand() -> None:
    """ "324" is 3, 2, 4; of a fourth, COCO packs the difference to the second: "1" is 2 + 1."""
    assert checked({"size": [3, 4], "counts": "3241"}) == Runs((3, 4), 3 + 2 + 4 + 3)
