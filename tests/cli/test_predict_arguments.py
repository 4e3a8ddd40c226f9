"""Which arguments of `predict` are weights, and the detector that is used without any."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from singleshot.cli.main import app
from singleshot.cli.predict_arguments import weights_and_sources
from singleshot.errors import InputMissingError, UsageError
from tests.starts.litert import OWN


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, ["predict", *map(str, arguments)], catch_exceptions=False)


@pytest.mark.parametrize(
    ("arguments", "weights"),
    [
        (["photo.jpg"], None),
        (["photo.jpg", "other.jpg"], None),
        (["folder", "other.jpg"], None),
        (["0"], None),
        (["in/*.jpg", "b.png"], None),
        (["best.safetensors", "photo.jpg"], "best.safetensors"),
        (["BEST.ONNX", "photo.jpg"], "BEST.ONNX"),
        (["model.pth", "photo.jpg"], "model.pth"),
        (["everyday", "photo.jpg"], "everyday"),
        (["ssd300-coco", "photo.jpg"], "ssd300-coco"),
        (["ssd300_vgg16", "photo.jpg"], "ssd300_vgg16"),
        (["me/cells", "photo.jpg"], "me/cells"),
        (["me/cells@v1", "photo.jpg"], "me/cells@v1"),
        (["me/cells"], None),
        (["evryday", "photo.jpg"], "evryday"),
    ],
)
def test_the_form_of_the_first_argument_decides(
    arguments: list[str], weights: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert weights_and_sources(arguments) == (weights, arguments if weights is None else arguments[1:])


def test_what_is_local_is_a_source_unless_it_is_a_folder_with_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("me/cells", "runs/mine", "hub"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "runs/mine/best.safetensors").touch()
    (tmp_path / "hub/model.safetensors").touch()
    assert weights_and_sources(["me/cells", "a.jpg"])[0] is None
    assert weights_and_sources(["hub", "a.jpg"])[0] == "hub"
    with pytest.raises(InputMissingError, match=r"Did you mean runs/mine/best\.safetensors"):
        run("runs/mine", OWN[0])


def test_a_mistyped_weights_file_or_name_is_an_error_and_weights_alone_are_too(tmp_path: Path) -> None:
    with pytest.raises(InputMissingError, match=r"typo\.safetensors: no such weights file"):
        run(tmp_path / "typo.safetensors", OWN[0])
    with pytest.raises(InputMissingError, match="Did you mean everyday"):
        run("evryday", OWN[0])
    with pytest.raises(UsageError, match="nothing to predict on"):
        run("everyday")
    with pytest.raises(InputMissingError, match=r"no\.jpg: no such file"):
        run(tmp_path / "no.jpg")


def test_a_photograph_alone_is_shown_to_everyday_and_the_first_line_is_reported(tmp_path: Path) -> None:
    result = run(*OWN, "--out", tmp_path / "out", "--json", tmp_path / "found.json")
    assert result.exit_code == 0 and result.stderr.startswith("model: everyday, 23 classes, shown from a score of 0.4")
    assert result.stdout.splitlines()[0].endswith("cat.jpg: cat 0.85") and (tmp_path / "out" / "cat.jpg").is_file()
    report = json.loads((tmp_path / "found.json").read_text(encoding="utf-8"))
    assert report["threshold"] == 0.4 and [len(each["detections"]) for each in report["pictures"]] == [1, 2]
    named = run("everyday", OWN[0])
    assert "model:" not in named.stderr and named.stdout.endswith("cat 0.85\n")


def test_a_threshold_for_one_class_leaves_the_models_own_to_the_others() -> None:
    result = run(*OWN, "--threshold", "car=0.6")
    assert "cat 0.85" in result.stdout and result.stdout.count("car 0.") == 1


def test_many_images_use_everyday_and_its_threshold_too(tmp_path: Path) -> None:
    result = run(*OWN, "--engine", "process", "--out", tmp_path / "out")
    assert result.exit_code == 0 and result.stderr.startswith("model: everyday")
    report = json.loads((tmp_path / "out" / "detections.json").read_text(encoding="utf-8"))
    assert report["threshold"] == 0.4 and [len(each["detections"]) for each in report["pictures"]] == [1, 2]
