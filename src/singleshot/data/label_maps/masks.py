"""Folders of pictures and masks → a `Dataset`: your own, CamVid as SegNet keeps it, and Pascal VOC's segmentation.

Four layouts, told apart by what is there; the class list (`mask_classes`) lies in the top folder:

    lists       <split>.txt with `picture mask` a line, relative to the folder (SegNet's CamVid)
    split       <split>/images/* and <split>/masks/*
    plain       images/<split>/* and masks/<split>/*; or, without splits, images/* and masks/* as `train`
    voc         ImageSets/Segmentation/<split>.txt, JPEGImages/*, SegmentationClass/*.png

In the middle two a mask has its picture's name with the ending .png. In Pascal VOC's own data the palette's number is
the class and 255 the border; the drawn streets (`streets.json`) name their classes themselves.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

from singleshot import pictures
from singleshot.classes import VOC
from singleshot.data.label_maps import mask_classes
from singleshot.data.label_maps.mask_classes import MaskClasses
from singleshot.data.label_maps.mask_samples import Pair, samples_of, without_pictures
from singleshot.errors import DataError, Fault, InputMissingError
from singleshot.structures import Dataset

EXTENSIONS = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff")
MAX_BYTES = 64 << 20


def looks_like(root: Path) -> bool:
    """Whether a folder has one of the layouts above."""
    return _is_voc(root) or _is_plain(root) or bool(_lists(root)) or bool(_split_folders(root))


def read(root: Path | str, split: str) -> Dataset:
    """One split, in the order of its list, or of names where there is no list.

    Args:
        root: a folder in one of the layouts above.
        split: its name.

    Returns:
        Samples with masks; what is wrong with a pair is a fault (see `mask_samples`).

    Raises:
        InputMissingError: no such folder, layout, split or class list.
        DataError: the class list or a list of pairs is malformed, or the split is empty (`empty-split`).
    """
    root = Path(root)
    if not root.is_dir():
        raise InputMissingError("no such folder", remedy="Name a folder of pictures and masks", file=root)
    if _is_voc(root):
        classes, pairs, faults = _voc_classes(root), _voc_pairs(root, split), ()
    elif split in _lists(root):
        classes, pairs, faults = mask_classes.read(root), _listed_pairs(root, root / f"{split}.txt"), ()
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
    """Splits that are listed as pairs; a text file that is something else has no two columns in its first line."""
    found = []
    for path in sorted(root.glob("*.txt")):
        if path.name != "classes.txt" and mask_classes.find(root) is not None:
            with path.open(encoding="utf-8", errors="replace") as file:
                if len(file.readline(4096).split()) == 2:
                    found.append(path.stem)
    return found


def _split_folders(root: Path) -> list[str]:
    return sorted(path.parent.name for path in root.glob("*/masks") if (path.parent / "images").is_dir())


def _no_split(root: Path, split: str, there: Iterable[str]) -> InputMissingError:
    return InputMissingError(f"no split {split!r}", remedy=f"There are: {', '.join(there)}", file=root)


def _folder_pairs(images: Path, masks: Path) -> tuple[list[Pair], tuple[Fault, ...]]:
    found = {path.stem: path for path in sorted(images.iterdir()) if path.suffix.lower() in EXTENSIONS}
    pairs = [Pair(stem, path, masks / f"{stem}.png") for stem, path in found.items()]
    alone = [path for path in sorted(masks.glob("*.png")) if path.stem not in found] if masks.is_dir() else []
    return pairs, without_pictures(alone, images.name)


def _listed_pairs(root: Path, file: Path) -> list[Pair]:
    pairs, seen = [], dict[str, int]()
    for line, text in _lines(file):
        columns = text.split()
        if len(columns) != 2:
            what, remedy = f"{len(columns)} columns", "Write a picture and its mask, relative to this folder"
            raise DataError(what, kind="bad-list", remedy=remedy, file=file, line=line)
        # SegNet's own lists have paths of their author's machine; what lies beside the list counts.
        image, mask = (root / column.lstrip("/") for column in columns)
        if image.stem in seen:
            what = f"{image.stem} is already in line {seen[image.stem]}"
            raise DataError(what, kind="duplicate-id", remedy="Delete this line", file=file, line=line)
        seen[image.stem] = line
        pairs.append(Pair(image.stem, image, mask, file, line))
    return pairs


def _voc_pairs(root: Path, split: str) -> list[Pair]:
    folder = root / "ImageSets" / "Segmentation"
    file = folder / f"{split}.txt"
    if not file.is_file():
        raise _no_split(folder, split, sorted(path.stem for path in folder.glob("*.txt")))
    by_stem = {path.stem: path for path in (root / "JPEGImages").iterdir() if path.suffix.lower() in EXTENSIONS}
    return [
        Pair(
            stem,
            by_stem.get(stem, root / "JPEGImages" / f"{stem}.jpg"),
            root / "SegmentationClass" / f"{stem}.png",
            file,
            line,
        )
        for line, stem in _lines(file)
    ]


def _voc_classes(root: Path) -> MaskClasses:
    if mask_classes.find(root) is not None:
        return mask_classes.read(root)
    manifest = root / "streets.json"
    if manifest.is_file():
        names = json.loads(manifest.read_text(encoding="utf-8")).get("mask", [])
        return mask_classes.from_names([str(name) for name in names], manifest)
    return mask_classes.from_names(["background", *VOC], root)


def _lines(file: Path) -> list[tuple[int, str]]:
    """The lines of a list that hold something, with their 1-based numbers."""
    try:
        data = pictures.file_bytes(file, MAX_BYTES)
    except DataError as error:
        if error.kind == "empty-file":
            return []
        raise
    lines = data.decode("utf-8-sig", "surrogateescape").split("\n")
    return [(number, line.strip()) for number, line in enumerate(lines, start=1) if line.strip()]
