from __future__ import annotations

import json
from pathlib import Path

import pytest

from singleshot.errors import CannotCreateError
from singleshot.training.run_folder import RunFolder


def test_i14_a_folder_that_holds_anything_is_refused_unless_asked(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    folder.write_recipe("{}")
    with pytest.raises(CannotCreateError, match="already exists"):
        RunFolder(tmp_path / "run")
    (tmp_path / "run" / "mine.txt").write_text("mine")
    RunFolder(tmp_path / "run", overwrite=True)
    assert (tmp_path / "run" / "mine.txt").read_text() == "mine"


def test_a_file_in_the_folders_place_is_refused_even_then(tmp_path: Path) -> None:
    (tmp_path / "run").write_text("a file")
    with pytest.raises(CannotCreateError):
        RunFolder(tmp_path / "run", overwrite=True)
    assert (tmp_path / "run").read_text() == "a file"


def test_the_log_gains_columns_without_losing_rows(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    folder.log({"epoch": 1, "loss": 2.5})
    folder.log({"epoch": 2, "loss": 1.5, "val_map": 0.5})
    assert (tmp_path / "run" / "log.csv").read_text() == "epoch,loss,val_map\n1,2.5,\n2,1.5,0.5\n"


def test_bad_steps_are_lines_of_json(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    folder.log_bad_step({"step": 3, "pictures": ["a"]})
    folder.log_bad_step({"step": 4, "pictures": ["b"]})
    lines = (tmp_path / "run" / "bad_steps.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == [3, 4]
