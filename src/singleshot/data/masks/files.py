"""Mask files: a PNG → the class id of every pixel, and pairs of an image and its mask → samples.

A mask must be read as the numbers that were written: without scaling 16 bits to 8, without replacing palette entries
by their colours, without blending. So masks are PNG (JPEG blurs borders into classes that nobody drew), every chunk's
checksum is verified, and a value that the data set does not define is refused with the file, the value and its number
of pixels. Pairs are checked by their headers alone, which takes microseconds a file: a mask of another size than its
image, an image without a mask and a mask without an image are found before any training.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import Int, UInt8, UInt16
from numpy import ndarray

from singleshot.compiled import compiled
from singleshot.data.masks import outlines
from singleshot.data.orientation import TURNS, rotation_fault
from singleshot.errors import DataError, Fault, InputMissingError, os_errors
from singleshot.images import MAX_FILE_BYTES, pixel_limit, read_stored_size
from singleshot.storage.files import file_bytes, opened
from singleshot.structures import UNKNOWN, VOID, MaskCode, Sample

SIGNATURE = b"\x89PNG\r\n\x1a\n"
GREY, RGB, PALETTE, GREY_ALPHA, RGBA = 0, 2, 3, 4, 6
MAX_LISTED_VALUES = 5
_HEADER_BYTES = 33


@dataclass(frozen=True)
class Pair:
    """An image and its mask, as a list or a folder pairs them.

    Args:
        image_id: the image's name in its data set.
        image_path: its file, which may be missing.
        mask_path: the mask's file, which may be missing; None for a split without masks.
        file: the list that names the pair, for messages; None for pairs found by their file names.
        line: the 1-based line in that list.
    """

    image_id: str
    image_path: Path
    mask_path: Path | None
    file: Path | None = None
    line: int | None = None


def read(path: Path, code: MaskCode) -> UInt8[ndarray, "H W"]:
    """Return the class id of every pixel, `VOID` where there is none.

    Args:
        path: a PNG file: grey of up to 8 bits or a palette (numbers are classes), or RGB where the code has colours; or
            a JSON file whose outlines are drawn, where the code has names.
        code: the meaning of the numbers, colours or names.

    Raises:
        InputMissingError, NotPermittedError, StorageError: as `file_bytes`.
        DataError: not a PNG (`not-a-mask`), damaged (`corrupt-mask`), of 16 bits or another type that encodes no
            classes (`unsupported-mask`), or with values or colours that are not defined (`unknown-mask-value`).
    """
    if code.names and path.suffix.lower() == ".json":
        return outlines.draw(path, code)
    raw = _decode(path, code.colours if code.palettes else ())
    if raw.dtype != np.uint8:
        message = f"a 16-bit mask with values up to {int(raw.max())}; classes are numbers of 8 bits"
        raise _unsupported(message, "Name the mask of classes, not of instances, or convert it to 8 bits", path)
    if raw.ndim == 3:
        if not code.colours:
            raise _unsupported("a mask in colour where numbers are expected", "Convert it to class numbers", path)
        return _ids_of_colours(raw, code, path)
    ids = np.asarray(cv2.LUT(raw, np.array(code.values, dtype=np.uint8)), dtype=np.uint8)
    if UNKNOWN in code.values and (ids == UNKNOWN).any():
        counts = np.bincount(raw.ravel(), minlength=256)
        unknown = [value for value in np.flatnonzero(counts).tolist() if code.values[value] == UNKNOWN]
        known = _ranges([value for value, class_id in enumerate(code.values) if class_id != UNKNOWN])
        listed = [f"{value} ({counts[value]} pixels)" for value in unknown]
        raise _unknown("value", listed, f"Known are {known}", path)
    return ids


def read_instances(path: Path) -> UInt16[ndarray, "H W"]:
    """Return the numbers of an instance mask of 8 or 16 bits, unchanged. Raises as `read`, except for values."""
    raw = _decode(path)
    if raw.ndim == 3:
        raise _unsupported("a mask of instances in colour", "Name the file with numbers", path)
    return raw.astype(np.uint16)


def read_grey(path: Path) -> UInt8[ndarray, "H W"]:
    """Return the numbers of an 8-bit file of one channel unchanged, such as a map of probability.

    Raises as `read`, except for values.
    """
    raw = _decode(path)
    if raw.ndim == 3 or raw.dtype != np.uint8:
        raise _unsupported("not an 8-bit map of one channel", "Write grey PNG of 8 bits", path)
    return raw


def size_hw(path: Path) -> tuple[int, int]:
    """Return height and width of a mask from its header alone. Raises as `read`, as far as the header shows it."""
    width, height, _, _ = _header(_first_bytes(path), path)
    return height, width


def is_colour(path: Path) -> bool:
    """Return whether a mask encodes classes by colours, from its header alone."""
    return _header(_first_bytes(path), path)[3] in (RGB, RGBA)


def encode(mask: UInt8[ndarray, "H W"] | UInt8[ndarray, "H W 3"]) -> bytes:
    """Return a PNG file with exactly these numbers, or this RGB image."""
    pixels = mask if mask.ndim == 2 else cv2.cvtColor(mask, cv2.COLOR_RGB2BGR)
    return np.asarray(cv2.imencode(".png", pixels)[1]).tobytes()


def pixels_per_class(mask: UInt8[ndarray, "H W"], classes: int) -> Int[ndarray, " C"]:
    """Return the number of pixels of each class, without void."""
    return np.bincount(mask[mask != VOID], minlength=classes)[:classes].astype(np.int64)


def samples_of(pairs: Iterable[Pair]) -> tuple[tuple[Sample, ...], tuple[Fault, ...]]:
    """Return the valid pairs as samples without boxes, in order, and the faults of the others, all fatal.

    An image that EXIF turns without changing its size has a warning (`rotated-picture`) and is used: the mask may have
    been drawn before or after the turn. The other kinds of fault are `missing-picture`, `missing-mask`,
    `other-size-mask`, and those of `images` and of `read` that a header shows. Wrong values appear only when the pixels
    are read.
    """
    samples: list[Sample] = []
    faults: list[Fault] = []
    for pair in pairs:
        try:
            stored_hw, orientation = read_stored_size(pair.image_path)
            image_hw = (stored_hw[1], stored_hw[0]) if orientation >= 5 else stored_hw
            mask_hw = image_hw if pair.mask_path is None else size_hw(pair.mask_path)
        except DataError as error:
            faults.append(error.as_fault())
            continue
        except InputMissingError as error:
            if pair.mask_path is not None and error.file == pair.mask_path:
                message = f"{pair.image_path.name} has no mask {pair.mask_path.name}. Add it or leave the image out"
                faults.append(Fault(pair.file or pair.image_path, pair.line, "missing-mask", "fatal", message))
            else:
                message = f"image {pair.image_path} not found. Add it or leave its mask out"
                file = pair.file or pair.mask_path or pair.image_path
                faults.append(Fault(file, pair.line, "missing-picture", "fatal", message))
            continue
        if pair.mask_path is not None and mask_hw != image_hw:
            (height, width), (image_height, image_width) = mask_hw, image_hw
            remedy = "Draw it at the image's size, or resize it by nearest neighbour."
            if mask_hw == stored_hw:
                remedy = f"That is its size before its EXIF tag {TURNS[orientation]}: turn the mask too."
            name = pair.image_path.name
            message = f"the mask is {width}×{height}, its image {name} {image_width}×{image_height}. {remedy}"
            faults.append(Fault(pair.mask_path, None, "other-size-mask", "fatal", message))
            continue
        if pair.mask_path is not None:
            turned = rotation_fault(pair.image_path.name, stored_hw, orientation, mask_hw, pair.image_path)
            faults += [] if turned is None else [turned]
        no_boxes, no_ids, no_flags = np.zeros((0, 4)), np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.bool_)
        samples.append(
            Sample(pair.image_id, pair.image_path, image_hw, no_boxes, no_ids, no_flags, mask_path=pair.mask_path)
        )
    return tuple(samples), tuple(faults)


def masks_without_image(masks: Sequence[Path], where: str) -> tuple[Fault, ...]:
    """Return a fault for each of these masks; `where` names the folder in which the image should be."""
    message = f"a mask without an image: no image of this name in {where}. Add the image or delete the mask"
    return tuple(Fault(mask, None, "missing-picture", "fatal", message) for mask in masks)


def _decode(path: Path, colours: Sequence[tuple[int, int, int, int]] = ()) -> ndarray:
    """Return uint8 or uint16 (H, W), or uint8 RGB (H, W, 3).

    A palette's colours are returned, and not its numbers, where all that are used are among `colours`.
    """
    data = file_bytes(path, MAX_FILE_BYTES, kind="too-large-mask")
    width, height, depth, colour_type = _header(data[:_HEADER_BYTES], path)
    if colour_type == GREY_ALPHA or (depth == 16 and colour_type != GREY):
        name = "grey with transparency" if colour_type == GREY_ALPHA else "colour of 16 bits"
        raise _unsupported(f"a PNG of {name}, which encodes no classes", "Convert it to class numbers", path)
    limit = pixel_limit()
    if width * height > limit:
        message = f"{width}×{height} pixels are more than the {limit / 1e6:g} million that are read"
        raise DataError(message, kind="too-large-mask", remedy="Scale it down, or raise --max-pixels", file=path)
    _check_chunks(data, path)
    plain = _without_palette(data) if colour_type == PALETTE else data
    raw = cv2.imdecode(np.frombuffer(plain, np.uint8), cv2.IMREAD_UNCHANGED)
    if raw is None:
        message = "corrupt mask (its pixels cannot be unpacked)"
        raise DataError(message, kind="corrupt-mask", remedy="Replace it", file=path)
    if colour_type in (RGB, RGBA):
        return cv2.cvtColor(raw, cv2.COLOR_BGR2RGB if raw.shape[2] == 3 else cv2.COLOR_BGRA2RGB)
    # Decoders scale 1, 2 and 4 bits of grey to 0 … 255; a mask needs the numbers that were written.
    raw = raw // np.uint8(255 // (2**depth - 1)) if depth < 8 else raw
    if colour_type == PALETTE and colours:
        palette = _palette(data)
        known = {row[:3] for row in colours}
        used = np.flatnonzero(np.bincount(raw.ravel(), minlength=1))
        if used[-1] < len(palette) and all(tuple(row) in known for row in palette[used].tolist()):
            return palette[np.asarray(raw, np.uint8)]
    return raw


def _palette(data: bytes) -> UInt8[ndarray, "P 3"]:
    """Return the colours of a PNG's palette; (0, 3) where it has none."""
    start = _HEADER_BYTES
    while start + 12 <= len(data):
        (length,) = struct.unpack_from(">I", data, start)
        if data[start + 4 : start + 8] == b"PLTE":
            return np.frombuffer(data[start + 8 : start + 8 + length // 3 * 3], np.uint8).reshape(-1, 3)
        start += 12 + length
    return np.zeros((0, 3), np.uint8)


def _first_bytes(path: Path) -> bytes:
    with opened(path) as stream, os_errors(path, "read"):
        return stream.read(_HEADER_BYTES)


def _header(data: bytes, path: Path) -> tuple[int, int, int, int]:
    """Return width, height, bits a channel and colour type."""
    if data[:8] != SIGNATURE or data[12:16] != b"IHDR" or len(data) < _HEADER_BYTES:
        found = "a JPEG, which blurs borders between classes" if data[:3] == b"\xff\xd8\xff" else "not a PNG file"
        raise DataError(f"{found}; masks are PNG", kind="not-a-mask", remedy="Export the masks as PNG", file=path)
    return struct.unpack(">IIBB", data[16:26])


def _check_chunks(data: bytes, path: Path) -> None:
    """Raise where a chunk is cut off or fails its checksum: OpenCV returns a full array for half a file."""
    start = 8
    while start + 12 <= len(data):
        (length,) = struct.unpack_from(">I", data, start)
        end = start + 12 + length
        if end > len(data):
            break
        if zlib.crc32(memoryview(data)[start + 4 : end - 4]) != struct.unpack_from(">I", data, end - 4)[0]:
            raise DataError("corrupt mask (a checksum is wrong)", kind="corrupt-mask", remedy="Replace it", file=path)
        if data[start + 4 : start + 8] == b"IEND":
            return
        start = end
    raise DataError(f"truncated mask: it ends at byte {len(data)}", kind="corrupt-mask", remedy="Replace it", file=path)


def _without_palette(data: bytes) -> bytes:
    """Return a PNG with a palette as a grey one: its pixels are numbers that a decoder would turn into colours."""
    header = b"IHDR" + data[16:25] + bytes([GREY]) + data[26:29]
    parts = [SIGNATURE, struct.pack(">I", 13), header, struct.pack(">I", zlib.crc32(header))]
    start = _HEADER_BYTES
    while start < len(data):
        (length,) = struct.unpack_from(">I", data, start)
        name = data[start + 4 : start + 8]
        if name in (b"IDAT", b"IEND"):
            parts.append(data[start : start + 12 + length])
        if name == b"IEND":
            break
        start += 12 + length
    return b"".join(parts)


def _ids_of_colours(rgb: UInt8[ndarray, "H W 3"], code: MaskCode, path: Path) -> UInt8[ndarray, "H W"]:
    rows = np.array(code.colours, dtype=np.int64).reshape(-1, 4)
    packed = rows[:, 0] << 16 | rows[:, 1] << 8 | rows[:, 2]
    ids = _look_up_colours(rgb, packed, rows[:, 3].astype(np.uint8))
    unknown = ids == UNKNOWN
    if unknown.any():
        colours, counts = np.unique(rgb[unknown], axis=0, return_counts=True)
        order = np.argsort(-counts).tolist()
        listed = [f"({', '.join(map(str, colours[i].tolist()))}) ({counts[i]} pixels)" for i in order]
        known = ", ".join(f"({r}, {g}, {b})" for r, g, b, _ in code.colours[:32])
        raise _unknown("colour", listed, f"Known are {known}", path)
    return ids


@compiled
def _look_up_colours(rgb, packed, class_ids):  # noqa: ANN001, ANN202 (numba's)
    height, width, _ = rgb.shape
    ids = np.empty((height, width), np.uint8)
    last, class_id = -1, np.uint8(0)
    for y in range(height):
        for x in range(width):
            colour = np.int64(rgb[y, x, 0]) << 16 | np.int64(rgb[y, x, 1]) << 8 | np.int64(rgb[y, x, 2])
            if colour != last:  # colours come in runs
                last, class_id = colour, np.uint8(UNKNOWN)
                for row in range(len(packed)):
                    if packed[row] == colour:
                        class_id = class_ids[row]
                        break
            ids[y, x] = class_id
    return ids


def _unknown(noun: str, listed: list[str], known: str, path: Path) -> DataError:
    more = f" and {len(listed) - MAX_LISTED_VALUES} more" if len(listed) > MAX_LISTED_VALUES else ""
    plural = "s" if len(listed) > 1 else ""
    message = f"unknown {noun}{plural} {', '.join(listed[:MAX_LISTED_VALUES])}{more}"
    remedy = f"{known}; correct the mask or the class list"
    return DataError(message, kind="unknown-mask-value", remedy=remedy, file=path)


def _unsupported(message: str, remedy: str, path: Path) -> DataError:
    return DataError(message, kind="unsupported-mask", remedy=remedy, file=path)


def _ranges(values: list[int]) -> str:
    """Return ascending whole numbers as text, with runs as ranges.

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
