"""Mask files: PNG whose values are classes."""

from __future__ import annotations

import functools
import io
from pathlib import Path

import numpy as np
from PIL import Image

from singleshot.data.masks import files as mask_files
from singleshot.structures import MaskCode
from tests.fuzz.harness import Target, main
from tests.fuzz.picture import PIECES

CODE = MaskCode((0, 1, 2, *[254] * 252, 255), ((0, 0, 0, 0), (255, 0, 0, 1), (255, 255, 255, 255)))


@functools.cache
def seeds() -> tuple[bytes, ...]:
    """Masks by number, by palette and by colour, and one of 16 bits."""
    values = np.random.default_rng(0).integers(0, 3, (9, 12)).astype(np.uint8)
    palette = Image.fromarray(values, "P")
    palette.putpalette([9, 9, 9, 200, 0, 0, 0, 200, 0])
    colours = Image.fromarray(np.repeat(values[..., None] // 2 * 255, 3, axis=2))
    files = []
    for image in (Image.fromarray(values), palette, colours, Image.fromarray(values.astype(np.uint16))):
        stream = io.BytesIO()
        image.save(stream, "PNG")
        files.append(stream.getvalue())
    return tuple(files)


def run(data: bytes, scratch: Path) -> str:
    """Only classes and void come out, at the size that the header tells."""
    file = scratch / "a.png"
    file.write_bytes(data)
    found = mask_files.read(file, CODE)
    assert found.dtype == np.uint8 and found.shape == mask_files.size_hw(file)
    assert set(np.unique(found).tolist()) <= {0, 1, 2, 255}
    return f"read {len(np.unique(found))} values"


TARGET = Target("mask_png", seeds(), PIECES, run)

if __name__ == "__main__":
    main(TARGET)
