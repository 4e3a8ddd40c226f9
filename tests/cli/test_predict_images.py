"""Rows of the fault matrix, section C, through `singleshot predict`: what is read, and what is named and left out."""

from __future__ import annotations

import json
import struct
import time
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner, Result

from singleshot.cli.main import app
from singleshot.drawing import draw
from singleshot.images import read_image
from singleshot.prediction.load import load_detector
from singleshot.structures import Detections


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, ["predict", *map(str, arguments)], catch_exceptions=False)


def scene() -> np.ndarray:
    image = np.full((60, 80, 3), (40, 90, 160), np.uint8)
    image[5:25, 5:35] = (250, 200, 20)
    return image


def bomb(width: int, height: int) -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">2I5B", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(9))) + chunk(b"IEND", b"")


def test_c2_to_c13_bad_images_are_named_and_good_ones_processed(untrained: Path, tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    image = scene()
    picture = Image.fromarray(image)
    picture.save(folder / "c02.jpg")
    (folder / "c02.jpg").write_bytes((folder / "c02.jpg").read_bytes()[:-20])
    (folder / "c04.jpg").write_text("<html><body>404</body></html>")
    (folder / "c05.jpg").write_bytes(cv2.imencode(".png", image[..., ::-1])[1].tobytes())
    picture.convert("CMYK").save(folder / "c06.jpg", quality=95)
    picture.convert("L").save(folder / "c07-grey.png")
    picture.convert("P").save(folder / "c07-palette.png")
    transparent = picture.convert("RGBA")
    transparent.putalpha(128)
    transparent.save(folder / "c07-alpha.png")
    Image.fromarray((np.arange(60 * 80).reshape(60, 80) * 13).astype(np.uint16)).save(folder / "c08.png")
    Image.fromarray(image[..., 0].astype(np.float32)).save(folder / "c09.tif")
    picture.save(folder / "c11.gif", save_all=True, append_images=[Image.new("RGB", (80, 60))])
    (folder / "c13.png").write_bytes(bomb(20_000, 20_000))
    start = time.monotonic()
    result = run(untrained, folder, "--out", tmp_path / "out", "--json", tmp_path / "p.json", "--threshold", "0.3")
    assert result.exit_code == 65 and time.monotonic() - start < 60
    rows = {Path(row["file"]).stem: row for row in json.loads((tmp_path / "p.json").read_text())["pictures"]}
    bad = {
        "c02": "truncated JPEG",
        "c04": "looks like HTML",
        "c09": "floating-point",
        "c13": "more than the 50 million",
    }
    assert {stem: why in rows[stem].get("error", "") for stem, why in bad.items()} == dict.fromkeys(bad, True)
    good = set(rows) - set(bad)
    assert good == {"c05", "c06", "c07-grey", "c07-palette", "c07-alpha", "c08", "c11"}
    assert {path.stem for path in (tmp_path / "out").iterdir()} == good
    assert all(rows[stem]["size_hw"] == [60, 80] for stem in good)
    assert "4 of 11 images could not be read" in result.stderr
    # C6: the right colours. C7: alpha over white. C8: scaled, not clipped.
    assert np.abs(read_image(folder / "c06.jpg").astype(int) - image).mean() < 3
    assert read_image(folder / "c07-alpha.png")[50, 50].tolist() == pytest.approx([147, 172, 207], abs=2)
    assert len(np.unique(read_image(folder / "c08.png"))) > 200


def test_c10_boxes_and_drawings_are_upright_for_all_eight_exif_rotations(untrained: Path, tmp_path: Path) -> None:
    upright = Image.fromarray(scene())
    # What a camera stores so that, turned as its tag says, the picture is upright: the inverse of each rotation.
    inverse = {
        1: None,
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }
    (tmp_path / "in").mkdir()
    for orientation, how in inverse.items():
        exif = Image.Exif()
        exif[0x0112] = orientation
        stored = upright if how is None else upright.transpose(how)
        stored.save(tmp_path / "in" / f"{orientation}.png", exif=exif)
    options = ("--out", tmp_path / "out", "--json", tmp_path / "p.json", "--threshold", "0")
    assert run(untrained, tmp_path / "in", *options).exit_code == 0
    rows = json.loads((tmp_path / "p.json").read_text())["pictures"]
    model = load_detector(untrained)
    found = model.predict(scene(), threshold=0.0)
    expected = draw(scene(), found)
    for row in rows:
        assert row["size_hw"] == [60, 80]
        np.testing.assert_allclose(
            [each["box_xyxy"] for each in row["detections"]], np.asarray(found.boxes_xyxy), atol=1e-2
        )
        drawn = cv2.imread(str(tmp_path / "out" / Path(row["file"]).name))[..., ::-1]
        assert drawn.shape == (60, 80, 3) and np.abs(drawn.astype(int) - expected).mean() < 1
    assert len(rows) == 8 and isinstance(found, Detections) and len(found) > 0


def test_thresholds_and_classes_select_and_save_writes_files(untrained: Path, tmp_path: Path) -> None:
    Image.fromarray(scene()).save(tmp_path / "a.png")
    out = tmp_path / "out"
    chosen = ("--threshold", "0,car=1", "--classes", "car,pedestrian")
    assert run(untrained, tmp_path / "a.png", "--out", out, *chosen, "--save", "json,csv,voc,yolo,coco").exit_code == 0
    names = {str(path.relative_to(out)) for path in out.rglob("*") if path.is_file()}
    lists = {"detections.jsonl", "detections.csv", "coco.json"}
    assert names == {"a.png", "voc/a.xml", "yolo/a.txt", "yolo/classes.txt"} | lists
    row = json.loads((out / "detections.jsonl").read_text())
    assert {each["class"] for each in row["detections"]} <= {"pedestrian"}
