from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

import singleshot
from singleshot.data.sample_scenes import sample_scenes
from singleshot.errors import CannotCreateError, DataError, InputMissingError, ParityError, StorageError, UsageError
from singleshot.exporting import export as exporting
from singleshot.exporting import parity
from singleshot.exporting.export import PRECISIONS, Built, build, check_choice
from singleshot.exporting.program import DetectorProgram, OperatorSuppression
from singleshot.starts import shipped
from tests.exporting import made


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Making a file costs seconds; these tests are about what happens to it. The file is a real one."""

    def build(_network: object, record: object, _format: object, path: Path, _inputs: object, _opset: object) -> Built:
        from singleshot.exporting import pt2
        from singleshot.prediction.backends.pt2 import Pt2Backend, open_pt2

        assert record.form == "whole"  # pyright: ignore[reportAttributeAccessIssue]
        pt2.write(made.pt2_program(), path, record.texts())  # pyright: ignore[reportAttributeAccessIssue]
        export = open_pt2(path)
        assert isinstance(export, Pt2Backend)
        from tests.exporting.test_parity import Answers

        return Built(export, Answers())  # pyright: ignore[reportArgumentType]

    monkeypatch.setattr(exporting, "build", build)
    small = SimpleNamespace(image=sample_scenes()[0].image[:120, :160])
    monkeypatch.setattr(exporting, "sample_scenes", lambda: [small])


def left(folder: Path) -> list[str]:
    return sorted(each.name for each in folder.iterdir())


@pytest.mark.usefixtures("quick")
def test_an_export_is_compared_and_lies_beside_its_weights(tmp_path: Path):
    weights = made.write_weights(tmp_path)
    done = singleshot.export(weights, format="pt2")
    assert done.path == tmp_path / "d.pt2" and done.bytes == done.path.stat().st_size
    assert done.parity is not None and done.parity.pictures == 1 and done.cost is None
    assert left(tmp_path) == ["d.pt2", "d.safetensors"]
    assert isinstance(singleshot.load(done.path), singleshot.Detector)


@pytest.mark.usefixtures("quick")
def test_weights_that_were_fetched_are_exported_into_the_working_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    (tmp_path / "cache").mkdir()
    (tmp_path / "here").mkdir()
    weights = made.write_weights(tmp_path / "cache")
    monkeypatch.setattr(exporting, "find_weights", lambda _name, observer: weights)
    monkeypatch.chdir(tmp_path / "here")
    done = singleshot.export("someone/ssd-v1.5", format="pt2", check=False)
    assert done.path == Path("ssd-v1.5.pt2") and left(tmp_path / "here") == ["ssd-v1.5.pt2"]
    assert left(tmp_path / "cache") == ["d.safetensors"]


@pytest.mark.parametrize("step", ["d.bin", "d.xml"])
def test_h2_a_kill_between_two_files_leaves_the_old_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str):
    """SIGKILL runs nothing more, so the folder is looked at while the files are being put into their places."""
    fresh = tmp_path / "fresh"
    fresh.mkdir()
    for suffix in (".xml", ".bin"):
        (tmp_path / f"d{suffix}").write_text(f"old{suffix}")
        (fresh / f"d{suffix}").write_text(f"new{suffix}")
    move, seen = exporting._move, []

    def looking(made: Path, temporary: Path) -> None:
        if made.name == step:
            pairs = [(tmp_path / f"{stem}.xml", tmp_path / f"{stem}.bin") for stem in ("d", "d.before")]
            seen.append([[part.read_text()[:3] for part in pair if part.is_file()] for pair in pairs])
            raise OSError(28, "No space left on device")
        move(made, temporary)

    with monkeypatch.context() as patch:
        patch.setattr(exporting, "_move", looking)
        with pytest.raises(StorageError):
            exporting._publish(fresh / "d.xml", tmp_path / "d.xml")
    assert ["old", "old"] in seen[0]
    assert left(tmp_path) == ["d.bin", "d.xml", "fresh"], "a failure puts the old ones back"
    assert (tmp_path / "d.bin").read_text() == "old.bin" and (tmp_path / "d.xml").read_text() == "old.xml"
    for suffix in (".xml", ".bin"):
        (fresh / f"d{suffix}").write_text(f"new{suffix}")
    exporting._publish(fresh / "d.xml", tmp_path / "d.xml")
    assert left(tmp_path) == ["d.bin", "d.xml", "fresh"] and (tmp_path / "d.bin").read_text() == "new.bin"


@pytest.mark.slow
def test_a_model_that_sees_nothing_in_the_images_is_compared_all_the_same(tmp_path: Path):
    blind = made.detector().with_postprocess(score_threshold=1.0)
    made.weights.save(tmp_path / "d.safetensors", blind.network, {})
    done = singleshot.export(tmp_path / "d.safetensors", format="onnx")
    assert done.parity is not None and done.parity.compared >= 10 and not done.parity.failures()
    opened = singleshot.load(done.path)
    assert opened.network.config.postprocess.score_threshold == 1.0  # pyright: ignore[reportAttributeAccessIssue]


@pytest.mark.usefixtures("quick")
def test_h1_an_export_that_differs_leaves_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    weights = made.write_weights(tmp_path)
    monkeypatch.setitem(parity.BOUNDS, "fp32", parity.Bounds(1e-12, 1e-9, 1e-12, 1.0))
    with pytest.raises(ParityError, match="does not answer as the model"):
        singleshot.export(weights, format="pt2")
    assert left(tmp_path) == ["d.safetensors"]


@pytest.mark.usefixtures("quick")
def test_h1_a_failed_check_leaves_the_file_that_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    weights = made.write_weights(tmp_path)
    (tmp_path / "d.pt2").write_bytes(b"before")
    monkeypatch.setitem(parity.BOUNDS, "fp32", parity.Bounds(1e-12, 1e-9, 1e-12, 1.0))
    with pytest.raises(CannotCreateError, match="--overwrite"):
        singleshot.export(weights, format="pt2")
    with pytest.raises(ParityError):
        singleshot.export(weights, format="pt2", overwrite=True)
    assert (tmp_path / "d.pt2").read_bytes() == b"before"


@pytest.mark.usefixtures("quick")
def test_h2_a_full_disk_leaves_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    weights = made.write_weights(tmp_path)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(exporting, "_move", full)
    with pytest.raises(StorageError, match="the disk is full") as caught:
        singleshot.export(weights, format="pt2", check=False)
    assert caught.value.exit_code == 74 and left(tmp_path) == ["d.safetensors"]


def test_h2_a_full_disk_while_the_file_is_made_is_reported_as_such(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def full(*_: object, settings: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(exporting, "_pt2", full)
    with pytest.raises(StorageError, match="disk is full"):
        singleshot.export(made.write_weights(tmp_path), format="pt2")
    assert left(tmp_path) == ["d.safetensors"]


@pytest.mark.slow
@pytest.mark.parametrize("after_s", [0.5, 4.0, 6.0, 8.0])
def test_h2_a_kill_leaves_no_file_under_the_final_name(tmp_path: Path, after_s: float):
    weights = made.write_weights(tmp_path)
    command = [sys.executable, "-m", "singleshot", "export", str(weights), "--format", "pt2"]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    time.sleep(after_s)
    os.kill(process.pid, signal.SIGKILL)
    ended = process.wait()
    assert ended == -signal.SIGKILL or (tmp_path / "d.pt2").exists()
    if (tmp_path / "d.pt2").exists():
        singleshot.load(tmp_path / "d.pt2")


def test_calls_that_make_no_sense_are_refused_before_any_work(tmp_path: Path):
    weights = made.write_weights(tmp_path)
    with pytest.raises(UsageError, match="need each other"):
        singleshot.export(weights, format="onnx", precision="int8")
    with pytest.raises(UsageError, match="need each other"):
        singleshot.export(weights, format="onnx", calibration_data=tmp_path)
    with pytest.raises(UsageError, match=r"onnx files end in \.onnx"):
        singleshot.export(weights, format="onnx", out=tmp_path / "a.pt2")
    with pytest.raises(UsageError, match="no comparison"):
        singleshot.export(weights, format="onnx", check=False, check_pictures=tmp_path)
    with pytest.raises(InputMissingError, match="no pictures to compare on"):
        singleshot.export(weights, format="onnx", check_pictures=tmp_path)
    with pytest.raises(InputMissingError):
        singleshot.export(tmp_path / "none.safetensors", format="onnx")
    (tmp_path / "x.onnx").write_bytes(b"")
    with pytest.raises(UsageError, match="cannot be exported again"):
        singleshot.export(tmp_path / "x.onnx", format="pt2")
    (tmp_path / "bad.safetensors").write_bytes(b"nothing")
    with pytest.raises(DataError):
        singleshot.export(tmp_path / "bad.safetensors", format="onnx")


@pytest.mark.slow
@pytest.mark.parametrize(("file_format", "precision"), [("onnx", "fp16"), ("openvino", "fp16"), ("pt2", "bf16")])
def test_narrower_precisions_are_made_within_their_stated_bounds(tmp_path: Path, file_format: str, precision: str):
    weights = made.write_weights(tmp_path)
    done = singleshot.export(weights, format=file_format, precision=precision)
    assert done.parity is not None and not done.parity.failures()
    assert done.bytes < 0.65 * weights.stat().st_size


@pytest.mark.slow
def test_h1_a_hundred_images_are_within_bounds(shared: Path, tmp_path: Path):
    folder = shared / "data" / "bccd" / "JPEGImages"
    done = singleshot.export(made.write_weights(tmp_path), format="onnx", check_pictures=folder)
    assert done.parity is not None and done.parity.pictures == 100 and done.parity.box_px < 0.5


def test_formats_and_precisions_that_go_together_pass():
    for file_format, precisions in PRECISIONS.items():
        for precision in precisions:
            assert check_choice(file_format, precision) == (file_format, precision)


@pytest.mark.parametrize(
    ("file_format", "precision", "said"),
    [
        ("tensorrt", "fp32", "no format is called 'tensorrt'. Use pt2, onnx, openvino"),
        ("pt2", "int8", "pt2 has no precision 'int8'. Use fp32, bf16"),
        ("onnx", "bf16", "Use fp32, fp16, int8"),
        ("openvino", "bf16", "run it with bf16=True"),
    ],
)
def test_others_are_refused_with_what_there_is(file_format: str, precision: str, said: str):
    with pytest.raises(UsageError, match=said):
        check_choice(file_format, precision)


@pytest.mark.slow
def test_h1_the_probe_of_a_narrow_openvino_file_is_as_narrow(tmp_path: Path):
    record = made.record(precision="fp16")
    built = build(made.network(), record, "openvino", tmp_path / "d.xml", [])
    shown = np.zeros((1, *made.SIZE_HW, 3), np.uint8)
    shown[:, ::7, ::5] = 200
    exact = DetectorProgram(made.network(), OperatorSuppression(), "raw")(torch.from_numpy(shown))[0].numpy()
    off = np.abs(built.probe.run(shown)["class_logits"] - exact).max() / np.abs(exact).max()
    assert 1e-5 < off < 1e-2, "that of the float32 graph would be off by 1e-6"
    assert sorted(each.name for each in tmp_path.iterdir()) == ["d.bin", "d.xml"]


@pytest.mark.slow
@pytest.mark.parametrize(("file_format", "suffix"), [("pt2", ".pt2"), ("onnx", ".onnx"), ("openvino", ".xml")])
def test_sigmoid_scores_are_in_the_graph_and_the_display_threshold_and_the_origin_in_the_file(
    tmp_path: Path, file_format: str, suffix: str
):
    photo = shipped.real_images()[0]
    done = singleshot.export("everyday", format=file_format, out=tmp_path / f"e{suffix}", check_pictures=photo.parent)
    assert done.parity is not None and done.parity.compared > 20 and not done.parity.failures()
    loaded = singleshot.load(done.path)
    assert isinstance(loaded, singleshot.Detector) and loaded.display_thresholds == (0.4,) * 23
    assert loaded.provenance["licence"] == "Apache-2.0" and loaded.provenance["file_sha256"].startswith("d0a5255b")
    assert loaded.predict(photo).class_names == ("cat",)
