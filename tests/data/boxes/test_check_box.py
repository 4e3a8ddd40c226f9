from __future__ import annotations

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from singleshot.data.boxes.check_box import (
    CONTINUOUS,
    INCLUSIVE,
    LEFT_OUT,
    UNKNOWN_SIZE_HW,
    USABLE,
    BoxRule,
    check_box,
)
from singleshot.data.faults import KINDS

SIZE_HW = (40, 60)


def _box(x1: float, y1: float, x2: float, y2: float) -> tuple[float, float, float, float]:
    return float(x1), float(y1), float(x2), float(y2)


@pytest.mark.parametrize(
    ("box_xyxy", "continuous", "inclusive"),
    [
        ((0, 0, 60, 40), None, None),
        ((9, 4, 20, 30), None, None),
        ((9, 4, 10, 30), None, "zero-size-box"),
        ((9, 4, 9.5, 30), None, "inverted-box"),
        ((9, 4, 9, 30), "zero-size-box", "inverted-box"),
        ((9, 4, 8, 30), "inverted-box", "inverted-box"),
        ((-0.01, 0, 60.01, 40), None, "clipped-box"),
        ((-0.03, 0, 60, 40), "clipped-box", "clipped-box"),
        ((60, 0, 70, 40), "outside-box", "outside-box"),
        ((-9, 0, 0, 40), "outside-box", "outside-box"),
        ((math.nan, 0, 60, 40), "not-a-number", "not-a-number"),
        ((0, 0, math.inf, 40), "not-a-number", "not-a-number"),
    ],
)
def test_each_rule_gives_its_kind_of_fault(
    box_xyxy: tuple[float, ...], continuous: str | None, inclusive: str | None
) -> None:
    for rule, kind in ((CONTINUOUS, continuous), (INCLUSIVE, inclusive)):
        fault = check_box(_box(*box_xyxy), SIZE_HW, rule)
        assert (fault.kind if fault else None) == kind


@given(st.floats(-50, 1e6, allow_nan=False), st.floats(1, 9))
def test_equal_inclusive_corners_have_zero_size_however_they_round(corner: float, height: float) -> None:
    fault = check_box((corner - 1, 0.0, corner, height + 1), UNKNOWN_SIZE_HW, INCLUSIVE)
    assert fault is not None and (fault.kind, fault.message) == ("zero-size-box", "has zero width")


def test_a_box_without_width_and_height_names_both() -> None:
    fault = check_box(_box(5, 5, 5, 5), SIZE_HW)
    assert fault is not None and fault.message == "has zero width and height"


def test_in_an_image_of_unknown_size_no_box_is_outside() -> None:
    assert check_box((1e6, 1e6, 2e6, 2e6), UNKNOWN_SIZE_HW, INCLUSIVE) is None


@pytest.mark.parametrize("rule", [CONTINUOUS, INCLUSIVE])
def test_a_usable_box_has_an_area_inside_the_image(rule: BoxRule) -> None:
    rng = random.Random(0)
    kinds = set()
    for _ in range(2000):
        box_xyxy = _box(*(round(rng.uniform(-30, 90), 1) for _ in range(4)))
        fault = check_box(box_xyxy, SIZE_HW, rule)
        kinds.add(fault.kind if fault else None)
        if fault is None or fault.kind in USABLE:
            x1, y1, x2, y2 = box_xyxy
            assert max(x1, 0) < min(x2, 60) and max(y1, 0) < min(y2, 40)
    assert kinds >= {None, "clipped-box", "outside-box", "inverted-box"}


def test_every_kind_has_its_severity_and_remedy_in_the_table() -> None:
    assert {kind: KINDS[kind][0] for kind in LEFT_OUT} == {
        "not-a-number": "fatal",
        "inverted-box": "fatal",
        "zero-size-box": "fatal",
        "outside-box": "warning",
    }
    assert all(KINDS[kind][0] == "warning" for kind in USABLE)
    assert all(severity in ("fatal", "warning", "note") for severity, _ in KINDS.values())
