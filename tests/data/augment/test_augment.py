from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest

from singleshot.data.augment.augment import (
    CAFFE,
    NONE,
    POST_2017,
    Augmentation,
    Plan,
    apply_to_boxes,
    apply_to_image,
    augment,
    draw_plan,
)
from singleshot.data.augment.photometric import Distortion
from singleshot.data.load.loader import Annotation, TrainDetection
from singleshot.errors import ConfigError
from singleshot.preprocess import Preprocess, boxes_to_input, to_input

NOTHING = np.empty((0, 4))
SIZE_HW = (300, 300)
STILL = Plan(Distortion(), (0, 0, 4, 2), False, False, 0, "nearest")

# Black pictures, black surroundings and untouched colours: what is white afterwards was white before.
IN_BLACK = replace(
    CAFFE,
    brightness_probability=0.0,
    contrast_probability=0.0,
    saturation_probability=0.0,
    hue_probability=0.0,
    mean_rgb=(0, 0, 0),
)


def picture(seed: int = 0, size_hw: tuple[int, int] = (60, 80)) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (*size_hw, 3), dtype=np.uint8)


def white_rectangle(box_xyxy: tuple[int, int, int, int], size_hw: tuple[int, int] = (375, 500)) -> np.ndarray:
    image = np.zeros((*size_hw, 3), dtype=np.uint8)
    left, top, right, bottom = box_xyxy
    image[top:bottom, left:right] = 255
    return image


def extent(image: np.ndarray) -> np.ndarray:
    """The rectangle of bright pixels, as xyxy."""
    rows, columns = np.flatnonzero((image[..., 0] > 127).any(axis=1)), np.flatnonzero((image[..., 0] > 127).any(axis=0))
    return np.array([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1], dtype=float)


@pytest.mark.parametrize("interpolation", CAFFE.interpolations)
@pytest.mark.parametrize("size_hw", [(300, 300), (160, 400)])
def test_the_box_still_frames_its_object(interpolation: str, size_hw: tuple[int, int]) -> None:
    box = (120, 90, 330, 280)
    image = white_rectangle(box)
    odds = replace(IN_BLACK, interpolations=(interpolation,), flip_probability=0.3, turn_probability=0.3)
    kept = 0
    for seed in range(60):
        new, boxes_xyxy, rows, _ = augment(
            image,
            np.array([box], dtype=float),
            augmentation=odds,
            size_hw=size_hw,
            rng=np.random.default_rng(seed),
        )
        assert new.shape == (*size_hw, 3)
        if len(rows):
            kept += 1
            assert np.abs(extent(new) - boxes_xyxy[0]).max() <= 1.0
    assert kept > 40


def test_a_crop_worked_by_hand() -> None:
    # A window of 4 × 2 at (10, 20), doubled: (x − 10)·2, (y − 20)·2. The third centre is outside.
    plan = replace(STILL, window=(10, 20, 14, 22))
    boxes_xyxy = np.array([[9.0, 20.0, 12.0, 21.0], [11.0, 21.0, 17.0, 22.0], [13.0, 20.0, 16.0, 22.0]])
    clipped, rows = apply_to_boxes(boxes_xyxy, plan, (4, 8), clip=True)
    assert rows.tolist() == [0, 1]
    assert clipped.tolist() == [[0.0, 0.0, 4.0, 2.0], [2.0, 2.0, 8.0, 4.0]]
    unclipped, _ = apply_to_boxes(boxes_xyxy, plan, (4, 8), clip=False)
    assert unclipped.tolist() == [[-2.0, 0.0, 4.0, 2.0], [2.0, 2.0, 14.0, 4.0]]


def test_a_box_stays_if_its_centre_is_in_the_crop_the_edge_included() -> None:
    plan = replace(STILL, window=(10, 10, 20, 20))
    centres = np.array([[10.0, 15.0], [20.0, 20.0], [9.99, 15.0], [15.0, 20.01]])
    _, rows = apply_to_boxes(np.concatenate([centres - 3, centres + 3], axis=1), plan, (10, 10), clip=True)
    assert rows.tolist() == [0, 1]


def test_mirror_flip_and_turns_are_exact() -> None:
    image = picture()
    box = np.array([[10.0, 5.0, 30.0, 50.0]])
    for mirror in (False, True):
        for flip in (False, True):
            for turns in range(4):
                size_hw = (80, 60) if turns % 2 else (60, 80)
                plan = Plan(Distortion(), (0, 0, 80, 60), mirror, flip, turns, "nearest")
                expected = image[:, ::-1] if mirror else image
                expected = np.rot90(expected[::-1] if flip else expected, turns)
                np.testing.assert_array_equal(apply_to_image(image, plan, size_hw, (0, 0, 0)), expected)
                marked = apply_to_image(white_rectangle((10, 5, 30, 50), (60, 80)), plan, size_hw, (0, 0, 0))
                new, _ = apply_to_boxes(box, plan, size_hw, clip=True)
                np.testing.assert_array_equal(extent(marked), new[0])


def test_mirroring_happens_half_of_the_time_and_turning_never_unless_asked_for() -> None:
    rng = np.random.default_rng(0)
    plans = [draw_plan(rng, (60, 80), NOTHING, CAFFE) for _ in range(1500)]
    assert 0.46 < np.mean([plan.mirror for plan in plans]) < 0.54
    assert not any(plan.flip or plan.quarter_turns for plan in plans)
    assert {plan.interpolation for plan in plans} == {"linear", "area", "nearest", "cubic", "lanczos4"}


def test_surroundings_have_the_mean_colour_which_is_not_distorted() -> None:
    plan = replace(STILL, distortion=Distortion(brightness=30.0), window=(-4, -2, 8, 4), interpolation="nearest")
    image = apply_to_image(np.full((2, 4, 3), 50, dtype=np.uint8), plan, (6, 12), (123, 117, 104))
    assert image[2:4, 4:8].tolist() == [[[80] * 3] * 4] * 2
    image[2:4, 4:8] = (123, 117, 104)
    assert (image == (123, 117, 104)).all()


def test_a_window_beside_the_image_shows_only_the_mean_colour() -> None:
    plan = replace(STILL, window=(-10, -10, -2, -2))
    image = apply_to_image(picture(), plan, (5, 7), (123, 117, 104))
    assert image.shape == (5, 7, 3)
    assert (image == (123, 117, 104)).all()


@pytest.mark.parametrize("hsv_odds", [0.0, 1.0])
def test_pixels_equal_those_of_the_reference_order_done_literally(hsv_odds: float) -> None:
    """Distort everything, build the whole canvas, crop it, resize, mirror: the same picture, only slower."""
    image = picture(4)
    odds = replace(CAFFE, saturation_probability=hsv_odds, hue_probability=hsv_odds)
    odds = replace(odds, interpolations=("linear", "area", "cubic", "lanczos4"))
    for seed in range(25):
        plan = draw_plan(np.random.default_rng(seed), (60, 80), np.array([[20.0, 20.0, 60.0, 50.0]]), odds)
        whole = Plan(plan.distortion, (0, 0, 80, 60), False, False, 0, "nearest")
        distorted = apply_to_image(image, whole, (60, 80), odds.mean_rgb)
        canvas = np.full((60 * 9, 80 * 9, 3), odds.mean_rgb, dtype=np.uint8)
        canvas[240:300, 320:400] = distorted
        left, top, right, bottom = plan.window
        crop = canvas[top + 240 : bottom + 240, left + 320 : right + 320]
        way = getattr(cv2, f"INTER_{plan.interpolation.upper()}")
        expected = cv2.resize(crop, (50, 40), interpolation=way)
        expected = expected[:, ::-1] if plan.mirror else expected
        difference = apply_to_image(image, plan, (40, 50), odds.mean_rgb).astype(int) - expected
        assert np.abs(difference).max() <= 1  # the last bit, see resample.py


def test_boxes_end_at_the_image_or_not_as_asked() -> None:
    boxes_xyxy = np.array([[5.0, 5.0, 75.0, 55.0]])
    outside = 0
    for seed in range(60):
        results = [
            augment(
                picture(),
                boxes_xyxy,
                augmentation=odds,
                size_hw=SIZE_HW,
                rng=np.random.default_rng(seed),
            )
            for odds in (CAFFE, replace(CAFFE, clip_boxes=False))
        ]
        (_, clipped, rows, _), (_, free, same_rows, _) = results
        assert rows.tolist() == same_rows.tolist()
        assert ((clipped >= 0) & (clipped <= 300)).all()
        np.testing.assert_array_equal(np.clip(free, 0, 300), clipped)
        outside += int((free != clipped).any())
    assert outside > 10


def test_images_without_boxes_are_augmented_too() -> None:
    for seed in range(40):
        image, boxes_xyxy, rows, _ = augment(
            picture(), NOTHING, augmentation=CAFFE, size_hw=SIZE_HW, rng=np.random.default_rng(seed)
        )
        assert image.shape == (300, 300, 3)
        assert (boxes_xyxy.shape, rows.shape) == ((0, 4), (0,))
        assert boxes_xyxy.dtype == np.float32


def test_class_ids_follow_their_boxes() -> None:
    boxes_xyxy = np.array([[0.0, 0.0, 20.0, 20.0], [30.0, 30.0, 50.0, 50.0], [60.0, 40.0, 80.0, 60.0]])
    class_ids = np.array([7, 8, 9])
    lost = 0
    for seed in range(40):
        rng = np.random.default_rng(seed)
        annotation = Annotation(boxes_xyxy, class_ids, None, None)
        new, ids = TrainDetection(Preprocess(size_hw=SIZE_HW), CAFFE)(picture(), annotation, rng).target
        rng = np.random.default_rng(seed)
        rows = augment(picture(), boxes_xyxy, augmentation=CAFFE, size_hw=SIZE_HW, rng=rng).rows
        np.testing.assert_array_equal(ids, class_ids[rows])
        assert len(new) == len(ids)
        lost += len(ids) < 3
    assert lost > 5


def test_the_same_random_numbers_give_the_same_image_and_others_another() -> None:
    def once(seed: int) -> np.ndarray:
        return augment(picture(), NOTHING, augmentation=CAFFE, size_hw=SIZE_HW, rng=np.random.default_rng(seed))[0]

    np.testing.assert_array_equal(once(1), once(1))
    assert (once(1) != once(2)).any()


def test_none_only_resizes_linearly() -> None:
    image = picture()
    boxes_xyxy = np.array([[8.0, 6.0, 40.0, 60.0]])
    new, new_xyxy, _, _ = augment(image, boxes_xyxy, augmentation=NONE, size_hw=(30, 160), rng=np.random.default_rng(0))
    np.testing.assert_array_equal(new, cv2.resize(image, (160, 30), interpolation=cv2.INTER_LINEAR))
    assert new_xyxy.tolist() == [[16.0, 3.0, 80.0, 30.0]]


def test_the_result_is_never_a_view_of_the_image() -> None:
    image = picture()
    new, *_ = augment(image, NOTHING, augmentation=NONE, size_hw=(60, 80), rng=np.random.default_rng(0))
    np.testing.assert_array_equal(new, image)
    assert not np.shares_memory(new, image)


def test_the_posts_recipe_reorders_channels_half_of_the_time_and_does_not_clip() -> None:
    assert POST_2017.channel_order_probability == 0.5
    assert not POST_2017.clip_boxes
    assert CAFFE.channel_order_probability == 0.0
    assert CAFFE.clip_boxes


@pytest.mark.parametrize(
    "bad",
    [
        {"mirror_probability": 2.0},
        {"turn_probability": -1.0},
        {"interpolations": ()},
        {"mean_rgb": (300, 0, 0)},
        {"hue_probability": 7.0},
        {"max_expand": 0.0},
    ],
)
def test_impossible_options_are_refused_by_name(bad: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match=next(iter(bad))):
        Augmentation(**bad)


@pytest.mark.parametrize("size_hw", [(120, 300), (300, 120), (200, 200)])
def test_a_letterboxed_box_still_frames_its_object_and_the_margin_is_filled(size_hw: tuple[int, int]) -> None:
    box = (20, 30, 90, 70)
    image = white_rectangle(box, size_hw=(100, 160))
    always = replace(IN_BLACK, turn_probability=0.5, flip_probability=0.5)
    shapes = set()
    for seed in range(40):
        rng = np.random.default_rng(seed)
        options = {"augmentation": always, "size_hw": size_hw, "rng": rng, "fill_rgb": (1, 2, 3)}
        new, new_xyxy, _, _ = augment(image, np.array([box], float), **options)
        assert new.shape == (*size_hw, 3)
        filled = (new == (1, 2, 3)).all(axis=2)
        shapes.add((int((~filled.all(axis=1)).sum()), int((~filled.all(axis=0)).sum())))
        if len(new_xyxy) and (new[..., 0] > 127).any():
            assert np.abs(extent(new) - new_xyxy[0]).max() <= 2.0
    # Every one of them fills the input in one direction, and they were of many shapes.
    assert all(height == size_hw[0] or width == size_hw[1] for height, width in shapes) and len(shapes) > 5


def test_a_letterbox_without_augmentation_is_what_a_trained_network_is_shown() -> None:
    how = Preprocess((96, 128), fit="letterbox")
    for size_hw in ((60, 80), (37, 200), (200, 37)):
        image, box = picture(size_hw=size_hw), np.array([[3.0, 4.0, 30.0, 20.0]])
        rng = np.random.default_rng(0)
        options = {"augmentation": NONE, "size_hw": how.size_hw, "rng": rng, "fill_rgb": how.fill_rgb}
        new, new_xyxy, _, _ = augment(image, box, **options)
        np.testing.assert_array_equal(new, to_input(image, how))
        np.testing.assert_allclose(new_xyxy, boxes_to_input(box, size_hw, how), atol=1e-4)
