from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from singleshot.cli.main import app
from singleshot.errors import CannotCreateError
from tests.exporting import made
from tests.prediction.test_select import pool


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, ["data", "select", *map(str, arguments)], catch_exceptions=False)


def test_the_choice_is_a_list_copies_and_json_and_replaces_nothing(tmp_path: Path) -> None:
    folder, weights = pool(tmp_path / "pool"), made.write_weights(tmp_path)
    (folder / "9.png").write_bytes(b"no image")
    out, copies = tmp_path / "selected.txt", tmp_path / "next"
    options = ("--weights", weights, "--count", "2", "--out", out)
    result = run(folder, *options, "--copy", copies, "--json", tmp_path / "s.json")
    assert result.exit_code == 0 and "2 of 5 images chosen" in result.output and "9.png" in result.output
    chosen = [Path(line) for line in out.read_text().splitlines()]
    assert [row["image"] for row in json.loads((tmp_path / "s.json").read_text())["images"]] == list(map(str, chosen))
    assert {path.name: path.read_bytes() for path in copies.iterdir()} == {
        path.name: path.read_bytes() for path in chosen
    }
    with pytest.raises(CannotCreateError, match="--overwrite"):
        run(folder, *options)
    with pytest.raises(CannotCreateError, match="new folder for --copy"):
        run(folder, *options, "--overwrite", "--copy", copies)
    with pytest.raises(CannotCreateError, match="never written to"):
        run(folder, *options[:-1], folder / "list.txt")
