"""The four fixed workloads by which machines are compared: what one epoch of each is made of.

They are those of the 2017 post: its data sets' counts, its batches, its inputs, and pictures of the real sets' size
and file format, because decoding is part of the work. Nothing here bends to the machine: a batch that does not fit
fails, as the V100 did in the post's third column.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from singleshot.classes import VOC
from singleshot.data.masks.cityscapes import LABELS
from singleshot.recipes import fcn8s_kitti_road, ssd300_voc0712
from singleshot.training.fabric import Precision
from singleshot.training.recipe import Recipe

KITTI_CLASSES = ("background", "road")
# Two labels of one colour were one class to the post, which read the masks in colour.
CITYSCAPES_CLASSES = tuple({label.colour: label.name for label in reversed(LABELS)}.values())[::-1]


@dataclass(frozen=True)
class Workload:
    """One epoch of training.

    Args:
        name: by which it is asked for.
        model: the flavour.
        input_size_hw: of the network.
        batch_size: pictures a step; never changed.
        train_images: pictures in an epoch.
        val_images: pictures of the validation pass that ends it.
        picture_size_hw: of the files.
        picture_format: of the files.
        class_names: of the data set; they settle the size of the heads.
        drawn: how many different pictures are drawn where no data is given. They are repeated to an epoch.
    """

    name: str
    model: str
    input_size_hw: tuple[int, int]
    batch_size: int
    train_images: int
    val_images: int
    picture_size_hw: tuple[int, int]
    picture_format: Literal["jpg", "png"]
    class_names: tuple[str, ...]
    drawn: int

    @property
    def of_pixels(self) -> bool:
        """Whether it trains a segmenter."""
        return self.model.startswith("fcn")

    def recipe(self, precision: Precision, workers: int) -> Recipe:
        """The published recipe with this workload's sizes, from nothing: the start costs no time of an epoch.

        Detectors train as the Caffe reference does, with its augmentation; segmenters as the 2017 post did. The rate
        is so low that weights from nothing cannot run away: a step that is not taken would cost less.
        """
        base = fcn8s_kitti_road.RECIPE if self.of_pixels else ssd300_voc0712.RECIPE
        return replace(
            base,
            model=self.model,
            weights=None,
            optimizer=replace(base.optimizer, lr=1e-7),
            input_size_hw=self.input_size_hw,
            batch_size=self.batch_size,
            precision=precision,
            workers=workers,
            epochs=1,
            steps=None,
            fast_decode=True,
            train_subset=0,
        )


_VOC = {"picture_size_hw": (375, 500), "picture_format": "jpg", "class_names": tuple(VOC), "drawn": 256}
WORKLOADS: dict[str, Workload] = {
    each.name: each
    for each in (
        Workload("vgg300", "vgg300", (300, 300), 8, 26_411, 677, **_VOC),
        Workload("vgg512", "vgg512", (512, 512), 8, 26_411, 677, **_VOC),
        Workload("kitti", "fcn8s-2017", (160, 576), 20, 261, 28, (375, 1242), "png", KITTI_CLASSES, 289),
        Workload("cityscapes", "fcn8s-2017", (256, 512), 20, 2975, 500, (1024, 2048), "png", CITYSCAPES_CLASSES, 60),
    )
}
"""By name. VOC's counts are the post's: 2007 trainval and test, and every annotated picture of 2012."""
