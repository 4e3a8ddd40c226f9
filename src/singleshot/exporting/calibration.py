"""Images for the calibration of an 8-bit network, and the score that 8 bits cost on them.

A folder in a layout that `data.read` recognises serves for both: its images, and with their annotations the score
before and after. A plain folder of images serves for calibration only. The images are evenly spaced over the whole
list, because neighbours in a list are often frames of one video.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from jaxtyping import UInt8
from numpy import ndarray

from singleshot.data import folders
from singleshot.data import read as reading
from singleshot.data.faults import refuse_or_list
from singleshot.errors import DataError, InputMissingError
from singleshot.evaluation.evaluate import metric_for
from singleshot.evaluation.loop import eval_loader, evaluate_split
from singleshot.images import IMAGE_SUFFIXES, read_image
from singleshot.prediction.predictor import Detector, Segmenter
from singleshot.preprocess import Preprocess, to_input
from singleshot.structures import Dataset, evenly_spaced

PICTURES = 128
"""Images for calibration; the score is measured on `MOST_JUDGED` at most."""
MOST_JUDGED = 300
SCORES: dict[str, Literal["voc07", "miou"]] = {"detection": "voc07", "segmentation": "miou"}
SPLITS = ("val", "test", "trainval", "train")
"""The split that is used where a data set has several: the first of these that exists."""


@dataclass(frozen=True)
class Calibration:
    """Images for calibration.

    Args:
        files: the images.
        dataset: the same images with annotations; None without annotations.
    """

    files: tuple[Path, ...]
    dataset: Dataset | None


@dataclass(frozen=True)
class Cost:
    """The score that an export costs.

    Args:
        metric: `voc07` or `miou`.
        before: the model's score, 0…1; None where no class has an object.
        after: the export's.
        pictures: the number of images evaluated.
        split: the split's name.
    """

    metric: str
    before: float | None
    after: float | None
    pictures: int
    split: str

    def as_json(self) -> dict[str, Any]:
        """Return the fields as JSON."""
        return asdict(self)

    def __str__(self) -> str:
        if self.before is None or self.after is None:
            return f"{self.metric} on {self.pictures} pictures of {self.split}: nothing to find, so no score"
        lost = 100 * (self.before - self.after)
        scores = f"{self.before:.4f} before, {self.after:.4f} after: {lost:.2f} points lost"
        return f"{self.metric} on {self.pictures} pictures of {self.split}: {scores}"


def read(folder: Path, model: Detector | Segmenter) -> Calibration:
    """Find the images of a folder or data set.

    Raises:
        InputMissingError: there is no such folder, or no image or split in it.
        DataError: its annotations are faulty (FaultyDataError), which would affect the score silently; or its classes
            are not the model's.
    """
    with_masks = model.task == "segmentation"
    try:
        names = reading.splits(folder, with_masks=with_masks)
    except InputMissingError:
        inside = folders.matching(folder, "**/*") if folder.is_dir() else ()
        found = [each for each in inside if each.suffix.lower() in IMAGE_SUFFIXES]
        if not found:
            remedy = "Name a folder of pictures, or a data set"
            raise InputMissingError("no pictures to calibrate on", remedy=remedy, file=folder) from None
        return Calibration(tuple(found), None)
    if not names:
        raise InputMissingError("no split", remedy="Name a folder of pictures, or a data set", file=folder)
    split = next((name for name in SPLITS if name in names), names[0])
    dataset = reading.read(folder, split, label_map=None if with_masks else model.label_map, with_masks=with_masks)
    if dataset.label_map != model.label_map:
        theirs, ours = ", ".join(dataset.label_map.names), ", ".join(model.label_map.names)
        what = f"the split's classes are {theirs}, the model's {ours}"
        raise DataError(what, kind="other-classes", remedy="Calibrate on data with the model's classes", file=folder)
    refuse_or_list([dataset], "fail", remedy="Mend them, or calibrate on a folder that holds pictures alone")
    return Calibration(tuple(sample.image_path for sample in dataset.samples), dataset)


def inputs_of(files: Sequence[Path], preprocess: Preprocess) -> list[UInt8[ndarray, "1 H W 3"]]:
    """Read some of the images, each as a batch of one at the network's input size."""
    chosen = [files[place] for place in evenly_spaced(len(files), PICTURES)]
    return [np.ascontiguousarray(to_input(read_image(file), preprocess)[None]) for file in chosen]


def cost(
    before: Detector | Segmenter, after: Detector | Segmenter, dataset: Dataset, batch_size: int | None = None
) -> Cost:
    """The scores of a model and of its export on the same pictures: VOC's AP, or mean IoU."""
    places = evenly_spaced(len(dataset), MOST_JUDGED)
    part = replace(dataset, samples=[dataset.samples[place] for place in places])
    metric = SCORES[before.task]
    # Images that cannot be read are left out of both.
    was, now = (
        evaluate_split(
            model,
            eval_loader(model, part, batch_size=batch_size, on_bad="skip"),
            metric_for(metric, part, instances=False),
        )
        for model in (before, after)
    )
    return Cost(metric, was.score, now.score, was.images, dataset.split)
