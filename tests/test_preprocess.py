from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch

from singleshot import boxes, preprocess
from singleshot.detection.ssd import MODELS
from singleshot.errors import ConfigError
from singleshot.preprocess import Preprocess


def of_flavour(name: str) -> Preprocess:
    flavour = MODELS[name]
    return Preprocess((1, 256), flavour.mean_rgb, flavour.std_rgb)


# torchvision divides ssd300's pictures by 1/255 after it took the mean off: the scale is 0…255, as here.
@pytest.mark.parametrize(
    ("flavour", "golden", "side"),
    [
        ("ssd300-torchvision", "torchvision_ssd300_vgg16", 300),
        ("lite320", "torchvision_ssdlite320_mobilenet_v3_large", 320),
    ],
)
def test_normalised_input_equals_torchvisions(shared, flavour: str, golden: str, side: int):
    every_value = torch.arange(256, dtype=torch.uint8).view(1, 1, 256, 1).repeat(1, 1, 1, 3)
    ours = preprocess.normalise(every_value, of_flavour(flavour))[0, :, 0].double().numpy()
    # The golden picture has values between ours; a normalisation is a line, which two of its points give.
    np.testing.assert_allclose(np.diff(ours), np.diff(ours[:, [0, 255]]) / 255 + np.zeros((3, 255)), atol=1e-4)
    picture = np.random.RandomState(7).rand(3, side, side).astype(np.float32)[:, ::29, ::31]
    low, high = ours[:, 0, None, None], ours[:, 255, None, None]
    wanted = np.load(shared / "golden" / f"{golden}.npz")["normalised_input"]
    np.testing.assert_allclose(low + picture * (high - low), wanted, rtol=1e-5, atol=1e-4)


def test_mean_and_deviation_are_taken_by_channel():
    images = torch.tensor([10, 20, 30], dtype=torch.uint8).view(1, 1, 1, 3)
    wanted = Preprocess(mean_rgb=(1.0, 2.0, 3.0), std_rgb=(1.0, 2.0, 3.0))
    assert preprocess.normalise(images, wanted).flatten().tolist() == pytest.approx([9.0, 9.0, 9.0])


def test_bgr_flips_the_channels_after_the_mean_of_each_was_taken_off():
    images = torch.randint(0, 256, (2, 3, 5, 3), dtype=torch.uint8)
    rgb = preprocess.normalise(images, Preprocess())
    bgr = preprocess.normalise(images, Preprocess(channel_order="bgr"))
    assert torch.equal(bgr, rgb.flip(1))
    assert not torch.equal(bgr, rgb)


def test_the_input_has_channels_last_strides_and_the_images_stay_as_they_were():
    images = torch.randint(0, 256, (2, 4, 6, 3), dtype=torch.uint8)
    before = images.clone()
    for order in ("rgb", "bgr"):
        result = preprocess.normalise(images, Preprocess(channel_order=order))
        assert result.shape == (2, 3, 4, 6)
        assert result.dtype == torch.float32
        assert result.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(images, before)


def test_no_images_give_no_input():
    assert preprocess.normalise(torch.zeros(0, 4, 6, 3, dtype=torch.uint8), Preprocess()).shape == (0, 3, 4, 6)


def test_an_image_that_fits_is_given_back_itself():
    image = np.zeros((4, 6, 3), dtype=np.uint8)
    assert preprocess.resize(image, (4, 6)) is image
    assert preprocess.resize(image, (6, 4)).shape == (6, 4, 3)


def test_an_image_is_stretched_and_interpolated_linearly():
    image = np.zeros((2, 2, 3), dtype=np.uint8)
    image[:, 1] = 100
    # Centres of four columns over two lie at −¼, ¼, ¾ and 1¼ of the way from the first centre to the second.
    assert preprocess.resize(image, (2, 4))[0, :, 0].tolist() == [0, 25, 75, 100]


def test_a_view_with_flipped_channels_is_resized_as_its_copy():
    image = np.random.default_rng(0).integers(0, 256, (9, 7, 3), dtype=np.uint8)
    for view in (image[:, :, ::-1], image[::-1], image[:, ::2]):
        assert np.array_equal(preprocess.resize(view, (5, 5)), preprocess.resize(view.copy(), (5, 5)))


@pytest.mark.parametrize("size_hw", [(100, 200), (37, 11), (1, 1)])
def test_fractions_and_pixels_are_inverses(size_hw: tuple[int, int]):
    rng = np.random.default_rng(0)
    low = rng.uniform(-10, 50, (20, 2))
    there = np.concatenate([low, low + rng.uniform(0, 60, (20, 2))], axis=1)
    fractions = preprocess.boxes_to_fractions(torch.from_numpy(there), size_hw)
    back = preprocess.boxes_to_pixels(boxes.cxcywh_to_xyxy(fractions).numpy(), size_hw, Preprocess())
    np.testing.assert_allclose(back, there, atol=1e-9)


def test_the_whole_image_is_the_box_of_all_fractions():
    whole = torch.tensor([[0.0, 0.0, 200.0, 100.0]])
    assert preprocess.boxes_to_fractions(whole, (100, 200)).tolist() == [[0.5, 0.5, 1.0, 1.0]]


def test_no_boxes_give_no_boxes_with_any_leading_axes():
    assert preprocess.boxes_to_fractions(torch.zeros(0, 4), (5, 5)).shape == (0, 4)
    assert preprocess.boxes_to_fractions(torch.zeros(3, 0, 4), (5, 5)).shape == (3, 0, 4)
    assert preprocess.boxes_to_pixels(np.zeros((0, 4)), (5, 5), Preprocess()).shape == (0, 4)


def test_a_stretched_box_lies_where_the_stretched_image_shows_it():
    image = np.zeros((60, 80, 3), dtype=np.uint8)
    image[12:36, 20:60] = 255
    box = torch.tensor([[20.0, 12.0, 60.0, 36.0]])
    fractions = boxes.cxcywh_to_xyxy(preprocess.boxes_to_fractions(box, (60, 80))).numpy()
    stretched = preprocess.resize(image, (200, 100))
    x, y, width, height = cv2.boundingRect((stretched[:, :, 0] > 127).astype(np.uint8))
    wanted = [x, y, x + width, y + height]
    assert preprocess.boxes_to_pixels(fractions, (200, 100), Preprocess())[0] == pytest.approx(wanted, abs=1)


LETTERBOX = Preprocess((300, 300), fit="letterbox")


@pytest.mark.parametrize(
    ("picture_hw", "inner_hw"),
    [((100, 200), (150, 300)), ((375, 1242), (91, 300)), ((600, 200), (300, 100)), ((300, 300), (300, 300))],
)
def test_a_letterboxed_image_keeps_its_proportions_and_fills_one_side(
    picture_hw: tuple[int, int], inner_hw: tuple[int, int]
):
    assert preprocess.inner_size_hw(picture_hw, (300, 300), "letterbox") == inner_hw
    assert preprocess.inner_size_hw(picture_hw, (300, 300), "warp") == (300, 300)
    image = np.full((*picture_hw, 3), 9, np.uint8)
    boxed = preprocess.to_input(image, LETTERBOX)
    assert boxed.shape == (300, 300, 3)
    assert (boxed[: inner_hw[0], : inner_hw[1]] == 9).all()
    assert (boxed[inner_hw[0] :] == (123, 117, 104)).all() and (boxed[:, inner_hw[1] :] == (123, 117, 104)).all()


def test_the_thinnest_image_keeps_a_pixel():
    assert preprocess.inner_size_hw((1, 10_000), (300, 300), "letterbox") == (1, 300)
    assert preprocess.to_input(np.zeros((10_000, 1, 3), np.uint8), LETTERBOX).shape == (300, 300, 3)


@pytest.mark.parametrize("fit", ["warp", "letterbox"])
def test_to_the_input_and_back_gives_the_same_boxes(fit: str):
    rng = np.random.default_rng(1)
    for picture_hw in ((375, 1242), (480, 640), (641, 3), (7, 7)):
        low = rng.uniform(-5, 300, (20, 2))
        there = np.concatenate([low, low + rng.uniform(0, 90, (20, 2))], axis=1)
        how = Preprocess((320, 576), fit=fit)
        inside = preprocess.boxes_to_input(there, picture_hw, how)
        back = preprocess.boxes_to_pixels(boxes.scale(inside, (1 / 320, 1 / 576)), picture_hw, how)
        np.testing.assert_allclose(back, there, atol=1e-9)


def test_the_margin_is_the_mean_that_normalisation_takes_off():
    boxed = preprocess.to_input(np.zeros((10, 20, 3), np.uint8), LETTERBOX)
    margin = preprocess.normalise(torch.from_numpy(boxed)[None], LETTERBOX)[0, :, 200:]
    assert margin.abs().max() == 0.0
    assert Preprocess(mean_rgb=(127.5, 127.4, 300.0), fit="letterbox").fill_rgb == (128, 127, 255)
    assert Preprocess().fill_rgb is None


@pytest.mark.parametrize(
    "options", [{"size_hw": (0, 300)}, {"std_rgb": (1.0, 0.0, 1.0)}, {"std_rgb": (1.0, -1.0, 1.0)}]
)
def test_a_size_or_deviation_that_cannot_be_is_refused(options: dict):
    with pytest.raises(ConfigError):
        Preprocess(**options)


def test_images_are_normalised_without_a_copy_from_the_host(device_watch, monkeypatch: pytest.MonkeyPatch):
    images = torch.empty((2, 4, 6, 3), dtype=torch.uint8, device="meta")
    monkeypatch.delattr(torch, "tensor")  # makes its values on the host, and the watch does not see it
    with device_watch:
        found = preprocess.normalise(images, Preprocess(channel_order="bgr"))
    assert found.shape == (2, 3, 4, 6) and device_watch.on_host == []
