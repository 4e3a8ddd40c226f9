from __future__ import annotations

import json
import logging
import multiprocessing
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from singleshot.data import cache
from singleshot.errors import Fault, StorageError
from singleshot.storage import atomic, sealed
from singleshot.structures import Dataset, LabelMap, Sample


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The cache's folder; files count as settled at once."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(cache, "SETTLED_NS", -(10**9))
    cache._warn_once.cache_clear()
    yield tmp_path / "cache" / "singleshot" / "index"


class Source:
    """A data folder of one number a file; counts how often it is read."""

    def __init__(self, root: Path) -> None:
        self.root, self.reads = root, 0
        root.mkdir(exist_ok=True)
        (root / "a.txt").write_text("11")
        (root / "b.txt").write_text("22")

    def build(self) -> Dataset:
        self.reads += 1
        samples = []
        for path in sorted(self.root.glob("*.txt")):
            box = np.array([[0.0, 0.0, float(path.read_text()), 9.0]])
            one = np.zeros(1, np.int64)
            samples.append(Sample(path.stem, path, (99, 99), box, one, one.astype(np.bool_)))
        fault = Fault(self.root / "a.txt", 3, "zero-size-box", "fatal", "a fault. Mend it.")
        return Dataset(self.root, "coco", "train", LabelMap(("cat",)), samples, (fault,), category_ids=(7,))

    def open(self, **identity: object) -> Dataset:
        return cache.cached({"root": str(self.root), **identity}, [self.root], self.build)


def widths(dataset: Dataset) -> list[float]:
    return [float(sample.boxes_xyxy[0, 2]) for sample in dataset.samples]


@pytest.fixture
def source(tmp_path: Path) -> Source:
    return Source(tmp_path / "data")


def test_the_second_time_nothing_is_read_and_all_is_the_same(source: Source) -> None:
    first, second = source.open(), source.open()
    assert source.reads == 1
    assert widths(first) == widths(second) == [11, 22]
    for name in ("root", "layout", "split", "label_map", "faults", "category_ids"):
        assert getattr(first, name) == getattr(second, name)
    assert [sample.image_path for sample in second.samples] == [source.root / "a.txt", source.root / "b.txt"]


def test_another_question_has_another_answer(source: Source) -> None:
    source.open(split="train")
    source.open(split="val")
    assert source.reads == 2


def test_a13_an_edit_that_keeps_the_size_is_noticed(source: Source) -> None:
    source.open()
    (source.root / "b.txt").write_text("33")
    assert widths(source.open()) == [11, 33]


def test_a13_an_edit_that_sets_the_old_time_back_is_noticed(source: Source) -> None:
    source.open()
    before = (source.root / "b.txt").stat()
    (source.root / "b.txt").write_text("33")
    os.utime(source.root / "b.txt", ns=(before.st_atime_ns, before.st_mtime_ns))
    assert widths(source.open()) == [11, 33]


def test_a13_two_files_that_change_places_are_noticed(source: Source) -> None:
    source.open()
    (source.root / "a.txt").rename(source.root / "c")
    (source.root / "b.txt").rename(source.root / "a.txt")
    (source.root / "c").rename(source.root / "b.txt")
    assert widths(source.open()) == [22, 11]


def test_files_that_come_and_go_are_noticed(source: Source) -> None:
    source.open()
    (source.root / "c.txt").write_text("44")
    assert widths(source.open()) == [11, 22, 44]
    (source.root / "a.txt").unlink()
    assert widths(source.open()) == [22, 44]


def test_what_changed_a_moment_ago_is_not_kept(source: Source, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache, "SETTLED_NS", 10**12)
    source.open()
    source.open()
    assert source.reads == 2
    assert not place.exists()


def test_what_cannot_be_built_is_not_kept(source: Source) -> None:
    def fail() -> Dataset:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        cache.cached({"root": str(source.root)}, [source.root], fail)
    assert widths(source.open()) == [11, 22]


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a14_a_damaged_index_is_made_again(source: Source, place: Path, data: st.DataObject) -> None:
    source.open()
    (file,) = place.iterdir()
    content = bytearray(file.read_bytes())
    if data.draw(st.booleans()):
        del content[data.draw(st.integers(0, len(content) - 1)) :]
    else:
        content[data.draw(st.integers(0, len(content) - 1))] ^= data.draw(st.integers(1, 255))
    file.write_bytes(bytes(content))
    reads = source.reads
    assert widths(source.open()) == [11, 22]
    assert source.reads == reads + 1
    source.open()
    assert source.reads == reads + 1


def test_a14_one_line_tells_of_it(source: Source, place: Path, caplog: pytest.LogCaptureFixture) -> None:
    source.open()
    (file,) = place.iterdir()
    file.write_bytes(b"another version\n")
    with caplog.at_level(logging.INFO):
        source.open()
    assert [record.levelname for record in caplog.records] == ["INFO"]


def build_often(root: Path, rounds: int) -> None:
    cache.SETTLED_NS = -(10**9)
    for number in range(rounds):
        source = Source.__new__(Source)
        source.root, source.reads = root, 0
        if widths(source.open(round=number % 3)) != [11, 22]:
            os._exit(3)


def test_a15_processes_that_build_it_together_are_all_right(source: Source, place: Path) -> None:
    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=build_often, args=(source.root, 12)) for _ in range(4)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [0] * 4
    assert len(list(place.iterdir())) == 3


def test_a16_a_folder_that_cannot_be_written_to_costs_one_warning(
    source: Source, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert widths(source.open()) == widths(source.open()) == [11, 22]
    assert source.reads == 2
    assert [record.levelname for record in caplog.records] == ["WARNING"]


def test_a16_a_full_disk_costs_one_warning(
    source: Source, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(path: Path, _data: bytes) -> None:
        raise StorageError("writing failed (No space left on device)", file=path)

    monkeypatch.setattr(atomic, "write_bytes", full)
    assert widths(source.open()) == [11, 22]
    assert "No space left" in caplog.text


def test_j6_without_a_home_there_is_no_cache(source: Source, monkeypatch: pytest.MonkeyPatch) -> None:
    def homeless() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setenv("XDG_CACHE_HOME", "not/absolute")
    monkeypatch.setattr(Path, "home", homeless)
    assert cache.folder() is None
    assert widths(source.open()) == [11, 22]


def test_the_index_follows_the_cache_folder_of_the_environment(
    source: Source, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SINGLESHOT_CACHE", str(tmp_path / "chosen"))
    source.open()
    assert len(list((tmp_path / "chosen" / "index").iterdir())) == 1


def test_the_data_folder_is_never_written_to(source: Source) -> None:
    before = {path: path.stat().st_mtime_ns for path in [source.root, *source.root.iterdir()]}
    source.open()
    source.open()
    assert {path: path.stat().st_mtime_ns for path in [source.root, *source.root.iterdir()]} == before


def test_the_index_holds_nothing_that_could_run(source: Source, place: Path) -> None:
    source.open()
    (file,) = place.iterdir()
    content = file.read_bytes()
    header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    del header["__metadata__"]
    assert {entry["dtype"] for entry in header.values()} <= {
        "U8",
        "I64",
        "I32",
        "F64",
        "BOOL",
    }


def test_another_version_of_the_readers_reads_again(source: Source, monkeypatch: pytest.MonkeyPatch) -> None:
    for readers, reads in ((2, 1), (2, 1), (3, 2)):
        monkeypatch.setattr(cache, "READERS", readers)
        source.open()
        assert source.reads == reads


@pytest.mark.parametrize("change", ["no field", "other field", "no JSON", "no array"])
def test_a14_a_whole_index_with_other_fields_is_made_again(source: Source, place: Path, change: str) -> None:
    source.open()
    (file,) = place.glob("*.index")
    tensors, text, digest = sealed.read(file)
    tensors, record = {name: tensor.clone() for name, tensor in tensors.items()}, json.loads(text)
    if change == "no field":
        del record["names"]
    if change == "other field":
        record["faults"][0]["column"] = 3
    if change == "no array":
        del tensors["boxes_xyxy"]
    sealed.write(file, tensors, "[" if change == "no JSON" else json.dumps(record))
    assert widths(source.open()) == [11, 22] and source.reads == 2
    assert sealed.read(file)[2] == digest
