"""`singleshot demo`: what it refuses, before it draws anything."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from singleshot.cli.main import app
from singleshot.errors import CannotCreateError
from singleshot.streets import write


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, ["demo", *map(str, arguments)], catch_exceptions=False)


@pytest.mark.parametrize("minutes", ["-1", "0", "nan"])
def test_the_demo_refuses_invalid_minutes_before_anything_is_drawn(tmp_path: Path, minutes: str) -> None:
    refused = run("--minutes", minutes, "--out", tmp_path / "d")
    assert refused.exit_code == 2 and "--minutes" in refused.output
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("names", [("report.txt",), ("curves.png", "notes"), ("data/mine.txt",)])
def test_the_demo_refuses_other_folders_and_leaves_them_unchanged(tmp_path: Path, names: tuple[str, ...]) -> None:
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("mine")
    with pytest.raises(CannotCreateError, match="something other than a demo"):
        run("--out", tmp_path)
    assert all((tmp_path / name).read_text() == "mine" for name in names)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted({name.partition("/")[0] for name in names})


def test_the_demo_recognises_its_report_only_by_the_summary(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / write.MANIFEST).write_text("{}")
    (tmp_path / "report.txt").write_text("mine")
    with pytest.raises(CannotCreateError, match="something other than a demo"):
        run("--out", tmp_path)


def test_the_demo_refuses_a_file_as_its_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    for out in (tmp_path / "file", tmp_path / "file" / "deep"):
        with pytest.raises(CannotCreateError, match="file"):
            run("--out", out)


@pytest.mark.slow
@pytest.mark.parametrize(("given", "stored"), [((), "residual-fine2"), (("--weights", "none"), None)])
def test_the_demo_starts_from_the_backbone_in_the_package_or_as_train_does(
    tmp_path: Path, given: tuple[str, ...], stored: str | None
) -> None:
    few = ("--minutes", "0.02", "--train", "16", "--test", "2", "--no-masks", "--out", tmp_path / "d")
    assert run(*few, *given).exit_code == 0
    assert json.loads((tmp_path / "d" / "train" / "recipe.json").read_text())["weights"] == stored


@pytest.mark.slow
def test_evaluate_repeats_the_results_of_the_demo_exactly(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    few = ("--minutes", "0.1", "--train", "16", "--test", "8", "--no-masks")
    assert run(*few).exit_code == 0
    summary = json.loads(Path("runs/demo/summary.json").read_text())
    call = ["evaluate", summary["weights"], "--data", summary["data"], "--metric", "voc12", "--json", "again.json"]
    assert CliRunner().invoke(app, call, catch_exceptions=False).exit_code == 0
    again = json.loads(Path("again.json").read_text())
    for name in ("map", "ap", "ap_by_size", "detections", "at_thresholds"):
        assert again[name] == summary[name], name
    assert summary["detections"] > 0
    assert run(*few).exit_code == 0  # a demo replaces a demo
