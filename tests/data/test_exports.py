"""Every tool's export as it is, in every command that reads data."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from singleshot.cli.main import app
from singleshot.data import read
from singleshot.data.masks import files
from tests.data.exports import BOXES, EXPORTS, MASK, MASK_EXPORTS

QUICK = (
    "--model",
    "lite320-fine",
    "--set",
    "input_size_hw=[64,96]",
    "--steps",
    "1",
    "--batch-size",
    "1",
    "--workers",
    "0",
)


def run(*arguments: str | Path) -> str:
    result = CliRunner().invoke(app, [str(each) for each in arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return " ".join(result.output.split())


@pytest.mark.parametrize("tool", EXPORTS)
def test_an_export_as_it_is_is_recognised_and_has_the_same_boxes(tool: str, tmp_path: Path) -> None:
    layout, export = EXPORTS[tool]
    export(tmp_path)
    assert read.recognise(tmp_path) == layout
    pool = read.read_pool(tmp_path)
    assert [fault for fault in pool.faults if fault.severity != "note"] == []
    assert pool.label_map.names == ("cat", "dog")
    found = {}
    for sample in pool.samples:
        rows = zip(sample.class_ids.tolist(), sample.boxes_xyxy.round(3).tolist(), strict=True)
        found[sample.image_path.stem[-1]] = sorted((pool.label_map.names[class_id], *box) for class_id, box in rows)
    without = {"csv"}  # of files that list objects, not images
    expected = {stem: sorted(boxes) for stem, boxes in BOXES.items() if boxes or layout not in without}
    assert found.keys() == expected.keys()
    for stem, rows in expected.items():
        assert [name for name, *_ in found[stem]] == [name for name, *_ in rows]
        np.testing.assert_allclose([row[1:] for row in found[stem]], [row[1:] for row in rows], atol=1e-3)


@pytest.mark.parametrize("tool", EXPORTS)
def test_every_command_takes_an_export_as_it_is(tool: str, tmp_path: Path) -> None:
    layout, export = EXPORTS[tool]
    root = tmp_path / "data"
    export(root)
    before = {path: path.stat().st_mtime_ns for path in root.rglob("*")}
    images = 2 if layout == "csv" else 3
    assert run("data", "check", root, "--workers", "0").startswith(f"{layout}: {images} images, 3 objects")
    assert f"{images} images" in run("data", "stats", root)
    assert (f"{images} images" in run("data", "show", root, "--out", tmp_path / "sheet.png")) == (images <= 24)
    assert f"{images} images and 3 boxes as coco" in run("data", "convert", root, tmp_path / "coco", "--to", "coco")
    assert {path.stat().st_size > 0 for path in (tmp_path / "coco").rglob("*.json")} == {True}
    assert "splits: " in run("data", "split", root, "--val", "0.4", "--by", "random", "--out", tmp_path / "split.json")
    assert {path: path.stat().st_mtime_ns for path in root.rglob("*")} == before


ONE_OF_EACH = {layout: tool for tool, (layout, _) in reversed(EXPORTS.items())}


@pytest.mark.parametrize("layout", ONE_OF_EACH)
def test_every_layout_is_trained_on_and_evaluated(layout: str, tmp_path: Path) -> None:
    root = tmp_path / "data"
    EXPORTS[ONE_OF_EACH[layout]][1](root)
    before = {path: path.stat().st_mtime_ns for path in root.rglob("*")}
    assert "weights: " in run("train", "--data", root, *QUICK, "--val-split", "0.4", "--out", tmp_path / "run")
    assert "mean" in run("evaluate", tmp_path / "run" / "best.safetensors", "--data", root, "--split", "train")
    assert {path: path.stat().st_mtime_ns for path in root.rglob("*")} == before


@pytest.mark.parametrize("tool", MASK_EXPORTS)
def test_masks_of_every_tool_are_the_same_and_are_trained_on_and_evaluated(tool: str, tmp_path: Path) -> None:
    layout, export = MASK_EXPORTS[tool]
    root = tmp_path / "data"
    export(root)
    before = {path: path.stat().st_mtime_ns for path in root.rglob("*")}
    assert read.recognise(root, with_masks=True) == layout
    pool = read.read_pool(root, with_masks=True)
    assert (len(pool), pool.faults, pool.label_map.names[1:]) == (3, (), ("cat", "dog"))
    for sample in pool.samples:
        assert sample.mask_path is not None and pool.mask_code is not None
        np.testing.assert_array_equal(files.read(sample.mask_path, pool.mask_code), MASK)
    said = run("data", "check", root, "--workers", "0", "--data-format", layout)
    assert f"{layout}: 3 images, 0 objects" in said and "fatal" not in said
    quick = ("--set", "input_size_hw=[64,96]", "--steps", "1", "--batch-size", "1", "--workers", "0")
    out = tmp_path / "run"
    assert "weights: " in run(
        "train", "--data", root, "--model", "fcn8s-fine", *quick, "--val-split", "0.4", "--out", out
    )
    said = run("evaluate", out / "best.safetensors", "--data", root, "--split", "train", "--metric", "miou")
    assert "mIoU" in said or "mean" in said
    assert {path: path.stat().st_mtime_ns for path in root.rglob("*")} == before
