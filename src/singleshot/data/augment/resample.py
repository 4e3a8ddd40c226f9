"""Crop, expand, resize and mirror in one pass: resample a window of an image to another size.

One after the other, these steps would build a canvas of up to sixteen times the image and discard most of it. Here
each axis has a table of source pixels and weights for each new pixel. Crop, margin and mirroring only change the
numbers in the table, and pixels are interpolated twice, vertically and horizontally, only where the image is visible.

The weights are OpenCV's, so the result equals `cv2.resize` of the cropped canvas except in the last bit (which OpenCV
rounds in fixed-point arithmetic); the tests check every interpolation against it. `cv2.warpAffine` is no alternative:
it silently replaces area interpolation by linear.
"""

from __future__ import annotations

import math
import threading
from typing import Literal

import cv2
import numpy as np
from jaxtyping import Float, UInt8
from numpy import ndarray

from singleshot.compiled import compiled

Interpolation = Literal["linear", "area", "nearest", "cubic", "lanczos4"]
Window = tuple[int, int, int, int]
"""x1, y1, x2, y2 in whole pixels of an image; it may reach outside."""

_OPENCV: dict[Interpolation, int] = {
    "linear": cv2.INTER_LINEAR,
    "area": cv2.INTER_AREA,
    "nearest": cv2.INTER_NEAREST_EXACT,
    "cubic": cv2.INTER_CUBIC,
}
_NEAREST, _LINEAR, _CUBIC, _LANCZOS4, _AREA, _AREA_ENLARGED = range(6)
_WAYS: dict[Interpolation, int] = {
    "nearest": _NEAREST,
    "linear": _LINEAR,
    "cubic": _CUBIC,
    "lanczos4": _LANCZOS4,
    "area": _AREA,
}


def resample(
    image_rgb: UInt8[ndarray, "H W 3"],
    window: Window,
    size_hw: tuple[int, int],
    *,
    interpolation: Interpolation,
    outside_rgb: tuple[int, int, int],
    mirror: bool = False,
    flip: bool = False,
) -> UInt8[ndarray, "h w 3"]:
    """Return the window of the image resized to `size_hw`, as a new contiguous array.

    Args:
        image_rgb: the image, of at least one pixel.
        window: at least one pixel large, in pixels of the image.
        size_hw: height and width of the result. The aspect ratio is not kept.
        interpolation: OpenCV's of that name; `nearest` takes the source pixel under the centre of the new one
            (INTER_NEAREST_EXACT). `area` averages where neither side grows, and is OpenCV's substitute otherwise.
        outside_rgb: the colour around the image. It is interpolated with the image's edge.
        mirror: exchange left and right of the result.
        flip: exchange top and bottom of the result.
    """
    left, top, right, bottom = window
    height, width = size_hw
    picture_height, picture_width = image_rgb.shape[:2]
    if left >= 0 and top >= 0 and right <= picture_width and bottom <= picture_height:
        grows = right - left < width or bottom - top < height
        if interpolation in ("linear", "cubic", "nearest") or (interpolation == "area" and grows):
            part = cv2.resize(image_rgb[top:bottom, left:right], (width, height), interpolation=_OPENCV[interpolation])
            return cv2.flip(part, -1 if mirror and flip else int(mirror)) if mirror or flip else part
    way = _WAYS[interpolation]
    if way == _AREA and (right - left < width or bottom - top < height):
        way = _AREA_ENLARGED
    down = _taps(top, bottom - top, picture_height, height, way, flip)
    across = _taps(left, right - left, picture_width, width, way, mirror)
    rows, columns = _seen(down[1]), _seen(across[1])
    if rows.start == rows.stop or columns.start == columns.stop:
        return np.full((height, width, 3), outside_rgb, dtype=np.uint8)

    colour = np.array(outside_rgb, dtype=np.float32)
    source = np.ascontiguousarray(image_rgb).reshape(picture_height, -1)
    count, length = rows.stop - rows.start, source.shape[1]
    high = _spare("high", (count, length))
    _mix_rows(source, high, np.tile(colour, picture_width), *(part[rows] for part in down))
    # Transposed, so that the second axis is interpolated like the first: whole rows at once, which vectorises.
    turned = _spare("turned", (length, count))
    cv2.transpose(high, turned)
    both = np.empty((columns.stop - columns.start, 3 * count), dtype=np.uint8)
    turned = turned.reshape(picture_width, 3 * count)
    _mix_to_bytes(turned, both, np.repeat(colour, count), *(part[columns] for part in across))
    part = cv2.transpose(both.reshape(-1, count)).reshape(count, -1, 3)
    borders = (rows.start, height - rows.stop, columns.start, width - columns.stop)
    if not any(borders):
        return part
    return cv2.copyMakeBorder(part, *borders, borderType=cv2.BORDER_CONSTANT, value=outside_rgb)


_memory = threading.local()
_MOST_SPARE = 1 << 22  # floats: 16 MB


def _spare(name: str, shape: tuple[int, int]) -> Float[ndarray, "N M"]:
    """Return uninitialised memory that this thread's next call with the same name uses again.

    Allocation would cost more than the arithmetic: the system maps fresh memory page by page, and unmaps it again.
    """
    size = shape[0] * shape[1]
    held = getattr(_memory, name, None)
    if held is None or held.size < size:
        held = np.empty(size, dtype=np.float32)
        if size <= _MOST_SPARE:
            setattr(_memory, name, held)
    return held[:size].reshape(shape)


def _seen(counts: ndarray) -> slice:
    """Return the range of the new pixels that contain part of the image."""
    places = np.flatnonzero(counts)
    return slice(int(places[0]), int(places[-1]) + 1) if len(places) else slice(0, 0)


@compiled
def _taps(low, size, picture, new, way, reverse):  # noqa: ANN001, ANN202
    """Return the table of one axis: for each new pixel its first source pixel, their count and weights, the margin's.

    The window starts at pixel `low` of the image and has `size` pixels; beyond its ends its last pixel is repeated.
    """
    scale = size / new
    starts, counts = np.zeros(new, np.int64), np.zeros(new, np.int64)
    weights, outside = np.zeros((new, _most(way, scale)), np.float32), np.zeros(new, np.float32)
    inside_from, inside_to = max(0, -low), min(size, picture - low)
    for place in range(new):
        first, values = _kernel(place, scale, size, new, way)
        row = new - 1 - place if reverse else place
        start = max(min(max(first, 0), size - 1), inside_from)
        starts[row] = start + low
        for tap in range(len(values)):
            at = min(max(first + tap, 0), size - 1)
            if values[tap] == 0.0:
                continue
            if inside_from <= at < inside_to:
                weights[row, at - start] += values[tap]
                counts[row] = max(counts[row], at - start + 1)
            else:
                outside[row] += values[tap]
    return starts, counts, weights, outside


@compiled
def _most(way, scale):  # noqa: ANN001, ANN202
    if way == _NEAREST:
        return 1
    if way == _CUBIC:
        return 4
    if way == _LANCZOS4:
        return 8
    return math.ceil(scale) + 1 if way == _AREA else 2


@compiled
def _kernel(place, scale, size, new, way):  # noqa: ANN001, ANN202
    """Return the first of the window's pixels that new pixel `place` is made of, and their weights."""
    values = np.zeros(_most(way, scale))
    if way == _NEAREST:
        values[0] = 1.0
        return ((2 * place + 1) * size) // (2 * new), values
    if way == _AREA:
        begin, end = place * scale, (place + 1) * scale
        first = int(begin)
        for tap in range(len(values)):
            values[tap] = max(0.0, min(end, first + tap + 1.0) - max(begin, first + tap + 0.0)) / scale
        return first, values
    if way == _AREA_ENLARGED:
        first = int(place * scale)
        part = max(0.0, (place + 1) - (first + 1) / scale)
        part -= math.floor(part)
    else:
        centre = (place + 0.5) * scale - 0.5
        first = math.floor(centre)
        part = centre - first
    if way == _LANCZOS4:
        for tap in range(8):
            x = part + 3.0 - tap
            values[tap] = math.sin(math.pi * x) * math.sin(math.pi * x / 4.0) / (x * x) if abs(x) > 1e-6 else _PEAK
        return first - 3, values / values.sum()
    if way == _CUBIC:
        for tap in range(4):
            x = abs(part + 1.0 - tap)
            near = ((_SHARP + 2.0) * x - (_SHARP + 3.0)) * x * x + 1.0
            values[tap] = near if x <= 1.0 else ((x - 5.0) * x + 8.0) * x * _SHARP - 4.0 * _SHARP
        return first - 1, values
    values[0], values[1] = 1.0 - part, part
    return first, values


_SHARP = -0.75  # OpenCV's choice of the cubic's free parameter
_PEAK = math.pi * math.pi / 4.0  # the limit of the Lanczos kernel's numerator over x² at 0


@compiled
def _mix_rows(source, result, colour, starts, counts, weights, outside):  # noqa: ANN001, ANN202
    """Fill each row of the result (K, M) with the weighted sum of rows of the source (N, M) and the outside colour."""
    for row in range(len(starts)):
        _mix(source, starts[row], counts[row], weights[row], outside[row], colour, result[row])


@compiled
def _mix_to_bytes(source, result, colour, starts, counts, weights, outside):  # noqa: ANN001, ANN202
    """Do the same, rounded to 0 … 255."""
    total = np.empty(source.shape[1], np.float32)
    for row in range(len(starts)):
        _mix(source, starts[row], counts[row], weights[row], outside[row], colour, total)
        line = result[row]
        for at in range(len(total)):
            line[at] = np.uint8(np.int32(min(max(total[at], np.float32(0.0)), np.float32(255.0)) + np.float32(0.5)))


@compiled
def _mix(source, start, count, weights, outside, colour, total):  # noqa: ANN001, ANN202
    done = 0
    if outside != 0.0:
        for at in range(len(total)):
            total[at] = outside * colour[at]
    elif count >= 2:
        one, other, w1, w2 = source[start], source[start + 1], weights[0], weights[1]
        for at in range(len(total)):
            total[at] = w1 * np.float32(one[at]) + w2 * np.float32(other[at])
        done = 2
    else:
        one, w1 = source[start], weights[0]
        for at in range(len(total)):
            total[at] = w1 * np.float32(one[at])
        done = 1
    while done < count:
        one, w1 = source[start + done], weights[done]
        if done + 1 < count:
            other, w2 = source[start + done + 1], weights[done + 1]
            for at in range(len(total)):
                total[at] += w1 * np.float32(one[at]) + w2 * np.float32(other[at])
        else:
            for at in range(len(total)):
                total[at] += w1 * np.float32(one[at])
        done += 2
