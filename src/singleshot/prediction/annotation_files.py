"""What was seen, as files that other programs read: JSON lines, CSV, and annotations as VOC, YOLO and COCO write them.

    detections.jsonl    a line for each picture or frame: file, frame, time_s, size_hw, detections
    detections.csv      a line for each detection
    voc/NAME.xml        yolo/NAME.txt with yolo/classes.txt        coco.json

The first two say what the detector said. The last three are made to be corrected by hand and trained on: boxes are
cut off at the picture's edge, and what is no more than a pixel wide or high then is left out: in VOC's inclusive
corners it would be empty (`voc_writer`).
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np

from singleshot import boxes
from singleshot.data.boxes.voc_xml import annotation_xml
from singleshot.errors import UsageError, nearest
from singleshot.prediction.frames import ImageResult
from singleshot.prediction.line_file import LineFile
from singleshot.storage import atomic
from singleshot.structures import Detections, LabelMap

COLUMNS = ("file", "frame", "time_s", "class", "class_id", "score", "x1", "y1", "x2", "y2", "track_id")


@runtime_checkable
class AnnotationFile(Protocol):
    """Takes what was seen, picture by picture."""

    def add(self, seen: ImageResult, found: Detections, name: str) -> None:
        """Note a picture's detections. `name` is one of its own, for the files of its own."""
        ...

    def close(self, *, whole: bool = True) -> None:
        """Write what is left. Where not all was seen, a common file gets a name that says so (`line_file`)."""
        ...


class JsonLines:
    """`detections.jsonl`."""

    def __init__(self, out: Path, label_map: LabelMap) -> None:
        del label_map
        self._file = LineFile(out / "detections.jsonl")

    def add(self, seen: ImageResult, found: Detections, name: str) -> None:
        """See `AnnotationFile`."""
        del name
        row = {"file": seen.frame.source, **frame_facts(seen), "detections": found.as_json()}
        self._file.write(json.dumps(row) + "\n")

    def close(self, *, whole: bool = True) -> None:
        """See `AnnotationFile`."""
        self._file.close(whole=whole)


class Csv:
    """`detections.csv`."""

    def __init__(self, out: Path, label_map: LabelMap) -> None:
        del label_map
        self._file = LineFile(out / "detections.csv")
        self._write([COLUMNS])

    def add(self, seen: ImageResult, found: Detections, name: str) -> None:
        """See `AnnotationFile`."""
        del name
        tracks = [""] * len(found) if found.track_ids is None else found.track_ids.tolist()
        rows = zip(
            found.class_names,
            found.class_ids.tolist(),
            found.scores.tolist(),
            found.boxes_xyxy.tolist(),
            tracks,
            strict=True,
        )
        frame, time_s = ("" if value is None else value for value in (seen.frame.index, seen.frame.time_s))
        self._write(
            [
                seen.frame.source,
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
        """See `AnnotationFile`."""
        self._file.close(whole=whole)

    def _write(self, rows: Any) -> None:
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows(rows)
        self._file.write(text.getvalue())


class _Folder:
    """A file a picture. All are forced to the disk in the end: one by one that would hold each frame of a video up."""

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
    """`voc/NAME.xml`, an annotation a picture."""

    def __init__(self, out: Path, label_map: LabelMap) -> None:
        del label_map
        self._folder = _Folder(out / "voc")

    def add(self, seen: ImageResult, found: Detections, name: str) -> None:
        """See `AnnotationFile`."""
        kept = inside(found)
        picture = Path(seen.frame.source).name if seen.frame.index is None else f"{name}.jpg"
        names = [str(each) for each in kept.class_names]
        text = annotation_xml(picture, kept.size_hw, kept.boxes_xyxy, names)
        self._folder.write(f"{name}.xml", text)

    def close(self, *, whole: bool = True) -> None:
        """See `AnnotationFile`."""
        self._folder.close()


class Yolo:
    """`yolo/NAME.txt`: class, centre and size as fractions; an empty file where nothing was seen."""

    def __init__(self, out: Path, label_map: LabelMap) -> None:
        self._folder = _Folder(out / "yolo")
        self._folder.write("classes.txt", "".join(f"{name}\n" for name in label_map.names))

    def add(self, seen: ImageResult, found: Detections, name: str) -> None:
        """See `AnnotationFile`."""
        kept = inside(found)
        height, width = kept.size_hw
        rows = boxes.xyxy_to_cxcywh(boxes.scale(kept.boxes_xyxy.astype(np.float64), (1 / height, 1 / width))).tolist()
        lines = (
            " ".join([str(class_id), *(f"{number:.9g}" for number in row)]) + "\n"
            for class_id, row in zip(kept.class_ids.tolist(), rows, strict=True)
        )
        self._folder.write(f"{name}.txt", "".join(lines))

    def close(self, *, whole: bool = True) -> None:
        """See `AnnotationFile`."""
        self._folder.close()


class Coco:
    """`coco.json`: images, annotations (with their `score`) and categories."""

    def __init__(self, out: Path, label_map: LabelMap) -> None:
        self._out, self._images, self._count = out / "coco.json", [], 0
        self._annotations: list[str] = []
        self._categories = [{"id": place, "name": name} for place, name in enumerate(label_map.names, start=1)]

    def add(self, seen: ImageResult, found: Detections, name: str) -> None:
        """See `AnnotationFile`."""
        kept = inside(found)
        height, width = kept.size_hw
        # As it was named: pictures of two folders may have one name.
        file_name = Path(seen.frame.source).as_posix() if seen.frame.index is None else f"{name}.jpg"
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
        """See `AnnotationFile`."""
        file = LineFile(self._out)
        file.write(f'{{"images": [{", ".join(self._images)}],\n"annotations": [{", ".join(self._annotations)}],\n')
        file.write(f'"categories": {json.dumps(self._categories)}}}\n')
        file.close(whole=whole)


KINDS: dict[str, tuple[type[JsonLines] | type[Csv] | type[Voc] | type[Yolo] | type[Coco], str]] = {
    "json": (JsonLines, "detections.jsonl"),
    "csv": (Csv, "detections.csv"),
    "voc": (Voc, "voc"),
    "yolo": (Yolo, "yolo"),
    "coco": (Coco, "coco.json"),
}
"""What `--save` knows: the writer, and the file or folder that it makes."""


def parse_kinds(text: str | None) -> tuple[str, ...]:
    """`json,csv` as kinds. Raises UsageError for one that is unknown.

    >>> parse_kinds("json, csv,json"), parse_kinds(None)
    (('json', 'csv'), ())
    """
    kinds = tuple(dict.fromkeys(part.strip() for part in text.split(","))) if text else ()
    for kind in kinds:
        if kind not in KINDS:
            near = nearest(kind, KINDS)
            remedy = f"Did you mean {near}?" if near else f"Known are {', '.join(KINDS)}"
            raise UsageError(f"detections cannot be saved as {kind!r}", remedy=remedy)
    return kinds


def open_files(kinds: Sequence[str], out: Path, label_map: LabelMap) -> list[AnnotationFile]:
    """The files of some kinds in a folder, ready to be added to."""
    return [KINDS[kind][0](out, label_map) for kind in kinds]


def frame_facts(seen: ImageResult) -> dict[str, Any]:
    """Which frame of a video it is and when, and the picture's size, as JSON holds them."""
    frame = seen.frame
    place = {} if frame.index is None else {"frame": frame.index, "time_s": frame.time_s}
    return {**place, "size_hw": list(frame.size_hw)}


def inside(found: Detections) -> Detections:
    """The parts of boxes that lie in the picture; those that are more than a pixel each way."""
    cut = boxes.clip(found.boxes_xyxy, found.size_hw)
    thick = (cut[:, 2:] - cut[:, :2] > 1).all(axis=1)
    tracks = None if found.track_ids is None else found.track_ids[thick]
    return Detections(
        cut[thick], found.scores[thick], found.class_ids[thick], found.class_names[thick], found.size_hw, tracks
    )
