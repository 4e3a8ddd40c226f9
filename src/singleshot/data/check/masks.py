"""One segmentation mask under the magnifier: does it decode, and does it know every value in it."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from singleshot.data.check.images import PictureReport, fault_of
from singleshot.data.masks import files as mask_files
from singleshot.errors import Fault, SingleshotError
from singleshot.structures import VOID, MaskCode


def report(path: Path, code: MaskCode) -> PictureReport:
    """Read one mask whole. Never raises for anything about the file: that is in `faults`.

    A mask without any class is noted (`all-void-mask`): nothing is learned from its picture.
    """
    try:
        class_ids = mask_files.read(path, code)
    except SingleshotError as error:
        return PictureReport(path, None, faults=(fault_of(error, path),))
    faults: tuple[Fault, ...] = ()
    if bool(np.all(class_ids == VOID)):
        what = "no pixel has a class: nothing is learned from this picture. Draw its mask or take it out of the list."
        faults = (Fault(path, None, "all-void-mask", "note", what),)
    return PictureReport(path, (class_ids.shape[0], class_ids.shape[1]), faults=faults)
