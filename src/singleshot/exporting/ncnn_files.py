"""ncnn's pair of files as a list of layers with their weights: `.ncnn.param`, a text, and `.ncnn.bin`.

A line of the text is a layer: its kind, its name, the number of its inputs and outputs, their names, and parameters as
`key=value`. The binary file has the arrays of all layers in the order of the lines, without names or sizes: they follow
from the parameters. Weights have a tag of four bytes before them, which says how they are stored; biases, scales and
constants are plain float32.

Reference: ncnn, docs/developer-guide/param-and-model-file-structure.md and operators.md.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod

import numpy as np
from jaxtyping import Float32
from numpy import ndarray

from singleshot.prediction.backends.ncnn import MAGIC, WEIGHTS_SIZES

FLOAT32, INT8 = (0).to_bytes(4, "little"), (0x000D4B38).to_bytes(4, "little")
"""Tags of the two ways of storing weights that are used here."""
INNER_PRODUCT, CONSTANT = "InnerProduct", "MemoryData"


@dataclass(frozen=True)
class Layer:
    """One layer.

    Args:
        kind: as ncnn calls it, such as `Convolution`.
        name: its own.
        inputs: the names of the values that it takes.
        outputs: the names of the values that it gives.
        parameters: by key, as they are written.
        weights: float32 or int8, flat; None for a layer without.
        plain: the float32 arrays after the weights, flat: bias, scales, or a constant.
    """

    kind: str
    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    parameters: Mapping[int, str]
    weights: ndarray | None = None
    plain: tuple[Float32[ndarray, "_"], ...] = ()

    def number(self, key: int, default: int = 0) -> int:
        """Return a parameter that is a whole number."""
        return int(self.parameters.get(key, default))


def read(text: str, data: bytes) -> list[Layer]:
    """Return the layers of a network in float32, as pnnx writes it.

    Raises ValueError: it is another kind of file, or its weights are not float32, or of another number.
    """
    magic, _, *lines = text.splitlines()
    if magic.strip() != MAGIC:
        raise ValueError("not a network for ncnn")
    layers, place = [], 0
    for line in lines:
        kind, name, inputs, outputs, *rest = line.split()
        first, last = int(inputs), int(inputs) + int(outputs)
        pairs = (word.partition("=") for word in rest[last:])
        parameters = {int(key): value for key, _, value in pairs}
        layer = Layer(kind, name, tuple(rest[:first]), tuple(rest[first:last]), parameters)
        weights, plain = None, []
        if count := _weights_of(layer):
            if data[place : place + 4] != FLOAT32:
                raise ValueError(f"the weights of {name} are not float32")
            weights, place = _floats(data, place + 4, count)
        if count := _plain_of(layer):
            values, place = _floats(data, place, count)
            plain.append(values)
        layers.append(Layer(kind, name, layer.inputs, layer.outputs, parameters, weights, tuple(plain)))
    if place != len(data):
        raise ValueError(f"{len(data)} bytes of weights, of which its layers read {place}")
    return layers


def written(layers: Sequence[Layer]) -> tuple[str, bytes]:
    """Return the text and the weights of a network.

    >>> text, data = written([Layer("ReLU", "relu_0", ("1",), ("2",), {0: "0.1"})])
    >>> print(text, data)
    7767517
    1 1
    ReLU relu_0 1 1 1 2 0=0.1
     b''
    """
    lines = [MAGIC, f"{len(layers)} {sum(len(each.outputs) for each in layers)}"]
    data = bytearray()
    for each in layers:
        parameters = (f"{key}={value}" for key, value in each.parameters.items())
        counts = (str(len(each.inputs)), str(len(each.outputs)))
        lines.append(" ".join((each.kind, each.name, *counts, *each.inputs, *each.outputs, *parameters)))
        if each.weights is not None:
            data += INT8 if each.weights.dtype == np.int8 else FLOAT32
            data += each.weights.tobytes()
            data += bytes(-len(data) % 4)
        for values in each.plain:
            data += values.astype("<f4").tobytes()
    return "\n".join([*lines, ""]), bytes(data)


def _weights_of(layer: Layer) -> int:
    """How many weights with a tag a layer has."""
    return layer.number(WEIGHTS_SIZES[layer.kind]) if layer.kind in WEIGHTS_SIZES else 0


def _plain_of(layer: Layer) -> int:
    """How many float32 numbers without a tag a layer has: the bias, or a constant of up to four dimensions."""
    if layer.kind == CONSTANT:
        return prod(size for key in (0, 1, 11, 2) if (size := layer.number(key)))
    if layer.kind in WEIGHTS_SIZES and layer.number(1 if layer.kind == INNER_PRODUCT else 5):
        return layer.number(0)
    return 0


def _floats(data: bytes, place: int, count: int) -> tuple[Float32[ndarray, "_"], int]:
    end = place + 4 * count
    if end > len(data):
        raise ValueError(f"{len(data)} bytes of weights are too few")
    return np.frombuffer(data[place:end], dtype="<f4"), end
