"""EXIF's orientation against annotations, which may have been drawn before or after the image was turned upright.

A camera that is held upright stores a landscape and says in EXIF how to turn it. Images are read upright here, as
most annotation tools show them; a tool that does not leaves boxes of the stored image. The annotated size tells which
of the two it was, unless the turn keeps the size (180°, mirrored, a square image) or no size is annotated (YOLO,
KITTI). Readers ask here for the size of every image, so every command that reads data names these images.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from singleshot.data.faults import make_fault
from singleshot.errors import Fault, SingleshotError
from singleshot.images import read_stored_size

if TYPE_CHECKING:  # structures.py imports torch, which the processes that decode images for `data check` do without
    from singleshot.structures import Dataset

SHOWN_IMAGES = 20

TURNS = {
    2: "mirrors it",
    3: "turns it by 180°",
    4: "flips it",
    5: "turns and mirrors it",
    6: "turns it by 90°",
    7: "turns and mirrors it",
    8: "turns it by 270°",
}
"""What EXIF's orientation does to the stored pixels."""


def image_size(
    image: Path, annotated_hw: tuple[int, int] | None, file: Path | None = None, line: int | None = None
) -> tuple[tuple[int, int], Fault | None]:
    """Return an image's height and width as annotated, else its own, and the fault of its orientation or None.

    Args:
        image: the image file, whose header is read.
        annotated_hw: height and width by the annotation; None where it gives none.
        file: the file at fault; None for the image.
        line: its line.

    An image that cannot be read and has an annotated size is left to whoever reads its pixels. Raises as
    `images.read_size_hw` where there is no annotated size either.
    """
    try:
        stored_hw, orientation = read_stored_size(image)
    except SingleshotError:
        if annotated_hw is None:
            raise
        return annotated_hw, None
    fault = rotation_fault(image.name, stored_hw, orientation, annotated_hw, file or image, line)
    upright_hw = (stored_hw[1], stored_hw[0]) if orientation >= 5 else stored_hw
    return annotated_hw or upright_hw, fault


def turned_warning(datasets: Sequence[Dataset]) -> str | None:
    """Return one line that names the images of `rotated-picture` faults, for who does not run `data check`; else None.

    Every such image is among its data set's faults; the line names the first `SHOWN_IMAGES`.
    """
    faults = [fault for dataset in datasets for fault in dataset.faults if fault.kind == "rotated-picture"]
    files = list(dict.fromkeys(str(fault.file) for fault in faults))
    if not files:
        return None
    more = f" and {len(files) - SHOWN_IMAGES} more" if len(files) > SHOWN_IMAGES else ""
    images, boxes = ("1 image is", "its boxes") if len(files) == 1 else (f"{len(files)} images are", "their boxes")
    message = f"{images} turned by EXIF, and nothing shows whether {boxes} were drawn before or after that"
    return f"{message}: {', '.join(files[:SHOWN_IMAGES])}{more}. Look at them by `singleshot data show`"


def rotation_fault(
    name: str,
    stored_hw: tuple[int, int],
    orientation: int,
    annotated_hw: tuple[int, int] | None,
    file: Path,
    line: int | None = None,
) -> Fault | None:
    """Return the fault of an image that EXIF turns, or None where its annotation is that of the upright image.

    `wrong-size` (fatal) where the annotated size is the stored one; `rotated-picture` (a warning) where the size cannot
    tell or there is none. None too for an annotated size that is neither.

    Args:
        name: the image's name.
        stored_hw: its height and width before it is turned.
        orientation: EXIF's, 1 to 8.
        annotated_hw: height and width by the annotation; None where it gives none.
        file: the file at fault.
        line: its line.
    """
    turned = TURNS.get(orientation)
    if turned is None:
        return None
    upright_hw = (stored_hw[1], stored_hw[0]) if orientation >= 5 else stored_hw
    if annotated_hw is None or annotated_hw == upright_hw == stored_hw:
        why = "the annotation has no size to show" if annotated_hw is None else "the size cannot show"
        return make_fault("rotated-picture", f"the EXIF tag of {name} {turned}, which {why}", file, line)
    if annotated_hw != stored_hw:
        return None
    (height, width), (upright_height, upright_width) = annotated_hw, upright_hw
    message = f"the annotated size is {width}×{height}, but {name} has {upright_width}×{upright_height} pixels"
    remedy = f"That is its size before its EXIF tag {turned}: turn the boxes too, or delete the tag"
    return make_fault("wrong-size", message, file, line, remedy=remedy)
