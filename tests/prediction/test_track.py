from __future__ import annotations

import builtins
from typing import Any

import numpy as np
import pytest

from benchmarks.track import follow
from singleshot.errors import ConfigError
from singleshot.prediction.track import Tracker
from singleshot.structures import Detections


def seen(*rows: tuple[float, float, float, int]) -> Detections:
    """Boxes of 20×20 at (x, y) with a score and a class."""
    rows = tuple(sorted(rows, key=lambda row: -row[2]))
    boxes = np.array([[x, y, x + 20, y + 20] for x, y, _, _ in rows], np.float32).reshape(-1, 4)
    class_ids = np.array([row[3] for row in rows], np.int64)
    names = np.array(["car", "bus"], object)[class_ids]
    return Detections(boxes, np.array([row[2] for row in rows], np.float32), class_ids, names, (200, 300))


def numbers(found: Detections) -> list[int]:
    assert found.track_ids is not None
    return found.track_ids.tolist()


def test_two_things_keep_their_numbers_while_they_pass_each_other() -> None:
    tracker = Tracker()
    for step in range(20):
        found = tracker.update(seen((10 + 5 * step, 10, 0.9, 0), (110 - 5 * step, 50, 0.8, 0)))
        assert numbers(found) == [1, 2]


def test_a_thing_seen_once_later_on_is_no_track_and_twice_is_one() -> None:
    tracker = Tracker()
    assert numbers(tracker.update(seen((0, 0, 0.9, 0)))) == [1]
    assert numbers(tracker.update(seen((0, 0, 0.9, 0), (100, 0, 0.8, 0)))) == [1]
    assert numbers(tracker.update(seen((0, 0, 0.9, 0), (100, 0, 0.8, 0)))) == [1, 2]


def test_an_unsure_detection_continues_a_track_and_begins_none() -> None:
    tracker = Tracker()
    tracker.update(seen((0, 0, 0.9, 0)))
    assert numbers(tracker.update(seen((1, 0, 0.2, 0), (100, 0, 0.3, 0)))) == [1]
    assert numbers(tracker.update(seen((2, 0, 0.05, 0)))) == [], "below the lowest score nothing counts"


def test_a_hidden_thing_is_waited_for_and_given_up_in_the_end() -> None:
    tracker = Tracker(patience=5)
    for step in range(6):
        tracker.update(seen((10 + 4 * step, 0, 0.9, 0)))
    for _ in range(4):
        assert numbers(tracker.update(seen())) == []
    assert numbers(tracker.update(seen((10 + 4 * 10, 0, 0.9, 0)))) == [1], "it moved on out of sight"
    for _ in range(6):
        tracker.update(seen())
    tracker.update(seen((90, 0, 0.9, 0)))
    assert numbers(tracker.update(seen((90, 0, 0.9, 0)))) == [2]


def test_a_thing_does_not_change_its_class() -> None:
    tracker = Tracker()
    tracker.update(seen((0, 0, 0.9, 0)))
    assert numbers(tracker.update(seen((0, 0, 0.9, 1)))) == []


@pytest.mark.parametrize(("threshold", "begins"), [(0.3, 0.4), (0.5, 0.6), (0.8, 0.9), (0.9, 0.95), (0.96, 0.98)])
def test_a_track_begins_above_the_threshold_by_a_tenth_or_half_of_what_is_left(threshold: float, begins: float) -> None:
    assert numbers(Tracker().update(seen((0, 0, begins + 0.001, 0)), threshold)) == [1]
    assert numbers(Tracker().update(seen((0, 0, begins - 0.001, 0)), threshold)) == []


def test_each_class_may_have_its_own_threshold() -> None:
    tracker = Tracker()
    found = seen((0, 0, 0.45, 0), (100, 0, 0.45, 1))
    thresholds = np.array([0.5, 0.3], np.float32)[found.class_ids]
    assert tracker.update(found, thresholds).class_names.tolist() == ["bus"]


def test_no_detections_are_no_tracks() -> None:
    assert numbers(Tracker().update(seen())) == []


def test_without_scipy_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    honest = builtins.__import__

    def refuse(name: str, *rest: Any, **options: Any) -> Any:
        if name.startswith("scipy"):
            raise ImportError(name, name="scipy")
        return honest(name, *rest, **options)

    monkeypatch.setattr(builtins, "__import__", refuse)
    with pytest.raises(ConfigError, match=r"singleshot\[video\]"):
        Tracker()


def test_on_drawn_streets_with_known_tracks_few_numbers_are_lost() -> None:
    judge = follow(0, count=40, fps=12.5, size_hw=(150, 200))
    assert judge.idf1() > 0.8 and judge.switches <= 6 and judge.true > 150
