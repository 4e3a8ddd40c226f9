from __future__ import annotations

import numpy as np

from singleshot.classes import CITYSCAPES
from singleshot.data.masks.cityscapes_labels import AVERAGE_SIZES, CATEGORIES, CATEGORY_OF, CODE, JUDGED, LABELS, to_ids
from singleshot.structures import UNKNOWN, VOID


def test_the_judged_classes_are_the_nineteen_in_the_order_of_their_train_ids() -> None:
    assert [label.name for label in JUDGED] == CITYSCAPES
    assert [label.train_id for label in JUDGED] == list(range(19))
    ids = [7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33]
    assert [label.id for label in JUDGED] == ids


def test_there_are_29_colours_as_the_2017_post_counted_them() -> None:
    assert len({label.colour for label in LABELS}) == 29
    assert [label.id for label in LABELS] == list(range(34))


def test_ids_go_there_and_back() -> None:
    ids = np.arange(19, dtype=np.uint8)[None]
    back = np.array(CODE.values, dtype=np.uint8)[to_ids(ids)]
    assert back.tolist() == ids.tolist()
    assert to_ids(np.array([[VOID]], np.uint8)).tolist() == [[0]]
    assert CODE.values[0] == CODE.values[29] == CODE.values[255] == VOID and CODE.values[34] == UNKNOWN


def test_categories() -> None:
    assert [CATEGORIES[group] for group in CATEGORY_OF[:6]] == ["flat", "flat", *["construction"] * 3, "object"]
    assert set(CATEGORY_OF) == set(range(7))
    instances = [label.name for label in JUDGED if label.category in ("human", "vehicle")]
    assert set(AVERAGE_SIZES) == set(instances)
