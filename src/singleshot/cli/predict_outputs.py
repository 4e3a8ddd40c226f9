"""What one `singleshot predict` writes: targets, checked before any work, and the sinks that take the results.

A result goes to a drawn copy, to the files of `--save`, to the `--json` report and, as a line, to the terminal. If the
work ends early, the report is written with what there is, and common files keep a name that marks them as partial.
"""

from __future__ import annotations

import contextlib
import re
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from singleshot.cli import outputs, terminal
from singleshot.errors import CannotCreateError, SingleshotError, UsageError
from singleshot.prediction import annotations
from singleshot.prediction.annotations import KINDS, NDJSON, Sink, Sinks
from singleshot.prediction.frames import ImageError, ImageResult
from singleshot.prediction.network_camera import Address
from singleshot.prediction.sources import Sources
from singleshot.storage.atomic import partial

if TYPE_CHECKING:
    from singleshot.prediction.predictor import Predictor

JSON_KEYS = ("pictures", "videos")
PER_IMAGE_KINDS = ("voc", "yolo", "labelme")
"""The kinds of `--save` with one file per image."""


@dataclass(frozen=True)
class Targets:
    """The files of one `predict`.

    Args:
        out: the folder for everything but the report; None if nothing is saved.
        images: the drawn copy of each image; empty without `out`.
        videos: the drawn copy of each video (by path), camera (by number) and stream (by address); empty without `out`.
        json_file: the `--json` report.
        overwrite: whether existing files may be replaced.
    """

    out: Path | None
    images: Mapping[Path, Path]
    videos: Mapping[Path | int | Address, Path]
    json_file: Path | None
    overwrite: bool

    def names(self) -> dict[str, str]:
        """Return the names of files about single images and frames, by source: those of the drawn copies."""
        copies = {**self.images, **self.videos}
        cameras = {f"camera {source}" if isinstance(source, int) else str(source): copies[source] for source in copies}
        return {source: copy.stem for source, copy in cameras.items()}


def plan(
    sources: Sources, weights: Path, kinds: Sequence[str], *, out: Path | None, json_file: Path | None, overwrite: bool
) -> Targets:
    """Choose the targets, and refuse those that cannot be written or would replace something. Creates nothing.

    Args:
        sources: what will be predicted.
        weights: an input, too.
        kinds: of `--save`, as far as they are for detections; `check_masks` checks those of a segmenter.
        out: the folder for copies and files.
        json_file: the `--json` report.
        overwrite: replace existing files.

    Raises:
        UsageError: files to save and no folder, an output that is an input, or two outputs with one name.
        CannotCreateError: something exists already.
        NotPermittedError: no permission to write.
    """
    if kinds and out is None:
        raise UsageError("--save needs a folder", remedy="Give --out DIR")
    images: dict[Path, Path] = {}
    videos: dict[Path | int | Address, Path] = {}
    if out is not None:
        images = annotations.targets(sources.images, out)
        videos |= annotations.targets(sources.videos, out, suffix=".mp4")
        videos |= {index: out / f"camera_{index}.mp4" for index in sources.cameras}
        videos |= {address: out / f"{address.file_stem}.mp4" for address in sources.streams}
    saved = [out / KINDS[kind][1] for kind in kinds] if out is not None else []
    files = [path for path in saved if path.suffix]
    unfinished = [partial(path) for path in (*videos.values(), *files)]
    outputs.check(
        *(*images.values(), *videos.values(), *files, *unfinished),
        json_file=json_file,
        json_keys=JSON_KEYS,
        inputs=[weights, *sources.images, *sources.videos],
        overwrite=overwrite,
    )
    if any(kind in PER_IMAGE_KINDS for kind in kinds):
        _check_names(images, videos, reserved="classes" if "yolo" in kinds else None)
    for folder in (path for path in saved if not path.suffix):
        outputs.check_folder(folder)
        if not overwrite and folder.is_dir() and any(folder.iterdir()):
            raise CannotCreateError("already has files", remedy="Choose another --out or pass --overwrite", file=folder)
    return Targets(out, images, videos, json_file, overwrite)


def _check_names(
    images: Mapping[Path, Path], videos: Mapping[Path | int | Address, Path], *, reserved: str | None
) -> None:
    """Refuse two sources whose annotations would be one file. Those of a video frame are called `<video>_000012`."""
    taken: dict[str, Path] = {}
    video_stems = {copy.stem for copy in videos.values()}
    for image, copy in images.items():
        name, frame = copy.stem, re.fullmatch(r"(.*)_\d{6,}", copy.stem)
        message = None
        if name == reserved:
            message = f"its annotations would take the place of {name}.txt, the list of classes"
        elif name in taken:
            message = f"its annotations would have the name of those of {taken[name]}"
        elif frame and frame[1] in video_stems:
            message = f"its annotations would have the name of a frame's of {frame[1]}"
        if message:
            raise UsageError(message, remedy="Rename it, or predict it in a separate run", file=image)
        taken[name] = image


def sinks_of(targets: Targets, predictor: Predictor[Any, Any], kinds: Sequence[str]) -> list[Sink]:
    """Open the files of `--save` and the drawn copies; for `ndjson` standard output.

    Raises:
        UsageError: a kind that the predictor cannot save, or kinds and no folder.
        CannotCreateError: a mask exists already.
    """
    first: list[Sink] = [annotations.DrawnImages(targets.images)]
    if NDJSON in kinds:
        first.append(annotations.NdjsonStream(sys.stdout))
        kinds = [kind for kind in kinds if kind != NDJSON]
    if predictor.task == "detection":
        kinds = annotations.parse_kinds(",".join(kinds))
        files = annotations.open_sinks(kinds, targets.out, predictor.label_map) if targets.out is not None else []
        return [*first, *files]
    unknown = [kind for kind in kinds if kind not in annotations.MASK_KINDS]
    if unknown:
        message = f"a segmenter cannot save {', '.join(unknown)}"
        raise UsageError(message, remedy=f"It can save {', '.join(annotations.MASK_KINDS)}")
    if kinds and targets.out is None:
        raise UsageError("--save needs a folder", remedy="Give --out DIR")
    masks = [annotations.mask_path(copy, kind) for copy in targets.images.values() for kind in kinds]
    reserved = [*targets.images.values(), *([targets.json_file] if targets.json_file else [])]
    outputs.check(*masks, inputs=targets.images, reserved=reserved, overwrite=targets.overwrite)
    return [*first, annotations.MaskImages(targets.images, kinds)]


@contextlib.contextmanager
def open_outputs(
    targets: Targets, predictor: Predictor[Any, Any], kinds: Sequence[str], facts: Mapping[str, Any]
) -> Iterator[Outputs]:
    """Yield the open outputs; in the end close the files and write the report, also after an error or Ctrl-C.

    Args:
        targets: as `plan` returns them.
        predictor: decides which kinds can be saved.
        kinds: of `--save`.
        facts: the report's first fields.

    Raises:
        UsageError, CannotCreateError: see `sinks_of`.
    """
    report: dict[str, Any] = {**facts, "pictures": [], "videos": []}
    try:
        with Sinks(sinks_of(targets, predictor, kinds), targets.names()) as sinks:
            # With JSON on standard output, the lines for people go to stderr.
            yield Outputs(targets, sinks, report, show=terminal.note if NDJSON in kinds else terminal.show)
    except BaseException:
        with contextlib.suppress(SingleshotError):  # the first error is reported
            outputs.write_json(targets.json_file, {**report, "stopped": True})
        raise
    outputs.write_json(targets.json_file, report)


class Outputs:
    """Takes all results; see `open_outputs`.

    Attributes:
        targets: where they go.
        sinks: the files, and the errors of images and videos that could not be read, or not completely.
    """

    def __init__(
        self, targets: Targets, sinks: Sinks, report: dict[str, Any], *, show: Callable[[str], None] = terminal.show
    ) -> None:
        self.targets, self.sinks, self._report, self._show = targets, sinks, report, show

    def add_image(self, item: ImageResult | ImageError) -> None:
        """Save the result of an image and print it, or report the error."""
        self.sinks.append(item)
        if isinstance(item, ImageError):
            terminal.warn(str(item.error))
            row = {"file": item.source, "error": str(item.error)}
        else:
            row = annotations.result_row(item)
            self._show(f"{item.source}: {item.result.summary()}")
        if self.targets.json_file is not None:  # else nobody reads them, and there may be millions
            self._report["pictures"].append(row)

    def add_frame(self, row: VideoRow, item: ImageResult) -> None:
        """Save the result of a frame of a video."""
        self.sinks.append(item)
        row.add(item, keep=self.targets.json_file is not None)

    def add_video(self, row: VideoRow) -> None:
        """Report a video and print its summary."""
        self._report["videos"].append(row.as_json())
        if row.error is not None:
            self._failed(row.file, row.error)
        self._show(f"{row.source}: {row.summary()}")
        for line in row.stage_times:
            terminal.note(line)

    def add_unreadable_video(self, source: Path | int | Address, error: SingleshotError) -> None:
        """Report a video without a single readable frame."""
        self._report["videos"].append({"file": str(source), "error": str(error)})
        self._failed(str(source), error)

    def _failed(self, source: str, error: SingleshotError) -> None:
        self.sinks.append(ImageError(source, error, of_video=True))
        terminal.warn(str(error))


@dataclass
class VideoRow:
    """The results of one video, camera or stream.

    Args:
        source: the file, the number of the camera, or the address of the stream.
        frames: of the report.
        frame_count: frames done.
        classes: in how many frames each class occurred.
        tracks: the class of each track, by its number.
        error: what is wrong with the file, if anything.
        stopped: whether Ctrl-C ended it.
        seconds: spent.
        stage_times: how long each stage took, as lines.
    """

    source: Path | int | Address
    frames: list[dict[str, Any]] = field(default_factory=list)
    frame_count: int = 0
    classes: Counter[str] = field(default_factory=Counter)
    tracks: dict[int, str] = field(default_factory=dict)
    error: SingleshotError | None = None
    stopped: bool = False
    seconds: float = 0.0
    stage_times: list[str] = field(default_factory=list)

    @property
    def file(self) -> str:
        """The source as text."""
        return f"camera {self.source}" if isinstance(self.source, int) else str(self.source)

    def add(self, item: ImageResult, *, keep: bool) -> None:
        """Count a frame, and keep it for the report."""
        result = item.result
        self.frame_count += 1
        self.classes.update(result.classes())
        self.tracks.update(result.tracks())
        if keep:
            self.frames.append({name: value for name, value in annotations.result_row(item).items() if name != "file"})

    def as_json(self) -> dict[str, Any]:
        """Return the row of the report."""
        row: dict[str, Any] = {"file": self.file, "frames": self.frames}
        if self.stopped:
            row["stopped"] = True
        row |= {"seconds": round(self.seconds, 3), "frame_count": self.frame_count}
        return row if self.error is None else row | {"error": str(self.error)}

    def summary(self) -> str:
        """Describe the results in one line: the tracks by class, else in how many frames each class occurred."""
        if self.tracks:
            counts = Counter(self.tracks.values()).most_common()
            return f"{len(self.tracks)} tracked: " + ", ".join(f"{name} {count}" for name, count in counts)
        return ", ".join(f"{name} in {count}" for name, count in self.classes.most_common()) or "nothing"
