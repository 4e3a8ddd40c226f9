from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from singleshot import boxes
from singleshot.detection.anchor_reach import best_iou, truths_at_input
from singleshot.detection.anchors import FeatureMap, anchors_xyxy
from singleshot.detection.ssd import config_for
from singleshot.preprocess import Preprocess
from singleshot.structures import Sample


def random_boxes(size_hw: tuple[int, int], count: int = 200) -> np.ndarray:
    rng = np.random.default_rng(0)
    centres = rng.uniform(-0.05, 1.05, (count, 2)) * size_hw[::-1]
    sizes = np.exp(rng.uniform(np.log(3), np.log(1.2 * max(size_hw)), (count, 2)))
    return np.concatenate([centres - sizes / 2, centres + sizes / 2], axis=1)


@pytest.mark.parametrize(
    ("flavour", "size_hw"),
    [
        ("vgg300", None),
        ("vgg300", (300, 500)),
        ("vgg300-2017", None),
        ("ssd300-torchvision", None),
        ("lite320-fine", (240, 320)),
        ("vgg512", None),
    ],
)
@pytest.mark.parametrize("clip", ["none", "sizes", "all"])
def test_the_nearest_centre_gives_what_the_table_of_all_pairs_gives(flavour: str, size_hw, clip: str) -> None:
    config = config_for(flavour, ("a",), size_hw)
    size_hw = config.input_size_hw
    truths = random_boxes(size_hw)
    every = boxes.scale(anchors_xyxy(config.anchors, size_hw, clip).double().numpy(), size_hw)
    wanted = boxes.pairwise_iou(truths, every).max(axis=1)
    np.testing.assert_allclose(best_iou(truths, config.anchors, size_hw, clip).max(axis=1), wanted, atol=1e-5)


def test_half_a_cell_off_by_hand() -> None:
    row = FeatureMap((4, 4), 8.0, 8.0, None, ())
    # Centres at 4, 12, 20, 28. A box around (8, 12) lies 4 to the side: 4·8 common of 64 + 64 − 32.
    assert best_iou(np.array([[4.0, 8.0, 12.0, 16.0]]), [row], (32, 32)).item() == pytest.approx(32 / 96)


def test_no_boxes_and_no_maps_give_empty_tables() -> None:
    row = FeatureMap((4, 4), 8.0, 8.0, None, ())
    assert best_iou(np.zeros((0, 4)), [row], (32, 32)).shape == (0, 1)
    assert best_iou(np.zeros((3, 4)), [], (32, 32)).shape == (3, 0)


def sample(size_hw: tuple[int, int] | None, box: list[list[float]]) -> Sample:
    count = len(box)
    ids = np.arange(count)
    return Sample("a", Path("a"), size_hw, np.array(box, float).reshape(-1, 4), ids, np.ones(count, bool))


def test_boxes_come_to_the_input_as_pictures_do() -> None:
    wide = sample((100, 200), [[10.0, 20.0, 30.0, 40.0]])
    warped, _ = truths_at_input([wide], Preprocess((300, 300)))
    assert warped.tolist() == [[15.0, 60.0, 45.0, 120.0]]
    boxed, ids = truths_at_input([wide], Preprocess((300, 300), fit="letterbox"))
    assert boxed.tolist() == [[15.0, 30.0, 45.0, 60.0]] and ids.tolist() == [0]


def test_crowds_empty_pictures_and_unknown_sizes_are_left_out() -> None:
    crowd = replace(sample((10, 10), [[0, 0, 5, 5], [1, 1, 4, 4]]), crowd=np.array([True, False]))
    found, ids = truths_at_input([sample(None, [[0, 0, 5, 5]]), sample((10, 10), []), crowd], Preprocess((10, 10)))
    assert found.tolist() == [[1, 1, 4, 4]] and ids.tolist() == [1]
    assert truths_at_input([], Preprocess())[0].shape == (0, 4)
