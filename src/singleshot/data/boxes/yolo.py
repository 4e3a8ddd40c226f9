"""YOLO's text files (`class x y width height` a line) with their `data.yaml` → a `Dataset`.

Numbers are fractions of the picture, x and y those of the box's centre: continuous, so the box's edges in pixels are
(x ∓ width / 2) · W and (y ∓ height / 2) · H. The labels of `…/images/a.jpg` are `…/labels/a.txt`, or lie beside the
picture. A picture without labels is a background picture: that is YOLO's rule, and such pictures are counted in a note.
A line with the corners of an outline instead of a box gives the box around it; in a data set of poses (`kpt_shape`)
keypoints follow the box and are not read. The format says no sizes, so every picture's header is read.

Every fault has its file and line; a faulty box never reaches a sample. Format: the YOLO v5 and later documentation.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from singleshot import boxes
from singleshot.data.boxes.box_rules import KEPT, fault_of
from singleshot.data.boxes.class_list import variant_faults
from singleshot.data.boxes.voc_objects import suggestion
from singleshot.data.boxes.yolo_folder import label_file, label_files, locate, picture_files, split_sources
from singleshot.data.boxes.yolo_yaml import Description
from singleshot.errors import DataError, Fault, InputMissingError
from singleshot.images import read_size_hw
from singleshot.storage.files import file_bytes
from singleshot.structures import Dataset, LabelMap, Sample

MAX_LABEL_BYTES = 10 * 2**20
_NUMBER = re.compile(r"[+-]?(?:[0-9]{1,9}\.?[0-9]{0,30}|\.[0-9]{1,30})(?:[eE][+-]?[0-9]{1,2})?", re.ASCII)
_CLASS = re.compile(r"[0-9]{1,6}(?:\.0{0,6})?", re.ASCII)


def read(root: Path | str, split: str, *, label_map: LabelMap | None = None, annotated: bool = True) -> Dataset:
    """One split of a data set in YOLO's format, in the order of file names (or of the list of pictures).

    Args:
        root: the folder with a `data.yaml`, or that file.
        split: `train`, `val` or `test`, as `data.yaml` names them.
        label_map: the classes and their order. Where None, those of `data.yaml`. A class that it does not have is a
            fault where it is used.
        annotated: False for pictures without labels.

    Returns:
        Samples with float64 boxes. Kinds of fault: `bad-line`, `unknown-class`, `missing-picture`, `duplicate-id`,
        `label-without-picture`, `linked-folder` (warnings), `unlabelled` (a note, but a warning where no picture has
        labels), `unknown-key` (a note), `class-variants`, and those of `voc_folder.link_fault`, `box_rules` and
        `pictures`.

    Raises:
        InputMissingError: no such folder, `data.yaml`, split, or folder of pictures.
        ConfigError: `data.yaml` is wrong, with its line.
        DataError: there is no picture (`empty-split`).
        NotPermittedError: a folder or file may not be read.
    """
    root = Path(root)
    description = locate(root)
    faults = list(description.faults) + variant_faults(description.names, description.file)
    names = label_map.names if label_map is not None else description.names
    ids = {name: class_id for class_id, name in enumerate(names)}
    reader = _Labels(description, ids, faults)
    sources = split_sources(description, split)
    top = description.file.parent
    found = dict.fromkeys(picture_files(sources, top, faults))
    if not found:
        raise DataError("0 pictures in the split", kind="empty-split", remedy="Add pictures", file=sources[0])
    samples: list[Sample] = []
    unlabelled = 0
    image_ids = _image_ids(list(found))
    for path, image_id in zip(found, image_ids, strict=True):
        labels = label_file(path, top)
        try:
            size_hw = read_size_hw(path)
            text = _text(labels) if annotated else ""
        except DataError as error:
            faults.append(error.as_fault())
            continue
        except InputMissingError:
            faults.append(Fault(path, None, "missing-picture", "fatal", "no such picture. Add it or delete its line."))
            continue
        unlabelled += text is None
        samples.append(reader.sample(image_id, path, size_hw, text or "", labels))
    if unlabelled and annotated:
        what = f"{unlabelled} of {len(found)} pictures have no labels; they are background pictures."
        all_of_them = unlabelled == len(samples)
        faults.append(Fault(sources[0], None, "unlabelled", "warning" if all_of_them else "note", what))
    if annotated and all(source.is_dir() for source in sources):  # a list may leave out what it likes
        faults += _orphans(list(found), top)
    return Dataset(root, "yolo", split, LabelMap(tuple(names)), tuple(samples), tuple(faults))


class _Labels:
    """Turns label files into samples and gathers faults on the way.

    Args:
        description: has the classes of `data.yaml` by the number that label files use.
        ids: class id by name, of the classes that are wanted.
        faults: where faults go.
    """

    def __init__(self, description: Description, ids: dict[str, int], faults: list[Fault]) -> None:
        self.names, self.keypoints = description.names, description.keypoint_numbers
        self.ids, self.faults = ids, faults

    def sample(self, image_id: str, path: Path, size_hw: tuple[int, int], text: str, labels: Path) -> Sample:
        rows: list[tuple[float, ...]] = []
        lines: list[int] = []
        for number, line in enumerate(text.split("\n"), start=1):
            if line.strip():
                row = self.row(line.split(), size_hw, labels, number)
                if row is not None:
                    rows.append(row)
                    lines.append(number)
        table = np.array(rows, np.float64).reshape(-1, 5)
        return Sample(
            image_id,
            path,
            size_hw,
            boxes.clip(table[:, 1:], size_hw),
            table[:, 0].astype(np.int64),
            np.zeros(len(table), np.bool_),
            annotation_path=labels,
            box_places=np.array(lines, np.int64),
        )

    def row(
        self, columns: list[str], size_hw: tuple[int, int], file: Path, line: int
    ) -> tuple[float, float, float, float, float] | None:
        """Class id and edges in pixels, or None after a fault."""
        first, *rest = columns
        outline = self.keypoints is None and len(rest) >= 6 and len(rest) % 2 == 0
        if not _CLASS.fullmatch(first) or not (len(rest) == 4 + (self.keypoints or 0) or outline):
            what = f"{len(columns)} columns" if _CLASS.fullmatch(first) else f"the class is {first[:40]!r}"
            points = "" if self.keypoints is None else f" and {self.keypoints} numbers of keypoints"
            what += f" and not a line `class x y width height`{points}. Correct or delete it."
            self.faults.append(Fault(file, line, "bad-line", "fatal", what))
            return None
        bad = next((column for column in rest if not _NUMBER.fullmatch(column)), None)
        if bad is not None:
            what = f"{bad[:40]!r} is not a number. Write plain digits such as 0.48."
            self.faults.append(Fault(file, line, "not-a-number", "fatal", what))
            return None
        class_number = int(float(first))
        name = self.names[class_number] if class_number < len(self.names) else None
        if name is None or name not in self.ids:
            highest = len(self.names) - 1
            what = f"class {class_number} is none of 0 … {highest}. Correct it or add its name to data.yaml."
            if name is not None:
                what = f"class {name!r} is unknown. {suggestion(name, tuple(self.ids))}"
            self.faults.append(Fault(file, line, "unknown-class", "fatal", what))
            return None
        height, width = size_hw
        numbers = [float(column) for column in rest]
        if outline:
            columns_of = numbers[::2], numbers[1::2]
            left, top, right, bottom = *map(min, columns_of), *map(max, columns_of)
        else:
            x, y, wide, high = numbers[:4]
            left, top, right, bottom = x - wide / 2, y - high / 2, x + wide / 2, y + high / 2
        box_xyxy = (left * width, top * height, right * width, bottom * height)
        shown = f"box ({' '.join(rest[:4])}{' …' if len(rest) > 4 else ''}) of class {name!r}"
        fault = fault_of(box_xyxy, size_hw, shown, file, line)
        if fault is not None:
            self.faults.append(fault)
            if fault.kind not in KEPT:
                return None
        return (float(self.ids[name]), *box_xyxy)


def _text(labels: Path) -> str | None:
    """What a label file holds; None where there is none. An empty one is a picture without objects."""
    try:
        return file_bytes(labels, MAX_LABEL_BYTES).decode("utf-8-sig")
    except InputMissingError:
        return None
    except UnicodeDecodeError as error:
        raise DataError("not UTF-8 text", kind="not-text", remedy="Write it anew", file=labels, line=1) from error
    except DataError as error:
        if error.kind == "empty-file":
            return ""
        raise


def _image_ids(paths: list[Path]) -> list[str]:
    """The pictures' stems, or as much of their paths as tells them apart."""
    stems = [path.stem for path in paths]
    if len(set(stems)) == len(stems):
        return stems
    return [path.as_posix().lstrip("/") for path in paths]


def _orphans(paths: list[Path], top: Path) -> Iterator[Fault]:
    """Labels without a picture, in the folders of the pictures' labels."""
    wanted = {file for path in paths for file in label_files(path, top)}
    for folder in sorted({path.parent for path in wanted if path.parent.name != "images"}):
        if any(path.parent == folder for path in paths):
            continue  # labels beside pictures: other text files there are nobody's fault
        for path in sorted(folder.glob("*.txt")):
            if path not in wanted and path.name != "classes.txt":
                what = "labels without a picture in this split. Add the picture or delete this file."
                yield Fault(path, None, "label-without-picture", "warning", what)
