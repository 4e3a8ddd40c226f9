from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from singleshot.detection import anchor_file
from singleshot.detection.anchor_file import AnchorFile
from singleshot.detection.ssd import config_for
from singleshot.errors import ConfigError, InputMissingError

ROWS = config_for("vgg300", ("a",)).anchors
FILE = AnchorFile("vgg300", (300, 300), "warp", ROWS)


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    anchor_file.write(tmp_path / "a.json", FILE)
    assert anchor_file.read(tmp_path / "a.json") == FILE


def changed(**changes: object) -> str:
    return json.dumps(json.loads(FILE.to_json()) | changes)


def row(**changes: object) -> list[dict]:
    return [json.loads(FILE.to_json())["feature_maps"][0] | changes]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[1]",
        "{",
        "[" * 100_000,
        changed(colour="red"),
        changed(model=3),
        changed(input_size_hw=[300.5, 300]),
        changed(fit="crop"),
        changed(feature_maps=row(ratio=[2.0])),
        changed(feature_maps=row(min_size="30")),
        changed(feature_maps=row(min_size=0)),
        changed(feature_maps=row(min_size=-3)),
        changed(feature_maps=row(ratios=[0])),
        changed(feature_maps=row(max_size=float("inf"))),
        changed(feature_maps=row(min_size=float("nan"))),
        changed(feature_maps=row(size_hw=[0, 3])),
        " " * (anchor_file.MAX_BYTES + 1),
    ],
)
def test_anything_else_is_refused_with_the_files_name(tmp_path: Path, text: str) -> None:
    path = tmp_path / "a.json"
    path.write_text(text)
    with pytest.raises(ConfigError) as raised:
        anchor_file.read(path)
    assert raised.value.file == path and raised.value.exit_code == 78


def test_a_missing_file_is_an_input_that_is_missing(tmp_path: Path) -> None:
    with pytest.raises(InputMissingError):
        anchor_file.read(tmp_path / "a.json")


@pytest.mark.parametrize("strange", [os.mkdir, os.mkfifo, Path.touch])
def test_what_is_no_plain_file_is_refused_and_hangs_nothing(strange: Any, tmp_path: Path) -> None:
    strange(tmp_path / "a.json")
    with pytest.raises(ConfigError, match="no default boxes"):
        anchor_file.read(tmp_path / "a.json")
