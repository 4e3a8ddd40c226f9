from __future__ import annotations

import threading

import cv2
import numpy as np
import pytest

from singleshot.data.augment.resample import Window, resample

GREY = (123, 117, 104)
WAYS = {"linear": 1, "area": 3, "cubic": 2, "lanczos4": 4}  # OpenCV's numbers
WINDOWS = {
    "all of it": (0, 0, 97, 61),
    "a part, enlarged": (20, 10, 50, 33),
    "a canvas around it": (-100, -40, 200, 131),
    "over two edges": (-31, 15, 63, 90),
    "wider than high": (-20, 20, 117, 30),
    "one pixel": (40, 30, 41, 31),
}


def picture(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (61, 97, 3), dtype=np.uint8)


def literally(image: np.ndarray, window: Window, size_hw: tuple[int, int], way: int) -> np.ndarray:
    """The canvas made, the crop cut out of it, and OpenCV's resize."""
    left, top, right, bottom = window
    canvas = np.full((461, 497, 3), GREY, dtype=np.uint8)
    canvas[200:261, 200:297] = image
    crop = canvas[top + 200 : bottom + 200, left + 200 : right + 200]
    return cv2.resize(crop, size_hw[::-1], interpolation=way)


@pytest.mark.parametrize("window", WINDOWS.values(), ids=WINDOWS.keys())
@pytest.mark.parametrize("way", WAYS)
def test_every_interpolation_is_opencvs_of_the_cut_out_canvas(way: str, window: Window) -> None:
    for size_hw in ((40, 40), (75, 30), (150, 200)):
        new = resample(picture(), window, size_hw, interpolation=way, outside_rgb=GREY)
        expected = literally(picture(), window, size_hw, WAYS[way])
        assert np.abs(new.astype(int) - expected).max() <= 1


def test_nearest_takes_the_pixel_under_the_centre() -> None:
    # 7 and 11 share no factor with the windows' sides, so that no centre lies just between two pixels.
    for window in WINDOWS.values():
        new = resample(picture(), window, (7, 11), interpolation="nearest", outside_rgb=GREY)
        np.testing.assert_array_equal(new, literally(picture(), window, (7, 11), cv2.INTER_NEAREST_EXACT))


def test_area_averages_what_opencvs_warp_would_skip_over() -> None:
    # Columns 0 and 255 by turns, four to one: linear looks at two of the four, warpAffine's "area" as well.
    image = np.zeros((8, 40, 3), dtype=np.uint8)
    image[:, ::4] = 200
    new = resample(image, (0, 0, 40, 8), (2, 10), interpolation="area", outside_rgb=GREY)
    assert (new == 50).all()
    assert (resample(image, (0, 0, 40, 8), (2, 10), interpolation="linear", outside_rgb=GREY) == 0).all()


def test_an_edge_worked_by_hand() -> None:
    # Two outside pixels of 100, then two of 200; halved, they stay apart, and in one pixel they mix.
    image = np.full((1, 2, 3), 200, dtype=np.uint8)
    options = {"interpolation": "area", "outside_rgb": (100, 100, 100)}
    assert resample(image, (-2, 0, 2, 1), (1, 2), **options)[0, :, 0].tolist() == [100, 200]
    assert resample(image, (-2, 0, 2, 1), (1, 1), **options)[0, :, 0].tolist() == [150]
    assert resample(image, (-1, 0, 2, 1), (1, 1), **options)[0, :, 0].tolist() == [167]  # 500 / 3


@pytest.mark.parametrize("way", [*WAYS, "nearest"])
@pytest.mark.parametrize("window", WINDOWS.values(), ids=WINDOWS.keys())
def test_mirror_and_flip_are_exact(way: str, window: Window) -> None:
    options = {"interpolation": way, "outside_rgb": GREY}
    plain = resample(picture(), window, (30, 40), **options)
    for mirror, flip in ((True, False), (False, True), (True, True)):
        expected = plain[:: -1 if flip else 1, :: -1 if mirror else 1]
        new = resample(picture(), window, (30, 40), mirror=mirror, flip=flip, **options)
        np.testing.assert_array_equal(new, expected)
        assert new.flags.c_contiguous


def test_a_window_beside_the_image_shows_the_outside() -> None:
    for window in ((-30, -30, -2, -2), (97, 0, 120, 61), (500, 500, 501, 501)):
        new = resample(picture(), window, (5, 7), interpolation="lanczos4", outside_rgb=GREY)
        assert new.shape == (5, 7, 3)
        assert (new == GREY).all()


@pytest.mark.parametrize("way", [*WAYS, "nearest"])
def test_an_image_of_one_pixel_fills_its_window(way: str) -> None:
    image = np.array([[[1, 2, 250]]], dtype=np.uint8)
    assert (resample(image, (0, 0, 1, 1), (4, 3), interpolation=way, outside_rgb=GREY) == image).all()
    centre = resample(image, (-1, -1, 2, 2), (3, 3), interpolation=way, outside_rgb=GREY)
    assert centre[1, 1].tolist() == [1, 2, 250]
    assert centre[0, 0].tolist() == list(GREY)


def test_a_result_is_no_one_elses_memory() -> None:
    options = {"interpolation": "lanczos4", "outside_rgb": GREY}
    first = resample(picture(0), (-5, -5, 90, 60), (40, 40), **options)
    before = first.copy()
    resample(picture(1), (-5, -5, 90, 60), (40, 40), **options)
    np.testing.assert_array_equal(first, before)


def test_threads_do_not_disturb_each_other() -> None:
    options = {"interpolation": "lanczos4", "outside_rgb": GREY}
    expected = [resample(picture(seed), (-5, -5, 90, 60), (80, 80), **options) for seed in range(4)]
    wrong: list[int] = []

    def work(seed: int) -> None:
        for _ in range(50):
            if (resample(picture(seed), (-5, -5, 90, 60), (80, 80), **options) != expected[seed]).any():
                wrong.append(seed)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
