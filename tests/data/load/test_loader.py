from __future__ import annotations

import multiprocessing
import os
import pickle
import signal
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch

from singleshot.data.augment.augment import CAFFE, NONE, Augmentation
from singleshot.data.load.loader import Loader, LoaderOptions, Shard, TrainDetection
from singleshot.errors import ConfigError, DataError, InputMissingError, StoppedError
from singleshot.images import read_image
from singleshot.preprocess import Preprocess
from singleshot.structures import Batch, BoxTargets, Dataset, LabelMap, Sample

SIZE_HW = (48, 64)


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """Nine pictures of several sizes with 0, 1 or 2 boxes, the second one difficult."""
    root = tmp_path_factory.mktemp("drawn")
    rng = np.random.default_rng(0)
    samples = []
    for place in range(9):
        height, width = 60 + 7 * place, 100 - 3 * place
        path = root / f"{place}.jpg"
        coarse = rng.integers(0, 256, (6, 8, 3), dtype=np.uint8)
        cv2.imwrite(str(path), cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC))
        boxes_xyxy = np.array([[5.0, 5.0, 40.0, 50.0], [30.0, 10.0, 60.0, 40.0]])[: place % 3]
        count = len(boxes_xyxy)
        samples.append(
            Sample(f"picture-{place}", path, (height, width), boxes_xyxy, np.arange(count), np.arange(count) == 1)
        )
    return Dataset(root, "drawn", "train", LabelMap(("a", "b")), samples)


def with_picture(dataset: Dataset, place: int, path: Path) -> Dataset:
    samples = list(dataset.samples)
    old = samples[place]
    samples[place] = Sample(old.image_id, path, old.size_hw, old.boxes_xyxy, old.class_ids, old.difficult)
    return Dataset(dataset.root, dataset.layout, dataset.split, dataset.label_map, samples)


@pytest.fixture
def cut(drawn: Dataset, tmp_path: Path) -> Dataset:
    """The same with picture 4 cut in half."""
    path = tmp_path / "cut.jpg"
    whole = drawn.samples[4].image_path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    return with_picture(drawn, 4, path)


def loader(
    dataset: Dataset, *, augmentation: Augmentation = CAFFE, rank: int = 0, world: int = 1, **changes: Any
) -> Loader[BoxTargets]:
    options = LoaderOptions(**({"batch_size": 4, "seed": 1, "shuffle": True} | changes))
    return Loader(dataset, TrainDetection(Preprocess(SIZE_HW), augmentation), options, Shard(rank, world))


def same(first: list[Batch[BoxTargets]], second: list[Batch[BoxTargets]]) -> bool:
    return len(first) == len(second) and all(
        torch.equal(one.images, other.images)
        and torch.equal(one.targets.boxes_xyxy, other.targets.boxes_xyxy)
        and torch.equal(one.targets.class_ids, other.targets.class_ids)
        and torch.equal(one.indices, other.indices)
        and one.image_ids == other.image_ids
        for one, other in zip(first, second, strict=True)
    )


@pytest.mark.parametrize(("workers", "start_method"), [(1, "forkserver"), (4, "forkserver"), (1, "spawn"), (2, "fork")])
def test_batches_are_the_same_for_any_number_of_workers(drawn: Dataset, workers: int, start_method: str) -> None:
    alone = loader(drawn)
    expected = [list(alone.epoch(epoch)) for epoch in (0, 1)]
    assert not same(expected[0], expected[1])
    with loader(drawn, workers=workers, start_method=start_method) as some:
        assert all(same(list(some.epoch(epoch)), expected[epoch]) for epoch in (0, 1))


def test_a_batch_is_padded_and_names_its_images(drawn: Dataset) -> None:
    batches = list(loader(drawn, augmentation=NONE, shuffle=False).epoch(0))
    assert [len(batch) for batch in batches] == [4, 4, 1]
    first = batches[0]
    assert first.images.shape == (4, *SIZE_HW, 3)
    assert first.images.dtype == torch.uint8
    assert first.image_ids == ("picture-0", "picture-1", "picture-2", "picture-3")
    assert first.indices.tolist() == [0, 1, 2, 3]
    assert first.targets.class_ids.tolist() == [[-1, -1], [0, -1], [0, 1], [-1, -1]]
    assert first.targets.boxes_xyxy[0].tolist() == [[0.0] * 4] * 2
    # Picture 1 is 67 × 97, the input 48 × 64.
    expected = torch.tensor([5 * 64 / 97, 5 * 48 / 67, 40 * 64 / 97, 50 * 48 / 67])
    torch.testing.assert_close(first.targets.boxes_xyxy[1, 0], expected)


@pytest.mark.parametrize("workers", [0, 1])
def test_a_batch_that_is_kept_is_never_overwritten(drawn: Dataset, workers: int) -> None:
    with loader(drawn, workers=workers, batch_size=2) as some:
        kept, copies = [], []
        for epoch in range(3):
            for batch in some.epoch(epoch):
                kept.append(batch.images[1:])  # a view is enough to keep it
                copies.append(kept[-1].clone())
        assert all(torch.equal(view, copy) for view, copy in zip(kept, copies, strict=True))


def test_a_batch_without_any_box_has_no_box_rows(drawn: Dataset) -> None:
    background = Dataset(drawn.root, "drawn", "train", drawn.label_map, [drawn.samples[0], drawn.samples[3]])
    (batch,) = loader(background).epoch(0)
    assert batch.targets.boxes_xyxy.shape == (2, 0, 4)
    assert batch.targets.class_ids.shape == (2, 0)


def test_an_epoch_goes_on_from_its_middle(drawn: Dataset) -> None:
    some = loader(drawn, batch_size=2)
    whole = list(some.epoch(3))
    assert len(some) == len(whole) == 5
    assert same(list(some.epoch(3, start=2)), whole[2:])
    taken = some.epoch(3)
    for _ in range(2):
        next(taken)
    assert some.position == 2


def test_ranks_split_a_step_between_them(drawn: Dataset) -> None:
    alone = list(loader(drawn, batch_size=4, drop_last=True).epoch(0))
    halves = [list(loader(drawn, batch_size=2, drop_last=True, rank=rank, world=2).epoch(0)) for rank in (0, 1)]
    assert len(alone) == len(halves[0]) == len(halves[1]) == 2
    for step, batch in enumerate(alone):
        images = torch.cat([half[step].images for half in halves])
        assert torch.equal(images, batch.images)


def test_difficult_boxes_are_trained_on_unless_refused(drawn: Dataset) -> None:
    def classes(**options: object) -> set[int]:
        batches = loader(drawn, augmentation=NONE, **options).epoch(0)
        return {class_id for batch in batches for class_id in batch.targets.class_ids.flatten().tolist()} - {-1}

    assert classes() == {0, 1}
    assert classes(keep_difficult=False) == {0}


@pytest.mark.parametrize("workers", [0, 2])
def test_a_bad_image_ends_the_epoch_with_its_name_and_kind(cut: Dataset, workers: int) -> None:
    with loader(cut, workers=workers) as some, pytest.raises(DataError, match="truncated") as caught:
        list(some.epoch(0))
    assert caught.value.file == cut.samples[4].image_path
    assert caught.value.kind == "truncated-picture"
    assert caught.value.exit_code == 65


@pytest.mark.parametrize("workers", [0, 2])
def test_a_bad_image_comes_blank_in_a_full_batch_and_is_listed_once(cut: Dataset, workers: int) -> None:
    with loader(cut, workers=workers, on_bad="skip") as some:
        for epoch in (0, 1):
            batches = list(some.epoch(epoch))
            assert [len(batch) for batch in batches] == [4, 4, 1] and some.position == 3
            places = [place for batch in batches for place in batch.indices[~batch.blank].tolist()]
            assert sorted(places) == [0, 1, 2, 3, 5, 6, 7, 8]
            (blank,) = (batch for batch in batches if batch.blank.any())
            (row,) = blank.blank.nonzero()[:, 0].tolist()
            assert blank.indices[row] == 4 and blank.image_ids[row] == "picture-4"
            assert blank.images[row].unique().tolist() == [127] and (blank.targets.class_ids[row] == -1).all()
            assert blank.without_unreadable().indices.tolist() == [n for n in blank.indices.tolist() if n != 4]
        assert [(fault.file, fault.kind) for fault in some.faults] == [(cut.samples[4].image_path, "truncated-picture")]


def test_a_batch_of_bad_images_only_keeps_its_place(cut: Dataset) -> None:
    some = loader(cut, batch_size=1, shuffle=False, on_bad="skip")
    batches = list(some.epoch(0))
    assert [batch.image_ids[0] for batch in batches] == [f"picture-{n}" for n in range(9)]
    assert [bool(batch.blank[0]) for batch in batches] == [n == 4 for n in range(9)]
    assert len(batches[4].without_unreadable()) == 0 and batches[4].targets.boxes_xyxy.shape == (1, 0, 4)


def test_a_missing_image_is_a_missing_input_or_a_listed_fault(drawn: Dataset, tmp_path: Path) -> None:
    missing = with_picture(drawn, 2, tmp_path / "nowhere.jpg")
    with pytest.raises(InputMissingError, match=r"nowhere\.jpg"):
        list(loader(missing).epoch(0))
    some = loader(missing, on_bad="skip")
    assert sum(len(batch.without_unreadable()) for batch in some.epoch(0)) == 8
    assert [fault.file.name for fault in some.faults] == ["nowhere.jpg"]


def test_our_errors_survive_the_way_between_processes() -> None:
    error = DataError("bad", kind="k", remedy="Mend it", file="a.jpg", line=3)
    back = pickle.loads(pickle.dumps(error))
    assert (str(back), back.kind, back.file, back.line) == (str(error), "k", Path("a.jpg"), 3)


def test_a_killed_worker_stops_the_epoch_within_seconds(drawn: Dataset) -> None:
    before = set(multiprocessing.active_children())
    with loader(drawn, workers=2, batch_size=1) as some:
        batches = some.epoch(0)
        next(batches)
        for process in set(multiprocessing.active_children()) - before:
            os.kill(process.pid, signal.SIGKILL)
        start = time.monotonic()
        with pytest.raises(StoppedError, match="killed") as caught:
            list(batches)
        assert time.monotonic() - start < 5
        assert caught.value.exit_code == 75
        assert sum(len(batch) for batch in some.epoch(0)) == 9  # with new workers


def test_workers_that_died_between_two_epochs_are_replaced(drawn: Dataset) -> None:
    before = set(multiprocessing.active_children())
    with loader(drawn, workers=2) as some:
        expected = list(some.epoch(0))
        for process in set(multiprocessing.active_children()) - before:
            os.kill(process.pid, signal.SIGKILL)
            process.join()
        assert same(list(some.epoch(0)), expected)


def test_a_cache_saves_decoding_and_changes_nothing(drawn: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = loader(drawn)
    expected = [list(plain.epoch(epoch)) for epoch in (0, 1, 2)]
    read, names = read_image, []
    monkeypatch.setattr(
        "singleshot.data.load.loader.read_image",
        lambda path, **options: names.append(path.name) or read(path, **options),
    )
    roomy = loader(drawn, cache_bytes=10**8)
    assert all(same(list(roomy.epoch(epoch)), expected[epoch]) for epoch in (0, 1, 2))
    assert sorted(names) == [f"{place}.jpg" for place in range(9)]
    names.clear()
    room_for_some = loader(drawn, cache_bytes=60_000)
    assert all(same(list(room_for_some.epoch(epoch)), expected[epoch]) for epoch in (0, 1, 2))
    assert 9 < len(names) < 27


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        ({"batch_size": 0}, "batch size 0"),
        ({"seed": -1}, "seed -1"),
        ({"rank": 2, "world": 2}, "rank 2 of 2"),
        ({"batch_size": 10, "drop_last": True}, "do not make one batch"),
    ],
)
def test_impossible_settings_are_refused(drawn: Dataset, bad: dict[str, object], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        loader(drawn, **bad)


def test_a_data_set_without_images_is_refused(drawn: Dataset) -> None:
    with pytest.raises(ConfigError, match="0 images of train"):
        loader(Dataset(drawn.root, "drawn", "train", drawn.label_map, []))


def mosaics(dataset: Dataset, probability: float = 1.0, **options: Any) -> Loader[BoxTargets]:
    augmentation = Augmentation(mosaic_probability=probability)
    prepare = TrainDetection(Preprocess(SIZE_HW), augmentation)
    return Loader(dataset, prepare, LoaderOptions(3, seed=5, shuffle=True, **options))


def images_of(loader: Loader[BoxTargets], **how: Any) -> torch.Tensor:
    with loader:
        return torch.cat([batch.images.clone() for batch in loader.epoch(1, **how)])


def test_mosaics_are_a_function_of_seed_epoch_and_image_for_any_number_of_workers(drawn: Dataset) -> None:
    whole = images_of(mosaics(drawn))
    assert torch.equal(whole, images_of(mosaics(drawn, workers=2)))
    assert torch.equal(whole[3:], images_of(mosaics(drawn), start=1))  # as a resumed epoch has them


def test_mosaics_bring_boxes_of_other_images_and_are_off_when_told(drawn: Dataset) -> None:
    with mosaics(drawn) as loader:
        boxes = sum(int((batch.targets.class_ids >= 0).sum()) for batch in loader.epoch(0))
    assert boxes > 9  # the nine images have nine boxes in all
    alone = images_of(mosaics(drawn), combine=False)
    assert not torch.equal(alone, images_of(mosaics(drawn)))


def test_without_mosaics_images_are_what_they_were_before_there_were_any(drawn: Dataset) -> None:
    plain = Loader(drawn, TrainDetection(Preprocess(SIZE_HW), CAFFE), LoaderOptions(3, seed=5, shuffle=True))
    assert torch.equal(images_of(mosaics(drawn, 0.0)), images_of(plain))


def test_a_partner_that_cannot_be_read_is_left_to_its_own_turn(cut: Dataset) -> None:
    with mosaics(cut, on_bad="skip") as loader:
        blank = [
            name for batch in loader.epoch(0) for name, bad in zip(batch.image_ids, batch.blank, strict=True) if bad
        ]
    assert blank == ["picture-4"] and len(loader.faults) == 1


def test_a_repeated_image_is_augmented_again_in_the_same_epoch(drawn: Dataset) -> None:
    factors = np.where(np.arange(len(drawn)) == 3, 6.0, 1.0)
    options = LoaderOptions(9, seed=2, shuffle=True, factors=factors)
    with Loader(drawn, TrainDetection(Preprocess(SIZE_HW), CAFFE), options) as loader:
        (batch,) = list(loader.epoch(0))
    rows = (batch.indices == 3).nonzero()[:, 0].tolist()
    assert len(batch) == 9 and len(rows) >= 2
    assert not torch.equal(batch.images[rows[0]], batch.images[rows[1]])
