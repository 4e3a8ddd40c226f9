from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from singleshot import boxes
from singleshot.data.augment.sampling import (
    SSD_SAMPLERS,
    WHOLE,
    CropSampler,
    Window,
    WindowOptions,
    draw_canvas,
    draw_crop,
    draw_window,
)
from singleshot.errors import ConfigError

SIZE_HW = (375, 500)
OBJECTS = np.array([[50.0, 60.0, 250.0, 300.0], [300.0, 100.0, 420.0, 180.0]])
NOTHING = np.empty((0, 4))
NO_EXPAND = WindowOptions(expand_probability=0.0)


def overlaps(window: Window, objects: np.ndarray) -> np.ndarray:
    return boxes.pairwise_iou(np.array([window], dtype=float), objects)[0]


def draws(count: int, options: WindowOptions, objects: np.ndarray = OBJECTS, seed: int = 0) -> list[Window]:
    rng = np.random.default_rng(seed)
    return [draw_window(rng, SIZE_HW, objects, options) for _ in range(count)]


def reference_window(rng: np.random.Generator, size_hw: tuple[int, int], objects: np.ndarray) -> list[float]:
    """Caffe's rule as its text has it, trial by trial: every sampler runs, one success is chosen, then truncated."""
    height, width = size_hw
    x0 = y0 = 0.0
    if rng.random() < 0.5:
        ratio = rng.uniform(1, 4)
        wide, high = int(width * ratio), int(height * ratio)
        x0, y0 = -math.floor(rng.uniform(0, wide - width)), -math.floor(rng.uniform(0, high - height))
        height, width = high, wide
    successes = [[x0, y0, x0 + width, y0 + height]]
    for least in (0.1, 0.3, 0.5, 0.7, 0.9, 0.0):
        for _ in range(50):
            scale = rng.uniform(0.3, 1.0)
            aspect = rng.uniform(max(0.5, scale**2), min(2.0, 1 / scale**2))
            wide, high = scale * math.sqrt(aspect), scale / math.sqrt(aspect)
            x, y = rng.uniform(0, 1 - wide), rng.uniform(0, 1 - high)
            crop = [x0 + x * width, y0 + y * height, x0 + (x + wide) * width, y0 + (y + high) * height]
            if any(iou(crop, box) >= least for box in objects.tolist()):
                successes.append(crop)
                break
    left, top, right, bottom = successes[rng.integers(len(successes))]
    x, y = math.floor(left), math.floor(top)
    return [x, y, x + math.floor(right - left), y + math.floor(bottom - top)]


def iou(first: list[float], second: list[float]) -> float:
    wide = min(first[2], second[2]) - max(first[0], second[0])
    high = min(first[3], second[3]) - max(first[1], second[1])
    common = max(wide, 0.0) * max(high, 0.0)
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (first, second)]
    return common / (sum(areas) - common)


def test_windows_are_distributed_as_the_reference_draws_them() -> None:
    rng = np.random.default_rng(1)
    expected = np.array([reference_window(rng, SIZE_HW, OBJECTS) for _ in range(2000)])
    drawn = np.array(draws(2000, WindowOptions(), seed=2), dtype=float)

    def features(windows: np.ndarray) -> list[np.ndarray]:
        sides = windows[:, 2:] - windows[:, :2]
        return [windows[:, 0], windows[:, 1], sides[:, 0], sides[:, 1], sides[:, 0] / sides[:, 1]]

    for first, second in zip(features(expected), features(drawn), strict=True):
        assert stats.ks_2samp(first, second).pvalue > 0.01


@pytest.mark.parametrize("least", [0.1, 0.3, 0.5, 0.7, 0.9])
def test_a_least_overlap_holds_for_some_box_and_need_not_hold_for_all(least: float) -> None:
    rng = np.random.default_rng(0)
    # The second box fills the picture's corner only, so that no crop overlaps both by much.
    objects = np.array([[0.0, 0.0, 300.0, 300.0], [460.0, 340.0, 500.0, 375.0]])
    canvas = (0, 0, 500, 375)
    crops = [draw_crop(rng, canvas, objects, CropSampler(min_iou=least), 50) for _ in range(200)]
    found = [overlaps(crop, objects) for crop in crops if crop is not None]
    assert found
    assert all(each.max() >= least for each in found)
    assert any(each.min() < least for each in found)


def test_a_greatest_overlap_holds_for_some_box() -> None:
    rng = np.random.default_rng(0)
    sampler = CropSampler(min_iou=0.2, max_iou=0.4)
    crops = [draw_crop(rng, (0, 0, 500, 375), OBJECTS, sampler, 50) for _ in range(200)]
    for crop in crops:
        assert crop is not None
        each = overlaps(crop, OBJECTS)
        assert ((each >= 0.2) & (each <= 0.4)).any()


def test_the_seventh_sampler_is_free_and_misses_every_box_at_times() -> None:
    assert len(SSD_SAMPLERS) == 7
    rng = np.random.default_rng(0)
    crops = [draw_crop(rng, (0, 0, 500, 375), OBJECTS, SSD_SAMPLERS[6], 50) for _ in range(500)]
    assert None not in crops
    assert any(overlaps(crop, OBJECTS).max() == 0 for crop in crops if crop is not None)


def test_scale_and_aspect_ratio_keep_their_bounds_and_the_crop_fits() -> None:
    rng = np.random.default_rng(0)
    canvas = (-1000, -2000, 9000, 6000)
    crops = np.array([draw_crop(rng, canvas, NOTHING, CropSampler(), 50) for _ in range(3000)], dtype=float)
    assert (crops[:, :2] >= canvas[:2]).all()
    assert (crops[:, 2:] <= canvas[2:]).all()
    sides = (crops[:, 2:] - crops[:, :2]) / np.array([10000, 8000])
    scale, aspect = np.sqrt(sides.prod(axis=1)), sides[:, 0] / sides[:, 1]
    assert 0.299 < scale.min() < 0.31
    assert 0.99 < scale.max() <= 1.0
    assert 0.499 < aspect.min() < 0.51
    assert 1.95 < aspect.max() < 2.001
    assert (np.abs(np.log(aspect)) <= -2 * np.log(scale) + 1e-3).all()


def test_each_sampler_that_succeeds_is_as_likely_as_the_others() -> None:
    options = WindowOptions(expand_probability=0.0, samplers=(WHOLE, CropSampler(min_iou=1.0), CropSampler()))
    whole = np.mean([window == (0, 0, 500, 375) for window in draws(4000, options)])
    assert 0.47 < whole < 0.53  # the middle one never succeeds, so it is one of two


def test_an_image_without_boxes_gets_only_the_unbounded_crops() -> None:
    windows = draws(2000, NO_EXPAND, NOTHING)
    whole = np.mean([window == (0, 0, 500, 375) for window in windows])
    assert 0.46 < whole < 0.54
    only_bounded = WindowOptions(expand_probability=0.0, samplers=SSD_SAMPLERS[1:6])
    assert set(draws(20, only_bounded, NOTHING)) == {(0, 0, 500, 375)}


def test_without_samplers_the_window_is_the_canvas() -> None:
    assert set(draws(20, WindowOptions(expand_probability=0.0, samplers=()))) == {(0, 0, 500, 375)}


def test_the_canvas_holds_the_image_and_is_up_to_four_times_as_large() -> None:
    rng = np.random.default_rng(0)
    canvases = np.array([draw_canvas(rng, SIZE_HW, WindowOptions(expand_probability=1.0)) for _ in range(2000)])
    assert (canvases[:, :2] <= 0).all()
    assert (canvases[:, 2:] >= (500, 375)).all()
    factors = (canvases[:, 2] - canvases[:, 0]) / 500
    assert factors.min() < 1.01
    assert 3.98 < factors.max() <= 4.0
    assert stats.kstest(factors, stats.uniform(1, 3).cdf).pvalue > 0.001


def test_expansion_happens_half_of_the_time() -> None:
    rng = np.random.default_rng(0)
    same = [draw_canvas(rng, SIZE_HW, WindowOptions()) == (0, 0, 500, 375) for _ in range(4000)]
    assert 0.47 < np.mean(same) < 0.53


@pytest.mark.parametrize("size_hw", [(1, 1), (1, 700), (3, 2)])
def test_the_smallest_images_give_windows_of_a_pixel_or_more(size_hw: tuple[int, int]) -> None:
    rng = np.random.default_rng(0)
    objects = np.array([[0.0, 0.0, size_hw[1], size_hw[0]]])
    for _ in range(300):
        left, top, right, bottom = draw_window(rng, size_hw, objects, NO_EXPAND)
        assert 0 <= left < right <= size_hw[1]
        assert 0 <= top < bottom <= size_hw[0]


def test_ratios_that_cannot_fit_are_narrowed_to_the_nearest_that_does() -> None:
    rng = np.random.default_rng(0)
    sampler = CropSampler(scale=(0.9, 0.9), aspect_ratio=(1.5, 2.0))
    crop = draw_crop(rng, (0, 0, 10000, 10000), NOTHING, sampler, 50)
    assert crop is not None
    assert crop[2] - crop[0] == 10000
    assert crop[3] - crop[1] == pytest.approx(8100, abs=1)


@pytest.mark.parametrize(
    ("name", "make"),
    [
        ("scale", lambda: CropSampler(scale=(0.3, 1.2))),
        ("aspect_ratio", lambda: CropSampler(aspect_ratio=(2.0, 0.5))),
        ("min_iou", lambda: CropSampler(min_iou=0.8, max_iou=0.2)),
        ("max_expand", lambda: WindowOptions(max_expand=0.5)),
        ("expand_probability", lambda: WindowOptions(expand_probability=-0.1)),
        ("trials", lambda: WindowOptions(trials=0)),
    ],
)
def test_impossible_options_are_refused_by_name(name: str, make: object) -> None:
    with pytest.raises(ConfigError, match=name):
        make()  # type: ignore[operator]
