from __future__ import annotations

import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from singleshot.data.masks import files as mask_files
from singleshot.data.masks.files import Pair, masks_without_image, samples_of
from singleshot.errors import DataError, InputMissingError
from singleshot.structures import UNKNOWN, VOID, MaskCode

THREE = MaskCode((0, 1, 2, *([UNKNOWN] * 252), VOID))
KITTI = MaskCode((UNKNOWN,) * 256, ((255, 0, 0, 0), (255, 0, 255, 1), (0, 0, 0, VOID)))
PIXELS = np.array([[0, 1, 2], [255, 2, 1]], dtype=np.uint8)


def write(path: Path, pixels: np.ndarray) -> Path:
    cv2.imwrite(str(path), pixels)
    return path


def test_numbers_are_classes_and_255_is_void(tmp_path: Path) -> None:
    path = write(tmp_path / "a.png", PIXELS)
    assert mask_files.read(path, THREE).tolist() == PIXELS.tolist()
    assert mask_files.size_hw(path) == (2, 3) and not mask_files.is_colour(path)
    shifted = MaskCode((VOID, 0, 1, *([UNKNOWN] * 252), VOID))
    assert mask_files.read(path, shifted).tolist() == [[255, 0, 1], [255, 1, 0]]


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_a_palette_mask_is_read_as_numbers_and_not_as_colours(tmp_path: Path, bits: int) -> None:
    pixels = np.array([[0, 1, 1], [1, 0, 0]], dtype=np.uint8)
    image = Image.fromarray(pixels, mode=None).convert("P")
    image.putpalette([200, 10, 10, 10, 200, 10] + [7] * (3 * 254))
    image.putdata(pixels.ravel().tolist())
    image.save(tmp_path / "p.png", bits=bits)
    head = (tmp_path / "p.png").read_bytes()
    assert (head[24], head[25]) == (bits, mask_files.PALETTE)
    assert mask_files.read(tmp_path / "p.png", THREE).tolist() == pixels.tolist()


def test_a_one_bit_mask_is_read_as_zero_and_one(tmp_path: Path) -> None:
    Image.fromarray(np.array([[True, False], [False, True]])).save(tmp_path / "b.png")
    assert (tmp_path / "b.png").read_bytes()[24] == 1
    assert mask_files.read(tmp_path / "b.png", THREE).tolist() == [[1, 0], [0, 1]]


def test_colours_become_class_ids(tmp_path: Path) -> None:
    rgb = np.array([[[255, 0, 255], [255, 0, 0], [0, 0, 0]]], dtype=np.uint8)
    path = write(tmp_path / "c.png", rgb[..., ::-1])
    assert mask_files.read(path, KITTI).tolist() == [[1, 0, VOID]]
    Image.fromarray(rgb).convert("RGBA").save(path)
    assert mask_files.read(path, KITTI).tolist() == [[1, 0, VOID]]
    assert mask_files.is_colour(path)


def test_b31_an_unknown_value_is_refused_with_file_value_and_count(tmp_path: Path) -> None:
    path = write(tmp_path / "bad.png", np.array([[0, 7, 7, 9]], dtype=np.uint8))
    with pytest.raises(DataError, match=r"unknown values 7 \(2 pixels\), 9 \(1 pixels\)") as raised:
        mask_files.read(path, THREE)
    assert raised.value.file == path and raised.value.kind == "unknown-mask-value"
    assert "Known are 0–2, 255" in str(raised.value)


def test_b31_an_unknown_colour_is_refused_with_the_table_of_colours(tmp_path: Path) -> None:
    path = write(tmp_path / "bad.png", np.array([[[255, 0, 254], [255, 0, 255], [9, 8, 7]]] * 2, np.uint8)[..., ::-1])
    with pytest.raises(DataError, match=r"unknown colours \(9, 8, 7\) \(2 pixels\), \(255, 0, 254\)") as raised:
        mask_files.read(path, KITTI)
    assert "(255, 0, 255)" in str(raised.value) and raised.value.exit_code == 65


def test_b31_sixteen_bits_are_refused_as_classes_and_read_as_instances(tmp_path: Path) -> None:
    path = write(tmp_path / "i.png", np.array([[24001, 7]], dtype=np.uint16))
    with pytest.raises(DataError, match="16-bit mask with values up to 24001"):
        mask_files.read(path, THREE)
    assert mask_files.read_instances(path).tolist() == [[24001, 7]]


def test_b31_a_colour_mask_where_numbers_are_expected_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "c.png", np.zeros((2, 2, 3), np.uint8))
    for read in (lambda: mask_files.read(path, THREE), lambda: mask_files.read_grey(path)):
        with pytest.raises(DataError) as raised:
            read()
        assert raised.value.kind == "unsupported-mask"
    Image.new("LA", (2, 2)).save(path)
    with pytest.raises(DataError, match="transparency"):
        mask_files.read(path, THREE)


def test_a_jpeg_is_refused_as_a_mask(tmp_path: Path) -> None:
    path = write(tmp_path / "m.jpg", PIXELS)
    with pytest.raises(DataError, match="JPEG, which blurs borders"):
        mask_files.read(path, THREE)


def test_a_damaged_or_truncated_png_is_refused(tmp_path: Path) -> None:
    good = write(tmp_path / "g.png", np.random.default_rng(0).integers(0, 3, (40, 40)).astype(np.uint8)).read_bytes()
    path = tmp_path / "bad.png"
    for cut in range(33, len(good) - 1, 23):
        path.write_bytes(good[:cut])
        with pytest.raises(DataError, match=r"truncated|corrupt"):
            mask_files.read(path, THREE)
    for offset in range(16, len(good) - 4, 17):
        path.write_bytes(good[:offset] + bytes([good[offset] ^ 1]) + good[offset + 1 :])
        with pytest.raises(DataError):
            mask_files.read(path, THREE)
    path.write_bytes(b"")
    with pytest.raises(DataError, match="empty file"):
        mask_files.read(path, THREE)
    with pytest.raises(InputMissingError):
        mask_files.size_hw(tmp_path / "none.png")


def test_a_decompression_bomb_is_refused_from_its_header(tmp_path: Path) -> None:
    header = b"IHDR" + struct.pack(">IIBBBBB", 60_000, 60_000, 8, 0, 0, 0, 0)
    chunk = struct.pack(">I", 13) + header + struct.pack(">I", zlib.crc32(header))
    (tmp_path / "bomb.png").write_bytes(mask_files.SIGNATURE + chunk)
    with pytest.raises(DataError, match="60000×60000"):
        mask_files.read(tmp_path / "bomb.png", THREE)


def test_encoded_masks_are_read_back_unchanged(tmp_path: Path) -> None:
    (tmp_path / "m.png").write_bytes(mask_files.encode(PIXELS))
    assert mask_files.read_grey(tmp_path / "m.png").tolist() == PIXELS.tolist()
    rgb = np.array([[[255, 0, 255], [255, 0, 0]]], dtype=np.uint8)
    (tmp_path / "c.png").write_bytes(mask_files.encode(rgb))
    assert mask_files.read(tmp_path / "c.png", KITTI).tolist() == [[1, 0]]


def test_pixels_per_class_excludes_void() -> None:
    assert mask_files.pixels_per_class(PIXELS, 4).tolist() == [1, 2, 2, 0]
    assert mask_files.pixels_per_class(np.full((2, 2), VOID, np.uint8), 2).tolist() == [0, 0]


def test_camvid_masks_contain_its_classes(shared: Path) -> None:
    from singleshot.data.masks import folders as mask_folders

    split = mask_folders.read(shared / "data/camvid", "val")
    assert split.mask_code is not None and split.samples[0].mask_path is not None
    found = mask_files.read(split.samples[0].mask_path, split.mask_code)
    assert found.shape == (360, 480) and set(np.unique(found).tolist()) <= {*range(11), VOID}


def zeros(path: Path, size_hw: tuple[int, int]) -> Path:
    cv2.imwrite(str(path), np.zeros(size_hw, np.uint8))
    return path


def test_valid_pairs_become_samples_in_order(tmp_path: Path) -> None:
    pairs = [
        Pair(f"{i}", zeros(tmp_path / f"{i}.png", (4, 6)), zeros(tmp_path / f"{i}m.png", (4, 6))) for i in (2, 0, 1)
    ]
    samples, faults = samples_of(pairs)
    assert [sample.image_id for sample in samples] == ["2", "0", "1"] and not faults
    assert samples[0].size_hw == (4, 6) and samples[0].mask_path == tmp_path / "2m.png"
    assert len(samples[0].boxes_xyxy) == 0


def test_b33_a_mask_of_another_size_is_a_fault_with_both_sizes(tmp_path: Path) -> None:
    pair = Pair("a", zeros(tmp_path / "a.png", (4, 6)), zeros(tmp_path / "m.png", (6, 4)))
    samples, (fault,) = samples_of([pair])
    assert not samples and (fault.file, fault.kind, fault.severity) == (tmp_path / "m.png", "other-size-mask", "fatal")
    assert "4×6" in fault.message and "6×4" in fault.message


def test_a19_an_image_without_mask_and_a_mask_without_image_are_faults(tmp_path: Path) -> None:
    listed = tmp_path / "train.txt"
    image, mask = zeros(tmp_path / "a.png", (4, 6)), zeros(tmp_path / "m.png", (4, 6))
    pairs = [
        Pair("a", image, tmp_path / "none.png", listed, 3),
        Pair("b", tmp_path / "none.jpg", mask, listed, 4),
    ]
    samples, faults = samples_of(pairs)
    assert not samples
    assert [(fault.file, fault.line, fault.kind) for fault in faults] == [
        (listed, 3, "missing-mask"),
        (listed, 4, "missing-picture"),
    ]
    (alone,) = masks_without_image([mask], "images")
    assert (alone.file, alone.kind, alone.severity) == (mask, "missing-picture", "fatal")


def test_a_file_that_is_not_a_png_is_a_fault(tmp_path: Path) -> None:
    mask = tmp_path / "m.png"
    mask.write_bytes(b"<html>")
    _, (fault,) = samples_of([Pair("a", zeros(tmp_path / "a.png", (4, 6)), mask)])
    assert fault.kind == "not-a-mask"


def test_pairs_without_masks_become_samples_without_masks(tmp_path: Path) -> None:
    (sample,), faults = samples_of([Pair("a", zeros(tmp_path / "a.png", (4, 6)), None)])
    assert sample.mask_path is None and not faults
    assert samples_of([]) == ((), ())
