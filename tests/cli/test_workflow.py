"""The main job through the command line, on a data set drawn here: train, evaluate, predict, judge files."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import pytest
from typer.testing import CliRunner, Result

from singleshot.cli.main import app
from singleshot.errors import CannotCreateError, FaultyDataError
from singleshot.streets import write

QUICK = [
    "--set",
    "input_size_hw=[96,128]",
    "--steps",
    "3",
    "--batch-size",
    "2",
    "--workers",
    "0",
    "--precision",
    "fp32",
]


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, [str(each) for each in arguments], catch_exceptions=False)


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write.make(tmp_path_factory.mktemp("verbs") / "data", train=6, val=2, test=4, workers=1)


@pytest.fixture(scope="module")
def trained(drawn: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("trained") / "run"
    result = run("train", "--data", drawn, "--out", out, *QUICK, "--json", out.parent / "train.json")
    assert result.exit_code == 0, result.output
    facts = json.loads((out.parent / "train.json").read_text())
    assert facts["steps"] == 3 and Path(facts["weights"]).is_file() and facts["score"] is not None
    return out / "best.safetensors"


def test_evaluate_writes_json_and_result_files_with_equal_results(drawn: Path, trained: Path, tmp_path: Path) -> None:
    options = ("--data", drawn, "--metric", "voc12")
    result = run("evaluate", trained, *options, "--json", tmp_path / "a.json", "--write-detections", tmp_path / "dets")
    assert result.exit_code == 0 and "mean" in result.output
    first = json.loads((tmp_path / "a.json").read_text())
    assert {"metric", "map", "ap", "images", "ground_truths", "detections"} <= set(first)
    assert first["images"] == 4 and set(first["ap"]) == {"car", "pedestrian", "traffic light"}
    assert sorted(path.name for path in (tmp_path / "dets").iterdir())[0] == "comp4_det_test_car.txt"
    run("evaluate", "--detections", tmp_path / "dets", *options, "--json", tmp_path / "b.json")
    assert json.loads((tmp_path / "b.json").read_text())["ap"] == first["ap"]


def test_a_split_without_annotations_gives_result_files(drawn: Path, trained: Path, tmp_path: Path) -> None:
    result = run("evaluate", trained, "--data", drawn, "--not-annotated", "--write-detections", tmp_path / "dets")
    assert result.exit_code == 0 and len(list((tmp_path / "dets").iterdir())) == 3


def test_a_high_threshold_gives_a_warning(drawn: Path, trained: Path) -> None:
    result = run("evaluate", trained, "--data", drawn, "--threshold", "0.5")
    assert "not comparable" in " ".join(result.stderr.split())
    assert "not comparable" not in run("evaluate", trained, "--data", drawn, "--threshold", "0.05").stderr


def test_predict_draws_copies_writes_json_and_continues_after_a_bad_image(
    drawn: Path, trained: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    for i, picture in enumerate(sorted((drawn / "JPEGImages").iterdir())[:2]):
        (folder / f"{i}.jpg").write_bytes(picture.read_bytes())
    (folder / "bad.jpg").write_bytes(b"<html>")
    result = run(
        "predict", trained, folder, "--out", tmp_path / "out", "--threshold", "0", "--json", tmp_path / "p.json"
    )
    assert result.exit_code == 65
    rows = json.loads((tmp_path / "p.json").read_text())["pictures"]
    assert [Path(row["file"]).name for row in rows] == ["0.jpg", "1.jpg", "bad.jpg"]
    assert "looks like HTML" in rows[2]["error"]
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"0.jpg", "1.jpg"}
    assert cv2.imread(str(tmp_path / "out" / "0.jpg")).shape == (300, 400, 3)
    with pytest.raises(CannotCreateError):
        run("predict", trained, folder, "--out", tmp_path / "out")


def test_bccds_zero_size_boxes_are_refused_with_file_and_line(shared: Path, tmp_path: Path) -> None:
    with pytest.raises(FaultyDataError) as raised:
        run("train", "--data", shared / "data/bccd", "--train-split", "trainval", "--out", tmp_path / "run", *QUICK)
    assert "BloodImage_00338.xml:" in str(raised.value) and "BloodImage_00343.xml:" in str(raised.value)
    assert raised.value.exit_code == 65 and not (tmp_path / "run").exists()


@pytest.mark.slow
def test_bccd_trains_without_its_faulty_boxes_with_on_bad_skip(shared: Path, tmp_path: Path) -> None:
    data = ("--data", shared / "data/bccd", "--on-bad", "skip")
    result = run(
        "train", "bccd", *data, "--train-split", "trainval", "--val-split", "none", "--out", tmp_path / "run", *QUICK
    )
    assert result.exit_code == 0, result.output
    assert len((tmp_path / "run" / "bad.jsonl").read_text().splitlines()) == 2
    weights = tmp_path / "run" / "best.safetensors"
    result = run("evaluate", weights, *data, "--split", "test", "--metric", "voc12", "--json", tmp_path / "out.json")
    figures = json.loads((tmp_path / "out.json").read_text())
    assert figures["images"] == 72 and figures["ground_truths"] == 945


@pytest.mark.slow
def test_the_demo_writes_a_summary_that_evaluate_repeats(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    result = run("demo", "--minutes", "0.05", "--train", "16", "--test", "8")
    assert result.exit_code == 0, result.output
    summary = json.loads((tmp_path / "runs/demo/summary.json").read_text())
    *_, photograph, frame, last = result.stdout.splitlines()
    ending = (photograph, frame)  # a real photograph and a real video's frame
    assert last.startswith("images: ")
    assert all(any(Path(folder).iterdir()) for folder in last.removeprefix("images: ").split(", "))
    assert "cat.jpg: cat 0.85" in ending[0] and "motorway.jpg: car 0." in ending[1]
    assert (tmp_path / "runs/demo/pictures_everyday/motorway.jpg").is_file()
    named = {"map", "ap", "ap_by_size", "train_seconds", "total_seconds", "images_per_second"}
    assert named | {"data", "weights", "pictures"} <= set(summary)
    assert all((tmp_path / summary[name]).exists() for name in ("data", "weights", "pictures", "curves"))
    assert len(list((tmp_path / summary["pictures"]).glob("*.jpg"))) == 8
    options = ("--data", summary["data"], "--split", "test", "--metric", "voc12", "--json", "again.json")
    assert run("evaluate", summary["weights"], *options).exit_code == 0
    again = json.loads(Path("again.json").read_text())
    assert again["map"] == pytest.approx(summary["map"], abs=5e-3)
