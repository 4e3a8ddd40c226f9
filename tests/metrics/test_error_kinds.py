from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from singleshot.metrics import error_kinds as ek
from singleshot.metrics.detections import FlatDetections, GroundTruths
from singleshot.metrics.error_kinds import error_kinds

CAT, DOG = 0, 1


def found(*rows: tuple[float, float, float, float, float, int, int]) -> FlatDetections:
    table = np.array(rows, np.float64).reshape(-1, 7)
    return FlatDetections(table[:, :4], table[:, 4], table[:, 5].astype(np.int64), table[:, 6].astype(np.int64))


def there(*rows: tuple[float, float, float, float, int, int, int]) -> GroundTruths:
    table = np.array(rows, np.float64).reshape(-1, 7)
    return GroundTruths(
        table[:, :4], table[:, 4].astype(np.int64), table[:, 5].astype(bool), table[:, 6].astype(np.int64)
    )


def test_every_kind_once_worked_by_hand() -> None:
    truths = there(
        (0, 0, 10, 10, CAT, 0, 0),  # found
        (20, 0, 30, 10, CAT, 0, 0),  # seen as a dog
        (40, 0, 50, 10, DOG, 0, 0),  # seen with a poor box
        (60, 0, 70, 10, DOG, 0, 0),  # missed
        (80, 0, 90, 10, DOG, 1, 0),  # difficult
    )
    detections = found(
        (0, 0, 10, 10, 0.9, CAT, 0),
        (0, 0, 10, 9, 0.8, CAT, 0),  # again
        (20, 0, 30, 10, 0.7, DOG, 0),
        (40, 0, 44, 10, 0.6, DOG, 0),  # IoU 40 / 100
        (100, 100, 110, 110, 0.5, CAT, 0),
        (80, 0, 90, 10, 0.4, DOG, 0),
    )
    errors = error_kinds(detections, truths, 2)
    assert [ek.KINDS[kind] for kind in errors.kinds] == [
        *("right", "duplicate", "wrong class", "poor box", "background", "ignored")
    ]
    assert [ek.FATES[fate] for fate in errors.fates] == [
        *("found", "seen with a wrong class", "seen with a poor box", "missed", "difficult")
    ]
    assert errors.objects.tolist() == [0, 0, 1, 2, -1, 4]
    np.testing.assert_allclose(errors.ious[:5], [1, 0.9, 1, 0.4, 0])
    assert errors.confusion.tolist() == [[1, 1, 0], [0, 0, 2], [2, 1, 0]]
    assert errors.count()["poor box"] == 1 and errors.count_objects()["missed"] == 1


def test_an_object_that_is_found_is_not_called_misnamed_too() -> None:
    truths = there((0, 0, 10, 10, CAT, 0, 0))
    errors = error_kinds(found((0, 0, 10, 10, 0.5, CAT, 0), (0, 0, 10, 10, 0.9, DOG, 0)), truths, 2)
    assert [ek.KINDS[kind] for kind in errors.kinds] == ["right", "wrong class"]
    assert errors.fates.tolist() == [ek.FOUND]
    assert errors.confusion.tolist() == [[1, 0, 0], [0, 0, 0], [0, 1, 0]]


def test_the_best_of_several_misnamings_names_the_object() -> None:
    truths = there((0, 0, 10, 10, 0, 0, 0))
    errors = error_kinds(found((0, 0, 10, 10, 0.5, 1, 0), (0, 0, 10, 10, 0.9, 2, 0)), truths, 3)
    assert errors.confusion[0].tolist() == [0, 0, 1, 0]
    assert errors.confusion[3].tolist() == [0, 1, 0, 0]


def test_images_are_kept_apart() -> None:
    truths = there((0, 0, 10, 10, CAT, 0, 1))
    errors = error_kinds(found((0, 0, 10, 10, 0.9, CAT, 0)), truths, 2)
    assert errors.kinds.tolist() == [ek.BACKGROUND] and errors.fates.tolist() == [ek.MISSED]


def test_nothing_found_and_nothing_there() -> None:
    assert error_kinds(found(), there((0, 0, 1, 1, CAT, 0, 0)), 2).fates.tolist() == [ek.MISSED]
    assert error_kinds(found((0, 0, 1, 1, 0.5, CAT, 0)), there(), 2).kinds.tolist() == [ek.BACKGROUND]
    assert error_kinds(found(), there(), 2).confusion.tolist() == [[0] * 3] * 3


def test_a_class_that_is_none_is_refused() -> None:
    with pytest.raises(ValueError, match="2 classes"):
        error_kinds(found((0, 0, 1, 1, 0.5, 2, 0)), there(), 2)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(0, 25), st.integers(0, 12))
def test_rows_add_up_to_objects_and_columns_to_detections(seed: int, shown: int, objects: int) -> None:
    draw = np.random.default_rng(seed)

    def boxes(count: int) -> np.ndarray:
        corner = draw.integers(0, 12, (count, 2)).astype(np.float64)
        return np.hstack([corner, corner + draw.integers(1, 8, (count, 2))])

    detections = FlatDetections(
        boxes(shown), draw.integers(1, 5, shown) / 5, draw.integers(0, 3, shown), draw.integers(0, 2, shown)
    )
    truths = GroundTruths(
        boxes(objects), draw.integers(0, 3, objects), draw.random(objects) < 0.2, draw.integers(0, 2, objects)
    )
    errors = error_kinds(detections, truths, 3)
    counted = np.bincount(truths.class_ids[~truths.difficult], minlength=3)
    assert errors.confusion[:3].sum(axis=1).tolist() == counted.tolist()
    kept = errors.kinds != ek.PASSED_OVER
    assert errors.confusion[:, :3].sum(axis=0).tolist() == np.bincount(detections.class_ids[kept], minlength=3).tolist()
    assert np.trace(errors.confusion[:3, :3]) == (errors.kinds == ek.RIGHT).sum() == (errors.fates == ek.FOUND).sum()
