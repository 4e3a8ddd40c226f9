"""The records that travel: LabelMap, Sample, Dataset, Batch and Detections.

Boxes in a record are `xyxy` in pixels of the picture they ride with: continuous edges that start at 0, so that a
box from the left edge to the right edge of a 640-pixel picture is (0, ·, 640, ·). Class ids are 0-based, without a
background class; the network's background never leaves `detection/`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, UInt8
from numpy import ndarray

from singleshot.errors import ConfigError, DataError, Fault


@dataclass(frozen=True)
class LabelMap:
    """Class names in the order of their ids: `names[class_id]`. Names are unique and not empty."""

    names: tuple[str, ...]

    def __post_init__(self) -> None:
        if len(set(self.names)) != len(self.names):
            repeated = sorted({name for name in self.names if self.names.count(name) > 1})
            raise DataError(f"class names occur twice: {', '.join(repeated)}", remedy="Give every class one name")
        if not all(self.names):
            raise DataError("a class has an empty name", remedy="Give every class a name")

    def __len__(self) -> int:
        return len(self.names)

    def id_of(self, name: str) -> int:
        """The id of a class. Raises KeyError where no class has that name."""
        try:
            return self.names.index(name)
        except ValueError:
            raise KeyError(name) from None

    def names_of(self, class_ids: Int[ndarray, " N"]) -> Any:
        """The names of some ids as an (N,) array of text; an empty one for no ids."""
        return np.asarray(self.names, dtype=object)[class_ids] if len(class_ids) else np.empty(0, dtype=object)


@dataclass(frozen=True)
class Sample:
    """One picture of a data set and what its annotation says.

    Args:
        image_id: the picture's name in its data set, unique there (VOC: the stem).
        image_path: the file that holds the pixels.
        size_hw: height and width in pixels as annotated, or None where the format does not say.
        boxes_xyxy: (N, 4) pixels, continuous, x1 < x2 and y1 < y2, finite. N may be 0: a background picture.
        class_ids: (N,) 0-based.
        difficult: (N,) boxes that VOC's protocol leaves out of the score.
        mask_path: the segmentation mask, if there is one.
    """

    image_id: str
    image_path: Path
    size_hw: tuple[int, int] | None
    boxes_xyxy: Float[ndarray, "N 4"]
    class_ids: Int[ndarray, " N"]
    difficult: Bool[ndarray, " N"]
    mask_path: Path | None = None

    def __post_init__(self) -> None:
        count = len(self.boxes_xyxy)
        if self.boxes_xyxy.shape != (count, 4) or self.class_ids.shape != (count,) or self.difficult.shape != (count,):
            raise ValueError(
                f"{self.image_id}: boxes {self.boxes_xyxy.shape}, classes {self.class_ids.shape} and "
                f"difficult {self.difficult.shape} do not belong together"
            )


@dataclass(frozen=True)
class Dataset:
    """One split of a data set as a reader found it.

    Args:
        root: the folder that the user named. It is never written to.
        layout: what the folder was taken for, such as `voc`.
        split: the name of the split.
        label_map: class names.
        samples: the pictures, in the split's own order.
        faults: what is wrong with the data; faulty boxes are not in `samples`.
    """

    root: Path
    layout: str
    split: str
    label_map: LabelMap
    samples: Sequence[Sample]
    faults: tuple[Fault, ...] = ()

    def __len__(self) -> int:
        return len(self.samples)


@dataclass(frozen=True)
class Batch:
    """Pictures and their boxes, ready for the device. Boxes are padded to the longest picture of the batch.

    Args:
        images: (B, H, W, 3) uint8 RGB at network size; made float on the device.
        boxes_xyxy: (B, N, 4) float32 pixels of the H×W picture; rows past a picture's own are 0.
        class_ids: (B, N) int64, 0-based; −1 marks a padding row. N may be 0.
        image_ids: names of the pictures, for messages.
        indices: (B,) their places in the data set.
        sizes_hw: (B, 2) height and width of each picture's file, before it was brought to H×W.
    """

    images: UInt8[torch.Tensor, "B H W 3"]
    boxes_xyxy: Float[torch.Tensor, "B N 4"]
    class_ids: Int[torch.Tensor, "B N"]
    image_ids: tuple[str, ...]
    indices: Int[torch.Tensor, " B"]
    sizes_hw: Int[torch.Tensor, "B 2"]

    def __len__(self) -> int:
        return len(self.image_ids)

    def to(self, device: torch.device | str) -> Batch:
        """The same batch with pixels, boxes and classes on a device; names, places and sizes stay.

        Copies overlap with computation where the host memory is pinned.
        """
        return replace(
            self,
            images=self.images.to(device, non_blocking=True),
            boxes_xyxy=self.boxes_xyxy.to(device, non_blocking=True),
            class_ids=self.class_ids.to(device, non_blocking=True),
        )

    def pin_memory(self) -> Batch:
        """The same batch in page-locked memory; the loader calls this where there is a CUDA device."""
        return replace(
            self,
            images=self.images.pin_memory(),
            boxes_xyxy=self.boxes_xyxy.pin_memory(),
            class_ids=self.class_ids.pin_memory(),
        )


@dataclass(frozen=True)
class Detections:
    """What was found in one picture, best score first.

    Args:
        boxes_xyxy: (N, 4) float32 pixels of the original picture, continuous.
        scores: (N,) float32 in 0…1, descending.
        class_ids: (N,) int64, 0-based.
        class_names: (N,) the names of `class_ids`, as an array of text.
        size_hw: height and width of the picture.

    N is 0 where nothing was found.
    """

    boxes_xyxy: Float[ndarray, "N 4"]
    scores: Float[ndarray, " N"]
    class_ids: Int[ndarray, " N"]
    class_names: Any = field(repr=False)
    size_hw: tuple[int, int]

    def __post_init__(self) -> None:
        count = len(self.boxes_xyxy)
        shapes = (self.boxes_xyxy.shape, self.scores.shape, self.class_ids.shape, np.shape(self.class_names))
        if shapes != ((count, 4), (count,), (count,), (count,)):
            raise ValueError(f"boxes, scores, class ids and names do not belong together: {shapes}")

    def __len__(self) -> int:
        return len(self.scores)

    def __getitem__(self, keep: Any) -> Detections:
        """The rows that a mask, a slice or an index array selects."""
        return Detections(
            self.boxes_xyxy[keep], self.scores[keep], self.class_ids[keep], self.class_names[keep], self.size_hw
        )

    def above(self, threshold: float) -> Detections:
        """Those that score at least `threshold`."""
        return self[self.scores >= threshold]

    def as_json(self) -> list[dict[str, Any]]:
        """One dictionary a detection: `class`, `class_id`, `score`, `box_xyxy`."""
        rows = zip(self.class_names, self.class_ids, self.scores, self.boxes_xyxy, strict=True)
        return [
            {"class": str(name), "class_id": int(i), "score": float(score), "box_xyxy": [float(edge) for edge in box]}
            for name, i, score, box in rows
        ]

    def to_supervision(self) -> Any:
        """The same as `supervision.Detections`. Needs the package supervision (`pip install supervision`)."""
        try:
            import supervision  # pyright: ignore[reportMissingImports]
        except ImportError as error:
            raise ConfigError("supervision is not installed", remedy="pip install supervision") from error
        return supervision.Detections(
            xyxy=self.boxes_xyxy,
            confidence=self.scores,
            class_id=self.class_ids,
            data={"class_name": np.asarray(self.class_names, dtype=str)},
        )
