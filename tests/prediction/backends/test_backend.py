from __future__ import annotations

from pathlib import Path

import pytest

from singleshot.errors import DataError
from singleshot.prediction.backends.backend import check_outputs, refused
from tests.exporting import made


def test_outputs_are_those_of_the_record_in_its_order():
    names = made.record().output_names
    check_outputs(names, made.record(), Path("a.onnx"))
    for wrong in (names[:3], names[::-1], ()):
        with pytest.raises(DataError, match="needed are boxes_xyxy"):
            check_outputs(wrong, made.record(), Path("a.onnx"))


def test_a_runtimes_words_come_as_one_short_line():
    said = str(refused("ONNX Runtime", RuntimeError("bad\n  node " + "x" * 1000), Path("a.onnx")))
    assert said.startswith("a.onnx: ONNX Runtime refuses it (bad node xxx") and len(said) < 300 and "\n" not in said
