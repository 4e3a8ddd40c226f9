"""Augmentation as a whole against a plain, slow version written from the reference's text, by two-sample tests.

The slow version works picture by picture and step by step: distort with OpenCV's conversions, make the canvas, run
every sampler, choose one success, cut, keep the boxes whose centres are inside, clip them, resize, mirror. It shares
no code with ours. Of the reference's quirks it leaves out what photometric.py says we leave out.
"""

from __future__ import annotations

import math
from collections import Counter

import cv2
import numpy as np
import pytest
from scipy import stats

from singleshot.data.augment.augment import CAFFE, augment, draw_plan
from singleshot.data.augment.photometric import Distortion, distort, draw_distortion

SIZE_HW = (60, 80)
BOXES = np.array([[8.0, 10.0, 40.0, 48.0], [48.0, 16.0, 66.0, 30.0]])
COLOURS = [(200, 40, 30), (30, 160, 60), (50, 70, 210), (180, 170, 150), (90, 30, 120), (10, 10, 12)]
DRAWS = 1200
WAYS = (cv2.INTER_LINEAR, cv2.INTER_AREA, cv2.INTER_NEAREST_EXACT, cv2.INTER_CUBIC, cv2.INTER_LANCZOS4)


def picture() -> np.ndarray:
    patches = np.array(COLOURS, dtype=np.uint8).reshape(2, 3, 3)
    return cv2.resize(patches, SIZE_HW[::-1], interpolation=cv2.INTER_NEAREST)


def rounded(values: np.ndarray) -> np.ndarray:
    return np.rint(values).clip(0, 255).astype(np.uint8)


def slow_colours(image: np.ndarray, plan: Distortion) -> np.ndarray:
    """One step after the other, each with its own trip to 8-bit HSV and back."""
    image = rounded(image.astype(float) + plan.brightness)
    if plan.contrast_first:
        image = rounded(image.astype(float) * plan.contrast)
    for plane, change in ((1, plan.saturation), (0, round(plan.hue))):
        hsv = cv2.cvtColor(image, cv2.COLOR_RGB2HSV).astype(float)
        hsv[..., plane] = np.rint(hsv[..., 1] * change).clip(0, 255) if plane else (hsv[..., 0] + change) % 180
        # In float32, since OpenCV's 8-bit way back does not round but cuts off.
        turned = np.stack([hsv[..., 0] * 2, hsv[..., 1] / 255, hsv[..., 2]], axis=-1).astype(np.float32)
        image = rounded(cv2.cvtColor(turned, cv2.COLOR_HSV2RGB))
    return image if plan.contrast_first else rounded(image.astype(float) * plan.contrast)


def slow_distortion(rng: np.random.Generator) -> Distortion:
    def maybe(value: float, otherwise: float) -> float:
        return value if rng.random() < 0.5 else otherwise

    return Distortion(
        brightness=maybe(rng.uniform(-32, 32), 0.0),
        contrast=maybe(rng.uniform(0.5, 1.5), 1.0),
        saturation=maybe(rng.uniform(0.5, 1.5), 1.0),
        hue=maybe(rng.uniform(-18, 18), 0.0),
        contrast_first=rng.random() < 0.5,
    )


def iou(first: list[float], second: list[float]) -> float:
    wide = min(first[2], second[2]) - max(first[0], second[0])
    high = min(first[3], second[3]) - max(first[1], second[1])
    common = max(wide, 0.0) * max(high, 0.0)
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (first, second)]
    return common / (sum(areas) - common)


def slow_augment(image: np.ndarray, boxes_xyxy: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    image, boxes_xyxy = slow_colours(image, slow_distortion(rng)), boxes_xyxy.copy()
    height, width = image.shape[:2]
    if rng.random() < 0.5:
        ratio = rng.uniform(1, 4)
        high, wide = int(height * ratio), int(width * ratio)
        top, left = math.floor(rng.uniform(0, high - height)), math.floor(rng.uniform(0, wide - width))
        canvas = np.full((high, wide, 3), CAFFE.mean_rgb, dtype=np.uint8)
        canvas[top : top + height, left : left + width] = image
        image, boxes_xyxy = canvas, boxes_xyxy + np.array([left, top, left, top])
        height, width = high, wide
    crops = [[0.0, 0.0, width, height]]
    for least in (0.1, 0.3, 0.5, 0.7, 0.9, 0.0):
        for _ in range(50):
            scale = rng.uniform(0.3, 1.0)
            aspect = rng.uniform(max(0.5, scale**2), min(2.0, 1 / scale**2))
            wide, high = scale * math.sqrt(aspect), scale / math.sqrt(aspect)
            x, y = rng.uniform(0, 1 - wide), rng.uniform(0, 1 - high)
            crop = [x * width, y * height, (x + wide) * width, (y + high) * height]
            if any(iou(crop, box) >= least for box in boxes_xyxy.tolist()):
                crops.append(crop)
                break
    left, top, right, bottom = crops[rng.integers(len(crops))]
    x, y = math.floor(left), math.floor(top)
    wide, high = max(math.floor(right - left), 1), max(math.floor(bottom - top), 1)
    inside = []
    for box in (boxes_xyxy - [x, y, x, y]).tolist():
        if 0 <= (box[0] + box[2]) / 2 <= wide and 0 <= (box[1] + box[3]) / 2 <= high:
            inside.append([max(box[0], 0), max(box[1], 0), min(box[2], wide), min(box[3], high)])
    way = WAYS[rng.integers(5)]
    image = cv2.resize(image[y : y + high, x : x + wide], (50, 50), interpolation=way)
    new = np.array(inside).reshape(-1, 4) * [50 / wide, 50 / high, 50 / wide, 50 / high]
    if rng.random() < 0.5:
        image, new = image[:, ::-1], np.stack([50 - new[:, 2], new[:, 1], 50 - new[:, 0], new[:, 3]], axis=1)
    return image, new


@pytest.fixture(scope="module")
def theirs() -> list[tuple[np.ndarray, np.ndarray]]:
    rng = np.random.default_rng(1)
    return [slow_augment(picture(), BOXES, rng) for _ in range(DRAWS)]


@pytest.fixture(scope="module")
def ours() -> list[tuple[np.ndarray, np.ndarray]]:
    def once(seed: int) -> tuple[np.ndarray, np.ndarray]:
        options = {"augmentation": CAFFE, "size_hw": (50, 50), "rng": np.random.default_rng((2, seed))}
        return augment(picture(), BOXES, **options)[:2]

    return [once(seed) for seed in range(DRAWS)]


Made = list[tuple[np.ndarray, np.ndarray]]


def test_boxes_come_out_as_large_as_many_and_where_the_references_do(theirs: Made, ours: Made) -> None:
    def features(made: Made) -> dict[str, np.ndarray]:
        boxes = np.concatenate([some for _, some in made]).astype(np.float64).round(3)  # ours are of 32 bits
        sides = boxes[:, 2:] - boxes[:, :2]
        middles = (boxes[:, 2:] + boxes[:, :2]) / 2
        kinds = {"width": sides[:, 0], "height": sides[:, 1], "shape": sides[:, 0] / sides[:, 1]}
        return kinds | {"x": middles[:, 0], "y": middles[:, 1], "count": np.array([len(some) for _, some in made])}

    expected, found = features(theirs), features(ours)
    for name in expected:
        assert stats.ks_2samp(expected[name], found[name]).pvalue > 0.01, name


def test_pixels_come_out_as_bright_as_colourful_and_as_much_of_the_mean(theirs: Made, ours: Made) -> None:
    def features(made: Made) -> dict[str, np.ndarray]:
        pictures = np.stack([image for image, _ in made])
        hsv = np.stack([cv2.cvtColor(np.ascontiguousarray(image), cv2.COLOR_RGB2HSV) for image in pictures])
        kinds = {f"mean of {name}": pictures[..., at].mean(axis=(1, 2)) for at, name in enumerate("RGB")}
        kinds |= {f"mean of {name}": hsv[..., at].mean(axis=(1, 2)) for at, name in enumerate("HSV")}
        kinds["surroundings"] = (np.abs(pictures.astype(int) - CAFFE.mean_rgb).max(axis=3) == 0).mean(axis=(1, 2))
        kinds["sharpness"] = np.abs(np.diff(pictures.astype(int), axis=2)).mean(axis=(1, 2, 3))
        return kinds

    expected, found = features(theirs), features(ours)
    for name in expected:
        assert stats.ks_2samp(expected[name], found[name]).pvalue > 0.01, name


def test_each_colour_plane_is_changed_as_one_step_after_the_other_changes_it() -> None:
    """The same drawn plan, done slowly: within 3 of 255, which is what one trip to HSV more rounds away."""
    rng = np.random.default_rng(3)
    smooth = cv2.resize(picture(), (120, 90), interpolation=cv2.INTER_CUBIC)
    differences = []
    for _ in range(200):
        plan = slow_distortion(rng)
        differences.append(distort(smooth, plan).astype(int) - slow_colours(smooth, plan))
    found = np.abs(np.stack(differences))
    assert np.mean(found <= 3) > 0.99
    assert abs(np.mean(differences)) < 0.05  # and to neither side


def test_the_drawn_numbers_of_colours_are_the_references() -> None:
    first, second = np.random.default_rng(4), np.random.default_rng(5)
    theirs = [slow_distortion(first) for _ in range(4000)]
    ours = [draw_distortion(second, CAFFE) for _ in range(4000)]
    for name in ("brightness", "contrast", "saturation", "hue"):
        expected, found = ([getattr(plan, name) for plan in plans] for plans in (theirs, ours))
        assert stats.ks_2samp(expected, found).pvalue > 0.01, name
    assert abs(np.mean([plan.contrast_first for plan in ours]) - 0.5) < 0.03


def test_the_five_interpolations_are_equally_likely() -> None:
    rng = np.random.default_rng(6)
    drawn = Counter(draw_plan(rng, SIZE_HW, BOXES, CAFFE).interpolation for _ in range(2000))
    assert len(drawn) == 5
    assert stats.chisquare(list(drawn.values())).pvalue > 0.01
