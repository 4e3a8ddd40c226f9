"""Predict files, videos, cameras and streams: results one by one, in order, past what cannot be read.

    with Sinks([DrawnImages(copies)]) as sinks:
        for item in predict_files(model, ["in/", "street.mp4"], StreamOptions(drawing=True)):
            sinks.append(item)      # an ImageResult, or the ImageError of an image or video that could not be read

`predict_files` serves Python users. The command `singleshot predict` uses its two parts: `predict_images` for image
files, with an `ImageReader` that starts before the weights are loaded; and `VideoPrediction` for one video or camera,
which also has the video's size and rate, what was damaged, and how long each stage took. The workers of bulk
prediction use `predict_in_turn`.

Only errors of reading are yielded. All others (a full disk, a missing package, Ctrl-C) are raised.
"""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from singleshot.errors import DataError
from singleshot.prediction import camera, network_camera
from singleshot.prediction.backends import host
from singleshot.prediction.choosing import Choice
from singleshot.prediction.frames import Frame, ImageError, ImageResult
from singleshot.prediction.image_reader import ImageReader
from singleshot.prediction.network_camera import Address
from singleshot.prediction.predictor import Detector, Predictor
from singleshot.prediction.sources import Sources, resolve
from singleshot.prediction.stages import Times, table
from singleshot.prediction.stream import StreamOptions, pipeline, results
from singleshot.prediction.video_reader import VideoReader

log = logging.getLogger(__name__)


def predict_files(
    predictor: Predictor[Any, Any],
    sources: Sequence[str | Path] | Sources,
    options: StreamOptions | None = None,
    *,
    allow_network: bool = False,
) -> Iterator[ImageResult | ImageError]:
    """Yield the result of every image, then of every frame of every video, then of cameras and streams, without an end.

    Args:
        predictor: a detector or segmenter, as `load` opens it.
        sources: files, folders, patterns and camera numbers as `sources.resolve` takes them, or what it returned.
        options: see `StreamOptions`.
        allow_network: whether addresses of streams are taken.

    Yields:
        ImageResult; or, at its position, the ImageError of an image that could not be read, or of a video: in place of
        all its frames, or after the last readable one (`of_video`).

    Raises:
        InputMissingError, UsageError: as `sources.resolve`.
        StoppedError: no process that reads images can be started.
        UnreachableError: a stream does not answer.
        ConfigError: there are videos or streams and PyAV is not installed.
    """
    options = options or StreamOptions()
    found = sources if isinstance(sources, Sources) else resolve(sources, allow_network=allow_network)
    if (warning := found.warning()) is not None:
        log.warning(warning)
    if found.images:
        with ImageReader() as reader:
            yield from predict_images(predictor, found.images, options, reader)
    for source in found.moving:
        try:
            with contextlib.closing(VideoPrediction(predictor, source, options)) as video:
                yield from video
                if (fault := video.fault()) is not None:
                    raise fault
        except DataError as error:
            yield ImageError(str(source), error, of_video=True)


def predict_images(
    predictor: Predictor[Any, Any], files: Sequence[Path], options: StreamOptions, reader: ImageReader
) -> Generator[ImageResult | ImageError, None, None]:
    """Yield the result or the error of each image file, in order.

    One at a time unless the options have a batch size, and one waiting: images may be large, and a person watches the
    lines come.
    """
    options = replace(options, batch_size=options.batch_size or 1)
    return results(pipeline(predictor, reader.frames(files), options, depth=1))


def predict_in_turn(
    detector: Detector, files: Sequence[Path], choice: Choice, reader: ImageReader, on_begin: Callable[[int], None]
) -> Iterator[ImageResult | ImageError]:
    """Yield the result or the error of each image file, in order, like `predict_images`, but in the caller's thread.

    For callers that must know which image is at work when it ends the process: only the reader runs ahead.

    Args:
        detector: as `load_detector` opens it.
        files: the images.
        choice: which detections to show.
        reader: reads the images.
        on_begin: is called with the index of each file before anything is done with it here.
    """
    frames = reader.frames(files)
    for index in range(len(files)):
        on_begin(index)
        item = next(frames)
        if isinstance(item, Frame):
            item = ImageResult(item, choice.kept(detector.predict(item.image, threshold=min(choice.least, 1.0))))
        yield item


class VideoPrediction:
    """The prediction of one video, camera or stream. Iterate over it once for the results; `close` it in any case.

    Args:
        predictor: a detector or segmenter.
        source: a video file, the number of a camera, or the address of a stream.
        options: see `StreamOptions`. None for its batch size is 1 for a camera or stream.
        on_event: called with a line when a stream is lost or back.

    Attributes:
        name: the file, `camera 0`, or the address without user name and password.
        reader: the open file, with its size, rate and notes; None for a camera or stream.
        count: how many results were yielded.

    Raises:
        DataError: not one frame can be read. Later damage is no error but the `fault`.
        InputMissingError, NotPermittedError, StorageError: the file cannot be opened.
        ConfigError: PyAV is not installed.
    """

    def __init__(
        self,
        predictor: Predictor[Any, Any],
        source: Path | int | Address,
        options: StreamOptions,
        *,
        on_event: Callable[[str], object] = log.warning,
    ) -> None:
        self.name, self.count = f"camera {source}" if isinstance(source, int) else str(source), 0
        self.reader: VideoReader | None = None
        live = not isinstance(source, Path)
        if isinstance(source, int):
            frames = camera.frames(source)
        elif isinstance(source, Address):
            frames = network_camera.frames(source, on_event=on_event)
        else:
            frames = self.reader = VideoReader(source, threads=max(1, host.cores() // 4))
        self._pipeline = pipeline(predictor, frames, options, moving=True, live=live)
        self._results = results(self._pipeline)
        self._cpu_s = time.process_time()

    @property
    def seconds(self) -> float:
        """How long the prediction took; 0 before it has ended."""
        return self._pipeline.wall_s

    def __iter__(self) -> Iterator[ImageResult]:
        for result in self._results:
            if isinstance(result, ImageResult):
                self.count += 1
                yield result

    def fault(self) -> DataError | None:
        """Return what was damaged or lost in the file, once all results were yielded; None where nothing was."""
        return None if self.reader is None else self.reader.fault()

    def stage_table(self, *consumers: Times) -> list[str]:
        """Return what each stage cost per frame, as lines of text; `consumers` are steps of the caller's own."""
        self._pipeline.times += consumers
        return table(self._pipeline, self.count, time.process_time() - self._cpu_s, host.cores())

    def close(self) -> None:
        """End the stages and close the file."""
        self._results.close()
        if self.reader is not None:
            self.reader.close()
