from __future__ import annotations

import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from singleshot.data.masks import mask_files
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
def test_a_palettes_numbers_are_read_and_not_its_colours(tmp_path: Path, bits: int) -> None:
    pixels = np.array([[0, 1, 1], [1, 0, 0]], dtype=np.uint8)
    image = Image.fromarray(pixels, mode=None).convert("P")
    image.putpalette([200, 10, 10, 10, 200, 10] + [7] * (3 * 254))
    image.putdata(pixels.ravel().tolist())
    image.save(tmp_path / "p.png", bits=bits)
    head = (tmp_path / "p.png").read_bytes()
    assert (head[24], head[25]) == (bits, mask_files.PALETTE)
    assert mask_files.read(tmp_path / "p.png", THREE).tolist() == pixels.tolist()


def test_a_black_and_white_mask_holds_zero_and_one(tmp_path: Path) -> None:
    Image.fromarray(np.array([[True, False], [False, True]])).save(tmp_path / "b.png")
    assert (tmp_path / "b.png").read_bytes()[24] == 1
    assert mask_files.read(tmp_path / "b.png", THREE).tolist() == [[1, 0], [0, 1]]


def test_colours_are_looked_up(tmp_path: Path) -> None:
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


def test_a_jpeg_is_no_mask(tmp_path: Path) -> None:
    path = write(tmp_path / "m.jpg", PIXELS)
    with pytest.raises(DataError, match="JPEG, which blurs borders"):
        mask_files.read(path, THREE)


def test_damage_is_found_wherever_it_is(tmp_path: Path) -> None:
    good = write(tmp_path / "g.png", np.random.default_rng(0).integers(0, 3, (40, 40)).astype(np.uint8)).read_bytes()
    path = tmp_path / "bad.png"
    for cut in range(33, len(good) - 1, 23):
        path.write_bytes(good[:cut])
        with pytest.raises(DataError, match=r"truncated|corrupt"):
            mask_files.read(path, THREE)
    for place in range(16, len(good) - 4, 17):
        path.write_bytes(good[:place] + bytes([good[place] ^ 1]) + good[place + 1 :])
        with pytest.raises(DataError):
            mask_files.read(path, THREE)
    path.write_bytes(b"")
    with pytest.raises(DataError, match="empty file"):
        mask_files.read(path, THREE)
    with pytest.raises(InputMissingError):
        mask_files.size_hw(tmp_path / "none.png")


def test_a_bomb_is_refused_from_its_header(tmp_path: Path) -> None:
    header = b"IHDR" + struct.pack(">IIBBBBB", 60_000, 60_000, 8, 0, 0, 0, 0)
    chunk = struct.pack(">I", 13) + header + struct.pack(">I", zlib.crc32(header))
    (tmp_path / "bomb.png").write_bytes(mask_files.SIGNATURE + chunk)
    with pytest.raises(DataError, match="60000×60000"):
        mask_files.read(tmp_path / "bomb.png", THREE)


def test_what_is_encoded_is_read_back(tmp_path: Path) -> None:
    (tmp_path / "m.png").write_bytes(mask_files.encode(PIXELS))
    assert mask_files.read_grey(tmp_path / "m.png").tolist() == PIXELS.tolist()
    rgb = np.array([[[255, 0, 255], [255, 0, 0]]], dtype=np.uint8)
    (tmp_path / "c.png").write_bytes(mask_files.encode(rgb))
    assert mask_files.read(tmp_path / "c.png", KITTI).tolist() == [[1, 0]]


def test_shares_leave_void_out() -> None:
    assert mask_files.class_share(PIXELS, 4).tolist() == [1, 2, 2, 0]
    assert mask_files.class_share(np.full((2, 2), VOID, np.uint8), 2).tolist() == [0, 0]


def test_camvids_masks_hold_its_classes(shared: Path) -> None:
    from singleshot.data.masks import masks

    split = masks.read(shared / "data/camvid", "val")
    assert split.mask_code is not None and split.samples[0].mask_path is not None
    found = mask_files.read(split.samples[0].mask_path, split.mask_code)
    assert found.shape == (360, 480) and set(np.unique(found).tolist()) <= {*range(11), VOID}
