"""`singleshot predict`: what it may write, and how it goes on past what it cannot read."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from singleshot.cli import predict_outputs
from singleshot.cli.main import app
from singleshot.errors import CannotCreateError, NotPermittedError, SingleshotError, StorageError, UsageError
from singleshot.images import read_image
from singleshot.prediction.frames import Frame, ImageError
from singleshot.prediction.image_reader import ImageReader
from tests.prediction.videos import make


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, ["predict", *map(str, arguments)], catch_exceptions=False)


@pytest.fixture
def folder(scenes: Path, tmp_path: Path) -> Path:
    (tmp_path / "in").mkdir()
    for place, picture in enumerate(sorted((scenes / "JPEGImages").iterdir())[:3]):
        (tmp_path / "in" / f"{place}.jpg").write_bytes(picture.read_bytes())
    return tmp_path / "in"


def test_j5_json_never_replaces_the_weights_or_an_image(untrained: Path, folder: Path) -> None:
    before = {path: path.read_bytes() for path in (untrained, *folder.iterdir())}
    for target in before:
        for more in ((), ("--overwrite",)):
            with pytest.raises(UsageError, match="input"):
                run(untrained, folder, "--json", target, *more)
    assert {path: path.read_bytes() for path in before} == before


@pytest.mark.parametrize("with_json", [False, True])
def test_rows_are_kept_for_the_report_alone(
    with_json: bool, untrained: Path, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "broken.jpg").write_bytes(b"text")
    opened: list[predict_outputs.Outputs] = []
    init = predict_outputs.Outputs.__init__

    def remember(self: predict_outputs.Outputs, *given: Any, **options: Any) -> None:
        init(self, *given, **options)
        opened.append(self)

    monkeypatch.setattr(predict_outputs.Outputs, "__init__", remember)
    options = ["--json", tmp_path / "p.json"] if with_json else []
    result = run(untrained, folder, make(tmp_path / "v.mp4", 3), *options)
    assert "broken.jpg" in result.stderr
    (outputs,) = opened
    assert len(outputs._report["pictures"]) == (4 if with_json else 0)
    assert [len(video["frames"]) for video in outputs._report["videos"]] == [3 if with_json else 0]


def test_predict_json_replaces_only_its_own_report(untrained: Path, folder: Path, tmp_path: Path) -> None:
    file = tmp_path / "p.json"
    assert run(untrained, folder, "--json", file).exit_code == 0
    assert run(untrained, folder, "--json", file, "--threshold", "0.25").exit_code == 0
    assert json.loads(file.read_text())["threshold"] == 0.25
    file.write_text('{"metric": "voc07", "images": 3}')
    with pytest.raises(CannotCreateError):
        run(untrained, folder, "--json", file)
    assert run(untrained, folder, "--json", file, "--overwrite").exit_code == 0
    assert len(json.loads(file.read_text())["pictures"]) == 3


def test_bad_outputs_are_refused_before_an_image_is_read(untrained: Path, folder: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("singleshot.images.read_image", None)
        for options in (("--out", tmp_path / "file"), ("--json", tmp_path / "file" / "a.json"), ("--json", tmp_path)):
            with pytest.raises(CannotCreateError):
                run(untrained, folder, *options)
        with pytest.raises(UsageError, match="twice"):
            run(untrained, folder, "--out", tmp_path / "out", "--json", tmp_path / "out" / "0.jpg")


@pytest.mark.parametrize(
    ("error", "code"),
    [(NotPermittedError("no permission to read"), 77), (StorageError("reading failed (Input/output error)"), 74)],
)
def test_predict_continues_after_a_file_system_error(
    untrained: Path, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: SingleshotError, code: int
) -> None:
    (folder / "bad.jpg").write_bytes(b"<html>")  # 65, which is not the worst

    def frames(_reading: ImageReader, files: Sequence[Path]) -> Iterator[Frame | ImageError]:
        """Reads in this process, where one picture is refused."""
        for file in files:
            try:
                if file.name == "1.jpg":
                    raise error
                yield Frame(read_image(file), str(file))
            except SingleshotError as fault:
                yield ImageError(str(file), fault)

    monkeypatch.setattr(ImageReader, "frames", frames)
    result = run(untrained, folder, "--json", tmp_path / "p.json", "--out", tmp_path / "out", "--threshold", "0")
    assert result.exit_code == code
    rows = json.loads((tmp_path / "p.json").read_text())["pictures"]
    assert [Path(row["file"]).name for row in rows if "error" in row] == ["1.jpg", "bad.jpg"]
    assert error.message in rows[1]["error"] and "2 of 4 images could not be read" in result.stderr
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"0.jpg", "2.jpg"}


@pytest.mark.parametrize(
    ("names", "kind", "said"),
    [
        (("classes.jpg",), "yolo", "place of classes.txt"),
        (("clip_000000.jpg", "clip.mp4"), "voc", "a frame's of clip"),
        (("in-a.jpg.png", "a.jpg", "a.png"), "yolo", "the name of those of"),
    ],
)
def test_two_sources_never_share_an_annotation_file(
    untrained: Path, folder: Path, tmp_path: Path, names: tuple[str, ...], kind: str, said: str
) -> None:
    for old in list(folder.iterdir())[1:]:
        old.unlink()
    (picture,) = folder.iterdir()
    for name in names:
        if name.endswith(".mp4"):
            make(folder / name, 2)
        else:
            (folder / name).write_bytes(picture.read_bytes())
    picture.unlink()
    with pytest.raises(UsageError, match=said):
        run(untrained, folder, "--out", tmp_path / "out", "--save", kind)
    assert not (tmp_path / "out").exists()
    assert run(untrained, folder, "--out", tmp_path / "out", "--save", "json").exit_code == 0


@pytest.mark.parametrize("option", [("--backend", "torch"), ("--bf16",), ("--trust",), ("--tile-size", "64")])
def test_an_option_that_an_engine_would_ignore_is_refused(
    untrained: Path, folder: Path, tmp_path: Path, option: tuple[str, ...]
) -> None:
    with pytest.raises(UsageError, match=option[0]):
        run(untrained, folder, "--engine", "process", "--out", tmp_path / "out", *option)
    assert not (tmp_path / "out").exists()


def test_predict_says_where_the_drawn_copies_are_and_in_how_many_images_nothing_reached_the_threshold(
    untrained: Path, folder: Path, tmp_path: Path
) -> None:
    said = run(untrained, folder, "--out", tmp_path / "out").stderr
    assert "nothing from a score of 0.5 on in 3 of 3 images; see --threshold" in said
    assert f"drawn copies: {tmp_path / 'out'}" in said
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["0.jpg", "1.jpg", "2.jpg"]


def test_the_lines_about_drawings_and_empty_images_come_only_where_they_are_true(
    untrained: Path, folder: Path, tmp_path: Path
) -> None:
    everything = run(untrained, folder, "--threshold", "0", "--out", tmp_path / "out").stderr
    assert "nothing from" not in everything and "drawn copies" in everything
    chosen = run(untrained, folder, "--threshold", "0.99").stderr
    assert "nothing from" not in chosen, "whoever chose the threshold knows it"
    assert "drawn copies" not in chosen, "without --out there are none"
