"""The page on boxes and the page on masks, whole: what each part shows of detections that are wrong in known ways."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from singleshot.data.masks import files as mask_files
from singleshot.data.masks import folders as mask_folders
from singleshot.evaluation.coco import coco_report
from singleshot.evaluation.miou import MeanIoU
from singleshot.evaluation.voc import SIZE_BANDS_PX, voc_report
from singleshot.reporting import pages
from singleshot.reporting.masks import MaskExamples
from singleshot.reporting.pages import PageInfo, machine, write_detections, write_masks, write_training
from singleshot.structures import Dataset, Detections, MaskCode
from tests.reporting.conftest import found_in, nothing_in, renamed

INFO = PageInfo("a run <b>", "singleshot train --data 'my data'", [("images per second", "7")])


def page_of(path: Path, found: list[Detections], dataset: Dataset, *, coco: bool = False) -> str:
    report = voc_report(found, dataset, metric="voc12", size_bands_px=SIZE_BANDS_PX)
    other = coco_report(found, dataset) if coco else None
    return write_detections(path, INFO, found, dataset, report, other).read_text(encoding="utf-8")


def test_a_page_shows_every_kind_of_error_with_an_image(scenes: Dataset, tmp_path: Path) -> None:
    made = page_of(tmp_path / "r.html", found_in(scenes), scenes, coco=True)
    for title in ("Wrong class", "Poor box", "Duplicate", "Background taken for an object"):
        part = made.split(f"<h3>{title}</h3>")[1].split("<h3>")[0]
        assert "base64" in part, title
    assert all(f">{name}</td>" in made for name in scenes.label_map.names)
    assert made.count("one scene") == 0 and "at 0.01" in made and "&#x27;my data&#x27;" in made
    assert "AP (coco)" in made and "<b>a run" not in made and "a run &lt;b&gt;" in made
    assert "OpenCV" in made and "GPU" in made


def test_errors_are_shown_at_their_own_threshold_whichever_is_the_last(
    scenes: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = page_of(tmp_path / "plain.html", found_in(scenes), scenes)
    monkeypatch.setattr(pages, "THRESHOLDS", (0.01, 0.1, 0.5, 0.3, 0.9))
    other = page_of(tmp_path / "other.html", found_in(scenes), scenes)
    parts = [made.split("<h3>Missed</h3>")[1].split("Confusion")[0] for made in (plain, other)]
    assert parts[0] == parts[1]


def test_a_page_needs_nothing_from_outside_and_is_small(scenes: Dataset, tmp_path: Path) -> None:
    made = page_of(tmp_path / "r.html", found_in(scenes), scenes)
    sources = re.findall(r"(?:src|href)='([^']{0,20})", made)
    assert sources and all(source.startswith(("data:image/jpeg", "#s")) for source in sources)
    assert (tmp_path / "r.html").stat().st_size < 10_000_000


def test_a_detector_that_finds_nothing_gets_a_page_too(scenes: Dataset, tmp_path: Path) -> None:
    made = page_of(tmp_path / "r.html", nothing_in(scenes), scenes)
    missed = made.split("<h3>Missed</h3>")[1].split("<h3>")[0]
    assert "base64" in missed and "No image has a detection" in made


def test_a_split_without_images_gets_a_page_too(scenes: Dataset, tmp_path: Path) -> None:
    made = page_of(tmp_path / "r.html", [], replace(scenes, samples=()))
    assert "n/a" in made


def test_a_missing_image_costs_its_example_and_not_the_page(scenes: Dataset, tmp_path: Path) -> None:
    gone = replace(scenes, samples=[replace(each, image_path=tmp_path / "gone.jpg") for each in scenes.samples])
    made = page_of(tmp_path / "r.html", found_in(gone), gone)
    assert "could not be read" in made and "base64" not in made


def test_many_classes_give_pairs_instead_of_a_matrix(scenes: Dataset, tmp_path: Path) -> None:
    many = renamed(scenes, tuple(f"class {index}" for index in range(30)))
    made = page_of(tmp_path / "r.html", found_in(many), many)
    assert "detected as" in made and "class='matrix'" not in made


def test_a_hostile_class_name_stays_text(scenes: Dataset, tmp_path: Path) -> None:
    names = ("<script>alert(1)</script>", "a' onload='x", "b")[: len(scenes.label_map)]
    made = page_of(tmp_path / "r.html", found_in(renamed(scenes, names)), renamed(scenes, names))
    assert "<script" not in made and "' onload='" not in made


def test_a_training_alone_makes_a_page(tmp_path: Path) -> None:
    log = [{"epoch": 1.0, "train_class": 2.0, "lr": 0.1}, {"epoch": 2.0, "train_class": 1.0, "lr": None}]
    made = write_training(tmp_path / "r.html", replace(INFO, log=log, warning="beware")).read_text(encoding="utf-8")
    assert "Loss by part" in made and "beware" in made and "Confusion" not in made


@pytest.mark.parametrize("right", [True, False])
def test_a_page_on_masks_shows_the_best_and_the_worst(street_folder: Path, tmp_path: Path, right: bool) -> None:
    dataset = mask_folders.read(street_folder, "test")
    examples, metric = MaskExamples(dataset, each=1), MeanIoU(dataset)
    for index, sample in enumerate(dataset.samples):
        truth = mask_files.read(sample.mask_path or Path(), dataset.mask_code or MaskCode((0,) * 256))
        predicted = truth if right and index else np.zeros_like(truth)
        predicted = np.where(predicted == 255, 0, predicted).astype(np.uint8)
        metric.add(index, truth, predicted)
        examples.add(index, truth, predicted)
    best, worst = examples.best[0], examples.worst[0]
    assert (worst.index, best.miou) == (0, pytest.approx(1.0 if right else best.miou))
    made = write_masks(tmp_path / "r.html", INFO, examples, metric.compute()).read_text(encoding="utf-8")
    assert made.count("base64") == 2 and "mean IoU" in made
    assert np.array_equal(examples.matrix, metric.compute().matrix)


def test_the_machine_is_named() -> None:
    facts = dict(machine())
    assert facts["torch"] == torch.__version__ and facts["GPU"]
    assert int(facts["cores for this process"]) >= 1 and facts["memory"].endswith("GiB")
    assert all(facts.values()), "what is unknown is left out"
