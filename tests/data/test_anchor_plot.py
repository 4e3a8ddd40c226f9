from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from singleshot.data.anchor_plot import draw_best_iou
from singleshot.data.anchor_report import AnchorReport


def test_the_histogram_is_a_png_and_an_empty_one_too(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    full = AnchorReport((), rng.uniform(0.1, 0.6, 99), rng.uniform(0.4, 0.9, 99), ())
    draw_best_iou(full, tmp_path / "a.png", title="vgg300")
    image = cv2.imread(str(tmp_path / "a.png"))
    orange = (image[..., 2].astype(int) - image[..., 0] > 60).mean()
    blue = (image[..., 0].astype(int) - image[..., 2] > 60).mean()
    assert image.shape[1] > 600 and orange > 0.01 and blue > 0.01
    draw_best_iou(AnchorReport((), np.zeros(0), np.zeros(0), ()), tmp_path / "b.png", title="nothing")
    assert cv2.imread(str(tmp_path / "b.png")) is not None
