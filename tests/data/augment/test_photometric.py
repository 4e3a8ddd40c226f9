from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest

from singleshot.data.augment.photometric import Distortion, DistortionOptions, distort, draw_distortion
from singleshot.errors import ConfigError


def picture(seed: int = 0, size_hw: tuple[int, int] = (40, 60)) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (*size_hw, 3), dtype=np.uint8)


def vivid() -> np.ndarray:
    """Saturated, bright, every hue: where 8-bit HSV is precise enough to look at its planes."""
    hue = np.tile(np.arange(180, dtype=np.uint8), (20, 1))
    hsv = np.stack([hue, np.full_like(hue, 150), np.full_like(hue, 220)], axis=-1)
    return cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB)


def planes(image: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    hue, saturation, value = np.moveaxis(cv2.cvtColor(image, cv2.COLOR_RGB2HSV).astype(int), -1, 0)
    return hue, saturation, value


def turn(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    return (second - first + 90) % 180 - 90


def test_values_worked_by_hand() -> None:
    pixel = np.array([[[100, 3, 250]]], dtype=np.uint8)
    assert distort(pixel, Distortion(brightness=10.4)).tolist() == [[[110, 13, 255]]]
    assert distort(pixel, Distortion(contrast=1.5)).tolist() == [[[150, 4, 255]]]  # 4.5 rounds to even
    assert distort(pixel, Distortion(channel_order=(2, 0, 1))).tolist() == [[[250, 100, 3]]]


def test_the_neutral_distortion_gives_the_same_image() -> None:
    image = picture()
    np.testing.assert_array_equal(distort(image, Distortion()), image)


@pytest.mark.parametrize("hue", [-18.0, -7.0, 5.0, 18.0])
def test_hue_turns_the_hue_plane_alone_on_every_row_and_past_both_ends(hue: float) -> None:
    image = vivid()
    before, after = planes(image), planes(distort(image, Distortion(hue=hue)))
    assert np.abs(turn(before[0], after[0]) - hue).max() <= 2
    assert np.abs(after[1] - before[1]).max() <= 4
    assert np.abs(after[2] - before[2]).max() <= 1


@pytest.mark.parametrize("saturation", [0.5, 0.8, 1.4])
def test_saturation_scales_the_saturation_plane_alone_on_every_row(saturation: float) -> None:
    image = vivid()
    before, after = planes(image), planes(distort(image, Distortion(saturation=saturation)))
    assert np.abs(after[1] - before[1] * saturation).max() <= 4
    assert np.abs(turn(before[0], after[0])).max() <= 2
    assert np.abs(after[2] - before[2]).max() <= 1


def test_brightness_stays_within_its_bounds_and_reaches_towards_them() -> None:
    rng = np.random.default_rng(0)
    drawn = [draw_distortion(rng, DistortionOptions()).brightness for _ in range(2000)]
    assert -32 <= min(drawn) < -31
    assert 31 < max(drawn) <= 32
    assert 0.45 < np.mean(np.array(drawn) == 0) < 0.55


def test_contrast_comes_first_or_last_and_it_matters() -> None:
    rng = np.random.default_rng(0)
    first = [draw_distortion(rng, DistortionOptions()).contrast_first for _ in range(1000)]
    assert 0.45 < np.mean(first) < 0.55
    plan = Distortion(contrast=1.5, saturation=0.5)
    image = picture()
    assert (distort(image, plan) != distort(image, replace(plan, contrast_first=False))).any()


def test_channel_order_is_left_alone_unless_asked_for() -> None:
    rng = np.random.default_rng(0)
    always = DistortionOptions(channel_order_probability=1.0)
    assert {draw_distortion(rng, DistortionOptions()).channel_order for _ in range(200)} == {(0, 1, 2)}
    assert len({draw_distortion(rng, always).channel_order for _ in range(200)}) == 6


def test_turning_one_step_off_does_not_change_the_others() -> None:
    plain = draw_distortion(np.random.default_rng(3), DistortionOptions(brightness_probability=1.0))
    other = draw_distortion(np.random.default_rng(3), DistortionOptions(brightness_probability=0.0))
    assert replace(other, brightness=plain.brightness) == plain


def test_one_pass_equals_the_steps_one_by_one() -> None:
    image = picture(1)
    steps = (Distortion(brightness=-20.3), Distortion(contrast=1.3))
    one_by_one = distort(distort(image, steps[0]), steps[1])
    np.testing.assert_array_equal(distort(image, Distortion(brightness=-20.3, contrast=1.3)), one_by_one)


def test_distorting_a_part_is_a_part_of_the_distorted() -> None:
    image = picture(2)
    plan = Distortion(brightness=12.0, contrast=0.7, channel_order=(2, 1, 0))
    np.testing.assert_array_equal(distort(image[5:20, 7:31], plan), distort(image, plan)[5:20, 7:31])
    plan = replace(plan, saturation=1.4, hue=-9.0)
    np.testing.assert_array_equal(distort(image[5:20, 7:31], plan), distort(image, plan)[5:20, 7:31])


def test_hue_and_saturation_are_opencvs_but_for_its_rounding_down() -> None:
    image = picture(3, size_hw=(90, 160))
    for saturation, hue in ((1.0, 7.0), (0.5, 0.0), (1.5, -18.0), (1.3, 18.0)):
        hsv = cv2.cvtColor(image, cv2.COLOR_RGB2HSV).astype(float)
        hsv[..., 0] = (hsv[..., 0] + hue) % 180
        hsv[..., 1] = np.rint(hsv[..., 1] * saturation).clip(0, 255)
        expected = cv2.cvtColor(hsv.astype(np.uint8), cv2.COLOR_HSV2RGB).astype(int)
        difference = distort(image, Distortion(saturation=saturation, hue=hue)) - expected
        assert difference.min() >= 0
        assert difference.max() <= 2
        assert (difference <= 1).mean() > 0.99


def test_no_pixels_are_distorted_to_no_pixels() -> None:
    for size_hw in ((0, 5), (5, 0)):
        assert distort(np.empty((*size_hw, 3), dtype=np.uint8), Distortion(hue=3.0, brightness=1.0)).size == 0


@pytest.mark.parametrize(
    "bad",
    [
        {"hue_probability": 1.5},
        {"contrast_range": (1.5, 0.5)},
        {"saturation_range": (-1.0, 1.0)},
        {"brightness_delta": float("nan")},
        {"hue_delta": 200.0},
    ],
)
def test_impossible_options_are_refused_by_name(bad: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match=next(iter(bad))):
        DistortionOptions(**bad)
