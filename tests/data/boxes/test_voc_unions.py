from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from singleshot.data import read
from singleshot.data.boxes import voc
from singleshot.errors import InputMissingError, NotPermittedError
from singleshot.structures import LabelMap
from tests.data.conftest import close


def add(folder: Path, image_id: str, name: str, *lists: str) -> None:
    for inside in ("JPEGImages", "Annotations", "ImageSets/Main"):
        (folder / inside).mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (60, 40)).save(folder / "JPEGImages" / f"{image_id}.jpg")
    box = "<bndbox><xmin>1</xmin><ymin>1</ymin><xmax>9</xmax><ymax>9</ymax></bndbox>"
    size = "<size><width>60</width><height>40</height></size>"
    text = f"<annotation>{size}<object><name>{name}</name>{box}</object></annotation>"
    (folder / "Annotations" / f"{image_id}.xml").write_text(text)
    for each in lists:
        with (folder / "ImageSets" / "Main" / f"{each}.txt").open("a") as file:
            file.write(f"{image_id}\n")


@pytest.fixture
def devkit(tmp_path: Path) -> Path:
    """Two years. 2012 has a picture that no list names, and a class of its own."""
    root = tmp_path / "VOCdevkit"
    add(root / "VOC2007", "000001", "cat", "trainval", "train")
    add(root / "VOC2007", "000002", "dog", "test")
    add(root / "VOC2012", "2008_000001", "ant", "trainval")
    add(root / "VOC2012", "2008_000002", "dog")
    return root


@pytest.mark.parametrize(
    ("split", "ids"),
    [
        ("07+12", ["000001", "2008_000001"]),
        ("07++12", ["000001", "000002", "2008_000001"]),
        ("2017", ["000001", "000002", "2008_000001", "2008_000002"]),
        ("2007_trainval+2012_trainval", ["000001", "2008_000001"]),
        ("VOC2012_trainval+VOC2007_test", ["2008_000001", "000002"]),
        ("2007_test", ["000002"]),
    ],
)
def test_a_union_is_its_parts_one_after_the_other(devkit: Path, split: str, ids: list[str]) -> None:
    assert voc.is_union(devkit, split)
    for root in (devkit, devkit.parent):
        assert [sample.image_id for sample in voc.read(root, split).samples] == ids


def test_classes_are_those_of_all_folders_and_ids_fit_them(devkit: Path) -> None:
    dataset = voc.read(devkit, "07++12")
    assert dataset.label_map.names == ("ant", "cat", "dog")
    assert [sample.class_ids.tolist() for sample in dataset.samples] == [[1], [2], [0]]
    given = voc.read(devkit, "07++12", label_map=LabelMap(("dog", "cat", "ant")))
    assert [sample.class_ids.tolist() for sample in given.samples] == [[1], [0], [2]]


def test_lists_of_one_folder_make_a_union_too(devkit: Path) -> None:
    assert voc.is_union(devkit / "VOC2007", "train+test")
    dataset = voc.read(devkit / "VOC2007", "train+test")
    assert [sample.image_id for sample in dataset.samples] == ["000001", "000002"]


def test_a_plain_list_is_no_union(devkit: Path) -> None:
    assert not voc.is_union(devkit / "VOC2007", "trainval")
    assert not voc.is_union(devkit, "trainval")
    assert not voc.is_union(devkit / "nowhere", "trainval")


def test_a_folder_beside_the_years_that_may_not_be_looked_into_is_passed_over(
    devkit: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (devkit / "lost+found").mkdir()
    close(devkit / "lost+found", monkeypatch)
    assert [path.name for path in voc.folders_in(devkit)] == ["VOC2007", "VOC2012"]
    assert len(voc.read(devkit, "07+12")) == 2


def test_a_devkit_that_may_not_be_looked_into_itself_is_a_matter_of_permission(
    devkit: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    close(devkit, monkeypatch)
    with pytest.raises(NotPermittedError, match="VOCdevkit: no permission to read") as caught:
        voc.folders_in(devkit)
    assert caught.value.exit_code == 77


def test_an_id_in_two_folders_is_reported_apart_by_the_folder(devkit: Path) -> None:
    add(devkit / "VOC2012", "000001", "cat", "trainval")
    ids = [sample.image_id for sample in voc.read(devkit, "07+12").samples]
    assert ids == ["VOC2007/000001", "2008_000001", "VOC2012/000001"]


def test_a_part_of_no_folder_is_answered_with_those_that_there_are(devkit: Path) -> None:
    with pytest.raises(InputMissingError, match=r"its part '2010_train'. There are: VOC2007, VOC2012"):
        voc.read(devkit, "2010_train+2007_test")
    with pytest.raises(InputMissingError, match="no split 'val'"):
        voc.read(devkit, "2007_val+2007_test")


def test_faults_of_a_folder_in_two_parts_are_listed_once(devkit: Path) -> None:
    (devkit / "VOC2007" / "Annotations" / "000001.xml").write_text("<annotation>")
    dataset = voc.read(devkit, "2007_trainval+2007_test")
    assert [fault.kind for fault in dataset.faults] == ["bad-xml"]
    assert len(dataset) == 1


def test_every_annotated_image_is_a_split_unless_a_list_has_that_name(devkit: Path) -> None:
    folder = devkit / "VOC2012"
    assert len(voc.read(folder, "annotated")) == 2
    (folder / "ImageSets" / "Main" / "annotated.txt").write_text("2008_000002\n")
    assert len(voc.read(folder, "annotated")) == 1


def test_an_image_of_two_parts_is_used_once_under_its_own_name_and_counted(devkit: Path) -> None:
    dataset = voc.read(devkit / "VOC2007", "train+trainval")
    assert [sample.image_id for sample in dataset.samples] == ["000001"]
    (fault,) = dataset.faults
    assert (fault.kind, fault.severity) == ("duplicate-id", "warning") and fault.message.startswith("1 images are")


@pytest.mark.parametrize("name", ["2017", "07+12", "my+own"])
def test_a_list_of_the_users_own_is_read_whatever_it_is_called(devkit: Path, name: str) -> None:
    (devkit / f"VOC2007/ImageSets/Main/{name}.txt").write_text("000002\n")
    assert not voc.is_union(devkit / "VOC2007", name)
    dataset = read.read(devkit / "VOC2007", name, cache=False)
    assert [sample.image_id for sample in dataset.samples] == ["000002"]
