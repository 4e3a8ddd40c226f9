from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from singleshot.cli.main import run
from singleshot.errors import ConfigError
from singleshot.pretraining.teachers import load_teacher


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    root = tmp_path / "photos"
    root.mkdir()
    rng = np.random.default_rng(0)
    for number in range(6):
        cv2.imwrite(str(root / f"{number}.png"), rng.integers(0, 256, (64, 80, 3), dtype=np.uint8))
    return root


def command(*arguments: object) -> int:
    with pytest.raises(SystemExit) as end:
        run([str(each) for each in arguments])
    return int(end.value.code or 0)


def test_pretrain_writes_weights_a_report_and_json(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    try:
        load_teacher()
    except ConfigError as error:
        pytest.skip(str(error))
    out, facts = tmp_path / "b.safetensors", tmp_path / "b.json"
    options = ("--images", photos, "--out", out, "--steps", 2, "--batch-size", 2, "--workers", 0)
    assert command("pretrain", *options, "--json", facts) == 0
    printed = capsys.readouterr()
    assert f"weights: {out}" in printed.out and "Apache-2.0" in printed.err
    assert json.loads(facts.read_text())["steps"] == 2
    assert (tmp_path / "b.pretraining/report.html").is_file()
    assert command("pretrain", *options) == 73  # nothing is replaced unasked
    assert command("weights", "info", out) == 0
    assert "teacher:" in capsys.readouterr().out


def test_the_shipped_detector_teaches_without_the_extra_package(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "b.safetensors"
    options = ("--images", photos, "--out", out, "--steps", 1, "--batch-size", 2, "--workers", 0)
    assert command("pretrain", *options, "--teacher", "everyday") == 0
    assert "teacher: MediaPipe Objectron's SSD with MobileNetV2" in capsys.readouterr().err
    assert command("weights", "info", out) == 0
    assert "distilled from MediaPipe Objectron's SSD" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--teacher", "everyday", "--teacher-file", "t.pth"), "--teacher-file is EfficientNet-Lite0's"),
        (("--out", "b.pth"), "is not a .safetensors file"),
        (("--resume", "--overwrite"), "--resume continues a run"),
        (("--teacher", "lite9"), "lite9"),
    ],
)
def test_wrong_options_are_refused(
    photos: Path, options: tuple[str, ...], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command("pretrain", "--images", photos, *options) == 2
    assert message in capsys.readouterr().err
