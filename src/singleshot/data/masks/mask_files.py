"""A mask file → a class id for every pixel, or a named fault: the one place where masks come in.

`pictures` makes a picture of whatever a file holds; a mask must come as the numbers that were written: no scaling of
16 bits, no palette turned into colours, no blending. So masks are PNG (JPEG blurs borders into classes that nobody
drew), every chunk's checksum is looked at, and a value that the data set does not know is refused with the file, the
value and how many pixels have it.
"""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import Int, UInt8, UInt16
from numpy import ndarray

from singleshot.compiled import compiled
from singleshot.errors import DataError, StorageError
from singleshot.images import MAX_FILE_BYTES, MAX_PIXELS
from singleshot.storage.files import file_bytes, opened
from singleshot.structures import UNKNOWN, VOID, MaskCode

SIGNATURE = b"\x89PNG\r\n\x1a\n"
GREY, RGB, PALETTE, GREY_ALPHA, RGBA = 0, 2, 3, 4, 6
SHOWN_VALUES = 5


def read(path: Path, code: MaskCode) -> UInt8[ndarray, "H W"]:
    """The class id of every pixel, `VOID` where there is none.

    Args:
        path: a PNG file: grey of up to 8 bits or a palette (numbers are classes), or RGB where the code has colours.
        code: what the numbers or colours mean.

    Raises:
        InputMissingError, NotPermittedError, StorageError: as `files.file_bytes`.
        DataError: not a PNG (`not-a-mask`), a damaged one (`corrupt-mask`), of 16 bits or another kind that says no
            class (`unsupported-mask`), or with values or colours that are unknown (`unknown-mask-value`).
    """
    raw = _decode(path)
    if raw.dtype != np.uint8:
        what = f"a 16-bit mask with values up to {int(raw.max())}; classes are numbers of 8 bits"
        raise _unsupported(what, "Name the mask of classes, not of instances, or convert it to 8 bits", path)
    if raw.ndim == 3:
        if not code.colours:
            raise _unsupported("a mask in colour where numbers are expected", "Convert it to class numbers", path)
        return _from_colours(raw, code, path)
    ids = np.asarray(cv2.LUT(raw, np.array(code.values, dtype=np.uint8)), dtype=np.uint8)
    if UNKNOWN in code.values and (ids == UNKNOWN).any():
        counts = np.bincount(raw.ravel(), minlength=256)
        strange = [value for value in np.flatnonzero(counts).tolist() if code.values[value] == UNKNOWN]
        known = _ranges([value for value, meaning in enumerate(code.values) if meaning != UNKNOWN])
        listed = [f"{value} ({counts[value]} pixels)" for value in strange]
        raise _unknown("value", listed, f"Known are {known}", path)
    return ids


def read_instances(path: Path) -> UInt16[ndarray, "H W"]:
    """The numbers of a mask of instances, 8 or 16 bits, as they stand. Raises what `read` raises but for values."""
    raw = _decode(path)
    if raw.ndim == 3:
        raise _unsupported("a mask of instances in colour", "Name the file with numbers", path)
    return raw.astype(np.uint16)


def read_grey(path: Path) -> UInt8[ndarray, "H W"]:
    """The numbers of an 8-bit single-channel file as they stand, such as a map of probabilities."""
    raw = _decode(path)
    if raw.ndim == 3 or raw.dtype != np.uint8:
        raise _unsupported("not an 8-bit map of one channel", "Write grey PNG of 8 bits", path)
    return raw


def size_hw(path: Path) -> tuple[int, int]:
    """Height and width of a mask from its header alone. Raises what `read` raises, as far as the header tells."""
    width, height, _, _ = _header(_head(path), path)
    return height, width


def encode(mask: UInt8[ndarray, "H W"] | UInt8[ndarray, "H W 3"]) -> bytes:
    """A PNG file that holds these numbers, or this RGB picture, exactly."""
    pixels = mask if mask.ndim == 2 else cv2.cvtColor(mask, cv2.COLOR_RGB2BGR)
    return np.asarray(cv2.imencode(".png", pixels)[1]).tobytes()


def _decode(path: Path) -> ndarray:
    """uint8 or uint16 (H, W), or uint8 RGB (H, W, 3)."""
    data = file_bytes(path, MAX_FILE_BYTES, kind="too-large-mask")
    width, height, depth, kind = _header(data[:33], path)
    if kind == GREY_ALPHA or (depth == 16 and kind != GREY):
        name = "grey with transparency" if kind == GREY_ALPHA else "colour of 16 bits"
        raise _unsupported(f"a PNG of {name}, which says no class", "Convert it to class numbers", path)
    if width * height > MAX_PIXELS:
        what = f"{width}×{height} pixels are more than the {MAX_PIXELS // 1_000_000} million that are read"
        raise DataError(what, kind="too-large-mask", remedy="Scale it down or cut it up", file=path)
    _check_chunks(data, path)
    raw = cv2.imdecode(np.frombuffer(_as_grey(data) if kind == PALETTE else data, np.uint8), cv2.IMREAD_UNCHANGED)
    if raw is None:
        what = "corrupt mask (its pixels cannot be unpacked)"
        raise DataError(what, kind="corrupt-mask", remedy="Replace it", file=path)
    if kind in (RGB, RGBA):
        return cv2.cvtColor(raw, cv2.COLOR_BGR2RGB if raw.shape[2] == 3 else cv2.COLOR_BGRA2RGB)
    # Decoders spread 1, 2 and 4 bits of grey over 0 … 255; a mask wants the numbers that were written.
    return raw // np.uint8(255 // (2**depth - 1)) if depth < 8 else raw


def _head(path: Path) -> bytes:
    with opened(path) as stream:
        try:
            return stream.read(33)
        except OSError as error:
            raise StorageError(f"cannot be read ({error.strerror})", file=path) from error


def _header(data: bytes, path: Path) -> tuple[int, int, int, int]:
    """Width, height, bits a channel and colour type."""
    if data[:8] != SIGNATURE or data[12:16] != b"IHDR" or len(data) < 33:
        what = "a JPEG, which blurs borders between classes" if data[:3] == b"\xff\xd8\xff" else "not a PNG file"
        raise DataError(f"{what}; masks are PNG", kind="not-a-mask", remedy="Export the masks as PNG", file=path)
    return struct.unpack(">IIBB", data[16:26])


def _check_chunks(data: bytes, path: Path) -> None:
    """Every chunk whole and with its checksum: OpenCV hands back a full array for half a file."""
    at = 8
    while at + 12 <= len(data):
        (length,) = struct.unpack_from(">I", data, at)
        end = at + 12 + length
        if end > len(data):
            break
        if zlib.crc32(memoryview(data)[at + 4 : end - 4]) != struct.unpack_from(">I", data, end - 4)[0]:
            raise DataError("corrupt mask (a checksum is wrong)", kind="corrupt-mask", remedy="Replace it", file=path)
        if data[at + 4 : at + 8] == b"IEND":
            return
        at = end
    raise DataError(f"truncated mask: it ends at byte {len(data)}", kind="corrupt-mask", remedy="Replace it", file=path)


def _as_grey(data: bytes) -> bytes:
    """A PNG with a palette as one without: its pixels are numbers already, and a decoder would look colours up."""
    header = b"IHDR" + data[16:25] + bytes([GREY]) + data[26:29]
    parts = [SIGNATURE, struct.pack(">I", 13), header, struct.pack(">I", zlib.crc32(header))]
    at = 33
    while at < len(data):
        (length,) = struct.unpack_from(">I", data, at)
        name = data[at + 4 : at + 8]
        if name in (b"IDAT", b"IEND"):
            parts.append(data[at : at + 12 + length])
        if name == b"IEND":
            break
        at += 12 + length
    return b"".join(parts)


def _from_colours(rgb: UInt8[ndarray, "H W 3"], code: MaskCode, path: Path) -> UInt8[ndarray, "H W"]:
    rows = np.array(code.colours, dtype=np.int64).reshape(-1, 4)
    packed = rows[:, 0] << 16 | rows[:, 1] << 8 | rows[:, 2]
    ids = _look_up(rgb, packed, rows[:, 3].astype(np.uint8))
    unknown = ids == UNKNOWN
    if unknown.any():
        colours, counts = np.unique(rgb[unknown], axis=0, return_counts=True)
        order = np.argsort(-counts).tolist()
        listed = [f"({', '.join(map(str, colours[i].tolist()))}) ({counts[i]} pixels)" for i in order]
        table = ", ".join(f"({r}, {g}, {b})" for r, g, b, _ in code.colours[:32])
        raise _unknown("colour", listed, f"Known are {table}", path)
    return ids


@compiled
def _look_up(rgb, packed, meanings):  # noqa: ANN001, ANN202 (numba's)
    height, width, _ = rgb.shape
    ids = np.empty((height, width), np.uint8)
    last, meaning = -1, np.uint8(0)
    for y in range(height):
        for x in range(width):
            colour = np.int64(rgb[y, x, 0]) << 16 | np.int64(rgb[y, x, 1]) << 8 | np.int64(rgb[y, x, 2])
            if colour != last:  # colours come in runs
                last, meaning = colour, np.uint8(UNKNOWN)
                for row in range(len(packed)):
                    if packed[row] == colour:
                        meaning = meanings[row]
                        break
            ids[y, x] = meaning
    return ids


def _unknown(what: str, listed: list[str], known: str, path: Path) -> DataError:
    more = f" and {len(listed) - SHOWN_VALUES} more" if len(listed) > SHOWN_VALUES else ""
    plural = "s" if len(listed) > 1 else ""
    text = f"unknown {what}{plural} {', '.join(listed[:SHOWN_VALUES])}{more}"
    return DataError(text, kind="unknown-mask-value", remedy=f"{known}; correct the mask or the class list", file=path)


def _unsupported(what: str, remedy: str, path: Path) -> DataError:
    return DataError(what, kind="unsupported-mask", remedy=remedy, file=path)


def _ranges(values: list[int]) -> str:
    """Whole numbers in order, runs drawn together.

    >>> _ranges([0, 1, 2, 5, 255])
    '0–2, 5, 255'
    """
    runs: list[list[int]] = []
    for value in values:
        if runs and value == runs[-1][-1] + 1:
            runs[-1].append(value)
        else:
            runs.append([value])
    return ", ".join(str(run[0]) if len(run) == 1 else f"{run[0]}–{run[-1]}" for run in runs)


def class_share(mask: UInt8[ndarray, "H W"], classes: int) -> Int[ndarray, " C"]:
    """How many pixels of a mask each class has, void left out."""
    return np.bincount(mask[mask != VOID], minlength=classes)[:classes].astype(np.int64)


def is_colour(path: Path) -> bool:
    """Whether a mask says classes by colours, from its header alone."""
    return _header(_head(path), path)[3] in (RGB, RGBA)
