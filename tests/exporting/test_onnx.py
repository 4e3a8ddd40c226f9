from __future__ import annotations

import numpy as np
import onnx
import pytest

from singleshot.errors import ConfigError, UsageError
from singleshot.exporting.onnx import OPSET, at_opset, last_convolutions, quantised, to_onnx, with_outputs, with_texts
from singleshot.exporting.program import DetectorProgram, OperatorSuppression
from singleshot.prediction.backends.onnx import OnnxBackend
from tests.exporting import made


def test_the_file_has_standard_operators_alone_and_says_nothing_of_this_machine():
    model = onnx.load_from_string(made.onnx_bytes())
    onnx.checker.check_model(model)
    assert [(each.domain, each.version) for each in model.opset_import] == [("", OPSET)]
    assert not model.functions and {node.domain for node in model.graph.node} == {""}
    assert b"/src/singleshot" not in made.onnx_bytes() and b".py" not in made.onnx_bytes()


def test_the_number_of_images_and_their_size_are_left_open():
    shape = onnx.load_from_string(made.onnx_bytes()).graph.input[0].type.tensor_type.shape
    assert [each.dim_param or each.dim_value for each in shape.dim] == ["batch", "height", "width", 3]


def test_a_fixed_batch_gives_what_any_number_of_images_gives():
    fixed = to_onnx(DetectorProgram(made.network(), OperatorSuppression(), "whole"), 2)
    assert fixed.graph.input[0].type.tensor_type.shape.dim[0].dim_value == 2
    images = np.stack([made.pictures(1)[0][:90, :120]] * 3)
    images[1:] = images[1:, ::-1]
    backend = OnnxBackend(fixed.SerializeToString(), made.record())
    assert backend.fixed_batch == 2
    for count in (1, 2, 3):
        found, wanted = backend.run(images[:count]), OnnxBackend(made.onnx_bytes(), made.record()).run(images[:count])
        for name in made.record().output_names:
            assert found[name].shape == wanted[name].shape
            np.testing.assert_allclose(found[name], wanted[name], atol=1e-4, rtol=1e-5)


def test_the_best_of_each_class_are_picked_before_the_suppression():
    nodes = made.onnx_model().graph.node
    kinds = [node.op_type for node in nodes]
    assert kinds.index("TopK") < kinds.index("NonMaxSuppression") and kinds.count("NonMaxSuppression") == 1


def test_a_raw_file_has_no_suppression_and_none_of_what_led_to_it():
    raw = with_outputs(made.onnx_model(), ("class_logits", "box_offsets"))
    assert [each.name for each in raw.graph.output] == ["class_logits", "box_offsets"]
    assert not {"NonMaxSuppression", "TopK", "Softmax"} & {node.op_type for node in raw.graph.node}
    assert len(made.onnx_model().graph.output) == 6, "the original is not changed"


def test_without_the_extra_it_says_which_one(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(__import__("sys").modules, "onnxscript", None)
    with pytest.raises(ConfigError, match=r"singleshot\[export\]"):
        to_onnx(DetectorProgram(made.network(), OperatorSuppression()))


def test_a_file_has_the_lowest_ir_version_that_its_operators_need():
    newest = made.onnx_model()
    assert with_texts(newest, {}).ir_version == 8, "ONNX 1.13, the first with operator set 18, has IR version 8"


def test_the_last_convolutions_are_the_heads():
    heads = last_convolutions(made.onnx_model())
    assert len(heads) == 2 * len(made.network().class_heads)


@pytest.mark.slow
def test_convolutions_are_quantised_but_for_the_heads_and_answers_stay_near():
    image = made.pictures(3)[2]
    model = quantised(made.onnx_model(), [image[None]] * 4)
    assert {node.domain for node in model.graph.node} == {""}
    names = {node.op_type for node in model.graph.node}
    assert "QuantizeLinear" in names and "NonMaxSuppression" in names
    rough = OnnxBackend(model.SerializeToString(), made.record(), 1).run(image[None])
    exact = OnnxBackend(made.onnx_model().SerializeToString(), made.record(), 1).run(image[None])
    assert np.abs(rough["class_logits"] - exact["class_logits"]).max() < 0.3 * np.abs(exact["class_logits"]).max()


@pytest.mark.parametrize(("opset", "ir_version"), [(15, 8), (17, 8), (18, 8), (19, 9), (21, 10)])
def test_another_opset_gives_the_same_answers_and_the_lowest_ir_version(opset: int, ir_version: int):
    model = with_texts(at_opset(made.onnx_model(), opset), {})
    assert [each.version for each in model.opset_import if not each.domain] == [opset]
    assert model.ir_version == ir_version
    image = made.pictures(1)[0][None]
    one, other = (OnnxBackend(each.SerializeToString(), made.record()) for each in (made.onnx_model(), model))
    theirs = other.run(image)
    for name, values in one.run(image).items():
        np.testing.assert_array_equal(values, theirs[name])


@pytest.mark.parametrize("opset", [7, 14, 99])
def test_an_opset_to_which_it_cannot_be_converted_is_refused_in_one_line(opset: int):
    with pytest.raises(UsageError) as caught:
        at_opset(made.onnx_model(), opset)
    assert f"opset {opset}" in str(caught.value) and "\n" not in str(caught.value)
    assert caught.value.exit_code == 2
