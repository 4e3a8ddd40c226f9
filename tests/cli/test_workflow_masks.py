"""The second job through the command line: train, evaluate and predict with a segmenter, judge others' masks."""

from __future__ import annotations

import json
from functools import partialmethod
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from typer.testing import CliRunner, Result

from singleshot.cli.main import app
from singleshot.errors import CannotCreateError, DataError, UsageError
from singleshot.prediction.image_reader import ImageReader
from tests.conftest import MaskFolder
from tests.prediction import dangerous

pytestmark = pytest.mark.filterwarnings("ignore:.*tensor cores.*", "ignore::FutureWarning")
QUICK = ("--steps", "2", "--batch-size", "2", "--workers", "0", "--precision", "fp32", "--input-size", "48x64")


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, [str(each) for each in arguments], catch_exceptions=False)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights of a segmenter of the classes of `halves`. Tests leave them as they are."""
    folder = tmp_path_factory.mktemp("segmenter")
    data, out = MaskFolder(folder / "halves", {"train": 4, "val": 2}), folder / "run"
    result = run("train", "--model", "fcn8s-fine", "--data", data.root, "--out", out, *QUICK)
    assert result.exit_code == 0, result.output
    assert "best miou" in result.output and "mAP" not in result.output
    return out / "best.safetensors"


def test_written_masks_give_the_results_of_the_segmenter(halves: Any, trained: Path, tmp_path: Path) -> None:
    options = ("--data", halves.root, "--split", "val", "--metric", "miou")
    masks = tmp_path / "masks"
    result = run("evaluate", trained, *options, "--json", tmp_path / "a.json", "--write-detections", masks)
    assert result.exit_code == 0 and "mean IoU" in result.output
    first = json.loads((tmp_path / "a.json").read_text())
    promised = {"metric", "miou", "iou", "pixel_accuracy", "mean_accuracy", "frequency_weighted_iou", "images"}
    assert promised <= set(first) and first["images"] == 2 and set(first["iou"]) == {"dark", "bright"}
    result = run("evaluate", "--detections", masks, *options, "--json", tmp_path / "b.json")
    second = json.loads((tmp_path / "b.json").read_text())
    assert second["iou"] == first["iou"]
    with pytest.raises(CannotCreateError):
        run("evaluate", trained, *options, "--write-detections", masks)


def test_evaluate_computes_maxf_of_two_classes(halves: Any, trained: Path, tmp_path: Path) -> None:
    options = ("--data", halves.root, "--split", "val", "--metric", "maxf")
    result = run("evaluate", trained, *options, "--json", tmp_path / "a.json")
    assert result.exit_code == 0 and "MaxF" in result.output and "image plane" in " ".join(result.stderr.split())
    found = json.loads((tmp_path / "a.json").read_text())
    assert {"metric", "maxf", "ap", "pre", "rec", "fpr", "fnr", "threshold", "categories"} <= set(found)


def test_g11_g13_masks_of_other_programs_are_evaluated_or_refused(halves: Any, tmp_path: Path) -> None:
    options = ("--data", halves.root, "--split", "val", "--metric", "miou")
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    (theirs / "00.png").write_bytes(halves.mask("val", 0).read_bytes())
    with pytest.raises(DataError, match="1 of 2 images have no result: 01"):
        run("evaluate", "--detections", theirs, *options)
    result = run("evaluate", "--detections", theirs, *options, "--partial", "--json", tmp_path / "p.json")
    assert "only 1 of 2" in result.stderr and json.loads((tmp_path / "p.json").read_text())["miou"] == 1.0
    cv2.imwrite(str(theirs / "01.png"), np.zeros((10, 10), np.uint8))
    with pytest.raises(DataError, match="the result is 10×10, its image 64×48"):
        run("evaluate", "--detections", theirs, *options)


def test_predict_draws_overlays_and_writes_masks(halves: Any, trained: Path, tmp_path: Path) -> None:
    source, out = halves.root / "images" / "val", tmp_path / "out"
    (source / "bad.png").write_bytes(b"<html>")
    saved = ("--save", "ids,colours,probability", "--json", tmp_path / "p.json")
    result = run("predict", trained, source, "--out", out, *saved)
    assert result.exit_code == 65 and "looks like HTML" in result.stderr
    names = {f"{stem}{end}.png" for stem in ("00", "01") for end in ("", "_ids", "_colours", "_probability")}
    assert {path.name for path in out.iterdir()} == names
    ids = cv2.imread(str(out / "00_ids.png"), cv2.IMREAD_UNCHANGED)
    chances = cv2.imread(str(out / "00_probability.png"), cv2.IMREAD_UNCHANGED)
    assert ids.shape == chances.shape == (48, 64) and ids.max() <= 1
    assert ((chances >= 128) == (ids == 1)).mean() > 0.98
    rows = json.loads((tmp_path / "p.json").read_text())["pictures"]
    assert sum(rows[0]["shares"].values()) == pytest.approx(1.0) and "error" in rows[2]
    with pytest.raises(CannotCreateError):
        run("predict", trained, source, "--out", out)
    again = run("predict", trained, source, "--json", tmp_path / "p.json")
    assert again.exit_code == 65, "its own report is written again"
    with pytest.raises(CannotCreateError, match="00_ids"):
        (out / "00.png").unlink()
        run("predict", trained, source / "00.png", "--out", out, "--save", "ids")
    for option in (("--threshold", "0.4"), ("--tile-size", "64"), ("--track",)):
        with pytest.raises(UsageError, match=option[0]):
            run("predict", trained, source, *option)
    with pytest.raises(UsageError, match="cannot save boxes"):
        run("predict", trained, source, "--out", out, "--save", "boxes", "--overwrite")


def test_c19_a_segmenter_survives_an_image_that_crashes_the_decoder(
    halves: Any, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ImageReader, "__init__", partialmethod(ImageReader.__init__, dangerous.dangerous))
    source = halves.root / "images" / "val"
    (source / "crash.png").write_bytes((source / "00.png").read_bytes())
    result = run("predict", trained, source, "--json", tmp_path / "p.json")
    assert result.exit_code == 65 and "crashed the decoder" in " ".join(result.stderr.split())
    rows = json.loads((tmp_path / "p.json").read_text())["pictures"]
    assert [Path(row["file"]).name for row in rows if "error" not in row] == ["00.png", "01.png"]


def test_options_that_do_not_go_together_are_refused(halves: Any, trained: Path) -> None:
    options = ("--data", halves.root, "--split", "val", "--metric", "miou")
    for wrong in (("--threshold", "0.5"), ("--not-annotated",), ("--detections", "x")):
        with pytest.raises(UsageError):
            run("evaluate", trained, *options, *wrong)
    unread = ("--not-annotated", "--write-detections", "d")
    for wrong in (("--json", "a.json"), ("--report", "a.html")):  # there would be nothing to write into them
        with pytest.raises(UsageError, match=f"does not go with {wrong[0]}"):
            run("evaluate", trained, *options, *unread, *wrong)
    with pytest.raises(UsageError, match="--backend and --trust are for WEIGHTS"):
        run("evaluate", "--detections", "x", *options, "--backend", "onnx")
    with pytest.raises(UsageError, match="--partial is for masks"):
        run("evaluate", trained, "--data", halves.root, "--metric", "voc07", "--partial")


def test_a_segmenter_for_other_classes_is_refused(halves: Any, trained: Path) -> None:
    (halves.root / "classes.txt").write_text("light\nshade\n")
    with pytest.raises(DataError, match="the segmenter's dark, bright"):
        run("evaluate", trained, "--data", halves.root, "--split", "val", "--metric", "miou")


@pytest.mark.slow
def test_camvid_trains_from_its_recipe(shared: Path, tmp_path: Path) -> None:
    data = ("--data", shared / "data/camvid")
    result = run("train", "fcn8s_camvid", *data, "--val-split", "none", "--out", tmp_path / "run", *QUICK)
    assert result.exit_code == 0, result.output
    weights = tmp_path / "run/best.safetensors"
    result = run("evaluate", weights, *data, "--split", "test", "--metric", "miou", "--json", tmp_path / "t.json")
    found = json.loads((tmp_path / "t.json").read_text())
    assert found["images"] == 59 and len(found["iou"]) == 11


def test_a_split_without_masks_is_refused_before_the_work(halves: Any, trained: Path, tmp_path: Path) -> None:
    root = tmp_path / "data_road"
    for name in ("training/image_2", "training/gt_image_2", "testing/image_2"):
        (root / name).mkdir(parents=True)
    cv2.imwrite(str(root / "testing/image_2/um_000000.png"), np.zeros((48, 64, 3), np.uint8))
    (tmp_path / "theirs").mkdir()
    for judged in ((trained,), ("--detections", tmp_path / "theirs")):
        with pytest.raises(DataError, match="1 of 1 images of test have no mask") as raised:
            run("evaluate", *judged, "--data", root, "--metric", "miou", "--json", tmp_path / "a.json")
        assert raised.value.exit_code == 65 and not (tmp_path / "a.json").exists()


def test_on_bad_skip_evaluates_the_readable_masks(halves: Any, tmp_path: Path) -> None:
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    for place in range(2):
        (theirs / f"{place:02d}.png").write_bytes(halves.mask("val", place).read_bytes())
    halves.mask("val", 0).write_bytes(halves.mask("val", 0).read_bytes()[:-20])
    options = ("--data", halves.root, "--split", "val", "--metric", "miou", "--detections", theirs)
    with pytest.raises(DataError, match="truncated mask"):
        run("evaluate", *options)
    result = run("evaluate", *options, "--on-bad", "skip", "--json", tmp_path / "a.json")
    found = json.loads((tmp_path / "a.json").read_text())
    assert (found["images"], found["left_out"], found["miou"]) == (1, 1, 1.0) and "00.png" in result.stderr
