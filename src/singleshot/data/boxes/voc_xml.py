"""One Pascal VOC annotation: XML → size and objects, with the line of each, and back to XML.

The XML comes from anywhere, so the parser is expat with document types refused (entities can blow up or read files),
with caps on size, depth and count, and with a number format of its own: Python's float() also takes "nan", "1e400",
"1_0" and full-width digits. Only the tags that detection needs are read; the rest (`pose`, `truncated`, `path`, the
boxes of a person's `part`s) is skipped, because real files have anything there.

Corners stay as VOC writes them here, 1-based and inclusive: `voc.py` turns them into our continuous edges, and
`annotation_xml` turns those back. The law: reading what was written gives the same boxes, to the last bit for
float32 coordinates (0, or at least 2⁻²⁸ of a pixel: anything smaller is lost beside the 1 that is added).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from xml.parsers import expat
from xml.sax.saxutils import escape

import numpy as np
from jaxtyping import Bool, Float
from numpy import ndarray

from singleshot.data.faults import make_fault
from singleshot.errors import DataError, Fault
from singleshot.storage.files import file_bytes

MAX_BYTES = 10 * 2**20
MAX_OBJECTS = 100_000
MAX_ELEMENTS = 1_000_000
MAX_DEPTH = 64
MAX_SIDE = 10**9

CORNERS = ("xmin", "ymin", "xmax", "ymax")
# A writer that avoids exponents needs up to 340 digits for the smallest double.
_NUMBER = re.compile(r"[+-]?(?:[0-9]{1,9}(?:\.[0-9]{0,400})?|\.[0-9]{1,400})(?:[eE][+-]?[0-9]{1,2})?", re.ASCII)
_UNWRITABLE = re.compile("[\x00-\x1f\x7f\ud800-\udfff\ufffe\uffff]")
# The tags that are read, by their path below <annotation>.
_LEAVES = {("size", "width"), ("size", "height"), ("object", "name"), ("object", "difficult")} | {
    ("object", "bndbox", corner) for corner in CORNERS
}


@dataclass(frozen=True)
class AnnotatedObject:
    """One `<object>`.

    Args:
        name: its class, as written.
        corners: xmin, ymin, xmax, ymax as written: 1-based, inclusive pixels, in any order.
        difficult: whether VOC's protocol leaves it out of the score; False where the tag is missing.
        name_line: the 1-based line of `<name>`.
        box_line: the 1-based line of `<bndbox>`.
    """

    name: str
    corners: tuple[float, float, float, float]
    difficult: bool
    name_line: int
    box_line: int


@dataclass(frozen=True)
class Annotation:
    """One annotation file.

    Args:
        size_hw: the image's height and width; None where the file does not give them.
        objects: those that could be read.
        faults: what is wrong with the rest.
        size_line: the 1-based line of the size, for messages.
    """

    size_hw: tuple[int, int] | None
    objects: tuple[AnnotatedObject, ...]
    faults: tuple[Fault, ...]
    size_line: int = field(default=1, compare=False)


def read(file: Path) -> Annotation:
    """Read the annotation in a file. Raises what `files.file_bytes` and `parse` raise."""
    return parse(file_bytes(file, MAX_BYTES, kind="too-large-xml"), file=file)


def parse(data: bytes, *, file: Path) -> Annotation:
    """Parse the bytes of an annotation file. An object with a fault is left out and its fault listed.

    Args:
        data: the XML.
        file: its name in messages.

    Raises:
        DataError: the file as a whole is no annotation; `kind` is `bad-xml`, `forbidden-xml`, `too-large-xml` or
            `not-an-annotation`.
    """
    if len(data) > MAX_BYTES:
        raise DataError(f"more than {MAX_BYTES >> 20} MiB of XML", kind="too-large-xml", file=file)
    reader = _Reader(file)
    run(reader.parser, data, file)
    size_hw = reader.size_hw()
    return Annotation(size_hw, tuple(reader.objects), tuple(reader.faults), reader.size_line)


def run(parser: expat.XMLParserType, data: bytes, file: Path) -> None:
    """Give a whole file to a parser whose handlers are set; a document type is refused.

    Raises DataError (`bad-xml`, `forbidden-xml`) with line and column, and what the handlers raise.
    """

    def doctype(*_: object) -> None:
        message, remedy = "a document type (DTD) is not allowed", "Remove the <!DOCTYPE …>"
        raise DataError(message, kind="forbidden-xml", remedy=remedy, file=file, line=parser.CurrentLineNumber)

    parser.StartDoctypeDeclHandler = doctype
    try:
        parser.Parse(data, True)
    except expat.ExpatError as error:
        message = f"not well-formed XML: {expat.ErrorString(error.code)}, column {error.offset + 1}"
        raise DataError(message, kind="bad-xml", remedy="Mend the file", file=file, line=error.lineno) from error
    except (LookupError, ValueError, Warning) as error:  # an encoding that Python does not know, or warns about
        message = f"its declared encoding cannot be read ({error})"
        raise DataError(message, kind="bad-xml", remedy="Save it as UTF-8", file=file, line=1) from error


class _Reader:
    """Expat's callbacks. Text is kept for the tags in `_LEAVES` alone, as `values[path] = (text, line)`."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.objects: list[AnnotatedObject] = []
        self.faults: list[Fault] = []
        self.path: list[str] = []
        self.size: dict[tuple[str, ...], tuple[str, int]] = {}
        self.values: dict[tuple[str, ...], tuple[str, int]] = {}
        self.lines: dict[str, int] = {}
        self.size_line, self.has_size = 1, False
        self.repeated: str | None = None
        self.text: list[str] | None = None
        self.text_line = 1
        self.counts = {"element": 0, "object": 0}
        self.parser = parser = expat.ParserCreate()
        parser.buffer_text = True
        parser.StartElementHandler = self.start
        parser.EndElementHandler = self.end
        parser.CharacterDataHandler = self.characters

    def start(self, tag: str, _: object) -> None:
        path = self.path
        path.append(tag)
        depth = len(path)
        self.counts["element"] += 1
        if depth > MAX_DEPTH:
            raise self.failure(f"tags nested more than {MAX_DEPTH} deep", "too-large-xml")
        if self.counts["element"] > MAX_ELEMENTS:
            raise self.failure(f"more than {MAX_ELEMENTS} tags", "too-large-xml")
        if depth == 1 and tag != "annotation":
            message = f"the outermost tag is {_shown(tag)}, not <annotation>"
            raise self.failure(message, "not-an-annotation", "Name a folder of Pascal VOC annotations")
        if depth == 2 and tag == "object":
            self.counts["object"] += 1
            if self.counts["object"] > MAX_OBJECTS:
                raise self.failure(f"more than {MAX_OBJECTS} objects", "too-large-xml")
            self.values, self.repeated = {}, None
            self.lines = {"object": self.parser.CurrentLineNumber}
        elif depth == 2 and tag == "size":
            self.size_line, self.has_size = self.parser.CurrentLineNumber, True
        elif depth == 3 and tag == "bndbox" and path[1] == "object":
            if "bndbox" in self.lines:
                self.repeated = "bndbox"
            self.lines["bndbox"] = self.parser.CurrentLineNumber
        if tuple(path[1:]) in _LEAVES:
            self.text, self.text_line = [], self.parser.CurrentLineNumber
        else:
            self.text = None

    def characters(self, text: str) -> None:
        if self.text is not None:
            self.text.append(text)

    def end(self, tag: str) -> None:
        path = tuple(self.path[1:])
        if self.text is not None:
            values = self.size if path[0] == "size" else self.values
            if path in values:
                self.repeated = tag
            values[path] = ("".join(self.text), self.text_line)
            self.text = None
        elif path == ("object",):
            self.finish_object()
        self.path.pop()

    def finish_object(self) -> None:
        line = self.lines["object"]
        box_line = self.lines.get("bndbox")
        name, name_line = self.values.get(("object", "name"), (None, line))
        if self.repeated is not None:
            self.fault("repeated-tag", f"an object with two <{self.repeated}>", "Keep one", line)
            return
        if name is None or not name.strip():
            self.fault("missing-tag", "an object without <name>", "Give it its class", name_line)
            return
        if box_line is None:
            self.fault(
                "missing-tag", f"an object ({_shown(name)}) without <bndbox>", "Give it a box or delete it", line
            )
            return
        corners: list[float] = []
        for corner in CORNERS:
            text, corner_line = self.values.get(("object", "bndbox", corner), (None, box_line))
            if text is None:
                self.fault(
                    "missing-tag", f"a box ({_shown(name)}) without <{corner}>", "Complete or delete it", box_line
                )
                return
            if not _NUMBER.fullmatch(text.strip()):
                message = f"<{corner}> of a box ({_shown(name)}) is {_shown(text)}, which is not a number"
                self.fault("not-a-number", message, "Write plain digits such as 48 or 48.5", corner_line)
                return
            corners.append(float(text))
        xmin, ymin, xmax, ymax = corners
        difficult = self.values.get(("object", "difficult"), ("0", line))[0].strip() == "1"
        self.objects.append(AnnotatedObject(name, (xmin, ymin, xmax, ymax), difficult, name_line, box_line))

    def size_hw(self) -> tuple[int, int] | None:
        """The size as annotated; None, with a fault, where it is missing, zero or no whole number."""
        if not self.has_size:
            message = "no <size>; the image's own is used"
            self.faults.append(make_fault("filled-field", message, self.file, self.size_line))
            return None
        sides = []
        for side in ("height", "width"):
            text, line = self.size.get(("size", side), (None, self.size_line))
            if text is None:
                self.fault("missing-tag", f"no <{side}> in <size>", "Write the image's size", line)
                return None
            number = text.strip()
            if not _NUMBER.fullmatch(number) or not 0 <= float(number) < MAX_SIDE or float(number) % 1:
                self.fault("not-a-number", f"<{side}> is {_shown(text)}, which is no size", "Write whole pixels", line)
                return None
            sides.append((int(float(number)), line))
        (height, _), (width, line) = sides
        if not height or not width:
            message = f"the annotated size is {width}×{height}; the image's own is used"
            self.fault("zero-picture-size", message, "Write the image's size", line)
            return None
        return height, width

    def fault(self, kind: str, message: str, remedy: str, line: int | None) -> None:
        self.faults.append(make_fault(kind, message, self.file, line, remedy=remedy))

    def failure(self, message: str, kind: str, remedy: str = "Replace or delete the file") -> DataError:
        return DataError(message, kind=kind, remedy=remedy, file=self.file, line=self.parser.CurrentLineNumber)


def _shown(text: str) -> str:
    return repr(text if len(text) <= 40 else text[:40] + "…")


def annotation_xml(
    image_name: str,
    size_hw: tuple[int, int],
    boxes_xyxy: Float[ndarray, "N 4"],
    class_names: Sequence[str],
    difficult: Bool[ndarray, " N"] | None = None,
    truncated: Bool[ndarray, " N"] | None = None,
) -> str:
    """Return the VOC annotation of an image, as XML text that ends with a newline.

    Args:
        image_name: the image's file name, such as `000001.jpg`.
        size_hw: its height and width in pixels.
        boxes_xyxy: (N, 4) continuous pixels; written 1-based and inclusive: x1 + 1, y1 + 1, x2, y2. N may be 0. A
            side below one pixel is written as it is, and `voc.read` takes it for a fault.
        class_names: N names.
        difficult: (N,) flags; all False where None.
        truncated: (N,) flags; all False where None.

    Raises:
        DataError: a name holds a control character, which XML cannot carry.
        ValueError: the counts differ.

    >>> print(annotation_xml("a.jpg", (30, 40), np.array([[0.0, 2.0, 12.5, 30.0]]), ["cat"]).split("bndbox")[1])
    ><xmin>1</xmin><ymin>3</ymin><xmax>12.5</xmax><ymax>30</ymax></
    """
    count = len(boxes_xyxy)
    flags = [np.zeros(count, bool) if given is None else given for given in (difficult, truncated)]
    objects = []
    for name, box, hard, cut in zip(class_names, boxes_xyxy.astype(np.float64), *flags, strict=True):
        written = (box[0] + 1, box[1] + 1, box[2], box[3])
        corners = "".join(
            f"<{corner}>{np.format_float_positional(value, trim='-')}</{corner}>"
            for corner, value in zip(CORNERS, written, strict=True)
        )
        objects.append(
            f"  <object>\n    <name>{_escaped(name)}</name>\n    <pose>Unspecified</pose>\n"
            f"    <truncated>{int(cut)}</truncated>\n    <difficult>{int(hard)}</difficult>\n"
            f"    <bndbox>{corners}</bndbox>\n  </object>\n"
        )
    height, width = size_hw
    return (
        f"<annotation>\n  <filename>{_escaped(image_name)}</filename>\n"
        f"  <size><width>{width}</width><height>{height}</height><depth>3</depth></size>\n"
        f"  <segmented>0</segmented>\n{''.join(objects)}</annotation>\n"
    )


def _escaped(text: str) -> str:
    if _UNWRITABLE.search(text):
        raise DataError(f"the name {text!r} holds a character that XML cannot carry", kind="bad-name")
    return escape(text)
