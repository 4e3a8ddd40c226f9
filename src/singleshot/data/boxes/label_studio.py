"""Label Studio's JSON export: a list of tasks, beside the images.

    [{"data": {"image": "/data/upload/1/0f3a9c1e-a.jpg"}, "annotations": [{"result": [
        {"type": "rectanglelabels", "original_width": 640, "original_height": 480, "image_rotation": 0,
         "value": {"x": 10.0, "y": 20.0, "width": 25.0, "height": 50.0, "rotation": 0, "rectanglelabels": ["cat"]}}]}]}]

Numbers are per cent of the image. A rectangle turns clockwise about its upper left corner, an ellipse about its centre;
these and polygons become the boxes around them. Brushes, key points and other regions are no boxes and are counted in a
note by type. Of several annotations of a task the one marked as ground truth counts, or else the first that was not
cancelled: the others are counted in a note. A task without any is an image that nobody has annotated; predictions are
not read. The short export (`JSON-MIN`) has the regions in the task itself.

The export has no images: `/data/upload/1/0f3a9c1e-a.jpg` and `/data/local-files/?d=cats/a.jpg` are found as
`0f3a9c1e-a.jpg`, `a.jpg` or `cats/a.jpg` below the folder.

Format: labelstud.io, "Label Studio Task Format", and the tags RectangleLabels, PolygonLabels and EllipseLabels.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from singleshot.data.boxes import enclosing, listed
from singleshot.data.boxes.fields import is_number, is_text, number_list, read_json, shown
from singleshot.data.boxes.listed import Entry
from singleshot.data.boxes.records import Object
from singleshot.data.faults import make_fault
from singleshot.errors import DataError, Fault, SingleshotError
from singleshot.images import IMAGE_SUFFIXES
from singleshot.storage.files import opened
from singleshot.structures import Dataset, LabelMap

LAYOUT = "label_studio"
_HEAD_BYTES = 65536
_UPLOAD = re.compile(r"[0-9a-f]{8}-")
"""What the server puts before the names of uploaded files."""
_SIDES = ("x", "y", "width", "height")
_RADII = ("x", "y", "radiusX", "radiusY")


def read(root: Path | str, split: str, *, label_map: LabelMap | None = None, allow_unlabelled: bool = False) -> Dataset:
    """Read one split, in the order of the tasks.

    Args:
        root: the folder, or the JSON file itself.
        split: `train`, `val` or `test`, as file or folder is called, or `all`.
        label_map: the classes and their order. Where None, those of all files, sorted.
        allow_unlabelled: take a task without annotation for an image without objects; else it is left out.

    Returns:
        Samples with float64 boxes; `box_places` are indices of a task's `result`. Kinds of fault: `bad-field`,
        `bad-box`, `filled-field` (a note), `missing-picture`, `missing-annotation`, `duplicate-id`, and those of
        `fields.read_json`, `check_box`, `class_names` and `images`.

    Raises:
        InputMissingError: no such folder or split.
        DataError: a file is no list of tasks (`not-label-studio`), or the split is empty (`empty-split`).
    """
    root = Path(root)
    return listed.read(root, split, LAYOUT, files(root), load, label_map, allow_unlabelled=allow_unlabelled)


def load(file: Path) -> tuple[list[Entry], list[Fault]]:
    """Read the tasks of a file. Raises what `read` raises about it."""
    tasks = read_json(file)
    if not isinstance(tasks, list):
        message = "not a list of tasks"
        raise DataError(message, kind="not-label-studio", remedy="Export JSON or JSON-MIN", file=file)
    entries: list[Entry] = []
    faults: list[Fault] = []
    unused: Counter[str] = Counter()
    for index, task in enumerate(tasks):
        path = f"[{index}]"
        data = task.get("data", task) if isinstance(task, dict) else None
        name = _image_name(data) if isinstance(data, dict) else None
        if name is None:
            faults.append(make_fault("bad-field", f"{path} names no image", file))
            continue
        where, regions = _regions(task, path, unused)
        found = _Regions(file, where, unused)
        for number, region in enumerate(regions or ()):
            found.add(number, region, _skipped(regions or (), region))
        folder, _, base = name.rpartition("/")
        other = f"{folder}/{base[9:]}" if _UPLOAD.match(base) else ""
        annotated = regions is not None
        entries.append(
            Entry(
                name, found.objects, found.size_hw, path=path,
                annotated=annotated, faults=found.faults, other_name=other,
            )
        )  # fmt: skip
    if unused:
        names = ", ".join(f"{count} {name}" for name, count in sorted(unused.items()))
        faults.append(make_fault("filled-field", f"{names}: not boxes of the annotation that counts, not read", file))
    return entries, faults


def _image_name(data: dict[str, Any]) -> str | None:
    """Return the name of a task's image: the first text that ends like one, without the server's part before it."""
    for value in data.values():
        text = unquote(value) if is_text(value) else ""
        name = text.partition("?d=")[2] or text.partition("?")[0]
        if name.lower().endswith(IMAGE_SUFFIXES):
            return re.sub("^[a-z0-9]+://", "", name)
    return None


def _regions(task: dict[str, Any], path: str, unused: Counter[str]) -> tuple[str, list[Any] | None]:
    """Return the JSON path and the list of a task's regions; None for a task that nobody has annotated."""
    if "annotations" not in task and "data" not in task:  # JSON-MIN
        lists = [(key, value) for key, value in task.items() if isinstance(value, list)]
        flat = [(key, value) for key, value in lists if all(isinstance(each, dict) for each in value)]
        if not flat:
            return path, None if "annotation_id" not in task else []
        return f"{path}.{flat[0][0]}", [region for _, value in flat for region in value]
    annotations = task.get("annotations")
    rows = list(enumerate(annotations)) if isinstance(annotations, list) else []
    usable = [
        (number, row)
        for number, row in rows
        if isinstance(row, dict) and isinstance(row.get("result"), list) and row.get("was_cancelled") is not True
    ]
    usable.sort(key=lambda item: item[1].get("ground_truth") is not True)
    if not usable:
        return path, None
    if len(usable) > 1:
        unused["annotations of tasks that have another"] += len(usable) - 1
    number, row = usable[0]
    return f"{path}.annotations[{number}].result", row["result"]


def _skipped(regions: list[Any] | tuple[()], region: Any) -> bool:
    """Return whether another region of the same id gives this plain shape its label (the tags Rectangle and Labels)."""
    if not isinstance(region, dict) or region.get("type") not in ("rectangle", "ellipse", "polygon"):
        return False
    return any(
        isinstance(each, dict) and each.get("type") == "labels" and each.get("id") == region.get("id")
        for each in regions
    )


class _Regions:
    """Turns a task's regions into objects and faults.

    Args:
        file: the export.
        where: the JSON path of the list of regions.
        unused: counts what is no box, by type.
    """

    def __init__(self, file: Path, where: str, unused: Counter[str]) -> None:
        self._file, self._where, self._unused = file, where, unused
        self.objects: list[Object] = []
        self.faults: list[Fault] = []
        self.size_hw: tuple[int, int] | None = None

    def add(self, number: int, region: Any, skipped: bool) -> None:
        """Take the next region."""
        path = f"{self._where}[{number}]"
        value = region.get("value", region) if isinstance(region, dict) else None
        if not isinstance(region, dict) or not isinstance(value, dict):
            self.faults.append(make_fault("bad-field", f"{path} is no region", self._file))
            return
        kind, labels = self._labels(region, value)
        shape = "points" if "points" in value else "radiusX" if "radiusX" in value else "width"
        if skipped or shape not in value or "rle" in value or kind.startswith(("keypoint", "video", "brush")):
            self._unused.update([] if skipped else [kind])
            return
        width, height = region.get("original_width"), region.get("original_height")
        if not (type(width) is int and type(height) is int and 0 < width < 10**6 and 0 < height < 10**6):
            message = f"{path} has no original_width and original_height of whole pixels"
            self.faults.append(make_fault("bad-field", message, self._file))
            return
        if region.get("image_rotation", 0) != 0:
            message = (
                f"{path}.image_rotation is {shown(region['image_rotation'])}: the image was turned when it was drawn"
            )
            self.faults.append(make_fault("bad-field", message, self._file, remedy="Draw it on the upright image"))
            return
        self.size_hw = (height, width)
        box, is_outline = _box(shape, value, width / 100, height / 100)
        if box is None:
            message = f"{path}.value is {shown(value)}, which is no {kind}"
            self.faults.append(make_fault("bad-box", message, self._file, remedy="Draw it anew or delete it"))
        elif not labels:
            message = f"{path} has no label"
            self.faults.append(make_fault("bad-field", message, self._file, remedy="Give it its class"))
        else:  # a region with two labels is an object of each
            self.objects += [Object(name, box, number, path=path, outline=is_outline) for name in labels]

    @staticmethod
    def _labels(region: dict[str, Any], value: dict[str, Any]) -> tuple[str, list[str]]:
        """Return the type of a region and its labels: `value` has them under that name."""
        lists: Iterator[str] = (key for key in value if key.endswith("labels") and isinstance(value[key], list))
        kind = region.get("type") if is_text(region.get("type")) else next(lists, "region")
        names = value.get(str(kind))
        return str(kind), [name for name in names if is_text(name)] if isinstance(names, list) else []


def _box(
    shape: str, value: dict[str, Any], x_scale: float, y_scale: float
) -> tuple[tuple[float, float, float, float] | None, bool]:
    """Return the box in pixels around a region, or None, and whether the region is another shape than that box."""
    if shape == "points":
        rows = value["points"]
        points = [number_list(row, 2) for row in rows] if isinstance(rows, list) else []
        numbers = [point for point in points if point is not None]
        if len(numbers) != len(points) or len(numbers) < 3:
            return None, True
        return enclosing.of_points([x * x_scale for x, _ in numbers], [y * y_scale for _, y in numbers]), True
    names = _RADII if shape == "radiusX" else _SIDES
    fields = number_list([value.get(name) for name in names], 4)
    angle = value.get("rotation", 0)
    if fields is None or not is_number(angle):
        return None, False
    x, y, a, b = (field * scale for field, scale in zip(fields, (x_scale, y_scale) * 2, strict=True))
    if shape == "radiusX":
        return enclosing.of_ellipse(x, y, a, b, float(angle)), True
    return enclosing.of_rectangle((x, y, x + a, y + b), float(angle), (x, y)), angle % 360 != 0


# ---- Folders


def files(root: Path) -> list[Path]:
    """Return the JSON files of this format, see `listed.find`."""
    return listed.find(root, (".json",), _is_label_studio)


def fits(root: Path) -> bool:
    """Return whether a folder, or a JSON file, is an export of Label Studio."""
    return listed.fits(root, (".json",), _is_label_studio)


def _is_label_studio(file: Path) -> bool:
    try:
        with opened(file) as stream:
            head = stream.read(_HEAD_BYTES)
    except SingleshotError:
        return False
    is_list = head.lstrip(b"\xef\xbb\xbf \r\n\t").startswith(b"[")
    return is_list and (b'"annotations"' in head or b'"annotation_id"' in head or b'"completed_by"' in head)


def splits(root: Path) -> list[str]:
    """Return the names of the splits."""
    return listed.splits(root, files(root), load)


def sources(root: Path, _split: str) -> list[Path]:
    """Return the folders that a split's samples depend on, for the cache."""
    return [root if root.is_dir() else root.parent]
