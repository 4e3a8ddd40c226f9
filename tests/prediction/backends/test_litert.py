from __future__ import annotations

import json
import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import singleshot
from singleshot.errors import ConfigError, DataError, InputMissingError
from singleshot.prediction.backends import sidecar
from singleshot.prediction.backends.litert import LitertBackend, open_litert, quantised, restored
from tests.exporting import made

HALF_STEPS = {"quantization": (0.5, -10), "dtype": np.int8}


def test_eight_bit_values_are_rounded_shifted_and_kept_in_range():
    assert quantised(np.float32([0.0, 0.3, -1.0, 1000.0, -1000.0]), HALF_STEPS).tolist() == [-10, -9, -12, 127, -128]
    assert restored(np.int8([-10, -9, 127]), HALF_STEPS).tolist() == [0.0, 0.5, 68.5]
    plain = {"quantization": (0.0, 0), "dtype": np.float32}
    assert restored(quantised(np.float32([0.3]), plain), plain).tolist() == np.float32([0.3]).tolist()


def described(folder: Path, data: bytes) -> Path:
    """A `.tflite` of these bytes with its JSON file."""
    (folder / "d.tflite").write_bytes(data)
    graph = {"outputs": {"class_logits": 0, "box_offsets": 1}}
    sidecar.write(folder / "d.json", made.record("raw"), graph, {".tflite": folder / "d.tflite"})
    return folder / "d.tflite"


def test_what_is_no_model_is_refused(tmp_path: Path):
    with pytest.raises(DataError, match="not a TFLite model"):
        open_litert(described(tmp_path, b"no flatbuffer"))
    with pytest.raises(InputMissingError, match=r"d\.json is not beside it"):
        (tmp_path / "d.json").unlink()
        open_litert(tmp_path / "d.tflite")


def test_without_litert_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(__import__("sys").modules, "ai_edge_litert", None)
    with pytest.raises(ConfigError, match=r"singleshot\[litert\]"):
        open_litert(described(tmp_path, b"\x1c\0\0\0TFL3 and more"))


class Refusing:
    """An interpreter with a kernel that refuses its numbers."""

    def __init__(self, **_: object) -> None: ...

    def allocate_tensors(self) -> None: ...

    def set_tensor(self, _index: int, _value: object) -> None: ...

    def get_input_details(self) -> list[dict[str, Any]]:
        return [{"shape": (1, *made.SIZE_HW, 3), "index": 0, "quantization": (0.0, 0)}]

    def get_output_details(self) -> list[dict[str, Any]]:
        return [{"index": 1}, {"index": 2}]

    def invoke(self) -> None:
        raise RuntimeError("tflite/kernels/div.cc:262 data[i] != zero_point was not true.\nNode number 25 (DIV) failed")


def test_a_kernel_that_refuses_its_numbers_is_named_in_one_line(monkeypatch: pytest.MonkeyPatch):
    package = types.ModuleType("ai_edge_litert")
    package.interpreter = types.SimpleNamespace(Interpreter=Refusing)  # pyright: ignore[reportAttributeAccessIssue]
    monkeypatch.setitem(sys.modules, "ai_edge_litert", package)
    backend = LitertBackend(b"", made.record("raw"))
    with pytest.raises(DataError, match=r"LiteRT cannot run it \(.*\(DIV\) failed\)\. Export it in another precision"):
        backend.run(np.zeros((1, *made.SIZE_HW, 3), np.uint8))


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("litert_torch", reason="needs the extra litert")
    return made.write_litert(tmp_path_factory.mktemp("litert"))


@pytest.mark.slow
def test_the_network_answers_as_in_torch(written: Path):
    image = made.pictures(3)[2]
    found = open_litert(written, threads=1).run(np.stack([image, image[::-1]]))
    model = made.detector()
    wanted = model.forward(model.preprocess([image, image[::-1]]))
    for name in ("class_logits", "box_offsets"):
        ours = getattr(wanted, name).numpy()
        assert found[name].shape == ours.shape
        assert np.abs(found[name] - ours).max() < 1e-4 * np.abs(ours).max()


@pytest.mark.slow
def test_predict_gives_the_weights_own_detections(written: Path):
    opened, model = singleshot.load(written), made.detector()
    for image in made.pictures(4):
        found, wanted = opened.predict(image, threshold=0.3), model.predict(image, threshold=0.3)  # pyright: ignore[reportCallIssue]
        assert len(wanted) > 3
        np.testing.assert_allclose(found.scores, wanted.scores, atol=1e-4)
        np.testing.assert_allclose(found.boxes_xyxy, wanted.boxes_xyxy, atol=0.01)


@pytest.mark.slow
def test_a_model_that_is_cut_short_is_refused_and_not_run(written: Path, tmp_path: Path):
    with pytest.raises(DataError, match="LiteRT refuses it"):
        open_litert(described(tmp_path, written.read_bytes()[:1000]))


@pytest.mark.slow
def test_the_json_says_what_a_program_needs(written: Path):
    facts = json.loads(written.with_suffix(".json").read_text(encoding="utf-8"))
    assert facts["input"] == {"shape_hwc": [*made.SIZE_HW, 3]}
    assert facts["outputs"] == {"class_logits": 0, "box_offsets": 1}
