from __future__ import annotations

import numpy as np
import pytest

from singleshot.detection.anchor_fit import fit_anchors, reached
from singleshot.detection.ssd import SSD, config_for

VGG300 = config_for("vgg300", ("light",))


def small_lights(count: int = 300) -> np.ndarray:
    """Boxes 9 to 14 pixels wide and 2.5 times as high, anywhere in a picture of 300×300."""
    rng = np.random.default_rng(0)
    width = rng.uniform(9, 14, count)
    x, y = rng.uniform(10, 270, (2, count))
    return np.stack([x, y, x + width, y + 2.5 * width], axis=1).clip(0, 300)


def test_small_lights_that_nothing_reached_are_reached_after_the_fit() -> None:
    lights = small_lights()
    rows = fit_anchors(lights, VGG300.anchors, (300, 300))
    before, after = (reached(lights, maps, (300, 300)) for maps in (VGG300.anchors, rows))
    assert before < 0.6 and after > 0.85
    # A part that the fit has not seen does as well: it did not learn the places by heart.
    unseen = small_lights(900)[300:]
    assert reached(unseen, rows, (300, 300)) > 0.85


def test_the_network_stays_as_large_and_coarse_maps_keep_large_boxes() -> None:
    rows = fit_anchors(small_lights(), VGG300.anchors, (300, 300))
    assert [row.size_hw for row in rows] == [row.size_hw for row in VGG300.anchors]
    assert [row.boxes_per_cell for row in rows] == [4, 6, 6, 6, 4, 4]
    assert [row.step for row in rows] == [row.step for row in VGG300.anchors]
    assert all(row.min_size > 1.5 * 300 / row.size_hw[0] - 0.1 or row.min_size >= old.min_size
               for row, old in zip(rows[1:], VGG300.anchors[1:], strict=True))  # fmt: skip
    assert SSD(config_for("vgg300", ("light",), anchors=rows)).anchors_cxcywh.shape == (8732, 4)


def test_equal_boxes_give_equal_rows_and_no_boxes_change_nothing() -> None:
    lights = small_lights(60)
    assert fit_anchors(lights, VGG300.anchors, (300, 300)) == fit_anchors(lights, VGG300.anchors, (300, 300))
    assert fit_anchors(np.zeros((0, 4)), VGG300.anchors, (300, 300)) == VGG300.anchors
    assert reached(np.zeros((0, 4)), VGG300.anchors, (300, 300)) == 1.0


def test_objects_that_are_all_reached_leave_the_boxes_alone() -> None:
    rng = np.random.default_rng(0)
    low = rng.uniform(20, 150, (40, 2))
    squares = np.concatenate([low, low + 111], axis=1)
    assert reached(squares, VGG300.anchors, (300, 300)) == 1.0
    assert fit_anchors(squares, VGG300.anchors, (300, 300)) == VGG300.anchors


def test_a_fit_never_reaches_less() -> None:
    rng = np.random.default_rng(3)
    for flavour, size_hw in (("vgg300-2017", (300, 300)), ("lite320-fine", (240, 320))):
        config = config_for(flavour, ("a",), size_hw)
        sizes = np.exp(rng.uniform(np.log(5), np.log(200), (80, 2)))
        low = rng.uniform(0, 200, (80, 2))
        truths = np.concatenate([low, low + sizes], axis=1)
        rows = fit_anchors(truths, config.anchors, size_hw)
        assert reached(truths, rows, size_hw) >= reached(truths, config.anchors, size_hw)
        assert [row.max_size is None for row in rows] == [row.max_size is None for row in config.anchors]


@pytest.mark.parametrize("threshold", [0.3, 0.7])
def test_another_threshold_is_another_question(threshold: float) -> None:
    lights = small_lights(60)
    rows = fit_anchors(lights, VGG300.anchors, (300, 300), iou_threshold=threshold)
    before, after = (reached(lights, maps, (300, 300), iou_threshold=threshold) for maps in (VGG300.anchors, rows))
    assert after >= before
