"""KITTI's object labels, a text file for each image: `label_2/000001.txt` for `image_2/000001.png`.

    Car 0.00 0 -1.58 587.01 173.33 614.12 200.12 1.65 1.67 3.64 -0.65 1.71 46.70 -1.59

The columns are type, truncation, occlusion, angle, then the box's left, top, right and bottom edge in 0-based pixels;
what follows (size and position in space, a score) is not read. `DontCare` marks regions with objects that nobody
labelled: they are no class, and are counted in a note. The folder `training` is the split `train`.

Format: the KITTI object development kit, `readme.txt`.
"""

from __future__ import annotations

import re
from pathlib import Path

from singleshot.data import tree
from singleshot.data.boxes import records
from singleshot.data.boxes.records import Object, Record
from singleshot.data.faults import make_fault
from singleshot.data.splits import numbered_lines
from singleshot.errors import DataError, Fault, SingleshotError
from singleshot.structures import Dataset, LabelMap

LAYOUT = "kitti_objects"
MAX_BYTES = 10 * 2**20
MAX_PROBED = 2000
_IGNORED = "DontCare"
_NUMBER = re.compile(r"-?[0-9]{1,9}(?:\.[0-9]{0,30})?(?:[eE][+-]?[0-9]{1,2})?", re.ASCII)
_COLUMNS = (15, 16)


def read(root: Path | str, split: str, *, label_map: LabelMap | None = None, allow_unlabelled: bool = False) -> Dataset:
    """Read one split, in the order of the images' paths.

    Args:
        root: the folder.
        split: `train`, `val` or `test`, where folders have such names; `all` for images in no such folder.
        label_map: the classes and their order. Where None, those of all labels below `root`, sorted.
        allow_unlabelled: take an image without labels for one without objects; else it is left out.

    Returns:
        Samples with float64 boxes; `box_places` are lines. Kinds of fault: `bad-line`, `not-a-number`, `filled-field`
        (a note), `missing-annotation`, and those of `check_box`, `class_names` and `images`.

    Raises:
        InputMissingError: no such folder or split.
        DataError: the split is empty (`empty-split`).
    """
    root = Path(root)
    return records.read_paired(root, split, LAYOUT, ".txt", lambda pairs: _records(pairs, allow_unlabelled), label_map)


def _records(pairs: tree.Pairs, allow_unlabelled: bool) -> tuple[list[Record], list[Fault]]:
    """Return the labelled images of a split, and what is wrong with the files of the others."""
    found: list[Record] = []
    faults: list[Fault] = []
    for image, file in pairs.files.items():
        if file is not None:
            objects, of_file = _objects(file)
            found.append(Record(image, file, None, objects))
            faults += of_file
        elif allow_unlabelled:
            found.append(Record(image, image, None, ()))
    without = [image for image, file in pairs.files.items() if file is None]
    return found, [*faults, *records.unlabelled(without, ".txt", allow=allow_unlabelled)]


def _objects(file: Path) -> tuple[list[Object], list[Fault]]:
    """Return the objects of a label file, and the faults of its lines."""
    objects, faults = [], []
    ignored = 0
    try:
        lines = list(numbered_lines(file, MAX_BYTES))
    except DataError as error:
        return [], [error.as_fault()]
    for line, text in lines:
        columns = text.split()
        numbers = columns[1:]
        bad = next((column for column in numbers if not _NUMBER.fullmatch(column)), None)
        if len(columns) not in _COLUMNS:
            faults.append(make_fault("bad-line", f"{len(columns)} columns and not 15", file, line))
        elif bad is not None:
            faults.append(make_fault("not-a-number", f"{bad[:40]!r} is not a number", file, line))
        elif columns[0] == _IGNORED:
            ignored += 1
        else:
            left, top, right, bottom = (float(number) for number in numbers[3:7])
            objects.append(Object(columns[0], (left, top, right, bottom), line))
    if ignored:
        faults.append(make_fault("filled-field", f"{ignored} regions {_IGNORED} are no objects and are not read", file))
    return objects, faults


# ---- Folders


def fits(root: Path) -> bool:
    """Return whether one of the first text files below a folder has KITTI's columns, and there are images."""
    if not root.is_dir():
        return False
    files = [path for path in tree.probe(root, MAX_PROBED, of_each=100) if path.suffix == ".txt"]
    return any(_is_label(path) for path in files[:10]) and tree.has_images(root)


def _is_label(file: Path) -> bool:
    try:
        columns = next((text.split() for _, text in numbered_lines(file, MAX_BYTES)), [])
    except SingleshotError:
        return False
    numbers = columns[1:]
    return len(columns) in _COLUMNS and not _NUMBER.fullmatch(columns[0]) and all(map(_NUMBER.fullmatch, numbers))


def splits(root: Path) -> list[str]:
    """Return the splits that folders name; `all` for images in no such folder."""
    return tree.splits_of(tree.read_tree(root, ".txt").images, root)


def sources(root: Path, _split: str) -> list[Path]:
    """Return the folders that a split's samples depend on, for the cache."""
    return [root]
