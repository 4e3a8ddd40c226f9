"""Choose the images of a pool that are worth labelling next: those of which a detector is unsure and that differ.

The uncertainty of an image is the sum over its detections of 1 − |2p − 1| for the score p: a score of one half counts
most, and an image with many objects more than one with few. Four times as many of the most uncertain images as are
wanted are candidates. Of them each next one is the farthest from all that are labelled or chosen, by the mean of the
backbone's first feature maps, so that ten shots of one scene are not chosen together.

Brust et al., "Active Learning for Deep Object Detection" (2018), for the sum; Sener and Savarese, "Active Learning for
Convolutional Neural Networks: A Core-Set Approach" (2018), for the farthest.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from numpy import ndarray

from singleshot import preprocess
from singleshot.errors import DataError, Fault, InputMissingError, UsageError, fault_of
from singleshot.images import read_image
from singleshot.prediction.exported import ExportedDetector
from singleshot.prediction.load import load_detector
from singleshot.prediction.predictor import Detector
from singleshot.prediction.sources import resolve

LEAST_SCORE = 0.05
CANDIDATES = 4
"""So many times the wanted number of images are candidates for being different."""
MAPS = 3
"""Feature maps of the backbone that describe an image: the finest ones."""


@dataclass(frozen=True)
class Selection:
    """The images to label next.

    Args:
        images: their files, the one to label first first.
        uncertainties: of each, at least 0; see the module.
        pool: how many images there were to choose from.
        faults: of files that could not be read, which are left out.
    """

    images: tuple[Path, ...]
    uncertainties: tuple[float, ...]
    pool: int
    faults: tuple[Fault, ...]

    def as_json(self) -> dict[str, Any]:
        """Return the selection as JSON types."""
        rows = zip(self.images, self.uncertainties, strict=True)
        chosen = [{"image": str(image), "uncertainty": round(value, 4)} for image, value in rows]
        return {"pool": self.pool, "left_out": len(self.faults), "images": chosen}


def select(
    pool: str | Path | Sequence[str | Path],
    weights: str | Path | Detector,
    count: int,
    *,
    labelled: str | Path | Sequence[str | Path] = (),
    recursive: bool = False,
    device: str = "auto",
    on_image: Callable[[int, int], None] | None = None,
) -> Selection:
    """Choose `count` images of a pool to label next, or all of them if there are fewer.

    Args:
        pool: a folder of images without labels, or files.
        weights: a detector trained on what is labelled so far, or its weights; an export gives no features.
        count: how many, at least 1.
        labelled: images that have labels already, as `pool`: chosen ones differ from them too, and a file that is in
            both is not chosen.
        recursive: look into subfolders.
        device: where the detector computes, as in `load`.
        on_image: called after each image with the number of images done and the number of all.

    Raises:
        UsageError: a count below 1, or an exported model.
        InputMissingError: there is no image to choose from.
        DataError, NotPermittedError: as `load`.
    """
    if count < 1:
        raise UsageError(f"{count} images are to be chosen", remedy="Choose 1 or more")
    detector = weights if isinstance(weights, Detector) else load_detector(weights, device=device)
    if isinstance(detector, ExportedDetector):
        raise UsageError("an exported model has no feature maps", remedy="Name the weights that it was made from")
    known = _images(labelled, recursive)
    resolved = {image.resolve() for image in known}
    images = [image for image in _images(pool, recursive) if image.resolve() not in resolved]
    if not images:
        remedy = "Name a folder of images, or add --recursive" if not recursive else "Name a folder of images"
        raise InputMissingError("there is no image to choose from", remedy=remedy)
    values: list[float] = []
    features: list[Float[ndarray, " F"]] = []
    faults: list[Fault] = []
    read: list[Path] = []
    for done, image in enumerate([*known, *images], start=1):
        try:
            value, feature = describe(detector, image)
        except (DataError, InputMissingError) as error:
            faults.append(fault_of(error, image))
        else:
            read.append(image)
            values.append(value)
            features.append(feature)
        if on_image is not None:
            on_image(done, len(known) + len(images))
    of_pool = [index for index, image in enumerate(read) if image.resolve() not in resolved]
    before = [index for index in range(len(read)) if index not in set(of_pool)]
    candidates = sorted(of_pool, key=lambda index: -values[index])[: CANDIDATES * count]
    chosen = farthest_first(np.stack(features), before, candidates, count) if candidates else []
    paths, unsure = tuple(read[index] for index in chosen), tuple(values[index] for index in chosen)
    return Selection(paths, unsure, len(images), tuple(faults))


def _images(source: str | Path | Sequence[str | Path], recursive: bool) -> tuple[Path, ...]:
    named = [source] if isinstance(source, str | Path) else list(source)
    return resolve([str(each) for each in named], recursive=recursive).images if named else ()


@torch.inference_mode()
def describe(detector: Detector, image: Path) -> tuple[float, Float[ndarray, " F"]]:
    """Return the uncertainty and the features of an image file. Raises what `read_image` raises."""
    pixels = read_image(image)
    scores = detector.predict(pixels, threshold=LEAST_SCORE).scores
    inputs = preprocess.normalise(
        detector.preprocess([pixels]).images.to(detector.device), detector.network.config.preprocess
    )
    maps = detector.network.trunk(inputs)[:MAPS]
    return uncertainty(scores), torch.cat([each.mean(dim=(2, 3)) for each in maps], dim=1)[0].float().cpu().numpy()


def uncertainty(scores: Float[ndarray, " D"]) -> float:
    """Return the uncertainty of an image by the scores of its detections, in 0…D; 0 for none.

    >>> uncertainty(np.array([0.5, 1.0, 0.25]))
    1.5
    """
    return float(np.sum(1 - np.abs(2 * np.asarray(scores, np.float64) - 1)))


def farthest_first(
    features: Float[ndarray, "N F"], labelled: Sequence[int], candidates: Sequence[int], count: int
) -> list[int]:
    """Return `count` candidates, or all if there are fewer, each the farthest from all labelled and chosen ones.

    Args:
        features: of each image.
        labelled: indices of images that are labelled already; where there is none, the first candidate comes first.
        candidates: indices of images to choose from, in order: of equally far ones the first is taken.
        count: how many.
    """
    nearest = np.full(len(features), np.inf)
    chosen: list[int] = []
    for index in labelled:
        nearest = np.minimum(nearest, np.linalg.norm(features - features[index], axis=1))
    left = list(candidates)
    while left and len(chosen) < count:
        best = left.pop(int(np.argmax(nearest[left])))
        chosen.append(best)
        nearest = np.minimum(nearest, np.linalg.norm(features - features[best], axis=1))
    return chosen
