from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from singleshot.data.augment.augment import CAFFE, NONE, Augmentation, augment, pad_mask, resize_mask
from singleshot.data.augment.sampling import CropSampler
from singleshot.structures import VOID

COLOURS = np.array([[250, 10, 10], [10, 250, 10], [10, 10, 250], [200, 200, 200]], dtype=np.uint8)
GEOMETRY = Augmentation(
    brightness_probability=0.0,
    contrast_probability=0.0,
    saturation_probability=0.0,
    hue_probability=0.0,
    expand_probability=0.5,
    max_expand=2.0,
    samplers=(CropSampler(scale=(0.4, 1.0)),),
    flip_probability=0.5,
    turn_probability=0.5,
    interpolations=("nearest",),
    mean_rgb=(0, 0, 0),
)


def pair() -> tuple[np.ndarray, np.ndarray]:
    """A picture whose colour says its class, in blocks of many shapes."""
    mask = np.random.default_rng(1).integers(0, 4, (9, 13)).repeat(5, axis=0).repeat(7, axis=1).astype(np.uint8)
    return COLOURS[mask], mask


@pytest.mark.parametrize("seed", range(40))
def test_image_and_mask_are_moved_alike_pixel_by_pixel(seed: int) -> None:
    image, mask = pair()
    rng = np.random.default_rng(seed)
    new_image, _, _, new_mask = augment(image, mask=mask, augmentation=GEOMETRY, size_hw=(40, 56), rng=rng)
    assert new_image.shape == (40, 56, 3) and new_mask.shape == (40, 56)
    expected = np.zeros((256, 3), np.uint8)
    expected[:4] = COLOURS  # void: the colour around an expanded picture
    assert (new_image == expected[new_mask]).all()


def test_no_class_appears_that_was_not_there() -> None:
    image, mask = pair()
    mask = np.where(mask > 1, 9, 3).astype(np.uint8)
    for seed in range(20):
        *_, new = augment(image, mask=mask, augmentation=CAFFE, size_hw=(33, 47), rng=np.random.default_rng(seed))
        assert set(np.unique(new).tolist()) <= {3, 9, VOID}


def test_it_depends_on_the_address_alone() -> None:
    image, mask = pair()
    first, second = (
        augment(image, mask=mask, augmentation=CAFFE, size_hw=(32, 32), rng=np.random.default_rng(5)) for _ in range(2)
    )
    assert all((one == other).all() for one, other in zip(first, second, strict=True))


def test_none_only_resizes() -> None:
    image, mask = pair()
    same = augment(image, mask=mask, augmentation=NONE, size_hw=mask.shape, rng=np.random.default_rng(0))
    assert (same[0] == image).all() and (same.mask == mask).all()


def test_a_letterboxed_pair_has_a_void_margin_where_its_colour_is() -> None:
    image, mask = pair()  # 45×91
    new_image, _, _, new_mask = augment(
        image, mask=mask, augmentation=NONE, size_hw=(90, 91), rng=np.random.default_rng(0), fill_rgb=(1, 2, 3)
    )
    assert (new_mask[45:] == VOID).all() and (new_mask[:45] == mask).all()
    assert (new_image[45:] == (1, 2, 3)).all() and (new_image[:45] == image).all()


def test_a_window_beside_the_image_is_void() -> None:
    image, mask = pair()
    far = replace(GEOMETRY, expand_probability=1.0, max_expand=4.0, samplers=(CropSampler(scale=(0.1, 0.1)),))
    found = [
        augment(image, mask=mask, augmentation=far, size_hw=(8, 8), rng=np.random.default_rng(seed)).mask
        for seed in range(60)
    ]
    assert any((mask == VOID).all() for mask in found)


def test_nearest_takes_the_pixel_under_the_centre() -> None:
    assert resize_mask(np.array([[0, 1, 2, 3]], np.uint8), (1, 2)).tolist() == [[1, 3]]
    assert resize_mask(np.array([[4, 7]], np.uint8), (1, 4)).tolist() == [[4, 4, 7, 7]]
    assert pad_mask(np.array([[4]], np.uint8), (1, 2)).tolist() == [[4, VOID]]
