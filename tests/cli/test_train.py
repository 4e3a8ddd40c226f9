"""`singleshot train`: what it refuses to write over, and where."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from singleshot.cli.main import app
from singleshot.config import field_help
from singleshot.errors import CannotCreateError, UsageError
from singleshot.training import run as training
from singleshot.training.recipe import Recipe


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, ["train", *map(str, arguments)], catch_exceptions=False)


@pytest.fixture(autouse=True)
def no_work(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training, "train", None)


def test_j5_json_never_replaces_what_training_reads(untrained: Path, scenes: Path, tmp_path: Path) -> None:
    before = untrained.read_bytes()
    call = ("--data", scenes, "--weights", untrained, "--out", tmp_path / "run")
    for target in (untrained, min((scenes / "Annotations").iterdir())):
        with pytest.raises(UsageError, match="input"):
            run(*call, "--json", target, "--overwrite")
    assert untrained.read_bytes() == before and not (tmp_path / "run").exists()


def test_json_never_replaces_a_file_of_the_user_or_of_the_run(scenes: Path, tmp_path: Path) -> None:
    (tmp_path / "notes.json").write_text('{"metric": "voc07", "images": 1}')
    with pytest.raises(CannotCreateError, match="already exists"):
        run("--data", scenes, "--out", tmp_path / "run", "--json", tmp_path / "notes.json")
    with pytest.raises(UsageError, match="twice"):
        run("--data", scenes, "--out", tmp_path / "run", "--json", tmp_path / "run" / "best.safetensors")


def test_a_file_as_out_is_refused_without_suggesting_overwrite(scenes: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(CannotCreateError, match="is a file") as raised:
        run("--data", scenes, "--out", tmp_path / "file")
    assert "--overwrite" not in str(raised.value)


def test_the_same_command_with_resume_starts_a_new_run(
    scenes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Recipe] = []

    def stop(_data: Path, recipe: Recipe, **_options: Any) -> None:
        seen.append(recipe)
        raise UsageError("far enough")

    monkeypatch.setattr(training, "train", stop)
    call = ("--data", scenes, "--model", "fcn8s-lite", "--out", tmp_path / "run")
    for more in ((), ("--resume",)):
        with pytest.raises(UsageError, match="far enough"):
            run(*call, *more)
    assert seen[0] == seen[1] and seen[0].model == "fcn8s-lite"
    (tmp_path / "run").mkdir()
    (tmp_path / "run/recipe.json").write_text(replace(seen[0], epochs=None, steps=77).to_json())
    with pytest.raises(UsageError, match="far enough"):
        run("--data", scenes, "--out", tmp_path / "run", "--resume")
    assert seen[2].steps == 77


def test_set_help_lists_every_field_with_its_default_and_needs_no_data() -> None:
    result = CliRunner().invoke(app, ["train", "--set", "help"])
    assert result.exit_code == 0, result.output
    lines = result.output.splitlines()
    names = [line.partition(":")[0] for line in lines if not line.startswith(" ")]
    assert names == [row.name for row in field_help(Recipe)]
    assert "optimizer.lr: a number above 0 (default 0.002)" in lines
    assert lines[lines.index("epochs: a whole number of 1 or more, or null (default 100)") + 1].strip() == (
        "Passes over the training data."
    )
