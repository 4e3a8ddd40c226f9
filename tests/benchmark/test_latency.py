from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from singleshot import weights
from singleshot.benchmark.latency import Row, operations, peak_rate, rows, table
from singleshot.detection.ssd import SSD, config_for
from singleshot.errors import InputMissingError
from singleshot.prediction.exported import ExportedDetector
from singleshot.prediction.load import load
from singleshot.structures import Inputs


@pytest.fixture
def small(tmp_path: Path) -> Path:
    torch.set_num_threads(1)
    weights.save(tmp_path / "w.safetensors", SSD(config_for("lite320-fine", ("car",), (64, 96))), {})
    return tmp_path / "w.safetensors"


def test_each_precision_and_batch_has_percentiles_a_rate_and_a_share_of_the_peak(
    small: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("singleshot.benchmark.latency.MATRIX_SIDES", {"cpu": 128, "cuda": 128})
    found = list(rows(str(small), batch_sizes=[1, 2], seconds=0.0, device="cpu"))
    assert [(row.backend, row.batch_size) for row in found] == [
        ("torch cpu fp32", 1),
        ("torch cpu fp32", 2),
        ("torch cpu bf16", 1),
        ("torch cpu bf16", 2),
    ]
    for row in found:
        assert row.median_s and row.p90_s and row.p99_s and row.median_s <= row.p90_s <= row.p99_s
        assert row.images_per_second == pytest.approx(row.batch_size / row.median_s)
        assert row.peak_share is not None and row.peak_share > 0
    text = table(found)
    assert text.splitlines()[0].startswith("backend") and len(text.splitlines()) == 5


def test_an_export_that_does_not_open_is_a_row_with_its_reason(small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("singleshot.benchmark.latency.MATRIX_SIDES", {"cpu": 64, "cuda": 64})
    small.with_suffix(".onnx").write_bytes(b"no model")
    *_, first, second = rows(str(small), batch_sizes=[1], seconds=0.0, device="cpu")
    # Each runtime that reads such files has its row.
    assert [first.backend, second.backend] == ["onnx cpu w.onnx", "openvino cpu w.onnx"]
    assert first.error and second.error and "failed: " in table([first])


def test_an_export_alone_is_measured_and_its_arithmetic_is_not_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A whole detector gives no raw answer, so its operations are not to be had."""
    monkeypatch.setattr("singleshot.benchmark.latency.MATRIX_SIDES", {"cpu": 64, "cuda": 64})
    config = config_for("lite320-fine", ("car",), (64, 96))

    class Backend:
        record = SimpleNamespace(config=config, form="detector", provenance={})

        def run(self, images: np.ndarray) -> dict[str, np.ndarray]:
            batch = len(images)
            return {
                "counts": np.zeros(batch, np.int64),
                "boxes_xyxy": np.zeros((batch, 1, 4), np.float32),
                "class_ids": np.zeros((batch, 1), np.int64),
                "scores": np.zeros((batch, 1), np.float32),
            }

    with torch.device("meta"):
        exported = ExportedDetector(SSD(config).eval(), {}, torch.device("cpu"), backend=Backend())  # pyright: ignore
    opened: list[object] = []

    def load(_path: Path, *, backend: str | None, **_more: object) -> ExportedDetector:
        opened.append(backend)
        return exported

    monkeypatch.setattr("singleshot.benchmark.latency.load", load)
    (tmp_path / "w.onnx").write_bytes(b"x")
    found = list(rows(str(tmp_path / "w.onnx"), batch_sizes=[1], seconds=0.0, device="cpu"))
    assert opened == ["onnx", "openvino"] and [row.error for row in found] == [None, None]
    assert all(row.median_s and row.peak_share is None for row in found)


def test_operations_of_a_network_by_hand(small: Path) -> None:
    """Twice the pixels, about twice the arithmetic; two operations for each multiplication with its addition."""
    layer = torch.nn.Conv2d(3, 4, 3, padding=1, bias=False)

    class Model:
        network, input_size_hw = layer, (8, 8)

        def forward(self, inputs: Inputs) -> torch.Tensor:
            return layer(inputs.images.permute(0, 3, 1, 2).float())

    assert operations(Model()) == 2 * 3 * 3 * 3 * 4 * 8 * 8
    assert operations(object()) is None
    assert (operations(load(small, device="cpu")) or 0) > 1e6


def test_the_peak_is_a_rate(small: Path) -> None:
    assert 1e6 < peak_rate("cpu", torch.float32, side=64) < 1e14
    assert table([Row("a", 1, 0.1, 0.1, 0.1, 10.0)]).endswith("–")
    with pytest.raises(InputMissingError):
        next(rows(str(small.with_name("absent.safetensors")), batch_sizes=[1], seconds=0.0))
