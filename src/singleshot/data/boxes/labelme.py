"""LabelMe's JSON, a file for each image: `shapes` of labelled points, in continuous pixels.

A rectangle has two opposite corners in any order. A polygon and a rotated rectangle (`oriented_rectangle`, in
X-AnyLabeling `rotation`) become the box around them, a circle (centre, point on it) the square around it. A `mask`
has the first and the last pixel of its rectangle, which is the box. Other shapes (points, lines) are no boxes: a note
counts them by name. The image is the file with the JSON's name; `imagePath` is not used, and pixels inside the JSON
(`imageData` and `mask`) are never decoded.

Format: labelme 5 and 6, `_label_file.py`.
"""

from __future__ import annotations

import math
from collections import Counter
from pathlib import Path
from typing import Any

from singleshot.data import tree
from singleshot.data.boxes import enclosing, records
from singleshot.data.boxes.fields import is_text, number_list, read_json, shown
from singleshot.data.boxes.records import Object, Record
from singleshot.data.faults import make_fault
from singleshot.errors import DataError, Fault, SingleshotError
from singleshot.storage.files import opened
from singleshot.structures import Dataset, LabelMap

LAYOUT = "labelme"
MAX_BYTES = 256 * 2**20
MAX_PROBED = 5000
_HEAD_BYTES = 65536
LEAST_POINTS = {"rectangle": 2, "circle": 2, "polygon": 3, "oriented_rectangle": 4, "rotation": 4, "mask": 2}
"""By kind of shape that is read: the points that it needs at least."""


def read(root: Path | str, split: str, *, label_map: LabelMap | None = None, allow_unlabelled: bool = False) -> Dataset:
    """Read one split of a folder of images and LabelMe's JSON, in the order of the images' paths.

    Args:
        root: the folder.
        split: `train`, `val` or `test`, where folders have such names; `all` for images in no such folder.
        label_map: the classes and their order. Where None, those of all annotations below `root`, sorted.
        allow_unlabelled: take an image without JSON for one without objects; else it is left out.

    Returns:
        Samples with float64 boxes; `box_places` are indices of `shapes`. Kinds of fault: `bad-field`, `bad-box`,
        `filled-field` (a note: shapes that are no boxes), `missing-annotation`, `annotation-without-picture`, and those
        of `fields.read_json`, `check_box`, `class_names` and `images`.

    Raises:
        InputMissingError: no such folder or split.
        DataError: the split is empty (`empty-split`).
    """
    root = Path(root)
    return records.read_paired(root, split, LAYOUT, ".json", lambda pairs: _records(pairs, allow_unlabelled), label_map)


def _records(pairs: tree.Pairs, allow_unlabelled: bool) -> tuple[list[Record], list[Fault]]:
    """Return the annotated images of a split, and what is wrong with the files of the others."""
    found, faults = [], list[Fault]()
    for image, file in pairs.files.items():
        if file is None:
            found += [Record(image, image, None, ())] if allow_unlabelled else []
            continue
        try:
            content = read_json(file, max_bytes=MAX_BYTES)
        except DataError as error:
            faults.append(error.as_fault())
            continue
        shapes = content.get("shapes") if isinstance(content, dict) else None
        if not isinstance(shapes, list):
            faults.append(make_fault("bad-field", "no list `shapes`: not a file of LabelMe", file))
            continue
        height, width = content.get("imageHeight"), content.get("imageWidth")
        size_hw = None
        if type(height) is int and type(width) is int and 0 < height < 10**6 and 0 < width < 10**6:
            size_hw = (height, width)
        objects, found_faults = _objects(shapes, file)
        faults += found_faults
        found.append(Record(image, file, size_hw, objects))
    without = [image for image, file in pairs.files.items() if file is None]
    faults += records.unlabelled(without, ".json", allow=allow_unlabelled)
    faults += [make_fault("annotation-without-picture", "has no image of its name", file) for file in pairs.alone]
    return found, faults


def _objects(shapes: list[Any], file: Path) -> tuple[list[Object], list[Fault]]:
    """Return the boxes of a file's shapes, and the faults of the others."""
    objects, faults = [], []
    unused: Counter[str] = Counter()
    for index, shape in enumerate(shapes):
        path = f"shapes[{index}]"
        if not isinstance(shape, dict) or not is_text(shape.get("label")):
            faults.append(make_fault("bad-field", f"{path} is not an object with a `label`", file))
            continue
        kind = shape.get("shape_type", "polygon")
        if not isinstance(kind, str) or kind not in LEAST_POINTS:
            unused[kind[:40] if is_text(kind) else "shape without a type"] += 1
            continue
        rows = shape.get("points")
        points = [number_list(row, 2) for row in rows] if isinstance(rows, list) else []
        numbers = [point for point in points if point is not None]
        if len(numbers) != len(points) or len(numbers) < LEAST_POINTS[kind]:
            message = f"{path}.points is {shown(rows)}, which is no {kind}"
            faults.append(make_fault("bad-box", message, file, remedy="Draw it anew or delete it"))
            continue
        xs, ys = [point[0] for point in numbers], [point[1] for point in numbers]
        box = enclosing.of_points(xs, ys)
        if kind == "circle":
            radius = math.hypot(xs[1] - xs[0], ys[1] - ys[0])
            box = enclosing.of_ellipse(xs[0], ys[0], radius, radius)
        elif kind == "mask":
            box = (box[0], box[1], box[2] + 1, box[3] + 1)
        objects.append(Object(str(shape["label"]), box, index, path=path, outline=kind != "rectangle"))
    if unused:
        names = ", ".join(f"{count} {name}" for name, count in sorted(unused.items()))
        faults.append(make_fault("filled-field", f"{names}: shapes that are no boxes, and are not read", file))
    return objects, faults


# ---- Folders


def fits(root: Path) -> bool:
    """Return whether one of the first JSON files below a folder is LabelMe's, and there are images."""
    if not root.is_dir():
        return False
    files = [path for path in tree.probe(root, MAX_PROBED, of_each=100) if path.suffix.lower() == ".json"]
    return any(_is_labelme(path) for path in files[:5]) and tree.has_images(root)


def _is_labelme(file: Path) -> bool:
    try:
        with opened(file) as stream:
            head = stream.read(_HEAD_BYTES)
    except SingleshotError:
        return False
    return b'"shapes"' in head and (b'"shape_type"' in head or b'"imagePath"' in head or b'"points"' in head)


def splits(root: Path) -> list[str]:
    """Return the splits that folders name; `all` for images in no such folder."""
    return tree.splits_of(tree.read_tree(root, ".json").images, root)


def sources(root: Path, _split: str) -> list[Path]:
    """Return the folders that a split's samples depend on, for the cache."""
    return [root]
