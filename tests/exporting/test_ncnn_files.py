from __future__ import annotations

import struct

import numpy as np
import pytest

from singleshot.exporting import ncnn_files
from singleshot.exporting.ncnn_files import Layer

TEXT = """7767517
6 7
Input in0 0 1 in0
Convolution conv_0 1 1 in0 1 0=2 1=1 5=1 6=6 -23310=2,0.0,6.0
Split split_0 1 2 1 2 3
InnerProduct fc_0 1 1 2 4 0=2 1=0 2=4
MemoryData scale 0 1 5 0=3 1=1
BinaryOp mul_0 2 1 3 5 out0 0=2
"""
NUMBERS = [np.arange(size, dtype=np.float32) + 0.5 for size in (6, 2, 4, 3)]
DATA = bytes(4) + NUMBERS[0].tobytes() + NUMBERS[1].tobytes() + bytes(4) + NUMBERS[2].tobytes() + NUMBERS[3].tobytes()


def test_each_layer_gets_its_own_weights():
    layers = ncnn_files.read(TEXT, DATA)
    assert [each.kind for each in layers] == ["Input", "Convolution", "Split", "InnerProduct", "MemoryData", "BinaryOp"]
    _, convolution, split, product, constant, binary = layers
    assert (split.inputs, split.outputs, binary.inputs) == (("1",), ("2", "3"), ("3", "5"))
    assert convolution.parameters[-23310] == "2,0.0,6.0"
    assert convolution.number(0) == 2 and convolution.number(99, 7) == 7
    weights = (convolution.weights, convolution.plain[0], product.weights, constant.plain[0])
    for found, wanted in zip(weights, NUMBERS, strict=True):
        np.testing.assert_array_equal(found, wanted)
    assert product.plain == () and constant.weights is None and binary.weights is None and binary.plain == ()


def test_what_was_read_is_written_to_the_byte():
    assert ncnn_files.written(ncnn_files.read(TEXT, DATA)) == (TEXT, DATA)


def test_8_bit_weights_have_their_tag_and_fill_whole_words():
    scales = np.array([2.0, 4.0], dtype=np.float32)
    layer = Layer("Convolution", "c", ("in0",), ("out0",), {0: "2", 6: "6"}, np.arange(-3, 3, dtype=np.int8), (scales,))
    _, data = ncnn_files.written([layer])
    assert data == struct.pack("<I6b2x2f", 0x000D4B38, -3, -2, -1, 0, 1, 2, 2.0, 4.0)


@pytest.mark.parametrize(
    ("text", "data", "said"),
    [
        (TEXT.replace("7767517", "1"), DATA, "not a network for ncnn"),
        (TEXT, DATA[:-1], "too few"),
        (TEXT, DATA + bytes(4), "of which its layers read"),
        (TEXT, b"\x47\x6b\x30\x01" + DATA[4:], "the weights of conv_0 are not float32"),
        (TEXT.replace("6=6", "6=5"), DATA, "fc_0 are not float32|layers read"),
    ],
)
def test_another_file_is_refused(text: str, data: bytes, said: str):
    with pytest.raises(ValueError, match=said):
        ncnn_files.read(text, data)
