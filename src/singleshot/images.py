"""Decode a file or bytes to an RGB uint8 image, or raise an error that names the fault: the one entrance of pixels.

Common decoders hide faults: OpenCV returns a full array for a JPEG that is cut in half, Pillow ignores the camera's
rotation, and both unpack 400 million pixels from 48 KB. Here an image is complete and upright, or an error of one line
tells why not. The meaning of pixels does not depend on the file: grey is repeated three times, 16 bits are scaled (not
clipped) to 8, CMYK becomes RGB, EXIF orientation is applied, an animation gives its first frame. Transparency is laid
over white, the background against which annotators usually see an image. Colour profiles and all other metadata are
ignored.

JPEG is decoded by simplejpeg (libjpeg-turbo, in a mode that refuses what it otherwise only warns about); everything
else by Pillow, whose readers are called by name, so that no other format (EPS with its Ghostscript) is reachable.
"""

from __future__ import annotations

import contextlib
import functools
import importlib.util
import io
import logging
import os
import re
import struct
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import UInt8
from numpy import ndarray
from PIL import Image, ImageChops
from PIL.BmpImagePlugin import BmpImageFile
from PIL.GifImagePlugin import GifImageFile
from PIL.ImageFile import ImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.TiffImagePlugin import TiffImageFile
from PIL.WebPImagePlugin import WebPImageFile

from singleshot.errors import DataError, UsageError
from singleshot.storage.files import REPLACE, file_bytes, opened

try:
    import simplejpeg
except ImportError:  # minimal GPU images come without it
    simplejpeg = None

_HAS_HEIC = importlib.util.find_spec("pi_heif") is not None
_HAS_AVIF = importlib.util.find_spec("PIL._avif") is not None
IMAGE_SUFFIXES = (
    *(".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif", ".jfif", ".jpe"),
    *((".heic", ".heif") if _HAS_HEIC else ()),
    *((".avif",) if _HAS_AVIF else ()),
)
"""Suffixes of image files; of two files with one stem, the one whose suffix comes first here is used."""
_HEIC_REMEDY = "Convert it to JPEG, or run pip install 'singleshot[heic]'"
UNREAD_SUFFIXES = {
    **({} if _HAS_HEIC else {".heic": _HEIC_REMEDY, ".heif": _HEIC_REMEDY}),
    **({} if _HAS_AVIF else {".avif": "Convert it to JPEG"}),
}
"""Suffixes of image files that cannot be read here, with the remedy."""
PilImage = Image.Image
MAX_PIXELS = 50_000_000
"""The largest image that is read, unless `allow_pixels` says otherwise."""
MAX_PIXELS_VARIABLE = "SINGLESHOT_MAX_PIXELS"
MAX_FILE_BYTES = 512 * 2**20
BACKGROUND_RGB = (255, 255, 255)
CONVERT = "Convert it to JPEG or PNG"
_ORIENTATION_TAG = 0x0112
# Words of the decoders, which have no error codes.
_CUT_WORDS = re.compile("truncated|premature end|broken png|requires a buffer|expecting to read|no more images", re.I)
_UNREAD_WORDS = re.compile("cannot handle|unsupported|not supported|not implemented", re.I)

log = logging.getLogger(__name__)


class _JpegHeader(JpegImageFile):
    """Pillow's reader without its search for a resolution in EXIF, which is slow and warns about cameras' mistakes."""

    def _read_dpi_from_exif(self) -> None:
        pass


_READERS: dict[bytes, tuple[str, type[ImageFile]]] = {
    b"\xff\xd8\xff": ("JPEG", _JpegHeader),
    b"\x89PNG\r\n\x1a\n": ("PNG", PngImageFile),
    b"BM": ("BMP", BmpImageFile),
    b"GIF87a": ("GIF", GifImageFile),
    b"GIF89a": ("GIF", GifImageFile),
    b"II*\x00": ("TIFF", TiffImageFile),
    b"MM\x00*": ("TIFF", TiffImageFile),
    b"RIFF": ("WebP", WebPImageFile),
}
# Formats that are not read, for a message that names the format.
_OTHER_FORMATS = {
    b"<!doctype html": "HTML",
    b"<html": "HTML",
    b"<svg": "SVG",
    b"<?xml": "XML or SVG",
    b"%pdf": "PDF",
    b"%!ps": "PostScript",
    b"8bps": "Photoshop",
    b"pk\x03\x04": "a ZIP archive",
    b"version https://git-lfs": "a Git LFS pointer: run `git lfs pull`",
    b"\x00\x00\x00\x0cjp": "JPEG 2000",
    b"\x00\x00\x00\x0cjxl": "JPEG XL",
    b"\xff\n": "JPEG XL",
    b"ii+\x00": "TIFF of 64 bits (BigTIFF)",
    b"mm\x00+": "TIFF of 64 bits (BigTIFF)",
    b"v/1\x01": "OpenEXR",
    b"0&\xb2u\x8ef\xcf\x11": "a video of Windows Media",
}
_HEIC_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs", b"mif1", b"msf1")
_AVIF_BRANDS = (b"avif", b"avis")
_NO_IMAGES = ("HTML", "a Git LFS pointer: run `git lfs pull`")


def allow_pixels(count: int | None) -> None:
    """Read images of up to this many pixels from now on, also in processes started later; None leaves it as it is.

    It is one limit for images, masks and frames of videos, wherever they come from. An image of a million pixels takes
    3 MB, and two or three times that while it is decoded.

    Raises UsageError for a number below 1.
    """
    if count is not None:
        if count < 1:
            raise UsageError(f"a limit of {count} pixels", remedy="Give a number such as 100000000")
        os.environ[MAX_PIXELS_VARIABLE] = str(count)


def pixel_limit(default: int | None = None) -> int:
    """Return the number of pixels up to which an image is read: `$SINGLESHOT_MAX_PIXELS`, or else `MAX_PIXELS`.

    Args:
        default: in place of `MAX_PIXELS`.

    Raises UsageError where the variable is not a whole number above 0.
    """
    text = os.environ.get(MAX_PIXELS_VARIABLE)
    if not text:
        return MAX_PIXELS if default is None else default
    if not (text.isascii() and text.isdigit() and int(text)):
        raise UsageError(f"{MAX_PIXELS_VARIABLE} is {text!r}", remedy="Set it to a number such as 100000000")
    return int(text)


def read_image(path: Path | str, *, fast: bool = False) -> UInt8[ndarray, "H W 3"]:
    """Return the image in a file, upright, as RGB in 0…255.

    Args:
        path: a JPEG, PNG, WebP, BMP, TIFF or GIF file, AVIF where Pillow reads it, HEIC with the extra `heic`; its
            content counts, not its extension.
        fast: decode JPEG about a quarter faster and not exactly (colour edges differ by up to some 20 of 255). For
            training; evaluation decodes exactly.

    Raises:
        InputMissingError: there is no such file.
        NotPermittedError: no permission to read the file.
        DataError: it is not an image, or broken, above `pixel_limit()`, or of a kind that is not read. `kind` is
            `empty-file`, `not-a-file`, `not-a-picture`, `unsupported-picture`, `too-large-picture`,
            `truncated-picture` or `corrupt-picture`.
    """
    path = Path(path)
    return decode_image(file_bytes(path, MAX_FILE_BYTES, kind="too-large-picture"), file=path, fast=fast)


def decode_image(data: bytes, *, file: Path | str, fast: bool = False) -> UInt8[ndarray, "H W 3"]:
    """Return the image in the bytes of a file. `file` names it in messages; see `read_image` for the rest."""
    name, image = _header(io.BytesIO(data), file)
    orientation = _orientation(image)
    if _is_cut(data, name, 0 if image.fp is None else image.fp.tell()):
        raise _truncated(name, file, len(data))
    try:
        pixels = _jpeg(data, image, file, fast) if name == "JPEG" else _other(image, file, name)
    except DataError:
        raise
    except Exception as error:  # decoders raise exceptions of any class; the fault is the file's in all cases
        raise _broken(name, error, file, data) from error
    return _upright(pixels, orientation)


@dataclass(frozen=True)
class ImageHeader:
    """The header of an image file.

    Args:
        format: "JPEG", "PNG", "BMP", "GIF", "TIFF", "WebP", "AVIF" or "HEIC", by content.
        stored_hw: height and width before `orientation` is applied.
        orientation: EXIF's, 1 to 8.
        mode: Pillow's name of the pixel format: "L", "RGB", "P", "CMYK", …
        sixteen_bits: whether a channel has more than 8 bits.
        transparent: whether there is an alpha channel or a transparent colour.
        animated: whether there is more than one frame.
    """

    format: str
    stored_hw: tuple[int, int]
    orientation: int
    mode: str
    sixteen_bits: bool
    transparent: bool
    animated: bool


def read_header(data: bytes, *, file: Path | str) -> ImageHeader:
    """Return the header of an image in the bytes of a file. Raises like `decode_image`, as far as the header tells."""
    name, image = _header(io.BytesIO(data), file)
    width, height = image.size
    deep = ";16" in f"{image.mode} {image.tile}"
    transparent = image.has_transparency_data
    try:
        animated = bool(getattr(image, "is_animated", False))
    except Exception as error:  # a GIF's reader looks for the second frame
        raise _broken(name, error, file, data) from error
    return ImageHeader(name, (height, width), _orientation(image), image.mode, deep, transparent, animated)


def read_size_hw(path: Path | str) -> tuple[int, int]:
    """Return height and width of `read_image(path)` from the file's header alone, in some 70 microseconds.

    The image may still fail to decode. Raises like `read_image`, as far as the header tells.
    """
    stored_hw, orientation = read_stored_size(path)
    return (stored_hw[1], stored_hw[0]) if orientation >= 5 else stored_hw


def read_stored_size(path: Path | str) -> tuple[tuple[int, int], int]:
    """Return height and width before EXIF's orientation is applied, and that orientation, 1 to 8.

    Reads the file's header alone, and raises as `read_size_hw`.
    """
    path = Path(path)
    with opened(path) as stream:
        _, image = _header(stream, path)
        width, height = image.size
        return (height, width), _orientation(image)


def _header(stream: io.BufferedReader | io.BytesIO, file: Path | str) -> tuple[str, ImageFile]:
    """The format's name and Pillow's reader, which has read the header and no pixel."""
    head = stream.read(512)
    stream.seek(0)
    name, reader = _reader_for(head, file)
    if name in ("HEIC", "AVIF") and stream.seek(0, io.SEEK_END) > MAX_FILE_BYTES:  # their readers read it all
        message = f"more than {MAX_FILE_BYTES >> 20} MiB"
        raise DataError(message, kind="too-large-picture", remedy=CONVERT, file=file)
    stream.seek(0)
    try:
        image = reader(stream)  # not Image.open, which would warn about images that the next lines refuse
    except Exception as error:
        if name in ("HEIC", "AVIF"):
            reason = " ".join(str(error).split()) or type(error).__name__
            message = f"{name} of a kind that is not read, or not complete ({reason})"
            raise DataError(message, kind="unsupported-picture", remedy=CONVERT, file=file) from error
        stream.seek(0)
        raise _broken(name, error, file, stream.read(MAX_FILE_BYTES)) from error
    width, height = image.size
    _check_size(width, height, file)
    return name, image


def _check_size(width: int, height: int, file: Path | str) -> None:
    limit = pixel_limit()
    if width * height > limit:
        message = f"{width}×{height} pixels are more than the {limit / 1e6:g} million that are read"
        remedy = "Scale it down, cut it into parts, or raise --max-pixels"
        raise DataError(message, kind="too-large-picture", remedy=remedy, file=file)


def _reader_for(head: bytes, file: Path | str) -> tuple[str, type[ImageFile]]:
    if not head:
        raise DataError("empty file", kind="empty-file", remedy=REPLACE, file=file)
    for magic, (name, reader) in _READERS.items():
        if head.startswith(magic) and (name != "WebP" or head[8:12] == b"WEBP"):
            return name, reader
    if head[4:8] == b"ftyp":
        return _container_reader(head[8:12], file)
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    name = next((name for magic, name in _OTHER_FORMATS.items() if text.startswith(magic)), None)
    looks, remedy = (
        ("", REPLACE) if name is None else (f" (looks like {name})", REPLACE if name in _NO_IMAGES else CONVERT)
    )
    raise DataError(f"not an image{looks}", kind="not-a-picture", remedy=remedy, file=file)


def _container_reader(brand: bytes, file: Path | str) -> tuple[str, type[ImageFile]]:
    """Return the format and the reader of a file of the HEIC, AVIF or MP4 family. Raises DataError without a reader."""
    if brand in _AVIF_BRANDS and _HAS_AVIF:
        return "AVIF", importlib.import_module("PIL.AvifImagePlugin").AvifImageFile
    if brand in _HEIC_BRANDS and _HAS_HEIC:
        return "HEIC", importlib.import_module("pi_heif").HeifImageFile
    shown = brand.decode("ascii", "replace").strip()
    message = f"a file of the HEIC, AVIF or MP4 family ({shown}), which is not read"
    remedy = f"{CONVERT}, or run pip install 'singleshot[heic]'" if brand in _HEIC_BRANDS else CONVERT
    raise DataError(message, kind="unsupported-picture", remedy=remedy, file=file)


def _broken(name: str, error: Exception, file: Path | str, data: bytes) -> DataError:
    """Return the error for a decoder's exception about a file's bytes."""
    reason = " ".join(str(error).split()) or type(error).__name__
    if _CUT_WORDS.search(reason) or _is_cut(data, name):
        return _truncated(name, file, len(data))
    if _UNREAD_WORDS.search(reason):
        return DataError(
            f"{name} of a kind that is not read ({reason})", kind="unsupported-picture", remedy=CONVERT, file=file
        )
    return DataError(f"corrupt {name} ({reason})", kind="corrupt-picture", remedy=REPLACE, file=file)


def _truncated(name: str, file: Path | str, size: int) -> DataError:
    return DataError(f"truncated {name}: it ends at byte {size}", kind="truncated-picture", remedy=REPLACE, file=file)


def _is_cut(data: bytes, name: str, start: int = 0) -> bool:
    """Whether the format's end marker is missing from `start` on, which decoders forgive after the last row."""
    if name == "JPEG":  # start behind the header, in which thumbnails have end markers too
        return data.rfind(b"\xff\xd9", start) < 0
    if name == "PNG":
        return data.rfind(b"IEND\xae\x42\x60\x82") < 0  # with its checksum, which is always the same
    return name == "WebP" and int.from_bytes(data[4:8], "little") + 8 > len(data)


def _jpeg(data: bytes, image: ImageFile, file: Path | str, fast: bool) -> UInt8[ndarray, "H W 3"]:
    if image.mode in ("L", "RGB"):
        if simplejpeg is None:
            _warn_fallback()
            bgr = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
            if bgr is None:
                raise ValueError("OpenCV cannot decode it")
            return cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB)
        try:
            return simplejpeg.decode_jpeg(data, "RGB", fastdct=fast, fastupsample=fast)
        except ValueError as error:
            reason = str(error)
        if "extraneous bytes before marker 0xd9" in reason:
            # Every block was read, and some bytes precede the end marker: common and harmless.
            log.warning("%s: %s", file, reason)
            return simplejpeg.decode_jpeg(data, "RGB", fastdct=fast, fastupsample=fast, strict=False)
        if "subsampling" not in reason:  # a sampling that TurboJPEG does not support is left to Pillow
            raise _broken("JPEG", ValueError(reason), file, data)
    if image.mode == "CMYK" and "adobe" not in image.info:
        # Adobe's programs store ink inverted, and Pillow assumes that for every file.
        return np.asarray(ImageChops.invert(image).convert("RGB"))
    return np.asarray(image.convert("RGB"))


@functools.cache
def _warn_fallback() -> None:
    log.warning("simplejpeg is not installed: JPEG is decoded by OpenCV, which is slower and notices fewer faults")


def from_array(array: ndarray) -> UInt8[ndarray, "H W 3"]:
    """Return the array itself if it is (H, W, 3) uint8, which is taken for upright RGB.

    Raises:
        UsageError: an array of another type or shape, whose meaning would be a guess, or an empty one.
    """
    if array.dtype == np.uint8 and array.ndim == 3 and array.shape[2] == 3 and array.size:
        return array
    message = f"an array of {array.dtype} {array.shape} is not an image"
    raise UsageError(message, remedy="Give (H, W, 3) uint8 RGB")


def from_pil(image: Image.Image) -> UInt8[ndarray, "H W 3"]:
    """Return a PIL image as `read_image` returns its file: upright, RGB, transparency over white, 16 bits scaled to 8.

    Raises:
        UsageError: it has no pixels.
        DataError: its file is broken, above `pixel_limit()`, or of a kind that is not read.
    """
    file, name = getattr(image, "filename", None) or "PIL image", getattr(image, "format", None) or "PIL image"
    width, height = image.size
    if not width * height:
        raise UsageError(f"a PIL image of {width}×{height} pixels", remedy="Give one with pixels")
    _check_size(width, height, file)
    try:
        image.load()
        if image.mode == "CMYK" and name == "JPEG" and "adobe" not in image.info:
            pixels = np.asarray(ImageChops.invert(image).convert("RGB"))
        else:
            pixels = _other(image, file, name)
        return _upright(pixels, _orientation(image))
    except DataError:
        raise
    except Exception as error:  # decoders raise exceptions of any class; the fault is the file's in all cases
        reason = " ".join(str(error).split()) or type(error).__name__
        message = f"a PIL image whose pixels cannot be read ({reason})"
        raise DataError(message, kind="corrupt-picture", remedy="Give its path instead", file=file) from error


def _other(image: Image.Image, file: Path | str, name: str) -> UInt8[ndarray, "H W 3"]:
    image.load()
    if image.mode.startswith("I;16"):
        grey = (np.asarray(image) >> 8).astype(np.uint8)
        return np.repeat(grey[..., None], 3, axis=2)
    if image.mode in ("F", "I"):
        message = f"a {name} of {'floating-point' if image.mode == 'F' else '32-bit'} values, which have no known range"
        raise DataError(message, kind="unsupported-picture", remedy=CONVERT, file=file)
    if image.has_transparency_data:
        background = Image.new("RGBA", image.size, BACKGROUND_RGB)
        image = Image.alpha_composite(background, image.convert("RGBA"))
    return np.asarray(image.convert("RGB"))


def _orientation(image: Image.Image) -> int:
    """EXIF's orientation, 1 to 8; 1 where there is none. Pillow applies a TIFF's by itself."""
    exif = image.info.get("exif")
    block = exif.removeprefix(b"Exif\x00\x00") if isinstance(exif, bytes) else b""
    order = {b"II": "<", b"MM": ">"}.get(block[:2])
    if order is None or isinstance(image, TiffImageFile):
        return 1
    with contextlib.suppress(struct.error):  # cut short: only the pixels matter
        (start,) = struct.unpack_from(f"{order}I", block, 4)
        (count,) = struct.unpack_from(f"{order}H", block, start)
        for entry in range(start + 2, start + 2 + 12 * count, 12):
            tag, kind, _, value = struct.unpack_from(f"{order}HHIH", block, entry)
            if tag == _ORIENTATION_TAG and kind == 3:
                return value if 1 <= value <= 8 else 1
    return 1


def _upright(pixels: UInt8[ndarray, "H W 3"], orientation: int) -> UInt8[ndarray, "H2 W2 3"]:
    """Apply the EXIF orientation (EXIF 2.32, tag 0x0112). The result is contiguous and writable."""
    turned = pixels.transpose(1, 0, 2) if orientation >= 5 else pixels
    down = -1 if orientation in (3, 4, 7, 8) else 1
    right = -1 if orientation in (2, 3, 6, 7) else 1
    return np.require(turned[::down, ::right], requirements=["C", "W"])
