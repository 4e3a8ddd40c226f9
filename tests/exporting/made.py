"""Small untrained models and their exports, made once in a test process: making them takes seconds."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from singleshot import weights
from singleshot.detection.ssd import SSD, config_for
from singleshot.exporting import onnx, openvino, pt2
from singleshot.exporting.program import DetectorProgram, LoopSuppression, OperatorSuppression, SegmenterProgram
from singleshot.prediction.backends.backend import ExportRecord
from singleshot.prediction.predictor import Detector, Segmenter
from singleshot.segmentation.fcn import FCN
from singleshot.segmentation.fcn import config_for as fcn_config

NAMES = ("car", "pedestrian", "traffic light")
SIZE_HW = (128, 160)


@functools.cache
def network(fit: str = "warp", size_hw: tuple[int, int] = SIZE_HW) -> SSD:
    """A detector whose scores are spread, so that what is kept is no matter of the last digit."""
    torch.manual_seed(0)
    made = SSD(config_for("lite320-fine", NAMES, size_hw, fit=fit)).eval()  # pyright: ignore[reportArgumentType]
    for head in made.class_heads:
        nn.init.zeros_(head.get_parameter("bias"))
        head.get_parameter("weight").data.mul_(6)
    for head in made.box_heads:
        nn.init.normal_(head.get_parameter("bias"), std=0.5)
    return made


@functools.cache
def segmenter_network(fit: str = "warp") -> FCN:
    torch.manual_seed(0)
    made = FCN(fcn_config("fcn8s-fine", ("sky", "street", "car"), (64, 96), fit=fit)).eval()  # pyright: ignore[reportArgumentType]
    nn.init.normal_(made.head.score.weight, std=1.0)  # pyright: ignore[reportArgumentType, reportAttributeAccessIssue]
    return made


def detector(fit: str = "warp") -> Detector:
    return Detector(network(fit))


def segmenter() -> Segmenter:
    return Segmenter(segmenter_network())


def record(form: str = "whole", precision: str = "fp32", of: Any = None) -> ExportRecord:
    return ExportRecord((of or network()).config, form, precision, "0" * 64, {"command": "none"})  # pyright: ignore[reportArgumentType]


@functools.cache
def onnx_model() -> Any:
    """The detector with all its outputs."""
    return onnx.to_onnx(DetectorProgram(network(), OperatorSuppression(), "both"))


@functools.cache
def onnx_bytes(form: str = "whole") -> bytes:
    """The detector as `export` writes it."""
    own = record(form)
    return onnx.with_texts(onnx.with_outputs(onnx_model(), own.output_names), own.texts()).SerializeToString()


@functools.cache
def pt2_program() -> Any:
    return pt2.to_pt2(DetectorProgram(network(), LoopSuppression()))


@functools.cache
def segmenter_program() -> Any:
    return pt2.to_pt2(SegmenterProgram(segmenter_network()))


def write_onnx(folder: Path, form: str = "whole") -> Path:
    (folder / "d.onnx").write_bytes(onnx_bytes(form))
    return folder / "d.onnx"


def write_pt2(folder: Path) -> Path:
    pt2.write(pt2_program(), folder / "d.pt2", record().texts())
    return folder / "d.pt2"


def write_openvino(folder: Path) -> Path:
    model = openvino.with_outputs(openvino.to_openvino(onnx_model()), record().output_names)
    openvino.write(model, folder / "d.xml", record().texts(), fp16=False)
    return folder / "d.xml"


def write_ncnn(folder: Path, of: Any = None) -> Path:
    """The network alone; needs the extra ncnn."""
    from singleshot.exporting import ncnn
    from singleshot.exporting.program import NetworkProgram

    ncnn.write(NetworkProgram(of or network()), folder / "d.ncnn.param", record("raw", of=of))
    return folder / "d.ncnn.param"


def write_litert(folder: Path, of: Any = None) -> Path:
    """The network alone; needs the extra litert."""
    from singleshot.exporting import litert
    from singleshot.exporting.program import NetworkProgram

    litert.write(NetworkProgram(of or network()), folder / "d.tflite", record("raw", of=of), [])
    return folder / "d.tflite"


def write_weights(folder: Path) -> Path:
    weights.save(folder / "d.safetensors", network(), {"command": "none"})
    return folder / "d.safetensors"


def pictures(count: int = 3) -> list[np.ndarray]:
    """Pictures of several sizes with structure in them."""
    rng = np.random.default_rng(0)
    import cv2

    sizes = [(97, 131), (200, 150), (128, 160), (60, 301)]
    return [
        cv2.resize(rng.integers(0, 256, (6, 7, 3), dtype=np.uint8), sizes[i % 4][::-1], interpolation=cv2.INTER_CUBIC)
        for i in range(count)
    ]
