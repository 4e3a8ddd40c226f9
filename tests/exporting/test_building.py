from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from singleshot.errors import UsageError
from singleshot.exporting.building import PRECISIONS, build, check_choice
from singleshot.exporting.program import DetectorProgram
from singleshot.exporting.suppression import OperatorSuppression
from tests.exporting import made


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
