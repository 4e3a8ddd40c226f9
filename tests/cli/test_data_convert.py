from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from singleshot.cli.main import app
from singleshot.data import read
from singleshot.errors import CannotCreateError, FaultyDataError, UsageError
from singleshot.streets import write


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, [str(each) for each in arguments], catch_exceptions=False)


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write.make(
        tmp_path_factory.mktemp("convert") / "data", train=3, val=1, test=1, size_hw=(90, 120), workers=1, seed=1
    )


@pytest.mark.parametrize("to", ["voc", "coco", "yolo"])
def test_all_splits_are_converted_and_recognised_again(to: str, drawn: Path, tmp_path: Path) -> None:
    result = run("data", "convert", drawn, tmp_path / "out", "--to", to)
    assert result.exit_code == 0 and f"as {to}" in result.output
    assert ("trainval only puts other splits together" in " ".join(result.stderr.split())) == (to != "voc")
    assert read.recognise(tmp_path / "out") == to
    assert [len(read.read(tmp_path / "out", split)) for split in ("train", "val", "test")] == [3, 1, 1]
    with pytest.raises(CannotCreateError):
        run("data", "convert", drawn, tmp_path / "out", "--to", to)


def test_a_split_is_chosen_and_renamed(drawn: Path, tmp_path: Path) -> None:
    run(
        "data",
        "convert",
        drawn,
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


def test_faulty_data_is_refused_or_left_out_aloud(shared: Path, tmp_path: Path) -> None:
    options = ("data", "convert", shared / "data/bccd", tmp_path / "out", "--to", "yolo", "--split", "val")
    with pytest.raises(FaultyDataError):
        run(*options)
    assert not (tmp_path / "out").exists()
    result = run(*options, "--on-bad", "skip")
    assert result.exit_code == 0 and "left out" in result.stderr
    assert len(read.read(tmp_path / "out", "val")) == 87
