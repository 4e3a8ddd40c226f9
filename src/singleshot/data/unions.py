"""Several VOC lists as one split: `2007_trainval+2012_trainval` of a devkit, and the unions that papers trained on.

A part is `<folder>_<list>`, where the folder may leave out its `VOC`; in a lone VOC folder it is just the list. The
list `annotated` stands for every picture that has an annotation, whether or not a list names it.

    07+12     trainval of 2007 and of 2012: 16,551 pictures
    07++12    the same and test of 2007: 21,503 pictures, to be judged on test of 2012
    2017      trainval and test of 2007, and every annotated picture of 2012 (17,125, where its list names 11,540):
              what the posts of 2017 trained on
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from singleshot.data.boxes import voc, voc_folder
from singleshot.data.boxes.voc_folder import PICTURE_FOLDER, SPLIT_FOLDER
from singleshot.errors import Fault, InputMissingError, NotPermittedError
from singleshot.structures import Dataset, LabelMap, Sample

UNIONS = {
    "07+12": "2007_trainval+2012_trainval",
    "07++12": "2007_trainval+2007_test+2012_trainval",
    "2017": "2007_trainval+2007_test+2012_annotated",
}


def is_union(root: Path, split: str) -> bool:
    """Whether a split's name is for this reader: a union, or a part of a devkit such as `2007_test`.

    A list of the user's own that is called so in a lone VOC folder is that list.
    """
    there = folders(root)
    if len(there) == 1 and split in voc_folder.split_files(there[0]):
        return False
    return split in UNIONS or "+" in split or (len(there) > 1 and _part(split, there) is not None)


def folders(root: Path) -> list[Path]:
    """The VOC folders in a devkit, or around it; the folder itself where it is one.

    What lies in it and may not be looked into is passed over. Raises NotPermittedError where that is the folder itself.
    """
    needed = (PICTURE_FOLDER, SPLIT_FOLDER)
    try:
        if not root.is_dir():
            return []
        if all((root / name).is_dir() for name in needed):
            return [root]
        inside = [*sorted(root.iterdir()), *sorted(root.glob("VOCdevkit/*"))]
    except PermissionError as error:
        raise NotPermittedError("may not be read", remedy="Change its permissions", file=root) from error
    return [path for path in inside if voc_folder.holds(path, needed)]


def parts(root: Path, split: str) -> list[tuple[Path, str]]:
    """The folder and the list of each part of a union.

    Raises InputMissingError for a part that no folder fits.
    """
    there = folders(root)
    found = []
    for text in UNIONS.get(split, split).split("+"):
        part = _part(text, there)
        if part is None:
            names = ", ".join(path.name for path in there) or "no VOC folder"
            what = f"split {split!r}: no folder for its part {text!r}"
            remedy = f"There are: {names}; write a part as 2007_trainval, or a union as {', '.join(UNIONS)}"
            raise InputMissingError(what, remedy=remedy, file=root)
        found.append(part)
    return found


def read(
    root: Path | str,
    split: str,
    *,
    label_map: LabelMap | None = None,
    annotated: bool = True,
    allow_unlabelled: bool = False,
    fix_boxes: bool = False,
) -> Dataset:
    """A union as one split, part after part.

    Args:
        root: a devkit with several VOC folders, or one VOC folder.
        split: a name of `UNIONS`, or parts joined by `+`.
        label_map: the classes and their order; None for those of all the folders, sorted.
        annotated: as in `voc.read`.
        allow_unlabelled: likewise.
        fix_boxes: likewise.

    Image ids are those of the parts; where two folders share one, each gets its folder's name and a slash before it. A
    picture of two parts (`train+trainval`) is used once, and a warning (`duplicate-id`) counts these.

    Raises what `voc.read` raises, and InputMissingError for a part that no folder fits.
    """
    root = Path(root)
    read_parts: list[Dataset] = []
    known: dict[Path, LabelMap] = {}
    rules = {"annotated": annotated, "allow_unlabelled": allow_unlabelled, "fix_boxes": fix_boxes}
    chosen = parts(root, split)
    for folder, name in chosen:
        # A folder's classes come from all its annotations; its second list need not parse them all once more.
        part = voc.read(folder, name, label_map=label_map or known.get(folder), **rules)
        known.setdefault(folder, part.label_map)
        read_parts.append(part)
    names = label_map.names if label_map else sorted({name for part in read_parts for name in part.label_map.names})
    ids = {name: class_id for class_id, name in enumerate(names)}
    folders_of: dict[str, set[Path]] = {}
    for (folder, _), part in zip(chosen, read_parts, strict=True):
        for sample in part.samples:
            folders_of.setdefault(sample.image_id, set()).add(folder)
    samples: dict[Path, Sample] = {}
    for (folder, _), part in zip(chosen, read_parts, strict=True):
        own = np.array([ids[name] for name in part.label_map.names], np.int64)
        for sample in part.samples:
            alone = len(folders_of[sample.image_id]) == 1
            image_id = sample.image_id if alone else f"{folder.name}/{sample.image_id}"
            class_ids = own[sample.class_ids] if len(own) else sample.class_ids
            samples.setdefault(sample.image_path, replace(sample, image_id=image_id, class_ids=class_ids))
    faults = dict.fromkeys(fault for part in read_parts for fault in part.faults)
    repeated = sum(map(len, read_parts)) - len(samples)
    if repeated:
        what = f"{repeated} pictures are in two parts of {split}; each is used once."
        faults[Fault(root, None, "duplicate-id", "warning", what)] = None
    return Dataset(root, "voc", split, LabelMap(tuple(names)), tuple(samples.values()), tuple(faults))


def _part(text: str, there: Sequence[Path]) -> tuple[Path, str] | None:
    for folder in there:
        for prefix in (folder.name, folder.name.removeprefix("VOC")):
            if prefix and text.startswith(f"{prefix}_"):
                return folder, text[len(prefix) + 1 :]
    return (there[0], text) if len(there) == 1 else None
