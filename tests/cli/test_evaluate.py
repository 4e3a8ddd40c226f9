"""`singleshot evaluate`: COCO's own example, result files, and what it refuses before any work."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from singleshot.cli.main import app
from singleshot.data.boxes import voc
from singleshot.errors import CannotCreateError, DataError, InputMissingError, SingleshotError, UsageError
from singleshot.prediction.predictor import Detector


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, ["evaluate", *(str(each) for each in arguments)], catch_exceptions=False)


TRUTH = {
    "images": [{"id": 5, "file_name": "a.jpg", "height": 100, "width": 200}],
    "annotations": [{"id": 1, "image_id": 5, "category_id": 9, "bbox": [10, 10, 40, 40], "area": 1600, "iscrowd": 0}],
    "categories": [{"id": 9, "name": "car"}],
}
FOUND = [{"image_id": 5, "category_id": 9, "bbox": [10, 10, 40, 40], "score": 0.9}]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "truth.json").write_text(json.dumps(TRUTH))
    (tmp_path / "found.json").write_text(json.dumps(FOUND))
    return tmp_path


def judge(folder: Path, *more: str | Path) -> Result:
    return run("--detections", folder / "found.json", "--data", folder / "truth.json", "--metric", "coco", *more)


def test_cocos_own_example_gives_the_expected_metrics(shared: Path, tmp_path: Path) -> None:
    data = shared / "data" / "eval_coco"
    found = data / "instances_val2014_fakebbox100_results.json"
    options = ("--metric", "coco", "--json", tmp_path / "out.json")
    result = run("--detections", found, "--data", data / "ground_truth.json", *options)
    assert result.exit_code == 0, result.output
    assert "taken for COCO json" in result.stderr
    assert "99 of 100 images" in " ".join(result.stderr.split())
    figures = json.loads((tmp_path / "out.json").read_text())
    expected = json.loads((data / "expected.json").read_text())
    assert (figures["map"], figures["ap50"]) == pytest.approx((expected["AP"], expected["AP50"]), abs=1e-6)
    assert (figures["metric"], figures["images"], len(figures["ap"])) == ("coco", 100, 80)


def test_coco_results_can_be_evaluated_with_the_voc_metric(folder: Path, tmp_path: Path) -> None:
    judge(folder, "--metric", "voc12", "--json", tmp_path / "out.json")
    assert json.loads((tmp_path / "out.json").read_text())["map"] == 1.0


def test_write_detections_reproduces_the_results(folder: Path, tmp_path: Path) -> None:
    assert judge(folder, "--write-detections", tmp_path / "again.json").exit_code == 0
    assert json.loads((tmp_path / "again.json").read_text()) == FOUND


def test_g3_and_g5_unknown_ids_exit_with_65_and_their_path(folder: Path) -> None:
    for field in ("image_id", "category_id"):
        (folder / "found.json").write_text(json.dumps([FOUND[0], {**FOUND[0], field: 6}]))
        with pytest.raises(DataError, match=rf"found\.json: \[1\]\.{field} 6 is") as caught:
            judge(folder)
        assert caught.value.exit_code == 65


def test_g9_ignored_detections_give_a_warning(folder: Path) -> None:
    (folder / "found.json").write_text(json.dumps(FOUND * 101))
    assert "1 of 101 detections were not evaluated" in " ".join(judge(folder).stderr.split())


def test_an_unsuitable_or_unknown_layout_is_refused(folder: Path) -> None:
    with pytest.raises(UsageError, match="no layout is called 'voc7'"):
        judge(folder, "--data-format", "voc7")
    with pytest.raises(InputMissingError):
        judge(folder, "--data-format", "voc")
    with pytest.raises(UsageError, match="--curves"):
        judge(folder, "--curves", folder / "c.png")


RESULTS = "{id} 0.001 {left} {top} {right} {bottom}\n"


@pytest.fixture
def perfect(scenes: Path, tmp_path: Path) -> Path:
    """comp4 files of another program that finds everything and scores it .001."""
    dataset = voc.read(scenes, "test")
    folder = tmp_path / "dets"
    folder.mkdir()
    for class_id, name in enumerate(dataset.label_map.names):
        rows = [
            RESULTS.format(id=sample.image_id, left=x1 + 1, top=y1 + 1, right=x2, bottom=y2)
            for sample in dataset.samples
            for (x1, y1, x2, y2), each in zip(sample.boxes_xyxy.tolist(), sample.class_ids.tolist(), strict=True)
            if each == class_id
        ]
        (folder / f"comp4_det_test_{name}.txt").write_text("".join(rows))
    return folder


def test_table_and_json_agree_for_very_low_scores(perfect: Path, scenes: Path, tmp_path: Path) -> None:
    result = run("--detections", perfect, "--data", scenes, "--metric", "voc12", "--json", tmp_path / "o.json")
    assert json.loads((tmp_path / "o.json").read_text())["map"] == 1.0
    (mean,) = [line for line in result.stdout.splitlines() if "mean" in line]
    assert mean.split("│")[1:-1][2].strip() == "1.000" and mean.split("│")[1:-1][3].strip() == "0.000"
    assert "mAP (voc12) 1.000 on 4 images" in result.stdout


@pytest.mark.parametrize(("name", "start"), [("c.png", b"\x89PNG"), ("c.svg", b"<?xml"), ("c.pdf", b"%PDF")])
def test_curves_are_drawn_in_the_format_of_the_suffix(
    perfect: Path, scenes: Path, tmp_path: Path, name: str, start: bytes
) -> None:
    result = run("--detections", perfect, "--data", scenes, "--curves", tmp_path / "new" / name)
    assert result.exit_code == 0, result.output
    assert (tmp_path / "new" / name).read_bytes().startswith(start)


def refused(error: type[SingleshotError], said: str, *arguments: str | Path) -> None:
    """The call is refused, before the network is asked anything."""
    with pytest.raises(error, match=said), pytest.MonkeyPatch.context() as patch:
        patch.setattr(Detector, "forward", None)
        run(*arguments)


def test_j5_no_input_is_overwritten_by_an_output(untrained: Path, scenes: Path, perfect: Path) -> None:
    before = untrained.read_bytes()
    for option in ("--json", "--write-detections"):
        target = untrained if option == "--json" else perfect
        call = (untrained, "--data", scenes) if option == "--json" else ("--detections", perfect, "--data", scenes)
        refused(UsageError, "input", *call, option, target, "--overwrite")
    annotation = min((scenes / "Annotations").iterdir())
    refused(UsageError, "file of the input", untrained, "--data", scenes, "--json", annotation, "--overwrite")
    assert untrained.read_bytes() == before and annotation.read_bytes().startswith(b"<annotation")


def test_evaluate_replaces_files_only_with_overwrite_except_its_reports(
    untrained: Path, scenes: Path, tmp_path: Path
) -> None:
    call = (untrained, "--data", scenes)
    mine, curves, dets = tmp_path / "mine.json", tmp_path / "c.png", tmp_path / "dets"
    for file in (mine, curves, tmp_path / "coco.json"):
        file.write_text('{"images": []}')
    dets.mkdir()
    (dets / "comp4_det_test_car.txt").write_text("mine")
    refused(CannotCreateError, "already exists", *call, "--json", mine)
    refused(CannotCreateError, "already exists", *call, "--curves", curves)
    refused(CannotCreateError, "comp4_det_test_car", *call, "--write-detections", dets)
    refused(CannotCreateError, "already exists", *call, "--write-detections", tmp_path / "coco.json")
    assert mine.read_text() == curves.read_text() == '{"images": []}'
    outputs = ("--json", mine, "--curves", curves, "--write-detections", dets)
    assert run(*call, *outputs, "--overwrite").exit_code == 0
    assert run(*call, "--json", mine).exit_code == 0
    assert json.loads(mine.read_text())["images"] == 4


def test_an_output_that_cannot_be_created_is_refused_before_the_work(
    untrained: Path, scenes: Path, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("mine")
    call = (untrained, "--data", scenes)
    for option, name in (("--json", "a.json"), ("--curves", "a.png"), ("--write-detections", "dets")):
        refused(CannotCreateError, "file", *call, option, tmp_path / "file" / name)
    refused(CannotCreateError, "is a file", *call, "--write-detections", tmp_path / "file")
    refused(CannotCreateError, "is a folder", *call, "--json", tmp_path)
    refused(UsageError, r"\.png", *call, "--curves", tmp_path / "a.gif")
    assert (tmp_path / "file").read_text() == "mine"


@pytest.mark.parametrize("option", ["--json", "--curves", "--detections", None])
def test_options_that_require_annotations_are_refused_without_them(
    untrained: Path, scenes: Path, perfect: Path, tmp_path: Path, option: str | None
) -> None:
    call = ("--data", scenes, "--not-annotated")
    if option == "--detections":
        refused(UsageError, option, "--detections", perfect, *call, "--write-detections", tmp_path / "new")
    elif option is None:
        refused(UsageError, "gives nothing", untrained, *call)
    else:
        refused(
            UsageError, option, untrained, *call, "--write-detections", tmp_path / "new", option, tmp_path / "x.png"
        )
    assert not (tmp_path / "new").exists()


def test_an_unreadable_image_is_refused_or_left_out_and_counted(untrained: Path, scenes: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    shutil.copytree(scenes, data)
    picture = data / "JPEGImages" / "test_00001.jpg"
    objects = len(voc.read(data, "test").samples[1].boxes_xyxy)
    picture.write_bytes(picture.read_bytes()[:500])
    with pytest.raises(DataError, match=r"test_00001\.jpg"):
        run(untrained, "--data", data)
    result = run(untrained, "--data", data, "--on-bad", "skip", "--json", tmp_path / "o.json")
    assert result.exit_code == 0
    assert "test_00001.jpg" in result.stderr and "1 faulty boxes or images were left out" in result.stderr
    facts = json.loads((tmp_path / "o.json").read_text())
    run(untrained, "--data", scenes, "--json", tmp_path / "whole.json")
    whole = json.loads((tmp_path / "whole.json").read_text())
    assert (facts["images"], facts["left_out"], whole["images"], whole["left_out"]) == (3, 1, 4, 0)
    assert facts["ground_truths"] == whole["ground_truths"] - objects < whole["ground_truths"]
