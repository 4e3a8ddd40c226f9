"""Makes `everyday`, the detector that the package contains, from MediaPipe's published file.

    npm pack @mediapipe/objectron@0.4.1675468480 && tar xzf mediapipe-objectron-0.4.1675468480.tgz
    python -m tools.ready_detector package/objectron_solution_packed_assets.data

That file is a list of labels and behind it a TensorFlow Lite model: an SSD with MobileNetV2 whose batch normalisation
is folded into its convolutions. Its SHA-256 is checked before anything is read. The model is a flatbuffer; `Table`
reads as much of that format as is needed (google/flatbuffers, "FlatBuffer Internals"; the fields' numbers are those
of tensorflow/lite/schema/schema.fbs). Convolutions stand in the file in the order in which they are computed.
"""

from __future__ import annotations

import argparse
import hashlib
import struct
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from numpy import ndarray
from torch import nn

from singleshot import weights
from singleshot.backbones.mobilenet_v2 import STRIDE_16_BLOCK
from singleshot.detection.postprocess import Postprocess
from singleshot.detection.ssd import SSD, config_for
from singleshot.errors import DataError

LABELS_END = 184
SHA256 = "d0a5255bf8c4f5a0bc4240741a76c41d5e939f7655078f945f50ab53a9375da6"
CONV_2D, DEPTHWISE_CONV_2D, DEQUANTIZE = 3, 4, 6
SAME, RELU6 = 0, 3
DTYPES: dict[int, type[np.generic]] = {0: np.float32, 1: np.float16, 2: np.int32}
OUT = Path("src/singleshot/starts/everyday.safetensors")
DISPLAY_THRESHOLD = 0.4
"""The best F1 on 100 photographs of VOC2012: precision .65, recall .55."""
POSTPROCESS = Postprocess(score_threshold=0.05, nms_iou=0.5)
"""With which a mean AP50 of .680 over ten classes was measured there; below, each anchor scores by chance."""
ORIGIN = {
    "made_by": "tools/ready_detector.py",
    "title": "MediaPipe Objectron's SSD with MobileNetV2, 23 classes",
    "source": "everyday",
    "publisher": "npm, @mediapipe/objectron 0.4.1675468480",
    "file": "object_detection_ssd_mobilenetv2_oidv4_fp16.tflite",
    "file_sha256": SHA256,
    "licence": "Apache-2.0",
    "training_data": "Open Images V4, as the file's name says; its publisher states nothing more",
}


class Table:
    """A table of a flatbuffer: `number`, `table`, … read its fields by their numbers in the schema.

    Args:
        data: the whole file.
        place: where the table begins.
    """

    def __init__(self, data: bytes, place: int) -> None:
        self.data, self.place = data, place
        self.fields = place - self._read("i", place)

    def number(self, field: int, kind: str, default: int = 0) -> int:
        """Return a number of a `struct` format."""
        place = self._place(field)
        return self._read(kind, place) if place else default

    def table(self, field: int) -> Table:
        """Return the table that a field points to."""
        return Table(self.data, self._target(self._place(field)))

    def tables(self, field: int) -> list[Table]:
        """Return the tables of a vector."""
        count, start = self._vector(field)
        return [Table(self.data, self._target(start + 4 * index)) for index in range(count)]

    def numbers(self, field: int) -> list[int]:
        """Return the 32-bit numbers of a vector."""
        count, start = self._vector(field)
        return list(struct.unpack_from(f"<{count}i", self.data, start))

    def bytes(self, field: int) -> bytes:
        """Return a vector of bytes; empty where there is none."""
        count, start = self._vector(field)
        return self.data[start : start + count]

    def _vector(self, field: int) -> tuple[int, int]:
        place = self._place(field)
        if not place:
            return 0, 0
        start = self._target(place)
        return self._read("I", start), start + 4

    def _place(self, field: int) -> int:
        """Where a field's value stands, 0 where it is absent: a table names its fields' distances from its start."""
        entry = 4 + 2 * field
        distance = self._read("H", self.fields + entry) if entry < self._read("H", self.fields) else 0
        return self.place + distance if distance else 0

    def _target(self, place: int) -> int:
        return place + self._read("I", place)

    def _read(self, kind: str, place: int) -> int:
        return int(struct.unpack_from(f"<{kind}", self.data, place)[0])


@dataclass(frozen=True)
class FoundConvolution:
    """A convolution of the file.

    Args:
        weight: (out, in / groups, height, width).
        bias: (out,).
        stride: both ways.
        relu6: whether one follows.
    """

    weight: Float[ndarray, "O I h w"]
    bias: Float[ndarray, " O"]
    stride: int
    relu6: bool


def model_bytes(path: Path) -> tuple[list[str], bytes]:
    """Return the labels and the model of the package's file. Raises DataError for any other file."""
    content = path.read_bytes()
    labels, model = content[:LABELS_END], content[LABELS_END:]
    if hashlib.sha256(model).hexdigest() != SHA256:
        remedy = "Take it from @mediapipe/objectron 0.4.1675468480"
        raise DataError("not the published model: another SHA-256", kind="damaged-weights", remedy=remedy, file=path)
    return labels.decode().splitlines()[1:], model  # after "???", the background


def convolutions(model: bytes) -> Iterator[FoundConvolution]:
    """Yield the convolutions of a TensorFlow Lite model in the order of its graph."""
    root = Table(model, struct.unpack_from("<I", model, 0)[0])
    codes = [max(code.number(0, "b"), code.number(3, "i")) for code in root.tables(1)]
    graph, buffers = root.tables(2)[0], root.tables(4)
    tensors, operators = graph.tables(0), graph.tables(3)
    # Weights are stored in half precision, and an operator of their own makes float32 of them.
    stored = {each.numbers(2)[0]: each.numbers(1)[0] for each in operators if codes[each.number(0, "I")] == DEQUANTIZE}

    def values(index: int) -> Float[ndarray, "..."]:
        tensor = tensors[stored.get(index, index)]
        raw = np.frombuffer(buffers[tensor.number(2, "I")].bytes(0), DTYPES[tensor.number(1, "b")])
        return raw.reshape(tensor.numbers(0))

    for operator in operators:
        code = codes[operator.number(0, "I")]
        if code not in (CONV_2D, DEPTHWISE_CONV_2D):
            continue
        options, (_, weight, bias) = operator.table(4), operator.numbers(1)
        if options.number(0, "b") != SAME or options.number(1, "i") != options.number(2, "i"):
            raise ValueError("a convolution with another padding than SAME, or with two strides")
        # (out, height, width, in); of a depthwise one (1, height, width, out).
        axes = (3, 0, 1, 2) if code == DEPTHWISE_CONV_2D else (0, 3, 1, 2)
        activation = options.number(4 if code == DEPTHWISE_CONV_2D else 3, "b")
        yield FoundConvolution(
            values(weight).transpose(axes), values(bias), options.number(1, "i"), activation == RELU6
        )


def layers_in_order(network: SSD) -> Iterator[tuple[nn.Module, bool]]:
    """Yield the convolutions of our network in that order, and whether a ReLU6 follows."""
    heads = zip(network.box_heads, network.class_heads, strict=True)

    def next_heads() -> Iterator[tuple[nn.Module, bool]]:
        yield from ((head, False) for head in next(heads))

    trunk: Any = network.trunk
    yield trunk.stem[0], True
    for index, block in enumerate(trunk.blocks):
        if not isinstance(block.expand, nn.Identity):
            yield block.expand[0], True
        if index == STRIDE_16_BLOCK:
            yield from next_heads()
        yield block.depthwise[0], True
        yield block.project[0], False
    yield trunk.last[0], True
    yield from next_heads()
    for extra in trunk.extras:
        yield extra[0][0], True
        yield extra[1][0], True
        yield from next_heads()


def detector_of(labels: list[str], model: bytes) -> SSD:
    """Return our network with the file's weights, in half precision."""
    config = replace(
        config_for("mobilenetv2-300", [label.lower() for label in labels]),
        display_threshold=DISPLAY_THRESHOLD,
        postprocess=POSTPROCESS,
    )
    network, classes = SSD(config).half().eval(), len(labels)
    found = list(convolutions(model))
    ours = list(layers_in_order(network))
    for theirs, (layer, relu6) in zip(found, ours, strict=True):
        weight, bias = theirs.weight, theirs.bias
        if layer in [*network.box_heads]:  # (y, x, height, width) of each anchor
            weight, bias = _rows(weight, 4, [1, 0, 3, 2]), _rows(bias, 4, [1, 0, 3, 2])
        if layer in [*network.class_heads]:  # the background comes first
            kept = list(range(1, classes + 1))
            weight, bias = _rows(weight, classes + 1, kept), _rows(bias, classes + 1, kept)
        if not isinstance(layer, nn.Conv2d) or (layer.stride[0], relu6) != (theirs.stride, theirs.relu6):
            raise ValueError("the file has another network than ours")
        layer.load_state_dict({"weight": torch.from_numpy(weight.copy()), "bias": torch.from_numpy(bias.copy())})
    return network


def _rows(values: Float[ndarray, "O ..."], width: int, kept: list[int]) -> Float[ndarray, "P ..."]:
    """Some rows of each anchor, in that order; each anchor has `width` of them."""
    by_anchor = values.reshape(-1, width, *values.shape[1:])
    return by_anchor[:, kept].reshape(-1, *values.shape[1:])


def main() -> None:
    """Read the arguments and write the file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="objectron_solution_packed_assets.data of the npm package")
    parser.add_argument("--out", type=Path, default=OUT)
    arguments = parser.parse_args()
    digest = weights.save(arguments.out, detector_of(*model_bytes(arguments.data)), ORIGIN)
    print(f"{arguments.out}: {arguments.out.stat().st_size} bytes, SHA-256 {digest}")


if __name__ == "__main__":
    main()
