from __future__ import annotations

import json
import shutil
from pathlib import Path

import cv2
import pytest
from typer.testing import CliRunner, Result

from singleshot.cli.main import app
from singleshot.errors import CannotCreateError, DataError, UsageError
from singleshot.streets import write


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, [str(each) for each in arguments], catch_exceptions=False)


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write.make(
        tmp_path_factory.mktemp("looks") / "data", train=5, val=1, test=1, size_hw=(90, 120), workers=1, seed=1
    )


def test_stats_are_printed_written_and_drawn(drawn: Path, tmp_path: Path) -> None:
    result = run("data", "stats", drawn, "--json", tmp_path / "s.json", "--plot", tmp_path / "s.png")
    assert result.exit_code == 0 and "traffic light" in " ".join(result.output.replace("│", " ").split())
    facts = json.loads((tmp_path / "s.json").read_text())
    assert facts["pictures"] == 5 and facts["split"] == "train"
    assert facts["objects"] == sum(each["objects"] for each in facts["classes"].values())
    assert cv2.imread(str(tmp_path / "s.png")) is not None
    with pytest.raises(CannotCreateError):
        run("data", "stats", drawn, "--plot", tmp_path / "s.png")
    assert run("data", "stats", drawn, "--plot", tmp_path / "s.png", "--overwrite").exit_code == 0


def test_a_sheet_is_drawn_of_pictures_and_of_augmentations(drawn: Path, tmp_path: Path) -> None:
    run("data", "show", drawn, "--out", tmp_path / "a.png", "--count", "3", "--columns", "2")
    page = cv2.imread(str(tmp_path / "a.png"))
    assert page.shape[1] == 2 * 126 + 6
    result = run(
        "data", "show", drawn, "--out", tmp_path / "b.jpg", "--augment", "--input-size", "60x80",
        "--letterbox", "--picture", "train_00002", "--recipe", "bccd",
    )  # fmt: skip
    assert result.exit_code == 0 and cv2.imread(str(tmp_path / "b.jpg")).shape[1] == 4 * 86 + 6


def test_what_cannot_be_shown_is_said(drawn: Path, tmp_path: Path) -> None:
    out = ("--out", tmp_path / "a.png")
    with pytest.raises(UsageError, match="car, pedestrian, traffic light"):
        run("data", "show", drawn, *out, "--class", "dog")
    with pytest.raises(UsageError, match="no picture 'x'"):
        run("data", "show", drawn, *out, "--augment", "--picture", "x")
    with pytest.raises(UsageError, match="no picture"):
        run("data", "show", drawn, "--out", tmp_path / "a.txt")
    bare = tmp_path / "bare"
    shutil.copytree(drawn, bare)
    for file in bare.glob("Annotations/test_*.xml"):
        file.write_text(file.read_text().split("<object>")[0].removesuffix("</annotation>") + "</annotation>")
    with pytest.raises(DataError, match="no picture to show"):
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
def test_no_verb_writes_into_the_data_folder(
    words: tuple[str, ...], drawn: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(drawn)
    before = sorted(drawn.rglob("*"))
    with pytest.raises(CannotCreateError, match="never written to") as raised:
        run("data", *words)
    assert raised.value.exit_code == 73 and sorted(drawn.rglob("*")) == before
