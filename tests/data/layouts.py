"""The same two images in every layout that is read, so that a law of readers is tested on all of them.

`LAYOUTS[name].make(root, …)` writes a folder with one split of two images, `a` and `b`, 60 pixels wide and 40 high,
each with one object or mask. A new layout has a row here.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

SIZE_HW = (40, 60)
NAMES = ("a", "b")
BOX_XYXY = (6, 8, 36, 28)


class Content(NamedTuple):
    """What the images and annotations of a folder are.

    Args:
        orientation: EXIF's, of both images.
        size_hw: height and width to write into the annotations; None to leave the size out where that can be.
        objects: whether there are any; else the annotations are empty and the masks void.
    """

    orientation: int = 1
    size_hw: tuple[int, int] | None = SIZE_HW
    objects: bool = True


class Layout(NamedTuple):
    """How a layout is written.

    Args:
        make: writes a folder and returns its images.
        data_format: the layout's name in `--data-format`.
        split: the name of the only split.
        has_size: whether annotations have the images' size.
        folders: the folders that hold its files, below the root.
    """

    make: Callable[[Path, Content], list[Path]]
    data_format: str
    split: str
    has_size: bool
    folders: tuple[str, ...]

    @property
    def has_masks(self) -> bool:
        return self.data_format in ("masks", "cityscapes", "kitti_road")


def picture(path: Path, content: Content, seed: int) -> Path:
    """Write an image whose pixels are stored 60 wide and 40 high, whatever EXIF says of them."""
    path.parent.mkdir(parents=True, exist_ok=True)
    coarse = np.random.default_rng(seed).integers(0, 256, (4, 5, 3), dtype=np.uint8)
    exif = Image.Exif()
    if content.orientation != 1:
        exif[0x0112] = content.orientation
    stream = io.BytesIO()
    kind = "PNG" if path.suffix == ".png" else "JPEG"
    Image.fromarray(coarse).resize(SIZE_HW[::-1], Image.Resampling.BICUBIC).save(stream, kind, exif=exif)
    path.write_bytes(stream.getvalue())
    return path


def pictures(root: Path, folder: str, content: Content, suffix: str = ".jpg", names=NAMES) -> list[Path]:
    return [picture(root / folder / f"{name}{suffix}", content, seed) for seed, name in enumerate(names)]


def put(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def xml(content: Content) -> str:
    size = ""
    if content.size_hw is not None:
        size = f"<size><width>{content.size_hw[1]}</width><height>{content.size_hw[0]}</height></size>"
    left, top, right, bottom = BOX_XYXY
    corners = f"<xmin>{left + 1}</xmin><ymin>{top + 1}</ymin><xmax>{right}</xmax><ymax>{bottom}</ymax>"
    item = f"<object><name>cat</name><bndbox>{corners}</bndbox></object>"
    return f"<annotation>\n{size}\n{item if content.objects else ''}\n</annotation>\n"


def voc(root: Path, content: Content) -> list[Path]:
    put(root / "ImageSets/Main/train.txt", "a\nb\n")
    for name in NAMES:
        put(root / f"Annotations/{name}.xml", xml(content))
    return pictures(root, "JPEGImages", content)


def voc_xml(root: Path, content: Content) -> list[Path]:
    for name in NAMES:
        put(root / f"train/{name}.xml", xml(content))
    return pictures(root, "train", content)


def coco(root: Path, content: Content) -> list[Path]:
    size = {} if content.size_hw is None else {"height": content.size_hw[0], "width": content.size_hw[1]}
    left, top, right, bottom = BOX_XYXY
    box = [left, top, right - left, bottom - top]
    rows = [
        {"id": number, "image_id": number, "category_id": 1, "bbox": box, "area": 600, "iscrowd": 0}
        for number in range(1, 3)
    ]
    images = [{"id": number, "file_name": f"{name}.jpg", **size} for number, name in enumerate(NAMES, start=1)]
    content_of_file = {
        "images": images,
        "annotations": rows if content.objects else [],
        "categories": [{"id": 1, "name": "cat"}],
    }
    put(root / "annotations/instances_train.json", json.dumps(content_of_file))
    return pictures(root, "train", content)


def _yolo_labels(root: Path, content: Content) -> None:
    for name in NAMES:
        put(root / f"labels/train/{name}.txt", "0 0.35 0.45 0.5 0.5\n" if content.objects else "")


def yolo(root: Path, content: Content) -> list[Path]:
    put(root / "data.yaml", "train: images/train\nnames: [cat]\n")
    _yolo_labels(root, content)
    return pictures(root, "images/train", content)


def yolo_classes(root: Path, content: Content) -> list[Path]:
    put(root / "classes.txt", "cat\n")
    _yolo_labels(root, content)
    return pictures(root, "images/train", content)


def labelme(root: Path, content: Content) -> list[Path]:
    left, top, right, bottom = BOX_XYXY
    shape = {"label": "cat", "shape_type": "rectangle", "points": [[left, top], [right, bottom]]}
    size = {} if content.size_hw is None else {"imageHeight": content.size_hw[0], "imageWidth": content.size_hw[1]}
    for name in NAMES:
        shapes = [shape] if content.objects else []
        put(root / f"train/{name}.json", json.dumps({"imagePath": f"{name}.jpg", "shapes": shapes, **size}))
    return pictures(root, "train", content)


def csv(root: Path, content: Content) -> list[Path]:
    height, width = content.size_hw or ("", "")
    left, top, right, bottom = BOX_XYXY
    corners = f"cat,{left + 1},{top + 1},{right},{bottom}" if content.objects else ",,,,"
    rows = [f"{name}.jpg,{width},{height},{corners}\n" for name in NAMES]
    put(root / "train_labels.csv", "filename,width,height,class,xmin,ymin,xmax,ymax\n" + "".join(rows))
    return pictures(root, "train", content)


def open_images(root: Path, content: Content) -> list[Path]:
    rows = [f"{name},xclick,cat,1,0.1,0.6,0.2,0.7,0\n" for name in NAMES] if content.objects else []
    put(root / "train.csv", "ImageID,Source,LabelName,Confidence,XMin,XMax,YMin,YMax,IsGroupOf\n" + "".join(rows))
    return pictures(root, "train", content)


def kitti_objects(root: Path, content: Content) -> list[Path]:
    left, top, right, bottom = BOX_XYXY
    line = f"Car 0.00 0 -1.58 {left} {top} {right} {bottom} 1.65 1.67 3.64 -0.65 1.71 46.70 -1.59\n"
    line = line if content.objects else line.replace("Car", "DontCare")
    for name in NAMES:
        put(root / f"training/label_2/{name}.txt", line)
    return pictures(root, "training/image_2", content, ".png")


def _mask(path: Path, content: Content, number: int) -> None:
    """Write a mask of the annotated size: a class at the left, void at the right; void all over without objects."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.full(content.size_hw or SIZE_HW, 255, np.uint8)
    pixels[:, : 30 if content.objects else 0] = number
    Image.fromarray(pixels).save(path)


def masks(root: Path, content: Content) -> list[Path]:
    put(root / "classes.txt", "road\n")
    for name in NAMES:
        _mask(root / f"masks/train/{name}.png", content, 0)
    return pictures(root, "images/train", content)


def cityscapes(root: Path, content: Content) -> list[Path]:
    names = [f"ulm_00000{number}_000019" for number in range(2)]
    for name in names:
        _mask(root / f"gtFine/train/ulm/{name}_gtFine_labelIds.png", content, 7)
    return pictures(root, "leftImg8bit/train/ulm", content, "_leftImg8bit.png", names)


def kitti_road(root: Path, content: Content) -> list[Path]:
    for number in range(2):
        path = root / f"training/gt_image_2/um_road_00000{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = np.zeros((*(content.size_hw or SIZE_HW), 3), np.uint8)
        pixels[:, : 30 if content.objects else 0] = (255, 0, 255)
        Image.fromarray(pixels).save(path)
    return pictures(root, "training/image_2", content, ".png", [f"um_00000{number}" for number in range(2)])


LAYOUTS: dict[str, Layout] = {
    "voc": Layout(voc, "voc", "train", True, ("Annotations", "JPEGImages", "ImageSets/Main")),
    "voc_xml": Layout(voc_xml, "voc_xml", "train", True, ("train",)),
    "coco": Layout(coco, "coco", "train", True, ("annotations", "train")),
    "yolo": Layout(yolo, "yolo", "train", False, ("images/train", "labels/train")),
    "yolo_classes": Layout(yolo_classes, "yolo", "train", False, ("images/train", "labels/train")),
    "labelme": Layout(labelme, "labelme", "train", True, ("train",)),
    "csv": Layout(csv, "csv", "train", True, ("train",)),
    "open_images": Layout(open_images, "csv", "train", False, ("train",)),
    "kitti_objects": Layout(kitti_objects, "kitti_objects", "train", False, ("training/image_2", "training/label_2")),
    "masks": Layout(masks, "masks", "train", True, ("images/train", "masks/train")),
    "cityscapes": Layout(cityscapes, "cityscapes", "train", True, ("leftImg8bit/train/ulm", "gtFine/train/ulm")),
    "kitti_road": Layout(kitti_road, "kitti_road", "train", True, ("training/image_2", "training/gt_image_2")),
}
BOXES = [name for name, layout in LAYOUTS.items() if not layout.has_masks]
