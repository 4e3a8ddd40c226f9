"""Draw boxes with labels, and masks, onto images.

Line width and text grow with the image, so that 300 pixels and 4K read alike. Every label is a chip in its class's
colour with black or white text, whichever has more contrast; it is above its box if there is room, otherwise where it
covers the fewest other labels, and always inside the image. The best detections are placed first and drawn last.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence

import cv2
import numpy as np
from jaxtyping import Float, UInt8
from numpy import ndarray
from PIL import Image, ImageDraw, ImageFont

from singleshot import fonts
from singleshot.classes import colours as class_colours
from singleshot.compiled import compiled
from singleshot.errors import UsageError
from singleshot.structures import Detections, Segmentation

FILL_OPACITY = 0.12
LONGEST_LABEL = 40
FEW_LABELS = 12
"""Labels of an image up to which the compiled loop is not loaded for them alone."""
MASK_OPACITY = 0.5


def draw(
    image_rgb: UInt8[ndarray, "H W 3"],
    detections: Detections | Segmentation,
    *,
    threshold: float = 0.0,
    line_width: int | None = None,
) -> UInt8[ndarray, "H W 3"]:
    """Return a copy of an image with its detections; an equal copy if there are none.

    Args:
        image_rgb: the image that the detections belong to, 0…255.
        detections: boxes in pixels of that image, coloured by class id; or a segmentation of it.
        threshold: least score that is drawn.
        line_width: pixels; None fits it to the image.

    Raises:
        UsageError: the detections belong to an image of another size.
    """
    if isinstance(detections, Segmentation):
        return draw_masks(image_rgb, detections)
    if detections.size_hw != image_rgb.shape[:2]:
        (height, width), (other_height, other_width) = detections.size_hw, image_rgb.shape[:2]
        message = f"the detections belong to a {width}×{height} image, this one is {other_width}×{other_height}"
        raise UsageError(message, remedy="Draw them onto the image they were detected in")
    kept = detections.above(threshold)
    palette = class_colours(int(kept.class_ids.max()) + 1 if len(kept) else 0)
    labels = [f"{name} {score:.2f}" for name, score in zip(kept.class_names, kept.scores, strict=True)]
    if kept.track_ids is not None:
        labels = [f"#{track} {label}" for track, label in zip(kept.track_ids.tolist(), labels, strict=True)]
    return draw_boxes(image_rgb, kept.boxes_xyxy, labels, palette[kept.class_ids], line_width=line_width)


def draw_boxes(
    image_rgb: UInt8[ndarray, "H W 3"],
    boxes_xyxy: Float[ndarray, "N 4"],
    labels: Sequence[str],
    colours: UInt8[ndarray, "N 3"],
    *,
    line_width: int | None = None,
) -> UInt8[ndarray, "H W 3"]:
    """Return a copy of an image with N labelled boxes; the first is the most important.

    Args:
        image_rgb: the image, 0…255.
        boxes_xyxy: (N, 4) continuous pixels; parts outside the image are cut off, boxes outside it are not drawn.
        labels: N texts; an empty one gives a box without a label.
        colours: (N, 3) RGB.
        line_width: pixels; None fits it to the image.
    """
    height, width = image_rgb.shape[:2]
    line = line_width or max(1, round(min(height, width) / 320))
    font_size = max(10, round(min(height, width) ** 0.9 / 24.5))
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
        x1, y1, x2, y2 = pixels[index]
        inner = canvas[y1 : y2 + 1, x1 : x2 + 1]
        inner[:] = cv2.LUT(inner, _tint(colour_tuples[index]))
    for index in reversed(order):
        _outline(canvas, pixels[index], colour_tuples[index], line)
    labelled = [index for index in order if labels[index]]
    if labelled:
        chips = [_chip(_shortened(labels[index]), colour_tuples[index], font_size) for index in labelled]
        # Loading the compiled loop takes 0.4 s of a first prediction; Python places a few labels in a millisecond.
        few = len(chips) <= FEW_LABELS and not _places.is_loaded  # pyright: ignore[reportFunctionMemberAccess]
        place = _places.py_func if few else _places  # pyright: ignore[reportFunctionMemberAccess]
        places = place(pixels[labelled], np.array([chip.shape[:2] for chip in chips]), height, width).tolist()
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
    """Return a copy of an image with pixels tinted in their classes' colours, borders between classes in full colour.

    Void and a class called `background` are not tinted.

    Args:
        image_rgb: the image that was segmented, 0…255.
        segmentation: of that image.
        opacity: share of the class's colour, 0…1.
        legend: name the classes that occur, the largest first, in the upper left corner.

    Raises:
        UsageError: the segmentation belongs to an image of another size.
    """
    if segmentation.size_hw != image_rgb.shape[:2]:
        (height, width), (other_height, other_width) = segmentation.size_hw, image_rgb.shape[:2]
        message = f"the segmentation belongs to a {width}×{height} image, this one is {other_width}×{other_height}"
        raise UsageError(message, remedy="Draw it onto the image that was segmented")
    ids = segmentation.class_ids
    tint = class_colour_image(segmentation)
    canvas = cv2.addWeighted(image_rgb, 1 - opacity, tint, opacity, 0)
    border = np.zeros(ids.shape, np.bool_)
    border[:, 1:] |= ids[:, 1:] != ids[:, :-1]
    border[1:] |= ids[1:] != ids[:-1]
    canvas[border] = tint[border]
    # Tinted background and void would hide the classes.
    plain = np.ones(256, np.bool_)
    plain[: len(segmentation.class_names)] = [name == "background" for name in segmentation.class_names]
    untinted = plain[ids]
    canvas[untinted] = image_rgb[untinted]
    return _with_legend(canvas, segmentation) if legend else canvas


def class_colour_image(segmentation: Segmentation) -> UInt8[ndarray, "H W 3"]:
    """Return the classes alone, each pixel in its class's colour; void is black."""
    table = np.zeros((256, 3), np.uint8)
    table[: len(segmentation.colours)] = segmentation.colours
    return table[segmentation.class_ids]


def _with_legend(canvas: UInt8[ndarray, "H W 3"], segmentation: Segmentation) -> UInt8[ndarray, "H W 3"]:
    """Add chips with the names of the classes that occur, in columns from the upper left; as many as fit."""
    height, width = canvas.shape[:2]
    font_size = max(10, round(min(height, width) ** 0.9 / 24.5))
    shares = sorted(segmentation.shares().items(), key=lambda row: -row[1])
    colour_of = dict(zip(segmentation.class_names, segmentation.colours.tolist(), strict=True))
    x = y = widest = 0
    for name, share in shares:
        chip = _chip(f"{_shortened(name)} {share:.0%}", tuple(colour_of[name]), font_size)
        tall, wide = chip.shape[:2]
        if y + tall > height:
            x, y, widest = x + widest, 0, 0
        if x + wide > width or tall > height:
            break
        canvas[y : y + tall, x : x + wide] = chip
        y, widest = y + tall, max(widest, wide)
    return canvas


def caption(text: str, width: int) -> UInt8[ndarray, "H {width} 3"]:
    """Return one line of black text on white, cut off at `width` pixels, to put above an image."""
    font = fonts.font_for(text, 12)
    ascent, descent = font.getmetrics()
    strip = Image.new("RGB", (width, ascent + descent + 4), (255, 255, 255))
    ImageDraw.Draw(strip).text((3, 2), " ".join(text.split()), fill=(0, 0, 0), font=font)
    return np.asarray(strip)


@functools.lru_cache(1024)
def _tint(colour: tuple[int, ...]) -> UInt8[ndarray, "1 256 3"]:
    """Return a lookup table of every value: one pass over the pixels, where mixing with a colour takes two."""
    values = np.arange(256)[None, :, None] * (1 - FILL_OPACITY) + np.multiply(colour, FILL_OPACITY)
    return np.rint(values).astype(np.uint8)


def _outline(canvas: UInt8[ndarray, "H W 3"], box: ndarray, colour: tuple[int, ...], line: int) -> None:
    """Draw a frame whose outer edge is the box, so that touching boxes stay apart."""
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
    """Return positions of chips, pixels x1, y1, x2, y2 (the last two outside): each at the spot that covers least.

    Boxes end at the last pixels inside. The first of equally good spots wins.
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
            # A spot that had to be moved into the image is worse than one that fits, better than covering a label.
            price = (covered, np.int64(inside and y2 - y1 < 2 * tall), np.int64(abs(left - x) + abs(top - y)))
            if least[0] < 0 or price < least:
                least = price
                taken[row, 0], taken[row, 1], taken[row, 2], taken[row, 3] = left, top, right, bottom
    return taken


def _chip(text: str, colour: tuple[int, ...], font_size: int) -> UInt8[ndarray, "h w 3"]:
    """Return a label. Name and score are rendered apart: there are few of each, so both are nearly always cached."""
    name, space, score = text.rpartition(" ")
    font = fonts.font_for(text, font_size)
    margin = max(2, round(font.size / 4))
    parts = [_rendered(part, colour, font) for part in (name + space, score) if part]
    side = np.full((parts[0].shape[0], margin, 3), colour, np.uint8)
    return np.hstack([side, *parts, side])


@functools.lru_cache(8192)  # a text costs as much as its box, and recurs in a video
def _rendered(text: str, colour: tuple[int, ...], font: ImageFont.FreeTypeFont) -> UInt8[ndarray, "h w 3"]:
    ascent, descent = font.getmetrics()
    margin = max(2, round(font.size / 4))
    wide = int(np.ceil(font.getlength(text)))
    chip = Image.new("RGB", (wide, ascent + descent + margin // 2), colour)
    red, green, blue = colour
    bright = 0.299 * red + 0.587 * green + 0.114 * blue > 140  # ITU-R BT.601 luma
    ImageDraw.Draw(chip).text((0, margin // 4), text, fill=(0, 0, 0) if bright else (255, 255, 255), font=font)
    return np.asarray(chip)


def _shortened(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= LONGEST_LABEL else line[: LONGEST_LABEL - 1] + "…"
