"""The four fixed workloads by which machines are compared: what one epoch of each consists of, and the images it reads.

They are those of the 2017 post: its data sets' counts, its batches, its inputs, and images of the real sets' size and
file format, because decoding is part of the work. Nothing adapts to the machine: a batch that does not fit fails, as
on the V100 in the post's third column.

Where a user names no data, the package's sample scenes are written once into the user's cache at the workload's image
size and format, with noise that gives the files about the real sets' sizes in bytes, so decoding costs what it costs
there. These few files are repeated to an epoch, each time read and decoded anew; the system's file cache contains
them, as if the data were on a RAM disk.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
from jaxtyping import Float, UInt8
from numpy import ndarray

from singleshot.classes import VOC
from singleshot.data import read, split_file
from singleshot.data.masks.cityscapes import LABELS
from singleshot.data.sample_scenes import SampleScene, mask_names, sample_scenes
from singleshot.data.tree import ALL
from singleshot.errors import InputMissingError, os_errors
from singleshot.recipes import fcn8s_kitti_road, ssd300_voc0712
from singleshot.storage.cache import cache_folder
from singleshot.structures import UNKNOWN, Dataset, LabelMap, MaskCode, Sample
from singleshot.training.devices import Precision
from singleshot.training.recipe import Recipe

KITTI_CLASSES = ("background", "road")
# Two labels of one colour were one class to the post, which read the masks in colour.
CITYSCAPES_CLASSES = tuple({label.colour: label.name for label in reversed(LABELS)}.values())[::-1]

VERSION = 2  # to be raised when other files are written
INDEX = "index.json"
_JPEG_QUALITY = 95
_NOISE = 3.0  # standard deviation: resized images are smooth, and their files too small
_YEAR = re.compile(r"(19|20)\d\d$")
# The names of the scenes' classes in the real sets; the other names become the first class.
_IN_VOC = {"car": "car", "pedestrian": "person", "traffic light": "bottle"}
_IN_CITYSCAPES = {"pavement": "sidewalk", "pedestrian": "person"}


@dataclass(frozen=True)
class Workload:
    """One epoch of training.

    Args:
        name: of the workload.
        model: the model that is trained.
        input_size_hw: of the network.
        batch_size: images a step; never changed.
        train_images: images in an epoch.
        val_images: images of the validation pass that ends it.
        image_size_hw: of the files.
        file_format: of the files.
        class_names: of the data set; they determine the size of the heads.
    """

    name: str
    model: str
    input_size_hw: tuple[int, int]
    batch_size: int
    train_images: int
    val_images: int
    image_size_hw: tuple[int, int]
    file_format: Literal["jpg", "png"]
    class_names: tuple[str, ...]

    @property
    def is_segmentation(self) -> bool:
        """Whether it trains a segmenter."""
        return self.model.startswith("fcn")

    def recipe(self, precision: Precision, workers: int) -> Recipe:
        """Return the published recipe with this workload's sizes and random weights: an epoch loads no others.

        Detectors train as the Caffe reference does, with its augmentation; segmenters as the 2017 post did. The
        learning rate is so low that random weights cannot diverge: a NaN step would cost less than another.
        """
        base = fcn8s_kitti_road.RECIPE if self.is_segmentation else ssd300_voc0712.RECIPE
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


_VOC = {"image_size_hw": (375, 500), "file_format": "jpg", "class_names": tuple(VOC)}
WORKLOADS: dict[str, Workload] = {
    each.name: each
    for each in (
        Workload("vgg300", "vgg300", (300, 300), 8, 26_411, 677, **_VOC),
        Workload("vgg512", "vgg512", (512, 512), 8, 26_411, 677, **_VOC),
        Workload("kitti", "fcn8s-2017", (160, 576), 20, 261, 28, (375, 1242), "png", KITTI_CLASSES),
        Workload("cityscapes", "fcn8s-2017", (256, 512), 20, 2975, 500, (1024, 2048), "png", CITYSCAPES_CLASSES),
    )
}
"""By name. VOC's counts are the post's: 2007 trainval and test, and every annotated image of 2012."""


@dataclass(frozen=True)
class WorkloadData:
    """The images that an epoch reads.

    Args:
        train: the images to train on, as many as an epoch has.
        val: those of the validation pass; None where there are none.
        source: their description, for the report.
    """

    train: Dataset
    val: Dataset | None
    source: str


def user_data(workload: Workload, root: Path | str, splits: Path | None = None) -> WorkloadData:
    """Read the user's data: its own counts and image sizes, with the workload's network and batch.

    Args:
        workload: whose task decides between boxes and masks.
        root: the data folder.
        splits: a file of splits that stand in for the folder's own: its `train`, and its `val` if there is one.

    Raises:
        InputMissingError: no split to train on, or as `read.read`.
    """
    root = Path(root)
    if splits is not None:
        chosen = split_file.read(splits)
        pool = read.read_pool(root, with_masks=workload.is_segmentation)
        val_data = split_file.select(pool, chosen, "val") if "val" in chosen.splits else None
        train_data = split_file.select(pool, chosen, "train")
        return WorkloadData(train_data, val_data, f"{root.name}: {len(train_data)} images of train")
    names = read.splits(root, with_masks=workload.is_segmentation)
    kinds = {name: _YEAR.sub("", name) for name in names}  # COCO's train2017
    train = next((name for wanted in ("train", "trainval") for name in names if kinds[name].endswith(wanted)), None)
    train = ALL if names == [ALL] else train  # a folder without splits
    if train is None:
        remedy = f"Its splits are: {', '.join(names) or 'none'}"
        raise InputMissingError("no split train or trainval", remedy=remedy, file=root)
    train_data = read.read(root, train, with_masks=workload.is_segmentation)
    val = next((name for name, kind in kinds.items() if kind.endswith("val") and not kind.endswith("trainval")), None)
    val_data = None
    if val is not None:
        val_data = read.read(root, val, with_masks=workload.is_segmentation, label_map=train_data.label_map)
    return WorkloadData(train_data, val_data, f"{root.name}: {len(train_data)} images of {train}")


def sample_data(workload: Workload) -> WorkloadData:
    """Return the sample scenes as the workload's data, from the cache or written now.

    Raises:
        NotPermittedError, StorageError: the cache cannot be written.
    """
    height, width = workload.image_size_hw
    folder = cache_folder("benchmark", f"scenes-{height}x{width}-{workload.file_format}-v{VERSION}")
    if not (folder / INDEX).is_file():
        write_scenes(folder, workload.image_size_hw, workload.file_format)
    samples = []
    for row in json.loads((folder / INDEX).read_text(encoding="utf-8")):
        labels = [_class_id(workload, str(_IN_VOC.get(label, label))) for label in row["labels"]]
        samples.append(
            Sample(
                Path(row["image"]).stem,
                folder / row["image"],
                workload.image_size_hw,
                np.array(row["boxes_xyxy"], dtype=np.float32).reshape(-1, 4),
                np.array(labels, dtype=np.int64),
                np.zeros(len(labels), dtype=bool),
                mask_path=folder / row["mask"] if workload.is_segmentation else None,
            )
        )
    code = None
    if workload.is_segmentation:
        class_ids = [_class_id(workload, _IN_CITYSCAPES.get(name, name)) for name in mask_names()]
        code = MaskCode(tuple(class_ids) + (UNKNOWN,) * (256 - len(class_ids)))
    shared = {"layout": "streets", "label_map": LabelMap(workload.class_names), "mask_code": code}
    train = Dataset(folder, split="train", samples=_repeated(samples, workload.train_images), **shared)
    val = Dataset(folder, split="val", samples=_repeated(samples[::-1], workload.val_images), **shared)
    kind = {"jpg": "JPEG", "png": "PNG"}[workload.file_format]
    source = f"sample scenes: {len(samples)} {kind} files of {width}×{height}, repeated to {len(train)} images"
    return WorkloadData(train, val, source)


def write_scenes(folder: Path, size_hw: tuple[int, int], file_format: Literal["jpg", "png"]) -> None:
    """Write the scenes at that size into a hidden folder, which is then renamed: `folder` appears whole or not at all.

    A complete `folder` is left as it is, because another run may be reading from it.
    """
    unfinished = folder.with_name(f".{folder.name}.{os.getpid()}.tmp")
    options = (cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY) if file_format == "jpg" else ()
    rows = []
    try:
        with os_errors(folder, "write", elsewhere="Set SINGLESHOT_CACHE"):
            unfinished.mkdir(parents=True)
            for index, scene in enumerate(sample_scenes()):
                image, boxes_xyxy, mask = _resized(scene, size_hw, np.random.default_rng(index))
                names = {"image": f"{index}.{file_format}", "mask": f"{index}_mask.png"}
                encoded = cv2.imencode(f".{file_format}", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), options)[1]
                (unfinished / names["image"]).write_bytes(encoded.tobytes())
                (unfinished / names["mask"]).write_bytes(cv2.imencode(".png", mask)[1].tobytes())
                rows.append({**names, "boxes_xyxy": boxes_xyxy.tolist(), "labels": scene.class_names})
            (unfinished / INDEX).write_text(json.dumps(rows), encoding="utf-8")
            if folder.exists() and not (folder / INDEX).is_file():  # incomplete: nobody reads from it
                shutil.rmtree(folder)
            try:
                unfinished.rename(folder)
            except OSError:
                if not (folder / INDEX).is_file():
                    raise  # and if it is complete, another run has written the same files meanwhile
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def _resized(
    scene: SampleScene, size_hw: tuple[int, int], rng: np.random.Generator
) -> tuple[UInt8[ndarray, "H W 3"], Float[ndarray, "N 4"], UInt8[ndarray, "H W"]]:
    """Return the largest centred part of a scene with these proportions, resized; boxes keep at least one pixel."""
    (height, width), (old_height, old_width) = size_hw, scene.mask.shape
    scale = max(height / old_height, width / old_width)
    part_hw = min(round(height / scale), old_height), min(round(width / scale), old_width)
    top, left = (old_height - part_hw[0]) // 2, (old_width - part_hw[1]) // 2
    part = slice(top, top + part_hw[0]), slice(left, left + part_hw[1])
    image = cv2.resize(scene.image[part], (width, height)) + rng.normal(0, _NOISE, (height, width, 3))
    mask = cv2.resize(scene.mask[part], (width, height), interpolation=cv2.INTER_NEAREST)
    boxes_xyxy = (scene.boxes_xyxy - (left, top, left, top)) * (scale, scale, scale, scale)
    low = np.clip(boxes_xyxy[:, :2], 0, (width - 1, height - 1))
    high = np.minimum(np.maximum(boxes_xyxy[:, 2:], low + 1), (width, height))
    return image.clip(0, 255).astype(np.uint8), np.concatenate([low, high], axis=1).astype(np.float32), mask


def _class_id(workload: Workload, name: str) -> int:
    return workload.class_names.index(name) if name in workload.class_names else 0


def _repeated(samples: list[Sample], count: int) -> list[Sample]:
    return [replace(samples[index % len(samples)], image_id=f"{index:06d}") for index in range(count)]
