"""A segmenter through the same loop as the detector: train, judge, save, load, resume, start from weights."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch

from singleshot.data.augment.augment import NONE
from singleshot.data.masks import folders as mask_folders
from singleshot.errors import ConfigError, DataError, FaultyDataError
from singleshot.prediction.load import load_segmenter
from singleshot.preprocess import normalise
from singleshot.segmentation.fcn import FCN, config_for
from singleshot.segmentation.loss import PixelLossConfig
from singleshot.structures import Batch
from singleshot.training.recipe import SHORT_RUNS, Recipe, default_recipe, override
from singleshot.training.run import train
from singleshot.training.setup import Setup, SetupOptions, set_up

pytestmark = pytest.mark.filterwarnings("ignore:.*tensor cores.*", "ignore::FutureWarning")


def tiny(**changes: Any) -> Recipe:
    recipe = Recipe(model="fcn8s-fine", input_size_hw=(48, 64), epochs=2, batch_size=2, workers=0, precision="fp32")
    recipe = override(recipe, ["optimizer.lr=0.003", "schedule.warmup_steps=0", "ema_decay=0.8"])
    return replace(recipe, augmentation=NONE, **changes)


def test_a_run_leaves_log_and_weights_that_segment(halves: Any, tmp_path: Path) -> None:
    run = train(halves.root, tiny(pixel_loss=PixelLossConfig("log", soft_iou=0.5)), out=tmp_path / "run")
    rows = list(csv.DictReader((run.folder / "log.csv").read_text().splitlines()))
    wanted = {"train_pixel", "train_soft_iou", "val_pixel", "val_miou", "val_iou_dark", "train_subset_miou"}
    assert wanted <= set(rows[0]) and [row["epoch"] for row in rows] == ["1", "2"]
    assert run.score == pytest.approx(max(float(row["val_miou"]) for row in rows))
    segmenter = load_segmenter(run.weights)
    assert segmenter.label_map.names == ("dark", "bright") and segmenter.provenance["metric"] == "miou"
    assert run.segmenter.predict(mask_folders.read(halves.root, "val").samples[0].image_path).size_hw == (48, 64)
    with pytest.raises(TypeError):
        _ = run.detector


@pytest.mark.slow
def test_it_learns_to_tell_dark_from_bright(halves: Any, tmp_path: Path) -> None:
    recipe = tiny(epochs=None, steps=80, batch_size=4, validate_every=99)
    run = train(halves.root, recipe, out=tmp_path / "run", val_split=None)
    *_, row = csv.DictReader((run.folder / "log.csv").read_text().splitlines())
    assert float(row["train_subset_miou"]) > 0.9 and run.score is None


def test_f23_the_same_seed_gives_the_same_weights_bit_for_bit(halves: Any, tmp_path: Path) -> None:
    runs = [train(halves.root, tiny(epochs=1), out=tmp_path / f"run{i}", val_split=None) for i in range(2)]
    first, second = (load_segmenter(run.weights, device="cpu").network.state_dict() for run in runs)
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_a19_b33_faulty_pairs_are_refused_and_left_out_when_asked(halves: Any, tmp_path: Path) -> None:
    cv2.imwrite(str(halves.mask("train", 0)), np.zeros((10, 10), np.uint8))
    halves.mask("train", 1).unlink()
    with pytest.raises(FaultyDataError, match="--on-bad skip") as raised:
        train(halves.root, tiny(epochs=1), out=tmp_path / "run")
    assert "00.png" in str(raised.value) and "01.png" in str(raised.value) and raised.value.exit_code == 65
    run = train(halves.root, tiny(epochs=1), out=tmp_path / "run", on_bad="skip")
    kinds = [json.loads(line)["kind"] for line in (run.folder / "bad.jsonl").read_text().splitlines()]
    assert sorted(kinds) == ["missing-mask", "other-size-mask"]


def test_an_unreadable_pair_of_validation_is_counted_and_listed(halves: Any, tmp_path: Path) -> None:
    halves.mask("val", 0).write_bytes(halves.mask("val", 0).read_bytes()[:-20])
    run = train(halves.root, tiny(epochs=1, train_subset=0), out=tmp_path / "run", on_bad="skip")
    rows = [json.loads(line) for line in (run.folder / "bad.jsonl").read_text().splitlines()]
    assert [row["kind"] for row in rows] == ["corrupt-mask"] and rows[0]["file"].endswith("masks/val/00.png")


def test_a_split_without_masks_to_evaluate_by_is_refused_before_the_first_step(halves: Any, tmp_path: Path) -> None:
    split = mask_folders.read(halves.root, "val")
    bare = replace(split, samples=[replace(sample, mask_path=None) for sample in split.samples])
    with pytest.raises(DataError, match="2 of 2 images of val have no mask") as raised:
        train(mask_folders.read(halves.root, "train"), tiny(), out=tmp_path / "run", val=bare)
    assert raised.value.kind == "no-masks" and not (tmp_path / "run").exists()


def test_f14_too_little_shared_memory_for_evaluating_is_found_before_the_first_step(
    halves: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []
    monkeypatch.setattr("singleshot.data.load.loader.check_shared_memory", asked.append)
    split = mask_folders.read(halves.root, "train")
    network = FCN(config_for("fcn8s-fine", split.label_map.names, (48, 64)))
    val = mask_folders.read(halves.root, "val")
    set_up(network, tiny(train_subset=2), split, val, SetupOptions(workers=2)).loader.close()
    # Two workers with two batches of eight ready and one in work: images and masks, both of 48×64. Then training's.
    assert asked[:2] == [2 * 3 * 8 * (48 * 64 * 3 + 48 * 64)] * 2


def test_b31_an_unknown_value_stops_the_run_with_its_file(halves: Any, tmp_path: Path) -> None:
    cv2.imwrite(str(halves.mask("train", 2)), np.full((48, 64), 5, np.uint8))
    with pytest.raises(DataError, match="unknown value 5") as raised:
        train(halves.root, tiny(epochs=1), out=tmp_path / "run", val_split=None)
    assert raised.value.file == halves.mask("train", 2)


def setup_of(halves: Any, **changes: Any) -> Setup:
    split = mask_folders.read(halves.root, "train")
    network = FCN(config_for("fcn8s-fine", split.label_map.names, (48, 64)))
    return set_up(network, tiny(**changes), split, None)


def test_class_weights_come_from_the_pixels_and_are_checked(halves: Any) -> None:
    learnt = setup_of(halves, pixel_loss=PixelLossConfig("log")).criterion.class_weights
    assert learnt is not None and learnt.shape == (2,) and 1.42 < float(learnt.min()) < float(learnt.max())
    assert setup_of(halves).criterion.class_weights is None
    with pytest.raises(ConfigError, match="3 class weights for 2 classes"):
        setup_of(halves, pixel_loss=PixelLossConfig((1.0, 2.0, 3.0)))


def test_b32_an_all_void_batch_gives_a_loss_of_zero(halves: Any) -> None:
    setup = setup_of(halves)
    batch = Batch(
        torch.zeros(1, 48, 64, 3, dtype=torch.uint8),
        torch.full((1, 48, 64), 255, dtype=torch.uint8),
        ("a",),
        torch.tensor([0]),
        torch.tensor([[48, 64]]),
        torch.tensor([True]),
    )
    targets, criterion = setup.criterion.targets(batch), setup.criterion
    logits = setup.network.eval()(normalise(batch.images, setup.network.config.preprocess))
    (part,) = criterion(logits, targets, criterion.totals(targets)).values()
    assert float(part.detach()) == 0.0


def test_b32_void_masks_are_counted_in_the_epochs_row_and_nothing_else_ends_the_run(
    halves: Any, tmp_path: Path
) -> None:
    def blot(place: int) -> None:
        cv2.imwrite(str(halves.mask("train", place)), np.full((48, 64), 255, np.uint8))

    blot(2)
    run = train(halves.root, tiny(epochs=1), out=tmp_path / "run", val_split=None)
    (row,) = csv.DictReader((run.folder / "log.csv").read_text().splitlines())
    assert row["blank"] == "1" and "void-mask" in (run.folder / "bad.jsonl").read_text()
    for place in (0, 1, 3):
        blot(place)
    with pytest.raises(DataError, match="no pixel of a class in the 4 masks"):
        train(halves.root, tiny(epochs=3), out=tmp_path / "void", val_split=None)


def test_the_defaults_of_a_segmenter_ask_for_no_boxes() -> None:
    recipe = default_recipe("fcn8s-lite")
    assert recipe.model == "fcn8s-lite" and all(sampler.is_free for sampler in recipe.augmentation.samplers)
    assert default_recipe("vgg300") == Recipe(model="vgg300", anchors="auto", augmentation=SHORT_RUNS)
