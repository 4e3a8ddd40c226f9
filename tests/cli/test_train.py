"""`singleshot train`: what it refuses to write over, and where."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from singleshot.cli.main import app
from singleshot.errors import CannotCreateError, UsageError
from singleshot.training import run as training


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


def test_json_is_refused_where_a_file_of_the_users_or_of_the_run_itself_would_be_lost(
    scenes: Path, tmp_path: Path
) -> None:
    (tmp_path / "notes.json").write_text('{"metric": "voc07", "images": 1}')
    with pytest.raises(CannotCreateError, match="already exists"):
        run("--data", scenes, "--out", tmp_path / "run", "--json", tmp_path / "notes.json")
    with pytest.raises(UsageError, match="twice"):
        run("--data", scenes, "--out", tmp_path / "run", "--json", tmp_path / "run" / "best.safetensors")


def test_a_file_as_out_is_refused_without_the_advice_to_overwrite_it(scenes: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(CannotCreateError, match="is a file") as raised:
        run("--data", scenes, "--out", tmp_path / "file")
    assert "--overwrite" not in str(raised.value)
