"""The records shared by all packages: LabelMap, Sample, Dataset, Batch, Detections, and those for masks.

Boxes in a record are `xyxy` in pixels of their image: continuous edges that start at 0, so that a
box from the left edge to the right edge of a 640-pixel image is (0, ·, 640, ·). Class ids are 0-based, without a
background class; the network's background never leaves `detection/`.
"""

from __future__ import annotations

import itertools
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Generic, NoReturn, Protocol, TypeVar, runtime_checkable

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, UInt8
from numpy import ndarray

from singleshot.errors import ConfigError, DataError, Fault, UsageError

VOID = 255
"""In a mask: belongs to no class. Neither trained nor evaluated."""
UNKNOWN = 254
"""In a `MaskCode`: a value that no mask of the data set may have."""


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
        """Return the id of a class. Raises KeyError where no class has that name."""
        try:
            return self.names.index(name)
        except ValueError:
            raise KeyError(name) from None

    def names_of(self, class_ids: Int[ndarray, " N"]) -> Any:
        """Return the names of some ids as an (N,) array of text; an empty one for no ids."""
        return np.asarray(self.names, dtype=object)[class_ids] if len(class_ids) else np.empty(0, dtype=object)


@dataclass(frozen=True)
class Sample:
    """One image of a data set and its annotation.

    Args:
        image_id: the image's name in its data set, unique there (VOC: the stem).
        image_path: the image file.
        size_hw: height and width in pixels as annotated, or None where the format does not state it.
        boxes_xyxy: (N, 4) pixels, continuous, x1 < x2 and y1 < y2, finite. N may be 0: a background image.
        class_ids: (N,) 0-based.
        difficult: (N,) boxes that VOC's protocol leaves out of the score.
        mask_path: the segmentation mask, if there is one.
        crowd: (N,) boxes around many objects at once (COCO), never trained on, and `difficult` too; None for none.
        areas: (N,) area of each object in pixels where the format states it (COCO: of its mask); None: of the boxes.
        annotation_path: the file of the boxes, where the audit needs it (YOLO, COCO).
        box_places: (N,) where each box stands in it: its line from 1 on (YOLO) or its place among the `annotations`
            from 0 on (COCO). An index cache keeps neither.
    """

    image_id: str
    image_path: Path
    size_hw: tuple[int, int] | None
    boxes_xyxy: Float[ndarray, "N 4"]
    class_ids: Int[ndarray, " N"]
    difficult: Bool[ndarray, " N"]
    mask_path: Path | None = None
    crowd: Bool[ndarray, " N"] | None = None
    areas: Float[ndarray, " N"] | None = None
    annotation_path: Path | None = None
    box_places: Int[ndarray, " N"] | None = None

    def __post_init__(self) -> None:
        count = len(self.boxes_xyxy)
        if self.boxes_xyxy.shape != (count, 4) or self.class_ids.shape != (count,) or self.difficult.shape != (count,):
            raise ValueError(
                f"{self.image_id}: boxes {self.boxes_xyxy.shape}, classes {self.class_ids.shape} and "
                f"difficult {self.difficult.shape} do not belong together"
            )


@dataclass(frozen=True)
class MaskCode:
    """How the pixel values of a data set's mask files map to classes.

    Args:
        values: (256,) the meaning of each value of a single-channel mask: a class id, `VOID`, or `UNKNOWN`.
        colours: rows of (red, green, blue, meaning) for masks in colour; empty where a mask in colour is a fault.
        palettes: whether a palette in a mask's file counts as colours, where all that the mask uses are in `colours`.
        names: of annotation files whose outlines are drawn (LabelMe): the class names by value; else empty.
    """

    values: tuple[int, ...]
    colours: tuple[tuple[int, int, int, int], ...] = ()
    palettes: bool = False
    names: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if len(self.values) != 256:
            raise ValueError(f"a table of {len(self.values)} values; a single-channel mask has 256")


@dataclass(frozen=True)
class Dataset:
    """One split of a data set as a reader found it.

    Args:
        root: the folder that the user named. It is never written to.
        layout: the recognised format of the folder, such as `voc`.
        split: the name of the split.
        label_map: class names.
        samples: the images, in the split's own order.
        faults: faults of the data; faulty boxes are not in `samples`.
        mask_code: how mask files are read, where samples have masks.
        colours: (C, 3) RGB of the classes where the data set gives them; empty: `classes.colours`.
        category_ids: by class id, the ids that the format's own files give to the classes (COCO: 1 … 90 with gaps;
            None for a class that they do not have); empty where names or places are enough.
        outlines: how many objects have an outline or a mask beside their box, which is not used.
        labels: the files or folders in which annotations were looked for, where a cache keeps only these.
    """

    root: Path
    layout: str
    split: str
    label_map: LabelMap
    samples: Sequence[Sample]
    faults: tuple[Fault, ...] = ()
    mask_code: MaskCode | None = None
    colours: tuple[tuple[int, int, int], ...] = ()
    category_ids: tuple[int | None, ...] = ()
    outlines: int = 0
    labels: tuple[Path, ...] = ()

    def __len__(self) -> int:
        return len(self.samples)


@runtime_checkable
class Targets(Protocol):
    """What the images of a batch are trained or evaluated on: `BoxTargets`, a tensor of masks, or `FullSizeMasks`."""

    def __getitem__(self, rows: Any, /) -> Any:
        """The targets of some images, chosen by a slice or an index tensor."""
        ...

    def to(self, device: Any, /, *, non_blocking: bool = ...) -> Any:
        """The same targets on a device."""
        ...

    def pin_memory(self) -> Any:
        """The same targets in page-locked memory."""
        ...


TargetsT_co = TypeVar("TargetsT_co", bound=Targets, covariant=True)


@dataclass(frozen=True)
class BoxTargets:
    """The boxes of a batch, padded to the image with the most boxes.

    Args:
        boxes_xyxy: (B, N, 4) float32 pixels of the H×W images of the batch; padding rows are 0.
        class_ids: (B, N) int64, 0-based; −1 marks a padding row. N may be 0.
    """

    boxes_xyxy: Float[torch.Tensor, "B N 4"]
    class_ids: Int[torch.Tensor, "B N"]

    def __getitem__(self, rows: Any, /) -> BoxTargets:
        """The boxes of some images, chosen by a slice or an index tensor; the padding stays."""
        return BoxTargets(self.boxes_xyxy[rows], self.class_ids[rows])

    def to(self, device: torch.device | str, /, *, non_blocking: bool = False) -> BoxTargets:
        """The same boxes on a device."""
        boxes_xyxy = self.boxes_xyxy.to(device, non_blocking=non_blocking)
        return BoxTargets(boxes_xyxy, self.class_ids.to(device, non_blocking=non_blocking))

    def pin_memory(self) -> BoxTargets:
        """The same boxes in page-locked memory."""
        return BoxTargets(self.boxes_xyxy.pin_memory(), self.class_ids.pin_memory())


@dataclass(frozen=True)
class FullSizeMasks:
    """The masks of a batch at the sizes of the image files, for evaluation. They stay on the host.

    Args:
        masks: (h, w) uint8 class ids for each image, `VOID` where a pixel belongs to none; None for an image without
            a mask, or one that could not be read.
    """

    masks: tuple[UInt8[torch.Tensor, "_ _"] | None, ...]

    def __getitem__(self, rows: Any, /) -> FullSizeMasks:
        """The masks of some images, chosen by a slice or an index tensor."""
        chosen = torch.arange(len(self.masks))[rows].tolist()
        return FullSizeMasks(tuple(self.masks[row] for row in chosen))

    def to(self, _device: torch.device | str, /, *, non_blocking: bool = False) -> FullSizeMasks:
        """The same masks: metrics count pixels on the host."""
        return self

    def pin_memory(self) -> FullSizeMasks:
        """The same masks."""
        return self


@dataclass(frozen=True)
class Batch(Generic[TargetsT_co]):
    """Images and their targets, ready for the device.

    Args:
        images: (B, H, W, 3) uint8 RGB at network size; made float on the device.
        targets: `BoxTargets`; in training of a segmenter a (B, H, W) uint8 tensor of class ids, `VOID` where a pixel
            belongs to none; in its evaluation `FullSizeMasks`.
        image_ids: names of the images, for messages.
        indices: (B,) positions in the data set.
        sizes_hw: (B, 2) height and width of each image file, before it was resized to H×W; 0 for one that could not
            be read.
        blank: (B,) bool, on the host: the images from which nothing can be learned, because the file could not be
            read (pixels are grey then) or because the mask is void all over.
    """

    images: UInt8[torch.Tensor, "B H W 3"]
    targets: TargetsT_co
    image_ids: tuple[str, ...]
    indices: Int[torch.Tensor, " B"]
    sizes_hw: Int[torch.Tensor, "B 2"]
    blank: Bool[torch.Tensor, " B"]

    @property
    def inputs(self) -> Inputs:
        """The images as a predictor's `forward` takes them."""
        return Inputs(self.images, [(int(height), int(width)) for height, width in self.sizes_hw.tolist()])

    def __len__(self) -> int:
        return len(self.image_ids)

    def __getitem__(self, rows: slice) -> Batch[TargetsT_co]:
        """Some images of the batch, as views."""
        return Batch(**{field.name: getattr(self, field.name)[rows] for field in fields(self)})

    def split(self, count: int) -> list[Batch[TargetsT_co]]:
        """The batch in at most `count` parts of nearly equal size, none of them empty; the batch itself for 1."""
        if count == 1:
            return [self]
        count = min(count, len(self))
        ends = [len(self) * part // count for part in range(count + 1)]
        return [self[low:high] for low, high in itertools.pairwise(ends)]

    def without_unreadable(self) -> Batch[TargetsT_co]:
        """The images that could be read; the batch itself where that is all of them."""
        unreadable = (self.sizes_hw == 0).any(dim=1)
        if not unreadable.any():
            return self
        rows = (~unreadable).nonzero()[:, 0]
        names = tuple(self.image_ids[row] for row in rows.tolist())
        return Batch(
            self.images[rows], self.targets[rows], names, self.indices[rows], self.sizes_hw[rows], self.blank[rows]
        )

    def to(self, device: torch.device | str) -> Batch[TargetsT_co]:
        """The same batch with images and targets on a device; the other fields stay on the host.

        Copies overlap with computation where the host memory is pinned.
        """
        images = self.images.to(device, non_blocking=True)
        return replace(self, images=images, targets=self.targets.to(device, non_blocking=True))

    def pin_memory(self) -> Batch[TargetsT_co]:
        """The same batch in page-locked memory; the loader calls this where there is a CUDA device."""
        return replace(self, images=self.images.pin_memory(), targets=self.targets.pin_memory())


@dataclass(frozen=True)
class Inputs:
    """Images as a predictor's `forward` takes them.

    Args:
        images: (B, H, W, 3) uint8 RGB at the network's input size, on the host.
        sizes_hw: B heights and widths of the images before they were brought to that size, in pixels.
    """

    images: UInt8[torch.Tensor, "B H W 3"]
    sizes_hw: Sequence[tuple[int, int]]

    def __len__(self) -> int:
        return len(self.sizes_hw)


class Result(ABC):
    """What a predictor returns for one image: `Detections` of a detector, `Segmentation` of a segmenter."""

    preview: Callable[[Any], bytes] | None

    @property
    @abstractmethod
    def detections(self) -> Detections:
        """The detections. Raises TypeError for a segmentation."""

    @property
    @abstractmethod
    def segmentation(self) -> Segmentation:
        """The segmentation. Raises TypeError for detections."""

    @abstractmethod
    def as_facts(self) -> dict[str, Any]:
        """Return the result's fields of a report as JSON: `detections`, or `shares` of the image by class."""

    @abstractmethod
    def summary(self) -> str:
        """Describe the result in one line."""

    @abstractmethod
    def classes(self) -> set[str]:
        """Return the names of the classes that occur."""

    def tracks(self) -> dict[int, str]:
        """Return the class name of each tracked object by its number; empty where nothing is tracked."""
        return {}

    def _repr_png_(self) -> bytes | None:
        """Return what a notebook shows, see `prediction.preview`; None, for plain text, where there is no preview."""
        return None if self.preview is None else self.preview(self)


@dataclass(frozen=True)
class Segmentation(Result):
    """The class of every pixel of one image.

    Args:
        class_ids: (H, W) uint8, 0-based, at the image's own size; `VOID` only in ground truth.
        class_names: names by class id.
        colours: (C, 3) uint8 RGB by class id.
        probabilities: (C, H, W) float32 in 0…1 if they were requested; they sum to 1 over C.
        preview: draws the result as a PNG for a notebook; None: nobody knows the image. It is no part of a comparison.
    """

    class_ids: UInt8[ndarray, "H W"]
    class_names: tuple[str, ...]
    colours: UInt8[ndarray, "C 3"] = field(repr=False)
    probabilities: Float[ndarray, "C H W"] | None = field(default=None, repr=False)
    preview: Callable[[Any], bytes] | None = field(default=None, repr=False, compare=False)

    @property
    def size_hw(self) -> tuple[int, int]:
        """Height and width of the image."""
        return self.class_ids.shape[0], self.class_ids.shape[1]

    def __getitem__(self, index: Any) -> NoReturn:
        """Raise UsageError, as iterating does: it is one result for one image, and no list of objects."""
        raise UsageError("a segmentation has no items", remedy="Use class_ids, the class of every pixel, or shares()")

    @property
    def detections(self) -> Detections:
        """Raise TypeError: there are none."""
        raise TypeError("detections are needed, and this is a segmentation")

    @property
    def segmentation(self) -> Segmentation:
        """This segmentation."""
        return self

    def as_facts(self) -> dict[str, Any]:
        """Return `shares`."""
        return {"shares": self.shares()}

    def summary(self) -> str:
        """Describe the shares in one line, the largest first: `road 61%, tree 12%`."""
        shares = sorted(self.shares().items(), key=lambda row: -row[1])
        return ", ".join(f"{name} {share:.0%}" for name, share in shares)

    def classes(self) -> set[str]:
        """Return the names of the classes that occur."""
        return set(self.shares())

    def shares(self) -> dict[str, float]:
        """Return the fraction of the image's pixels of each class that occurs, by name; void pixels have none."""
        counts = np.bincount(self.class_ids.ravel(), minlength=len(self.class_names))[: len(self.class_names)]
        found = np.flatnonzero(counts).tolist()
        return {self.class_names[class_id]: float(counts[class_id] / self.class_ids.size) for class_id in found}


class NoSuchDetectionError(UsageError, IndexError):
    """An index of a detection that an image does not have."""


@dataclass(frozen=True)
class Detections(Result):
    """The detections of one image, in descending order of score.

    Args:
        boxes_xyxy: (N, 4) float32 pixels of the original image, continuous.
        scores: (N,) float32 in 0…1, descending.
        class_ids: (N,) int64, 0-based.
        class_names: (N,) the names of `class_ids`, as an array of text.
        size_hw: height and width of the image.
        track_ids: (N,) the number of each object, the same in all frames of a video; None: not tracked.
        preview: draws the result as a PNG for a notebook; None: nobody knows the image. It is no part of a comparison.

    N is 0 where nothing is detected.
    """

    boxes_xyxy: Float[ndarray, "N 4"]
    scores: Float[ndarray, " N"]
    class_ids: Int[ndarray, " N"]
    class_names: Any = field(repr=False)
    size_hw: tuple[int, int]
    track_ids: Int[ndarray, " N"] | None = None
    preview: Callable[[Any], bytes] | None = field(default=None, repr=False, compare=False)

    def __post_init__(self) -> None:
        count = len(self.boxes_xyxy)
        shapes = (self.boxes_xyxy.shape, self.scores.shape, self.class_ids.shape, np.shape(self.class_names))
        if shapes != ((count, 4), (count,), (count,), (count,)):
            raise ValueError(f"boxes, scores, class ids and names do not belong together: {shapes}")
        if self.track_ids is not None and self.track_ids.shape != (count,):
            raise ValueError(f"{count} boxes and track ids of shape {self.track_ids.shape} do not belong together")

    def __len__(self) -> int:
        return len(self.scores)

    def __iter__(self) -> Iterator[Detections]:
        """Yield each detection, the best first, as a `Detections` of one row."""
        return (self[index] for index in range(len(self)))

    def __getitem__(self, keep: Any) -> Detections:
        """Return the rows that a mask, a slice, an index array or one index selects, always as `Detections`.

        Raises NoSuchDetectionError, which is an IndexError too, for an index or a mask that does not fit.
        """
        count = len(self)
        if keep is None or isinstance(keep, bool | np.bool_):  # NumPy would add an axis
            raise NoSuchDetectionError(f"{keep} is not an index of a detection")
        if isinstance(keep, int | np.integer):
            if not -count <= keep < count:
                raise NoSuchDetectionError(f"there is no detection {keep}: the image has {count}")
            keep = [keep]
        try:
            self.scores[keep]
        except IndexError as error:
            raise NoSuchDetectionError(f"an index that does not fit {count} detections ({error})") from error
        tracks = None if self.track_ids is None else self.track_ids[keep]
        rows = (self.boxes_xyxy[keep], self.scores[keep], self.class_ids[keep], self.class_names[keep])
        return Detections(*rows, self.size_hw, tracks, self.preview)

    def above(self, threshold: float) -> Detections:
        """Return those with a score of at least `threshold`."""
        return self[self.scores >= threshold]

    @property
    def detections(self) -> Detections:
        """These detections."""
        return self

    @property
    def segmentation(self) -> Segmentation:
        """Raise TypeError: there is none."""
        raise TypeError("a segmentation is needed, and these are detections")

    def as_facts(self) -> dict[str, Any]:
        """Return `detections`, see `as_json`."""
        return {"detections": self.as_json()}

    def summary(self) -> str:
        """Describe the detections in one line: `car 0.97, person 0.62`, or `nothing`."""
        return ", ".join(f"{row['class']} {row['score']:.2f}" for row in self.as_json()) or "nothing"

    def classes(self) -> set[str]:
        """Return the names of the classes that occur."""
        return set(map(str, self.class_names))

    def tracks(self) -> dict[int, str]:
        """Return the class name of each tracked object by its number; empty where nothing is tracked."""
        if self.track_ids is None:
            return {}
        return dict(zip(self.track_ids.tolist(), map(str, self.class_names), strict=True))

    def as_json(self) -> list[dict[str, Any]]:
        """Return a dictionary per detection: `class`, `class_id`, `score`, `box_xyxy`, and `track_id` if tracked."""
        rows = zip(self.class_names, self.class_ids, self.scores, self.boxes_xyxy, strict=True)
        found: list[dict[str, Any]] = [
            {"class": str(name), "class_id": int(i), "score": float(score), "box_xyxy": [float(edge) for edge in box]}
            for name, i, score, box in rows
        ]
        for row, track in zip(found, [] if self.track_ids is None else self.track_ids.tolist(), strict=False):
            row["track_id"] = track
        return found

    def to_supervision(self) -> Any:
        """Convert to `supervision.Detections`. Needs the package supervision (`pip install supervision`)."""
        try:
            import supervision  # pyright: ignore[reportMissingImports]
        except ImportError as error:
            raise ConfigError("supervision is not installed", remedy="pip install supervision") from error
        return supervision.Detections(
            xyxy=self.boxes_xyxy,
            confidence=self.scores,
            class_id=self.class_ids,
            tracker_id=self.track_ids,
            data={"class_name": np.asarray(self.class_names, dtype=str)},
        )


def evenly_spaced(count: int, wanted: int) -> list[int]:
    """Return `wanted` indices out of 0 … count−1, ascending, with the first and the last; all of them if fewer exist.

    Such indices represent a whole list better than its first items: neighbours in a list of images are often frames
    of one film or images of one class.

    >>> evenly_spaced(10, 4), evenly_spaced(3, 4), evenly_spaced(0, 4)
    ([0, 3, 6, 9], [0, 1, 2], [])
    """
    return np.linspace(0, count - 1, min(count, wanted)).round().astype(int).tolist()
