"""Files of a data set: rows A1 to A12, A19 and A20 of the fault matrix."""

from __future__ import annotations

import os
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from singleshot.data.boxes import voc
from singleshot.data.check import audit, duplicates
from singleshot.data.load.loader import EvalDetection, Loader, LoaderOptions
from singleshot.data.masks import folders as mask_folders
from singleshot.errors import DataError, Fault, InputMissingError, NotPermittedError, visible
from singleshot.images import read_image
from singleshot.preprocess import Preprocess


def test_a_clean_folder_has_no_faults_and_its_counts(folder) -> None:
    found = folder.check()
    assert (found.format, found.images, found.objects, found.classes) == ("voc", 3, 2, ("cat", "dog"))
    assert found.faults == ()


def test_a1_a_missing_root_and_a_wrong_layout_are_named_with_the_nearest_folder(folder, tmp_path: Path) -> None:
    with pytest.raises(InputMissingError, match=r"nowhere: no such") as caught:
        audit.audit(tmp_path / "nowhere")
    assert caught.value.exit_code == 66
    with pytest.raises(InputMissingError, match=str(folder.root)):
        audit.audit(folder.annotations)


def test_a2_every_listed_image_that_is_missing_is_a_fault_of_its_line(folder) -> None:
    folder.split("train", ["a", "2008_000123", "c", "2008_000124"])
    found = folder.check().faults
    assert [(fault.kind, fault.severity, fault.file.name, fault.line) for fault in found] == [
        ("missing-picture", "fatal", "train.txt", 2),
        ("missing-picture", "fatal", "train.txt", 4),
    ]
    assert "image 2008_000123 not found" in str(found[0])


def test_a3_an_image_without_annotation_is_counted_and_background_only_where_allowed(folder) -> None:
    (folder.annotations / "c.xml").unlink()
    assert folder.faults() == [("missing-annotation", "warning", "train.txt", 2)]
    assert "--allow-unlabelled" in folder.message()
    assert folder.faults(allow_unlabelled=True) == []
    assert [sample.image_id for sample in voc.read(folder.root, "train").samples] == ["a"]
    allowed = voc.read(folder.root, "train", allow_unlabelled=True)
    assert [(sample.image_id, len(sample.boxes_xyxy)) for sample in allowed.samples] == [("a", 1), ("c", 0)]


def test_the_folder_of_annotations_can_be_audited_as_a_split(folder) -> None:
    (folder.annotations / "c.xml").unlink()
    found = folder.check(split="annotated")
    assert (found.images, found.objects, found.faults) == (2, 2, ())


def test_a4_an_empty_list_is_a_fault_before_anything_is_built(folder) -> None:
    folder.split("train", b"")
    assert ("empty-split", "fatal", "train.txt", None) in folder.faults()
    with pytest.raises(DataError, match="0 images in the split") as caught:
        voc.read(folder.root, "train")
    assert caught.value.exit_code == 65


def test_a5_an_id_that_stands_twice_is_used_once_and_counted(folder) -> None:
    folder.split("train", ["a", "c", "a"])
    assert folder.faults() == [("duplicate-id", "warning", "train.txt", 3)]


def test_a5_an_image_in_train_and_in_val_is_a_leak(folder) -> None:
    folder.split("val", ["b", "a"])
    folder.split("trainval", ["a", "c"])  # holds train by design: nothing is said of it
    folder.split("test", ["b"])
    assert folder.faults() == [("leak", "fatal", "val.txt", 1), ("leak", "fatal", "val.txt", 2)]
    assert "is in train too (train.txt:1)" in folder.check().faults[1].message


def test_a5_an_image_under_two_names_is_a_leak_across_splits_and_else_a_warning(folder) -> None:
    folder.picture("b.jpg", (folder.pictures / "a.jpg").read_bytes())
    assert folder.faults() == [("leak", "fatal", "b.jpg", None)]
    folder.split("train", "abc")
    folder.split("test", ["c"])
    found = folder.faults()
    assert ("duplicate-picture", "warning", "b.jpg", None) in found and ("leak", "fatal", "b.jpg", None) not in found


def test_a5_training_leaves_out_what_is_evaluated_and_lists_it(folder) -> None:
    train, val = voc.read(folder.root, "train"), voc.read(folder.root, "test")
    assert duplicates.without_leaks(train, val) == (list(train.samples), [])
    kept, faults = duplicates.without_leaks(train, replace(val, samples=train.samples[:1]))
    assert [sample.image_id for sample in kept] == ["c"]
    assert [(fault.kind, fault.severity, fault.file.name) for fault in faults] == [("leak", "fatal", "a.jpg")]


@pytest.mark.parametrize("text", [b"a\r\nc\r\n", b"\xef\xbb\xbfa\nc\n", b"a  \nc\t\n", b"a\nc\n\n\n"])
def test_a6_line_ends_marks_and_blanks_make_no_difference(folder, text: bytes) -> None:
    expected = folder.check()
    folder.split("train", text)
    assert folder.check() == expected


@pytest.mark.skipif(os.name != "posix", reason="file names are bytes on POSIX alone")
@settings(max_examples=25, deadline=None)
@given(st.binary(min_size=1, max_size=20).filter(lambda name: not set(name) & set(b"\0/") and name.strip() == name))
def test_a7_any_name_works_and_is_shown_without_harm(tmp_path_factory: pytest.TempPathFactory, name: bytes) -> None:
    path = tmp_path_factory.mktemp("names") / f"{os.fsdecode(name)}.jpg"
    path.write_bytes(b"")
    with pytest.raises(DataError, match="empty file") as caught:
        read_image(path)
    for line in (str(caught.value), str(caught.value.as_fault())):
        assert visible(line) == line and line.isprintable()
        line.encode()


def test_a7_a_name_cannot_fake_a_line_or_move_the_cursor() -> None:
    fault = Fault(Path("a\x1b[2J\nb\u202e.jpg"), 3, "kind", "fatal", "class 'c\nat'.")
    assert str(fault) == r"a\x1b[2J\nb\u202e.jpg:3: class 'c\nat'."
    assert str(DataError("bad", file="a\nb")) == r"a\nb: bad."
    assert str(DataError("bad", file="猫🐈 é.jpg")) == "猫🐈 é.jpg: bad."


def test_a7_names_with_spaces_and_any_script_are_audited(folder) -> None:
    for image_id in ("my photo 1", "猫🐈"):
        folder.picture(f"{image_id}.jpg")
        folder.annotate(image_id)
    folder.split("train", ["a", "c", "my photo 1", "猫🐈"])
    assert folder.faults() == []


def test_a8_capital_extensions_work_with_a_note(folder) -> None:
    (folder.pictures / "a.jpg").rename(folder.pictures / "a.JPG")
    assert folder.faults() == [("capital-extension", "note", "a.JPG", None)]
    assert len(voc.read(folder.root, "train")) == 2


def test_a9_links_in_circles_and_out_of_the_data_are_named(folder, tmp_path: Path) -> None:
    outside = tmp_path / "outside.jpg"
    (folder.pictures / "a.jpg").rename(outside)
    (folder.pictures / "a.jpg").symlink_to(outside)
    (folder.pictures / "c.jpg").unlink()
    (folder.pictures / "c.jpg").symlink_to(folder.pictures / "c.jpg")
    (folder.annotations / "d").symlink_to(folder.root)  # a folder that holds itself
    found = folder.faults()
    assert ("outside-link", "fatal", "a.jpg", None) in found and ("broken-link", "fatal", "c.jpg", None) in found
    assert {fault.kind for fault in voc.read(folder.root, "train").faults} >= {"outside-link", "broken-link"}


def test_a9_a_link_inside_the_data_is_no_fault(folder) -> None:
    inside = folder.root / "store"
    inside.mkdir()
    (folder.pictures / "a.jpg").rename(inside / "1.jpg")
    (folder.pictures / "a.jpg").symlink_to(inside / "1.jpg")
    assert folder.faults() == []


def test_a10_of_files_that_may_not_be_read_the_first_is_named_and_the_rest_counted(folder, monkeypatch) -> None:
    def refuse(path: Path, *_: object, **__: object) -> bytes:
        raise NotPermittedError("may not be read", remedy="Change its permissions", file=path)

    monkeypatch.setattr("singleshot.data.boxes.voc_xml.file_bytes", refuse)
    found = folder.check().faults
    (closed,) = [fault for fault in found if fault.kind == "not-permitted"]
    assert (closed.file.name, closed.severity) == ("a.xml", "fatal") and "Nor may 2 others" in closed.message
    with pytest.raises(NotPermittedError, match=r"a\.xml: may not be read, nor may 1 others") as caught:
        voc.read(folder.root, "train")
    assert caught.value.exit_code == 77


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no pipes in folders")
@pytest.mark.timeout(20)
def test_a11_a_pipe_in_place_of_a_file_does_not_hang(folder) -> None:
    for path in (folder.pictures / "a.jpg", folder.annotations / "c.xml"):
        path.unlink()
        os.mkfifo(path)
    start = time.monotonic()
    found = folder.faults()
    assert time.monotonic() - start < 1.0
    assert sorted(found) == [("not-a-file", "fatal", "a.jpg", None), ("not-a-file", "fatal", "c.xml", None)]


def test_a12_an_image_that_changes_while_we_train_is_named(folder) -> None:
    dataset = voc.read(folder.root, "train")
    with Loader(dataset, EvalDetection(Preprocess(size_hw=(32, 32))), LoaderOptions(2)) as loader:
        assert len(list(loader.epoch(0))) == 1
        folder.picture("a.jpg", folder.encoded(size_hw=(30, 60)))
        with pytest.raises(DataError, match=r"a\.jpg: 60×30 pixels, but it is annotated as 60×40") as caught:
            list(loader.epoch(1))
        assert (caught.value.kind, caught.value.exit_code) == ("wrong-size", 65)
        whole = folder.encoded()
        folder.picture("a.jpg", whole[: len(whole) // 2])
        with pytest.raises(DataError, match="truncated"):
            list(loader.epoch(2))


def test_a19_an_image_without_mask_and_a_mask_without_image_are_listed(tmp_path: Path) -> None:
    for name in ("images/a.png", "images/b.png", "masks/b.png", "masks/c.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.fromarray(np.zeros((8, 9), np.uint8)).save(tmp_path / name)
    (tmp_path / "classes.txt").write_text("road\ncar\n", encoding="utf-8")
    faults = mask_folders.read(tmp_path, "train").faults
    assert sorted((fault.kind, fault.severity, fault.file.name) for fault in faults) == [
        ("missing-mask", "fatal", "a.png"),
        ("missing-picture", "fatal", "c.png"),
    ]


def test_a20_one_image_makes_a_batch(folder) -> None:
    folder.split("train", ["a"])
    dataset = voc.read(folder.root, "train")
    with Loader(dataset, EvalDetection(Preprocess(size_hw=(32, 32))), LoaderOptions(8)) as loader:
        (batch,) = loader.epoch(0)
    assert batch.image_ids == ("a",) and np.allclose(batch.targets.boxes_xyxy[0, 0], (0, 0, 32, 32))


def test_the_folder_is_left_as_it_was(folder) -> None:
    def state() -> dict[Path, tuple[int, int, bytes]]:
        return {
            path: (path.stat().st_mtime_ns, path.stat().st_ino, path.read_bytes() if path.is_file() else b"")
            for path in sorted(folder.root.rglob("*"))
        }

    before = state()
    folder.check(processes=1)
    assert state() == before
