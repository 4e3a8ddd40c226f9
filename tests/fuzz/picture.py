"""Pictures: headers, and pixels of small ones."""

from __future__ import annotations

import functools
import io
from pathlib import Path

import numpy as np
from PIL import Image

from singleshot.data.check import images
from singleshot.images import decode_image, read_size_hw
from tests.fuzz.harness import Target, main
from tests.fuzz.laws import check_faults

PIECES = (
    *(b"\xff" + bytes([marker]) for marker in range(0xC0, 0x100)),
    *(
        b"IHDR",
        b"IDAT",
        b"IEND\xae\x42\x60\x82",
        b"PLTE",
        b"tRNS",
        b"iCCP",
        b"eXIf",
        b"acTL",
        b"fcTL",
        b"VP8 ",
        b"VP8X",
    ),
    *(
        b"ANMF",
        b"GIF89a",
        b"\x00\x21\xf9\x04",
        b"NETSCAPE2.0",
        b"II*\x00",
        b"MM\x00*",
        b"Exif\x00\x00",
        b"Adobe",
        b"\x00",
    ),
    *(b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\x00\x00\x00\x00", b"\x80\x00\x00\x00", b"\xff\xd9"),
)


@functools.cache
def seeds() -> tuple[bytes, ...]:
    """A small picture in every format and kind that is read."""
    shades = np.random.default_rng(0).integers(0, 256, (3, 4, 3), dtype=np.uint8)
    image = Image.fromarray(shades).resize((12, 9))
    exif = Image.Exif()
    exif[0x0112] = 6
    kinds = [
        *[("JPEG", mode, {"exif": exif}) for mode in ("RGB", "L", "CMYK")],
        ("JPEG", "RGB", {"progressive": True}),
        *[("PNG", mode, {}) for mode in ("RGB", "L", "P", "1", "RGBA", "LA", "I;16")],
        ("PNG", "RGB", {"save_all": True, "append_images": [image]}),
        *[("GIF", "P", {}), ("GIF", "RGB", {"save_all": True, "append_images": [image]}), ("BMP", "RGB", {})],
        *[("TIFF", "RGB", {"compression": each}) for each in ("raw", "tiff_lzw", "jpeg", "tiff_deflate")],
        *[("TIFF", "F", {}), ("WebP", "RGB", {}), ("WebP", "RGBA", {"lossless": True})],
    ]
    files = []
    for kind, mode, options in kinds:
        stream = io.BytesIO()
        (image.convert("L") if mode in ("I;16", "LA") else image).convert(mode).save(stream, kind, **options)
        files.append(stream.getvalue())
    return tuple(files)


def run(data: bytes, scratch: Path) -> str:
    """Pixels have the size that the header tells, and the same bytes give the same pixels again."""
    file = scratch / "a.jpg"
    file.write_bytes(data)
    report = images.report(file)
    check_faults(report.faults)
    if report.size_hw is None:
        return " ".join(sorted(fault.kind for fault in report.faults))
    pixels = decode_image(data, file=file)
    assert pixels.dtype == np.uint8 and pixels.shape == (*report.size_hw, 3) and min(pixels.shape) > 0
    assert read_size_hw(file) == report.size_hw
    assert np.array_equal(pixels, decode_image(data, file=file))
    return f"decoded {report.orientation} {' '.join(sorted(fault.kind for fault in report.faults))}"


TARGET = Target("picture", seeds(), PIECES, run)

if __name__ == "__main__":
    main(TARGET)
