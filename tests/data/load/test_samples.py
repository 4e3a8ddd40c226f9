from __future__ import annotations

import os
import pickle
from pathlib import Path

import numpy as np
import pytest

from singleshot.data.load.samples import SampleTable, image_ids, pack
from singleshot.structures import Sample


def sample(image_id: str, count: int, **more: object) -> Sample:
    rng = np.random.default_rng(count)
    fields = {"size_hw": (40, 60), **more}
    return Sample(
        image_id=image_id,
        image_path=Path("pictures") / f"{image_id}.jpg",
        boxes_xyxy=rng.random((count, 4)),
        class_ids=rng.integers(0, 9, count),
        difficult=rng.random(count) < 0.5,
        **fields,  # pyright: ignore[reportArgumentType]
    )


def same(one: Sample, other: Sample) -> bool:
    arrays = ("boxes_xyxy", "class_ids", "difficult")
    return all(np.array_equal(getattr(one, name), getattr(other, name)) for name in arrays) and (
        (one.image_id, one.image_path, one.size_hw, one.mask_path)
        == (other.image_id, other.image_path, other.size_hw, other.mask_path)
    )


SAMPLES = [
    sample("a", 2),
    sample("", 0),
    sample("猫🐈", 1, size_hw=None),
    sample(os.fsdecode(b"caf\xe9"), 3, mask_path=Path("m.png")),
]


def test_a_table_gives_back_the_samples_that_it_was_made_of() -> None:
    table = SampleTable.from_samples(SAMPLES)
    assert len(table) == len(list(table)) == 4
    assert all(same(one, other) for one, other in zip(table, SAMPLES, strict=True))
    assert same(table[-1], SAMPLES[3])
    assert [each.image_id for each in table[1:3]] == ["", "猫🐈"]
    with pytest.raises(IndexError):
        table[4]
    assert table[0].crowd is table[0].areas is None


def test_arrays_are_the_whole_table() -> None:
    table = SampleTable.from_samples(SAMPLES)
    again = SampleTable.from_arrays(table.arrays())
    assert all(same(one, other) for one, other in zip(again, SAMPLES, strict=True))
    assert SampleTable.from_samples(table) is table


def test_crowds_and_areas_are_kept_and_filled_where_some_samples_have_none() -> None:
    marked = sample("b", 2, crowd=np.array([True, False]), areas=np.array([5.0, 6.0]))
    table = SampleTable.from_samples([marked, SAMPLES[0]])
    assert table.crowd.tolist() == [True, False, False, False]
    first, second = table[0].areas, table[1].areas
    assert first is not None and second is not None
    assert first.tolist() == [5, 6]
    sides = SAMPLES[0].boxes_xyxy[:, 2:] - SAMPLES[0].boxes_xyxy[:, :2]
    np.testing.assert_array_equal(second, sides.prod(axis=1))


def test_no_samples_make_an_empty_table() -> None:
    table = SampleTable.from_samples([])
    assert (len(table), list(table), table.boxes_xyxy.shape) == (0, [], (0, 4))


def test_ids_are_the_same_from_records_and_from_a_table() -> None:
    assert image_ids(SampleTable.from_samples(SAMPLES)) == image_ids(SAMPLES)


def counted(name: str, count: int) -> Sample:
    boxes_xyxy = np.arange(count * 4, dtype=float).reshape(count, 4)
    return Sample(name, Path(f"images/{name}"), None, boxes_xyxy, np.arange(count), np.arange(count) % 2 == 1)


def test_packing_keeps_each_image_with_its_own_boxes() -> None:
    samples = [counted("a.jpg", 2), counted("größe 猫.png", 0), counted("c.jpg", 3)]
    packed = pickle.loads(pickle.dumps(pack(samples)))
    assert len(packed) == 3
    for index, expected in enumerate(samples):
        assert packed.path(index) == expected.image_path
        boxes_xyxy, class_ids = packed.boxes(index)
        np.testing.assert_array_equal(boxes_xyxy, expected.boxes_xyxy)
        np.testing.assert_array_equal(class_ids, expected.class_ids)


def test_packing_keeps_difficult_boxes_or_not_as_asked() -> None:
    boxes_xyxy, class_ids = pack([counted("a.jpg", 3)], keep_difficult=False).boxes(0)
    assert class_ids.tolist() == [0, 2]
    assert boxes_xyxy[1].tolist() == [8.0, 9.0, 10.0, 11.0]


def test_a_packed_file_name_need_not_be_text() -> None:
    name = os.fsdecode(b"caf\xe9.jpg")
    assert pack([counted(name, 0)]).path(0) == Path("images") / name


def test_no_samples_pack_to_empty_arrays() -> None:
    packed = pack([])
    assert len(packed) == 0
    assert packed.boxes_xyxy.shape == (0, 4)
