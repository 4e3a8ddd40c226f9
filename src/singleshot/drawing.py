"""Boxes and their labels onto a picture, so that a person sees at a glance what was found and how surely.

Line width and text grow with the picture, so that 300 pixels and 4K read alike. Every label is a chip in its class's
colour with black or white text, whichever stands out; it sits above its box where there is room, otherwise where it
covers the fewest other labels, and never leaves the picture. The best detections choose first and are drawn last.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence

import cv2
import numpy as np
from jaxtyping import Float, UInt8
from numpy import ndarray
from PIL import Image, ImageDraw, ImageFont

from singleshot.classes import colours as class_colours
from singleshot.compiled import compiled
from singleshot.errors import UsageError
from singleshot.structures import Detections, Segmentation

FILL_OPACITY = 0.12
LONGEST_LABEL = 40
MASK_OPACITY = 0.5


def draw(
    image_rgb: UInt8[ndarray, "H W 3"],
    detections: Detections | Segmentation,
    *,
    threshold: float = 0.0,
    line_width: int | None = None,
) -> UInt8[ndarray, "H W 3"]:
    """A copy of a picture with its detections drawn in; an equal copy where there are none.

    Args:
        image_rgb: the picture that the detections were found in, 0…255.
        detections: boxes in pixels of that picture, whose class id chooses the colour; or a segmentation of it.
        threshold: lowest score that is drawn.
        line_width: pixels; None fits it to the picture.

    Raises:
        UsageError: the detections belong to a picture of another size.
    """
    if isinstance(detections, Segmentation):
        return draw_masks(image_rgb, detections)
    if detections.size_hw != image_rgb.shape[:2]:
        (height, width), (other_height, other_width) = detections.size_hw, image_rgb.shape[:2]
        what = f"the detections belong to a {width}×{height} picture, this one is {other_width}×{other_height}"
        raise UsageError(what, remedy="Draw them onto the picture they were found in")
    shown = detections.above(threshold)
    palette = class_colours(int(shown.class_ids.max()) + 1 if len(shown) else 0)
    labels = [f"{name} {score:.2f}" for name, score in zip(shown.class_names, shown.scores, strict=True)]
    if shown.track_ids is not None:
        labels = [f"#{track} {label}" for track, label in zip(shown.track_ids.tolist(), labels, strict=True)]
    return draw_boxes(image_rgb, shown.boxes_xyxy, labels, palette[shown.class_ids], line_width=line_width)


def draw_boxes(
    image_rgb: UInt8[ndarray, "H W 3"],
    boxes_xyxy: Float[ndarray, "N 4"],
    labels: Sequence[str],
    colours: UInt8[ndarray, "N 3"],
    *,
    line_width: int | None = None,
) -> UInt8[ndarray, "H W 3"]:
    """A copy of a picture with N labelled boxes; the first is the most important.

    Args:
        image_rgb: the picture, 0…255.
        boxes_xyxy: (N, 4) continuous pixels; parts outside the picture are cut off, boxes outside it are not drawn.
        labels: N texts; an empty one gives a box without a label.
        colours: (N, 3) RGB.
        line_width: pixels; None fits it to the picture.
    """
    height, width = image_rgb.shape[:2]
    line = line_width or max(1, round(min(height, width) / 320))
    font = _font(max(10, round(min(height, width) ** 0.9 / 24.5)))
    canvas = image_rgb.copy(order="C")
    # Edges are continuous: the last pixel inside a box is the one before its second edge.
    last = np.array([width - 1, height - 1] * 2)
    pixels = np.rint(boxes_xyxy).astype(np.int64) - [0, 0, 1, 1]
    inside = ((pixels[:, :2] <= last[:2]) & (pixels[:, 2:] >= 0)).all(axis=1)
    pixels = pixels.clip(0, last)
    pixels[:, 2:] = np.maximum(pixels[:, 2:], pixels[:, :2])  # a box thinner than a pixel still shows
    colour_tuples = [tuple(colour) for colour in colours.tolist()]
    order = np.flatnonzero(inside).tolist()
    for index in reversed(order):
        _fill(canvas, pixels[index], colour_tuples[index])
    for index in reversed(order):
        _outline(canvas, pixels[index], colour_tuples[index], line)
    labelled = [index for index in order if labels[index]]
    if labelled:
        chips = [_chip(_shortened(labels[index]), colour_tuples[index], font) for index in labelled]
        places = _places(pixels[labelled], np.array([chip.shape[:2] for chip in chips]), height, width).tolist()
        for chip, (x1, y1, x2, y2) in zip(reversed(chips), reversed(places), strict=True):
            canvas[y1:y2, x1:x2] = chip[: y2 - y1, : x2 - x1]
    return canvas


def draw_masks(
    image_rgb: UInt8[ndarray, "H W 3"],
    segmentation: Segmentation,
    *,
    opacity: float = MASK_OPACITY,
    legend: bool = True,
) -> UInt8[ndarray, "H W 3"]:
    """A copy of a picture with pixels tinted in their classes' colours, borders between classes in full colour.

    Void, and a class that is called `background`, are left as they are.

    Args:
        image_rgb: the picture that was segmented, 0…255.
        segmentation: its classes.
        opacity: how much of the class's colour, 0…1.
        legend: name the classes that occur, the largest first, in the upper left corner.

    Raises:
        UsageError: the segmentation belongs to a picture of another size.
    """
    if segmentation.size_hw != image_rgb.shape[:2]:
        (height, width), (other_height, other_width) = segmentation.size_hw, image_rgb.shape[:2]
        what = f"the segmentation belongs to a {width}×{height} picture, this one is {other_width}×{other_height}"
        raise UsageError(what, remedy="Draw it onto the picture that was segmented")
    ids = segmentation.class_ids
    tint = class_colour_picture(segmentation)
    canvas = cv2.addWeighted(image_rgb, 1 - opacity, tint, opacity, 0)
    border = np.zeros(ids.shape, np.bool_)
    border[:, 1:] |= ids[:, 1:] != ids[:, :-1]
    border[1:] |= ids[1:] != ids[:-1]
    canvas[border] = tint[border]
    # Background and void are what is left over: a picture that they tint hides what was found.
    plain = np.ones(256, np.bool_)
    plain[: len(segmentation.class_names)] = [name == "background" for name in segmentation.class_names]
    left_over = plain[ids]
    canvas[left_over] = image_rgb[left_over]
    return _with_legend(canvas, segmentation) if legend else canvas


def class_colour_picture(segmentation: Segmentation) -> UInt8[ndarray, "H W 3"]:
    """The classes alone, each pixel in its class's colour; void is black."""
    table = np.zeros((256, 3), np.uint8)
    table[: len(segmentation.colours)] = segmentation.colours
    return table[segmentation.class_ids]


def _with_legend(canvas: UInt8[ndarray, "H W 3"], segmentation: Segmentation) -> UInt8[ndarray, "H W 3"]:
    """Chips with the names of the classes that occur, in columns from the upper left; as many as there is room for."""
    height, width = canvas.shape[:2]
    font = _font(max(10, round(min(height, width) ** 0.9 / 24.5)))
    shares = sorted(segmentation.shares().items(), key=lambda row: -row[1])
    colour_of = dict(zip(segmentation.class_names, segmentation.colours.tolist(), strict=True))
    x = y = widest = 0
    for name, share in shares:
        chip = _chip(f"{_shortened(name)} {share:.0%}", tuple(colour_of[name]), font)
        tall, wide = chip.shape[:2]
        if y + tall > height:
            x, y, widest = x + widest, 0, 0
        if x + wide > width or tall > height:
            break
        canvas[y : y + tall, x : x + wide] = chip
        y, widest = y + tall, max(widest, wide)
    return canvas


def caption(text: str, width: int) -> UInt8[ndarray, "H {width} 3"]:
    """One line of black text on white, cut off where it is longer than `width` pixels, for above a picture."""
    font = _font(12)
    ascent, descent = font.getmetrics()
    strip = Image.new("RGB", (width, ascent + descent + 4), (255, 255, 255))
    ImageDraw.Draw(strip).text((3, 2), " ".join(text.split()), fill=(0, 0, 0), font=font)
    return np.asarray(strip)


def _fill(canvas: UInt8[ndarray, "H W 3"], box: ndarray, colour: tuple[int, ...]) -> None:
    x1, y1, x2, y2 = box
    inner = canvas[y1 : y2 + 1, x1 : x2 + 1]
    inner[:] = cv2.LUT(inner, _tint(colour))


@functools.lru_cache(1024)
def _tint(colour: tuple[int, ...]) -> UInt8[ndarray, "1 256 3"]:
    """A table for every value: a single pass over the pixels, where mixing with a plane of colour takes two."""
    values = np.arange(256)[None, :, None] * (1 - FILL_OPACITY) + np.multiply(colour, FILL_OPACITY)
    return np.rint(values).astype(np.uint8)


def _outline(canvas: UInt8[ndarray, "H W 3"], box: ndarray, colour: tuple[int, ...], line: int) -> None:
    """A frame whose outer edge is the box, so that touching boxes stay apart."""
    x1, y1, x2, y2 = box
    line = max(1, min(line, (x2 - x1 + 1) // 2, (y2 - y1 + 1) // 2))
    for rows, columns in (
        (slice(y1, y1 + line), slice(x1, x2 + 1)),
        (slice(y2 + 1 - line, y2 + 1), slice(x1, x2 + 1)),
        (slice(y1, y2 + 1), slice(x1, x1 + line)),
        (slice(y1, y2 + 1), slice(x2 + 1 - line, x2 + 1)),
    ):
        canvas[rows, columns] = colour


@compiled
def _places(boxes, chips_hw, height, width):  # noqa: ANN001, ANN202
    """Where chips go, as whole pixels x1, y1, x2, y2 (the last two outside): one by one the spot with least under it.

    Boxes hold the last pixels inside. The first of equally good spots wins.
    """
    taken = np.empty((len(boxes), 4), np.int64)
    for row in range(len(boxes)):
        x1, y1, x2, y2 = boxes[row]
        tall, wide = chips_hw[row]
        spots = (
            (x1, y1 - tall, False),  # above the box
            (x1, y1, True),  # inside, at its top
            (x1, y2 + 1, False),  # below
            (x2 + 1 - wide, y1 - tall, False),  # above, to the right
            (x1, y2 + 1 - tall, True),  # inside, at its bottom
            (x2 + 1 - wide, y1, True),  # inside, at its top, to the right
            (x2 + 1 - wide, y2 + 1, False),  # below, to the right
        )
        least = (np.int64(-1), np.int64(0), np.int64(0))
        for x, y, inside in spots:
            left, top = min(max(x, 0), max(width - wide, 0)), min(max(y, 0), max(height - tall, 0))
            right, bottom = min(left + wide, width), min(top + tall, height)
            covered = np.int64(0)
            for other in range(row):
                across = min(right, taken[other, 2]) - max(left, taken[other, 0])
                down = min(bottom, taken[other, 3]) - max(top, taken[other, 1])
                covered += max(across, 0) * max(down, 0)
            # A spot that had to be moved into the picture is worse than one that fits, better than covering a label.
            price = (covered, np.int64(inside and y2 - y1 < 2 * tall), np.int64(abs(left - x) + abs(top - y)))
            if least[0] < 0 or price < least:
                least = price
                taken[row, 0], taken[row, 1], taken[row, 2], taken[row, 3] = left, top, right, bottom
    return taken


def _chip(text: str, colour: tuple[int, ...], font: ImageFont.FreeTypeFont) -> UInt8[ndarray, "h w 3"]:
    """A label. Name and score are written apart: there are few of each, so both have nearly always been written."""
    name, space, score = text.rpartition(" ")
    margin = max(2, round(font.size / 4))
    parts = [_written(part, colour, font) for part in (name + space, score) if part]
    side = np.full((parts[0].shape[0], margin, 3), colour, np.uint8)
    return np.hstack([side, *parts, side])


@functools.lru_cache(8192)  # a text costs as much as its box, and in a video it comes again and again
def _written(text: str, colour: tuple[int, ...], font: ImageFont.FreeTypeFont) -> UInt8[ndarray, "h w 3"]:
    ascent, descent = font.getmetrics()
    margin = max(2, round(font.size / 4))
    wide = int(np.ceil(font.getlength(text)))
    chip = Image.new("RGB", (wide, ascent + descent + margin // 2), colour)
    red, green, blue = colour
    bright = 0.299 * red + 0.587 * green + 0.114 * blue > 140  # ITU-R BT.601 luma
    ImageDraw.Draw(chip).text((0, margin // 4), text, fill=(0, 0, 0) if bright else (255, 255, 255), font=font)
    return np.asarray(chip)


@functools.cache
def _font(size: int) -> ImageFont.FreeTypeFont:
    font = ImageFont.load_default(size)
    if not isinstance(font, ImageFont.FreeTypeFont):
        raise UsageError("this Pillow was built without FreeType", remedy="pip install --force-reinstall pillow")
    return font


def _shortened(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= LONGEST_LABEL else line[: LONGEST_LABEL - 1] + "…"
