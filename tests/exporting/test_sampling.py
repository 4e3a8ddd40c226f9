from __future__ import annotations

import numpy as np
import pytest
import torch

from singleshot import preprocess
from singleshot.exporting import sampling
from singleshot.preprocess import Preprocess


def graph_input(image: np.ndarray, wanted: Preprocess) -> np.ndarray:
    batch = torch.from_numpy(image)[None]
    return sampling.to_input(batch, wanted, sampling.frame_of(batch, wanted))[0].numpy()


@pytest.mark.parametrize("fit", ["warp", "letterbox"])
@pytest.mark.parametrize("size_hw", [(300, 300), (96, 160), (333, 517)])
def test_the_graph_resizes_as_opencv_does_to_a_level_in_two_thousand_bytes(fit, size_hw, shared):
    wanted = Preprocess(size_hw, fit=fit)
    for name in ("road1.jpg", "chelsea.png", "astronaut.png"):
        image = read_image(shared / "data" / "photos" / name)
        off = np.abs(graph_input(image, wanted) - preprocess.to_input(image, wanted).astype(np.float32))
        assert off.max() <= 1 and (off > 0).mean() < 4e-3


def test_a_picture_of_the_input_size_stays_as_it_is():
    image = np.random.default_rng(0).integers(0, 256, (40, 50, 3), dtype=np.uint8)
    assert np.array_equal(graph_input(image, Preprocess((40, 50))), image)


def test_halving_is_the_mean_of_four_cut_off_as_opencv_rounds():
    image = np.array([[[10], [13]], [[14], [12]]], dtype=np.uint8).repeat(3, axis=2)
    assert graph_input(image, Preprocess((1, 1))).ravel().tolist() == [12, 12, 12]  # 49 / 4 and a half, cut off


@pytest.mark.parametrize("picture_hw", [(1, 1), (1, 999), (375, 1242), (1242, 375), (5, 3), (300, 600), (301, 600)])
def test_the_inner_size_of_a_letterbox_is_the_one_of_preprocess(picture_hw):
    wanted = Preprocess((300, 300), fit="letterbox")
    frame = sampling.frame_of(torch.zeros(1, *picture_hw, 3, dtype=torch.uint8), wanted)
    expected = preprocess.inner_size_hw(picture_hw, (300, 300), "letterbox")
    assert (int(frame.inner_height), int(frame.inner_width)) == expected


def test_the_margin_of_a_letterbox_has_the_mean_colour():
    image = np.full((10, 40, 3), 200, dtype=np.uint8)
    seen = graph_input(image, Preprocess((20, 20), mean_rgb=(1.0, 2.0, 3.0), fit="letterbox"))
    assert (seen[:5] == 200).all() and (seen[5:] == [1, 2, 3]).all()


def test_normalising_is_that_of_preprocess_for_both_orders_of_channels():
    images = torch.randint(0, 256, (2, 4, 5, 3), dtype=torch.uint8)
    for order in ("rgb", "bgr"):
        wanted = Preprocess((4, 5), (1.0, 2.0, 3.0), (2.0, 4.0, 8.0), order)
        assert torch.allclose(sampling.normalise(images.float(), wanted), preprocess.normalise(images, wanted))


def test_enlarging_scores_is_torchs_bilinear_enlargement():
    scores = torch.randn(1, 3, 5, 7)
    size_hw, number = (13, 11), torch.tensor
    rows = sampling.sample(scores, 2, sampling.positions(13, number(5), number(13)))
    found = sampling.sample(rows, 3, sampling.positions(11, number(7), number(11)))
    wanted = torch.nn.functional.interpolate(scores, size=size_hw, mode="bilinear", align_corners=False)
    assert torch.allclose(found, wanted, atol=1e-5)
