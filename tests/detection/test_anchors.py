from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from singleshot.boxes import cxcywh_to_xyxy, pairwise_iou
from singleshot.detection.anchors import AnchorLevel, anchors_cxcywh, anchors_xyxy
from singleshot.detection.ssd import config_for


def preset_xyxy(flavour: str) -> torch.Tensor:
    config = config_for(flavour, ["thing"])
    return anchors_xyxy(config.anchors, config.input_size_hw, config.clip_anchors)


def assert_row(anchors: torch.Tensor, row: int, expected: list[float]) -> None:
    np.testing.assert_allclose(anchors[row].numpy(), expected, atol=6e-7)


def square(low: float, high: float) -> list[float]:
    return [low, low, high, high]


def test_shapes_and_centres_worked_by_hand():
    # 2 rows, 3 columns on an input 40 high and 60 wide; 16·√4 = 32 and 16/√4 = 8; √(16·25) = 20.
    anchors = anchors_cxcywh(
        [AnchorLevel(size_hw=(2, 3), step=20.0, min_size=16.0, max_size=25.0, ratios=(4.0,))], (40, 60)
    )
    assert anchors.shape == (2 * 3 * 4, 4) and anchors.dtype == torch.float32
    pixels = anchors * torch.tensor([60.0, 40.0, 60.0, 40.0])
    expected = [[10, 10, 16, 16], [10, 10, 20, 20], [10, 10, 32, 8], [10, 10, 8, 32], [30, 10, 16, 16]]
    torch.testing.assert_close(pixels[:5], torch.tensor(expected, dtype=torch.float32))
    torch.testing.assert_close(pixels[12, :2], torch.tensor([10.0, 30.0]))  # the second row comes after three columns


def test_without_a_step_centres_divide_the_input_evenly():
    anchors = anchors_cxcywh(
        [AnchorLevel(size_hw=(2, 4), step=None, min_size=10.0, max_size=None, ratios=())], (100, 300)
    )
    torch.testing.assert_close(anchors[:4, 0], torch.tensor([0.125, 0.375, 0.625, 0.875]))
    torch.testing.assert_close(anchors[::4, 1], torch.tensor([0.25, 0.75]))


def test_the_2017_order_is_square_ratios_inverses_larger_square():
    row = AnchorLevel(size_hw=(1, 1), step=None, min_size=36.0, max_size=64.0, ratios=(4.0, 9.0), order="2017")
    np.testing.assert_allclose(row.shapes_wh, [(36, 36), (72, 18), (108, 12), (18, 72), (12, 108), (48, 48)])
    assert row.anchors_per_cell == len(row.shapes_wh)


def test_no_maps_give_no_boxes():
    assert anchors_cxcywh([], (300, 300)).shape == (0, 4)
    assert anchors_xyxy([], (300, 300), "all").shape == (0, 4)


def test_clipping_sizes_leaves_centres_and_clipping_all_moves_them():
    maps = [
        AnchorLevel(size_hw=(2, 2), step=40.0, min_size=120.0, max_size=None, ratios=())
    ]  # the second centre is at 60 of 50 pixels
    free, sizes, both = (anchors_cxcywh(maps, (50, 50), clip)[-1].tolist() for clip in ("none", "sizes", "all"))
    np.testing.assert_allclose(free, [1.2, 1.2, 2.4, 2.4], rtol=1e-6)
    np.testing.assert_allclose(sizes, [1.2, 1.2, 1.0, 1.0], rtol=1e-6)
    assert both == [1.0, 1.0, 1.0, 1.0]


@pytest.mark.parametrize(
    ("flavour", "count"),
    [
        ("vgg300", 8732),
        ("vgg512", 24564),
        ("vgg512-float", 24564),
        ("vgg300-coco", 8732),
        ("vgg512-coco", 24564),
        ("vgg300-2017", 11639),
        ("vgg512-2017", 32765),
        ("vgg300-2018", 8732),
        ("vgg512-2018", 24564),
        ("ssd300-torchvision", 8732),
        ("lite320", 3234),
        ("lite320-fine", 12828),
        ("lite320-fine2", 12828),
    ],
)
def test_the_number_of_boxes_follows_from_the_rows(flavour, count):
    rows = config_for(flavour, ["thing"]).anchors
    assert len(preset_xyxy(flavour)) == count == sum(row.num_anchors for row in rows)


REFERENCE = {
    "vgg300": (
        square(-0.036667, 0.063333),
        square(-0.057377, 0.084044),
        [-0.057377, -0.022022, 0.084044, 0.048689],
        [0.188873, -0.122254, 0.811127, 1.122254],
        2869,
        17735.529918,
    ),
    "vgg300-coco": (
        square(-0.021667, 0.048333),
        square(-0.037901, 0.064568),
        [-0.036164, -0.011415, 0.062831, 0.038082],
        [0.192409, -0.115183, 0.807591, 1.115183],
        2223,
        17742.096213,
    ),
    "vgg512": (
        square(-0.026367, 0.041992),
        square(-0.042554, 0.058179),
        [-0.040525, -0.016356, 0.056150, 0.031981],
        [0.182354, -0.135291, 0.817646, 1.135291],
        5486,
        49128.0,
    ),
    "vgg512-float": (
        square(-0.027188, 0.042812),
        square(-0.043422, 0.059047),
        [-0.041685, -0.016936, 0.057310, 0.032561],
        [0.181802, -0.136396, 0.818198, 1.136396],
        5486,
        49128.0,
    ),
    "vgg512-coco": (
        square(-0.011719, 0.027344),
        square(-0.023376, 0.039001),
        [-0.019809, -0.005998, 0.035434, 0.021623],
        [0.182354, -0.135291, 0.817646, 1.135291],
        4118,
        49128.0,
    ),
}


@pytest.mark.parametrize("flavour", REFERENCE)
def test_the_references_boxes_have_their_published_values(flavour):
    *rows, outside, clipped_sum = REFERENCE[flavour]
    anchors = preset_xyxy(flavour)
    for place, expected in zip((0, 1, 2, -1), rows, strict=True):
        assert_row(anchors, place, expected)
    assert int(((anchors < 0) | (anchors > 1)).any(dim=1).sum()) == outside
    assert math.isclose(anchors.double().clamp(0, 1).sum().item(), clipped_sum, abs_tol=2e-3)


def test_the_unclipped_sum_of_vgg300_is_the_published_one():
    assert math.isclose(preset_xyxy("vgg300").double().sum().item(), 17775.786667, abs_tol=2e-3)


ORIGINAL = {
    "vgg300-2017": (
        square(-0.036842, 0.063158),
        [-0.057553, -0.022197, 0.083869, 0.048513],
        square(-0.069000, 0.095316),
        5,
        [0.225759, -0.322724, 0.774241, 1.322724],
        23278.0,
    ),
    "vgg512-2017": (
        square(-0.027188, 0.042813),
        [-0.041685, -0.016936, 0.057310, 0.032561],
        square(-0.053764, 0.069389),
        5,
        [0.225759, -0.322724, 0.774241, 1.322724],
        65530.0,
    ),
    "vgg300-2018": (
        square(-0.036842, 0.063158),
        [-0.057553, -0.022197, 0.083869, 0.048513],
        square(-0.057553, 0.083869),
        3,
        square(0.008192, 0.991808),
        17464.0,
    ),
    "vgg512-2018": (
        square(-0.027188, 0.042813),
        [-0.041685, -0.016936, 0.057310, 0.032561],
        square(-0.043422, 0.059047),
        3,
        square(0.013944, 0.986056),
        49128.0,
    ),
}


@pytest.mark.parametrize("flavour", ORIGINAL)
def test_the_originals_boxes_have_their_computed_values(flavour):
    first, second, larger, larger_place, last, total = ORIGINAL[flavour]
    anchors = preset_xyxy(flavour)
    for place, expected in ((0, first), (1, second), (larger_place, larger), (-1, last)):
        assert_row(anchors, place, expected)
    assert math.isclose(anchors.double().sum().item(), total, abs_tol=2e-3)
    assert math.isclose(anchors.double().clamp(0, 1).sum().item(), total, abs_tol=2e-3)


@pytest.mark.parametrize(
    ("flavour", "file"),
    [
        ("ssd300-torchvision", "torchvision_ssd300_vgg16.npz"),
        ("lite320", "torchvision_ssdlite320_mobilenet_v3_large.npz"),
    ],
)
def test_torchvisions_boxes_are_torchvisions(flavour, file, shared):
    expected = np.load(shared / "golden" / file)["anchors_xyxy_pixels"]
    side = config_for(flavour, ["thing"]).input_size_hw[0]
    np.testing.assert_allclose(preset_xyxy(flavour).numpy() * side, expected, atol=1e-4)


def test_a_larger_input_keeps_the_share_of_the_image():
    small, large = config_for("vgg512-float", ["thing"]), config_for("vgg512-float", ["thing"], (1024, 1024))
    assert large.anchors[0].size_hw == (128, 128)
    assert [2 * row.min_size for row in small.anchors] == pytest.approx([row.min_size for row in large.anchors])


def test_squares_stay_square_in_pixels_on_a_wide_input():
    config = config_for("vgg300", ["thing"], (300, 600))
    assert config.anchors[0].size_hw == (38, 75)
    assert config.anchors[0].min_size == pytest.approx(30 * math.sqrt(2))
    first = anchors_cxcywh(config.anchors, (300, 600))[0]
    assert first[2] * 600 == pytest.approx(first[3].item() * 300)


def test_nearly_every_object_of_16_to_200_pixels_overlaps_a_box_of_the_fine_model():
    """At least half for 19 of 20, and never below .4, where matching's forced best anchor still has a fair start."""
    anchors = preset_xyxy("lite320-fine") * 320
    rng = np.random.default_rng(0)
    sides = np.exp(rng.uniform(math.log(16), math.log(200), (3000, 1)))
    root_of_ratio = np.exp(rng.uniform(-math.log(2), math.log(2), (3000, 1)) / 2)  # width : height in 1/2…2
    sizes = np.hstack([sides * root_of_ratio, sides / root_of_ratio])
    centres = rng.uniform(sizes / 2, 320 - sizes / 2)
    objects = cxcywh_to_xyxy(torch.from_numpy(np.hstack([centres, sizes])).float())
    best = torch.cat([pairwise_iou(some, anchors).amax(dim=1) for some in objects.split(300)])
    assert (best > 0.5).double().mean() >= 0.95
    assert best.min() > 0.4


def test_mediapipes_shapes_are_listed_and_worked_by_hand():
    config = config_for("mobilenetv2-300", ["thing"])
    assert [level.anchors_per_cell for level in config.anchors] == [3, 6, 6, 6, 6, 6]
    assert sum(level.num_anchors for level in config.anchors) == 1917
    # A tenth of 300; then 60·√2 and 60/√2.
    np.testing.assert_allclose(config.anchors[0].shapes_wh, [(30, 30), (84.85281, 42.42641), (42.42641, 84.85281)])
    # √(.35·.5) of 300 comes last, and the fifth ratio is .3333.
    wide = config.anchors[1].shapes_wh
    np.testing.assert_allclose(wide[0] + wide[5], (105, 105, 125.49900, 125.49900))
    np.testing.assert_allclose(wide[4], (105 * math.sqrt(0.3333), 105 / math.sqrt(0.3333)))
    np.testing.assert_allclose(config.anchors[5].shapes_wh[5], (math.sqrt(0.95) * 300,) * 2)


def test_listed_shapes_keep_their_share_of_a_larger_input():
    small, large = (config_for("mobilenetv2-300", ["thing"], size).anchors for size in ((300, 300), (600, 600)))
    np.testing.assert_allclose(np.array(small[2].shapes_wh) * 2, large[2].shapes_wh)
    assert large[2].size_hw == (10, 10)
