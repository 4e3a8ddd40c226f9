from __future__ import annotations

import math
import re
import xml.etree.ElementTree as ET

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from singleshot.reporting.charts import Frame, Line, Mark, chart, log_ticks, mark_legend, thinned, ticks


def points(svg: str) -> list[list[tuple[float, float]]]:
    found = []
    for each in ET.fromstring(svg).iter("polyline"):
        found.append([tuple(map(float, pair.split(","))) for pair in each.get("points", "").split()])
    return found


def line(*values: float) -> Line:
    return Line("a", np.arange(len(values), dtype=np.float64), np.array(values, np.float64))


def test_a_point_stands_where_it_belongs_worked_by_hand() -> None:
    frame = Frame("t", "x", (0.0, 1.0), (0.0, 2.0), width=264, height=170)
    # The plot spans 52…252 and 30…130.
    assert points(chart([line(0.0, 0.5, 1.0)], frame)) == [[(52.0, 130.0), (152.0, 80.0), (252.0, 30.0)]]


def test_a_decade_has_the_same_height_everywhere_on_a_logarithmic_axis() -> None:
    ((first, second, third),) = points(chart([line(0.1, 1.0, 10.0)], Frame("t", "x", log_y=True)))
    assert first[1] - second[1] == pytest.approx(second[1] - third[1], abs=0.2)


def test_what_is_not_finite_leaves_the_rest() -> None:
    assert len(points(chart([line(1.0, math.nan, math.inf, 2.0)], Frame("t", "x")))[0]) == 2
    assert len(points(chart([line(0.0, -1.0, 2.0)], Frame("t", "x", log_y=True)))[0]) == 1


def test_a_chart_of_nothing_is_reported() -> None:
    for lines in ([], [line()], [line(math.nan)]):
        assert "nothing yet" in chart(lines, Frame("t", "x"))
        assert "nothing yet" in chart(lines, Frame("t", "x", log_y=True))


def test_names_are_escaped_and_marks_say_what_they_are() -> None:
    marked = Line("<b>", np.zeros(1), np.zeros(1), (Mark(0.0, 0.0, 1, "<i>"), Mark(0.0, 0.0, 7, "x")))
    made = chart([marked, marked], Frame("<u>", "<s>", (0.0, 1.0), (0.0, 1.0)))
    assert not re.search(r"<[busi]>", made) and "<title>&lt;i&gt;</title>" in made
    ET.fromstring(made)
    ET.fromstring(mark_legend(["0.01", "0.1"]))


def test_lines_differ_in_more_than_colour() -> None:
    made = chart([line(1.0, 2.0)] * 9, Frame("t", "x"))
    styles = re.findall(r"<polyline[^>]*(stroke='[^']*' [^/]*)/>", made)
    assert len(set(styles)) == 9
    assert len(set(re.findall(r"stroke-dasharray='([^']*)'", made))) == 3


def test_a_long_line_keeps_its_ends_and_loses_points() -> None:
    thin = thinned(line(*range(10_000)))
    assert len(thin.x) == 240 and (thin.x[0], thin.x[-1]) == (0, 9999)
    assert thinned(line(1.0)).x.tolist() == [0]


@settings(max_examples=200, deadline=None)
@given(st.floats(-1e6, 1e6), st.floats(1e-6, 1e6))
def test_ticks_are_few_and_inside(low: float, span: float) -> None:
    found = ticks(low, low + span)
    assert len(found) <= 12
    assert all(low - span * 0.01 - 1e-6 <= tick <= low + span * 1.01 + 1e-6 for tick in found)


def test_ticks_of_decades() -> None:
    assert log_ticks(1e-4, 1.0) == [1e-4, 1e-3, 1e-2, 0.1, 1.0]
