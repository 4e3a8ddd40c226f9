from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from singleshot.data import contact_sheet
from singleshot.data.augment.augment import CAFFE, NONE
from singleshot.data.boxes import voc
from singleshot.data.contact_sheet import Tile
from singleshot.streets import write
from singleshot.structures import Dataset


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    folder = tmp_path_factory.mktemp("sheet") / "data"
    write.make(folder, train=4, val=0, test=0, size_hw=(150, 200), workers=1)
    return voc.read(folder, "train")


def test_an_image_is_shrunk_together_with_its_boxes(drawn: Dataset) -> None:
    index = max(range(len(drawn)), key=lambda i: len(drawn.samples[i].boxes_xyxy))
    full = contact_sheet.image_tiles(drawn, [index], tile_px=400)[0]
    small = contact_sheet.image_tiles(drawn, [index], tile_px=100)[0]
    assert full.image.shape == (150, 200, 3) and small.image.shape == (75, 100, 3)
    assert "200x150" in small.text and f"{len(drawn.samples[index].boxes_xyxy)} objects" in small.text


def test_difficult_objects_get_a_question_mark_and_no_objects_no_boxes(drawn: Dataset, monkeypatch) -> None:
    labels: list[list[str]] = []
    monkeypatch.setattr(contact_sheet, "draw_boxes", lambda image, boxes, names, colours: labels.append(names) or image)
    sample = next(each for each in drawn.samples if len(each.boxes_xyxy))
    hard = replace(sample, difficult=np.ones(len(sample.boxes_xyxy), bool))
    empty = replace(
        sample,
        boxes_xyxy=sample.boxes_xyxy[:0],
        class_ids=sample.class_ids[:0],
        difficult=hard.difficult[:0],
        box_places=None,
    )
    contact_sheet.image_tiles(replace(drawn, samples=[hard, empty]), [0, 1])
    assert all(name.endswith(" ?") for name in labels[0]) and labels[0] and labels[1] == []


def test_each_augmentation_has_a_row_that_starts_with_the_evaluated_image(drawn: Dataset) -> None:
    tiles = contact_sheet.augmentation_tiles(drawn, 0, CAFFE, size_hw=(120, 160), tries=2)
    names = [tile.text for tile in tiles]
    assert names[::3] == ["as evaluated"] * (len(names) // 3)
    rows = names[1::3]
    wanted = ["brightness", "contrast", "saturation", "hue", "expand", "mirror"]
    assert rows[: len(wanted)] == wanted and rows[-1] == "all together" and "free crop" in rows
    assert "flip" not in rows and "channel order" not in rows
    assert all(tile.image.shape == (120, 160, 3) for tile in tiles)
    again = contact_sheet.augmentation_tiles(drawn, 0, CAFFE, size_hw=(120, 160), tries=2)
    assert all(np.array_equal(one.image, other.image) for one, other in zip(tiles, again, strict=True))


def test_no_augmentation_gives_the_evaluated_image(drawn: Dataset) -> None:
    tiles = contact_sheet.augmentation_tiles(drawn, 0, NONE, size_hw=(120, 160), tries=1)
    assert [tile.text for tile in tiles] == ["as evaluated", "all together"] * 2


def test_a_sheet_contains_its_tiles_row_by_row() -> None:
    tiles = [Tile(np.full((20 + i, 30, 3), 10 * i, np.uint8), f"tile {i}") for i in range(5)]
    page = contact_sheet.sheet(tiles, columns=3)
    assert page.shape[1] == 3 * 36 + 6
    strip = (page.shape[0] - 6) // 2 - 24 - 6
    for i in range(5):
        top, left = 6 + i // 3 * (strip + 24 + 6) + strip, 6 + i % 3 * 36
        assert (page[top : top + 20 + i, left : left + 30] == 10 * i).all()
    assert contact_sheet.sheet(tiles[:1], columns=3).shape[1] == 36 + 6
