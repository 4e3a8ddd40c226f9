from __future__ import annotations

import json
from pathlib import Path

import cv2
import pytest
from typer.testing import CliRunner, Result

from singleshot.cli.main import app
from singleshot.data.drawn import streets
from singleshot.errors import CannotCreateError, DataError, UsageError


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, [str(each) for each in arguments], catch_exceptions=False)


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return streets.make(
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
    for file in drawn.glob("Annotations/test_*.xml"):
        text = file.read_text().split("<object>")[0] + "</annotation>"
        (tmp_path / "A").mkdir(exist_ok=True)
        (tmp_path / "A" / file.name).write_text(text if text.count("</annotation>") == 1 else file.read_text())
    folder = tmp_path / "voc"
    folder.mkdir()
    (folder / "Annotations").symlink_to(tmp_path / "A")
    assert not (tmp_path / "a.png").exists()
    with pytest.raises((DataError, UsageError)):
        run("data", "show", drawn, *out, "--split", "test", "--class", "dog")
