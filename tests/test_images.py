from __future__ import annotations

import io
import os
import struct
import zlib
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image, ImageOps

from singleshot import images
from singleshot.errors import DataError, InputMissingError, NotPermittedError, UsageError
from singleshot.images import BACKGROUND_RGB, decode_image, read_image, read_size_hw


def _pixels(height: int = 30, width: int = 40) -> np.ndarray:
    """A smooth picture with no symmetry, so that a turned or mirrored one differs."""
    coarse = np.random.default_rng(0).integers(0, 256, (4, 5, 3), dtype=np.uint8)
    return cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)


def _encoded(image: Image.Image | np.ndarray, kind: str, **options: Any) -> bytes:
    stream = io.BytesIO()
    (image if isinstance(image, Image.Image) else Image.fromarray(image)).save(stream, kind, **options)
    return stream.getvalue()


def _decoded(data: bytes) -> np.ndarray:
    return decode_image(data, file="x")


def _fault(data: bytes) -> DataError:
    with pytest.raises(DataError) as caught:
        _decoded(data)
    assert caught.value.file == Path("x")
    return caught.value


def _exif(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif


def _png_header(width: int, height: int) -> bytes:
    """A PNG of that size which stops where its pixels would start."""
    chunk = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    header = struct.pack(">I", 13) + chunk + struct.pack(">I", zlib.crc32(chunk))
    return b"\x89PNG\r\n\x1a\n" + header + struct.pack(">I", 1000) + b"IDAT"


# Files that are no pictures


def test_a_missing_file_ends_with_66(tmp_path: Path) -> None:
    for path in (tmp_path / "none.jpg", tmp_path / "no" / "folder.jpg", tmp_path / ("n" * 300)):
        with pytest.raises(InputMissingError, match="no such file") as caught:
            read_image(path)
        assert caught.value.exit_code == 66
    with pytest.raises(InputMissingError):
        read_size_hw(tmp_path / "none.jpg")


def test_an_empty_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    path.touch()
    for function in (read_image, read_size_hw):
        with pytest.raises(DataError, match="empty file") as caught:
            function(path)
        assert (caught.value.kind, caught.value.file, caught.value.exit_code) == ("empty-file", path, 65)


def test_a_web_page_named_jpg_is_recognised(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    path.write_bytes(b"\n<!DOCTYPE html><html>404</html>")
    with pytest.raises(DataError, match="looks like HTML") as caught:
        read_image(path)
    assert caught.value.kind == "not-a-picture"


def test_an_unsupported_format_is_distinguished_from_other_files() -> None:
    fault = _fault(b"\x00\x00\x00\x18ftypheic" + bytes(40))
    assert fault.kind == "unsupported-picture" and "heic" in fault.message
    assert _fault(b"\x01\x02\x03\x04 rubbish").kind == "not-a-picture"
    assert _fault(b"").kind == "empty-file"
    assert _fault(b"%!PS-Adobe-3.0 EPSF-3.0").kind == "not-a-picture"


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no pipes in folders")
@pytest.mark.timeout(20)
def test_a_pipe_is_refused_without_waiting_for_a_writer(tmp_path: Path) -> None:
    path = tmp_path / "pipe.jpg"
    os.mkfifo(path)
    for function in (read_image, read_size_hw):
        with pytest.raises(DataError, match="not a plain file") as caught:
            function(path)
        assert caught.value.kind == "not-a-file"


def test_a_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="not a plain file"):
        read_image(tmp_path)


def test_a_link_onto_itself_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "loop.jpg"
    path.symlink_to(path)
    with pytest.raises(DataError, match="symbolic link"):
        read_image(path)


def test_a_file_that_may_not_be_read_ends_with_77(tmp_path: Path) -> None:
    path = tmp_path / "secret.png"
    path.write_bytes(_encoded(_pixels(), "PNG"))
    path.chmod(0)
    if os.access(path, os.R_OK):
        pytest.skip("this user may read everything")
    with pytest.raises(NotPermittedError) as caught:
        read_image(path)
    assert caught.value.exit_code == 77


# Broken pictures


@pytest.mark.parametrize(
    ("kind", "options", "magic"),
    [
        ("JPEG", {}, 3),
        ("JPEG", {"progressive": True, "exif": _exif(6)}, 3),
        ("PNG", {}, 8),
        ("BMP", {}, 2),
        ("WebP", {}, 12),
        ("TIFF", {"compression": "tiff_lzw"}, 4),
    ],
    ids=["jpeg", "progressive-jpeg", "png", "bmp", "webp", "tiff"],
)
def test_an_image_cut_anywhere_is_truncated(kind: str, options: dict[str, Any], magic: int) -> None:
    data = _encoded(_pixels(12, 16), kind, **options)
    _decoded(data)
    lengths = {*range(magic, len(data), 7), magic, len(data) // 2, *range(len(data) - 13, len(data))}
    for length in sorted(lengths):
        assert _fault(data[:length]).kind == "truncated-picture", length


def test_a_cut_gif_never_gives_other_pixels() -> None:
    data = _encoded(_pixels(12, 16), "GIF")
    whole = _decoded(data)
    for length in range(len(data)):
        try:
            pixels = _decoded(data[:length])
        except DataError:
            continue
        np.testing.assert_array_equal(pixels, whole)


def test_the_end_marker_of_a_thumbnail_does_not_count() -> None:
    """The thumbnail is a whole JPEG with an end mark of its own."""
    thumbnail = _encoded(_pixels(8, 8), "JPEG")
    segment = b"\xff\xe2" + struct.pack(">H", len(thumbnail) + 2) + thumbnail
    data = _encoded(_pixels(), "JPEG")
    data = data[:2] + segment + data[2:]
    assert _decoded(data).shape == (30, 40, 3)
    assert _fault(data[:-60]).kind == "truncated-picture"


def test_damaged_bytes_give_an_array_or_a_data_error() -> None:
    rng = np.random.default_rng(1)
    for kind in ("JPEG", "PNG", "BMP", "GIF", "TIFF", "WebP"):
        data = np.frombuffer(_encoded(_pixels(12, 16), kind), np.uint8)
        for _ in range(60):
            damaged = data.copy()
            places = rng.integers(0, len(data), 3)
            damaged[places] = rng.integers(0, 256, 3)
            try:
                assert _decoded(damaged.tobytes()).dtype == np.uint8
            except DataError as error:
                assert str(error).startswith("x: ")


def test_a_good_image_after_a_bad_one_is_unaffected() -> None:
    for kind in ("JPEG", "PNG", "WebP"):
        data = _encoded(_pixels(), kind)
        before = _decoded(data)
        _fault(data[: len(data) // 2])
        np.testing.assert_array_equal(_decoded(data), before)


def test_data_after_the_image_is_ignored() -> None:
    for kind in ("JPEG", "PNG", "BMP", "GIF", "WebP"):
        data = _encoded(_pixels(), kind)
        np.testing.assert_array_equal(_decoded(data + b"\x00trailing\xff" * 9), _decoded(data))


def test_too_many_pixels_are_refused_from_the_header_alone(tmp_path: Path) -> None:
    fault = _fault(_png_header(20_000, 20_000))
    assert fault.kind == "too-large-picture" and "20000×20000" in fault.message
    path = tmp_path / "bomb.png"
    path.write_bytes(_png_header(20_000, 20_000))
    with pytest.raises(DataError, match="50 million"):
        read_size_hw(path)
    assert _fault(_png_header(5_000, 10_000)).kind == "truncated-picture"  # just within the cap, but without pixels


def test_a_jpeg_that_the_decoder_doubts_is_refused() -> None:
    """Zeros in the scan still decode to a full array; libjpeg says so only as a warning."""
    data = bytearray(_encoded(_pixels(), "JPEG", restart_marker_blocks=1))
    mark = data.index(b"\xff\xd1")
    del data[mark : mark + 2]
    assert _fault(bytes(data)).kind == "corrupt-picture"


def test_stray_bytes_before_the_end_mark_are_forgiven_and_logged(caplog: pytest.LogCaptureFixture) -> None:
    data = _encoded(_pixels(), "JPEG")
    np.testing.assert_array_equal(_decoded(data[:-2] + bytes(5) + data[-2:]), _decoded(data))
    assert [record.getMessage() for record in caplog.records] == [
        "x: Corrupt JPEG data: 5 extraneous bytes before marker 0xd9"
    ]


def test_without_simplejpeg_opencv_decodes_alike_and_warns_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    images._warn_fallback.cache_clear()
    turned = _encoded(_pixels(), "JPEG", exif=_exif(6))
    grey = _encoded(Image.fromarray(_pixels()).convert("L"), "JPEG")
    expected = [_decoded(turned), _decoded(grey)]
    monkeypatch.setattr(images, "simplejpeg", None)
    for data, pixels in zip((turned, grey), expected, strict=True):
        assert np.abs(_decoded(data).astype(int) - pixels).max() <= 1
        for length in range(len(data) // 2, len(data), 11):
            assert _fault(data[:length]).kind == "truncated-picture"
    assert [record.levelname for record in caplog.records] == ["WARNING"]


# What the pixels mean


def test_the_content_counts_not_the_extension(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    path.write_bytes(_encoded(_pixels(), "PNG"))
    np.testing.assert_array_equal(read_image(path), _pixels())
    assert read_size_hw(str(path)) == (30, 40)


@pytest.mark.parametrize(("kind", "options"), [("PNG", {}), ("BMP", {}), ("TIFF", {}), ("WebP", {"lossless": True})])
def test_lossless_formats_give_the_pixels_that_were_written(kind: str, options: dict[str, Any]) -> None:
    pixels = _decoded(_encoded(_pixels(), kind, **options))
    np.testing.assert_array_equal(pixels, _pixels())
    assert pixels.flags.c_contiguous and pixels.flags.writeable


def test_a_jpeg_is_close_to_what_was_written() -> None:
    assert np.abs(_decoded(_encoded(_pixels(), "JPEG", quality=95)).astype(int) - _pixels()).mean() < 3


def test_fast_decoding_is_close_to_exact_on_a_real_photo(shared: Path) -> None:
    path = shared / "data" / "photos" / "road1.jpg"
    difference = np.abs(read_image(path, fast=True).astype(int) - read_image(path))
    assert 0 < difference.mean() < 2


def test_one_pixel_is_an_image() -> None:
    assert _decoded(_encoded(np.full((1, 1, 3), 9, np.uint8), "PNG")).tolist() == [[[9, 9, 9]]]


@pytest.mark.parametrize("adobe", [True, False])
def test_cmyk_becomes_the_colours_it_prints(adobe: bool) -> None:
    for colour in ((255, 0, 0), (0, 255, 0), (0, 0, 255), (200, 120, 40), (255, 255, 255), (10, 10, 10)):
        ink = Image.new("RGB", (16, 16), colour).convert("CMYK")
        if adobe:
            data = _encoded(ink, "JPEG", quality=100)
        else:  # Pillow writes ink as Adobe does, inverted and with a mark; without the mark ink is plain
            data = _without_adobe_mark(_encoded(Image.eval(ink, lambda value: 255 - value), "JPEG", quality=100))
        assert (b"Adobe" in data) == adobe
        assert np.abs(_decoded(data).astype(int) - colour).max() <= 3, colour


def _without_adobe_mark(data: bytes) -> bytes:
    start = data.index(b"\xff\xee")
    (length,) = struct.unpack_from(">H", data, start + 2)
    return data[:start] + data[start + 2 + length :]


def test_sixteen_bits_are_scaled_not_clipped() -> None:
    grey = np.array([[0, 256, 0x8000, 0xFFFF]], np.uint16)
    for image in (grey, np.repeat(grey[..., None], 3, axis=2)):
        for extension in (".png", ".tif"):
            data = cv2.imencode(extension, image)[1].tobytes()
            assert _decoded(data)[0].tolist() == [[0] * 3, [1] * 3, [128] * 3, [255] * 3], extension


@pytest.mark.parametrize("mode", ["L", "LA", "P", "1", "RGB", "RGBA"])
def test_every_mode_of_a_png_becomes_rgb(mode: str) -> None:
    image = Image.fromarray(_pixels()).convert(mode)
    np.testing.assert_array_equal(_decoded(_encoded(image, "PNG")), np.asarray(image.convert("RGB")))


def test_grey_jpeg_is_repeated_three_times() -> None:
    pixels = _decoded(_encoded(Image.fromarray(_pixels()).convert("L"), "JPEG"))
    assert (pixels == pixels[..., :1]).all() and len(np.unique(pixels)) > 2


def test_transparency_is_laid_over_white() -> None:
    assert BACKGROUND_RGB == (255, 255, 255)
    rgba = np.array([[[200, 100, 0, 0], [200, 100, 0, 255], [200, 100, 0, 128]]], np.uint8)
    pixels = _decoded(_encoded(Image.fromarray(rgba, "RGBA"), "PNG"))[0].tolist()
    assert pixels[:2] == [[255, 255, 255], [200, 100, 0]]
    np.testing.assert_allclose(pixels[2], [227, 177, 127], atol=1)  # half way by hand: 255 − 128/255 · (255 − c)
    palette = Image.fromarray(np.array([[0, 1]], np.uint8), "P")
    palette.putpalette([10, 20, 30, 40, 50, 60])
    assert _decoded(_encoded(palette, "PNG", transparency=0))[0].tolist() == [[255, 255, 255], [40, 50, 60]]


@pytest.mark.parametrize("mode", ["F", "I"])
def test_values_without_a_known_range_are_refused(mode: str) -> None:
    fault = _fault(_encoded(Image.new(mode, (4, 4), 3), "TIFF"))
    assert fault.kind == "unsupported-picture" and "no known range" in fault.message


def test_an_animation_gives_its_first_frame() -> None:
    frames = [Image.new("RGB", (8, 6), colour) for colour in ("red", "lime", "blue")]
    for kind, options in (("GIF", {}), ("PNG", {}), ("WebP", {"lossless": True}), ("TIFF", {})):
        data = _encoded(frames[0], kind, save_all=True, append_images=frames[1:], **options)
        pixels = _decoded(data)
        assert pixels.shape == (6, 8, 3) and (pixels == [255, 0, 0]).all(), kind


# Orientation


@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_exif_orientation_gives_an_upright_image(orientation: int, tmp_path: Path) -> None:
    """All eight files of one scene decode to the same pixels, and the header's size is theirs."""
    scene = Image.fromarray(_pixels())
    back = {6: 8, 8: 6}.get(orientation, orientation)  # a quarter turn is undone by the other one
    stored = scene.copy()
    stored.getexif()[0x0112] = back
    stored = ImageOps.exif_transpose(stored)
    for kind, options in (("PNG", {}), ("TIFF", {}), ("WebP", {"lossless": True})):
        path = tmp_path / f"a.{kind.lower()}"
        path.write_bytes(_encoded(np.asarray(stored), kind, exif=_exif(orientation), **options))
        np.testing.assert_array_equal(read_image(path), _pixels(), err_msg=kind)
        assert read_size_hw(path) == (30, 40), kind
    path = tmp_path / "a.jpg"
    path.write_bytes(_encoded(np.asarray(stored), "JPEG", quality=95, subsampling=0, exif=_exif(orientation)))
    assert np.abs(read_image(path).astype(int) - _pixels()).mean() < 3
    assert read_size_hw(path) == (30, 40)


@pytest.mark.parametrize("orientation", [0, 9, 65535])
def test_an_orientation_that_does_not_exist_is_ignored(orientation: int) -> None:
    data = _encoded(_pixels(), "PNG", exif=_exif(orientation))
    np.testing.assert_array_equal(_decoded(data), _pixels())


def test_broken_exif_beside_good_pixels_is_no_fault() -> None:
    for exif in (
        b"Exif\x00\x00",
        b"Exif\x00\x00II*\x00\xff\xff\xff\x7f",
        b"Exif\x00\x00MM\x00*\x00\x00\x00\x08\x00\x09",
    ):
        assert _decoded(_encoded(_pixels(), "JPEG", exif=exif)).shape == (30, 40, 3)


# Real pictures


def test_real_photos_decode_as_pillow_decodes_them(shared: Path) -> None:
    folder = shared / "data" / "photos"
    for name in ("astronaut.png", "camera.png", "road1.jpg", "rocket.jpg"):
        pixels = read_image(folder / name)
        with Image.open(folder / name) as image:
            expected = np.asarray(image.convert("RGB"))
        assert read_size_hw(folder / name) == expected.shape[:2]
        assert np.abs(pixels.astype(int) - expected).max() <= 3, name


def _meanings(folder: Path) -> dict[str, Image.Image]:
    """One image of each kind whose stored pixels are not yet its meaning."""
    rng = np.random.default_rng(0)
    pixels = np.kron(rng.integers(0, 255, (6, 8, 3), dtype=np.uint8), np.ones((8, 8, 1), np.uint8))
    opacity = np.where(pixels[..., 0] > 120, 255, 40).astype(np.uint8)
    exif = Image.Exif()
    exif[0x0112] = 6
    rgb = Image.fromarray(pixels)
    rgb.save(folder / "turned.png", exif=exif)
    rgb.save(folder / "turned.tiff", exif=exif)
    Image.fromarray(np.dstack([pixels, opacity])).save(folder / "transparent.png")
    Image.fromarray(pixels[..., 0].astype(np.uint16) * 257).save(folder / "sixteen_bit.png")
    rgb.quantize(16).save(folder / "palette.png", transparency=3)
    rgb.convert("L").save(folder / "grey.png")
    rgb.convert("1").save(folder / "bilevel.png")
    rgb.convert("CMYK").save(folder / "ink.tiff")
    return {path.name: Image.open(path) for path in sorted(folder.iterdir())}


def test_a_pil_image_has_the_same_pixels_as_its_file(tmp_path: Path):
    opened = _meanings(tmp_path)
    assert len(opened) == 8
    for name, image in opened.items():
        assert np.array_equal(images.from_pil(image), images.read_image(tmp_path / name)), name


def test_an_array_is_rgb_of_8_bits_or_refused():
    rgb = np.random.default_rng(0).integers(0, 255, (5, 7, 3), dtype=np.uint8)
    assert images.from_array(rgb) is rgb
    for other in (rgb.astype(np.float32), rgb.astype(np.uint16), rgb[:0], rgb[..., :2], rgb[..., 0], rgb[0, 0]):
        with pytest.raises(UsageError, match="is not an image"):
            images.from_array(other)


def test_a_pil_image_without_readable_pixels_is_an_error_of_one_line(tmp_path: Path):
    with pytest.raises(UsageError, match="PIL image of 0×4 pixels"):
        images.from_pil(Image.new("RGB", (0, 4)))
    with pytest.raises(DataError, match="floating-point"):
        images.from_pil(Image.new("F", (4, 4)))
    (tmp_path / "cut.jpg").write_bytes(_encoded(_pixels(), "JPEG")[:700])
    with Image.open(tmp_path / "cut.jpg") as cut, pytest.raises(DataError, match="pixels cannot be read"):
        images.from_pil(cut)


@pytest.mark.parametrize(
    "head", [b"II+\x00\x08\x00", b"MM\x00+\x00\x08", b"\x30\x26\xb2\x75\x8e\x66\xcf\x11", b"%PDF-1.7", b"\xff\n\xfa"]
)
def test_a_file_of_another_good_format_is_to_be_converted_and_not_deleted(head: bytes):
    fault = _fault(head + bytes(600))
    assert "looks like" in str(fault) and "Convert it" in str(fault) and "delete" not in str(fault)
