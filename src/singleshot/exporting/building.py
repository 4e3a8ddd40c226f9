"""From a model to a file of a format and precision, with the runtime that opens it and one that shows its inside.

What comes out is not yet the user's: it lies in a folder of its own until it was shown to answer right (`export`).
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import torch

from singleshot.detection.ssd import SSD
from singleshot.errors import UsageError, os_errors
from singleshot.exporting.program import DetectorProgram, Form, SegmenterProgram
from singleshot.exporting.suppression import LoopSuppression, OperatorSuppression, Suppression
from singleshot.prediction.backends.backend import Backend
from singleshot.prediction.export_record import ExportRecord, Precision
from singleshot.segmentation.fcn import FCN

Format = Literal["pt2", "onnx", "openvino"]
SUFFIXES: dict[Format, str] = {"pt2": ".pt2", "onnx": ".onnx", "openvino": ".xml"}
PRECISIONS: dict[Format, tuple[Precision, ...]] = {
    "pt2": ("fp32", "bf16"),
    "onnx": ("fp32", "fp16", "int8"),
    "openvino": ("fp32", "fp16", "int8"),
}
DTYPES = {"fp16": torch.float16, "bf16": torch.bfloat16}


@dataclass(frozen=True)
class Built:
    """A file that was made.

    Args:
        export: the file, opened as a user would.
        probe: the same graph with the network's own outputs too.
    """

    export: Backend
    probe: Backend


def check_choice(file_format: str, precision: str) -> tuple[Format, Precision]:
    """Format and precision, if they go together. Raises UsageError."""
    for known in get_args(Format):
        if known == file_format:
            for each in PRECISIONS[known]:
                if each == precision:
                    return known, each
            remedy = f"Use {', '.join(PRECISIONS[known])}"
            if (known, precision) == ("openvino", "bf16"):
                remedy = "Export fp32 and run it with bf16=True: OpenVINO chooses bfloat16 when it runs"
            raise UsageError(f"{known} has no precision {precision!r}", remedy=remedy)
    raise UsageError(f"no format is called {file_format!r}", remedy=f"Use {', '.join(get_args(Format))}")


def build(network: SSD | FCN, record: ExportRecord, file_format: Format, path: Path, inputs: Sequence[Any]) -> Built:
    """Make `path`, and open it.

    Args:
        network: the original, on the CPU.
        record: what the file shall say of itself; its form and precision are what is made.
        file_format: the format.
        path: where to; an `.xml` gets its `.bin` beside it.
        inputs: pictures of the input size to measure 8-bit scales on; for int8 alone.

    Raises:
        ConfigError: the format's packages are missing.
        StorageError: the disk is full or failing.
    """
    makers = {"pt2": _pt2, "onnx": _onnx, "openvino": _openvino}
    with os_errors(path, "write"):
        return makers[file_format](network, record, path, inputs)


def _pt2(network: SSD | FCN, record: ExportRecord, path: Path, _inputs: Sequence[Any]) -> Built:
    from singleshot.exporting.pt2 import to_pt2, write
    from singleshot.prediction.backends.pt2 import Pt2Backend, open_pt2

    write(to_pt2(_program(network, LoopSuppression(), record.form, record.precision)), path, record.texts())
    export = open_pt2(path)
    if record.form == "raw" or isinstance(network, FCN):
        return Built(export, export)
    both = _program(network, LoopSuppression(), "both", record.precision)
    return Built(export, Pt2Backend(to_pt2(both), record, both.output_names))


def _onnx(network: SSD | FCN, record: ExportRecord, path: Path, inputs: Sequence[Any]) -> Built:
    from singleshot.exporting import onnx, quantising
    from singleshot.prediction.backends.onnx import OnnxBackend, open_onnx

    model = onnx.to_onnx(_program(network, OperatorSuppression(), _probed(record.form), record.precision))
    if record.precision == "int8":
        model = quantising.quantised(model, inputs)
    path.write_bytes(onnx.with_texts(onnx.with_outputs(model, record.output_names), record.texts()).SerializeToString())
    return Built(open_onnx(path), OnnxBackend(model.SerializeToString(), record))


def _openvino(network: SSD | FCN, record: ExportRecord, path: Path, inputs: Sequence[Any]) -> Built:
    from singleshot.exporting import onnx, openvino
    from singleshot.prediction.backends.openvino import OpenvinoBackend, open_openvino

    program = _program(network, OperatorSuppression(), _probed(record.form), "fp32")
    model = openvino.to_openvino(onnx.to_onnx(program))
    if record.precision == "int8":
        model = openvino.quantised(model, inputs)
    fp16 = record.precision == "fp16"
    openvino.write(openvino.with_outputs(model, record.output_names), path, record.texts(), fp16=fp16)
    # What narrows the numbers is the writing: the probe goes the same way, in a folder that is gone in the end.
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        probed = Path(folder) / path.name
        openvino.write(openvino.with_outputs(model, program.output_names), probed, {}, fp16=fp16)
        probe = OpenvinoBackend(openvino.read(probed), record, program.output_names)
    return Built(open_openvino(path), probe)


def _probed(form: Literal["whole", "raw"]) -> Form:
    return "both" if form == "whole" else "raw"


def _program(
    network: SSD | FCN, suppression: Suppression, form: Form, precision: Precision
) -> DetectorProgram | SegmenterProgram:
    dtype = DTYPES.get(precision, torch.float32)  # 8-bit networks are made of 32-bit ones
    if isinstance(network, FCN):
        return SegmenterProgram(network, form, dtype)
    return DetectorProgram(network, suppression, form, dtype)
