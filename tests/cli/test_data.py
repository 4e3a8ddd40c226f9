"""`singleshot data check|stats|show|convert`."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import cv2
import pytest
from typer.testing import CliRunner, Result

from singleshot.cli import data
from singleshot.cli.main import app
from singleshot.data import read
from singleshot.data.check.audit import Audit
from singleshot.errors import CannotCreateError, DataError, Fault, FaultyDataError, InputMissingError, UsageError
from tests.data.layouts import BOXES, LAYOUTS, Content


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, [str(each) for each in arguments], catch_exceptions=False)


@pytest.fixture
def own(streets: Path, tmp_path: Path) -> Path:
    """A copy that a test may change."""
    return Path(shutil.copytree(streets, tmp_path / "streets"))


def check(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, ["data", "check", "--workers", "0", *map(str, arguments)])


def test_faultless_data_exits_with_0_and_a_summary(own: Path) -> None:
    result = check(own)
    assert result.exit_code == 0
    assert result.output.startswith("voc: 7 images, ")


def test_a_fatal_fault_exits_with_65_and_is_shown_counted_and_written(own: Path, tmp_path: Path) -> None:
    picture = min((own / "JPEGImages").iterdir())
    picture.write_bytes(picture.read_bytes()[:1000])
    file = tmp_path / "faults.json"
    result = check(own, "--json", file)
    assert isinstance(result.exception, DataError) and result.exception.exit_code == 65
    assert "1 fatal fault" in str(result.exception)
    assert f"{picture}: truncated" in result.output and "truncated-picture  fatal         1" in result.output
    written = json.loads(file.read_text(encoding="utf-8"))
    assert list(written) == ["format", "images", "objects", "classes", "faults"]
    (fault,) = [fault for fault in written["faults"] if fault["severity"] == "fatal"]
    assert (fault["file"], fault["line"], fault["kind"]) == (str(picture), None, "truncated-picture")


def test_check_shows_twenty_faults_of_a_kind_and_counts_the_rest() -> None:
    faults = tuple(Fault(Path("a.xml"), line, "clipped-box", "warning", "[red]thin[/red].") for line in range(25))
    shown = data.audit_lines(Audit("voc", 1, 25, ("cat",), faults))
    assert sum(line.startswith("  a.xml:") for line in shown) == 20
    assert "  … and 5 more: use --json FILE for all" in shown and shown[-1] == "clipped-box  warning      25"


def test_check_shows_three_notes_of_a_kind_so_that_they_do_not_hide_faults() -> None:
    faults = tuple(Fault(Path("a.JPG"), None, "capital-extension", "note", "in capitals.") for _ in range(311))
    shown = data.audit_lines(Audit("voc", 311, 0, ("cat",), faults))
    assert sum(line.startswith("  a.JPG:") for line in shown) == 3
    assert "  … and 308 more: use --json FILE for all" in shown and shown[-1] == "capital-extension  note        311"


def test_check_writes_neither_into_the_data_nor_over_a_file(own: Path, tmp_path: Path) -> None:
    before = sorted(own.rglob("*"))
    result = check(own, "--json", own / "faults.json")
    assert isinstance(result.exception, CannotCreateError) and "never written to" in str(result.exception)
    assert sorted(own.rglob("*")) == before
    file = tmp_path / "faults.json"
    file.write_text("mine", encoding="utf-8")
    assert isinstance(check(own, "--json", file).exception, CannotCreateError)
    assert file.read_text(encoding="utf-8") == "mine"
    assert check(own, "--json", file, "--overwrite").exit_code == 0


def test_options_reach_the_audit(own: Path) -> None:
    assert check(own, "--split", "val").output.startswith("voc: 1 images, ")
    assert isinstance(check(own, "--split", "nope").exception, InputMissingError)
    assert isinstance(check(own, "--data-format", "klingon").exception, UsageError)
    assert isinstance(check(own, "--classes", "zebra").exception, DataError)
    assert isinstance(check(own, "--rename", "zebra=horse").exception, UsageError)
    said = check(own, "--rename", "car=mover", "--rename", "pedestrian=mover").output
    assert "classes: mover, traffic light" in said


def test_stats_and_evaluate_name_the_images_that_exif_turns(tmp_path: Path, untrained: Path) -> None:
    doubtful, wrong = tmp_path / "doubtful", tmp_path / "wrong"
    images = LAYOUTS["yolo"].make(doubtful, Content(6))
    (doubtful / "data.yaml").write_text("train: images/train\nnames: [car]\n")
    for command in (("data", "stats", doubtful), ("evaluate", untrained, "--data", doubtful, "--split", "train")):
        said = run(*command).stderr
        assert "2 images are turned by EXIF" in said and all(str(path) in said for path in images)
    images = LAYOUTS["voc"].make(wrong, Content(6))
    for command in (("data", "stats", wrong), ("evaluate", untrained, "--data", wrong, "--on-bad", "skip")):
        said = CliRunner().invoke(app, [*map(str, command)]).stderr
        assert said.count("before its EXIF tag turns it by 90°") == 2 and all(path.name in said for path in images)


def test_stats_are_printed_written_and_drawn(streets: Path, tmp_path: Path) -> None:
    result = run("data", "stats", streets, "--json", tmp_path / "s.json", "--plot", tmp_path / "s.png")
    assert result.exit_code == 0 and "traffic light" in " ".join(result.output.replace("│", " ").split())
    facts = json.loads((tmp_path / "s.json").read_text())
    assert facts["pictures"] == 5 and facts["split"] == "train"
    assert facts["objects"] == sum(each["objects"] for each in facts["classes"].values())
    assert cv2.imread(str(tmp_path / "s.png")) is not None
    with pytest.raises(CannotCreateError):
        run("data", "stats", streets, "--plot", tmp_path / "s.png")
    assert run("data", "stats", streets, "--plot", tmp_path / "s.png", "--overwrite").exit_code == 0


def test_show_draws_a_sheet_of_images_or_of_augmentations(streets: Path, tmp_path: Path) -> None:
    run("data", "show", streets, "--out", tmp_path / "a.png", "--count", "3", "--columns", "2")
    page = cv2.imread(str(tmp_path / "a.png"))
    assert page.shape[1] == 2 * 126 + 6
    result = run(
        "data", "show", streets, "--out", tmp_path / "b.jpg", "--augment", "--input-size", "60x80",
        "--letterbox", "--picture", "train_00002", "--recipe", "bccd",
    )  # fmt: skip
    assert result.exit_code == 0 and cv2.imread(str(tmp_path / "b.jpg")).shape[1] == 4 * 86 + 6


def test_show_explains_what_it_cannot_show(streets: Path, tmp_path: Path) -> None:
    out = ("--out", tmp_path / "a.png")
    with pytest.raises(UsageError, match="car, pedestrian, traffic light"):
        run("data", "show", streets, *out, "--class", "dog")
    with pytest.raises(UsageError, match="no image 'x'"):
        run("data", "show", streets, *out, "--augment", "--picture", "x")
    with pytest.raises(UsageError, match="is not an image file"):
        run("data", "show", streets, "--out", tmp_path / "a.txt")
    bare = tmp_path / "bare"
    shutil.copytree(streets, bare)
    for file in bare.glob("Annotations/test_*.xml"):
        file.write_text(file.read_text().split("<object>")[0].removesuffix("</annotation>") + "</annotation>")
    with pytest.raises(DataError, match="no image to show"):
        run("data", "show", bare, *out, "--split", "test", "--class", "car")
    assert not (tmp_path / "a.png").exists()


@pytest.mark.parametrize(
    "words",
    [
        ("show", ".", "--out", "sheet.png"),
        ("show", "."),
        ("stats", ".", "--plot", "plot.png"),
        ("stats", ".", "--json", "stats.json"),
        ("anchors", ".", "--out", "boxes.json"),
        ("anchors", ".", "--plot", "plot.png"),
        ("convert", ".", "coco", "--to", "coco"),
        ("check", ".", "--json", "faults.json"),
    ],
)
def test_no_data_command_writes_into_the_data_folder(
    words: tuple[str, ...], streets: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(streets)
    before = sorted(streets.rglob("*"))
    with pytest.raises(CannotCreateError, match="never written to") as raised:
        run("data", *words)
    assert raised.value.exit_code == 73 and sorted(streets.rglob("*")) == before


@pytest.mark.parametrize("to", ["voc", "coco", "yolo"])
def test_all_splits_are_converted_and_recognised_again(to: str, streets: Path, tmp_path: Path) -> None:
    result = run("data", "convert", streets, tmp_path / "out", "--to", to)
    assert result.exit_code == 0 and f"as {to}" in result.output
    assert ("trainval only combines other splits" in " ".join(result.stderr.split())) == (to != "voc")
    assert read.recognise(tmp_path / "out") == to
    assert [len(read.read(tmp_path / "out", split)) for split in ("train", "val", "test")] == [5, 1, 1]
    with pytest.raises(CannotCreateError):
        run("data", "convert", streets, tmp_path / "out", "--to", to)


@pytest.mark.parametrize("layout", BOXES)
def test_convert_names_each_image_whose_boxes_exif_may_have_turned(layout: str, tmp_path: Path) -> None:
    images = LAYOUTS[layout].make(tmp_path / "data", Content(3))
    options = ("--to", "coco", "--data-format", LAYOUTS[layout].data_format)
    result = run("data", "convert", tmp_path / "data", tmp_path / "out", *options)
    assert result.exit_code == 0 and "EXIF" in result.stderr
    assert all(f"/{image.stem}." in result.stderr.replace("\n", "") for image in images)


@pytest.mark.parametrize("layout", [name for name in BOXES if LAYOUTS[name].has_size])
def test_convert_refuses_sizes_of_the_unturned_images_and_names_each(layout: str, tmp_path: Path) -> None:
    images = LAYOUTS[layout].make(tmp_path / "data", Content(6))
    options = ("--to", "coco", "--data-format", LAYOUTS[layout].data_format)
    with pytest.raises(FaultyDataError) as caught:
        run("data", "convert", tmp_path / "data", tmp_path / "out", *options)
    assert all(f"but {image.name} has 40×60 pixels" in str(caught.value) for image in images)
    assert not (tmp_path / "out").exists()


def test_convert_selects_and_renames_splits(streets: Path, tmp_path: Path) -> None:
    run(
        "data",
        "convert",
        streets,
        tmp_path / "coco",
        "--to",
        "coco",
        "--split",
        "train=train2017",
        "--split",
        "val=val2017",
    )
    assert sorted(read.splits(tmp_path / "coco")) == ["train2017", "val2017"]
    with pytest.raises(UsageError, match="train2017"):
        run("data", "convert", tmp_path / "coco", tmp_path / "yolo", "--to", "yolo")
    options = ("--split", "train2017=train", "--split", "val2017=val")
    assert run("data", "convert", tmp_path / "coco", tmp_path / "yolo", "--to", "yolo", *options).exit_code == 0


def test_faulty_data_is_refused_or_left_out_with_a_warning(shared: Path, tmp_path: Path) -> None:
    options = ("data", "convert", shared / "data/bccd", tmp_path / "out", "--to", "yolo", "--split", "val")
    with pytest.raises(FaultyDataError):
        run(*options)
    assert not (tmp_path / "out").exists()
    result = run(*options, "--on-bad", "skip")
    assert result.exit_code == 0 and "left out" in result.stderr
    assert len(read.read(tmp_path / "out", "val")) == 87
