from __future__ import annotations

import pytest

from singleshot.errors import UsageError
from singleshot.exporting.building import PRECISIONS, check_choice


def test_formats_and_precisions_that_go_together_pass():
    for file_format, precisions in PRECISIONS.items():
        for precision in precisions:
            assert check_choice(file_format, precision) == (file_format, precision)


@pytest.mark.parametrize(
    ("file_format", "precision", "said"),
    [
        ("tensorrt", "fp32", "no format is called 'tensorrt'. Use pt2, onnx, openvino"),
        ("pt2", "int8", "pt2 has no precision 'int8'. Use fp32, bf16"),
        ("onnx", "bf16", "Use fp32, fp16, int8"),
        ("openvino", "bf16", "run it with bf16=True"),
    ],
)
def test_others_are_refused_with_what_there_is(file_format: str, precision: str, said: str):
    with pytest.raises(UsageError, match=said):
        check_choice(file_format, precision)
