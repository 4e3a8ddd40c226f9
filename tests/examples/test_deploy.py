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
    assert [row[0] for row in rows] == list(wanted.class_names)
    numbers = np.array([row[1:] for row in rows], dtype=np.float64)
    np.testing.assert_allclose(numbers[:, 0], wanted.scores, atol=score)
    np.testing.assert_allclose(numbers[:, 1:], wanted.boxes_xyxy, atol=box_px)


@pytest.mark.parametrize("fit", ["warp", "letterbox"])
def test_ncnn(tmp_path: Path, fit: str):
    pytest.importorskip("ncnn", reason="needs the extra ncnn")
    path = made.write_ncnn(tmp_path, made.network(fit))
    assert_same(output("ncnn_detect.py", path, picture(tmp_path)), made.detector(fit).predict(picture(tmp_path)))
