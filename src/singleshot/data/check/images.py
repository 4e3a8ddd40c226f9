"""One picture under the magnifier: does it decode whole, and what about it may surprise its owner.

A file that gives the pixels that everybody expects has nothing said about it: grey, CMYK that decodes, a profile,
bytes behind the end. What we read in a way that another program may not (a frame of an animation, 16 bits scaled to
8, transparency laid over white, a name that says JPEG on a PNG) gets a note. A rotation in EXIF gets a warning where
the sizes cannot tell whether the boxes were drawn before or after it.

This file is what the audit's child processes import, so it needs neither torch nor anything else that is heavy.
"""

from __future__ import annotations

import hashlib
import logging
import warnings
from dataclasses import dataclass
from pathlib import Path

from singleshot.errors import DataError, Fault, NotPermittedError, Severity, SingleshotError
from singleshot.images import MAX_FILE_BYTES, ImageHeader, decode_image, read_header
from singleshot.images import log as decoder_log
from singleshot.storage.files import file_bytes

EXTENSIONS = {
    "JPEG": (".jpg", ".jpeg"),
    "PNG": (".png",),
    "BMP": (".bmp",),
    "GIF": (".gif",),
    "TIFF": (".tif", ".tiff"),
    "WebP": (".webp",),
}


@dataclass(frozen=True)
class PictureReport:
    """What was found out about one picture.

    Args:
        path: its file.
        size_hw: of the upright picture; None where it cannot be decoded.
        stored_hw: the same before EXIF's rotation.
        orientation: EXIF's, 1 to 8; 1 where there is none.
        digest: of the file's bytes; empty where it cannot be read.
        faults: what is wrong with it.
    """

    path: Path
    size_hw: tuple[int, int] | None
    stored_hw: tuple[int, int] | None = None
    orientation: int = 1
    digest: bytes = b""
    faults: tuple[Fault, ...] = ()


def report(path: Path) -> PictureReport:
    """Read and decode one picture. Never raises for anything about the file: that is in `faults`."""
    doubts = _Doubts()
    decoder_log.addHandler(doubts)
    digest = b""
    try:
        data = file_bytes(path, MAX_FILE_BYTES, kind="too-large-picture")
        digest = hashlib.blake2b(data, digest_size=16).digest()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about metadata, which nobody uses
            pixels = decode_image(data, file=path)
            header = read_header(data, file=path)
    except SingleshotError as error:
        return PictureReport(path, None, digest=digest, faults=(fault_of(error, path),))
    finally:
        decoder_log.removeHandler(doubts)
    faults = [Fault(path, None, *note) for note in _notes(path, header)]
    faults += [Fault(path, None, "doubtful-picture", "warning", f"{said}. Look at it.") for said in doubts.said]
    size_hw = (pixels.shape[0], pixels.shape[1])
    return PictureReport(path, size_hw, header.stored_hw, header.orientation, digest, tuple(faults))


def fault_of(error: SingleshotError, path: Path) -> Fault:
    """Any failure to read a file, as a fatal fault of that file."""
    if isinstance(error, DataError) and error.file is not None:
        return error.as_fault()
    kind = "not-permitted" if isinstance(error, NotPermittedError) else "unreadable-file"
    message = f"{error.message}. {error.remedy or 'Replace or delete it'}."
    return Fault(path, error.line, kind, "fatal", message)


def size_fault(seen: PictureReport, said_hw: tuple[int, int], file: Path, line: int | None) -> Fault | None:
    """What an annotated size says against the picture's own; None where they agree or there is no picture.

    Args:
        seen: the picture.
        said_hw: height and width by the annotation.
        file: the annotation.
        line: of its size.
    """
    if seen.size_hw is None or seen.stored_hw is None:
        return None
    name, turned = seen.path.name, _TURNS.get(seen.orientation)
    if said_hw != seen.size_hw:
        what = f"the annotated size is {_by(said_hw)}, but {name} has {_by(seen.size_hw)} pixels."
        if said_hw == seen.stored_hw:
            what += f" That is its size before its EXIF tag {turned}: turn the boxes too, or delete the tag."
        elif said_hw == seen.size_hw[::-1]:
            what += " Width and height are swapped: swap them, or turn the picture if its boxes lie sideways."
        else:
            what += " Correct the size if the boxes fit the picture; else scale them."
        return Fault(file, line, "wrong-size", "fatal", what)
    if turned is not None and seen.stored_hw == seen.size_hw:
        what = (
            f"the EXIF tag of {name} {turned}, which the size cannot show. See that the boxes lie on the upright one."
        )
        return Fault(file, line, "rotated-picture", "warning", what)
    return None


_TURNS = {
    2: "mirrors it",
    3: "turns it by 180°",
    4: "flips it",
    5: "turns and mirrors it",
    6: "turns it by 90°",
    7: "turns and mirrors it",
    8: "turns it by 270°",
}
"""What EXIF's orientation does to the stored pixels."""


def _notes(path: Path, header: ImageHeader) -> list[tuple[str, Severity, str]]:
    notes: list[tuple[str, Severity, str]] = []
    extension = path.suffix.lower()
    if extension not in EXTENSIONS[header.format]:
        what = f"a {header.format} by content, whatever its name says. Rename it to *{EXTENSIONS[header.format][0]}."
        notes.append(("wrong-extension", "note", what))
    if path.suffix != extension:
        what = "its extension is in capitals, which other programs may not find. Rename it."
        notes.append(("capital-extension", "note", what))
    if header.animated:
        what = "an animation, of which the first frame is used. Save that frame as a picture."
        notes.append(("animated-picture", "note", what))
    if header.sixteen_bits:
        what = "16 bits a channel, which are scaled to 8. Convert it if it looks too dark."
        notes.append(("sixteen-bit-picture", "note", what))
    if header.mode == "CMYK":
        notes.append(("cmyk-picture", "note", "ink colours (CMYK), which are turned into RGB. Convert it to RGB."))
    if header.transparent:
        what = "has transparency, which is laid over white. Flatten it if white is wrong."
        notes.append(("transparent-picture", "note", what))
    return notes


def _by(size_hw: tuple[int, int]) -> str:
    return f"{size_hw[1]}×{size_hw[0]}"


class _Doubts(logging.Handler):
    """Keeps what the decoder says about a picture that it decodes all the same."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.said: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        # With arguments it is about a file; without, about this machine's libraries.
        if isinstance(record.args, tuple) and record.args:
            self.said.append(f"the decoder doubts it ({record.args[-1]})")
