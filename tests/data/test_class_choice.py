"""The classes that a user wants, in every command that reads data, and in runs that go on."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from singleshot.cli.main import app
from singleshot.data import class_choice, read, split_file
from singleshot.data.class_choice import ClassChoice
from singleshot.data.masks import files
from singleshot.errors import DataError, UsageError
from singleshot.structures import VOID, LabelMap
from tests.data.exports import EXPORTS, MASK_EXPORTS

QUICK = ("--model", "lite320-fine", "--set", "input_size_hw=[64,96]", "--batch-size", "1", "--workers", "0")


def run(*arguments: str | Path) -> str:
    result = CliRunner().invoke(app, [str(each) for each in arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return " ".join(result.output.split())


@pytest.fixture
def pets(tmp_path: Path) -> Path:
    """Two dogs and a cat in three images."""
    EXPORTS["Roboflow COCO"][1](tmp_path / "pets")
    return tmp_path / "pets"


def test_a_subset_has_its_own_order_and_ids_and_says_what_is_not_read(pets: Path) -> None:
    dataset = read.read(pets, "train", choice=ClassChoice(("dog",)))
    assert dataset.label_map.names == ("dog",) and dataset.category_ids == (2,)
    assert [sample.class_ids.tolist() for sample in dataset.samples] == [[0], [0], []]
    notes = [fault.message for fault in dataset.faults if "chosen" in fault.message]
    assert notes == ["1 objects of classes that were not chosen are not read."]
    both = read.read(pets, "train", choice=ClassChoice(("dog", "cat")))
    assert both.label_map.names == ("dog", "cat")
    assert [sample.class_ids.tolist() for sample in both.samples] == [[1, 0], [0], []]


def test_renaming_two_classes_to_one_name_merges_them(pets: Path) -> None:
    choice = ClassChoice(rename={"dog": "pet", "cat": "pet"})
    dataset = read.read(pets, "train", choice=choice)
    assert dataset.label_map.names == ("pet",) and dataset.category_ids == (1,)
    assert [len(sample.class_ids) for sample in dataset.samples] == [2, 1, 0]
    of_model = read.read(pets, "train", choice=choice, label_map=LabelMap(("other", "pet")))
    assert [sample.class_ids.tolist() for sample in of_model.samples] == [[1, 1], [1], []]
    lacking = read.read(pets, "train", choice=ClassChoice(rename={"cat": "puss"}), label_map=LabelMap(("dog",)))
    assert [fault.message for fault in lacking.faults if fault.kind == "unknown-class"] != []


@pytest.mark.parametrize("tool", EXPORTS)
def test_classes_are_renamed_and_chosen_in_every_layout(tool: str, tmp_path: Path) -> None:
    EXPORTS[tool][1](tmp_path)
    for split in read.splits(tmp_path):
        before = read.read(tmp_path, split, cache=False)
        after = read.read(tmp_path, split, cache=False, choice=ClassChoice(("hound",), {"dog": "hound"}))
        assert (after.label_map.names, len(after)) == (("hound",), len(before))
        dogs = [int((sample.class_ids == 1).sum()) for sample in before.samples]
        assert [sample.class_ids.tolist() for sample in after.samples] == [[0] * count for count in dogs]
        assert after.category_ids == before.category_ids[1:]


def test_a_name_that_there_is_not_is_an_error_with_the_nearest_but_not_of_a_stored_run(pets: Path) -> None:
    for choice, said in (
        (ClassChoice(("dogs",)), "--classes: no class 'dogs'"),
        (ClassChoice(rename={"cta": "x"}), "--rename"),
    ):
        with pytest.raises(UsageError, match=said) as raised:
            read.read(pets, "train", choice=choice)
        assert "Did you mean" in (raised.value.remedy or "")
        assert len(read.read(pets, "train", choice=ClassChoice(choice.classes, choice.rename, strict=False))) == 3
    for classes, rename in (("cat,,dog", ()), ("cat,cat", ()), (None, ["cat"]), (None, ["a=b", "a=c"]), (None, ["=b"])):
        with pytest.raises(UsageError):
            class_choice.parse(classes, rename)
    assert not class_choice.parse(None, None) and class_choice.parse("a", None)


def test_pixels_of_classes_that_were_not_chosen_are_void_and_merged_ones_equal(tmp_path: Path) -> None:
    MASK_EXPORTS["CVAT Segmentation mask 1.1"][1](tmp_path)
    plain = read.read(tmp_path, "train", with_masks=True)
    chosen = read.read(tmp_path, "train", with_masks=True, choice=ClassChoice(("pet",), {"cat": "pet", "dog": "pet"}))
    assert chosen.label_map.names == ("pet",) and chosen.colours == (plain.colours[1],)
    path = chosen.samples[0].mask_path
    assert path is not None and plain.mask_code is not None and chosen.mask_code is not None
    before, after = files.read(path, plain.mask_code), files.read(path, chosen.mask_code)
    assert (after[before > 0] == 0).all() and (after[before == 0] == VOID).all()


def test_every_data_command_takes_the_choice(pets: Path, tmp_path: Path) -> None:
    choice = ("--classes", "pet", "--rename", "dog=pet")
    run("data", "stats", pets, *choice, "--json", tmp_path / "stats.json")
    found = json.loads((tmp_path / "stats.json").read_text())["classes"]
    assert {name: row["objects"] for name, row in found.items()} == {"pet": 2}
    assert "3 images and 2 boxes as yolo" in run("data", "convert", pets, tmp_path / "y", "--to", "yolo", *choice)
    assert 'names:\n  0: "pet"' in (tmp_path / "y" / "data.yaml").read_text()
    assert "3 images" in run("data", "show", pets, "--out", tmp_path / "a.png", *choice)
    split = tmp_path / "split.json"
    assert "pet" in run("data", "split", pets, "--by", "random", "--val", "0.4", "--out", split, *choice)
    assert "lite320-fine" in run("data", "anchors", pets, *choice)


def test_a_run_records_its_classes_and_evaluate_and_resume_apply_them_again(pets: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    choice = ("--classes", "pet", "--rename", "dog=pet")
    said = run("train", "--data", pets, *QUICK, "--steps", "1", "--val-split", "none", "--out", out, *choice)
    assert "1 classes, 2 objects" in said
    stored = split_file.read(out / "split.json")
    assert stored.choice == ClassChoice(("pet",), {"dog": "pet"}, strict=False)
    weights = out / "best.safetensors"
    said = run("evaluate", weights, "--data", pets, "--split", "train", "--json", tmp_path / "e.json")
    assert json.loads((tmp_path / "e.json").read_text())["ground_truths"] == 2
    again = (
        "train",
        "--data",
        pets,
        *QUICK,
        "--steps",
        "2",
        "--val-split",
        "none",
        "--out",
        out,
        "--resume",
        "--force",
    )
    assert "1 classes, 2 objects" in run(*again)
    assert split_file.read(out / "split.json").choice == stored.choice
    # Elsewhere, by the options.
    weights.rename(tmp_path / "w.safetensors")
    said = run("evaluate", tmp_path / "w.safetensors", "--data", pets, "--split", "train", *choice)
    assert "split train: 3 images, 1 classes, 2 objects" in said


def test_a_stored_choice_that_was_changed_by_hand_is_refused(tmp_path: Path) -> None:
    made = split_file.SplitFile({"train": ("a.jpg",)}, choice=ClassChoice(("a",), {"b": "a"}))
    made.write(tmp_path / "split.json")
    content = json.loads((tmp_path / "split.json").read_text())
    for bad in ({"classes": "a"}, {"rename": {"b": 3}}, {"rename": []}):
        (tmp_path / "split.json").write_text(json.dumps(content | bad))
        with pytest.raises(DataError, match="classes or rename"):
            split_file.read(tmp_path / "split.json")
