"""A predictor on a stream of frames: its steps as stages that run at the same time, and `model.stream` on top.

    for seen in model.stream("street.mp4", track=True):
        print(seen.frame.time_s, seen.result.track_ids)

Reading, network and drawing each run ahead in threads of their own by a few frames, so that memory stays flat however
long the source is. The same stages serve images, videos and cameras, the command line and Python. Frames travel
through them in chunks. A chunk is one batch for the network.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import logging
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from singleshot.drawing import draw
from singleshot.errors import UsageError
from singleshot.images import PilImage, from_array, from_pil, read_image
from singleshot.prediction import camera, network_camera
from singleshot.prediction.choosing import Choice
from singleshot.prediction.frames import BATCH_SIZE, CHUNK_PIXELS, Frame, ImageError, ImageResult, check_batch_size
from singleshot.prediction.image_reader import STANDARD_INPUT, read_standard_input
from singleshot.prediction.sources import resolve
from singleshot.prediction.stages import Pipeline, Stage
from singleshot.prediction.tiles import Tiling, detect_tiled
from singleshot.prediction.track import LOW_SCORE, Tracker
from singleshot.prediction.video_reader import VideoReader
from singleshot.structures import Inputs

if TYPE_CHECKING:
    from singleshot.prediction.predictor import Predictor

Item = Frame | ImageError

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class StreamOptions:
    """How frames are predicted. The first three are for detectors.

    Args:
        choice: which detections to show; None for all above the stored score threshold.
        tiling: detect in tiles of large images too; None for the whole image only.
        track: number the objects of a video or camera, in each anew.
        drawing: draw each result into a copy of its frame.
        batch_size: frames that go through the network together, and tiles of a frame; None for 1 frame of a camera or
            of `predict_files`' images, 8 of all else. Large frames travel in smaller chunks.

    Raises:
        UsageError: a batch size below 1.
    """

    choice: Choice | None = None
    tiling: Tiling | None = None
    track: bool = False
    drawing: bool = False
    batch_size: int | None = None

    def __post_init__(self) -> None:
        if self.batch_size is not None:
            check_batch_size(self.batch_size)


@dataclass(frozen=True)
class Chunk:
    """Frames on their way through the stages.

    Args:
        items: the frames, and errors in the place of those that could not be read.
        value: the output of the stage before for all of the frames; a list of `ImageResult` in the end.
    """

    items: list[Item]
    value: Any = None

    @property
    def frames(self) -> list[Frame]:
        """The items that could be read."""
        return [item for item in self.items if isinstance(item, Frame)]


def pipeline(
    predictor: Predictor[Any, Any],
    items: Iterable[Item],
    options: StreamOptions,
    *,
    moving: bool = False,
    depth: int = 2,
    live: bool = False,
) -> Pipeline:
    """Build the stages from frames to chunks of results; `results` runs them.

    Args:
        predictor: the model.
        items: frames in order, and errors in the place of those that could not be read.
        options: see `StreamOptions`.
        moving: the frames are one video; only then are objects tracked.
        depth: how many chunks may wait between two stages.
        live: the frames are a camera's: the result is of the newest one when it is asked for, and nothing waits.
    """
    tracker = Tracker() if options.track and moving else None
    steps = _Steps(predictor, options, tracker)
    size = options.batch_size or (1 if live else BATCH_SIZE)
    return Pipeline(chunks(items, size), steps.stages(), depth=depth, ahead=not live)


def results(pipeline: Pipeline) -> Generator[ImageResult | ImageError, None, None]:
    """Run a pipeline and yield its results one by one, in order. PyTorch's number of threads is restored at the end."""
    threads = torch.get_num_threads()
    try:
        for chunk in pipeline:
            found = iter(chunk.value or ())
            yield from (next(found) if isinstance(item, Frame) else item for item in chunk.items)
    finally:
        torch.set_num_threads(threads)


def stream(
    predictor: Predictor[Any, Any], source: Any, options: StreamOptions, *, allow_network: bool = False
) -> Generator[ImageResult, None, None]:
    """Yield each frame of a source with its result, in order; see `Detector.stream`.

    Raises the error of an image that cannot be read, and of a damaged video after its last readable frame.
    """
    for frames, moving, live in _frames(source, allow_network):
        for result in results(pipeline(predictor, frames, options, moving=moving, live=live)):
            if isinstance(result, ImageResult):
                yield result


@dataclass(frozen=True)
class _Steps:
    """The work of each stage on a chunk's frames; what it returns is the chunk's new value."""

    predictor: Predictor[Any, Any]
    options: StreamOptions
    tracker: Tracker | None

    def stages(self) -> list[Stage]:
        if self.options.tiling is not None:
            stages = [Stage("net", _on_frames(self.predict_tiled))]
        else:
            workers, threads = self.predictor.worker_counts()
            set_up = None if threads is None else (lambda: torch.set_num_threads(threads))
            network = Stage("net", _on_frames(self.forward), workers, set_up)
            stages = [Stage("pre", _on_frames(self.preprocess)), network, Stage("post", _on_frames(self.postprocess))]
        if self.tracker is not None:
            stages.append(Stage("track", _on_frames(self.track)))  # it needs the frames in order: one worker
        elif self.options.choice is not None:
            stages.append(Stage("choose", _on_frames(self.choose)))
        if self.options.drawing:
            stages.append(Stage("draw", _on_frames(self.draw)))
        return stages

    def preprocess(self, frames: list[Frame], _: None) -> Inputs:
        return self.predictor.preprocess([frame.image for frame in frames])

    def forward(self, _: list[Frame], inputs: Inputs) -> tuple[Any, Inputs]:
        return self.predictor.forward(inputs), inputs

    def postprocess(self, frames: list[Frame], answer: tuple[Any, Inputs]) -> list[ImageResult]:
        raw, inputs = answer
        found = self.predictor.postprocess(raw, inputs.sizes_hw)
        return [ImageResult(frame, result) for frame, result in zip(frames, found, strict=True)]

    def predict_tiled(self, frames: list[Frame], _: None) -> list[ImageResult]:
        threshold = 0.0 if self.options.choice is None else min(self.options.choice.least, 1.0)
        if self.tracker is not None:
            threshold = min(threshold, LOW_SCORE)
        detector: Any = self.predictor
        batch_size = self.options.batch_size or BATCH_SIZE  # a frame's tiles are batches of their own
        detect = functools.partial(detector.predict, threshold=threshold, batch_size=batch_size)
        tiling: Any = self.options.tiling
        return [ImageResult(frame, detect_tiled(detect, frame.image, tiling)) for frame in frames]

    def choose(self, _: list[Frame], found: list[ImageResult]) -> list[ImageResult]:
        choice: Any = self.options.choice
        return [replace(each, result=choice.kept(each.result)) for each in found]

    def track(self, _: list[Frame], found: list[ImageResult]) -> list[ImageResult]:
        tracker: Any = self.tracker
        choice = self.options.choice
        results = []
        for each in found:
            if choice is None:
                tracked = tracker.update(each.result.detections)
            else:
                of_shown_classes = each.result.detections[choice.wanted(each.result.detections)]
                tracked = tracker.update(of_shown_classes, choice.thresholds[of_shown_classes.class_ids])
            results.append(replace(each, result=tracked))
        return results

    def draw(self, _: list[Frame], found: list[ImageResult]) -> list[ImageResult]:
        return [replace(each, drawn=draw(each.frame.image, each.result)) for each in found]


def _on_frames(step: Callable[[list[Frame], Any], Any]) -> Callable[[Chunk], Chunk]:
    """A step as a stage's work: a chunk without any readable frame passes it by."""

    def on_chunk(chunk: Chunk) -> Chunk:
        return replace(chunk, value=step(chunk.frames, chunk.value)) if chunk.frames else chunk

    return on_chunk


def chunks(items: Iterable[Item], size: int) -> Iterator[Chunk]:
    """Group the items by `size`, or fewer where they are large; no chunk is empty."""
    chunk: list[Item] = []
    pixels = 0
    for item in items:
        chunk.append(item)
        pixels += item.image.shape[0] * item.image.shape[1] if isinstance(item, Frame) else 0
        if len(chunk) >= size or pixels >= CHUNK_PIXELS:
            yield Chunk(chunk)
            chunk, pixels = [], 0
    if chunk:
        yield Chunk(chunk)


def _frames(source: Any, allow_network: bool) -> Iterator[tuple[Iterable[Frame], bool, bool]]:
    """The runs of frames in a source, and whether each is one scene in motion."""
    if isinstance(source, bool | bytes | bytearray) or source is None:
        what = "bytes" if isinstance(source, bytes | bytearray) else source
        raise UsageError(f"{what} is not a source", remedy="Name files or a camera, or give images")
    if isinstance(source, int):
        yield camera.frames(source), True, True
        return
    if isinstance(source, np.ndarray | PilImage):
        source = [source]
    if not isinstance(source, str | Path):
        try:
            items = iter(source)
        except TypeError:
            remedy = "Name files or a camera, or give images"
            raise UsageError(f"{type(source).__name__} is not a source", remedy=remedy) from None
        first = next(items, items)  # itself where it is empty
        if isinstance(first, np.ndarray | PilImage):
            yield _arrays(itertools.chain([first], items)), True, False
            return
        source = [] if first is items else [first, *items]
        for each in source:
            if not isinstance(each, str | Path | int) or isinstance(each, bool):
                message = f"a list of files with {type(each).__name__} among them is not a source"
                raise UsageError(message, remedy="Give files alone, or images alone")
        source = [str(each) if isinstance(each, int) else each for each in source]
    found = resolve([source] if isinstance(source, str | Path) else source, allow_network=allow_network)
    if (warning := found.warning()) is not None:
        log.warning(warning)
    if found.images:
        pixels = (read_standard_input() if file == STANDARD_INPUT else read_image(file) for file in found.images)
        yield (Frame(image, str(file)) for image, file in zip(pixels, found.images, strict=True)), False, False
    for file in found.videos:
        yield _video(file), True, False
    for index in found.cameras:
        yield camera.frames(index), True, True
    for address in found.streams:
        yield network_camera.frames(address), True, True


def _video(file: Path) -> Iterator[Frame]:
    with contextlib.closing(VideoReader(file)) as reader:
        yield from reader
        fault = reader.fault()
        if fault is not None:
            raise fault


def _arrays(arrays: Iterable[Any]) -> Iterator[Frame]:
    for index, image in enumerate(arrays):
        if not isinstance(image, np.ndarray | PilImage):
            raise UsageError(f"item {index} is not an image", remedy="Give (H, W, 3) uint8 RGB arrays or PIL images")
        try:
            array = from_array(image) if isinstance(image, np.ndarray) else from_pil(image)
        except UsageError as error:
            raise UsageError(f"item {index}: {error.message}", remedy=error.remedy) from error
        yield Frame(array, f"array {index}", index)
