from __future__ import annotations

import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
from typer.testing import CliRunner

from singleshot.cli.main import app
from singleshot.data import divide, read, split_file
from singleshot.errors import InputMissingError, UsageError
from tests.data.series import series


def test_the_cards_keep_their_test_split_and_divide_the_others_by_groups_with_classes_in_proportion(
    shared: Path,
) -> None:
    division = divide.divide(shared / "data" / "cards", val=0.15)
    rows = {name: (images, objects) for name, images, objects in division.table()}
    assert rows["test"][0] == 67
    assert rows["train"][0] + rows["val"][0] == 296
    assert abs(rows["val"][0] - 0.15 * 296) <= 3
    for name, count in rows["val"][1].items():
        assert abs(count / (count + rows["train"][1][name]) - 0.15) < 0.04
    assert divide.divide(shared / "data" / "cards", val=0.15).splits == division.splits


def test_training_without_a_word_divides_the_cards_and_keeps_the_test_split(shared: Path) -> None:
    chosen = divide.for_training(shared / "data" / "cards", "train", "val")
    assert chosen.val is not None
    assert len(chosen.train) + len(chosen.val) == 296
    assert chosen.note.splitlines()[0].endswith(
        f"train {len(chosen.train)}, val {len(chosen.val)}; it had no split to validate on"
    )
    assert set(chosen.splits.splits) == {"train", "val"}


def test_a_folder_without_splits_is_divided_into_three(tmp_path: Path) -> None:
    series(tmp_path, {f"x{scene}y": scene for scene in range(40)})
    chosen = divide.for_training(tmp_path, "train", "val")
    assert {name: len(paths) for name, paths in chosen.splits.splits.items()} == {"train": 28, "val": 6, "test": 6}
    assert (len(chosen.train), len(chosen.val or ())) == (28, 6)
    without = divide.for_training(tmp_path, "train", None)
    assert (len(without.train), without.val) == (34, None)


def test_own_splits_are_used_unless_a_share_is_given(tmp_path: Path) -> None:
    series(
        tmp_path,
        {f"{split}/x{split}{scene}y": scene + len(split) * 50 for split in ("train", "valid") for scene in range(10)},
    )
    own = divide.for_training(tmp_path, "train", "val")
    assert (len(own.train), len(own.val or ()), own.note) == (10, 10, "")
    assert own.splits.by == "lists"
    share = divide.for_training(tmp_path, "train", 0.2)
    assert (len(share.train), len(share.val or ())) == (8, 2)
    assert "had no split" not in share.note


def test_an_earlier_division_is_extended_by_new_images_alone_and_what_is_gone_is_reported(tmp_path: Path) -> None:
    series(tmp_path, {f"x{scene}y": scene for scene in range(20)})
    earlier = divide.divide(tmp_path, val=0.25).splits
    series(tmp_path, {f"z{scene}w": scene + 100 for scene in range(8)} | {"copy": int(earlier.splits["val"][0][1:-5])})
    (tmp_path / earlier.splits["train"][0]).unlink()
    later = divide.divide(tmp_path, val=0.25, earlier=earlier)
    for split in ("train", "val"):
        gone = {earlier.splits["train"][0]}
        assert set(earlier.splits[split]) - gone <= set(later.splits.splits[split])
    assert "copy.png" in later.splits.splits["val"]  # where the image that it repeats is
    assert [note for note in later.notes if note.startswith("1 images of the earlier splits")]


def test_a_group_that_joins_two_splits_is_reported(tmp_path: Path) -> None:
    series(tmp_path, {f"train/x{scene}y": scene for scene in range(10)} | {"test/a": 3})
    division = divide.divide(tmp_path, val=0.2)
    assert division.splits.splits["test"] == ("test/a.png",)
    assert [note for note in division.notes if note.startswith("1 groups of images that look alike are in two splits")]


def test_evaluation_takes_the_runs_own_splits_and_warns_of_images_that_were_trained_on(tmp_path: Path) -> None:
    root = tmp_path / "data"
    series(root, {f"x{scene}y": scene for scene in range(40)})
    chosen = divide.for_training(root, "train", "val")
    run = tmp_path / "run"
    run.mkdir()
    (run / "recipe.json").write_text("{}")
    chosen.splits.write(run / "split.json")
    weights = run / "best.safetensors"
    dataset, warnings = divide.for_evaluation(root, None, weights=weights)
    assert (dataset.split, warnings) == ("test", [])
    assert {split_file.key(sample.image_path, root) for sample in dataset.samples} == set(chosen.splits.splits["test"])
    dataset, warnings = divide.for_evaluation(root, "all", weights=weights)
    assert warnings == ["28 of 40 images of all were trained on: the score measures memory"]
    assert divide.for_evaluation(root, None)[0].split == "all"  # other weights: all there are
    content = json.loads((run / "split.json").read_text())
    content["splits"]["test"].pop()
    (run / "split.json").write_text(json.dumps(content))
    with pytest.raises(Exception, match="the hash differs"):
        divide.for_evaluation(root, None, weights=weights)


def test_evaluation_takes_the_split_that_exists(tmp_path: Path) -> None:
    series(tmp_path, {"valid/a": 1, "train/b": 2})
    assert divide.for_evaluation(tmp_path, None)[0].split == "val"
    assert read.choose(tmp_path, ("train",)) == "train"
    shutil.rmtree(tmp_path / "train")
    assert read.choose(tmp_path, ("train",)) == "val"
    assert len(read.read(tmp_path, "val")) == 1
    with pytest.raises(InputMissingError, match="no split 'tset'"):
        divide.for_evaluation(tmp_path, "tset")


def test_splits_of_a_file_stand_in_for_the_folders_own(tmp_path: Path) -> None:
    series(tmp_path, {f"x{scene}y": scene for scene in range(10)})
    splits = divide.divide(tmp_path, val=0.3, by="random").splits
    chosen = divide.for_training(tmp_path, "train", "val", splits=splits)
    assert (len(chosen.train), len(chosen.val or ())) == (7, 3)
    assert len(divide.for_evaluation(tmp_path, "val", splits=splits)[0]) == 3


def test_shares_that_leave_nothing_to_train_on_are_refused(tmp_path: Path) -> None:
    series(tmp_path, {"a": 1})
    with pytest.raises(UsageError, match="leave nothing to train on"):
        divide.divide(tmp_path, val=0.5, test=0.5)


def test_a_folder_of_masks_without_splits_is_divided_by_groups_and_every_part_keeps_its_masks(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for name in ("images", "masks"):
        (tmp_path / name).mkdir()
    for scene in range(20):
        grid = rng.integers(0, 255, (9, 9, 3), np.uint8)
        for copy in range(2):  # two nearly equal images of each scene
            image = cv2.resize(grid, (72, 72), interpolation=cv2.INTER_CUBIC)
            image[copy, scene] ^= 7
            cv2.imwrite(str(tmp_path / "images" / f"x{scene}y{copy}.png"), image)
            cv2.imwrite(str(tmp_path / "masks" / f"x{scene}y{copy}.png"), np.full((72, 72), scene % 2, np.uint8))
    (tmp_path / "classes.txt").write_text("even\nodd\n")
    chosen = divide.for_training(tmp_path, "train", "val", with_masks=True)
    assert {name: len(paths) for name, paths in chosen.splits.splits.items()} == {"train": 34, "val": 6}
    for part in (chosen.train, chosen.val):
        assert part is not None and part.mask_code is not None
        stems = [sample.image_path.stem for sample in part.samples]
        assert [sample.mask_path and sample.mask_path.stem for sample in part.samples] == stems
        assert all(f"{stem[:-1]}{copy}" in stems for stem in stems for copy in "01")
    file = tmp_path.with_name("split.json")
    run("data", "split", tmp_path, "--masks", "--val", "0.15", "--test", "0.15", "--out", file)
    splits = split_file.read(file)
    dataset, warnings = divide.for_evaluation(tmp_path, None, splits=splits, with_masks=True)
    assert (len(dataset), warnings) == (6, []) and dataset.mask_code is not None
    assert len(divide.for_training(tmp_path, "train", "val", splits=splits, with_masks=True).train) == 28


QUICK = ("--model", "lite320-fine", "--set", "input_size_hw=[64,96]", "--batch-size", "2", "--workers", "0")


def run(*arguments: str | Path) -> str:
    result = CliRunner().invoke(app, [str(each) for each in arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return " ".join(result.output.split())


@pytest.mark.slow
def test_the_cards_are_trained_on_by_one_command_which_keeps_their_test_split(shared: Path, tmp_path: Path) -> None:
    cards, out = shared / "data" / "cards", tmp_path / "run"
    said = run("train", "--data", cards, *QUICK, "--steps", "2", "--out", out)
    assert f"{cards}: train is divided by groups of images that look alike: train 2" in said
    splits = split_file.read(out / "split.json").splits
    assert len(splits["train"]) + len(splits["val"]) == 296
    assert all(name.startswith("train/") for name in (*splits["train"], *splits["val"]))
    said = run("evaluate", out / "best.safetensors", "--data", cards, "--json", tmp_path / "test.json")
    assert json.loads((tmp_path / "test.json").read_text())["images"] == 67
    assert "split test: 67 images" in said and "were trained on" not in said
    said = run("evaluate", out / "best.safetensors", "--data", cards, "--split", "val")
    assert f"split val: {len(splits['val'])} images" in said and "were trained on" not in said
    said = run("evaluate", out / "best.safetensors", "--data", cards, "--split", "train")
    count = len(splits["train"])
    assert f"{count} of {count} images of train were trained on: the score measures memory" in said


def test_a_run_that_divided_its_data_resumes_with_the_same_split_although_images_were_added(tmp_path: Path) -> None:
    data, out = tmp_path / "data", tmp_path / "run"
    series(data, {f"x{scene}y": scene for scene in range(12)})
    run("train", "--data", data, *QUICK, "--steps", "2", "--out", out)
    before = (out / "split.json").read_bytes()
    names = split_file.read(out / "split.json").splits
    assert {name: len(paths) for name, paths in names.items()} == {"train": 8, "val": 2, "test": 2}
    series(data, {f"z{scene}y": scene + 50 for scene in range(4)})
    run("train", "--data", data, *QUICK, "--steps", "4", "--out", out, "--resume", "--force")
    assert (out / "split.json").read_bytes() == before
    said = run("evaluate", out / "best.safetensors", "--data", data)
    assert "split test: 2 images" in said and "were trained on" not in said
    assert "were trained on" in run("evaluate", out / "best.safetensors", "--data", data, "--split", "all")
