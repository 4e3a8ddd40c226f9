from __future__ import annotations

import numpy as np
import pytest

from singleshot import classes


@pytest.mark.parametrize(
    ("names", "count"),
    [(classes.VOC, 20), (classes.COCO, 80), (classes.KITTI_ROAD, 2), (classes.CITYSCAPES, 19)],
)
def test_every_data_set_has_all_its_classes_once(names: list[str], count: int) -> None:
    assert len(names) == len(set(names)) == count
    assert all(name and name == name.strip() for name in names)


def test_ids_are_those_of_the_data_sets() -> None:
    assert (classes.VOC[0], classes.VOC[14], classes.VOC[19]) == ("aeroplane", "person", "tvmonitor")
    assert (classes.COCO[0], classes.COCO[11], classes.COCO[79]) == ("person", "stop sign", "toothbrush")
    assert (classes.CITYSCAPES[0], classes.CITYSCAPES[11], classes.CITYSCAPES[18]) == ("road", "person", "bicycle")


def test_no_classes_have_no_colours() -> None:
    assert classes.colours(0).shape == (0, 3)


def test_eighty_colours_are_distinct() -> None:
    colours = classes.colours(80)
    assert len(np.unique(colours, axis=0)) == 80


def test_neighbouring_ids_have_colours_far_apart() -> None:
    colours = classes.colours(80).astype(int)
    assert np.abs(np.diff(colours, axis=0)).sum(axis=1).min() > 100


def test_a_colour_depends_on_its_id_alone() -> None:
    np.testing.assert_array_equal(classes.colours(3), classes.colours(80)[:3])


def test_every_colour_is_visible_in_a_dark_image() -> None:
    assert (classes.colours(200) @ np.array([0.299, 0.587, 0.114])).min() > 90
