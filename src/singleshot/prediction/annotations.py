"""Results as files: drawn copies, JSON lines and CSV, and annotations in the formats of VOC, YOLO and COCO.

    detections.jsonl    a line for each image or frame: file, frame, time_s, size_hw, detections
    detections.csv      a line for each detection
    standard output     the same lines as detections.jsonl, at once (`NdjsonStream`)
    voc/NAME.xml        yolo/NAME.txt with yolo/classes.txt        coco.json
    labelme/NAME.json   labelstudio/tasks.json with config.xml         cvat.xml        (`label_tools`)
    NAME.jpg            the image with its result drawn in; NAME_ids.png and the like: masks of a segmenter

    with Sinks([JsonLines(out, model.label_map), DrawnImages(copies)]) as sinks:
        for item in predict_files(model, sources, StreamOptions(drawing=True)):
            sinks.append(item)
    sys.exit(sinks.exit_code)

JSON lines and CSV hold the detections as they are. The others are made to be corrected by hand and trained on:
boxes are clipped to the image, and what is then no more than a pixel wide or high is left out: in VOC's inclusive
corners it would be empty (`voc_writer`).
"""

from __future__ import annotations

import csv
import io
import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, TextIO, runtime_checkable

import cv2
import numpy as np
from jaxtyping import UInt8
from numpy import ndarray

from singleshot import boxes
from singleshot.drawing import class_colour_image
from singleshot.errors import StorageError, UsageError, from_os_error, nearest
from singleshot.metrics.road_maxf import ROAD, as_values
from singleshot.prediction import label_tools
from singleshot.prediction.frames import ImageError, ImageResult
from singleshot.prediction.image_reader import STANDARD_INPUT
from singleshot.storage import atomic
from singleshot.structures import Detections, LabelMap, Segmentation

JPEG_QUALITY = 92
MASK_KINDS = ("ids", "colours", "probability")
"""Masks that a segmenter's results can be saved as."""
COLUMNS = ("file", "frame", "time_s", "class", "class_id", "score", "x1", "y1", "x2", "y2", "track_id")


@runtime_checkable
class Sink(Protocol):
    """A file or folder that takes results one by one."""

    def add(self, result: ImageResult, name: str) -> None:
        """Write a result. `name` is unique, for files about this image alone."""
        ...

    def close(self, *, whole: bool = True) -> None:
        """Write what is left. A common file without all results gets a name that says so: `atomic.GrowingFile`."""
        ...


class Sinks:
    """Several sinks as one; a context manager that closes them.

    Errors among the results are collected. Sinks are closed as partial if the work breaks off with an exception, or if
    not all of a video could be read.

    Args:
        sinks: where results go.
        names: by source, the name of files about that source alone; its stem where it is not in there.
    """

    def __init__(self, sinks: Sequence[Sink], names: Mapping[str, str] | None = None) -> None:
        self._sinks, self._names = sinks, names or {}
        self.errors: list[ImageError] = []

    @property
    def exit_code(self) -> int:
        """The highest exit code of all errors; 0 without any."""
        return max((item.error.exit_code for item in self.errors), default=0)

    def append(self, item: ImageResult | ImageError) -> None:
        """Give a result to every sink, or note an error."""
        if isinstance(item, ImageError):
            self.errors.append(item)
            return
        name, index = self._names.get(item.source), item.frame.index
        if name is not None and index is not None:
            name = f"{name}_{index:06d}"
        for sink in self._sinks:
            sink.add(item, item.frame.name if name is None else name)

    def close(self, *, whole: bool = True) -> None:
        """Close every sink. Raises StorageError where the disk is full or failing."""
        whole = whole and not any(item.of_video for item in self.errors)
        for sink in self._sinks:
            sink.close(whole=whole)

    def __enter__(self) -> Sinks:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self.close(whole=kind is None)


class JsonLines:
    """`detections.jsonl`."""

    def __init__(self, out: Path, label_map: LabelMap) -> None:
        del label_map
        self._file = atomic.GrowingFile(out / "detections.jsonl")

    def add(self, result: ImageResult, name: str) -> None:
        """See `Sink`."""
        del name
        self._file.write(json.dumps(result_row(result)) + "\n")

    def close(self, *, whole: bool = True) -> None:
        """See `Sink`."""
        self._file.close(whole=whole)


class NdjsonStream:
    """The lines of `detections.jsonl` on a stream such as standard output, each as soon as its result is there."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def add(self, result: ImageResult, name: str) -> None:
        """See `Sink`. Raises BrokenPipeError where the reader has gone, StorageError where the disk is full."""
        del name
        try:
            self._stream.write(json.dumps(result_row(result)) + "\n")
            self._stream.flush()
        except BrokenPipeError:
            raise
        except OSError as error:
            raise from_os_error(error, None, "write", elsewhere="Write to another file") from error

    def close(self, *, whole: bool = True) -> None:
        """See `Sink`."""


class Csv:
    """`detections.csv`."""

    def __init__(self, out: Path, label_map: LabelMap) -> None:
        del label_map
        self._file = atomic.GrowingFile(out / "detections.csv")
        self._write([COLUMNS])

    def add(self, result: ImageResult, name: str) -> None:
        """See `Sink`."""
        del name
        found = result.result.detections
        tracks = [""] * len(found) if found.track_ids is None else found.track_ids.tolist()
        rows = zip(
            found.class_names,
            found.class_ids.tolist(),
            found.scores.tolist(),
            found.boxes_xyxy.tolist(),
            tracks,
            strict=True,
        )
        frame, time_s = ("" if value is None else value for value in (result.frame.index, result.frame.time_s))
        self._write(
            [
                result.source,
                frame,
                time_s,
                label,
                class_id,
                round(score, 6),
                *(round(edge, 3) for edge in box),
                number,
            ]
            for label, class_id, score, box, number in rows
        )

    def close(self, *, whole: bool = True) -> None:
        """See `Sink`."""
        self._file.close(whole=whole)

    def _write(self, rows: Any) -> None:
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows(rows)
        self._file.write(text.getvalue())


class _Folder:
    """A file per image. All are synced to the disk at the end: one by one that would delay every frame of a video."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def write(self, name: str, text: str) -> None:
        atomic.write_text(self._folder / name, text, forced=False)

    def close(self) -> None:
        if self._folder.is_dir():
            for file in self._folder.iterdir():
                atomic.sync(file)
            atomic.sync(self._folder)


class Voc:
    """`voc/NAME.xml`, an annotation per image."""

    def __init__(self, out: Path, label_map: LabelMap) -> None:
        del label_map
        self._folder = _Folder(out / "voc")

    def add(self, result: ImageResult, name: str) -> None:
        """See `Sink`."""
        kept = inside(result.result.detections)
        image = Path(result.source).name if _is_file(result) else f"{name}.jpg"
        names = [str(each) for each in kept.class_names]
        from singleshot.data.boxes.voc_xml import annotation_xml  # here, since most predictions write none

        text = annotation_xml(image, kept.size_hw, kept.boxes_xyxy, names)
        self._folder.write(f"{name}.xml", text)

    def close(self, *, whole: bool = True) -> None:
        """See `Sink`."""
        self._folder.close()


class Yolo:
    """`yolo/NAME.txt`: class, centre and size as fractions; an empty file where nothing was detected."""

    def __init__(self, out: Path, label_map: LabelMap) -> None:
        self._folder = _Folder(out / "yolo")
        self._folder.write("classes.txt", "".join(f"{name}\n" for name in label_map.names))

    def add(self, result: ImageResult, name: str) -> None:
        """See `Sink`."""
        kept = inside(result.result.detections)
        height, width = kept.size_hw
        rows = boxes.xyxy_to_cxcywh(boxes.scale(kept.boxes_xyxy.astype(np.float64), (1 / height, 1 / width))).tolist()
        lines = (
            " ".join([str(class_id), *(f"{number:.9g}" for number in row)]) + "\n"
            for class_id, row in zip(kept.class_ids.tolist(), rows, strict=True)
        )
        self._folder.write(f"{name}.txt", "".join(lines))

    def close(self, *, whole: bool = True) -> None:
        """See `Sink`."""
        self._folder.close()


class Coco:
    """`coco.json`: images, annotations (with their `score`) and categories."""

    def __init__(self, out: Path, label_map: LabelMap) -> None:
        self._out, self._images, self._count = out / "coco.json", [], 0
        self._annotations: list[str] = []
        self._categories = [{"id": row, "name": name} for row, name in enumerate(label_map.names, start=1)]

    def add(self, result: ImageResult, name: str) -> None:
        """See `Sink`."""
        kept = inside(result.result.detections)
        height, width = kept.size_hw
        # The path as the user named it: images of two folders may have one name.
        file_name = Path(result.source).as_posix() if _is_file(result) else f"{name}.jpg"
        image = {"id": len(self._images) + 1, "file_name": file_name, "width": width, "height": height}
        self._images.append(json.dumps(image))
        rows = zip(kept.boxes_xyxy.tolist(), kept.class_ids.tolist(), kept.scores.tolist(), strict=True)
        for (x1, y1, x2, y2), class_id, score in rows:
            row = {
                "id": len(self._annotations) + 1,
                "image_id": image["id"],
                "category_id": class_id + 1,
                "bbox": [x1, y1, x2 - x1, y2 - y1],
                "area": (x2 - x1) * (y2 - y1),
                "iscrowd": 0,
                "score": score,
            }
            self._annotations.append(json.dumps(row))

    def close(self, *, whole: bool = True) -> None:
        """See `Sink`."""
        file = atomic.GrowingFile(self._out)
        file.write(f'{{"images": [{", ".join(self._images)}],\n"annotations": [{", ".join(self._annotations)}],\n')
        file.write(f'"categories": {json.dumps(self._categories)}}}\n')
        file.close(whole=whole)


class Labelme:
    """`labelme/NAME.json`, a file per image for labelme."""

    def __init__(self, out: Path, label_map: LabelMap) -> None:
        del label_map
        self._path, self._folder = out / "labelme", _Folder(out / "labelme")

    def add(self, result: ImageResult, name: str) -> None:
        """See `Sink`."""
        image = Path(result.source) if _is_file(result) else self._path / f"{name}.jpg"
        text = label_tools.labelme_json(inside(result.result.detections), image, self._path / f"{name}.json")
        self._folder.write(f"{name}.json", text)

    def close(self, *, whole: bool = True) -> None:
        """See `Sink`."""
        self._folder.close()


class LabelStudio:
    """`labelstudio/tasks.json` with a prediction per image, and `labelstudio/config.xml`."""

    def __init__(self, out: Path, label_map: LabelMap) -> None:
        self._tasks: list[str] = []
        self._path, self._folder = out / "labelstudio", _Folder(out / "labelstudio")
        self._folder.write("config.xml", label_tools.label_studio_config(label_map.names))

    def add(self, result: ImageResult, name: str) -> None:
        """See `Sink`."""
        image = Path(result.source).as_posix() if _is_file(result) else f"{name}.jpg"
        task = label_tools.label_studio_task(inside(result.result.detections), image, "singleshot")
        self._tasks.append(json.dumps(task, ensure_ascii=False))

    def close(self, *, whole: bool = True) -> None:
        """See `Sink`."""
        file = atomic.GrowingFile(self._path / "tasks.json")
        file.write("[" + ",\n".join(self._tasks) + "]\n")
        file.close(whole=whole)
        self._folder.close()


class Cvat:
    """`cvat.xml`: CVAT for images 1.1."""

    def __init__(self, out: Path, label_map: LabelMap) -> None:
        self._file, self._count = atomic.GrowingFile(out / "cvat.xml"), 0
        self._file.write(label_tools.cvat_head(label_map.names))

    def add(self, result: ImageResult, name: str) -> None:
        """See `Sink`."""
        image = Path(result.source).name if _is_file(result) else f"{name}.jpg"
        self._file.write(label_tools.cvat_image(inside(result.result.detections), self._count, image))
        self._count += 1

    def close(self, *, whole: bool = True) -> None:
        """See `Sink`."""
        self._file.write("</annotations>\n")
        self._file.close(whole=whole)


class DrawnImages:
    """Drawn copies of images.

    Args:
        copies: by source, where its copy goes; others are not written.
    """

    def __init__(self, copies: Mapping[Path, Path]) -> None:
        self._copies = {str(source): copy for source, copy in copies.items()}

    def add(self, result: ImageResult, name: str) -> None:
        """See `Sink`."""
        del name
        if result.drawn is not None and result.source in self._copies:
            write_image(self._copies[result.source], result.drawn)

    def close(self, *, whole: bool = True) -> None:
        """See `Sink`."""


class MaskImages:
    """A segmenter's results as PNG files beside the drawn copies, see `mask_path`.

    Args:
        copies: by source, its drawn copy.
        kinds: of `MASK_KINDS`: class ids, class colours, or the probability (grey, 0…255: of the second of two
            classes, else of the most probable class).
    """

    def __init__(self, copies: Mapping[Path, Path], kinds: Iterable[str]) -> None:
        self._copies, self._kinds = {str(source): copy for source, copy in copies.items()}, tuple(kinds)

    def add(self, result: ImageResult, name: str) -> None:
        """See `Sink`."""
        del name
        copy = self._copies.get(result.source)
        if copy is not None:
            for kind in self._kinds:
                atomic.write_bytes(mask_path(copy, kind), mask_png(result.result.segmentation, kind))

    def close(self, *, whole: bool = True) -> None:
        """See `Sink`."""


def mask_path(copy: Path, kind: str) -> Path:
    """Return the path of a kind of mask beside a drawn copy.

    >>> str(mask_path(Path("out/street.jpg"), "ids"))
    'out/street_ids.png'
    """
    return copy.with_name(f"{copy.stem}_{kind}.png")


def mask_png(found: Segmentation, kind: str) -> bytes:
    """Return a segmentation as the bytes of a PNG of that kind."""
    from singleshot.data.masks.files import encode  # here, since it brings readers that most predictions do without

    if kind == "ids":
        return encode(found.class_ids)
    if kind == "colours" or found.probabilities is None:
        return encode(class_colour_image(found))
    probability = found.probabilities[ROAD] if len(found.class_names) == 2 else found.probabilities.max(axis=0)
    return encode(as_values(probability))


KINDS: dict[str, tuple[Callable[[Path, LabelMap], Sink], str]] = {
    "json": (JsonLines, "detections.jsonl"),
    "csv": (Csv, "detections.csv"),
    "voc": (Voc, "voc"),
    "yolo": (Yolo, "yolo"),
    "coco": (Coco, "coco.json"),
    "labelme": (Labelme, "labelme"),
    "labelstudio": (LabelStudio, "labelstudio"),
    "cvat": (Cvat, "cvat.xml"),
}
"""By kind of `--save` of a detector: the sink, and the file or folder that it makes."""
NDJSON = "ndjson"
"""The kind of `--save` that goes to standard output."""


def parse_kinds(text: str | None) -> tuple[str, ...]:
    """Parse `json,csv` into kinds. Raises UsageError for an unknown one.

    >>> parse_kinds("json, csv,json"), parse_kinds(None)
    (('json', 'csv'), ())
    """
    kinds = tuple(dict.fromkeys(part.strip() for part in text.split(","))) if text else ()
    for kind in kinds:
        if kind not in KINDS:
            near = nearest(kind, [*KINDS, NDJSON])
            remedy = f"Did you mean {near}?" if near else f"Known are {', '.join([*KINDS, NDJSON])}"
            raise UsageError(f"detections cannot be saved as {kind!r}", remedy=remedy)
    return kinds


def open_sinks(kinds: Sequence[str], out: Path, label_map: LabelMap) -> list[Sink]:
    """Open the sinks of some kinds in a folder."""
    return [KINDS[kind][0](out, label_map) for kind in kinds]


def result_row(result: ImageResult) -> dict[str, Any]:
    """Return a result as JSON: file, frame and time in a video, size, and detections or each class's share."""
    found, frame = result.result, result.frame
    time = {} if frame.index is None else {"frame": frame.index, "time_s": frame.time_s}
    return {"file": result.source, **time, "size_hw": list(frame.size_hw), **found.as_facts()}


def _is_file(result: ImageResult) -> bool:
    """Whether the result is of an image file, and not of a video's frame or of standard input."""
    return result.frame.index is None and result.source != str(STANDARD_INPUT)


def inside(found: Detections) -> Detections:
    """Clip boxes to the image and return those that are more than a pixel wide and high."""
    cut = boxes.clip(found.boxes_xyxy, found.size_hw)
    thick = (cut[:, 2:] - cut[:, :2] > 1).all(axis=1)
    tracks = None if found.track_ids is None else found.track_ids[thick]
    return Detections(
        cut[thick], found.scores[thick], found.class_ids[thick], found.class_names[thick], found.size_hw, tracks
    )


def targets(files: Sequence[Path], out: Path, *, suffix: str | None = None) -> dict[Path, Path]:
    """Return where each image's drawn copy goes: `out/<stem>.jpg`, or `.png` for a PNG; or with another suffix.

    That of standard input goes to `out/stdin.jpg`.

    Two images of the same stem get `<folder>-<file name>` instead, so that neither replaces the other.

    Raises:
        UsageError: a copy would replace its own source, or two sources would still share a name.
    """
    kind = "videos" if suffix else "images"
    stem_of = {file: "stdin" if file == STANDARD_INPUT else file.stem for file in files}
    stems = Counter(stem_of[file] for file in files)
    chosen: dict[Path, Path] = {}
    taken: set[Path] = set()
    for file in files:
        name = stem_of[file] if stems[stem_of[file]] == 1 else f"{file.resolve().parent.name}-{file.name}"
        copy = out / f"{name}{suffix or ('.png' if file.suffix.lower() == '.png' else '.jpg')}"
        if copy in taken and file not in chosen:
            raise UsageError(f"two {kind} would both be written to {copy}", remedy="Predict them in two runs")
        if copy.resolve() == file.resolve():
            raise UsageError(f"{copy} is itself a source", remedy="Choose another --out")
        chosen[file] = copy
        taken.add(copy)
    return chosen


def write_image(path: Path, image_rgb: UInt8[ndarray, "H W 3"]) -> None:
    """Write an image in the format of its suffix, whole or not at all. Raises StorageError if that fails."""
    parameters = [] if path.suffix == ".png" else [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY]
    fine, data = cv2.imencode(path.suffix, cv2.cvtColor(image_rgb, cv2.COLOR_RGB2BGR), parameters)
    if not fine:
        raise StorageError("the image could not be encoded", file=path)
    atomic.write_bytes(path, np.asarray(data).tobytes())
