"""CVAT for images 1.1: `annotations.xml` with an `<image>` for each image, beside `images/`.

    <annotations><version>1.1</version><meta>…</meta>
      <image id="0" name="a.jpg" subset="Train" width="640" height="480">
        <box label="cat" occluded="0" xtl="10.5" ytl="20.0" xbr="110.0" ybr="90.25" rotation="15.0"/>
        <polygon label="dog" points="1.0,2.0;30.0,4.0;20.0,25.0"/>
        <ellipse label="cat" cx="50.0" cy="40.0" rx="20.0" ry="10.0"/>
      </image>
    </annotations>

Coordinates are continuous pixels, angles in degrees, clockwise about the centre. A rotated box, a polygon, an ellipse
and a mask become the boxes around them; polylines, points, cuboids and skeletons are no boxes and are counted in a note
by name, tags are of whole images and not read. Images of several subsets lie in `images/<subset>/`. An image without
shapes is one without objects. Tracks (`CVAT for video 1.1`) are another format, which is refused.

Format: docs.cvat.ai, "XML annotation format", version 1.1; cvat/apps/dataset_manager/formats/cvat.py.
"""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path
from xml.parsers import expat

from singleshot.data.boxes import enclosing, listed, voc_xml
from singleshot.data.boxes.listed import Entry
from singleshot.data.boxes.records import Object
from singleshot.data.faults import make_fault
from singleshot.errors import DataError, Fault, SingleshotError
from singleshot.storage.files import file_bytes, opened
from singleshot.structures import Dataset, LabelMap

LAYOUT = "cvat"
MAX_BYTES = 1 << 30
MAX_DEPTH = 64
_HEAD_BYTES = 1 << 20
_FIELDS = {
    "box": ("xtl", "ytl", "xbr", "ybr"),
    "ellipse": ("cx", "cy", "rx", "ry"),
    "mask": ("left", "top", "width", "height"),
    "polygon": (),
}
_NO_BOXES = ("polyline", "points", "cuboid", "skeleton")
_NUMBER = re.compile(r"[+-]?[0-9]{1,9}(?:\.[0-9]{0,30})?(?:[eE][+-]?[0-9]{1,2})?", re.ASCII)


def read(root: Path | str, split: str, *, label_map: LabelMap | None = None) -> Dataset:
    """Read one split, in the order of the file.

    Args:
        root: the folder, or the XML file itself.
        split: `train`, `val` or `test`, as subset, file or folder is called, or `all`.
        label_map: the classes and their order. Where None, those of all files, sorted.

    Returns:
        Samples with float64 boxes; `box_places` are lines. Kinds of fault: `missing-tag`, `not-a-number`, `bad-box`,
        `bad-field`, `filled-field` (a note: shapes that are no boxes), `missing-picture`, `duplicate-id`, and those of
        `check_box`, `class_names` and `images`.

    Raises:
        InputMissingError: no such folder or split.
        DataError: a file is not well-formed (`bad-xml`, `forbidden-xml`) or no such export (`not-an-annotation`), or
            the split is empty (`empty-split`).
    """
    root = Path(root)
    return listed.read(root, split, LAYOUT, files(root), load, label_map)


def load(file: Path) -> tuple[list[Entry], list[Fault]]:
    """Read the images of a file. Raises what `read` raises about it."""
    reader = _Reader(file)
    voc_xml.run(reader.parser, file_bytes(file, MAX_BYTES, kind="too-large-xml"), file)
    faults = []
    if reader.unused:
        names = ", ".join(f"{count} {name}" for name, count in sorted(reader.unused.items()))
        faults.append(make_fault("filled-field", f"{names}: shapes that are no boxes, and are not read", file))
    return reader.entries, faults


class _Reader:
    """Expat's callbacks: everything is in attributes."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.entries: list[Entry] = []
        self.unused: Counter[str] = Counter()
        self.depth = 0
        self.image: dict[str, str] | None = None
        self.line = 1
        self.objects: list[Object] = []
        self.faults: list[Fault] = []
        self.parser = expat.ParserCreate()
        self.parser.StartElementHandler = self.start
        self.parser.EndElementHandler = self.end

    def start(self, tag: str, attributes: dict[str, str]) -> None:
        self.depth += 1
        line = self.parser.CurrentLineNumber
        if self.depth > MAX_DEPTH:
            message = f"tags nested more than {MAX_DEPTH} deep"
            raise DataError(message, kind="too-large-xml", file=self.file, line=line)
        if (self.depth == 1 and tag != "annotations") or (self.depth == 2 and tag == "track"):
            message = "tracks of a video" if tag == "track" else f"the outermost tag is <{tag[:40]}>, not <annotations>"
            remedy = "Export `CVAT for images 1.1`"
            raise DataError(message, kind="not-an-annotation", remedy=remedy, file=self.file, line=line)
        if self.depth == 2 and tag == "image":
            self.image, self.line, self.objects, self.faults = attributes, line, [], []
        elif self.depth == 3 and self.image is not None:
            if tag in _FIELDS:
                found = _object(tag, attributes, line, self.file)
                if isinstance(found, Object):
                    self.objects.append(found)
                else:
                    self.faults.append(found)
            elif tag in _NO_BOXES:
                self.unused[tag] += 1

    def end(self, _tag: str) -> None:
        self.depth -= 1
        if self.depth == 1 and self.image is not None:
            image, self.image = self.image, None
            name = image.get("name", "")
            width, height = image.get("width", ""), image.get("height", "")
            is_size = all(re.fullmatch("[1-9][0-9]{0,6}", side, re.ASCII) for side in (width, height))
            if not is_size and (width or height):
                message = f"{name[:200]!r} has no width and height of whole pixels; the image's own are used"
                self.faults.append(make_fault("zero-picture-size", message, self.file, self.line))
            size_hw = (int(height), int(width)) if is_size else None
            subset = image.get("subset", "")
            self.entries.append(Entry(name, self.objects, size_hw, self.line, subset=subset, faults=self.faults))


def _object(tag: str, attributes: dict[str, str], line: int, file: Path) -> Object | Fault:
    """Return the object of a shape, or what is wrong with it."""
    name = attributes.get("label", "")
    if not name.strip():
        return make_fault("missing-tag", f"a <{tag}> without label", file, line, remedy="Give it its class")
    angle = attributes.get("rotation", "0")
    texts = [attributes.get(field, "") for field in _FIELDS[tag]]
    if tag == "polygon":
        texts = re.split("[,;]", attributes.get("points", ""))
    bad = next((text for text in [*texts, angle] if not _NUMBER.fullmatch(text.strip())), None)
    if bad is not None or (tag == "polygon" and (len(texts) < 6 or len(texts) % 2)):
        message = f"a <{tag}> of class {name!r} has {bad[:40]!r}, which is not a number" if bad is not None else ""
        message = message or f"a <polygon> of class {name!r} has fewer than three points of two numbers"
        return make_fault("bad-box" if bad is None else "not-a-number", message, file, line, remedy="Draw it anew")
    numbers = [float(text) for text in texts]
    if tag == "polygon":
        box = enclosing.of_points(numbers[::2], numbers[1::2])
    elif tag == "ellipse":
        box = enclosing.of_ellipse(numbers[0], numbers[1], numbers[2], numbers[3], float(angle))
    elif tag == "mask":  # run lengths within a rectangle of whole pixels, which is the box
        box = (numbers[0], numbers[1], numbers[0] + numbers[2], numbers[1] + numbers[3])
    else:
        box = enclosing.of_rectangle((numbers[0], numbers[1], numbers[2], numbers[3]), float(angle))
    is_outline = tag != "box" or float(angle) % 360 != 0
    return Object(name, box, line, outline=is_outline)


# ---- Folders


def files(root: Path) -> list[Path]:
    """Return the XML files of this format, see `listed.find`."""
    return listed.find(root, (".xml",), _is_cvat)


def fits(root: Path) -> bool:
    """Return whether a folder, or an XML file, is an export of CVAT for images."""
    return listed.fits(root, (".xml",), _is_cvat)


def _is_cvat(file: Path) -> bool:
    try:
        with opened(file) as stream:
            head = stream.read(_HEAD_BYTES)  # the labels of a project, which come first, may be long
    except SingleshotError:
        return False
    return b"<annotations" in head and (b"<image " in head or b"<version>1.1" in head)


def splits(root: Path) -> list[str]:
    """Return the names of the splits."""
    return listed.splits(root, files(root), load)


def sources(root: Path, _split: str) -> list[Path]:
    """Return the folders that a split's samples depend on, for the cache."""
    return [root if root.is_dir() else root.parent]
