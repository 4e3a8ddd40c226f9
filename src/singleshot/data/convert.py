"""From one layout of boxes to another: `voc`, `coco` and `yolo`, in any direction.

Readers bring every layout to samples with continuous boxes, and writers take them from there, so three of each make
all nine ways. A box keeps its position to a hundredth of a pixel or better; what a layout cannot hold is reported,
never dropped without a message.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from singleshot.data.boxes import coco, voc, yolo
from singleshot.data.boxes.writing import Item, items, note, wrong_size
from singleshot.errors import SingleshotError, UsageError
from singleshot.images import read_size_hw
from singleshot.storage.atomic import new_folder
from singleshot.structures import Dataset

Layout = Literal["voc", "coco", "yolo"]
_WRITERS = {"voc": voc.write, "coco": coco.write, "yolo": yolo.write}


@dataclass
class Conversion:
    """What a conversion wrote.

    Args:
        images: how many were copied.
        boxes: how many were given to the writer.
        notes: what the target layout cannot hold, a sentence each.
    """

    images: int
    boxes: int
    notes: list[str]


def convert(
    datasets: Sequence[Dataset], to: Layout, out: Path, *, on_image: Callable[[int], None] | None = None
) -> Conversion:
    """Write some splits of a data set in another layout.

    Args:
        datasets: the splits, all with the same classes. At least one.
        to: the layout.
        out: the new folder. It may exist if it is empty; nothing is ever replaced.
        on_image: called with the number of images that are done.

    Raises:
        UsageError: no split, or splits with different classes.
        DataError: two images would get the same name, or one cannot be read.
        CannotCreateError, NotPermittedError, StorageError: as `new_folder`; nothing is left behind.
    """
    if not datasets:
        raise UsageError("no split to convert", remedy="Name one by --split")
    if any(dataset.label_map != datasets[0].label_map for dataset in datasets):
        raise UsageError("the splits have different classes", remedy="Convert them one by one")
    done = Conversion(0, 0, [])
    masks = renamed_images = 0

    def counted() -> Iterator[Item]:
        nonlocal masks, renamed_images
        for item in items(datasets, one_folder=to == "voc"):
            yield item  # and goes on when the writer asks for the next one
            done.images += 1
            done.boxes += len(item.sample.boxes_xyxy)
            renamed_images += item.stem != item.sample.image_path.stem
            masks += item.sample.mask_path is not None
            if on_image is not None:
                on_image(done.images)

    with new_folder(out) as folder:
        done.notes = _WRITERS[to](datasets, counted(), folder)
    done.notes = note(masks, "mask is", "masks are", "not carried over: conversions are of boxes") + done.notes
    message = "called by the names of their folders too: others have their name"
    done.notes += note(renamed_images, "image is", "images are", message)
    if datasets[0].layout in ("voc", "voc_xml"):
        done.notes.append("VOC's pose, truncated, occluded and part tags are not read, and so not carried over")
    return done


def without_wrong_sizes(dataset: Dataset) -> Dataset:
    """Return a split without images whose annotated size is not their own: they are faults (`wrong-size`, fatal).

    An image that cannot be read is left to the reader and the writer.
    """
    kept, faults = [], []
    for sample in dataset.samples:
        try:
            size_hw = read_size_hw(sample.image_path)
        except SingleshotError:
            size_hw = None
        if size_hw is None or sample.size_hw in (None, size_hw):
            kept.append(sample)
        else:
            faults.append(wrong_size(sample, size_hw).as_fault())
    return replace(dataset, samples=tuple(kept), faults=(*dataset.faults, *faults)) if faults else dataset


def without_unions(datasets: Sequence[Dataset]) -> tuple[list[Dataset], list[str]]:
    """Return the splits without those that only join others (VOC's `trainval`), and the names of these.

    For layouts with a folder a split, in which a union would hold every image twice.
    """
    files = [frozenset(sample.image_path for sample in dataset.samples) for dataset in datasets]
    kept, unions = [], []
    for index, dataset in enumerate(datasets):
        parts = [other for i, other in enumerate(files) if i != index and other < files[index]]
        if parts and frozenset().union(*parts) == files[index]:
            unions.append(dataset.split)
        else:
            kept.append(dataset)
    return kept, unions


def renamed(dataset: Dataset, split: str) -> Dataset:
    """Return the same split under another name."""
    return replace(dataset, split=split)
