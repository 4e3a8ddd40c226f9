"""From one layout of detection data to another: `voc`, `coco` and `yolo`, in any direction.

Readers bring every layout to samples with continuous boxes, and writers take them from there, so three of each make
all nine ways. A box keeps its place to a hundredth of a pixel or better; what a layout has no room for is said, never
dropped in silence.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

from singleshot.data.boxes import coco_writer, voc_writer, yolo_writer
from singleshot.data.convert_plan import Conversion
from singleshot.data.whole_folder import whole_folder
from singleshot.errors import UsageError
from singleshot.structures import Dataset

Layout = Literal["voc", "coco", "yolo"]
_WRITERS: dict[Layout, Callable[[Sequence[Dataset], Path, Conversion], None]] = {
    "voc": voc_writer.write,
    "coco": coco_writer.write,
    "yolo": yolo_writer.write,
}


def convert(
    datasets: Sequence[Dataset], to: Layout, out: Path, *, on_picture: Callable[[int], None] | None = None
) -> Conversion:
    """Write some splits of a data set in another layout.

    Args:
        datasets: the splits, all with the same classes. At least one.
        to: the layout.
        out: the new folder. It may exist if it is empty; nothing is ever replaced.
        on_picture: called with the number of pictures that are done.

    Returns:
        What was written, and in `notes` what the layout could not hold.

    Raises:
        UsageError: no split, or splits with different classes.
        DataError: two pictures would get the same name, or one cannot be read.
        CannotCreateError, NotPermittedError, StorageError: as `whole_folder`; nothing is left behind.
    """
    if not datasets:
        raise UsageError("no split to convert", remedy="Name one by --split")
    if any(dataset.label_map != datasets[0].label_map for dataset in datasets):
        raise UsageError("the splits have different classes", remedy="Convert them one by one")
    conversion = Conversion(on_picture or (lambda _done: None))
    with whole_folder(out) as folder:
        _WRITERS[to](datasets, folder, conversion)
    if datasets[0].layout == "voc":
        conversion.notes.append("VOC's pose, truncated, occluded and part tags are not read, and so not carried over")
    return conversion


def without_unions(datasets: Sequence[Dataset]) -> tuple[list[Dataset], list[str]]:
    """The splits without those that only put others together (VOC's `trainval`), and the names of these.

    For layouts with a folder a split, in which a union would hold every picture twice.
    """
    ids = [frozenset(sample.image_path for sample in dataset.samples) for dataset in datasets]
    kept, unions = [], []
    for place, dataset in enumerate(datasets):
        parts = [other for i, other in enumerate(ids) if i != place and other < ids[place]]
        if parts and frozenset().union(*parts) == ids[place]:
            unions.append(dataset.split)
        else:
            kept.append(dataset)
    return kept, unions


def renamed(dataset: Dataset, split: str) -> Dataset:
    """The same split under another name."""
    return replace(dataset, split=split)
