"""Export programs as OpenVINO's pair of files: an `.xml` with the graph and a `.bin` with the weights.

The conversion goes through ONNX, which OpenVINO reads directly. No telemetry is sent: the reader has none, and that of
the quantiser (NNCF) is switched off before it is imported.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from jaxtyping import UInt8
from numpy import ndarray

from singleshot.prediction.backends.backend import KEY
from singleshot.prediction.backends.openvino import BIN_SHA256, openvino_bytes
from singleshot.prediction.extras import needs_extra, quiet

CONVOLUTIONS = ("Convolution", "GroupConvolution", "ConvolutionBackpropData", "GroupConvolutionBackpropData", "MatMul")


def to_openvino(onnx_model: Any) -> Any:
    """Convert an `onnx.ModelProto` to an `openvino.Model`. Raises ConfigError if the extra `openvino` is missing."""
    with needs_extra("openvino"):
        import openvino
    return openvino.Core().read_model(model=onnx_model.SerializeToString(), weights=b"")


def quantised(model: Any, inputs: Sequence[UInt8[ndarray, "1 H W 3"]]) -> Any:
    """Return the model with its network in 8-bit integers, calibrated on these images of the input size.

    Only the operators between the first convolutions and the last ones are quantised: neither the resize, where half a
    grey level matters, nor decoding and NMS.
    """
    with needs_extra("openvino"), _no_telemetry():
        import nncf

    quantiser: Any = nncf
    ignored = quantiser.IgnoredScope(names=sorted(_outside_network(model)), validate=False)
    with quiet("nncf"), contextlib.redirect_stdout(sys.stderr):  # where its progress bar belongs
        return quantiser.quantize(
            model,
            quantiser.Dataset(list(inputs)),
            preset=quantiser.QuantizationPreset.MIXED,
            subset_size=len(inputs),
            ignored_scope=ignored,
        )


def with_outputs(model: Any, names: Sequence[str]) -> Any:
    """Return the model with these outputs only, in this order. Its weights are shared, not copied."""
    import openvino

    results = {output.get_any_name(): output.get_node() for output in model.outputs}
    model_type: Any = openvino.Model
    return model_type([results[name] for name in names], model.get_parameters(), "singleshot")


def write(model: Any, path: Path, texts: Mapping[str, str], *, fp16: bool) -> None:
    """Write `path` (.xml) and its `.bin`; metadata of the `.xml` are those texts and the hash of the `.bin`.

    Args:
        model: the model.
        path: the `.xml`.
        texts: the metadata.
        fp16: store the weights in float16.
    """
    import openvino

    for name, text in texts.items():
        model.set_rt_info(text, [KEY, name])
    openvino.save_model(model, path, compress_to_fp16=fp16)
    with path.with_suffix(".bin").open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    model.set_rt_info(digest, [KEY, BIN_SHA256])
    openvino.save_model(model, path, compress_to_fp16=fp16)


def read(path: Path) -> Any:
    """Read the files that `write` wrote into an `openvino.Model` that does not depend on them."""
    import openvino

    return openvino.Core().read_model(path.read_bytes(), openvino_bytes(path.with_suffix(".bin").read_bytes()))


def _outside_network(model: Any) -> set[str]:
    """Return the names of all operators that are not on a path from one convolution to another."""
    operators = model.get_ordered_ops()
    convolutions = {each.get_friendly_name() for each in operators if each.get_type_name() in CONVOLUTIONS}
    after, before = set(convolutions), set(convolutions)
    for each in operators:
        if any(value.get_node().get_friendly_name() in after for value in each.input_values()):
            after.add(each.get_friendly_name())
    for each in reversed(operators):
        if each.get_friendly_name() in before:
            before.update(value.get_node().get_friendly_name() for value in each.input_values())
    return {each.get_friendly_name() for each in operators} - (after & before)


@contextlib.contextmanager
def _no_telemetry() -> Iterator[None]:
    """Set the variable by which NNCF, when it is imported, disables its telemetry."""
    before = os.environ.get("NNCF_CI")
    os.environ["NNCF_CI"] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ["NNCF_CI"]
        else:
            os.environ["NNCF_CI"] = before
