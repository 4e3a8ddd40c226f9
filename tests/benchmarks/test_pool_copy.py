from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from benchmarks.pool_copy import copy

TABLE = """
| folder | from | licence | evidence | grade | pictures | MB | shows |
|---|---|---|---|---|---|---|---|
| cats | mine | MIT | "all | mine" | A | 2 | 0.1 | cats |
| dogs | a copy | MIT | says so | A- | 1 | 0.1 | dogs |
| unsure | a collector | MIT | says so | B | 1 | 0.1 | things |
"""


@pytest.fixture
def pool(tmp_path: Path) -> Path:
    root = tmp_path / "pool"
    rng = np.random.default_rng(0)
    for name, size in {
        "cats/a.jpg": (300, 500),
        "cats/b.png": (100, 200),
        "dogs/c.jpg": (400, 300),
        "unsure/d.jpg": (300, 300),
    }.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(root / name), rng.integers(0, 256, (*size, 3), dtype=np.uint8))
    (root / "SOURCE.md").write_text(TABLE)
    (root / "LICENSES").mkdir()
    (root / "LICENSES/cats.txt").write_text("MIT")
    return root


def test_only_the_best_grades_travel_with_their_licences(pool: Path, tmp_path: Path) -> None:
    count, megabytes = copy(pool, tmp_path / "out")
    images = sorted(path.relative_to(tmp_path / "out").as_posix() for path in (tmp_path / "out").rglob("*.jpg"))
    assert images == ["cats/a.jpg", "cats/b.jpg", "dogs/c.jpg"] and count == 3
    assert 0 < megabytes < 1
    assert (tmp_path / "out/SOURCE.md").read_text() == TABLE and (tmp_path / "out/LICENSES/cats.txt").is_file()


def test_the_shorter_side_is_224_pixels_and_nothing_is_enlarged(pool: Path, tmp_path: Path) -> None:
    copy(pool, tmp_path / "out")
    sizes: dict[str, tuple[int, ...]] = {}
    for name in ("cats/a.jpg", "cats/b.jpg", "dogs/c.jpg"):
        image = cv2.imread(str(tmp_path / "out" / name))
        assert image is not None
        sizes[name] = image.shape[:2]
    assert sizes == {"cats/a.jpg": (224, 373), "cats/b.jpg": (100, 200), "dogs/c.jpg": (299, 224)}


def test_a_copy_over_the_limit_is_refused_and_leaves_nothing(pool: Path, tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match=r"over 0\.001 MB"):
        copy(pool, tmp_path / "out", limit_mb=0.001)
    assert not (tmp_path / "out").exists()


def test_a_pool_without_grades_an_unreadable_image_and_an_existing_copy_are_refused(pool: Path, tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="no folder of grade"):
        copy(tmp_path, tmp_path / "out")
    (pool / "cats/z.jpg").write_bytes(b"no image")
    with pytest.raises(SystemExit, match=r"z\.jpg: not an image"):
        copy(pool, tmp_path / "out")
    (tmp_path / "there").mkdir()
    with pytest.raises(SystemExit, match="already exists"):
        copy(pool, tmp_path / "there")


def test_the_real_pool_has_its_2611_pictures_of_the_best_grades(shared: Path) -> None:
    from benchmarks.pool_copy import folders_of

    pool = shared / "data/pool"
    folders = folders_of((pool / "SOURCE.md").read_text(encoding="utf-8"))
    assert sum(1 for folder in folders for path in (pool / folder).rglob("*") if path.is_file()) == 2611
