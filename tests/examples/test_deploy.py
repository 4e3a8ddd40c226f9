"""The examples of deployment give `predict`'s answers. Each runs as a user runs it: a program without singleshot."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from singleshot.structures import Detections
from tests.exporting import made

EXAMPLES = Path(__file__).resolve().parents[2] / "examples" / "deploy"


def output(name: str, *arguments: Path) -> list[list[str]]:
    """The words of each line that an example prints."""
    command = [sys.executable, str(EXAMPLES / name), *map(str, arguments)]
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr
    return [line.rsplit(maxsplit=5) for line in done.stdout.splitlines()]


def picture(folder: Path) -> Path:
    image = made.pictures(2)[1]
    cv2.imwrite(str(folder / "street.png"), image[..., ::-1])
    return folder / "street.png"


def assert_same(rows: list[list[str]], wanted: Detections, box_px: float = 0.5, score: float = 0.01) -> None:
    assert len(rows) == len(wanted) > 3
    # Two that score the same to the fourth digit may change places.
    numbers = np.array([row[1:] for row in rows], dtype=np.float64)
    alike = np.array([row[0] for row in rows])[:, None] == wanted.class_names
    alike &= np.abs(numbers[:, :1] - wanted.scores) <= score
    alike &= np.abs(numbers[:, None, 1:] - wanted.boxes_xyxy).max(axis=2) <= box_px
    assert alike.any(axis=0).mean() >= 0.97 and alike.any(axis=1).mean() >= 0.97


@pytest.mark.parametrize("name", ["onnx", "openvino", "pt2"])
def test_an_example_without_its_two_files_says_how_it_is_called(name: str):
    command = [sys.executable, str(EXAMPLES / f"{name}_detect.py"), "model"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1 and f"`python {name}_detect.py best." in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("fit", ["warp", "letterbox"])
def test_ncnn(tmp_path: Path, fit: str):
    pytest.importorskip("ncnn", reason="needs the extra ncnn")
    path = made.write_ncnn(tmp_path, made.network(fit))
    assert_same(output("ncnn_detect.py", path, picture(tmp_path)), made.detector(fit).predict(picture(tmp_path)))


@pytest.mark.slow
def test_litert(tmp_path: Path):
    pytest.importorskip("litert_torch", reason="needs the extra litert")
    path = made.write_litert(tmp_path)
    assert_same(output("litert_detect.py", path, picture(tmp_path)), made.detector().predict(picture(tmp_path)))


def test_onnx(tmp_path: Path):
    path = made.write_onnx(tmp_path)
    assert_same(output("onnx_detect.py", path, picture(tmp_path)), made.detector().predict(picture(tmp_path)))


def test_pt2(tmp_path: Path):
    path = made.write_pt2(tmp_path)
    assert_same(output("pt2_detect.py", path, picture(tmp_path)), made.detector().predict(picture(tmp_path)))


def test_openvino(tmp_path: Path):
    path = made.write_openvino(tmp_path)
    assert_same(output("openvino_detect.py", path, picture(tmp_path)), made.detector().predict(picture(tmp_path)))
