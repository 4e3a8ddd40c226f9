"""Average precision: the two definitions of VOC, by hand and by a slow second writing of the devkit's loops."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from singleshot.metrics.average_precision import all_point_ap, eleven_point_ap, precision_recall


def both(hits: list[bool], num_ground_truths: int) -> tuple[float, float]:
    precision, recall = precision_recall(np.array(hits, dtype=bool), num_ground_truths)
    return eleven_point_ap(precision, recall), all_point_ap(precision, recall)


def slow(hits: list[bool], num_ground_truths: int) -> tuple[Fraction, Fraction]:
    """VOCevaldet.m of 2007 and VOCap.m, line by line, in fractions but for the steps of recall."""
    rec = [Fraction(sum(hits[: k + 1]), num_ground_truths) for k in range(len(hits))]
    prec = [Fraction(sum(hits[: k + 1]), k + 1) for k in range(len(hits))]
    eleven = Fraction(0)
    for step in range(11):
        eleven += max([p for p, r in zip(prec, rec, strict=True) if float(r) >= step * 0.1], default=Fraction(0)) / 11
    mrec, mpre = [Fraction(0), *rec, Fraction(1)], [Fraction(0), *prec, Fraction(0)]
    for k in range(len(mpre) - 2, -1, -1):
        mpre[k] = max(mpre[k], mpre[k + 1])
    area = sum(((mrec[k] - mrec[k - 1]) * mpre[k] for k in range(1, len(mrec))), Fraction(0))
    return eleven, area


def test_the_golden_curve_gives_its_two_published_figures():
    # After hit, miss, hit, hit of 3 objects: precision 1, ½, ⅔, ¾ at recall ⅓, ⅓, ⅔, 1.
    # Eleven points: recall 0 … 0.3 see 1, the seven others ¾: (4 + 5.25) / 11. Area: ⅓ · 1 + ⅔ · ¾.
    eleven, area = both([True, False, True, True], 3)
    assert eleven == pytest.approx(0.840909, abs=1e-6) == (4 + 7 * 0.75) / 11
    assert area == pytest.approx(0.833333, abs=1e-6) == pytest.approx(1 / 3 + 0.5)


def test_no_detections_give_zero():
    assert both([], 5) == (0.0, 0.0)


def test_only_misses_give_zero():
    assert both([False, False], 1) == (0.0, 0.0)


def test_a_perfect_ranking_gives_one_whatever_follows():
    assert both([True, True, False, False], 2) == (1.0, pytest.approx(1.0))


def test_recall_without_objects_is_refused():
    with pytest.raises(ValueError, match="at least one ground truth"):
        precision_recall(np.array([True]), 0)


@pytest.mark.parametrize("tenths", range(1, 11))
def test_a_recall_of_k_tenths_reaches_step_k_but_for_three_accidents_of_double_precision(tenths: int):
    # 3 · 0.1 > 0.3 in binary, and so for 6 and 7; NumPy's 0:0.1:1 has it too, and published figures rest on it.
    steps = tenths if tenths in (3, 6, 7) else tenths + 1
    assert both([True] * tenths, 10)[0] == pytest.approx(steps / 11)


@given(hits=st.lists(st.booleans(), max_size=40), missed=st.integers(0, 10))
def test_equals_the_devkit_written_out_in_fractions(hits: list[bool], missed: int):
    num_ground_truths = max(1, sum(hits) + missed)
    eleven, area = both(hits, num_ground_truths)
    slow_eleven, slow_area = slow(hits, num_ground_truths)
    assert eleven == pytest.approx(float(slow_eleven), abs=1e-12)
    assert area == pytest.approx(float(slow_area), abs=1e-12)


@given(hits=st.lists(st.booleans(), min_size=1, max_size=30), place=st.integers(0, 29))
def test_one_more_miss_never_raises_ap(hits: list[bool], place: int):
    num_ground_truths = max(1, sum(hits))
    worse = [*hits[:place], False, *hits[place:]]
    for before, after in zip(both(hits, num_ground_truths), both(worse, num_ground_truths), strict=True):
        assert after <= before + 1e-12
