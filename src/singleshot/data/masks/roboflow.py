"""Roboflow's export of semantic segmentation: masks beside the images, and their classes in `_classes.csv`.

    train/name_jpg.rf.HASH.jpg    train/name_jpg.rf.HASH_mask.png    train/_classes.csv        likewise valid/, test/

    Pixel Value, Class
    0, background
    1, cat

A mask holds the numbers of that table. The folder is the split; a folder that has the files itself is the split `all`.

Format: roboflow.com, export "Semantic Segmentation Masks".
"""

from __future__ import annotations

import csv
from pathlib import Path

from singleshot.data import tree
from singleshot.data.folders import files_in, subfolders
from singleshot.data.masks.files import Pair, masks_without_image, samples_of
from singleshot.data.masks.folders import MaskClasses, classes_from_numbers
from singleshot.errors import DataError, InputMissingError
from singleshot.images import IMAGE_SUFFIXES
from singleshot.storage.files import file_bytes
from singleshot.structures import Dataset

LAYOUT = "roboflow_masks"
CLASSES = "_classes.csv"
MAX_BYTES = 1 << 20
_MASK = "_mask.png"
_HEADER = ["pixel value", "class"]


def looks_like(root: Path) -> bool:
    """Return whether a folder, or one in it, has masks and classes as Roboflow exports them."""
    return bool(_folders(root))


def _folders(root: Path) -> dict[str, Path]:
    """Return the folders by split."""
    found = {}
    for folder in [root, *subfolders(root)] if root.is_dir() else []:
        if (folder / CLASSES).is_file() and any(path.name.endswith(_MASK) for path in files_in(folder)):
            name = tree.ALL if folder == root else tree.SPLIT_OF.get(folder.name.lower(), folder.name)
            found.setdefault(name, folder)
    return found


def splits(root: Path) -> list[str]:
    """Return the names of the splits, the usual ones first."""
    found = _folders(root)
    return [*(name for name in tree.ORDER if name in found), *(name for name in found if name not in tree.ORDER)]


def read(root: Path | str, split: str) -> Dataset:
    """Read one split, in the order of names.

    Args:
        root: the folder.
        split: its name.

    Returns:
        Samples with masks. Kinds of fault: those of `files.samples_of`.

    Raises:
        InputMissingError: no such folder or split.
        DataError: `_classes.csv` is no table of numbers and names (`bad-classes`), or is not that of another split
            (`other-classes`).
    """
    root = Path(root)
    if not root.is_dir():
        raise InputMissingError("no such folder", remedy="Name a folder of images and masks", file=root)
    folders = _folders(root)
    if split not in folders:
        raise tree.no_split(root, split, splits(root))
    folder = folders[split]
    classes = read_classes(folder / CLASSES)
    for other in folders.values():
        if other != folder and read_classes(other / CLASSES) != classes:
            message = f"its classes are not those of {other / CLASSES}"
            raise DataError(message, kind="other-classes", remedy="Export them together", file=folder / CLASSES)
    files = files_in(folder)
    masks = {path.name.removesuffix(_MASK): path for path in files if path.name.endswith(_MASK)}
    images = {
        path.stem: path for path in files if path.suffix.lower() in IMAGE_SUFFIXES and not path.name.endswith(_MASK)
    }
    pairs = [Pair(stem, path, folder / f"{stem}{_MASK}") for stem, path in images.items()]
    samples, faults = samples_of(pairs)
    faults += masks_without_image([path for stem, path in masks.items() if stem not in images], folder.name)
    if not samples and not faults:
        raise tree.empty_split(root)
    return Dataset(root, LAYOUT, split, classes.label_map, samples, faults, classes.code)


def read_classes(file: Path) -> MaskClasses:
    """Read `_classes.csv`. Raises DataError (`bad-classes`), with its line, where it has no numbers and names."""
    text = file_bytes(file, MAX_BYTES).decode("utf-8-sig", "replace")
    rows = csv.reader(text.splitlines(), skipinitialspace=True)
    found: dict[int, str] = {}
    remedy = "Write `Pixel Value, Class`, then a number and a name a line"
    for line, row in enumerate(rows, start=1):
        fields = [field.strip() for field in row]
        if (line == 1 and [field.lower() for field in fields] == _HEADER) or not any(fields):
            continue
        number, name = (fields[0], fields[1]) if len(fields) == 2 else ("", "")
        is_number = number.isascii() and number.isdigit() and len(number) < 10
        if not (is_number and int(number) < 255 and name) or int(number) in found:
            message = f"{', '.join(fields)[:60]!r} is not a number below 255 and a name"
            message = f"number {number} is there twice" if is_number and int(number) in found else message
            raise DataError(message, kind="bad-classes", remedy=remedy, file=file, line=line)
        found[int(number)] = name
    if not found:
        raise DataError("no classes", kind="bad-classes", remedy=remedy, file=file, line=1)
    return classes_from_numbers(found, file)
