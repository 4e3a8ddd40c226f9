"""Folders of pictures and masks → a `Dataset`: your own, CamVid as SegNet keeps it, and Pascal VOC's segmentation.

Four layouts, told apart by what is there; the class list (`mask_classes`) lies in the top folder:

    lists       <split>.txt with `picture mask` a line (SegNet's CamVid), see `mask_lists`
    split       <split>/images/* and <split>/masks/*
    plain       images/<split>/* and masks/<split>/*; or, without splits, images/* and masks/* as `train`
    voc         ImageSets/Segmentation/<split>.txt, JPEGImages/*, SegmentationClass/*.png

In the middle two a mask has its picture's name with the ending .png. In Pascal VOC's own data the palette's number is
the class and 255 the border; the drawn streets (`streets.json`) name their classes themselves.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from singleshot.classes import VOC
from singleshot.data.boxes import json_file
from singleshot.data.boxes.json_values import is_text
from singleshot.data.boxes.voc_folder import by_stem, covered
from singleshot.data.masks import mask_classes, mask_lists
from singleshot.data.masks.mask_classes import MaskClasses
from singleshot.data.masks.mask_samples import Pair, samples_of, without_pictures
from singleshot.errors import DataError, Fault, InputMissingError
from singleshot.images import IMAGE_SUFFIXES
from singleshot.structures import Dataset

MAX_BYTES = 16 << 20


def looks_like(root: Path) -> bool:
    """Whether a folder has one of the layouts above."""
    return _is_voc(root) or _is_plain(root) or bool(_lists(root)) or bool(_split_folders(root))


def read(root: Path | str, split: str) -> Dataset:
    """One split, in the order of its list, or of names where there is no list.

    Args:
        root: a folder in one of the layouts above.
        split: its name.

    Returns:
        Samples with masks; what is wrong with a pair is a fault (see `mask_samples`), and a warning `duplicate-id`
        says which file or line is not used because another bears its name.

    Raises:
        InputMissingError: no such folder, layout, split or class list.
        DataError: the class list or a list of pairs is malformed, or the split is empty (`empty-split`).
    """
    root = Path(root)
    if not root.is_dir():
        raise InputMissingError("no such folder", remedy="Name a folder of pictures and masks", file=root)
    if _is_voc(root):
        classes = _voc_classes(root)
        pairs, faults = _voc_pairs(root, split)
    elif split in _lists(root):
        classes = mask_classes.read(root)
        pairs, faults = mask_lists.read(root / f"{split}.txt")
    elif split in _split_folders(root):
        classes = mask_classes.read(root)
        pairs, faults = _folder_pairs(root / split / "images", root / split / "masks")
    elif _is_plain(root):
        images, masks = root / "images", root / "masks"
        nested = sorted(path.name for path in images.iterdir() if path.is_dir())
        if split not in (nested or ["train"]):
            raise _no_split(root, split, nested or ["train"])
        classes = mask_classes.read(root)
        pairs, faults = _folder_pairs(images / split, masks / split) if nested else _folder_pairs(images, masks)
    else:
        there = [*_lists(root), *_split_folders(root)]
        if there:
            raise _no_split(root, split, there)
        remedy = "See docs/how-to/segmentation.md for the layouts"
        raise InputMissingError("not a folder of pictures and masks", remedy=remedy, file=root)
    samples, more = samples_of(pairs)
    faults = (*faults, *more)
    if not samples and not faults:
        raise DataError(f"0 pictures in {split}", kind="empty-split", remedy="Add pictures and masks", file=root)
    return Dataset(root, "masks", split, classes.label_map, samples, faults, classes.code, classes.colours)


def splits(root: Path) -> list[str]:
    """The names of a folder's splits; [] where it has none of the layouts above."""
    if _is_voc(root):
        return sorted(path.stem for path in (root / "ImageSets" / "Segmentation").glob("*.txt"))
    found = [*_lists(root), *_split_folders(root)]
    if not found and _is_plain(root):
        found = sorted(path.name for path in (root / "images").iterdir() if path.is_dir()) or ["train"]
    return found


def _is_voc(root: Path) -> bool:
    return (root / "SegmentationClass").is_dir() and (root / "ImageSets" / "Segmentation").is_dir()


def _is_plain(root: Path) -> bool:
    return (root / "images").is_dir() and (root / "masks").is_dir()


def _lists(root: Path) -> list[str]:
    """Splits that are listed as pairs; a text file that is something else has no pair in its first line."""
    if mask_classes.find(root) is None:
        return []
    return [path.stem for path in sorted(root.glob("*.txt")) if path.name != "classes.txt" and mask_lists.is_list(path)]


def _split_folders(root: Path) -> list[str]:
    return sorted(path.parent.name for path in root.glob("*/masks") if (path.parent / "images").is_dir())


def _no_split(root: Path, split: str, there: Iterable[str]) -> InputMissingError:
    return InputMissingError(f"no split {split!r}", remedy=f"There are: {', '.join(there)}", file=root)


def _folder_pairs(images: Path, masks: Path) -> tuple[list[Pair], tuple[Fault, ...]]:
    files = sorted(images.iterdir()) if images.is_dir() else []
    found = by_stem(files, IMAGE_SUFFIXES)
    pairs = [Pair(stem, path, masks / f"{stem}.png") for stem, path in sorted(found.items())]
    alone = [path for path in sorted(masks.glob("*.png")) if path.stem not in found] if masks.is_dir() else []
    return pairs, (*covered(files, found, IMAGE_SUFFIXES), *without_pictures(alone, images.name))


def _voc_pairs(root: Path, split: str) -> tuple[list[Pair], tuple[Fault, ...]]:
    folder, pictures = root / "ImageSets" / "Segmentation", root / "JPEGImages"
    file = folder / f"{split}.txt"
    if not file.is_file():
        raise _no_split(folder, split, sorted(path.stem for path in folder.glob("*.txt")))
    if not pictures.is_dir():
        raise InputMissingError("no folder of pictures", remedy="Put them into JPEGImages", file=pictures)
    files = sorted(pictures.iterdir())
    found = by_stem(files, IMAGE_SUFFIXES)
    lines: dict[str, int] = {}
    faults = covered(files, found, IMAGE_SUFFIXES)
    for line, stem in mask_lists.lines(file):
        if lines.setdefault(stem, line) != line:
            faults.append(mask_lists.repeated(file, line, stem, lines[stem]))
    truths = root / "SegmentationClass"
    return [
        Pair(stem, found.get(stem, pictures / f"{stem}.jpg"), truths / f"{stem}.png", file, line)
        for stem, line in lines.items()
    ], tuple(faults)


def _voc_classes(root: Path) -> MaskClasses:
    if mask_classes.find(root) is not None:
        return mask_classes.read(root)
    manifest = root / "streets.json"
    if not manifest.exists():
        return mask_classes.from_names(["background", *VOC], root)
    content = json_file.read(manifest, max_bytes=MAX_BYTES)
    names = content.get("mask") if isinstance(content, dict) else None
    if not isinstance(names, list) or not all(is_text(name) for name in names):
        raise DataError("no list `mask` of class names", remedy="Take the file that came with the data", file=manifest)
    return mask_classes.from_names(names, manifest)
