"""`--device`, `--batch-size` and the options of NMS, on every command that runs a model."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner, Result

import singleshot
from singleshot import weights
from singleshot.cli.main import app
from singleshot.detection.ssd import SSD
from singleshot.errors import UsageError
from singleshot.prediction.predictor import Detector
from singleshot.segmentation.fcn import FCN, config_for
from tests.exporting import made


def run(*arguments: str | Path) -> Result:
    result = CliRunner().invoke(app, list(map(str, arguments)), catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result


@pytest.fixture
def lively(tmp_path: Path) -> Path:
    """Weights whose detections overlap, within a class and across classes."""
    network = made.detector().with_postprocess(max_detections=5000).network
    weights.save(tmp_path / "lively.safetensors", network, {"command": "none"})
    return tmp_path / "lively.safetensors"


def test_nms_options_change_predict_as_they_change_the_detector(lively: Path, scenes: Path, tmp_path: Path) -> None:
    image = next((scenes / "JPEGImages").iterdir())
    detector = singleshot.load(lively, fold=True)
    assert isinstance(detector, Detector)
    counts = []
    for options, changes in (
        ((), {}),
        (("--max-detections", "3"), {"max_detections": 3}),
        (("--nms-iou", "0.1"), {"nms_iou": 0.1}),
        (("--class-agnostic-nms",), {"class_agnostic_nms": True}),
    ):
        run("predict", lively, image, "--threshold", "0", "--json", tmp_path / "p.json", *options)
        (row,) = json.loads((tmp_path / "p.json").read_text())["pictures"]
        wanted = detector.with_postprocess(**changes).predict(image, threshold=0.0)
        assert row["detections"] == wanted.as_json()
        counts.append(len(wanted))
    assert counts[1] == 3 and max(counts[2:]) < counts[0]


def test_settings_stored_in_weights_are_used_without_options_and_can_be_undone(
    lively: Path, scenes: Path, tmp_path: Path
) -> None:
    image, stored = next((scenes / "JPEGImages").iterdir()), tmp_path / "set.safetensors"
    before = lively.read_bytes()
    run("weights", "set", lively, "--out", stored, "--class-agnostic-nms", "--nms-iou", "0.2", "--max-detections", "50")
    assert lively.read_bytes() == before
    config = weights.load(stored).network.config.postprocess
    assert (config.class_agnostic_nms, config.nms_iou, config.max_detections) == (True, 0.2, 50)
    shown = run("weights", "info", stored).output
    assert '"class_agnostic_nms": true' in shown and "command" in shown
    rows = []
    undone = ("--per-class-nms", "--nms-iou", "0.45", "--max-detections", "5000")
    for file, options in ((lively, ()), (stored, ()), (stored, undone)):
        run("predict", file, image, "--threshold", "0", "--json", tmp_path / "p.json", *options)
        rows.append(json.loads((tmp_path / "p.json").read_text())["pictures"][0]["detections"])
    assert rows[0] == rows[2] and len(rows[1]) < len(rows[0])
    with pytest.raises(UsageError, match="nothing to set"):
        run("weights", "set", lively, "--out", tmp_path / "other.safetensors")


def test_settings_given_to_export_are_stored_in_the_export(lively: Path, scenes: Path, tmp_path: Path) -> None:
    out = tmp_path / "e.pt2"
    options = ("--max-detections", "20", "--nms-iou", "0.3", "--class-agnostic-nms", "--device", "cpu")
    shown = run("export", lively, "--format", "pt2", "--out", out, "--batch-size", "2", *options).output
    assert "the same in both" in shown
    model, original = singleshot.load(out), singleshot.load(lively)
    assert isinstance(model, Detector) and isinstance(original, Detector)
    settings = model.network.config.postprocess
    assert (settings.max_detections, settings.nms_iou, settings.class_agnostic_nms) == (20, 0.3, True)
    image = next((scenes / "JPEGImages").iterdir())
    wanted = original.with_postprocess(max_detections=20, nms_iou=0.3, class_agnostic_nms=True)
    assert len(model.predict(image, threshold=0.0)) == len(wanted.predict(image, threshold=0.0))
    with pytest.raises(UsageError, match="built in"):
        run("predict", out, image, "--nms-iou", "0.5")


def test_the_batch_size_changes_no_score_and_is_the_one_that_the_network_sees(
    untrained: Path, scenes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int] = []
    forward = Detector.forward

    def counted(self: Detector, inputs: singleshot.structures.Inputs) -> object:  # pyright: ignore[reportAttributeAccessIssue]
        seen.append(len(inputs))
        return forward(self, inputs)

    monkeypatch.setattr(Detector, "forward", counted)
    scores = []
    for size, batches in ((1, [1, 1, 1, 1]), (3, [3, 1]), (4096, [4])):
        seen.clear()
        run("evaluate", untrained, "--data", scenes, "--batch-size", str(size), "--json", tmp_path / "e.json")
        assert seen == batches
        scores.append(json.loads((tmp_path / "e.json").read_text()))
    assert scores[0]["map"] == pytest.approx(scores[1]["map"], abs=1e-9)
    assert [each["detections"] for each in scores] == [scores[0]["detections"]] * 3
    seen.clear()
    run("predict", untrained, scenes / "JPEGImages", "--batch-size", "2")
    assert max(seen) == 2
    seen.clear()
    run("predict", untrained, scenes / "JPEGImages")
    assert max(seen) == 1


@pytest.mark.parametrize("command", ["predict", "evaluate", "export", "serve"])
def test_a_device_that_is_not_there_is_refused_in_one_line_by_every_command(
    command: str, untrained: Path, scenes: Path, tmp_path: Path
) -> None:
    more = {
        "predict": [scenes / "JPEGImages"],
        "evaluate": ["--data", scenes],
        "export": ["--format", "onnx", "--out", tmp_path / "x.onnx"],
        "serve": ["--port", "0"],
    }[command]
    with pytest.raises(singleshot.SingleshotError, match="there is no device cuda:99 here") as caught:
        run(command, untrained, *more, "--device", "cuda:99")
    assert caught.value.exit_code == 2 and "\n" not in str(caught.value)


def test_nms_options_are_refused_for_a_segmenter_and_for_detections_of_others(scenes: Path, tmp_path: Path) -> None:
    torch.manual_seed(0)
    weights.save(tmp_path / "s.safetensors", FCN(config_for("fcn8s-fine", ["a", "b"], (32, 32))), {})
    image = next((scenes / "JPEGImages").iterdir())
    for option in (("--nms-iou", "0.5"), ("--max-detections", "9"), ("--class-agnostic-nms",)):
        with pytest.raises(UsageError, match=f"a segmenter has no {option[0]}"):
            run("predict", tmp_path / "s.safetensors", image, *option)
        with pytest.raises(UsageError, match="are for WEIGHTS"):
            run("evaluate", "--detections", tmp_path, "--data", scenes, *option)


def test_from_python_evaluate_and_export_take_device_batch_size_and_nms(
    lively: Path, scenes: Path, tmp_path: Path
) -> None:
    report = singleshot.evaluate(_of_scenes(lively, tmp_path), scenes, metric="voc12", device="cpu", batch_size=2)
    assert report.images == 4
    with pytest.raises(UsageError, match="a batch of 0 images"):
        singleshot.evaluate(_of_scenes(lively, tmp_path), scenes, metric="voc12", batch_size=0)
    done = singleshot.export(
        lively, format="pt2", out=tmp_path / "e.pt2", postprocess={"nms_iou": 0.9}, device="cpu", check=False
    )
    model = singleshot.load(done.path)
    assert isinstance(model, Detector) and model.network.config.postprocess.nms_iou == 0.9


def _of_scenes(file: Path, folder: Path) -> Path:
    """The same weights, under the names of the drawn scenes' classes."""
    from dataclasses import replace

    from singleshot.streets.write import CLASS_NAMES

    network = weights.load(file).network
    renamed = SSD(replace(network.config, class_names=CLASS_NAMES))
    renamed.load_state_dict(network.state_dict())
    weights.save(folder / "renamed.safetensors", renamed, {})
    return folder / "renamed.safetensors"
