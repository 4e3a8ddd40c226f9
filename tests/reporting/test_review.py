"""`singleshot.review`: folds, the page, the list, and what it refuses."""

from __future__ import annotations

import csv
import hashlib
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

import singleshot
from singleshot import weights
from singleshot.detection.ssd import SSD, config_for
from singleshot.errors import DataError, FaultyDataError, UsageError
from singleshot.metrics.disagreements import disagreements
from singleshot.reporting import review as reviewing
from singleshot.streets import write
from singleshot.structures import Dataset
from singleshot.training.recipe import Recipe
from tests.reporting.conftest import found_in, nothing_in, renamed


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run's folder with a detector that has learned nothing."""
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("run")
    weights.save(folder / "best.safetensors", SSD(config_for("lite320-fine", write.CLASS_NAMES, (64, 96))), {})
    return folder


def reviewed(dataset: Dataset, found: Any = found_in) -> reviewing.Review:
    results = found(dataset)
    return reviewing.Review(dataset, results, disagreements(dataset.samples, results))


def hashes(folder: Path) -> dict[Path, str]:
    return {path: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.rglob("*") if path.is_file()}


def test_a_run_is_reviewed_into_a_page_and_a_list_and_the_data_stays(
    run_folder: Path, street_folder: Path, tmp_path: Path
) -> None:
    before = hashes(street_folder)
    found = singleshot.review(street_folder, run_folder, out=tmp_path / "out", count=7)
    assert len(found.dataset) == 8, "all splits"
    assert len(found.rows) == 7
    with (tmp_path / "out" / "review.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["rank"] for row in rows] == [str(rank) for rank in range(1, 8)]
    page = (tmp_path / "out" / "review.html").read_text(encoding="utf-8")
    assert page.count("<img ") == 7
    assert hashes(street_folder) == before


def test_facts_tell_both_sides_of_a_row(scenes: Dataset) -> None:
    facts = reviewed(scenes).as_json()
    assert facts["images"] == 4 and len(facts["rows"]) == sum(facts["counts"].values())
    kinds = {row["kind"]: row for row in facts["rows"]}
    assert set(kinds) >= {"missing", "wrong class"}
    assert kinds["missing"]["annotated"] is None and kinds["missing"]["box_xyxy"] is None
    wrong = kinds["wrong class"]
    assert wrong["annotated"] != wrong["detected"] and wrong["iou"] > 0.9


def test_names_from_the_data_are_escaped(scenes: Dataset) -> None:
    odd = renamed(scenes, ("<script>car", "a & b", "c"))
    odd = replace(odd, samples=[replace(each, image_id=f"<i>{each.image_id}") for each in odd.samples])
    page = reviewing.review_page(reviewed(odd))
    assert "<script>" not in page and "<i>" not in page
    assert "&lt;script&gt;car" in page and "&lt;i&gt;" in page


def test_a_page_without_rows_says_so(scenes: Dataset) -> None:
    assert "There is none." in reviewing.review_page(reviewing.Review(scenes, nothing_in(scenes), []))


def test_a_label_tool_gets_the_annotations_as_they_are_and_the_missing_boxes(scenes: Dataset) -> None:
    found = reviewed(scenes)
    images = found.pre_annotated()
    assert [path for path, _ in images] == list(
        dict.fromkeys(scenes.samples[row.index].image_path for row in found.rows)
    )
    for path, boxes in images:
        index = next(place for place, each in enumerate(scenes.samples) if each.image_path == path)
        own = scenes.samples[index]
        missing = [row.score for row in found.rows if row.index == index and row.kind == "missing"]
        np.testing.assert_allclose(boxes.boxes_xyxy[: len(own.boxes_xyxy)], own.boxes_xyxy)
        assert boxes.class_ids[: len(own.class_ids)].tolist() == own.class_ids.tolist()
        assert boxes.scores.tolist() == pytest.approx([1.0] * len(own.class_ids) + missing)


def test_no_model_judges_an_image_that_it_was_trained_on(
    scenes: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained: list[set[Path]] = []
    judged: list[set[Path]] = []

    def train(data: Dataset, _recipe: Any, **options: Any) -> Any:
        assert options["val_split"] is None and options["out"].parent == tmp_path / "out"
        trained.append({each.image_path for each in data.samples})
        return SimpleNamespace(detector=len(trained) - 1)

    def judge(model: Any, data: Dataset, *_options: Any) -> Any:
        own = {each.image_path for each in data.samples}
        assert not own & trained[model]
        judged.append(own)
        return data, found_in(data), []

    monkeypatch.setattr(reviewing, "train", train)
    monkeypatch.setattr(reviewing, "_judged", judge)
    lines: list[str] = []
    found = reviewing.review(scenes, folds=2, out=tmp_path / "out", on_start=lines.append)
    every = {each.image_path for each in scenes.samples}
    assert len(trained) == len(judged) == len(lines) == 2
    assert judged[0] | judged[1] == every and not judged[0] & judged[1]
    assert [each.image_path for each in found.dataset.samples] == [each.image_path for each in scenes.samples]
    whole = found_in(scenes)
    assert all((mine.scores == own.scores).all() for mine, own in zip(found.found, whole, strict=True))


def test_copies_of_an_image_are_in_one_fold(scenes: Dataset, tmp_path: Path) -> None:
    copies = []
    for place, each in enumerate(scenes.samples):
        path = tmp_path / f"copy{place}.jpg"
        path.write_bytes(each.image_path.read_bytes())
        copies.append(replace(each, image_path=path, image_id=path.stem))
    fold = reviewing.fold_of(replace(scenes, samples=[*scenes.samples, *copies]), 2)
    assert fold[:4] == fold[4:] and set(fold) == {0, 1}


def test_folds_do_not_start_from_weights_that_may_know_the_images(run_folder: Path) -> None:
    own, lines = Recipe(weights=str(run_folder / "best.safetensors")), list[str]()
    assert reviewing.without_own_weights(own, lines.append) == replace(own, weights=None)
    assert "do not start from" in lines[0]
    published = Recipe(weights="vgg16-reducedfc")
    assert reviewing.without_own_weights(published) == published
    assert reviewing.without_own_weights(None) is None


@pytest.mark.parametrize(("folds", "message"), [(1, "1 folds"), (50, "too few for 50 folds")])
def test_folds_that_cannot_be_made_are_refused(scenes: Dataset, folds: int, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        reviewing.fold_of(scenes, folds)


def test_arguments_that_do_not_go_together_are_refused(scenes: Dataset, run_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="either weights or folds"):
        reviewing.review(scenes)
    with pytest.raises(UsageError, match="either weights or folds"):
        reviewing.review(scenes, run_folder, folds=2, out=tmp_path)
    with pytest.raises(UsageError, match="trained in a folder"):
        reviewing.review(scenes, folds=2)


def test_nothing_is_written_into_the_data_folder_or_over_a_file(
    street_folder: Path, run_folder: Path, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match="never written to"):
        singleshot.review(street_folder, run_folder, out=street_folder / "review")
    (tmp_path / "review.csv").write_text("mine")
    with pytest.raises(UsageError, match="already exists"):
        singleshot.review(street_folder, run_folder, out=tmp_path)
    assert (tmp_path / "review.csv").read_text() == "mine"


def test_no_image_and_other_classes_are_refused(scenes: Dataset, run_folder: Path) -> None:
    with pytest.raises(DataError, match="no image to review"):
        reviewing.review(replace(scenes, samples=[]), run_folder)
    with pytest.raises((DataError, FaultyDataError), match="classes"):
        reviewing.review(renamed(scenes, ("a", "b", "c")), run_folder)
