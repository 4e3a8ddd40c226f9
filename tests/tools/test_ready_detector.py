"""The reader of MediaPipe's model: only the published bytes are read, and tables of a flatbuffer are."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest

from singleshot.detection.ssd import SSD, config_for
from singleshot.errors import DataError
from tools.ready_detector import Table, layers_in_order, model_bytes
from tools.ready_detector import _rows as rows_of


def test_another_file_is_refused_before_it_is_read(tmp_path: Path) -> None:
    file = tmp_path / "a.data"
    file.write_bytes(b"???\nBicycle\n" + b"x" * 300)
    with pytest.raises(DataError, match=r"a\.data: not the published model: another SHA-256"):
        model_bytes(file)


def test_fields_of_a_table_worked_by_hand() -> None:
    # A vtable of 8 bytes (its size, the table's, field 0 at 4, field 1 absent) at 0; the table at 8 points back by 8.
    table = struct.pack("<HHHH", 8, 12, 4, 0) + struct.pack("<ii", 8, -7) + struct.pack("<I", 0)
    read = Table(table, 8)
    assert read.number(0, "i") == -7 and read.number(1, "i", 5) == 5 and read.number(9, "i") == 0
    assert read.tables(1) == [] and read.bytes(1) == b""


def test_a_vector_of_numbers_is_found_where_its_field_points() -> None:
    vector = struct.pack("<I", 2) + struct.pack("<ii", 300, -1)
    # vtable (6 bytes and 2 of padding), table at 8: back 8, then a distance of 4 from its own place to the vector.
    data = struct.pack("<HHHH", 6, 8, 4, 0) + struct.pack("<iI", 8, 4) + vector
    assert Table(data, 8).numbers(0) == [300, -1]


def test_layers_are_listed_once_each_in_the_order_of_the_file() -> None:
    network = SSD(config_for("mobilenetv2-300", ("cat",), (64, 64)))
    layers = [layer for layer, _ in layers_in_order(network)]
    convolutions = [module for module in network.modules() if hasattr(module, "kernel_size")]
    assert len(layers) == len({*map(id, layers)}) == len(convolutions)
    assert layers[0] is network.trunk.get_submodule("stem.0") and layers[-1] is network.class_heads[-1]


def test_rows_of_each_anchor_are_chosen_and_ordered() -> None:
    assert rows_of(np.arange(8), 4, [1, 0, 3, 2]).tolist() == [1, 0, 3, 2, 5, 4, 7, 6]
    assert rows_of(np.arange(6).reshape(6, 1), 3, [1, 2]).tolist() == [[1], [2], [4], [5]]
