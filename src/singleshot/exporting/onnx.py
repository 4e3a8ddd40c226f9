"""Export programs as ONNX: standard operators only, one file, opset 18; 8-bit convolutions by ONNX Runtime.

NonMaxSuppression limits the boxes that it keeps, not its input. So the best candidates of each class are selected
before it (`program`), and every class of every image is a batch entry of its own, with its own candidates.

For int8 each convolution gets a scale for its input and one for each of its filters, measured on calibration images
(`quantised`). Everything else, from the resize to NMS, stays in float32, because it is not a convolution. So do the
heads, the last convolutions: their outputs are the scores and boxes themselves, and they are a few hundredths of the
work.
"""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import UInt8
from numpy import ndarray

from singleshot.errors import UsageError
from singleshot.exporting.program import OPERATOR, DetectorProgram, SegmenterProgram
from singleshot.prediction.backends.onnx import INPUT
from singleshot.prediction.extras import needs_extra, quiet

OPSET = 18


def to_onnx(program: DetectorProgram | SegmenterProgram, fixed_batch: int | None = None) -> Any:
    """Convert the program to an `onnx.ModelProto` whose outputs have the program's names.

    Args:
        program: takes any number of images of any size.
        fixed_batch: the only number of images that the model takes; None for any number.

    Raises ConfigError if the packages of the extra `export` are missing.
    """
    with needs_extra("export"):
        import onnxscript  # noqa: F401  (the exporter needs it and says so in its own way)
    height, width = program.config.input_size_hw
    # Sizes that the exporter cannot take for constants.
    example = torch.zeros(fixed_batch or 2, height + 17, width + 29, 3, dtype=torch.uint8)
    batch, high, wide = (torch.export.Dim(name) for name in ("batch", "height", "width"))
    sizes = {1: high, 2: wide} if fixed_batch else {0: batch, 1: high, 2: wide}
    with warnings.catch_warnings(), quiet("torch.onnx", "onnxscript"):
        warnings.simplefilter("ignore")
        made = torch.onnx.export(
            program,
            (example,),
            input_names=[INPUT],
            output_names=list(program.output_names),
            dynamic_shapes={INPUT: sizes},
            custom_translation_table={OPERATOR: _non_max_suppression},
            opset_version=OPSET,
            external_data=False,
            verbose=False,
            dynamo=True,
        )
    if made is None:
        raise RuntimeError("torch.onnx.export made nothing")
    model = made.model_proto
    _forget_origins(model)
    return model


def at_opset(model: Any, opset: int) -> Any:
    """Return the model with the operators of another opset, for runtimes that do not know `OPSET`.

    Raises UsageError where an operator of the model cannot be converted.
    """
    if opset == OPSET:
        return model
    from onnx import version_converter

    try:
        return version_converter.convert_version(model, opset)
    except Exception as error:  # of any class; the converter's own are RuntimeError and more
        reason = str(error).rpartition(": ")[2][:160] or type(error).__name__
        message = f"the model cannot be converted to opset {opset} ({' '.join(reason.split())})"
        raise UsageError(message, remedy="Use --opset 15 or a later one that your runtime and onnx know") from error


def with_texts(model: Any, texts: Mapping[str, str]) -> Any:
    """Return a copy of the model with those texts as its metadata, and the lowest IR version that it needs."""
    from onnx import helper

    copied = type(model)()
    copied.CopyFrom(model)
    del copied.metadata_props[:]
    helper.set_model_props(copied, dict(texts))
    # The lowest that the operator sets require, so that older runtimes open the file; the exporter writes the newest.
    copied.ir_version = helper.find_min_ir_version_for(copied.opset_import, ignore_unknown=True)
    return copied


def with_outputs(model: Any, names: tuple[str, ...]) -> Any:
    """Return a copy of the model with these outputs only, without the nodes that only others need."""
    copied = type(model)()
    copied.CopyFrom(model)
    kept = [output for output in copied.graph.output if output.name in names]
    del copied.graph.output[:]
    copied.graph.output.extend(kept)
    needed, nodes = set(names), []
    for node in reversed(copied.graph.node):  # a node stands after those that it needs
        if needed.intersection(node.output):
            needed.update(node.input)
            nodes.append(node)
    del copied.graph.node[:]
    copied.graph.node.extend(reversed(nodes))
    initializers = [each for each in copied.graph.initializer if each.name in needed]
    del copied.graph.initializer[:]
    copied.graph.initializer.extend(initializers)
    return copied


def _non_max_suppression(boxes_xyxy: Any, scores: Any, nms_iou: float) -> Any:
    """Translate `program.nms_placeholder`: boxes that NonMaxSuppression selects keep their score, others get 0."""
    from onnxscript import opset18

    op: Any = opset18  # its annotations are of tensors, and these are symbolic values
    count = int(scores.shape[1])
    alone = op.Reshape(scores, op.Constant(value_ints=[-1, 1, count]))
    selected = op.NonMaxSuppression(
        boxes_xyxy,
        alone,
        op.Constant(value_ints=[count]),
        op.Constant(value_floats=[nms_iou]),
        op.Constant(value_floats=[0.0]),
    )
    none = op.Mul(alone, op.Constant(value_float=0.0))
    kept = op.ScatterND(none, selected, op.GatherND(alone, selected))
    return op.Reshape(kept, op.Shape(scores))


def _forget_origins(model: Any) -> None:
    """Remove, in place, the exporter's notes on source files: paths of this machine, and much text."""
    for graph in (model.graph, *model.functions):
        for node in graph.node:
            del node.metadata_props[:]
            node.doc_string = ""
    for value in (*model.graph.value_info, *model.graph.input, *model.graph.output, *model.graph.initializer):
        del value.metadata_props[:]
    del model.graph.metadata_props[:]


def quantised(model: Any, inputs: Sequence[UInt8[ndarray, "1 H W 3"]]) -> Any:
    """Return the `onnx.ModelProto` with quantised convolutions, calibrated on these images of the input size.

    Raises ConfigError if the extra `export` is missing.
    """
    with needs_extra("export"):
        import onnx
        from onnxruntime import quantization

    class Pictures(quantization.CalibrationDataReader):
        """Yields the images one by one, as the quantiser requires."""

        def __init__(self) -> None:
            self.rest: Iterator[Any] = iter(inputs)

        def get_next(self) -> Any:
            picture = next(self.rest, None)
            return None if picture is None else {INPUT: np.repeat(picture, batch, axis=0)}

    batch = model.graph.input[0].type.tensor_type.shape.dim[0].dim_value or 1
    own = type(model)()
    own.CopyFrom(model)  # the quantiser moves the tensors of its input into files
    with tempfile.TemporaryDirectory() as folder, quiet("root"):
        made = Path(folder) / "int8.onnx"
        quantization.quantize_static(
            own,
            made,
            Pictures(),
            quant_format=quantization.QuantFormat.QDQ,
            op_types_to_quantize=["Conv"],
            nodes_to_exclude=last_convolutions(model),
            per_channel=True,
            activation_type=quantization.QuantType.QUInt8,
            weight_type=quantization.QuantType.QInt8,
            calibrate_method=quantization.CalibrationMethod.MinMax,
            extra_options={"CalibMovingAverage": True},
        )
        return onnx.load(made)


def last_convolutions(model: Any) -> list[str]:
    """Return the names of the convolutions whose outputs reach no other convolution."""
    leads: set[str] = set()  # values from which a convolution can be reached
    last = []
    for node in reversed(model.graph.node):
        reaches = bool(leads.intersection(node.output))
        if node.op_type in ("Conv", "ConvTranspose") and not reaches:
            last.append(node.name)
        if reaches or node.op_type in ("Conv", "ConvTranspose"):
            leads.update(node.input)
    return last
