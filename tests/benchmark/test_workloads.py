from __future__ import annotations

import pytest

from singleshot.benchmark.workloads import CITYSCAPES_CLASSES, WORKLOADS
from singleshot.detection.presets import FLAVOURS as DETECTORS
from singleshot.segmentation.presets import FLAVOURS as SEGMENTERS


def test_the_counts_are_those_of_the_post() -> None:
    sizes = {name: (each.train_images, each.val_images, each.batch_size) for name, each in WORKLOADS.items()}
    assert sizes == {
        "vgg300": (26411, 677, 8),
        "vgg512": (26411, 677, 8),
        "kitti": (261, 28, 20),
        "cityscapes": (2975, 500, 20),
    }
    assert WORKLOADS["vgg300"].train_images + WORKLOADS["vgg300"].val_images == 27088
    assert WORKLOADS["vgg300"].train_images // 8 == 3301  # the 3302nd of the post is not full; ours is left out


def test_cityscapes_has_the_29_classes_that_its_colours_tell_apart() -> None:
    assert len(CITYSCAPES_CLASSES) == len(set(CITYSCAPES_CLASSES)) == 29
    assert CITYSCAPES_CLASSES[0] == "unlabeled" and "polegroup" not in CITYSCAPES_CLASSES


@pytest.mark.parametrize("name", WORKLOADS)
def test_the_recipe_is_the_workload_and_starts_from_nothing(name: str) -> None:
    workload = WORKLOADS[name]
    recipe = workload.recipe("fp32", 3)
    assert (recipe.model, recipe.batch_size, recipe.input_size_hw) == (
        workload.model,
        workload.batch_size,
        workload.input_size_hw,
    )
    assert recipe.weights is None and recipe.workers == 3 and recipe.precision == "fp32"
    assert workload.model in (SEGMENTERS if workload.of_pixels else DETECTORS)
