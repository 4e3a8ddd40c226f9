"""Comparing runs, from folders as a training leaves them."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

import singleshot
from singleshot import weights
from singleshot.cli.main import app
from singleshot.data import read, split_file
from singleshot.data.boxes import voc
from singleshot.detection.ssd import SSD, config_for
from singleshot.errors import CannotCreateError, DataError, InputMissingError, UsageError
from singleshot.reporting.comparison import compare_runs, curves, recipe_differences
from singleshot.segmentation.fcn import FCN
from singleshot.segmentation.fcn import config_for as fcn_config
from singleshot.streets import write
from singleshot.training.recipe import Recipe

LOG = """\
epoch,step,train_class,train_box,val_map,lr,images_per_second,seconds
1,2,3,1,{0},0.1,5,6
2,4,2,1,{1},0.1,5,12
"""


def make_run(folder: Path, seed: int, scores: tuple[float, float], recipe: Recipe) -> Path:
    torch.manual_seed(seed)
    facts = {"command": "singleshot train", "metric": "voc12"}
    folder.mkdir(parents=True)
    weights.save(folder / "best.safetensors", SSD(config_for("lite320-fine", write.CLASS_NAMES, (64, 96))), facts)
    (folder / "recipe.json").write_text(recipe.to_json())
    (folder / "log.csv").write_text(LOG.format(*scores))
    return folder


@pytest.fixture
def two(tmp_path: Path) -> tuple[Path, Path]:
    """Runs of detectors that have learned nothing, one with another seed and learning rate."""
    base = Recipe()
    other = replace(base, seed=7, optimizer=replace(base.optimizer, lr=0.01))
    return make_run(tmp_path / "a", 0, (0.25, 0.5), base), make_run(tmp_path / "b", 7, (0.125, 0.75), other)


class Texts(HTMLParser):
    """The texts of a page, and whether each element that is opened is closed."""

    def __init__(self, markup: str) -> None:
        super().__init__()
        self.texts: list[str] = []
        self.open: list[str] = []
        self.feed(markup)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in ("meta", "img", "circle", "rect", "polygon", "line", "polyline"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if self.open and self.open[-1] == tag:
            self.open.pop()

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def test_runs_are_compared_on_data_with_recipes_curves_intervals_and_images(
    two: tuple[Path, Path], street_folder: Path, tmp_path: Path
) -> None:
    call = ["report", *map(str, two), "--data", str(street_folder), "--split", "test", "--workers", "0"]
    done = CliRunner().invoke(app, [*call, "--json", str(tmp_path / "c.json")], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    assert f"report: {two[0] / 'comparison.html'}" in done.output and "by no more than chance" in done.output
    made = Texts((two[0] / "comparison.html").read_text(encoding="utf-8"))
    assert made.open == [], "every element is closed"
    assert {"Runs", "By class", "Images on which they differ most", "Recipes", "Curves", "Machine"} <= set(made.texts)
    assert {"optimizer.lr", "seed", "a", "b"} <= set(made.texts) and "batch_size" not in made.texts
    figures = json.loads((tmp_path / "c.json").read_text())
    assert figures["recipe"] == {"seed": [0, 7], "optimizer.lr": [0.002, 0.01]}
    assert [run["best_val_score"] for run in figures["runs"]] == [0.5, 0.75]
    assert set(figures["ap"]) == set(write.CLASS_NAMES) and len(figures["map"]["values"]) == 2
    alone = singleshot.evaluate(two[1] / "best.safetensors", voc.read(street_folder, "test"), metric="voc12")
    assert figures["map"]["values"][1] == alone.map, "the figures are those of evaluate"
    assert compare_runs(two, data=street_folder, split="test").page.is_file(), "a report of ours is replaced"


def test_segmenters_are_compared_on_data_by_iou_with_intervals_and_masks_side_by_side(
    two: tuple[Path, Path], street_folder: Path, tmp_path: Path
) -> None:
    for seed, folder in enumerate(two):
        torch.manual_seed(seed)
        network = FCN(fcn_config("fcn8s-fine", write.MASK_NAMES, (64, 96)))
        weights.save(folder / "best.safetensors", network, {"metric": "miou"})
    call = ["report", *map(str, two), "--data", str(street_folder), "--split", "test", "--workers", "0"]
    done = CliRunner().invoke(app, [*call, "--json", str(tmp_path / "c.json")], catch_exceptions=False)
    assert done.exit_code == 0 and "95 % interval" in done.output, done.output
    markup = (two[0] / "comparison.html").read_text(encoding="utf-8")
    made = Texts(markup)
    assert made.open == [], "every element is closed"
    assert {"By class", "Images on which they differ most", "IoU of a", "IoU of b", "mean IoU of a"} <= set(made.texts)
    assert "(left)" in markup and "right the truth" in markup and markup.count("base64") >= 4
    figures = json.loads((tmp_path / "c.json").read_text())
    assert figures["map"] is None and figures["ap"] == {} and set(figures["iou"]) == set(write.MASK_NAMES)
    dataset = read.read(street_folder, "test", with_masks=True)
    for place, folder in enumerate(two):
        alone = singleshot.evaluate(folder / "best.safetensors", dataset, metric="miou")
        assert figures["miou"]["values"][place] == pytest.approx(alone.score), "the figures are those of evaluate"
        iou = {name: row["values"][place] for name, row in figures["iou"].items()}
        assert iou == pytest.approx(dict(alone.as_json()["iou"]))
    assert figures["miou"]["pixels"] == alone.as_json()["pixels"] and figures["iou"]["road"]["pixels"] > 0
    for low, high in figures["miou"]["intervals"]:
        assert 0 <= low <= high <= 1


def test_without_data_recipes_and_curves_are_compared_and_the_page_says_so(two: tuple[Path, Path]) -> None:
    made = compare_runs(two, out=two[1] / "c.html")
    text = " ".join(Texts(made.page.read_text(encoding="utf-8")).texts)
    assert "Nothing was evaluated" in text and "By class" not in text and "Score of the validation split" in text
    assert not made.paired and made.as_json()["map"] is None
    shutil.copy(two[0] / "recipe.json", two[1] / "recipe.json")
    assert "The recipes are equal." in compare_runs(two).page.read_text(encoding="utf-8")


def test_one_run_has_its_own_page_as_before(two: tuple[Path, Path], street_folder: Path) -> None:
    done = CliRunner().invoke(app, ["report", str(two[0])], catch_exceptions=False)
    assert done.exit_code == 0 and f"report: {two[0] / 'report.html'}" in done.output
    assert "Training run a" in (two[0] / "report.html").read_text(encoding="utf-8")


def test_what_cannot_be_compared_is_refused_with_a_remedy(
    two: tuple[Path, Path], street_folder: Path, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match="two or more different runs"):
        compare_runs([two[0], two[0]])
    with pytest.raises(InputMissingError, match=r"it has no best.safetensors"):
        compare_runs([two[0], tmp_path])
    (tmp_path / "mine.html").write_text("mine")
    with pytest.raises(CannotCreateError, match="is no report of ours"):
        compare_runs(two, out=tmp_path / "mine.html")
    keys = [split_file.key(sample.image_path, street_folder) for sample in voc.read(street_folder, "test").samples]
    for folder, chosen in zip(two, (keys[:2], keys[2:]), strict=True):
        divided = split_file.SplitFile({"val": tuple(chosen)}, shares={"val": 0.5}, data=street_folder.name)
        divided.write(folder / "split.json")
    with pytest.raises(DataError, match="b has other images in val than a") as raised:
        compare_runs(two, data=street_folder)
    assert "--splits" in str(raised.value)
    segmenter = tmp_path / "s"
    shutil.copytree(two[0], segmenter)
    network = FCN(fcn_config("fcn8s-fine", ("road", "other"), (64, 96)))
    weights.save(segmenter / "best.safetensors", network, {})
    with pytest.raises(UsageError, match="detectors and segmenters are not compared"):
        compare_runs([two[0], segmenter], data=street_folder)
    assert compare_runs([two[0], segmenter]).page.is_file(), "their curves are"


def test_values_and_names_of_the_recipes_are_escaped_and_lists_are_whole() -> None:
    assert recipe_differences([{"a": [1, 2], "b": 1}, {"a": [1, 3], "b": 1}]) == {"a": [[1, 2], [1, 3]]}
    assert recipe_differences([{"a": 1}, {}]) == {"a": [1, None]}


def test_curves_of_runs_without_an_epoch_say_so() -> None:
    assert "No run has finished an epoch." in curves(["a", "b"], [[], []])
    drawn = curves(["<a>", "b"], [[{"epoch": 1.0, "val_map": 0.5, "seconds": 60.0}], []])
    assert "minutes of training" in drawn and "&lt;a&gt;" in drawn and "<a>" not in drawn
