"""A detector's or segmenter's work as stages: brought to size, network, boxes, tracks, drawing.

The same stages serve pictures, videos and cameras, the command line and `stream` from Python. Frames travel through
them in chunks, and the network sees a chunk as one batch, or each frame's tiles.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import UInt8
from numpy import ndarray

from singleshot import preprocess
from singleshot.drawing import draw
from singleshot.prediction import track
from singleshot.prediction.backends.threads import default_threads
from singleshot.prediction.choosing import Choice
from singleshot.prediction.frames import CHUNK_PIXELS, Frame, Seen, Unreadable
from singleshot.prediction.stages import Pipeline, Stage
from singleshot.prediction.tiles import Tiling, detect_tiled
from singleshot.structures import Detections, LabelMap, Segmentation

BATCH_SIZE = 8
"""Frames at a time: by fours the light network takes a tenth longer for each. Large frames travel in smaller chunks."""
MOST_WORKERS = 4
Item = Frame | Unreadable
Image = UInt8[ndarray, "_ _ 3"]


@runtime_checkable
class Model(Protocol):
    """What can look at pictures: a `Detector` or `Segmenter`, of whatever backend."""

    @property
    def label_map(self) -> LabelMap:
        """Class names in the order of class ids."""
        ...

    def predict(self, source: Any, /) -> Any:
        """What is in a picture or a list of pictures."""
        ...


@dataclass(frozen=True)
class Work:
    """What is to be done with every frame.

    Args:
        model: what looks.
        choice: which detections are shown; None for a segmenter.
        tiling: look at large pictures in tiles too; None for the whole picture only.
        tracker: gives detections the numbers of their things; None for none. A video needs one of its own.
        drawing: draw what is seen into a copy of each frame.
    """

    model: Model
    choice: Choice | None = None
    tiling: Tiling | None = None
    tracker: track.Tracker | None = None
    drawing: bool = False

    @property
    def _any(self) -> Any:
        """The model with all that a `Detector` or `Segmenter` has, which cannot be named here: they import us."""
        return self.model

    @property
    def least(self) -> float:
        """The lowest score that anything behind the network asks for."""
        shown = 0.0 if self.choice is None else min(self.choice.least, 1.0)
        return shown if self.tracker is None else min(shown, track.LOW_SCORE)

    def stages(self) -> list[Stage]:
        """The stages from chunks of frames to lists of `Seen` and `Unreadable`."""
        if self.choice is None:
            stages = [Stage("net", _mapped(self._segmented))]
        elif self.tiling is not None:
            stages = [Stage("net", _mapped(self._tiled))]
        else:
            stages = [Stage("pre", self._prepared), *self._network_stages()]
        if self.choice is not None:
            # The last of the steps that need the frames in order.
            stages.append(Stage("choose" if self.tracker is None else "track", _mapped(self._chosen)))
        return [*stages, Stage("draw", _mapped(self._drawn))] if self.drawing else stages

    def _network_stages(self) -> list[Stage]:
        if hasattr(self.model, "backend"):  # an exported file: boxes come out of its network, which has its own threads
            return [Stage("net", self._seen)]
        workers, threads = crew(self.model)
        set_up = None if threads is None else (lambda: torch.set_num_threads(threads))
        return [Stage("net", self._answered, workers, set_up), Stage("post", self._finished)]

    def _prepared(self, chunk: list[Item]) -> tuple[list[Item], Any]:
        config = self._any.network.config.preprocess
        images = [preprocess.to_input(item.image, config) for item in chunk if isinstance(item, Frame)]
        return chunk, torch.from_numpy(np.stack(images)) if images else None

    def _answered(self, prepared: tuple[list[Item], Any]) -> tuple[list[Item], Any]:
        chunk, inputs = prepared
        return chunk, None if inputs is None else self._any.raw(inputs)

    def _finished(self, answered: tuple[list[Item], Any]) -> list[Any]:
        chunk, raw = answered
        return self._together(chunk, raw, self._any.postprocess)

    def _seen(self, prepared: tuple[list[Item], Any]) -> list[Any]:
        chunk, inputs = prepared
        return self._together(chunk, inputs, self._any.see)

    def _together(self, chunk: list[Item], given: Any, detect: Callable[..., list[Detections]]) -> list[Any]:
        """The chunk with what is seen in its frames; `detect` takes what was given for all of them, and their sizes."""
        frames = [item for item in chunk if isinstance(item, Frame)]
        results = iter(detect(given, [frame.size_hw for frame in frames]) if frames else ())
        return [Seen(item, next(results)) if isinstance(item, Frame) else item for item in chunk]

    def _segmented(self, frames: list[Frame]) -> list[Seen]:
        # Answers are as large as their frames, one byte a pixel; `chunked` keeps those of a chunk few where they are.
        images = [frame.image for frame in frames]
        found = self._any.predict(images, batch_size=len(images)) if images else []
        return [Seen(frame, result) for frame, result in zip(frames, found, strict=True)]

    def _tiled(self, frames: list[Frame]) -> list[Seen]:
        """The tiles of a frame are a batch of their own, or several."""

        def detect(images: list[Image]) -> list[Detections]:
            return self._any.predict(images, threshold=self.least, batch_size=BATCH_SIZE)

        tiling = self.tiling
        return [] if tiling is None else [Seen(each, detect_tiled(detect, each.image, tiling)) for each in frames]

    def _chosen(self, seen: list[Seen]) -> list[Seen]:
        return [replace(each, result=self._choose(each.result)) for each in seen]

    def _choose(self, found: Detections | Segmentation) -> Detections | Segmentation:
        if self.choice is None or not isinstance(found, Detections):
            return found
        if self.tracker is None:
            return self.choice.kept(found)
        wanted = found[self.choice.wanted(found)]
        return self.tracker.update(wanted, self.choice.thresholds[wanted.class_ids])

    def _drawn(self, seen: list[Seen]) -> list[Seen]:
        return [replace(each, drawn=draw(each.frame.image, each.result)) for each in seen]


def chunked(items: Iterable[Item], size: int = BATCH_SIZE) -> Iterator[list[Item]]:
    """The items in chunks of `size`, or of fewer where they are large; never an empty one."""
    chunk: list[Item] = []
    pixels = 0
    for item in items:
        chunk.append(item)
        pixels += item.image.shape[0] * item.image.shape[1] if isinstance(item, Frame) else 0
        if len(chunk) >= size or pixels >= CHUNK_PIXELS:
            yield chunk
            chunk, pixels = [], 0
    if chunk:
        yield chunk


def crew(model: Model) -> tuple[int, int | None]:
    """How many workers the network gets, and how many threads each; None leaves PyTorch's number alone.

    On a CPU several single-threaded workers do more than one with as many threads, because they wait for nobody
    between two layers. Together they have as many as any runtime would get here: OMP_NUM_THREADS and the container's
    share count. A GPU takes one batch after the other anyway.
    """
    if getattr(model, "device", torch.device("cuda")).type != "cpu":
        return 1, None
    available = default_threads()
    workers = min(available, MOST_WORKERS)
    return workers, max(1, available // workers)


def run(pipeline: Pipeline) -> Generator[Seen | Unreadable, None, None]:
    """The pipeline's results one by one, with PyTorch's number of threads as it was in the end."""
    threads = torch.get_num_threads()
    try:
        for chunk in pipeline:
            yield from chunk
    finally:
        torch.set_num_threads(threads)


def _mapped(work: Callable[[list[Any]], list[Any]]) -> Callable[[Sequence[Any]], list[Any]]:
    """The work done on all of a chunk that could be read; the rest stays in its place."""

    def on_chunk(chunk: Sequence[Any]) -> list[Any]:
        done = iter(work([item for item in chunk if not isinstance(item, Unreadable)]))
        return [item if isinstance(item, Unreadable) else next(done) for item in chunk]

    return on_chunk
