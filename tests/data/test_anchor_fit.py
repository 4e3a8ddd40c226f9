from __future__ import annotations

import json
import math
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from singleshot import boxes, fonts
from singleshot.data import anchor_fit
from singleshot.data.anchor_fit import (
    AnchorFile,
    AnchorReport,
    best_iou,
    boxes_at_input,
    coverage,
    draw_best_iou,
    fit_anchors,
)
from singleshot.detection.anchors import AnchorLevel, anchors_xyxy
from singleshot.detection.ssd import SSD, config_for
from singleshot.errors import ConfigError, InputMissingError
from singleshot.preprocess import Preprocess
from singleshot.structures import Sample

CONFIG = config_for("vgg300", ("car", "light"))


def image_with(boxes: list[list[float]], class_ids: list[int], size_hw: tuple[int, int] | None = (300, 300)) -> Sample:
    count = len(boxes)
    boxes_xyxy = np.array(boxes, float).reshape(-1, 4)
    return Sample("a", Path("a.jpg"), size_hw, boxes_xyxy, np.array(class_ids, int), np.zeros(count, bool))


# Around (92, 92), the centre of a cell of the first level: a square of 30 is an anchor there, one of 8 is not.
CAR, LIGHT = [77.0, 77.0, 107.0, 107.0], [88.0, 88.0, 96.0, 96.0]


def test_objects_are_counted_by_class_and_size() -> None:
    found = anchor_fit.report([image_with([CAR, LIGHT], [0, 1]), image_with([LIGHT], [1]), image_with([], [])], CONFIG)
    assert [(g.class_name, g.size_px, g.objects, g.reached) for g in found.groups] == [
        ("car", (16.0, 32.0), 1, 1),
        ("light", (8.0, 16.0), 2, 0),
    ]
    # 8·8 of 30·30 by hand, for the square of 30; the box of √2·30 by 30/√2 is as large.
    assert found.best_iou.tolist() == pytest.approx([1.0, 64 / 900, 64 / 900], abs=1e-6)
    assert found.unreached == pytest.approx(2 / 3)
    assert found.unreached_fitted <= found.unreached


def test_the_json_contains_the_figures_and_adds_up() -> None:
    facts = anchor_fit.report([image_with([CAR, LIGHT], [0, 1])], CONFIG).as_json()
    assert facts["objects"] == 2 and facts["unreached"] == 0.5
    assert sum(facts["histogram"]["counts"]) == 2 == sum(facts["histogram"]["counts_fitted"])
    assert len(facts["suggested"]) == 6 and set(facts["suggested"][0]) >= {"min_size", "ratios"}
    big = anchor_fit.report([image_with([[0.0, 0.0, 290.0, 290.0]], [0])], CONFIG).as_json()
    assert big["groups"][0]["size_px"] == [128.0, None]
    assert not any(math.isinf(edge or 0) for group in big["groups"] for edge in group["size_px"])


def test_no_objects_give_an_empty_report_and_no_warning() -> None:
    found = anchor_fit.report([image_with([], [])], CONFIG)
    assert found.groups == () and found.unreached == 0.0 and found.suggested == CONFIG.anchors
    assert anchor_fit.coverage_warning([image_with([], [])], CONFIG) is None
    assert anchor_fit.coverage_warning([], CONFIG) is None
    assert anchor_fit.coverage_warning([image_with([LIGHT], [1], size_hw=None)], CONFIG) is None


def test_the_warning_starts_above_five_percent() -> None:
    fine = [image_with([CAR], [0])] * 95
    assert anchor_fit.coverage_warning([*fine, *[image_with([LIGHT], [1])] * 5], CONFIG) is None
    line = anchor_fit.coverage_warning([*fine, *[image_with([LIGHT], [1])] * 10], CONFIG)
    assert line is not None and line.startswith("10% of the objects") and "data anchors" in line


def random_boxes(size_hw: tuple[int, int], count: int = 200) -> np.ndarray:
    rng = np.random.default_rng(0)
    centres = rng.uniform(-0.05, 1.05, (count, 2)) * size_hw[::-1]
    sizes = np.exp(rng.uniform(np.log(3), np.log(1.2 * max(size_hw)), (count, 2)))
    return np.concatenate([centres - sizes / 2, centres + sizes / 2], axis=1)


@pytest.mark.parametrize(
    ("model", "size_hw"),
    [
        ("vgg300", None),
        ("vgg300", (300, 500)),
        ("vgg300-2017", None),
        ("ssd300-torchvision", None),
        ("lite320-fine", (240, 320)),
        ("vgg512", None),
    ],
)
@pytest.mark.parametrize("clip", ["none", "sizes", "all"])
def test_best_iou_equals_the_table_of_all_pairs(model: str, size_hw, clip: str) -> None:
    config = config_for(model, ("a",), size_hw)
    size_hw = config.input_size_hw
    objects = random_boxes(size_hw)
    every = boxes.scale(anchors_xyxy(config.anchors, size_hw, clip).double().numpy(), size_hw)
    wanted = boxes.pairwise_iou(objects, every).max(axis=1)
    np.testing.assert_allclose(best_iou(objects, config.anchors, size_hw, clip).max(axis=1), wanted, atol=1e-5)


def test_best_iou_half_a_cell_off_by_hand() -> None:
    row = AnchorLevel(size_hw=(4, 4), step=8.0, min_size=8.0, max_size=None, ratios=())
    # Centres at 4, 12, 20, 28. A box around (8, 12) lies 4 to the side: 4·8 common of 64 + 64 − 32.
    assert best_iou(np.array([[4.0, 8.0, 12.0, 16.0]]), [row], (32, 32)).item() == pytest.approx(32 / 96)


def test_no_boxes_and_no_levels_give_empty_tables() -> None:
    row = AnchorLevel(size_hw=(4, 4), step=8.0, min_size=8.0, max_size=None, ratios=())
    assert best_iou(np.zeros((0, 4)), [row], (32, 32)).shape == (0, 1)
    assert best_iou(np.zeros((3, 4)), [], (32, 32)).shape == (3, 0)


def sized(size_hw: tuple[int, int] | None, box: list[list[float]]) -> Sample:
    count = len(box)
    ids = np.arange(count)
    return Sample("a", Path("a"), size_hw, np.array(box, float).reshape(-1, 4), ids, np.ones(count, bool))


def test_boxes_are_mapped_to_the_input_as_images_are() -> None:
    wide = sized((100, 200), [[10.0, 20.0, 30.0, 40.0]])
    warped, _ = boxes_at_input([wide], Preprocess((300, 300)))
    assert warped.tolist() == [[15.0, 60.0, 45.0, 120.0]]
    boxed, ids = boxes_at_input([wide], Preprocess((300, 300), fit="letterbox"))
    assert boxed.tolist() == [[15.0, 30.0, 45.0, 60.0]] and ids.tolist() == [0]


def test_crowds_empty_images_and_unknown_sizes_are_left_out() -> None:
    crowd = replace(sized((10, 10), [[0, 0, 5, 5], [1, 1, 4, 4]]), crowd=np.array([True, False]))
    found, ids = boxes_at_input([sized(None, [[0, 0, 5, 5]]), sized((10, 10), []), crowd], Preprocess((10, 10)))
    assert found.tolist() == [[1, 1, 4, 4]] and ids.tolist() == [1]
    assert boxes_at_input([], Preprocess())[0].shape == (0, 4)


VGG300 = config_for("vgg300", ("light",))


def small_lights(count: int = 300) -> np.ndarray:
    """Boxes 9 to 14 pixels wide and 2.5 times as high, anywhere in an image of 300×300."""
    rng = np.random.default_rng(0)
    width = rng.uniform(9, 14, count)
    x, y = rng.uniform(10, 270, (2, count))
    return np.stack([x, y, x + width, y + 2.5 * width], axis=1).clip(0, 300)


def test_small_objects_that_no_anchor_covers_are_covered_after_the_fit() -> None:
    lights = small_lights()
    rows = fit_anchors(lights, VGG300.anchors, (300, 300))
    before, after = (coverage(lights, maps, (300, 300)) for maps in (VGG300.anchors, rows))
    assert before < 0.6 and after > 0.85
    # Objects that the fit did not use are covered as well: it is not overfitted.
    unseen = small_lights(900)[300:]
    assert coverage(unseen, rows, (300, 300)) > 0.85


def test_the_count_of_anchors_stays_and_coarse_levels_keep_large_ones() -> None:
    rows = fit_anchors(small_lights(), VGG300.anchors, (300, 300))
    assert [row.size_hw for row in rows] == [row.size_hw for row in VGG300.anchors]
    assert [row.anchors_per_cell for row in rows] == [4, 6, 6, 6, 4, 4]
    assert [row.step for row in rows] == [row.step for row in VGG300.anchors]
    assert all(row.min_size > 1.5 * 300 / row.size_hw[0] - 0.1 or row.min_size >= old.min_size
               for row, old in zip(rows[1:], VGG300.anchors[1:], strict=True))  # fmt: skip
    assert SSD(config_for("vgg300", ("light",), anchors=rows)).anchors_cxcywh.shape == (8732, 4)


def test_equal_boxes_give_equal_levels_and_no_boxes_change_nothing() -> None:
    lights = small_lights(60)
    assert fit_anchors(lights, VGG300.anchors, (300, 300)) == fit_anchors(lights, VGG300.anchors, (300, 300))
    assert fit_anchors(np.zeros((0, 4)), VGG300.anchors, (300, 300)) == VGG300.anchors
    assert coverage(np.zeros((0, 4)), VGG300.anchors, (300, 300)) == 1.0


def test_full_coverage_leaves_the_anchors_unchanged() -> None:
    rng = np.random.default_rng(0)
    low = rng.uniform(20, 150, (40, 2))
    squares = np.concatenate([low, low + 111], axis=1)
    assert coverage(squares, VGG300.anchors, (300, 300)) == 1.0
    assert fit_anchors(squares, VGG300.anchors, (300, 300)) == VGG300.anchors


def test_a_fit_never_covers_less() -> None:
    rng = np.random.default_rng(3)
    for model, size_hw in (("vgg300-2017", (300, 300)), ("lite320-fine", (240, 320))):
        config = config_for(model, ("a",), size_hw)
        sizes = np.exp(rng.uniform(np.log(5), np.log(200), (80, 2)))
        low = rng.uniform(0, 200, (80, 2))
        objects = np.concatenate([low, low + sizes], axis=1)
        rows = fit_anchors(objects, config.anchors, size_hw)
        assert coverage(objects, rows, size_hw) >= coverage(objects, config.anchors, size_hw)
        assert [row.max_size is None for row in rows] == [row.max_size is None for row in config.anchors]


@pytest.mark.parametrize("threshold", [0.3, 0.7])
def test_a_fit_improves_coverage_at_other_thresholds(threshold: float) -> None:
    lights = small_lights(60)
    rows = fit_anchors(lights, VGG300.anchors, (300, 300), iou_threshold=threshold)
    before, after = (coverage(lights, maps, (300, 300), iou_threshold=threshold) for maps in (VGG300.anchors, rows))
    assert after >= before


ROWS = config_for("vgg300", ("a",)).anchors
FILE = AnchorFile("vgg300", (300, 300), "warp", ROWS)


def test_a_written_file_is_read_back(tmp_path: Path) -> None:
    anchor_fit.write_anchors(tmp_path / "a.json", FILE)
    assert anchor_fit.read_anchors(tmp_path / "a.json") == FILE


def file_json(**changes: object) -> str:
    return json.dumps(json.loads(FILE.to_json()) | changes)


def row_json(**changes: object) -> list[dict]:
    return [json.loads(FILE.to_json())["feature_maps"][0] | changes]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[1]",
        "{",
        "[" * 100_000,
        file_json(colour="red"),
        file_json(model=3),
        file_json(input_size_hw=[300.5, 300]),
        file_json(fit="crop"),
        file_json(feature_maps=row_json(ratio=[2.0])),
        file_json(feature_maps=row_json(min_size="30")),
        file_json(feature_maps=row_json(min_size=0)),
        file_json(feature_maps=row_json(min_size=-3)),
        file_json(feature_maps=row_json(ratios=[0])),
        file_json(feature_maps=row_json(max_size=float("inf"))),
        file_json(feature_maps=row_json(min_size=float("nan"))),
        file_json(feature_maps=row_json(size_hw=[0, 3])),
        " " * (anchor_fit.MAX_FILE_BYTES + 1),
    ],
)
def test_other_content_is_refused_with_the_path(tmp_path: Path, text: str) -> None:
    path = tmp_path / "a.json"
    path.write_text(text)
    with pytest.raises(ConfigError) as raised:
        anchor_fit.read_anchors(path)
    assert raised.value.file == path and raised.value.exit_code == 78


def test_a_missing_file_raises_input_missing(tmp_path: Path) -> None:
    with pytest.raises(InputMissingError):
        anchor_fit.read_anchors(tmp_path / "a.json")


@pytest.mark.parametrize("strange", [os.mkdir, os.mkfifo, Path.touch])
def test_a_folder_pipe_or_empty_file_is_refused_without_blocking(strange: Any, tmp_path: Path) -> None:
    strange(tmp_path / "a.json")
    with pytest.raises(ConfigError, match="no anchors"):
        anchor_fit.read_anchors(tmp_path / "a.json")


def test_the_histogram_is_a_png_also_without_objects(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    rng = np.random.default_rng(0)
    full = AnchorReport((), rng.uniform(0.1, 0.6, 99), rng.uniform(0.4, 0.9, 99), ())
    draw_best_iou(full, tmp_path / "a.png", title="vgg300")
    image = cv2.imread(str(tmp_path / "a.png"))
    orange = (image[..., 2].astype(int) - image[..., 0] > 60).mean()
    blue = (image[..., 0].astype(int) - image[..., 2] > 60).mean()
    assert image.shape[1] > 600 and orange > 0.01 and blue > 0.01
    draw_best_iou(AnchorReport((), np.zeros(0), np.zeros(0), ()), tmp_path / "b.png", title="nothing")
    assert cv2.imread(str(tmp_path / "b.png")) is not None
    fonts._warned.clear()
    draw_best_iou(full, tmp_path / "c.png", title="卡车")  # matplotlib's own warning would be an error
    assert len(caplog.messages) == 1 and "--font" in caplog.messages[0]
