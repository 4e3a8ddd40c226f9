from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from singleshot.cli.main import app
from singleshot.data import read
from singleshot.errors import CannotCreateError, UnreachableError, UsageError


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, [str(each) for each in arguments], catch_exceptions=False)


def test_make_streets_draws_any_shape_with_boxes_and_masks(tmp_path: Path) -> None:
    out = tmp_path / "out"
    options = ("data", "make", "streets", "--out", out, "--count", "4", "--size", "75x248", "--workers", "1")
    result = run(*options)
    assert result.exit_code == 0 and "4 images (2 train, 1 val, 1 test)" in result.output
    assert read.read(out, "train").samples[0].size_hw == (75, 248)
    masks = read.read(out, "train", with_masks=True)
    assert masks.mask_code is not None and len(masks) == 2
    with pytest.raises(CannotCreateError):
        run(*options)
    assert run(*options, "--kind", "segmentation", "--overwrite").exit_code == 0


def test_make_streets_draws_a_video_with_tracks(tmp_path: Path) -> None:
    out = tmp_path / "out"
    options = ("--kind", "video", "--frames", "3", "--size", "96x128", "--container", "png")
    result = run("data", "make", "streets", "--out", out, *options)
    assert result.exit_code == 0 and "1 video of 3 frames" in result.output
    assert sorted(path.name for path in out.iterdir()) == ["streets_video.json", "video_000", "video_000.jsonl"]
    with pytest.raises(UsageError):
        run("data", "make", "streets", "--out", tmp_path / "b", "--container", "png")


def test_fetching_without_a_network_exits_with_69(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr("singleshot.storage.download.time.sleep", lambda _: None)
    with pytest.raises(UnreachableError):
        run("data", "fetch", "voc12", "--out", tmp_path, "--mirror", "http://127.0.0.1:1")
    with pytest.raises(UsageError, match="voc07, voc12"):
        run("data", "fetch", "voc2012", "--out", tmp_path)
