"""Fitting default boxes by the command line, and training with them."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import pytest
from typer.testing import CliRunner, Result

from singleshot import weights
from singleshot.cli.main import app
from singleshot.errors import CannotCreateError, ConfigError, DataError
from singleshot.streets import write


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, [str(each) for each in arguments], catch_exceptions=False)


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write.make(tmp_path_factory.mktemp("anchors") / "data", train=12, val=2, test=2, workers=1)


@pytest.fixture(scope="module")
def fitted(drawn: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("fitted")
    options = ("--model", "lite320-fine", "--input-size", "96x128", "--fit", "letterbox")
    files = ("--out", folder / "a.json", "--plot", folder / "a.png", "--json", folder / "figures.json")
    result = run("data", "anchors", drawn, *options, *files)
    assert result.exit_code == 0, result.output
    assert "traffic light" in result.output and "unmatched" in result.output and "best IoU" in result.output
    return folder


QUICK = ("--steps", "2", "--batch-size", "2", "--workers", "0", "--precision", "fp32", "--set", "train_subset=0")


def test_anchors_writes_json_plot_and_fitted_anchors(fitted: Path) -> None:
    facts = json.loads((fitted / "figures.json").read_text())
    assert (facts["model"], facts["input_size_hw"], facts["fit"]) == ("lite320-fine", [96, 128], "letterbox")
    assert facts["unreached_fitted"] < facts["unreached"]
    assert sum(group["objects"] for group in facts["groups"]) == facts["objects"]
    assert json.loads((fitted / "a.json").read_text())["feature_maps"] == facts["suggested"]
    assert cv2.imread(str(fitted / "a.png")) is not None


def test_a_run_uses_fitted_anchors_and_its_weights_store_them(drawn: Path, fitted: Path, tmp_path: Path) -> None:
    options = (
        "--model",
        "lite320-fine",
        "--input-size",
        "96x128",
        "--fit",
        "letterbox",
        "--anchors",
        fitted / "a.json",
    )
    result = run("train", "--data", drawn, "--val-split", "none", "--out", tmp_path / "run", *options, *QUICK)
    assert result.exit_code == 0, result.output
    assert "overlap no anchor" in " ".join(result.stderr.split())
    config = weights.load(tmp_path / "run" / "last.safetensors").network.config
    rows = json.loads((fitted / "a.json").read_text())["feature_maps"]
    assert [row.min_size for row in config.anchors] == [row["min_size"] for row in rows]
    assert config.preprocess.fit == "letterbox" and config.preprocess.size_hw == (96, 128)
    figures = tmp_path / "figures.json"
    judged = ("--data", drawn, "--split", "test", "--metric", "voc12", "--json", figures)
    assert run("evaluate", tmp_path / "run" / "last.safetensors", *judged).exit_code == 0
    assert json.loads(figures.read_text())["images"] == 2


@pytest.mark.parametrize(
    "other",
    [
        ("--model", "lite320", "--input-size", "96x128", "--fit", "letterbox"),
        ("--model", "lite320-fine", "--fit", "letterbox"),
        ("--model", "lite320-fine", "--input-size", "96x128"),
        ("--model", "unknown"),
    ],
)
def test_anchors_for_another_model_input_or_fit_are_refused(drawn: Path, fitted: Path, tmp_path: Path, other) -> None:
    with pytest.raises(ConfigError, match="--model lite320-fine --input-size 96x128 --fit letterbox"):
        run("train", "--data", drawn, "--out", tmp_path / "run", "--anchors", fitted / "a.json", *other, *QUICK)
    assert not (tmp_path / "run").exists()


def test_anchors_replaces_no_files_and_refuses_data_without_objects(drawn: Path, fitted: Path, tmp_path: Path) -> None:
    for option in ("--out", "--plot", "--json"):
        with pytest.raises(CannotCreateError):
            run("data", "anchors", drawn, option, fitted / "a.json")
    for file in (drawn / "Annotations").iterdir():
        target = tmp_path / "empty" / "Annotations" / file.name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text("<annotation><size><width>400</width><height>300</height></size></annotation>")
    for part in ("JPEGImages", "ImageSets"):
        (tmp_path / "empty" / part).symlink_to(drawn / part)
    with pytest.raises(DataError):
        run("data", "anchors", tmp_path / "empty")
