from __future__ import annotations

import numpy as np
import pytest

from singleshot.errors import UsageError
from singleshot.prediction.choosing import choice, parse_threshold
from singleshot.structures import Detections, LabelMap

LABELS = LabelMap(("car", "bus", "traffic light"))


def found() -> Detections:
    class_ids = np.array([0, 1, 2, 0, 2])
    scores = np.array([0.9, 0.6, 0.5, 0.4, 0.2], np.float32)
    return Detections(np.zeros((5, 4), np.float32), scores, class_ids, LABELS.names_of(class_ids), (9, 9))


def test_a_class_may_have_a_threshold_of_its_own() -> None:
    assert len(choice(LABELS, 0.5).kept(found())) == 3
    chosen = choice(LABELS, {"": 0.7, "traffic light": 0.2})
    assert chosen.kept(found()).class_ids.tolist() == [0, 2, 2] and chosen.least == pytest.approx(0.2)
    assert choice(LABELS, {"car": 0.4}).kept(found()).class_ids.tolist() == [0, 1, 2, 0], "the others stay at 0.5"


def test_only_the_classes_that_are_named_are_shown() -> None:
    chosen = choice(LABELS, 0, ["bus"])
    assert chosen.kept(found()).class_names.tolist() == ["bus"]
    assert chosen.wanted(found()).tolist() == [False, True, False, False, False]
    assert len(chosen.kept(found()[:0])) == 0


def test_an_unknown_class_is_answered_with_the_nearest() -> None:
    for wrong in (lambda: choice(LABELS, 0.5, ["Traffic Lihgt"]), lambda: choice(LABELS, {"traffik light": 0.1})):
        with pytest.raises(UsageError, match="Did you mean traffic light"):
            wrong()
    with pytest.raises(UsageError, match="Known are car, bus"):
        choice(LABELS, 0.5, ["xyz"])


def test_what_is_no_threshold_is_refused() -> None:
    for text in ("", "high", "car="):
        with pytest.raises(UsageError, match="not a number"):
            parse_threshold(text)
    for bad in (-0.1, 1.5, float("nan")):
        with pytest.raises(UsageError):
            choice(LABELS, bad)
    with pytest.raises(UsageError):
        choice(LABELS, 0.5, [])
