from __future__ import annotations

from pathlib import Path

import pytest

from singleshot.data import tree
from singleshot.errors import InputMissingError


def put(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"x")
    return root


@pytest.mark.parametrize(
    ("image", "file", "split"),
    [
        ("a.jpg", "a.xml", "all"),
        ("train/a.JPG", "train/a.xml", "train"),
        ("valid/a.png", "valid/a.xml", "val"),
        ("images/a.jpg", "annotations/a.xml", "all"),
        ("JPEGImages/a.jpg", "Annotations/a.xml", "all"),
        ("train/images/a.jpg", "train/annotations/a.xml", "train"),
        ("images/test/x/a.jpg", "labels/test/x/a.xml", "test"),
        ("my photos/a.jpg", "my boxes/a.xml", "all"),
    ],
)
def test_an_image_and_its_annotation_are_paired_in_every_common_pair_of_folders(
    image: str, file: str, split: str, tmp_path: Path
) -> None:
    root = put(tmp_path, image, file)
    found = tree.read_tree(root, ".xml")
    assert tree.splits_of(found.images, root) == [split]
    assert tree.pair(found, split) == tree.Pairs({root / image: root / file}, ())


def test_two_images_with_one_stem_keep_their_own_annotations_and_get_paths_as_ids(tmp_path: Path) -> None:
    root = put(tmp_path, "x/a.jpg", "x/a.xml", "y/a.jpg", "y/a.xml")
    pairs = tree.pair(tree.read_tree(root, ".xml"), "all")
    assert pairs.files == {root / "x/a.jpg": root / "x/a.xml", root / "y/a.jpg": root / "y/a.xml"}
    assert tree.image_ids(list(pairs.files), root) == ["x/a", "y/a"]


def test_an_annotation_is_never_paired_with_one_of_two_images_of_its_stem_in_other_folders(tmp_path: Path) -> None:
    root = put(tmp_path, "x/a.jpg", "y/a.jpg", "z/a.xml")
    pairs = tree.pair(tree.read_tree(root, ".xml"), "all")
    assert set(pairs.files.values()) == {None}
    assert pairs.alone == (root / "z/a.xml",)


def test_an_empty_folder_has_no_splits_and_a_missing_one_is_named(tmp_path: Path) -> None:
    assert tree.splits_of(tree.read_tree(tmp_path, ".xml").images, tmp_path) == []
    with pytest.raises(InputMissingError, match="no such folder"):
        tree.read_tree(tmp_path / "none", ".xml")


def test_links_that_lead_out_are_faults_and_hidden_folders_are_not_read(tmp_path: Path) -> None:
    root = put(tmp_path / "data", "a.jpg", ".git/b.jpg")
    put(tmp_path / "other", "c.jpg")
    (root / "c.jpg").symlink_to(tmp_path / "other" / "c.jpg")
    (root / "more").symlink_to(tmp_path / "other")
    found = tree.read_tree(root, ".xml")
    assert found.images == (root / "a.jpg",)
    assert [fault.kind for fault in found.faults] == ["outside-link", "outside-link"]


def test_probing_sees_upper_folders_first_and_stops_at_its_limit(tmp_path: Path) -> None:
    root = put(tmp_path, "a/1.txt", "a/2.txt", "b.txt")
    assert [path.name for path in tree.probe(root)] == ["b.txt", "1.txt", "2.txt"]
    assert [path.name for path in tree.probe(root, limit=2)] == ["b.txt"]


def test_a_folder_of_many_images_does_not_hide_the_labels(tmp_path: Path) -> None:
    for name, suffix, count in (("image_2", ".png", 300), ("label_2", ".txt", 3)):
        (tmp_path / "training" / name).mkdir(parents=True)
        for number in range(count):
            (tmp_path / "training" / name / f"{number:06}{suffix}").touch()
    assert not [path for path in tree.probe(tmp_path, 200) if path.suffix == ".txt"]
    found = list(tree.probe(tmp_path, 200, of_each=100))
    assert [path.suffix for path in found].count(".txt") == 3 and len(found) == 103
