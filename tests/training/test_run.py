from __future__ import annotations

import csv
import json
import re
import shlex
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from singleshot import weights
from singleshot.cli.main import app
from singleshot.data.boxes import voc
from singleshot.data.load.loader import Loader
from singleshot.detection.ssd import SSD, SSDConfig, config_for
from singleshot.errors import CannotCreateError, ConfigError, DataError, FaultyDataError, UsageError
from singleshot.evaluation.evaluate import evaluate
from singleshot.segmentation.fcn import FCN
from singleshot.segmentation.fcn import config_for as fcn_config
from singleshot.structures import LabelMap
from singleshot.training import run
from singleshot.training.criterion import DetectionCriterion
from singleshot.training.fit import is_good
from singleshot.training.ranks import Ranks
from singleshot.training.recipe import Recipe, default_recipe, override
from singleshot.training.run import command_for_others, provenance_of, recipe_for, this_command, train

pytestmark = pytest.mark.filterwarnings("ignore:.*tensor cores.*", "ignore::FutureWarning")


def tiny(**changes: Any) -> Recipe:
    recipe = Recipe(model="lite320-fine", input_size_hw=(96, 128), epochs=2, batch_size=2, workers=0, precision="fp32")
    recipe = override(recipe, ["optimizer.kind=adamw", "optimizer.lr=0.002", "schedule.warmup_steps=0"])
    return replace(recipe, **changes)


class Watcher:
    def __init__(self) -> None:
        self.steps: list[dict[str, float]] = []
        self.rows: list[dict[str, Any]] = []
        self.warnings: list[str] = []

    def step(self, *, epoch: int, step: int, done: float, parts: Any, rate: float, images: int) -> None:
        del epoch, step, done, rate, images
        self.steps.append(dict(parts))

    def epoch(self, row: Any) -> None:
        self.rows.append(dict(row))

    def warn(self, line: str) -> None:
        self.warnings.append(line)


def test_a_run_leaves_recipe_log_and_weights_that_predict(squares: Path, tmp_path: Path) -> None:
    watcher = Watcher()
    run = train(squares, tiny(), out=tmp_path / "run", observer=watcher)
    assert {path.name for path in run.folder.iterdir()} == {
        "recipe.json",
        "log.csv",
        "best.safetensors",
        "last.safetensors",
        "checkpoints",
        "split.json",
    }
    rows = list(csv.DictReader((run.folder / "log.csv").read_text().splitlines()))
    assert [row["epoch"] for row in rows] == ["1", "2"]
    assert {"train_class", "train_box", "val_class", "val_box", "val_map", "val_ap_square", "train_subset_map"} <= set(
        rows[0]
    )
    assert run.steps == 4 and len(watcher.steps) == 4 and set(watcher.steps[0]) == {"class", "box"}
    loaded = weights.load(run.weights)
    assert loaded.network.config.class_names == ("square",)
    assert loaded.provenance["images"] == 4
    picture = next((squares / "JPEGImages").glob("*.jpg"))
    assert run.detector.predict(picture, threshold=0.0).size_hw == (96, 128)


@pytest.mark.slow
def test_it_learns_to_find_squares(squares: Path, tmp_path: Path) -> None:
    mild = ["augmentation.samplers=[]", "augmentation.expand_probability=0", "ema_decay=0.9"]
    recipe = override(tiny(epochs=None, steps=100, batch_size=4, validate_every=1000), mild)
    split = voc.read(squares, "train")
    run = train(split, recipe, out=tmp_path / "run")
    report = evaluate(run.weights, split, metric="voc12")
    assert report.map is not None and report.map > 0.8


def test_f23_the_same_seed_gives_the_same_weights_bit_for_bit(squares: Path, tmp_path: Path) -> None:
    hashes = [weights.load(train(squares, tiny(), out=tmp_path / f"run{i}").weights) for i in range(2)]
    first, second = (file.network.state_dict() for file in hashes)
    assert all(torch.equal(first[name], second[name]) for name in first)
    other = weights.load(train(squares, tiny(seed=1), out=tmp_path / "run2").weights).network.state_dict()
    assert not all(torch.equal(first[name], other[name]) for name in first)


def test_a_run_never_covers_up_another(squares: Path, tmp_path: Path) -> None:
    train(squares, tiny(epochs=1), out=tmp_path / "run")
    with pytest.raises(CannotCreateError):
        train(squares, tiny(epochs=1), out=tmp_path / "run")
    train(squares, tiny(epochs=1), out=tmp_path / "run", overwrite=True)


@pytest.mark.parametrize("place", ["", "runs/a", "../squares/runs"])
def test_a_run_in_the_data_folder_is_refused(squares: Path, place: str) -> None:
    before = sorted(squares.rglob("*"))
    with pytest.raises(UsageError, match="is in the data folder"):
        train(squares, tiny(), out=squares / place, overwrite=True)
    assert sorted(squares.rglob("*")) == before


def test_the_data_folder_is_never_written_to(squares: Path, tmp_path: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in squares.rglob("*")}
    train(squares, tiny(epochs=1), out=tmp_path / "run")
    assert {path: path.stat().st_mtime_ns for path in squares.rglob("*")} == before


def make_a_zero_size_box(root: Path) -> Path:
    """The first box of the first picture becomes a point; VOC's corners are inclusive, so one side would not do."""
    file = min((root / "Annotations").iterdir())
    text = file.read_text()
    for axis in "xy":
        end = re.search(rf"<{axis}max>(.*?)</{axis}max>", text)
        assert end is not None
        text = re.sub(rf"<{axis}min>.*?</{axis}min>", f"<{axis}min>{end[1]}</{axis}min>", text, count=1)
    file.write_text(text)
    return file


def test_b8_faulty_boxes_are_refused_with_file_and_line_and_left_out_when_asked(squares: Path, tmp_path: Path) -> None:
    file = make_a_zero_size_box(squares)
    with pytest.raises(FaultyDataError, match="--on-bad skip") as raised:
        train(squares, tiny(epochs=1), out=tmp_path / "run")
    assert f"{file}:" in str(raised.value) and not (tmp_path / "run").exists()
    run = train(squares, tiny(epochs=1), out=tmp_path / "run", on_bad="skip")
    listed = [json.loads(line) for line in (run.folder / "bad.jsonl").read_text().splitlines()]
    assert [(fault["file"], fault["kind"]) for fault in listed] == [(str(file), "zero-size-box")]


def test_b18_a20_one_image_and_fewer_images_than_a_batch_train(squares: Path, tmp_path: Path) -> None:
    split = voc.read(squares, "train")
    one = replace(split, samples=split.samples[:1])
    run = train(one, tiny(batch_size=64, steps=2, epochs=None), out=tmp_path / "run")
    assert run.steps == 2


def test_f17_a_loss_that_is_not_finite_takes_no_step_names_the_images_and_gives_up(
    squares: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    honest = DetectionCriterion.__call__
    calls = {"n": 0}

    def poisoned(self: DetectionCriterion, *given: Any) -> dict[str, torch.Tensor]:
        calls["n"] += 1
        parts = honest(self, *given)
        return {name: part * float("nan") for name, part in parts.items()} if calls["n"] > 2 else parts

    monkeypatch.setattr(DetectionCriterion, "__call__", poisoned)
    watcher = Watcher()
    with pytest.raises(DataError, match="not finite 10 steps in a row"):
        train(squares, tiny(epochs=50, validate_every=99), out=tmp_path / "run", observer=watcher)
    records = [json.loads(line) for line in (tmp_path / "run/bad_steps.jsonl").read_text().splitlines()]
    assert len(records) == 10 and all(len(record["pictures"]) == 2 for record in records)
    assert any("not taken" in line and records[0]["pictures"][0] in line for line in watcher.warnings)
    saved = weights.load(tmp_path / "run/last.safetensors")  # refuses weights that are not finite
    assert all(np.isfinite(tensor.numpy()).all() for tensor in saved.network.state_dict().values())


def test_c2_a_cut_image_is_left_out_counted_and_listed_wherever_it_stands(squares: Path, tmp_path: Path) -> None:
    for split in ("train", "val"):
        name = (squares / f"ImageSets/Main/{split}.txt").read_text().split()[0]
        picture = squares / f"JPEGImages/{name}.jpg"
        picture.write_bytes(picture.read_bytes()[:-200])
    with pytest.raises(DataError, match=r"000\.jpg"):
        train(squares, tiny(epochs=1), out=tmp_path / "refused")
    run = train(squares, tiny(epochs=1), out=tmp_path / "run", on_bad="skip")
    listed = [json.loads(line)["file"] for line in (run.folder / "bad.jsonl").read_text().splitlines()]
    assert sorted(Path(file).name for file in listed) == ["000.jpg", "004.jpg"]
    assert run.score is not None and run.weights.is_file()


def test_a_whole_epoch_in_which_nothing_can_be_read_ends_the_run(squares: Path, tmp_path: Path) -> None:
    for name in ("000", "001", "002", "003"):  # the training split
        picture = squares / f"JPEGImages/{name}.jpg"
        picture.write_bytes(picture.read_bytes()[:-200])
    with pytest.raises(DataError, match="no image of the split could be read") as raised:
        train(squares, tiny(epochs=3), out=tmp_path / "run", on_bad="skip")
    assert raised.value.exit_code == 65
    assert len((tmp_path / "run/bad.jsonl").read_text().splitlines()) == 4


def test_a_clock_that_runs_out_after_the_last_step_still_gives_weights(squares: Path, tmp_path: Path) -> None:
    class Slow(Watcher):
        def epoch(self, row: Any) -> None:
            super().epoch(row)
            time.sleep(2.0)

    recipe = tiny(epochs=None, minutes=0.03, validate_every=10**6)
    run = train(squares, recipe, out=tmp_path / "run", observer=Slow())
    assert run.weights.is_file() and run.score is not None


def test_a_run_that_cannot_begin_leaves_no_folder_behind(squares: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="nosuch"):
        train(squares, tiny(model="nosuch"), out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_split_to_evaluate_by_is_used_beside_a_folder_too(squares: Path, tmp_path: Path) -> None:
    one = voc.read(squares, "val", label_map=LabelMap(("square",)))
    watcher = Watcher()
    val = replace(one, samples=one.samples[:1])
    run = train(squares, tiny(epochs=1), out=tmp_path / "run", val=val, val_split=None, observer=watcher)
    assert run.score is not None and watcher.rows[0]["val_map"] is not None
    other = replace(val, label_map=LabelMap(("circle",)))
    with pytest.raises(DataError, match="validation split has the classes circle, the training split has square"):
        train(squares, tiny(epochs=1), out=tmp_path / "other", val=other)
    assert not (tmp_path / "other").exists()


def test_a_log_that_cannot_be_written_is_refused_before_anything_of_the_old_run_goes(
    squares: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train(squares, tiny(epochs=1), out=tmp_path / "run")
    before = {path: path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()}
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(ConfigError, match="tensorboard is not installed"):
        train(squares, tiny(epochs=1), out=tmp_path / "run", overwrite=True, log="tensorboard")
    assert {path: path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()} == before


def test_a_run_that_begins_by_resume_is_kept_out_of_the_data_folder_too(squares: Path) -> None:
    with pytest.raises(UsageError, match="is in the data folder"):
        train(squares, tiny(), out=squares / "run", resume=True)
    assert not (squares / "run").exists()


def test_a_split_whose_images_are_all_evaluated_by_leaves_nothing_to_learn_from(squares: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no image is left to train on"):
        train(squares, tiny(), out=tmp_path / "run", val_split="train", on_bad="skip")
    assert not (tmp_path / "run").exists()


def test_machines_with_unlike_numbers_of_cores_may_train_together(
    squares: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: dict[str, Any] = {}
    monkeypatch.setattr(Ranks, "must_agree", lambda _self, facts: seen.update(facts))
    train(squares, tiny(steps=1, epochs=None), out=tmp_path / "run", val_split=None)
    assert "threads" not in seen and {"recipe.seed", "data.train", "version"} <= seen.keys()


def test_a_container_is_given_workers_for_its_own_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "cores", lambda: 6)
    assert run._workers(tiny(workers=None), Ranks()) == 3
    assert run._workers(tiny(workers=0), Ranks()) == 0


def test_a_command_with_spaces_can_be_typed_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["/somewhere/bin/singleshot", "train", "--data", "my cells", "--set", "x=[1, 2]"])
    assert this_command() == "singleshot train --data 'my cells' --set 'x=[1, 2]'"
    assert shlex.split(this_command())[1:] == sys.argv[1:]


def test_the_command_in_a_file_has_no_absolute_folder_and_is_otherwise_as_typed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    typed = ["/opt/bin/singleshot", "pretrain", "--images", f"{tmp_path}/my pool", f"--out={tmp_path}/b.safetensors"]
    monkeypatch.setattr(sys, "argv", [*typed, "--weights", "starts/a=b.safetensors", "--set", "lr=0.1", "--steps", "7"])
    expected = "singleshot pretrain --images 'my pool' --out=b.safetensors"
    assert command_for_others() == f"{expected} --weights starts/a=b.safetensors --set lr=0.1 --steps 7"
    monkeypatch.setattr(sys, "argv", [""])
    assert command_for_others() == "python"


def test_what_a_file_says_of_its_making_is_plain_json_without_folders_of_this_machine(
    squares: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["singleshot", "train", "--data", str(squares)])
    facts = provenance_of(voc.read(squares, "train"), tiny())
    assert facts["command"] == f"singleshot train --data {squares.name}"
    assert json.loads(json.dumps(facts)) == facts
    assert facts["data"] == squares.name and facts["split"] == "train" and facts["images"] > 0
    assert facts["date"].endswith("+00:00") and str(squares) not in facts["data"]


def test_the_last_good_weights_of_a_diverged_run_have_finite_weights_statistics_and_outputs(
    squares: Path, tmp_path: Path
) -> None:
    recipe = override(tiny(epochs=20), ["optimizer.kind=sgd", "optimizer.lr=1000", "optimizer.clip_norm=null"])
    with pytest.raises(DataError, match=r"the last good weights, of step \d+, are in .*last\.safetensors") as raised:
        train(squares, recipe, out=tmp_path / "run")
    assert raised.value.kind == "loss-not-finite"
    for name in ("last", "best"):
        assert is_good(weights.load(tmp_path / f"run/{name}.safetensors").network)


@pytest.mark.parametrize("part", ["weight", "running_var", "output"])
def test_weights_are_not_good_with_one_number_that_is_not_finite(part: str) -> None:
    network = SSD(config_for("lite320-fine", ["car"], (64, 96))).eval()
    assert is_good(network)
    state = network.state_dict()
    name = next(name for name in state if name.endswith("weight" if part == "output" else part))
    state[name].view(-1)[0] = 3e38 if part == "output" else float("inf")
    if part == "output":
        state[name].fill_(3e38)
    assert not is_good(network)


def test_a_run_without_progress_ends_after_its_patience_and_is_finished_when_resumed(
    squares: Path, tmp_path: Path
) -> None:
    """At a rate of nearly zero, the score never rises above that of the first epoch."""
    recipe = replace(tiny(epochs=9, patience=2), optimizer=replace(tiny().optimizer, lr=1e-12))
    watcher = Watcher()
    stopped = train(squares, recipe, out=tmp_path / "run", observer=watcher)
    assert [row["epoch"] for row in watcher.rows] == [1, 2, 3]
    again = train(squares, recipe, out=tmp_path / "run", resume=True)
    assert again.steps == stopped.steps == 6


def test_without_patience_a_run_takes_all_of_its_epochs(squares: Path, tmp_path: Path) -> None:
    recipe = replace(tiny(epochs=4), optimizer=replace(tiny().optimizer, lr=1e-12))
    assert train(squares, recipe, out=tmp_path / "run").steps == 8


@pytest.mark.parametrize(("keep", "expected"), [(True, 0.0), (False, 0.5)])
def test_images_are_not_mirrored_where_a_class_is_left_or_right(
    squares: Path, tmp_path: Path, keep: bool, expected: float
) -> None:
    data = replace(voc.read(squares, "train"), label_map=LabelMap(("arrow-left",)))
    lines: list[str] = []
    recipe = tiny(epochs=None, steps=1, keep_left_and_right=keep)
    run = train(data, recipe, out=tmp_path / "run", on_start=lines.append)
    stored = Recipe.from_json((run.folder / "recipe.json").read_text())
    assert stored.augmentation.mirror_probability == expected
    assert lines == ["no image is mirrored: left and right differ in arrow-left"] if keep else not lines


def test_images_come_alone_in_the_last_tenth_of_a_run(
    squares: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    combined: list[bool] = []
    plain = Loader.epoch

    def epoch(self: Any, epoch: int = 0, start: int = 0, *, combine: bool = True) -> Any:
        combined.append(combine)
        return plain(self, epoch, start, combine=combine)

    recipe = tiny(epochs=10, validate_every=10, train_subset=0)
    recipe = replace(recipe, augmentation=replace(recipe.augmentation, mosaic_probability=1.0))
    monkeypatch.setattr(Loader, "epoch", epoch)
    train(voc.read(squares, "train"), recipe, out=tmp_path / "run")
    assert combined == [True] * 9 + [False]


def test_thresholds_of_best_f1_are_stored_when_asked_for(squares: Path, tmp_path: Path) -> None:
    plain = train(squares, tiny(epochs=1), out=tmp_path / "plain")
    assert weights.load(plain.weights).network.config.display_threshold == 0.5
    chosen = train(squares, tiny(epochs=1, choose_thresholds=True), out=tmp_path / "chosen")
    stored = weights.load(chosen.weights).network.config
    assert isinstance(stored, SSDConfig) and isinstance(stored.display_threshold, tuple)
    assert stored.display_threshold == chosen.detector.network.config.display_threshold
    assert len(stored.display_threshold) == 1


def test_a_run_from_weights_trains_their_model_from_python_as_from_the_command_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(0)
    file = tmp_path / "w.safetensors"
    weights.save(file, SSD(config_for("lite320-fine", ("square",), (64, 96))), {})
    chosen = recipe_for(None, file)
    assert (chosen.model, chosen.weights) == ("lite320-fine", str(file))

    def stop(_data: object, recipe: Recipe, **_options: object) -> None:
        raise FarEnoughError(recipe)

    monkeypatch.setattr(run, "train", stop)
    with pytest.raises(FarEnoughError) as caught:
        CliRunner().invoke(app, ["train", "--data", str(tmp_path), "--weights", str(file)], catch_exceptions=False)
    assert caught.value.args == (chosen,)


def test_a_recipe_beside_weights_keeps_its_model_and_a_segmenter_asks_for_one(tmp_path: Path) -> None:
    assert recipe_for(None, None) == default_recipe()
    own = Recipe(model="vgg300")
    assert recipe_for(own, None) is own and recipe_for(own, "mine").weights == "mine"
    assert recipe_for(own, tmp_path / "w").model == "vgg300"
    file = tmp_path / "s.safetensors"
    weights.save(file, FCN(fcn_config("fcn8s-fine", ("road", "other"), (64, 96))), {})
    with pytest.raises(DataError, match="a segmenter"):
        recipe_for(None, file)


class FarEnoughError(Exception):
    """Training would begin."""
