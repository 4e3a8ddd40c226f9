from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from singleshot.classes import CITYSCAPES
from singleshot.data.masks import cityscapes
from singleshot.data.masks import files as mask_files
from singleshot.data.masks.cityscapes import AVERAGE_SIZES, CATEGORIES, CATEGORY_OF, CODE, EVALUATED, LABELS, to_ids
from singleshot.errors import InputMissingError
from singleshot.structures import UNKNOWN, VOID


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for split, city, count in (("train", "aachen", 2), ("train", "bonn", 1), ("test", "berlin", 1)):
        images, masks = tmp_path / "leftImg8bit" / split / city, tmp_path / "gtFine" / split / city
        images.mkdir(parents=True)
        masks.mkdir(parents=True)
        for i in range(count):
            name = f"{city}_{i:06d}_000019"
            cv2.imwrite(str(images / f"{name}_leftImg8bit.png"), np.zeros((4, 6, 3), np.uint8))
            ids = np.array([[7, 8, 33, 0, 1, 29]] * 4, np.uint8)
            cv2.imwrite(str(masks / f"{name}_gtFine_labelIds.png"), ids)
            cv2.imwrite(str(masks / f"{name}_gtFine_labelTrainIds.png"), ids)
    return tmp_path


def test_original_ids_become_the_nineteen_classes(root: Path) -> None:
    assert cityscapes.looks_like(root)
    split = cityscapes.read(root, "train")
    assert [sample.image_id for sample in split.samples] == [
        "aachen_000000_000019",
        "aachen_000001_000019",
        "bonn_000000_000019",
    ]
    path = split.samples[0].mask_path
    assert path is not None and split.mask_code is not None and not split.faults
    assert mask_files.read(path, split.mask_code)[0].tolist() == [0, 1, 18, VOID, VOID, VOID]
    assert len(split.label_map) == 19 and len(split.colours) == 19
    assert cityscapes.instance_path(path).name == "aachen_000000_000019_gtFine_instanceIds.png"


def test_the_blank_masks_of_the_test_split_are_not_used(root: Path) -> None:
    assert [sample.mask_path for sample in cityscapes.read(root, "test").samples] == [None]


def test_a19_missing_masks_and_images_are_faults(root: Path) -> None:
    (root / "gtFine/train/bonn/bonn_000000_000019_gtFine_labelIds.png").unlink()
    (root / "leftImg8bit/train/aachen/aachen_000000_000019_leftImg8bit.png").unlink()
    split = cityscapes.read(root, "train")
    assert len(split) == 1 and sorted(fault.kind for fault in split.faults) == ["missing-mask", "missing-picture"]


def test_splits_are_the_image_folders(root: Path, tmp_path: Path) -> None:
    assert cityscapes.splits(root) == ["test", "train"]
    with pytest.raises(InputMissingError, match="not a Cityscapes folder"):
        cityscapes.splits(tmp_path / "gtFine")


def test_other_folders_and_splits_are_refused(root: Path, tmp_path: Path) -> None:
    with pytest.raises(InputMissingError, match="There are: test, train"):
        cityscapes.read(root, "val")
    with pytest.raises(InputMissingError, match="not a Cityscapes folder"):
        cityscapes.read(tmp_path / "leftImg8bit", "val")


def test_the_evaluated_classes_are_the_nineteen_in_order_of_train_id() -> None:
    assert [label.name for label in EVALUATED] == CITYSCAPES
    assert [label.train_id for label in EVALUATED] == list(range(19))
    ids = [7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33]
    assert [label.id for label in EVALUATED] == ids


def test_there_are_29_colours_as_the_2017_post_counted_them() -> None:
    assert len({label.colour for label in LABELS}) == 29
    assert [label.id for label in LABELS] == list(range(34))


def test_class_ids_and_label_ids_are_inverses() -> None:
    ids = np.arange(19, dtype=np.uint8)[None]
    back = np.array(CODE.values, dtype=np.uint8)[to_ids(ids)]
    assert back.tolist() == ids.tolist()
    assert to_ids(np.array([[VOID]], np.uint8)).tolist() == [[0]]
    assert CODE.values[0] == CODE.values[29] == CODE.values[255] == VOID and CODE.values[34] == UNKNOWN


def test_every_evaluated_class_has_one_of_seven_categories() -> None:
    assert [CATEGORIES[group] for group in CATEGORY_OF[:6]] == ["flat", "flat", *["construction"] * 3, "object"]
    assert set(CATEGORY_OF) == set(range(7))
    instances = [label.name for label in EVALUATED if label.category in ("human", "vehicle")]
    assert set(AVERAGE_SIZES) == set(instances)
