from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from singleshot.exporting import openvino
from singleshot.prediction.backends.openvino import OpenvinoBackend, open_openvino
from tests.exporting import made


def test_half_precision_numbers_take_half_the_room_and_answer_nearly_the_same(tmp_path: Path):
    model = openvino.with_outputs(openvino.to_openvino(made.onnx_model()), made.record().output_names)
    openvino.write(model, tmp_path / "full.xml", made.record().texts(), fp16=False)
    openvino.write(model, tmp_path / "half.xml", made.record(precision="fp16").texts(), fp16=True)
    full, half = ((tmp_path / f"{name}.bin").stat().st_size for name in ("full", "half"))
    assert half < 0.55 * full
    image = made.pictures(3)[2][None]
    one, other = (open_openvino(tmp_path / f"{name}.xml", threads=1).run(image) for name in ("full", "half"))
    assert np.abs(one["scores"] - other["scores"]).max() < 0.03


@pytest.mark.slow
def test_eight_bits_are_for_the_network_alone():
    both = ("boxes_xyxy", "scores", "class_ids", "counts", "class_logits", "box_offsets")
    inputs = [made.pictures(3)[2][None]] * 4
    model = openvino.to_openvino(made.onnx_model())
    exact = OpenvinoBackend(openvino.to_openvino(made.onnx_model()), made.record(), both, threads=1).run(inputs[0])
    small = openvino.quantised(model, inputs)
    kinds = [each.get_type_name() for each in small.get_ordered_ops()]
    first = kinds.index("FakeQuantize")
    assert kinds.count("FakeQuantize") > 10 and first > kinds.index("Gather")
    last = len(kinds) - 1 - kinds[::-1].index("FakeQuantize")
    assert last < next(i for i, kind in enumerate(kinds) if kind.startswith("NonMaxSuppression"))
    rough = OpenvinoBackend(small, made.record(), both, threads=1).run(inputs[0])
    assert np.abs(rough["class_logits"] - exact["class_logits"]).max() < 0.3 * np.abs(exact["class_logits"]).max()
