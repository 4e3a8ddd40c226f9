"""`singleshot.report` on runs as they lie on the disk, and the verbs that write it."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

import singleshot
from singleshot import weights
from singleshot.cli.main import app
from singleshot.data import split_file
from singleshot.data.boxes import voc
from singleshot.detection.ssd import SSD, config_for
from singleshot.errors import CannotCreateError, DataError, InputMissingError
from singleshot.streets import write
from singleshot.training.run import Run


def spoilt(folder: Path, copy: Path, old: str, new: str) -> Path:
    """A copy of the folder with the first such text replaced in the first annotation that has it; that annotation."""
    shutil.copytree(folder, copy)
    paths = [copy / "Annotations" / f"{sample.image_path.stem}.xml" for sample in voc.read(folder, "test").samples]
    file = next(path for path in paths if old in path.read_text())
    file.write_text(file.read_text().replace(old, new, 1))
    return file


@pytest.fixture
def run_folder(tmp_path: Path) -> Path:
    """A run's folder as a training leaves it, with a detector that has learned nothing."""
    torch.manual_seed(0)
    folder = tmp_path / "run"
    facts = {"command": "singleshot train", "data": "x", "metric": "voc12"}
    weights.save(folder / "best.safetensors", SSD(config_for("lite320-fine", write.CLASS_NAMES, (64, 96))), facts)
    (folder / "recipe.json").write_text("{}")
    (folder / "log.csv").write_text("epoch,step,train_class,lr,images_per_second,seconds\n1,2,3,0.1,5,6\n")
    return folder


def test_a_run_gets_its_page_and_images(run_folder: Path, street_folder: Path) -> None:
    path = singleshot.report(run_folder, data=street_folder, split="test")
    assert path == run_folder / "report.html"
    made = path.read_text(encoding="utf-8")
    assert "Loss by part" in made and "Kinds of errors" in made and "singleshot train" in made
    assert len(list((run_folder / "pictures").iterdir())) == 4
    assert singleshot.report(run_folder, data=voc.read(street_folder, "test")) == path, "a report of ours is replaced"


def test_a_file_of_splits_chooses_the_images_and_training_images_are_named(
    run_folder: Path, street_folder: Path
) -> None:
    keys = [split_file.key(sample.image_path, street_folder) for sample in voc.read(street_folder, "test").samples]
    chosen = split_file.SplitFile({"few": tuple(keys[:2])})
    page = singleshot.report(run_folder, data=street_folder, split="few", splits=chosen).read_text(encoding="utf-8")
    assert len(list((run_folder / "pictures").iterdir())) == 2 and "were trained on" not in page
    split_file.SplitFile({"train": tuple(keys[1:])}, data=street_folder.name).write(run_folder / "split.json")
    page = singleshot.report(run_folder, data=street_folder, split="few", splits=chosen).read_text(encoding="utf-8")
    assert "1 of 2 images of few were trained on: the score measures memory." in page


def test_unreadable_images_are_listed_on_the_page(run_folder: Path, street_folder: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    shutil.copytree(street_folder, data)
    first = voc.read(data, "test").samples[0].image_path
    first.write_bytes(first.read_bytes()[:400])
    made = singleshot.report(run_folder, data=data, split="test").read_text(encoding="utf-8")
    assert "left out, not readable" in made and f"1: {first.name}" in made
    assert "left out" not in singleshot.report(run_folder, data=street_folder, split="test").read_text(encoding="utf-8")


def test_boxes_that_the_reader_left_out_are_listed_on_the_page_with_file_and_line(
    run_folder: Path, street_folder: Path, tmp_path: Path
) -> None:
    file = spoilt(street_folder, tmp_path / "data", "<xmax>", "<xmax>-")
    line = next(number for number, text in enumerate(file.read_text().split("\n"), 1) if "<xmax>-" in text)
    made = singleshot.report(run_folder, data=tmp_path / "data", split="test").read_text(encoding="utf-8")
    said = re.search(rf"left out, faulty<.*?>1: {file.name}:([0-9]+)<", made)
    assert said is not None and abs(int(said[1]) - line) < 6 and "left out, not readable" not in made


def test_an_unknown_class_is_refused_but_only_listed_for_a_runs_own_data(
    run_folder: Path, street_folder: Path, tmp_path: Path
) -> None:
    file = spoilt(street_folder, tmp_path / "data", "<name>car", "<name>Car")
    count = sum(each.read_text().count("<name>Car<") for each in file.parent.iterdir())
    model = singleshot.load(run_folder / "best.safetensors")
    dataset = voc.read(tmp_path / "data", "test", label_map=model.label_map)
    for data in (tmp_path / "data", dataset):
        with pytest.raises(
            DataError, match=rf"does not have: {count}; here class 'Car' is unknown. Near: car"
        ) as caught:
            singleshot.report(run_folder, data=data, split="test")
        assert caught.value.kind == "other-classes" and caught.value.exit_code == 65
    run = Run(run_folder, run_folder / "best.safetensors", model, None, 2, 1.0, 1.0, val_data=dataset)
    made = singleshot.report(run).read_text(encoding="utf-8")
    assert re.search(rf"left out, faulty<.*?>{count}: {file.name}:", made), "its --on-bad let it pass"


def test_a_folder_without_data_shows_its_training_alone(run_folder: Path, tmp_path: Path) -> None:
    made = singleshot.report(run_folder, out=tmp_path / "r.html").read_text(encoding="utf-8")
    assert "Nothing was evaluated" in made and "Loss by part" in made
    assert not (run_folder / "pictures").exists() and not (run_folder / "report.html").exists()


def test_a_folder_without_a_run_and_an_existing_file_are_named(
    run_folder: Path, tmp_path: Path, street_folder: Path
) -> None:
    with pytest.raises(InputMissingError, match="no run"):
        singleshot.report(tmp_path / "nothing")
    (run_folder / "report.html").write_text("mine")
    with pytest.raises(CannotCreateError):
        singleshot.report(run_folder, data=street_folder, split="test")
    assert (run_folder / "report.html").read_text() == "mine"


def test_other_classes_are_refused(run_folder: Path, street_folder: Path) -> None:
    other = voc.read(street_folder, "test")
    swapped = other.label_map.names[::-1]
    from tests.reporting.conftest import renamed

    with pytest.raises(DataError, match="classes"):
        singleshot.report(run_folder, data=renamed(other, swapped))


def test_evaluate_writes_a_page_beside_weights_of_a_run_and_nowhere_else(
    run_folder: Path, street_folder: Path, tmp_path: Path
) -> None:
    def evaluate(*more: str | Path) -> str:
        file = run_folder / "best.safetensors"
        call = ["evaluate", str(file), "--data", str(street_folder), "--split", "test", *map(str, more)]
        result = CliRunner().invoke(app, call)
        assert result.exit_code == 0, result.exception
        return result.output

    beside = run_folder / "report-test.html"
    assert f"report: {beside}" in evaluate()
    asked = tmp_path / "asked.html"
    evaluate("--report", asked, "--metric", "coco")
    assert "AP (coco)" in asked.read_text(encoding="utf-8")
    beside.write_text("mine")
    evaluate()
    assert beside.read_text() == "mine"
    (run_folder / "recipe.json").unlink()
    before = sorted(run_folder.iterdir())
    assert "report:" not in evaluate() and sorted(run_folder.iterdir()) == before


@pytest.mark.slow
def test_train_writes_a_page_and_notes_when_it_evaluated_training_images(street_folder: Path, tmp_path: Path) -> None:
    call = ["train", "--data", street_folder, "--val-split", "none", "--steps", "2", "--batch-size", "2"]
    call += ["--input-size", "64x96", "--workers", "0", "--out", tmp_path / "run"]
    result = CliRunner().invoke(app, [str(each) for each in call])
    assert result.exit_code == 0, result.exception
    made = (tmp_path / "run" / "report.html").read_text(encoding="utf-8")
    assert "no validation split" in made and len(list((tmp_path / "run" / "pictures").iterdir())) == 2
