"""Fingerprints of images: near copies (recompressed, resized, brightened, mirrored) have nearly equal ones.

A fingerprint is a difference hash in two directions (is a cell of an 8×8 grid darker than its right and than its lower
neighbour: 128 bits), the same of the mirrored image, and a 16×16 grey thumbnail. Copies of a photograph stay within 12
bits of it. So do drawings with large flat areas that are different images: a pair of hashes is therefore a candidate
only, and the correlation of the thumbnails decides. An image whose thumbnail is nearly one grey equals nothing.

This file needs neither torch nor structures: the processes that decode images for `data check` import it.

Difference hash: N. Krawetz, "Kind of Like That" (hackerfactor.com, 2013).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import Bool, Float, Int, UInt8
from numpy import ndarray

from singleshot.errors import SingleshotError
from singleshot.images import read_image

GRID, THUMBNAIL = 8, 16
REDUCED = 144
"""Pixels a side of the first reduction: a multiple of 8, 9 and 16, so that the next ones average whole pixels."""
MAX_BITS = 12
"""Hashes of near copies differ in at most so many of 128 bits."""
MIN_CORRELATION = 0.95
"""Thumbnails of near copies correlate at least so much."""
MIN_CONTRAST = 4.0
"""Standard deviation of a thumbnail, in grey levels of 255, below which an image is flat."""
FIRST_ROWS, MOST_ROWS, PAIRS_AT_A_TIME = 4, 256, 1 << 14
"""Blocks start small and double, because what the first ones find spares later comparisons."""
_HASH_BYTES = 2 * GRID * GRID // 8
FINGERPRINT_BYTES = 2 * _HASH_BYTES + THUMBNAIL * THUMBNAIL


def fingerprint(image: UInt8[ndarray, "H W 3"]) -> bytes:
    """Return the fingerprint of an RGB image of any size: `FINGERPRINT_BYTES` bytes."""
    reduced = cv2.resize(image, (REDUCED, REDUCED), interpolation=cv2.INTER_AREA)
    grey = cv2.cvtColor(reduced, cv2.COLOR_RGB2GRAY).astype(np.float32)
    thumbnail = cv2.resize(grey, (THUMBNAIL, THUMBNAIL), interpolation=cv2.INTER_AREA)
    return _hash(grey) + _hash(grey[:, ::-1]) + np.rint(thumbnail).astype(np.uint8).tobytes()


def _hash(grey: Float[ndarray, "H W"]) -> bytes:
    across = cv2.resize(grey, (GRID + 1, GRID), interpolation=cv2.INTER_AREA)
    down = cv2.resize(grey, (GRID, GRID + 1), interpolation=cv2.INTER_AREA)
    bits = [across[:, 1:] > across[:, :-1], down[1:] > down[:-1]]
    return np.packbits(np.stack(bits)).tobytes()


def file_fingerprint(path: Path) -> bytes:
    """Return the fingerprint of an image file; an empty one where it cannot be read, which its reader reports."""
    try:
        return fingerprint(read_image(path, fast=True))
    except SingleshotError:
        return b""


def near_copies(
    fingerprints: Sequence[bytes],
    wanted: Callable[[Int[ndarray, " P"], Int[ndarray, " P"]], Bool[ndarray, " P"]] | None = None,
) -> Iterator[Int[ndarray, "P 2"]]:
    """Yield the images that are near copies of each other, mirrored or not.

    Args:
        fingerprints: of each image; an empty one, for an image that could not be read, equals nothing.
        wanted: asked for every block, with the first and second indices of pairs with similar hashes: which of them are
            compared further. A caller that has learned enough about some images declines their pairs, because `n` shots
            of a fixed camera are `n`² / 2 pairs.

    Yields:
        Pairs of indices (first, second), first < second, in order, block by block; nothing where no image is repeated.

    Every pair is compared, a block of at most `MOST_ROWS` images with all later ones at a time: a second for 10,000
    images, with memory for one block and never for all pairs.
    """
    known = np.array([index for index, each in enumerate(fingerprints) if each], np.int64)
    if len(known) < 2:
        return
    table = np.frombuffer(b"".join(fingerprints[index] for index in known), np.uint8)
    table = table.reshape(len(known), FINGERPRINT_BYTES)
    hashes = np.ascontiguousarray(table[:, : 2 * _HASH_BYTES]).view(np.uint64).reshape(len(known), 2, 2)
    grey = table[:, 2 * _HASH_BYTES :].astype(np.float32).reshape(len(known), THUMBNAIL, THUMBNAIL)
    contrast = grey.std(axis=(1, 2))
    usable = np.flatnonzero(contrast >= MIN_CONTRAST)
    known, hashes, grey = known[usable], hashes[usable], grey[usable]
    grey = (grey - grey.mean(axis=(1, 2), keepdims=True)) / contrast[usable, None, None]
    start, count = 0, FIRST_ROWS
    while start < len(known):
        rows = slice(start, start + count)
        found = []
        for mirrored in (0, 1):
            different = hashes[rows, 0][:, None] ^ hashes[start:, mirrored][None]
            bits = np.bitwise_count(different[..., 0]) + np.bitwise_count(different[..., 1])
            first, second = np.nonzero(np.triu(bits <= MAX_BITS, 1))
            first, second = first + start, second + start
            if wanted is not None:
                chosen = wanted(known[first], known[second])
                first, second = first[chosen], second[chosen]
            for some in range(0, len(first), PAIRS_AT_A_TIME):
                one, two = first[some : some + PAIRS_AT_A_TIME], second[some : some + PAIRS_AT_A_TIME]
                other = grey[two][:, :, ::-1] if mirrored else grey[two]
                alike = (grey[one] * other).mean(axis=(1, 2)) >= MIN_CORRELATION
                found.append(np.stack([known[one[alike]], known[two[alike]]], axis=1))
        if found:
            yield np.unique(np.concatenate(found), axis=0)
        start, count = start + count, min(2 * count, MOST_ROWS)
