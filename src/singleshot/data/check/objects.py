"""What a data set has nothing of: no object at all, or a class that no image has.

Training on images without a single object runs, converges and gives weights that detect nothing. The usual causes are
a folder of labels under another name and files that an export left empty, so the fault names where labels were looked
for. A class without an object costs less, and is a warning. Of masks the same holds for pixels; there, the usual cause
is a mask of 0 and 255, in which 255 is void by convention and was meant to be the class.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from pathlib import Path

import numpy as np

from singleshot.data.cache import label_places
from singleshot.data.faults import make_fault
from singleshot.data.masks import files as mask_files
from singleshot.errors import Fault, SingleshotError
from singleshot.structures import VOID, Dataset, evenly_spaced

SHOWN_FOLDERS = 3
SHOWN_CLASSES = 10
MASKS_READ = 64
"""Masks that are read before a training, evenly spaced in the split."""


def no_object(dataset: Dataset) -> Fault | None:
    """Return a fatal fault (`no-object`) where a split of boxes has no object to train on; None else, and for masks.

    Difficult objects and crowds are not trained on. A split without images has the faults of its images.
    """
    samples = dataset.samples
    if not samples or any(sample.mask_path is not None for sample in samples):
        return None
    if any((~sample.difficult).any() for sample in samples):
        return None
    if any(len(sample.difficult) for sample in samples):
        message = f"every object of {dataset.split} is difficult or a crowd: there is nothing to train on"
        return make_fault("no-object", message, dataset.root, remedy="Mark those that can be recognised as ordinary")
    message = f"no object in the {len(samples)} images of {dataset.split}; labels were looked for in "
    return make_fault("no-object", message + searched(dataset), dataset.root)


def no_pixel(dataset: Dataset) -> Fault | None:
    """Return a fatal fault (`no-object`) where every mask of a split is void all over; None else, and for boxes.

    Reads masks until one has a class. One that cannot be read is left to the loader, and may have one.
    """
    paths = [sample.mask_path for sample in dataset.samples if sample.mask_path is not None]
    if dataset.mask_code is None or not paths:
        return None
    for path in paths:
        try:
            if (mask_files.read(path, dataset.mask_code) != VOID).any():
                return None
        except SingleshotError:
            return None
    return all_void(dataset.root, paths)


def all_void(root: Path, masks: Sequence[Path]) -> Fault:
    """Return the fault of masks none of which has a class."""
    places = ", ".join(sorted({str(path.parent) for path in masks})[:SHOWN_FOLDERS])
    message = f"no pixel of a class in the {len(masks)} masks in {places}: there is nothing to train on"
    return make_fault("no-object", message, root, remedy="Draw masks, or correct the numbers of the classes")


def searched(dataset: Dataset) -> str:
    """Return the files or folders that labels were looked for in, as text."""
    places = dataset.labels or label_places(dataset.samples)
    shown = [str(place) for place in places[:SHOWN_FOLDERS]] or [str(dataset.root)]
    more = f" and {len(places) - SHOWN_FOLDERS} more" if len(places) > SHOWN_FOLDERS else ""
    return ", ".join(shown) + more


def classes_without_object(datasets: Sequence[Dataset]) -> list[Fault]:
    """Return a warning (`class-without-object`) that names the classes without any object in some splits of boxes.

    Returns [] where all have one, and where there is no object at all, which is `no_object`'s fault.
    """
    named = {name: None for dataset in datasets for name in dataset.label_map.names}
    used = {
        dataset.label_map.names[class_id]
        for dataset in datasets
        for sample in dataset.samples
        for class_id in np.unique(sample.class_ids).tolist()
    }
    absent = [name for name in named if name not in used]
    if not used or not absent:
        return []
    message = f"no object of {_classes(absent)} in {', '.join(dict.fromkeys(each.split for each in datasets))}"
    return [make_fault("class-without-object", message, datasets[0].root)]


def classes_without_pixel(
    names: Sequence[str], found: Collection[int], root: Path, *, masks: int, void_values: Iterable[int] = (VOID,)
) -> list[Fault]:
    """Return a warning (`class-without-object`) that names the classes that no mask has; [] where all have pixels.

    Args:
        names: the classes.
        found: the class ids of all pixels, `VOID` included.
        root: the data set's folder.
        masks: how many masks were read; [] for none.
        void_values: the numbers in the masks that mean void.
    """
    absent = [name for class_id, name in enumerate(names) if class_id not in found]
    if not absent or not masks:
        return []
    message = f"no pixel of {_classes(absent)} in the {masks} masks that were read"
    if VOID not in found:
        return [make_fault("class-without-object", message, root)]
    values = ", ".join(map(str, void_values))
    message += f", which have pixels of {values}: that value is void and never learned"
    remedy = f'If it means a class, write its number instead, or give it "id": {values} in classes.json'
    return [make_fault("class-without-object", message, root, remedy=remedy)]


def classes_without_pixel_in(dataset: Dataset) -> list[Fault]:
    """Return the warning of `classes_without_pixel` for some masks of a split, evenly spaced; [] where there is none.

    Only where a void value has pixels: a rare class may be missing in a part of the masks.
    """
    paths = [sample.mask_path for sample in dataset.samples if sample.mask_path is not None]
    if dataset.mask_code is None or not paths:
        return []
    found: set[int] = set()
    chosen = [paths[index] for index in evenly_spaced(len(paths), MASKS_READ)]
    for path in chosen:
        try:
            found |= set(np.unique(mask_files.read(path, dataset.mask_code)).tolist())
        except SingleshotError:  # the loader reports it
            continue
        if len(found - {VOID}) == len(dataset.label_map):
            return []
    if VOID not in found:
        return []
    return classes_without_pixel(dataset.label_map.names, found, dataset.root, masks=len(chosen))


def _classes(names: Sequence[str]) -> str:
    more = f" and {len(names) - SHOWN_CLASSES} more" if len(names) > SHOWN_CLASSES else ""
    noun = "class" if len(names) == 1 else "classes"
    return f"{noun} {', '.join(map(repr, names[:SHOWN_CLASSES]))}{more}"
