"""`Detector.stream` and `Segmenter.stream`: a generator of frames and what is seen in them, while they come.

    for seen in model.stream("street.mp4", track=True):
        print(seen.frame.time_s, seen.result.track_ids)

Reading, network and drawing run ahead in threads of their own, a few frames and no more, so that memory stays flat
however long the source is.
"""

from __future__ import annotations

import itertools
from collections.abc import Generator, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from singleshot.errors import UsageError
from singleshot.images import read_image
from singleshot.prediction import camera, streaming
from singleshot.prediction.choosing import DEFAULT, Threshold, choice
from singleshot.prediction.frames import Frame, Seen, check_batch_size
from singleshot.prediction.sources import resolve
from singleshot.prediction.stages import Pipeline
from singleshot.prediction.streaming import Model, Work, chunked
from singleshot.prediction.tiles import Tiling
from singleshot.prediction.track import Tracker
from singleshot.prediction.video_reader import VideoReader


def stream(
    model: Model,
    source: Any,
    *,
    threshold: Threshold = DEFAULT,
    classes: Sequence[str] | None = None,
    track: bool = False,
    tiling: Tiling | None = None,
    drawing: bool = False,
    batch_size: int = streaming.BATCH_SIZE,
) -> Generator[Seen, None, None]:
    """What a detector sees, frame by frame, in the order of the source.

    Args:
        model: a detector.
        source: a file, folder, pattern or list of them (pictures first, then videos); the number of a camera; or
            anything that gives (H, W, 3) uint8 RGB arrays.
        threshold: least score, or one for each of some classes (`choosing.choice`).
        classes: names of the classes that are shown; None for all.
        track: number the things (`track.Tracker`). Every video and every run of arrays starts anew; pictures are
            not tracked.
        tiling: look at large pictures in tiles too.
        drawing: put a drawn copy of the frame beside each result.
        batch_size: frames that go through the network together; 1 for the least delay.

    Raises:
        DataError: a picture cannot be read, or a video is damaged; the latter after its last readable frame.
        UsageError: an unknown class, a source that is none, or a batch size below 1.
        Whatever `sources.resolve` and `video_reader.VideoReader` raise.
    """
    chosen = choice(model.label_map, threshold, classes)
    check_batch_size(batch_size)
    for frames, moving in _frames(source):
        tracker = Tracker() if track and moving else None
        yield from _seen(frames, Work(model, chosen, tiling, tracker, drawing), batch_size)


def stream_masks(
    model: Model, source: Any, *, drawing: bool = False, batch_size: int = streaming.BATCH_SIZE
) -> Generator[Seen, None, None]:
    """What a segmenter sees, frame by frame; arguments and errors as those of `stream`."""
    check_batch_size(batch_size)
    for frames, _ in _frames(source):
        yield from _seen(frames, Work(model, drawing=drawing), batch_size)


def _seen(frames: Iterable[Frame], work: Work, batch_size: int) -> Iterator[Seen]:
    for seen in streaming.run(Pipeline(chunked(frames, batch_size), work.stages())):
        if isinstance(seen, Seen):
            yield seen


def _frames(source: Any) -> Iterator[tuple[Iterable[Frame], bool]]:
    """The runs of frames in a source, and whether each is one scene in motion."""
    if isinstance(source, bool) or source is None:
        raise UsageError(f"{source} is no source", remedy="Name files, a camera, or give pictures")
    if isinstance(source, int):
        yield camera.frames(source), True
        return
    if isinstance(source, np.ndarray):
        source = [source]
    if not isinstance(source, str | Path):
        items = iter(source)
        first = next(items, None)
        if isinstance(first, np.ndarray):
            yield _arrays(itertools.chain([first], items)), True
            return
        source = [] if first is None else [first, *items]
    found = resolve([source] if isinstance(source, str | Path) else source)
    if found.pictures:
        yield (Frame(read_image(file), str(file)) for file in found.pictures), False
    for file in found.videos:
        yield _video(file), True
    for index in found.cameras:
        yield camera.frames(index), True


def _video(file: Path) -> Iterator[Frame]:
    reader = VideoReader(file)
    try:
        yield from reader
        fault = reader.fault()
        if fault is not None:
            raise fault
    finally:
        reader.close()


def _arrays(arrays: Iterable[Any]) -> Iterator[Frame]:
    for index, image in enumerate(arrays):
        if not isinstance(image, np.ndarray) or image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
            raise UsageError(f"item {index} is not a picture", remedy="Give (H, W, 3) uint8 RGB arrays")
        yield Frame(image, f"array {index}", index)
