from __future__ import annotations

import numpy as np
import pytest

from singleshot.exporting import quantising
from singleshot.prediction.backends.onnx import OnnxBackend
from tests.exporting import made


def test_the_last_convolutions_are_the_heads():
    heads = quantising.last_convolutions(made.onnx_model())
    assert len(heads) == 2 * len(made.network().class_heads)


@pytest.mark.slow
def test_convolutions_are_quantised_but_for_the_heads_and_answers_stay_near():
    image = made.pictures(3)[2]
    model = quantising.quantised(made.onnx_model(), [image[None]] * 4)
    assert {node.domain for node in model.graph.node} == {""}
    names = {node.op_type for node in model.graph.node}
    assert "QuantizeLinear" in names and "NonMaxSuppression" in names
    rough = OnnxBackend(model.SerializeToString(), made.record(), 1).run(image[None])
    exact = OnnxBackend(made.onnx_model().SerializeToString(), made.record(), 1).run(image[None])
    assert np.abs(rough["class_logits"] - exact["class_logits"]).max() < 0.3 * np.abs(exact["class_logits"]).max()
