"""An ONNX model's convolutions in 8-bit integers, by ONNX Runtime's own quantiser.

Each convolution gets a scale for its input and one for each of its filters, measured on pictures. Everything else,
from the resize to the suppression, stays in float32: those operators are not convolutions. So do the last ones, the
heads: their answers are the scores and boxes themselves, and their share of the work is a few hundredths.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from jaxtyping import UInt8
from numpy import ndarray

from singleshot.prediction.backends.onnx_check import INPUT
from singleshot.prediction.extras import needs_extra, quiet


def quantised(model: Any, inputs: Sequence[UInt8[ndarray, "1 H W 3"]]) -> Any:
    """The `onnx.ModelProto` with quantised convolutions, measured on these pictures of the input size.

    Raises ConfigError where the extra `export` is missing.
    """
    with needs_extra("export"):
        import onnx
        from onnxruntime import quantization

    class Pictures(quantization.CalibrationDataReader):
        """The pictures one by one, in the form that the quantiser wants."""

        def __init__(self) -> None:
            self.rest: Iterator[Any] = iter(inputs)

        def get_next(self) -> Any:
            picture = next(self.rest, None)
            return None if picture is None else {INPUT: picture}

    own = type(model)()
    own.CopyFrom(model)  # the quantiser moves the numbers of the one that it is given into files
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
    """Names of the convolutions whose answers reach no other one."""
    leads: set[str] = set()  # values from which a convolution can be reached
    last = []
    for node in reversed(model.graph.node):
        reaches = bool(leads.intersection(node.output))
        if node.op_type in ("Conv", "ConvTranspose") and not reaches:
            last.append(node.name)
        if reaches or node.op_type in ("Conv", "ConvTranspose"):
            leads.update(node.input)
    return last
