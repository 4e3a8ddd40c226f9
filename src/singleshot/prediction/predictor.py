"""Predictors: a network between its preprocessing and its postprocessing, behind one call.

    model = singleshot.load("best.safetensors")
    result = model.predict("street.jpg")

A predictor has three steps. All else is built on them, for detectors and segmenters, weights and exported files:

    inputs = model.preprocess(images)                    # uint8 images at the network's input size, and their old sizes
    raw = model.forward(inputs)                          # the network's output
    results = model.postprocess(raw, inputs.sizes_hw)    # Detections or Segmentation of each image, in its own pixels

Evaluation passes through the same three steps, so what is measured is what a user gets.
"""

from __future__ import annotations

import copy
import functools
import os
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar, Generic, Literal, TypeVar, overload

import cv2
import numpy as np
import torch
from jaxtyping import Float, UInt8
from numpy import ndarray
from torch import Tensor

from singleshot import images, preprocess
from singleshot.backbones.folding import foldable, folded
from singleshot.classes import colours
from singleshot.config import from_json_dict, to_json_dict
from singleshot.detection.coding import RawDetections, fold_unnamed
from singleshot.detection.postprocess import Postprocess, postprocess
from singleshot.detection.ssd import SSD
from singleshot.errors import UsageError
from singleshot.images import PilImage
from singleshot.prediction.backends.backend import refuse_fork
from singleshot.prediction.backends.host import default_threads
from singleshot.prediction.choosing import Choice, Threshold, choice
from singleshot.prediction.frames import BATCH_SIZE, ImageResult, check_batch_size
from singleshot.prediction.preview import Preview
from singleshot.prediction.stream import StreamOptions, stream
from singleshot.prediction.tiles import Tiling
from singleshot.segmentation import postprocess as masks
from singleshot.segmentation.fcn import FCN
from singleshot.structures import Detections, Inputs, LabelMap, Segmentation

MOST_WORKERS = 4
"""Threads that run a detector's network side by side on a CPU."""
Task = Literal["detection", "segmentation"]
Raw = TypeVar("Raw")
Result = TypeVar("Result", Detections, Segmentation)


Image = str | Path | ndarray | PilImage
Images = list[Image] | tuple[Image, ...]


@dataclass(frozen=True)
class Predictor(ABC, Generic[Raw, Result]):
    """A model that is ready for images.

    Args:
        network: the torch module: normalised float (B, 3, H, W) → its raw output.
        provenance: where the weights come from, as stored with them.
        device: where the network computes; `load` moves it there.
        bf16: compute in bfloat16 (autocast); results are float32 all the same.
        fold: compute with batch normalisation folded into the convolutions, by a copy that is made at the first
            prediction. Faster on a CPU; scores may differ in their last digits. Evaluation never folds.
    """

    network: Any
    provenance: dict[str, Any] = field(default_factory=dict)
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    bf16: bool = False
    fold: bool = field(default=False, kw_only=True)
    task: ClassVar[Task]

    @property
    def label_map(self) -> LabelMap:
        """Class names in the order of class ids."""
        return LabelMap(self.network.config.class_names)

    @property
    def input_size_hw(self) -> tuple[int, int]:
        """Height and width of the network's input in pixels."""
        return self.network.config.input_size_hw

    def preprocess(self, images: Sequence[UInt8[ndarray, "_ _ 3"]]) -> Inputs:
        """Bring one or more (h, w, 3) uint8 RGB images of any sizes to the network's input size."""
        resized = [preprocess.to_input(image, self.network.config.preprocess) for image in images]
        sizes_hw = [(int(image.shape[0]), int(image.shape[1])) for image in images]
        return Inputs(torch.from_numpy(np.stack(resized)), sizes_hw)

    @property
    def colours(self) -> UInt8[ndarray, "C 3"]:
        """RGB of each class in drawings: the data set's own where the config has them, else a built-in palette."""
        return colours(len(self.label_map))

    @property
    def display_thresholds(self) -> tuple[float, ...]:
        """The score of each class, by class id, from which it is shown unless told otherwise; a segmenter has none."""
        return ()

    def shown(self, result: Result, threshold: Threshold | None = None) -> Result:
        """Return what a user sees of a result: a detector leaves out low scores, a segmenter nothing."""
        del threshold
        return result

    @abstractmethod
    def forward(self, inputs: Inputs) -> Raw:
        """Run the network."""

    @abstractmethod
    def postprocess(self, raw: Raw, sizes_hw: Sequence[tuple[int, int]]) -> list[Result]:
        """Turn the network's output into a result for each image.

        Args:
            raw: what `forward` returned for B images.
            sizes_hw: B heights and widths of the images before preprocessing; results are in their pixels.
        """

    def worker_counts(self) -> tuple[int, int | None]:
        """Return how many threads run `forward` at once, and torch's threads in each; None leaves torch's alone."""
        return 1, None

    @overload
    def predict(self, source: Images, *, batch_size: int = ...) -> list[Result]: ...
    @overload
    def predict(self, source: Image, *, batch_size: int = ...) -> Result: ...
    def predict(self, source: Image | Images, *, batch_size: int = BATCH_SIZE) -> Result | list[Result]:
        """Return the result for one image, or a list of results for a list of images.

        Args:
            source: a path, an (H, W, 3) uint8 RGB array, a PIL image, or a list of these.
            batch_size: images of a list that go through the network together.

        Raises:
            DataError, InputMissingError: a file is not a readable image.
            UsageError: something that is none of the above, or a batch size below 1.
        """
        check_batch_size(batch_size)
        if not isinstance(source, list | tuple):
            return self._results([source])[0]
        results: list[Result] = []
        for start in range(0, len(source), batch_size):
            results += self._results(source[start : start + batch_size])
        return results

    def _results(self, images: Sequence[Image]) -> list[Result]:
        inputs = self.preprocess([as_array(image) for image in images])
        results = self.postprocess(self.forward(inputs), inputs.sizes_hw)
        return [replace(each, preview=Preview.of(image)) for each, image in zip(results, images, strict=True)]

    @torch.inference_mode()
    def _run_network(self, images: UInt8[Tensor, "B H W 3"]) -> Any:
        first = _first_process()
        if self.device.type != "cpu":
            refuse_fork(first, self.device.type.upper())
        batch = preprocess.normalise(images.to(self.device), self.network.config.preprocess)
        with torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self.bf16):
            return (self._folded_network if self.fold else self.network)(batch)

    @functools.cached_property
    def _folded_network(self) -> Any:
        if self.device.type != "cpu" or self.bf16 or not foldable(self.network):
            return self.network
        return folded(copy.deepcopy(self.network).eval())


@dataclass(frozen=True)
class Detector(Predictor[RawDetections, Detections]):
    """A detector. `network` is an `SSD`; see `Predictor` for the other arguments."""

    network: SSD
    task: ClassVar[Literal["detection"]] = "detection"

    def forward(self, inputs: Inputs) -> RawDetections:
        """Run the network: logits and box offsets of every anchor."""
        return self._run_network(inputs.images)

    def postprocess(self, raw: RawDetections, sizes_hw: Sequence[tuple[int, int]]) -> list[Detections]:
        """Return each image's detections above the stored score threshold, best first, in pixels of that image."""
        config, raw = self.network.config, fold_unnamed(raw, self.network.config.unnamed_slots)
        anchors = self.network.anchors_cxcywh
        limits, scores = config.postprocess, config.scores
        return postprocess(raw, anchors, sizes_hw, self.label_map, limits, config.preprocess, scores)

    def worker_counts(self) -> tuple[int, int | None]:
        """See `Predictor.worker_counts`.

        On a CPU several single-threaded workers do more than one with as many threads, because none waits for others
        between two layers. Together they have `default_threads`. A GPU takes one batch after the other anyway.
        """
        if self.device.type != "cpu":
            return 1, None
        available = default_threads()
        workers = min(available, MOST_WORKERS)
        return workers, max(1, available // workers)

    @property
    def display_thresholds(self) -> tuple[float, ...]:
        """See `Predictor.display_thresholds`."""
        return self.network.config.display_thresholds

    def shown(self, result: Detections, threshold: Threshold | None = None) -> Detections:
        """Return the detections from a threshold on; see `choosing.choice`."""
        return self.choice(threshold).kept(result)

    def choice(self, threshold: Threshold | None = None, classes: Sequence[str] | None = None) -> Choice:
        """Return which detections a user wants to see, by names; see `choosing.choice`."""
        return choice(self.label_map, threshold, classes, stored=self.display_thresholds)

    @overload
    def predict(
        self, source: Images, *, threshold: Threshold | None = ..., batch_size: int = ...
    ) -> list[Detections]: ...
    @overload
    def predict(self, source: Image, *, threshold: Threshold | None = ..., batch_size: int = ...) -> Detections: ...
    def predict(
        self, source: Image | Images, *, threshold: Threshold | None = None, batch_size: int = BATCH_SIZE
    ) -> Detections | list[Detections]:
        """Return the detections in one image, or a list of them for a list of images.

        Args:
            source: a path, an (H, W, 3) uint8 RGB array, a PIL image, or a list of these.
            threshold: the least score, 0…1; or one for each of some classes, as `choosing.choice` takes it:
                {"car": 0.3}; None for those that are stored with the model (`display_thresholds`). It drops detections
                at the very end and changes no other.
            batch_size: images of a list that go through the network together.

        Raises:
            DataError, InputMissingError: a file is not a readable image.
            UsageError: something that is none of the above, an unknown class, a threshold beyond 0…1, or a batch size
                below 1.
        """
        chosen = self.choice(threshold)
        results = super().predict(source, batch_size=batch_size)
        return [chosen.kept(each) for each in results] if isinstance(results, list) else chosen.kept(results)

    def stream(
        self,
        source: Any,
        *,
        threshold: Threshold | None = None,
        classes: Sequence[str] | None = None,
        track: bool = False,
        tiling: Tiling | None = None,
        drawing: bool = False,
        batch_size: int | None = None,
        allow_network: bool = False,
    ) -> Iterator[ImageResult]:
        """Yield each frame of a source with its detections, in order, while they come.

        Args:
            source: a file, folder, pattern or list of them (images first, then videos); the number of a camera; the
                address of a live stream; or anything that gives (H, W, 3) uint8 RGB arrays.
            threshold: the least score, one for each of some classes, or None, as `predict` takes it.
            classes: names of the classes to show; None for all.
            track: number the objects (`track.Tracker`). Every video and every run of arrays starts anew; images are
                not tracked.
            tiling: detect in tiles of large images too.
            drawing: put a drawn copy of the frame beside each result.
            batch_size: frames that go through the network together; None for 1 of a camera, 8 of all else.
            allow_network: whether the source may be an address (`rtsp://…`, `http://…`); `network_camera.frames` tells
                how it is read.

        Raises:
            DataError: an image cannot be read, or a video is damaged; the latter after its last readable frame.
            UsageError: an unknown class, a source that is none, or a batch size below 1.
            Whatever `sources.resolve`, `video_reader.VideoReader` and `network_camera.frames` raise.
        """
        options = StreamOptions(self.choice(threshold, classes), tiling, track, drawing, batch_size)
        return stream(self, source, options, allow_network=allow_network)

    def with_postprocess(self, **changes: Any) -> Detector:
        """Return a detector with other thresholds, counts or NMS, see `Postprocess`. It shares the network's weights.

            model = model.with_postprocess(nms_iou=0.6, max_detections=100, class_agnostic_nms=True)

        `weights.save` and `export` store what it says. Raises ConfigError for a value out of its range or of another
        type, such as 1.5 detections.
        """
        changed = changed_postprocess(self.network.config.postprocess, changes)
        network = SSD(replace(self.network.config, postprocess=changed)).to(self.device).eval()
        network.load_state_dict(self.network.state_dict(), assign=True)
        return replace(self, network=network)


def changed_postprocess(settings: Postprocess, changes: Mapping[str, Any]) -> Postprocess:
    """Return settings with other values. Raises as `Detector.with_postprocess`, and TypeError for an unknown one."""
    unknown = [name for name in changes if not hasattr(settings, name)]
    if unknown:
        raise TypeError(f"with_postprocess() got an unexpected keyword argument {unknown[0]!r}")
    plain = {name: value.item() if isinstance(value, np.generic) else value for name, value in changes.items()}
    return from_json_dict(Postprocess, to_json_dict(settings) | plain, "postprocess")


@dataclass(frozen=True)
class Segmenter(Predictor[Float[Tensor, "B C H W"], Segmentation]):
    """A segmenter. Its results have each image's own size, whatever size the network works at.

    Args:
        network: an `FCN`.
        with_probabilities: results carry each class's probability at each pixel too; 4 bytes a class and pixel.
    """

    network: FCN
    with_probabilities: bool = False
    task: ClassVar[Literal["segmentation"]] = "segmentation"

    @property
    def colours(self) -> UInt8[ndarray, "C 3"]:
        """RGB of each class: the data set's own, or a built-in palette where it has none."""
        given = self.network.config.colours
        return np.array(given, dtype=np.uint8) if given else super().colours

    def forward(self, inputs: Inputs) -> Float[Tensor, "B C H W"]:
        """Run the network: the logits of every class at the input size."""
        return self._run_network(inputs.images)

    @torch.inference_mode()
    def postprocess(self, raw: Float[Tensor, "B C H W"], sizes_hw: Sequence[tuple[int, int]]) -> list[Segmentation]:
        """Return the class of every pixel of each image, at that image's size."""
        config = self.network.config.preprocess
        if not self.with_probabilities:
            return [self.segmentation(each.cpu().numpy()) for each in masks.class_maps(raw, sizes_hw, config)]
        results = []
        for logits, size_hw in zip(raw, sizes_hw, strict=True):
            inner = masks.without_margin(logits, size_hw, config)
            probabilities = masks.probabilities(inner, size_hw).cpu().numpy()
            results.append(self.segmentation(probabilities.argmax(axis=0).astype(np.uint8), probabilities))
        return results

    def segmentation(
        self, class_ids: UInt8[ndarray, "H W"], probabilities: Float[ndarray, "C H W"] | None = None
    ) -> Segmentation:
        """Return class ids as the record that names them."""
        return Segmentation(class_ids, self.network.config.class_names, self.colours, probabilities)

    @overload
    def predict(self, source: Images, *, probabilities: bool = ..., batch_size: int = ...) -> list[Segmentation]: ...
    @overload
    def predict(self, source: Image, *, probabilities: bool = ..., batch_size: int = ...) -> Segmentation: ...
    def predict(
        self, source: Image | Images, *, probabilities: bool = False, batch_size: int = BATCH_SIZE
    ) -> Segmentation | list[Segmentation]:
        """Return the class of every pixel of one image, or of each of a list of images.

        Args:
            source: a path, an (H, W, 3) uint8 RGB array, a PIL image, or a list of these.
            probabilities: return each class's probability at each pixel too; 4 bytes a class and pixel.
            batch_size: images of a list that go through the network together.

        Raises:
            DataError, InputMissingError: a file is not a readable image.
            UsageError: something that is none of the above, or a batch size below 1.
        """
        model = replace(self, with_probabilities=True) if probabilities else self
        return super(Segmenter, model).predict(source, batch_size=batch_size)

    def stream(
        self, source: Any, *, drawing: bool = False, batch_size: int | None = None, allow_network: bool = False
    ) -> Iterator[ImageResult]:
        """Yield each frame of a source with the class of every pixel; arguments and errors as `Detector.stream`."""
        options = StreamOptions(drawing=drawing, batch_size=batch_size)
        return stream(self, source, options, allow_network=allow_network)


def predictor_of(
    network: SSD | FCN,
    provenance: dict[str, Any] | None = None,
    device: torch.device | None = None,
    *,
    bf16: bool = False,
) -> Detector | Segmenter:
    """Return the predictor of a network, which must be on the device already (None for the CPU); see `Predictor`."""
    made = (provenance or {}, device or torch.device("cpu"), bf16)
    return Segmenter(network, *made) if network.task == "segmentation" else Detector(network, *made)


@functools.cache
def _first_process() -> int:
    """Return the process of the first prediction, and from then on let forked ones compute with one thread.

    The threads that torch and OpenCV started in a process do not exist in one forked from it, and waiting for them
    would never end.
    """
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=_use_one_thread)
    return os.getpid()


def _use_one_thread() -> None:
    torch.set_num_threads(1)
    cv2.setNumThreads(0)


def as_array(image: Image) -> UInt8[ndarray, "H W 3"]:
    """Return an image in any of the accepted forms as (H, W, 3) uint8 RGB.

    Pixels mean the same however they come: a path, an array and a PIL image pass through the rules of `images`.

    Raises:
        DataError, InputMissingError: a file or a PIL image is not a readable image.
        UsageError: it has none of the accepted forms.
    """
    if isinstance(image, str | Path):
        return images.read_image(Path(image))
    if isinstance(image, np.ndarray):
        return images.from_array(image)
    if isinstance(image, PilImage):
        return images.from_pil(image)
    raise UsageError(f"{type(image).__name__} is not an image", remedy="Give a path, an array or a PIL image")
