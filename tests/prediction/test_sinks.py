from __future__ import annotations

import time
from pathlib import Path

import cv2
import numpy as np
import pytest

from singleshot.errors import StorageError, UsageError
from singleshot.prediction.annotations import targets, write_image

OUT = Path("out")


def test_a_copy_is_named_after_its_picture():
    files = [Path("a/x.jpg"), Path("a/y.PNG"), Path("b/z.webp")]
    assert [path.name for path in targets(files, OUT).values()] == ["x.jpg", "y.png", "z.jpg"]
    assert targets([], OUT) == {}


def test_i12_pictures_of_one_stem_in_two_folders_do_not_cover_each_other_up():
    files = [Path("a/x.jpg"), Path("b/x.jpg"), Path("b/x.webp"), Path("c/y.jpg")]
    copies = targets(files, OUT)
    assert len(set(copies.values())) == len(files)
    assert copies[files[3]] == OUT / "y.jpg"
    assert copies[files[0]].name.startswith("a-x")


def test_a_name_that_would_still_be_shared_is_refused():
    with pytest.raises(UsageError, match="two images"):
        targets([Path("one/a/x.jpg"), Path("two/a/x.jpg")], OUT)
    with pytest.raises(UsageError, match="two images"):
        targets([Path("a/x.jpg"), Path("b/x.jpg"), Path("c/a-x.jpg.jpg")], OUT)


def test_a_picture_named_twice_is_written_once():
    assert len(targets([Path("a/x.jpg"), Path("a/x.jpg")], OUT)) == 1


def test_j5_a_copy_never_covers_up_its_own_picture(tmp_path: Path):
    for out in (tmp_path, tmp_path / "sub" / ".."):
        with pytest.raises(UsageError, match="itself a source") as caught:
            targets([tmp_path / "x.jpg"], out)
        assert caught.value.exit_code == 2
    targets([tmp_path / "x.webp"], tmp_path)


def test_ten_thousand_pictures_are_named_at_once():
    files = [Path(f"{place % 7}/{place}.jpg") for place in range(10_000)]
    start = time.process_time()
    assert len(targets(files, OUT)) == 10_000
    assert time.process_time() - start < 5


def test_a_png_is_written_exactly_and_a_jpeg_nearly(tmp_path: Path):
    coarse = np.random.default_rng(0).integers(0, 256, (4, 5, 3), dtype=np.uint8)
    image = cv2.resize(coarse, (50, 40), interpolation=cv2.INTER_CUBIC)
    for name, tolerance in (("a.png", 0), ("a.jpg", 8)):
        write_image(tmp_path / "new" / name, image)
        back = cv2.cvtColor(cv2.imread(str(tmp_path / "new" / name)), cv2.COLOR_BGR2RGB)
        assert np.abs(back.astype(int) - image).mean() <= tolerance
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == ["a.jpg", "a.png"]


def test_a_picture_that_no_jpeg_can_hold_is_an_error_of_ours(tmp_path: Path):
    with pytest.raises(StorageError, match="could not be encoded"):
        write_image(tmp_path / "a.jpg", np.zeros((1, 65_501, 3), dtype=np.uint8))
    assert list(tmp_path.iterdir()) == []
