"""COCO's JSON (`images`, `annotations`, `categories`), read and written.

A box is `[x, y, width, height]` in continuous pixels from the image's upper left corner: it becomes (x, y, x + width,
y + height), and nothing is added or taken away. Category ids may have gaps (COCO's own run from 1 to 90 for 80 classes)
and become class ids in their order; `Dataset.category_ids` leads back. An image without annotations is a background
image: that is COCO's rule. Boxes around a crowd (`iscrowd`) are used by the evaluation and never trained on.
Segmentations are checked and not used.

There is no one folder layout. COCO itself has `annotations/instances_train2017.json` beside `train2017/`; exports of
annotation tools have `train/_annotations.coco.json` among the images, `labels.json` beside `data/` (FiftyOne),
`result.json` beside `images/` (Label Studio), or a single file. All of these are tried, in a fixed order, and an image
is only ever looked up below the data set's folder: a file name that leads out of it is a fault.

Every fault has its JSON path; a faulty box never reaches a sample. Format: cocodataset.org, "Data format".
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from singleshot import boxes
from singleshot.data import folders, tree
from singleshot.data.boxes.check_box import USABLE, check_box
from singleshot.data.boxes.class_names import unknown_class, variant_faults
from singleshot.data.boxes.coco_segmentation import EMPTY, OUTLINE, Runs, checked
from singleshot.data.boxes.coordinates import other_kind
from singleshot.data.boxes.fields import Id, is_id, is_number, is_text, number_list, read_json, shown
from singleshot.data.boxes.writing import Item, make_folders, note, outline_note, split_name
from singleshot.data.faults import make_fault
from singleshot.data.orientation import image_size
from singleshot.errors import DataError, Fault, InputMissingError, NotPermittedError, SingleshotError, os_errors
from singleshot.storage.files import opened
from singleshot.storage.letter_case import as_found
from singleshot.structures import Dataset, LabelMap, Sample

EXPORT_FILE = "_annotations.coco.json"
_PREFIX = re.compile(r"(?:instances|image_info|annotations)_", re.IGNORECASE)
_KEYPOINTS = "person_keypoints_"
_OTHER_TASKS = ("captions_", _KEYPOINTS, "panoptic_", "stuff_")
_SPLIT_FILES = ("labels.json", "annotations.json", "result.json")
MAX_OTHERS = 200
"""More JSON files of other names than this in `annotations` are one for each image."""
_LISTS = re.compile(rb'"(?:images|annotations)"\s*:\s*\[')
_HEAD_BYTES = 65536
_YEAR = re.compile(r"(?:-dev)?[0-9]{4}$")


# ---- Reading


@dataclass(frozen=True)
class _Image:
    image_id: str
    path: Path
    size_hw: tuple[int, int]


@dataclass(frozen=True)
class _Object:
    index: int
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
    with_images: bool = True,
) -> Dataset:
    """Read one split of a data set in COCO's format, in the order of its images' ids.

    COCO's own program goes by ids too, and the order decides between detections of two images with the same score.

    Args:
        root: the folder, or the JSON file itself.
        split: the split's name, such as `train2017`, or `train` where there is one year only.
        label_map: the classes and their order. Where None, they are the file's categories in the order of their ids.
        annotated: False for a test set whose annotations are kept by a server (`image_info_test2017.json`).
        with_images: False where only boxes are wanted, to evaluate results: the image files may be missing.

    Returns:
        Samples with float64 boxes; `image_id` is the JSON's id as text. `difficult` is true for crowds and for objects
        with `"ignore": 1`; `box_places` are indices of `annotations`. Kinds of fault: `bad-field`, `bad-box`,
        `duplicate-image-id`, `duplicate-annotation-id` (a warning: nothing here uses it), `duplicate-category`,
        `duplicate-picture`, `unknown-image`, `unknown-class`, `missing-picture`, `zero-picture-size`,
        `bad-segmentation`, `filled-field` (a note: what was missing, counted), `class-variants`, and those of
        `folders.link_fault`, `check_box` and `images`.

    Raises:
        InputMissingError: no such folder or split.
        DataError: the file is not COCO JSON (`bad-json`, `not-coco`) or has no image (`empty-split`).
        NotPermittedError: a folder or file may not be read.
    """
    root = Path(root)
    file = split_file(root, split)
    files = ImageFiles(image_folders(root, file), _top(root)) if with_images else None
    tables = _tables(read_json(file, visit=_without_segmentation), file, annotated)
    reader = _Reader(file, files, annotated)
    categories = reader.categories(tables["categories"], tables["annotations"])
    if label_map is None:
        label_map = LabelMap(tuple(dict.fromkeys(categories.values()))) if annotated else LabelMap(())
    images = reader.images(tables["images"])
    objects = reader.objects(tables["annotations"] if annotated else [], images, categories, label_map)
    usable = sorted((image for image in images.values() if image is not None), key=_by_id)
    samples = tuple(_sample(file, image, objects.get(image.image_id, [])) for image in usable)
    first_ids = {name: number for number, name in reversed(categories.items())}
    category_ids = tuple(first_ids.get(name) for name in label_map.names)
    return Dataset(
        root,
        "coco",
        split,
        label_map,
        samples,
        tuple(reader.faults),
        category_ids=category_ids,
        outlines=reader.outlines,
    )


def _without_segmentation(item: dict[str, Any]) -> dict[str, Any]:
    """Replace an annotation's segmentation by the result of its check."""
    if "segmentation" in item and "bbox" in item:
        segmentation = item["segmentation"]
        found = EMPTY if segmentation in (None, {}) else checked(segmentation)
        item["segmentation"] = OUTLINE if found is None and segmentation else found
    return item


def _tables(content: Any, file: Path, annotated: bool) -> dict[str, list[Any]]:
    """Return the three lists. Raises DataError where one is missing or not a list, or there is no image."""
    names = ["images", "annotations", "categories"]
    needed = names if annotated else names[:1]
    missing = [name for name in needed if not isinstance(content, dict) or not isinstance(content.get(name), list)]
    if missing:
        listed = " and ".join(map(repr, missing))
        reason = f"{listed} missing or no list" if isinstance(content, dict) else f"it has no list {listed}"
        message = f"not a COCO file: {reason}"
        raise DataError(message, kind="not-coco", remedy="Name a COCO instances file", file=file)
    if not content["images"]:
        raise DataError("0 images in the split", kind="empty-split", remedy="List images in images", file=file)
    return {name: content.get(name) or [] for name in names}


class _Reader:
    """Reads the three lists of one file; `faults` are what it found so far."""

    def __init__(self, file: Path, files: ImageFiles | None, annotated: bool) -> None:
        self.file, self.files, self.annotated = file, files, annotated
        self.faults: list[Fault] = []
        self.outlines = 0

    def fault(self, kind: str, message: str, **options: Any) -> None:
        self.faults.append(make_fault(kind, message, self.file, **options))

    def categories(self, rows: list[Any], annotations: list[Any]) -> dict[int, str]:
        """Return the names by category id, in the order of the ids.

        A category 0 without annotations that other categories have as their supercategory is an exporter's group and
        no class: it is left out with a note.
        """
        names: dict[int, str] = {}
        for index, row in enumerate(rows):
            path = f"categories[{index}]"
            number, name = (row.get("id"), row.get("name")) if isinstance(row, dict) else (None, None)
            if type(number) is not int or not is_text(name):
                self.fault("bad-field", f"{path} is not an object with a whole `id` and a `name`")
            elif number in names:
                self.fault("duplicate-category", f"{path}.id {number} occurs twice")
            else:
                if name.strip() in names.values():
                    message = f"{path}.name {name!r} occurs twice; both are one class"
                    self.fault("duplicate-category", message, remedy="Give every category one name")
                names[number] = name.strip()
        groups = {row.get("supercategory") for row in rows if isinstance(row, dict) and row.get("id") != 0}
        used = {row.get("category_id") for row in annotations if isinstance(row, dict) and row.get("category_id") == 0}
        if len(names) > 1 and names.get(0) in groups - {None} and not used:
            message = f"category 0 {names.pop(0)!r} has no object and is the supercategory of others; it is no class"
            self.fault("placeholder-category", message)
        self.faults += variant_faults(set(names.values()), self.file)
        return dict(sorted(names.items()))

    def images(self, rows: list[Any]) -> dict[str, _Image | None]:
        """Return the images by id, in order; None for one that cannot be used."""
        images: dict[str, _Image | None] = {}
        indices: dict[str, int] = {}
        file_names: dict[str, int] = {}
        for index, row in enumerate(rows):
            path = f"images[{index}]"
            if not isinstance(row, dict) or not is_id(row.get("id")):
                self.fault("bad-field", f"{path} is not an object with an `id`")
                continue
            image_id = str(row["id"])
            if image_id in images:
                message = f"{path}.id {image_id} is already that of images[{indices[image_id]}]; this one is left out"
                self.fault("duplicate-image-id", message)
                continue
            indices[image_id] = index
            name = row.get("file_name")
            if is_text(name) and file_names.setdefault(name, index) != index:
                message = f"{path}.file_name {name!r} is already that of images[{file_names[name]}]"
                self.fault("duplicate-picture", message)
            images[image_id] = self.image(image_id, name, row, path)
        return images

    def image(self, image_id: str, name: Any, row: dict[str, Any], path: str) -> _Image | None:
        """Return an image with its file and size, or None after a fault."""
        if not is_text(name) or not folders.name_below(name):
            self.fault("bad-field", f"{path}.file_name is {shown(name)}, which is not the name of a file")
            return None
        file = Path(name)
        if self.files is not None:
            file, links = self.files.find(name)
            self.faults += links
        if file is None:
            message = f"{path}: image {name} not found"
            if self.files is not None and self.files.candidates:
                message += f" in {', '.join(map(str, self.files.candidates))}"
            self.fault("missing-picture", message, remedy="Add it or delete its entry")
            return None
        height, width = row.get("height"), row.get("width")
        if type(height) is int and type(width) is int and 0 < height < 10**6 and 0 < width < 10**6:
            size_hw, turned = (height, width), None
            if self.files is not None and self.annotated:
                size_hw, turned = image_size(file, size_hw)
            self.faults += [] if turned is None else [turned]
            return None if turned is not None and turned.severity == "fatal" else _Image(image_id, file, size_hw)
        message = f"{path} has no `height` and `width` of whole pixels"
        if self.files is None:
            self.fault("bad-field", message, remedy="Write them")
            return None
        self.fault("zero-picture-size", f"{message}; the image's own size is used", remedy="Write them")
        try:
            size_hw, turned = image_size(file, None)
            self.faults += [] if turned is None or not self.annotated else [turned]
            return _Image(image_id, file, size_hw)
        except DataError as error:
            self.faults.append(error.as_fault())
        except InputMissingError:
            message = f"{path}: image {name} is a link whose target does not exist"
            self.fault("missing-picture", message, remedy="Replace it")
        return None

    def objects(
        self, rows: list[Any], images: dict[str, _Image | None], categories: dict[int, str], label_map: LabelMap
    ) -> dict[str, list[_Object]]:
        """Return the usable objects by image id."""
        class_ids = {name: class_id for class_id, name in enumerate(label_map.names)}
        class_of = {number: class_ids.get(name) for number, name in categories.items()}
        kind = _other_kind(rows, images)
        if kind is not None:
            self.fault("other-coordinates", f"most of the {len(rows)} boxes in annotations[…].bbox look like {kind}")
            return {}
        objects: dict[str, list[_Object]] = {}
        indices: dict[Id, int] = {}
        no_area = no_crowd = no_outline = 0
        for index, row in enumerate(rows):
            path = f"annotations[{index}]"
            if not isinstance(row, dict):
                self.fault("bad-field", f"{path} is not an object")
                continue
            number = row.get("id")
            if is_id(number) and indices.setdefault(number, index) != index:
                message = f"{path}.id {number} is already that of annotations[{indices[number]}]"
                self.fault("duplicate-annotation-id", message)
            image_id = str(row.get("image_id")) if is_id(row.get("image_id")) else None
            if image_id is None or image_id not in images:
                self.fault("unknown-image", f"{path}.image_id {shown(row.get('image_id'))} is that of no image")
                continue
            image = images[image_id]
            category_id = row.get("category_id")
            class_id = class_of.get(category_id) if type(category_id) is int else None
            if class_id is None:
                name = categories.get(category_id) if type(category_id) is int else None
                message = (
                    f"{path}.category_id {shown(category_id)} is that of no category. Correct it or add the category"
                )
                if name is not None:
                    message = f"{path}.category_id {category_id}: {unknown_class(name, label_map.names)}"
                self.fault("unknown-class", message)
                continue
            found = None if image is None else self.object(index, row, image, class_id)
            if found is not None:
                objects.setdefault(image_id, []).append(found)
                self.outlines += isinstance(row.get("segmentation"), Runs) or row.get("segmentation") == OUTLINE
                no_area += row.get("area") is None
                no_crowd += row.get("iscrowd") is None
                no_outline += row.get("segmentation") == EMPTY
        for count, field, instead in (
            (no_area, "area", "that of the box is used"),
            (no_crowd, "iscrowd", "0 is used"),
            (no_outline, "segmentation", "their boxes are used"),
        ):
            if count:
                self.fault("filled-field", f"{count} annotations have no `{field}`; {instead}")
        return objects

    def object(self, index: int, row: dict[str, Any], image: _Image, class_id: int) -> _Object | None:
        """Return an object, or None after a fault that leaves it out."""
        path = f"annotations[{index}]"
        box = number_list(row.get("bbox"), 4)
        if box is None:
            self.fault("bad-box", f"{path}.bbox is {shown(row.get('bbox'))} and not four numbers")
            return None
        row = {key: value for key, value in row.items() if value is not None}
        crowd, ignore, area = row.get("iscrowd", 0), row.get("ignore", 0), row.get("area", abs(box[2] * box[3]))
        if crowd not in (0, 1) or ignore not in (0, 1) or not is_number(area) or area < 0:
            field = "iscrowd" if crowd not in (0, 1) else "ignore" if ignore not in (0, 1) else "area"
            self.fault("bad-field", f"{path}.{field} is {shown(row.get(field))}, which is not a valid {field}")
            return None
        outline = row.get("segmentation")
        if isinstance(outline, Runs) and (
            outline.size_hw != image.size_hw or outline.pixels != math.prod(image.size_hw)
        ):
            outline = f"run lengths of {outline.pixels} pixels for an image of {image.size_hw[1]}×{image.size_hw[0]}"
        if isinstance(outline, str) and outline not in (EMPTY, OUTLINE):
            self.fault("bad-segmentation", f"{path}.segmentation: {outline}")
        x, y, width, height = box
        box_xyxy = (x, y, x + width, y + height)
        fault = check_box(box_xyxy, image.size_hw)
        if fault is not None:
            self.fault(fault.kind, f"{path}.bbox ({x:g}, {y:g}, {width:g}, {height:g}) {fault.message}")
            if fault.kind not in USABLE:
                return None
        return _Object(index, box_xyxy, class_id, bool(crowd), bool(crowd or ignore), float(area))


def _other_kind(rows: list[Any], images: dict[str, _Image | None]) -> str | None:
    """Return what most boxes look like if they are not `[x, y, width, height]` in pixels; see `coordinates`."""
    boxes_xywh, sizes_wh = [], []
    for row in rows:
        image = images.get(str(row.get("image_id"))) if isinstance(row, dict) else None
        box = number_list(row.get("bbox"), 4) if image is not None else None
        if image is not None and box is not None:
            boxes_xywh.append(box)
            sizes_wh.append(image.size_hw[::-1])
    return other_kind(np.array(boxes_xywh).reshape(-1, 4), np.array(sizes_wh, np.float64).reshape(-1, 2), "xywh")


def _by_id(image: _Image) -> tuple[bool, int, str]:
    number = image.image_id if image.image_id.isdecimal() and len(image.image_id) < 4000 else ""
    return not number, int(number or 0), image.image_id


def _sample(file: Path, image: _Image, objects: list[_Object]) -> Sample:
    boxes_xyxy = np.array([item.box_xyxy for item in objects], np.float64).reshape(-1, 4)
    return Sample(
        image.image_id,
        image.path,
        image.size_hw,
        boxes.clip(boxes_xyxy, image.size_hw),
        np.array([item.class_id for item in objects], np.int64),
        np.array([item.difficult for item in objects], np.bool_),
        crowd=np.array([item.crowd for item in objects], np.bool_),
        areas=np.array([item.area for item in objects], np.float64),
        annotation_path=file,
        box_places=np.array([item.index for item in objects], np.int64),
    )


# ---- Folders


def fits(root: Path) -> bool:
    """Return whether a folder, or a JSON file, looks like COCO."""
    return bool(split_files(root))


def splits(root: Path) -> list[str]:
    """Return the names of the splits."""
    return list(split_files(root))


def sources(root: Path, split: str) -> Iterator[Path]:
    """Yield the files and folders that a split's samples depend on, for the cache."""
    file = split_file(root, split)
    yield file
    own = dict.fromkeys((_top(root), file.parent))
    yield from (folder for folder in image_folders(root, file) if folder not in own)
    for folder in own:  # the files in them; folders below belong to other splits
        yield from folders.files_in(folder)


def split_files(root: Path) -> dict[str, Path]:
    """Return the JSON file of each split by the split's name, such as `train2017`; {} where nothing looks like COCO.

    A root that is a JSON file itself is its only split, under the file's own name. Names come from file names; JSON
    files beside others (`train.json`, `labels.json`, Label Studio's `result.json`) are opened to see what they are. A
    file of people's keypoints is used where the split has no other one.

    Raises NotPermittedError where a folder may not be listed.
    """
    if root.suffix.lower() == ".json" and root.is_file():
        return {root.stem: root}
    with os_errors(root, "read"):
        found = {path.parent.name: path for path in folders.matching(root, f"*/{EXPORT_FILE}")}
        if (root / EXPORT_FILE).is_file():
            found.setdefault(root.name, root / EXPORT_FILE)
        inside = _in_annotations(root)
        inside += [path for path in folders.matching(root, "*.json") if path.name != EXPORT_FILE and _is_coco(path)]
        for path in [path for path in inside if not path.name.startswith(_OTHER_TASKS)]:
            found.setdefault(_PREFIX.sub("", path.stem, count=1), path)
        for path in [path for path in inside if path.name.startswith(_KEYPOINTS)]:
            found.setdefault(path.stem.removeprefix(_KEYPOINTS), path)
        if not found:
            files = [path for name in _SPLIT_FILES for path in folders.matching(root, f"*/{name}") if _is_coco(path)]
            found = {path.parent.name: path for path in reversed(files)}
            found = dict(sorted(found.items()))
    return found


def _in_annotations(root: Path) -> list[Path]:
    """Return the JSON files in `annotations`: those that are called as COCO's are, and of others those that are COCO's.

    Many others are a file for each image, of another tool, and none of them is opened.
    """
    found = folders.matching(root, "annotations/*.json")
    own = {
        path
        for path in found
        if _PREFIX.match(path.name)
        or path.name.startswith(_OTHER_TASKS)
        or _YEAR.sub("", path.stem.lower()) in tree.SPLIT_OF
    }
    others = [path for path in found if path not in own]
    own |= {path for path in others if len(others) <= MAX_OTHERS and _is_coco(path)}
    return [path for path in found if path in own]


def _is_coco(path: Path) -> bool:
    """Return whether a JSON file begins like COCO's: an object with a list `images` or `annotations`."""
    try:
        with opened(path) as stream:
            head = stream.read(_HEAD_BYTES)
    except SingleshotError:
        return False
    return head.lstrip(b"\xef\xbb\xbf \r\n\t").startswith(b"{") and _LISTS.search(head) is not None


def split_file(root: Path, split: str) -> Path:
    """Return the JSON file of a split. `train` stands for `train2017` too, where there is one such year only.

    Where `root` is a JSON file, it is that file, whatever the split is called.

    Raises InputMissingError, with the names that there are.
    """
    files = split_files(root)
    if root.is_file() and files:
        return root
    if split in files:
        return files[split]
    if (root / f"{split}.json").is_file():
        return root / f"{split}.json"
    aliases = [name for name in files if {name, split} <= {"val", "valid", "validation"}]
    if len(aliases) == 1:
        return files[aliases[0]]
    years = [name for name in files if _YEAR.sub("", name) == split]
    if len(years) == 1:
        return files[years[0]]
    if not root.is_dir():
        raise InputMissingError("no such folder or JSON file", remedy="Name a data set in COCO layout", file=root)
    remedy = f"There are: {', '.join(files)}" if files else "A COCO folder holds annotations/instances_<split>.json"
    raise InputMissingError(f"no split {split!r}", remedy=remedy, file=root)


def is_annotated(root: Path, split: str) -> bool:
    """Return whether a split has annotations: COCO's test sets come as `image_info_test2017.json`, without any."""
    file = split_files(root).get(split)
    return file is None or not file.name.startswith("image_info")


def _top(root: Path) -> Path:
    """Return the data set's folder: `root`, or for a JSON file in `annotations` the folder around that."""
    if root.is_dir():
        return root
    return root.parent.parent if root.parent.name == "annotations" else root.parent


def image_folders(root: Path, json_file: Path) -> list[Path]:
    """Return the folders in which a split's images may lie, the likeliest first; only those that exist."""
    top = _top(root)
    name = _PREFIX.sub("", json_file.stem.removeprefix(_KEYPOINTS), count=1)
    short = _YEAR.sub("", name)
    candidates = [
        *([json_file.parent] if json_file.name == EXPORT_FILE else []),
        *(top / folder / each for each in (name, short) for folder in ("", "images")),
        *(folder / each for folder in dict.fromkeys((json_file.parent, top)) for each in ("images", "data")),
        json_file.parent,
        top,
    ]
    return list(dict.fromkeys(folder for folder in candidates if folder.is_dir()))


class ImageFiles:
    """Finds images by the names that a JSON file has for them; each folder is listed once.

    Args:
        candidates: where to look, the likeliest first.
        top: the data set's folder. Links that lead out of it or nowhere are not used.
    """

    def __init__(self, candidates: list[Path], top: Path) -> None:
        self.candidates, self._top = candidates, top.resolve()
        self._names: dict[Path, dict[str, tuple[str, Fault | None]]] = {}
        self._last: Fault | None = None

    def find(self, file_name: str) -> tuple[Path | None, list[Fault]]:
        """Return the file, or None where no folder has it, and the faults of links with that name.

        A folder that is itself a faulty link is reported once for several files in a row. Backslashes are slashes. Of
        another machine's absolute path the longest end that there is counts: no name leads out of the data's folder.
        """
        whole = folders.name_below(file_name)
        is_plain = file_name.replace("\\", "/").removeprefix("./") == whole
        ends = [whole] if is_plain else [whole, *(whole[at + 1 :] for at, letter in enumerate(whole) if letter == "/")]
        faults: list[Fault] = []
        for end in ends:
            file, found = self._find(end)
            faults += found
            if file is not None:
                return file, faults
        return None, faults

    def _find(self, file_name: str) -> tuple[Path | None, list[Fault]]:
        parent, _, base = file_name.rpartition("/")
        faults: list[Fault] = []
        for candidate in self.candidates:
            folder = candidate / parent if parent else candidate
            if folder not in self._names:
                self._names[folder] = as_found({name: (name, fault) for name, fault in self._files(folder)}, folder)
            found = self._names[folder]
            if base in found:
                own, fault = found[base]
                if fault is None:
                    return folder / own, faults
                if fault != self._last:
                    faults.append(fault)
                self._last = fault
        return None, faults

    def _files(self, folder: Path) -> Iterator[tuple[str, Fault | None]]:
        """Yield the files of a folder by name, each with its fault as a link; nothing where there is no folder."""
        is_inside = folder.resolve().is_relative_to(self._top)
        outside = None if is_inside else folders.link_fault(folder, self._top)
        try:
            found = folders.entries(folder)
        except NotPermittedError:
            raise
        except SingleshotError:  # no such folder: a name in the JSON led nowhere
            return
        for entry in found:
            if not entry.is_dir():
                is_link = outside is None and entry.is_symlink()
                yield entry.name, folders.link_fault(Path(entry.path), self._top) if is_link else outside


# ---- Writing


def write(datasets: Sequence[Dataset], items: Iterable[Item], folder: Path) -> list[str]:
    """Write splits into an empty folder as `annotations/instances_<split>.json` beside a folder of images for each.

    The inverse of `read`: boxes as `[x, y, width, height]` in continuous pixels, in full precision; ids count from 1.

    Args:
        datasets: the splits, all with the same classes.
        items: their images.
        folder: the folder.

    Returns sentences about what COCO cannot hold. A difficult box that is not a crowd gets `"ignore": 1`, as in the VOC
    files that COCO's authors published; COCO's own evaluation ignores the field.
    """
    names = [split_name(dataset) for dataset in datasets]
    make_folders(folder, "annotations", *names)
    categories = [{"id": number, "name": name} for number, name in enumerate(datasets[0].label_map.names, start=1)]
    images: dict[str, list[dict[str, Any]]] = {name: [] for name in names}
    annotations: dict[str, list[dict[str, Any]]] = {name: [] for name in names}
    difficult = 0
    for item in items:
        sample, of_split = item.sample, annotations[item.split]
        image_id = len(images[item.split]) + 1
        height, width = item.size_hw
        images[item.split].append({"id": image_id, "file_name": item.file_name, "width": width, "height": height})
        crowd = np.zeros(len(sample.boxes_xyxy), np.bool_) if sample.crowd is None else sample.crowd
        areas = boxes.area(sample.boxes_xyxy) if sample.areas is None else sample.areas
        rows = zip(
            sample.boxes_xyxy.tolist(), sample.class_ids.tolist(), areas.tolist(), crowd, sample.difficult, strict=True
        )
        for (x1, y1, x2, y2), class_id, area, is_crowd, is_difficult in rows:
            row = {
                "id": len(of_split) + 1,
                "image_id": image_id,
                "category_id": class_id + 1,
                "bbox": [x1, y1, x2 - x1, y2 - y1],
                "area": area,
                "iscrowd": int(is_crowd),
            }
            if is_difficult and not is_crowd:
                row["ignore"] = 1
                difficult += 1
            of_split.append(row)
        item.copy_image(folder / item.split / item.file_name)
    for name in names:
        content = {"images": images[name], "annotations": annotations[name], "categories": categories}
        (folder / "annotations" / f"instances_{name}.json").write_text(json.dumps(content), encoding="utf-8")
    message = 'marked "ignore": 1, which COCO\'s evaluation does not know: they count as ordinary there'
    return [
        *note(difficult, "difficult box is", "difficult boxes are", message),
        *outline_note(datasets, "boxes and their areas only are written"),
    ]
