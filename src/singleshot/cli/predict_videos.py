"""`singleshot predict` on a video or a camera: a drawn copy, files of what was seen, and where the time went."""

from __future__ import annotations

import contextlib
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

from singleshot.errors import DataError, SingleshotError
from singleshot.prediction.annotations import Sink, result_row
from singleshot.prediction.backends import threads
from singleshot.prediction.frames import ImageResult
from singleshot.prediction.predict_files import VideoPrediction
from singleshot.prediction.predictor import Predictor
from singleshot.prediction.stages import Times
from singleshot.prediction.stream import StreamOptions
from singleshot.prediction.video_reader import VideoReader
from singleshot.prediction.video_writer import VideoWriter
from singleshot.structures import Detections


@dataclass
class Watched:
    """What came of one video.

    Args:
        row: for `--json`.
        fault: what was wrong with the file; None where nothing was.
        table: the stages' times, as lines.
        classes: in how many frames each class was seen; in a segmenter's, that had any pixel.
        things: the class of each track, by its number.
        stopped: whether Ctrl-C ended it. That is the one way to end a camera, and half of a video.
    """

    row: dict[str, Any]
    fault: DataError | None = None
    table: list[str] = field(default_factory=list)
    classes: Counter[str] = field(default_factory=Counter)
    things: dict[int, str] = field(default_factory=dict)
    stopped: bool = False

    def add(self, seen: ImageResult, *, keep_row: bool) -> None:
        """Count a frame, and note it for `--json`."""
        found = seen.result
        self.classes.update(set(found.class_names if isinstance(found, Detections) else found.shares()))
        if isinstance(found, Detections) and found.track_ids is not None:
            self.things.update(zip(found.track_ids.tolist(), map(str, found.class_names), strict=True))
        if keep_row:
            row = result_row(seen)
            del row["file"]
            self.row["frames"].append(row)

    def summary(self) -> str:
        """What was seen, in a few words."""
        if self.things:
            counts = Counter(self.things.values())
            return f"{len(self.things)} tracked: " + ", ".join(
                f"{name} {count}" for name, count in counts.most_common()
            )
        return ", ".join(f"{name} in {count}" for name, count in self.classes.most_common()) or "nothing"


def watch(
    predictor: Predictor[Any, Any],
    options: StreamOptions,
    source: Path | int,
    *,
    target: Path | None = None,
    files: Sequence[Sink] = (),
    name: str = "video",
    keep_rows: bool = True,
) -> Watched:
    """Look at every frame of a video, or of a camera, until Ctrl-C: what there is so far is brought to a good end.

    Args:
        predictor: the model.
        options: what to do with each frame.
        source: a video file, or the number of a camera.
        target: the drawn copy; None draws nothing.
        files: take what was seen.
        name: of the files about single frames: `<name>_000012`.
        keep_rows: note every frame for `--json`.

    Raises:
        DataError: not one frame can be read. Later damage is no error but the answer's `fault`.
        ConfigError, CannotCreateError, NotPermittedError, StorageError: the copy cannot be written.
    """
    from singleshot.cli import terminal
    from singleshot.cli.terminal import frames_bar

    cores = threads.cores()
    live = isinstance(source, int)
    video = VideoPrediction(predictor, source, options)
    reader = video.reader
    copy: _Copy | None = None if target is None else _Copy(target, reader, max(1, cores // 2))
    watched = Watched({"file": f"camera {source}" if live else str(source), "frames": []})
    done, whole = 0, False
    with contextlib.ExitStack() as stack:
        stack.callback(video.close)
        advance = stack.enter_context(frames_bar(watched.row["file"], reader.expected if reader else None))
        try:
            for seen in video:
                if copy is not None:
                    copy.write(seen)
                done += 1
                watched.add(seen, keep_row=keep_rows)
                if isinstance(seen.result, Detections):
                    for file in files:
                        file.add(seen, f"{name}_{done - 1:06d}")
                advance(done)
            watched.fault = video.fault()
            whole = watched.fault is None
        except KeyboardInterrupt:
            watched.stopped = watched.row["stopped"] = True
            whole = live
        finally:
            video.close()
            if copy is not None:
                written = copy.close(whole=whole)
                if written is not None and not whole:
                    terminal.warn(f"{written}: {copy.written} frames, not the whole video")
    watched.table = video.stage_table(*([] if copy is None else [copy.times]))
    watched.row |= {"seconds": round(video.seconds, 3), "frame_count": done}
    for note in [*(reader.notes if reader else ()), *(copy.notes if copy else ())]:
        terminal.warn(f"{watched.row['file']}: {note}")
    if watched.fault is not None:
        watched.row["error"] = str(watched.fault)
    return watched


class _Copy:
    """Writes drawn frames into a video, which is opened at once where the size is known, for a camera later."""

    def __init__(self, target: Path, reader: VideoReader | None, threads: int) -> None:
        self._target, self._threads, self.times = target, threads, Times("encode")
        self._writer: VideoWriter | None = None
        if reader is not None:
            self._writer = VideoWriter(
                target,
                reader.size_hw,
                rate=reader.rate,
                pixel_aspect=reader.pixel_aspect,
                sound_from=reader.path,
                threads=threads,
            )

    def write(self, result: ImageResult) -> None:
        """Write a drawn frame."""
        if result.drawn is None:
            return
        start, cpu = time.perf_counter(), time.thread_time()
        if self._writer is None:
            self._writer = VideoWriter(self._target, result.frame.size_hw, threads=self._threads)
        self._writer.write(result.drawn, result.frame.time or Fraction(0), result.frame.duration)
        self.times.add(time.perf_counter() - start, time.thread_time() - cpu, 0.0)

    @property
    def written(self) -> int:
        """How many frames are in it."""
        return 0 if self._writer is None else self._writer.written

    @property
    def notes(self) -> list[str]:
        """What could not be carried over."""
        return [] if self._writer is None else self._writer.notes

    def close(self, *, whole: bool) -> Path | None:
        """End the video; a failure while another is on its way up is not told over it."""
        if self._writer is None:
            return None
        if whole:
            return self._writer.close()
        with contextlib.suppress(SingleshotError):
            return self._writer.close(whole=False)
        return None
