"""Pictures: rows C1 to C20 of the fault matrix, as the audit of a folder reports them. C19: test_audit_processes.py."""

from __future__ import annotations

import io
import re
import struct
import time
import zipfile
import zlib

import numpy as np
import pytest
from PIL import Image, ImageCms

from singleshot import images
from singleshot.data.check import audit
from singleshot.data.check import images as checked
from singleshot.images import MAX_PIXELS, decode_image, read_image


def _spoil(folder, data: bytes, name: str = "a.jpg") -> list[tuple[str, str]]:
    """Kind and severity of the faults of the folder with those bytes as picture a; all of them are about that file."""
    (folder.pictures / "a.jpg").unlink(missing_ok=True)
    folder.picture(name, data)
    found = folder.check().faults
    assert all(fault.file.name == name and fault.line is None for fault in found)
    return [(fault.kind, fault.severity) for fault in found]


def _saved(image: Image.Image, kind: str, **options: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _bomb(width: int, height: int) -> bytes:
    """A grey PNG of zeros, some hundred times smaller than what it unpacks to."""
    packer = zlib.compressobj(9)
    row = bytes(width + 1)
    pixels = b"".join([*(packer.compress(row) for _ in range(height)), packer.flush()])
    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", head) + _chunk(b"IDAT", pixels) + _chunk(b"IEND", b"")


def test_c1_an_empty_file_is_named(folder) -> None:
    assert _spoil(folder, b"") == [("empty-file", "fatal")]


def test_c2_an_image_cut_anywhere_is_truncated(folder) -> None:
    whole = folder.encoded()
    path = folder.pictures / "a.jpg"
    for length in [*range(len(whole) // 100 + 3, len(whole) - 2, len(whole) // 100), len(whole) - 20]:
        path.write_bytes(whole[:length])
        (fault,) = checked.report(path).faults
        assert fault.kind == "truncated-picture" and f"ends at byte {length}" in fault.message
    assert _spoil(folder, whole[: len(whole) // 2]) == [("truncated-picture", "fatal")]


def test_c3_what_the_decoder_doubts_is_refused_or_a_warning(folder) -> None:
    whole = folder.encoded("JPEG", (120, 160))
    middle = len(whole) // 2
    kinds = set()
    for place in range(middle, middle + 200, 5):
        spoiled = whole[:place] + b"\xff\xd3\x00\x11" + whole[place + 4 :]
        kinds |= {kind for kind, _ in _picture_faults(folder, spoiled)}
    assert kinds and kinds <= {"corrupt-picture", "truncated-picture", "doubtful-picture"}
    stray = whole[:-2] + b"\x00\x11\x22" + whole[-2:]
    assert _picture_faults(folder, stray) == [("doubtful-picture", "warning")]


def _picture_faults(folder, data: bytes) -> list[tuple[str, str]]:
    path = folder.root / "one.jpg"
    path.write_bytes(data)
    return [(fault.kind, fault.severity) for fault in checked.report(path).faults]


def test_c4_a_web_page_named_jpg_is_reported_from_an_image(folder) -> None:
    assert _spoil(folder, b"<!DOCTYPE html><html></html>") == [("not-a-picture", "fatal")]
    assert "looks like HTML" in folder.message()
    assert _spoil(folder, folder.encoded()[:20]) == [("truncated-picture", "fatal")]


def test_c5_a_png_named_jpg_works_with_a_note(folder) -> None:
    assert _spoil(folder, folder.encoded("PNG")) == [("wrong-extension", "note")]
    assert "a PNG by content" in folder.message()


@pytest.mark.parametrize("adobe", [False, True])
def test_c6_ink_colours_are_right_and_noted(folder, adobe: bool) -> None:
    rgb = np.full((40, 60, 3), (200, 60, 90), np.uint8)
    cyan, magenta, yellow = Image.fromarray(255 - rgb).split()
    page = Image.merge("CMYK", (cyan, magenta, yellow, Image.new("L", cyan.size)))
    data = _saved(page, "JPEG", quality=98)
    if not adobe:  # Pillow writes ink as Adobe does, inverted and marked; without mark and inversion it is plain
        start = data.index(b"\xff\xee")
        plain = _saved(Image.eval(page, lambda value: 255 - value), "JPEG", quality=98)
        assert plain[start : start + 2] == b"\xff\xee"
        data = plain[:start] + plain[start + 16 :]
    assert _spoil(folder, data) == [("cmyk-picture", "note")]
    difference = np.abs(read_image(folder.pictures / "a.jpg").astype(int) - rgb)
    assert difference.max() <= 3


@pytest.mark.parametrize("mode", ["L", "1", "P", "LA", "RGBA", "PA"])
def test_c7_grey_bits_and_palettes_are_clean_and_transparency_is_noted(folder, mode: str) -> None:
    image = Image.fromarray(folder.pixels()).convert("L" if mode in ("LA", "1") else "RGB")
    kind = "PNG"
    if mode == "PA":
        image = image.convert("P")
        data = _saved(image, kind, transparency=0)
    else:
        data = _saved(image.convert(mode), kind)
    expected = [("transparent-picture", "note")] if mode in ("LA", "RGBA", "PA") else []
    assert _spoil(folder, data, "a.png") == expected
    assert read_image(folder.pictures / "a.png").shape == (40, 60, 3)


def test_c7_a_grey_jpeg_is_clean(folder) -> None:
    assert _spoil(folder, _saved(Image.fromarray(folder.pixels()).convert("L"), "JPEG")) == []


def test_c8_sixteen_bits_are_scaled_and_noted(folder) -> None:
    grey = np.linspace(0, 65535, 40 * 60).reshape(40, 60).astype(np.uint16)
    assert _spoil(folder, _saved(Image.fromarray(grey), "PNG"), "a.png") == [("sixteen-bit-picture", "note")]
    seen = read_image(folder.pictures / "a.png")[..., 0]
    assert np.array_equal(seen, grey >> 8)
    rows = b"".join(b"\0" + np.repeat(row[:, None], 3, 1).astype(">u2").tobytes() for row in grey)
    head = _chunk(b"IHDR", struct.pack(">IIBBBBB", 60, 40, 16, 2, 0, 0, 0))
    colour = b"\x89PNG\r\n\x1a\n" + head + _chunk(b"IDAT", zlib.compress(rows)) + _chunk(b"IEND", b"")
    assert _spoil(folder, colour, "a.png") == [("sixteen-bit-picture", "note")]


def test_c9_floating_point_is_refused(folder) -> None:
    data = _saved(Image.fromarray(np.zeros((40, 60), np.float32)), "TIFF")
    assert _spoil(folder, data, "a.tif") == [("unsupported-picture", "fatal")]


@pytest.mark.parametrize("orientation", range(1, 9))
def test_c10_an_image_and_its_boxes_agree_however_the_camera_was_held(folder, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored_hw = (40, 60)
    upright_hw = stored_hw[::-1] if orientation >= 5 else stored_hw
    folder.picture("a.jpg", folder.encoded("JPEG", stored_hw, exif=exif))
    folder.annotate("a", ("cat", (1, 1, 9, 9)), size_hw=upright_hw)
    found = [(fault.kind, fault.severity) for fault in folder.check().faults]
    assert found == ([("rotated-picture", "warning")] if orientation in (2, 3, 4) else [])
    if orientation >= 5:
        folder.annotate("a", ("cat", (1, 1, 9, 9)), size_hw=stored_hw)
        assert folder.faults() == [("wrong-size", "fatal", "a.xml", 2)]
        assert "EXIF tag turns" in folder.message()


@pytest.mark.parametrize(("kind", "extension"), [("GIF", "gif"), ("WebP", "webp"), ("PNG", "png")])
def test_c11_of_an_animation_the_first_frame_counts(folder, kind: str, extension: str) -> None:
    first, second = (Image.fromarray(np.full((40, 60, 3), value, np.uint8)) for value in (250, 10))
    data = _saved(first, kind, save_all=True, append_images=[second], duration=100)
    assert _spoil(folder, data, f"a.{extension}") == [("animated-picture", "note")]
    assert read_image(folder.pictures / f"a.{extension}").min() > 240


@pytest.mark.parametrize("size_hw", [(1, 1), (10_000, 1), (1, 65_500)])
def test_c12_odd_shapes_are_images(folder, size_hw: tuple[int, int]) -> None:
    data = _saved(Image.new("RGB", size_hw[::-1], (9, 99, 9)), "JPEG")
    folder.annotate("a", size_hw=size_hw)
    folder.annotate("c", ("cat", (1, 1, 60, 40)))
    assert _spoil(folder, data) == []


def test_c13_a_decompression_bomb_is_refused_from_its_header(folder) -> None:
    bomb = _bomb(20_000, 2_600)
    assert len(bomb) < 100_000
    start = time.perf_counter()
    assert _picture_faults(folder, bomb) == [("too-large-picture", "fatal")]
    assert time.perf_counter() - start < 0.05
    assert _spoil(folder, bomb, "a.png") == [("too-large-picture", "fatal")]
    assert "20000×2600" in folder.message()


def test_c14_just_under_the_cap_is_read(folder, monkeypatch: pytest.MonkeyPatch) -> None:
    assert MAX_PIXELS == 50_000_000
    monkeypatch.setattr(images, "MAX_PIXELS", 40 * 60)
    assert folder.faults() == []
    monkeypatch.setattr(images, "MAX_PIXELS", 40 * 60 - 1)
    assert {kind for kind, *_ in folder.faults()} == {"too-large-picture"}


@pytest.mark.parametrize("kind", ["chunks", "icc", "exif", "frames"])
def test_c15_endless_metadata_takes_bounded_time(folder, kind: str) -> None:
    png = folder.encoded("PNG")
    after_header = 8 + 25
    if kind == "chunks":
        data = png[:after_header] + _chunk(b"tEXt", b"a\0b") * 100_000 + png[after_header:]
    elif kind == "icc":
        packed = zlib.compress(bytes(40 << 20), 9)
        data = png[:after_header] + _chunk(b"iCCP", b"x\0\0" + packed) + png[after_header:]
    elif kind == "exif":
        data = png[:after_header] + _chunk(b"eXIf", b"II*\0\x08\0\0\0\xff\xff" + bytes(5 << 20)) + png[after_header:]
    else:
        frames = [Image.new("L", (60, 40), shade) for shade in range(250)]
        data = _saved(frames[0], "GIF", save_all=True, append_images=frames[1:])
    start = time.perf_counter()
    found = _spoil(folder, data, "a.gif" if kind == "frames" else "a.png")
    assert time.perf_counter() - start < 2
    assert {severity for _, severity in found} <= {"note", "fatal"}
    assert all(kind in ("animated-picture", "corrupt-picture", "truncated-picture") for kind, _ in found)


@pytest.mark.parametrize(
    "data",
    [
        b"%!PS-Adobe-3.0 EPSF-3.0\n",
        b"\xc5\xd0\xd3\xc6" + bytes(26),
        b"<svg xmlns='http://www.w3.org/2000/svg'/>",
        b"%PDF-1.7\n",
        b"8BPS\x00\x01",
        b"\x00\x00\x00\x18ftypheic" + bytes(16),
        b"\x00\x00\x00\x1cftypavif" + bytes(16),
    ],
    ids=["eps", "dos-eps", "svg", "pdf", "psd", "heic", "avif"],
)
def test_c16_formats_that_are_not_listed_are_refused_unopened(folder, data: bytes) -> None:
    ((kind, severity),) = _spoil(folder, data)
    assert kind in ("not-a-picture", "unsupported-picture") and severity == "fatal"


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_c17_what_hangs_behind_an_image_is_ignored(folder, kind: str) -> None:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("payload", "x" * 100)
    image = folder.encoded(kind)
    assert _spoil(folder, image + stream.getvalue(), f"a.{kind.lower()}") == []


def test_c18_a_colour_profile_changes_no_pixel(folder) -> None:
    image = Image.fromarray(folder.pixels())
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()
    plain, marked = _saved(image, "PNG"), _saved(image, "PNG", icc_profile=profile)
    assert plain != marked
    assert np.array_equal(decode_image(plain, file="a"), decode_image(marked, file="a"))
    assert _spoil(folder, marked, "a.png") == []


def test_c20_nothing_of_an_image_leaks_into_the_next(folder) -> None:
    good, bad = folder.encoded(), folder.encoded()
    bad = bad[: len(bad) // 2]
    path = folder.root / "x.jpg"
    fresh = _picture_faults(folder, bad)
    for data in (good, bad, good):
        path.write_bytes(data)
        checked.report(path)
    assert _picture_faults(folder, bad) == fresh == [("truncated-picture", "fatal")]
    pixels = decode_image(good, file="x")
    assert np.array_equal(decode_image(good, file="x"), pixels)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_c10_a_rotation_is_named_where_a_voc_annotation_or_yolo_label_has_no_size(
    folder, tmp_path: Path, orientation: int, kind: str
) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = folder.encoded(kind, (40, 60), exif=exif)
    folder.picture("a.jpg", data)
    xml = folder.annotate("a", ("cat", (1, 1, 9, 9)))
    xml.write_text(re.sub("<size>.*</size>", "", xml.read_text()))
    yolo = tmp_path / "yolo"
    for part in ("images", "labels"):
        (yolo / part / "train").mkdir(parents=True)
    (yolo / "images/train/a.jpg").write_bytes(data)
    (yolo / "labels/train/a.txt").write_text("0 0.3 0.3 0.2 0.2\n")
    (yolo / "data.yaml").write_text("train: images/train\nnames: [cat]\n")
    for faults in (folder.check().faults, audit.audit(yolo).faults):
        turned = [(fault.severity, fault.file.stem) for fault in faults if fault.kind == "rotated-picture"]
        assert turned == ([] if orientation == 1 else [("warning", "a")])
