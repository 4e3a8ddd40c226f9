"""COCO's JSON (`images`, `annotations`, `categories`) → a `Dataset`.

A box is `[x, y, width, height]` in continuous pixels from the picture's upper left corner: it becomes (x, y, x + width,
y + height), and nothing is added or taken away. Category ids may have gaps (COCO's own run from 1 to 90 for 80 classes)
and become class ids in their order; `Dataset.category_ids` leads back. A picture that no annotation names is a
background picture: that is COCO's rule. Boxes around a crowd (`iscrowd`) are kept for the judge and never learned from.
Segmentations are checked and not used.

Every fault is listed with its JSON path; a faulty box never reaches a sample. Format: cocodataset.org, "Data format".
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from singleshot import boxes
from singleshot.data.boxes import json_file
from singleshot.data.boxes.box_rules import KEPT, fault_of
from singleshot.data.boxes.class_list import variant_faults
from singleshot.data.boxes.coco_folder import Pictures, picture_folders, split_file
from singleshot.data.boxes.coco_segmentation import Runs, checked
from singleshot.data.boxes.json_values import Id, is_id, is_number, is_text, number_list, shown
from singleshot.data.boxes.voc_objects import suggestion
from singleshot.errors import DataError, Fault, InputMissingError, Severity
from singleshot.images import read_size_hw
from singleshot.structures import Dataset, LabelMap, Sample


@dataclass(frozen=True)
class _Image:
    image_id: str
    path: Path
    size_hw: tuple[int, int]


@dataclass(frozen=True)
class _Object:
    place: int
    box_xyxy: tuple[float, float, float, float]
    class_id: int
    crowd: bool
    difficult: bool
    area: float


def read(
    root: Path | str,
    split: str,
    *,
    label_map: LabelMap | None = None,
    annotated: bool = True,
    with_pictures: bool = True,
) -> Dataset:
    """One split of a data set in COCO's format, in the order of its images' ids.

    COCO's own program goes by ids too, and where detections of two pictures score the same, order decides.

    Args:
        root: the folder (see `coco_folder` for what it may look like), or the JSON file itself.
        split: the split's name, such as `train2017`, or `train` where there is one year only.
        label_map: the classes and their order. Where None, they are the file's categories in the order of their ids.
        annotated: False for a test set whose annotations are kept by a server (`image_info_test2017.json`).
        with_pictures: False where only boxes are wanted, to judge results: pictures need not be there.

    Returns:
        Samples with float64 boxes; `image_id` is the JSON's id as text. `difficult` is true for crowds and for objects
        with `"ignore": 1`. Kinds of fault: `bad-field`, `bad-box`, `duplicate-image-id`, `duplicate-annotation-id` (a
        warning: nothing here uses it), `duplicate-category`, `unknown-image`, `unknown-class`, `missing-picture`,
        `bad-segmentation`, `filled-field` (a note: what was missing, counted), `class-variants`, and those of
        `coco_folder.Pictures`, `box_rules` and `pictures`.

    Raises:
        InputMissingError: no such folder or split.
        DataError: the file is no COCO JSON (`bad-json`, `not-coco`) or has no picture (`empty-split`).
        NotPermittedError: a folder or file may not be read.
    """
    root = Path(root)
    file = split_file(root, split)
    found = Pictures(picture_folders(root, file), root if root.is_dir() else root.parent) if with_pictures else None
    reader = _Reader(file, label_map, found)
    content = json_file.read(file, visit=_without_segmentation)
    tables = _tables(content, file, annotated)
    class_of = reader.categories(tables["categories"], annotated)
    images = reader.images(tables["images"])
    reader.faults += found.faults if found is not None else []
    objects = reader.objects(tables["annotations"] if annotated else [], images, class_of)
    usable = sorted((image for image in images.values() if image is not None), key=_by_id)
    samples = [_sample(file, image, objects.get(image.image_id, [])) for image in usable]
    return Dataset(
        root, "coco", split, reader.label_map, tuple(samples), tuple(reader.faults), category_ids=reader.category_ids
    )


def _without_segmentation(found: dict[str, Any]) -> dict[str, Any]:
    """An annotation with the verdict on its segmentation in its place."""
    if "segmentation" in found and "bbox" in found:
        found["segmentation"] = checked(found["segmentation"])
    return found


def _tables(content: Any, file: Path, annotated: bool) -> dict[str, list[Any]]:
    """The three lists. Raises DataError where one is missing or no list, or there is no picture."""
    needed = ["images", "annotations", "categories"] if annotated else ["images"]
    if not isinstance(content, dict) or any(not isinstance(content.get(name), list) for name in needed):
        what = f"not a COCO file: it has no list {' and '.join(repr(name) for name in needed)}"
        if isinstance(content, dict):
            lacks = [name for name in needed if not isinstance(content.get(name), list)]
            what = f"not a COCO file: {' and '.join(map(repr, lacks))} missing or no list"
        raise DataError(what, kind="not-coco", remedy="Name a COCO instances file", file=file)
    if not content["images"]:
        raise DataError("0 pictures in the split", kind="empty-split", remedy="List pictures in images", file=file)
    return {name: content.get(name) or [] for name in ("images", "annotations", "categories")}


class _Reader:
    """Goes through the three lists and gathers faults on the way."""

    def __init__(self, file: Path, label_map: LabelMap | None, found: Pictures | None) -> None:
        self.file, self.found = file, found
        self.given = label_map
        self.label_map = label_map or LabelMap(())
        self.category_ids: tuple[int | None, ...] = ()
        self.faults: list[Fault] = []

    def fault(self, kind: str, what: str, severity: Severity = "fatal") -> None:
        self.faults.append(Fault(self.file, None, kind, severity, what))

    def categories(self, rows: list[Any], annotated: bool) -> dict[Id, int | str]:
        """Class id by category id; the name in its place where the given classes do not have it."""
        names: dict[int, str] = {}
        for place, row in enumerate(rows):
            path = f"categories[{place}]"
            number, name = (row.get("id"), row.get("name")) if isinstance(row, dict) else (None, None)
            if type(number) is not int or not is_text(name):
                self.fault("bad-field", f"{path} is not an object with a whole `id` and a `name`. Correct it.")
            elif number in names:
                self.fault("duplicate-category", f"{path}.id {number} occurs twice. Give every category its own id.")
            else:
                if name.strip() in names.values():
                    what = f"{path}.name {name!r} occurs twice; both are one class. Give every category one name."
                    self.fault("duplicate-category", what)
                names[number] = name.strip()
        in_order = {number: names[number] for number in sorted(names)}
        if self.given is None and annotated:
            self.label_map = LabelMap(tuple(dict.fromkeys(in_order.values())))
        self.faults += variant_faults(dict.fromkeys(in_order.values()), self.file)
        ids = {name: class_id for class_id, name in enumerate(self.label_map.names)}
        first = {name: number for number, name in reversed(in_order.items())}
        self.category_ids = tuple(first.get(name) for name in self.label_map.names)
        return {number: ids.get(name, name) for number, name in in_order.items()}

    def images(self, rows: list[Any]) -> dict[str, _Image | None]:
        """The pictures by id, in order; None for one that cannot be used."""
        images: dict[str, _Image | None] = {}
        places: dict[str, int] = {}
        files: dict[str, int] = {}
        for place, row in enumerate(rows):
            path = f"images[{place}]"
            if not isinstance(row, dict) or not is_id(row.get("id")):
                self.fault("bad-field", f"{path} is not an object with an `id`. Correct it.")
                continue
            image_id = str(row["id"])
            if image_id in images:
                what = f"{path}.id {image_id} is already that of images[{places[image_id]}]; this one is left out."
                self.fault("duplicate-image-id", f"{what} Give every picture its own id.")
                continue
            places[image_id] = place
            name = row.get("file_name")
            if is_text(name) and files.setdefault(name, place) != place:
                what = f"{path}.file_name {name!r} is already that of images[{files[name]}]; delete one of them."
                self.fault("duplicate-picture", what, "warning")
            images[image_id] = self.image(image_id, name, row, path)
        return images

    def image(self, image_id: str, name: Any, row: dict[str, Any], path: str) -> _Image | None:
        if not is_text(name) or "\\" in name or name.startswith("/") or ".." in name.split("/"):
            what = f"{path}.file_name is {shown(name)}, which is no path below the data's folder. Correct it."
            self.fault("bad-field", what)
            return None
        file = Path(name) if self.found is None else self.found.find(name)
        if file is None:
            self.fault("missing-picture", f"{path}: picture {name} not found. Add it or delete its entry.")
            return None
        height, width = row.get("height"), row.get("width")
        if type(height) is int and type(width) is int and 0 < height < 10**6 and 0 < width < 10**6:
            return _Image(image_id, file, (height, width))
        if self.found is None:
            self.fault("bad-field", f"{path} has no `height` and `width` of whole pixels. Write them.")
            return None
        what = f"{path} has no `height` and `width` of whole pixels; the picture's own size is used. Write them."
        self.fault("zero-picture-size", what, "warning")
        try:
            return _Image(image_id, file, read_size_hw(file))
        except DataError as error:
            self.faults.append(error.as_fault())
        except InputMissingError:
            self.fault("missing-picture", f"{path}: picture {name} is a link that ends nowhere. Replace it.")
        return None

    def objects(
        self, rows: list[Any], images: dict[str, _Image | None], class_of: dict[Id, int | str]
    ) -> dict[str, list[_Object]]:
        """The usable objects by image id."""
        objects: dict[str, list[_Object]] = {}
        ids: dict[Id, int] = {}
        no_area = no_crowd = 0
        for place, row in enumerate(rows):
            path = f"annotations[{place}]"
            if not isinstance(row, dict):
                self.fault("bad-field", f"{path} is not an object. Correct it.")
                continue
            number = row.get("id")
            if is_id(number) and ids.setdefault(number, place) != place:
                what = f"{path}.id {number} is already that of annotations[{ids[number]}]. Number them anew."
                self.fault("duplicate-annotation-id", what, "warning")
            image_id = str(row.get("image_id")) if is_id(row.get("image_id")) else None
            if image_id is None or image_id not in images:
                what = f"{path}.image_id {shown(row.get('image_id'))} is that of no picture. Add it or delete this one."
                self.fault("unknown-image", what)
                continue
            image = images[image_id]
            class_id = class_of.get(row["category_id"]) if type(row.get("category_id")) is int else None
            if type(class_id) is not int:
                self.unknown_class(path, row.get("category_id"), class_id)
                continue
            found = None if image is None else self.object(place, row, image, class_id)
            if found is not None:
                objects.setdefault(image_id, []).append(found)
                no_area += "area" not in row
                no_crowd += "iscrowd" not in row
        for count, field, instead in ((no_area, "area", "that of the box"), (no_crowd, "iscrowd", "0")):
            if count:
                self.fault("filled-field", f"{count} annotations have no `{field}`; {instead} is taken.", "note")
        return objects

    def unknown_class(self, path: str, number: Any, name: Any) -> None:
        if isinstance(name, str):
            what = f"{path}.category_id {number}: class {name!r} is unknown. {suggestion(name, self.label_map.names)}"
        else:
            what = f"{path}.category_id {shown(number)} is that of no category. Correct it or add the category."
        self.fault("unknown-class", what)

    def object(self, place: int, row: dict[str, Any], image: _Image, class_id: int) -> _Object | None:
        path = f"annotations[{place}]"
        box = number_list(row.get("bbox"), 4)
        if box is None:
            what = f"{path}.bbox is {shown(row.get('bbox'))} and not four numbers. Write [x, y, width, height]."
            self.fault("bad-box", what)
            return None
        crowd, ignore, area = row.get("iscrowd", 0), row.get("ignore", 0), row.get("area", abs(box[2] * box[3]))
        if crowd not in (0, 1) or ignore not in (0, 1) or not is_number(area) or area < 0:
            field = "iscrowd" if crowd not in (0, 1) else "ignore" if ignore not in (0, 1) else "area"
            self.fault("bad-field", f"{path}.{field} is {shown(row.get(field))}, which is no {field}. Correct it.")
            return None
        outline = row.get("segmentation")
        if isinstance(outline, Runs) and (
            outline.size_hw != image.size_hw or outline.pixels != math.prod(image.size_hw)
        ):
            outline = f"run lengths of {outline.pixels} pixels for a picture of {image.size_hw[1]}×{image.size_hw[0]}"
        if isinstance(outline, str):
            self.fault("bad-segmentation", f"{path}.segmentation: {outline}. Correct or delete it.")
        x, y, width, height = box
        box_xyxy = (x, y, x + width, y + height)
        label = f"{path}.bbox ({x:g}, {y:g}, {width:g}, {height:g})"
        good = 0 <= x < box_xyxy[2] <= image.size_hw[1] and 0 <= y < box_xyxy[3] <= image.size_hw[0]
        if not good:
            fault = fault_of(box_xyxy, image.size_hw, label, self.file)
            if fault is not None:
                self.faults.append(fault)
                if fault.kind not in KEPT:
                    return None
        return _Object(place, box_xyxy, class_id, bool(crowd), bool(crowd or ignore), float(area))


def _by_id(image: _Image) -> tuple[bool, int, str]:
    number = image.image_id if image.image_id.isdecimal() and len(image.image_id) < 4000 else ""
    return not number, int(number or 0), image.image_id


def _sample(file: Path, image: _Image, objects: list[_Object]) -> Sample:
    crowd = np.array([item.crowd for item in objects], np.bool_)
    boxes_xyxy = np.array([item.box_xyxy for item in objects], np.float64).reshape(-1, 4)
    return Sample(
        image.image_id,
        image.path,
        image.size_hw,
        boxes.clip(boxes_xyxy, image.size_hw),
        np.array([item.class_id for item in objects], np.int64),
        np.array([item.difficult for item in objects], np.bool_),
        crowd=crowd,
        areas=np.array([item.area for item in objects], np.float64),
        annotation_path=file,
        box_places=np.array([item.place for item in objects], np.int64),
    )
