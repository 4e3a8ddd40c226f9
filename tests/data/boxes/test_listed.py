from __future__ import annotations

from pathlib import Path

from singleshot.data.boxes import listed
from tests.data.exports import text


def test_an_image_is_that_with_the_longest_equal_end_then_of_the_split_then_near_the_file() -> None:
    top = Path("d")
    paths = [top / each for each in ("train/x/a.jpg", "test/x/a.jpg", "test/y/a.jpg", "train/b.png")]
    index = listed.ImageIndex(paths, top)
    assert index.find("/home/me/y/a.jpg", top) == paths[2]
    assert index.find("x/a.jpg", top, "train") == paths[0]
    assert index.find("x/a.jpg", top / "test") == paths[1]
    assert index.find("b", top) == index.find("C:\\b.png", top) == paths[3]
    assert index.find("x/a.jpg", top) == "image x/a.jpg is one of several: d/train/x/a.jpg and d/test/x/a.jpg"
    assert index.find("../../c.jpg", top) == "image ../../c.jpg not found below d"


def test_files_are_looked_for_two_folders_deep_and_not_among_one_for_each_image(tmp_path: Path) -> None:
    for name in ("a.json", "x/b.json", "x/y/c.json", "x/y/z/d.json", ".hidden/e.json"):
        text(tmp_path / name, "{}")
    found = listed.find(tmp_path, (".json",), lambda path: path.name != "b.json")
    assert [path.name for path in found] == ["a.json", "c.json"]
    for number in range(listed.MAX_LISTS):
        text(tmp_path / "x" / "y" / f"{number}.json", "{}")
    assert [path.name for path in listed.find(tmp_path, (".json",), lambda _: True)] == ["a.json", "b.json"]
