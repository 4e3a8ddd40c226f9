from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from singleshot.errors import DataError
from singleshot.images import read_image
from singleshot.prediction.frames import Frame, ImageError
from singleshot.prediction.image_reader import ImageReader
from tests.prediction.dangerous import dangerous


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    names = ["0.png", "1-crash.png", "2.png", "3.png", "4-hang.png", "5.png", "6-crash.png"]
    for place, name in enumerate(names):
        cv2.imwrite(str(tmp_path / name), np.full((5, 7, 3), place, np.uint8))
    return [tmp_path / name for name in names]


def test_c19_an_image_that_crashes_or_hangs_the_decoder_is_named_and_the_rest_go_on(files: list[Path]) -> None:
    with ImageReader(dangerous, timeout_s=2.0) as reading:
        seen = list(reading.frames(files))
    assert [each.source for each in seen] == [str(file) for file in files]
    assert [place for place, each in enumerate(seen) if isinstance(each, Frame)] == [0, 2, 3, 5]
    for place, each in enumerate(seen):
        if isinstance(each, Frame):
            assert each.image.shape == (5, 7, 3) and (each.image == place).all()
        else:
            assert isinstance(each.error, DataError) and each.error.file == files[place]
    kinds = [each.error.kind for each in seen if isinstance(each, ImageError) and isinstance(each.error, DataError)]
    assert kinds == ["decoder-crash", "stuck-picture", "decoder-crash"]
    assert "crashed the decoder (SIGSEGV)" in str(seen[1].error)  # pyright: ignore[reportAttributeAccessIssue]


def test_what_is_wrong_with_an_image_is_reported_as_in_this_process(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(b"<html>")
    with ImageReader() as reading:
        one, two = reading.frames([tmp_path / "a.jpg", tmp_path / "none.jpg"])
    assert isinstance(one, ImageError) and isinstance(two, ImageError)
    with pytest.raises(DataError) as here:
        read_image(tmp_path / "a.jpg")
    assert str(one.error) == str(here.value) and two.error.exit_code == 66
    assert isinstance(one.error, DataError) and one.error.kind == "not-a-picture"


def test_images_keep_their_names_after_somebody_left_early(files: list[Path]) -> None:
    with ImageReader(dangerous, timeout_s=2.0) as reading:
        first = next(iter(reading.frames([files[0], files[2], files[3]])))
        assert isinstance(first, Frame) and (first.image == 0).all()
        (later,) = reading.frames([files[5]])
    assert isinstance(later, Frame) and later.source == str(files[5]) and (later.image == 5).all()


def test_no_images_need_no_answer() -> None:
    with ImageReader() as reading:
        assert list(reading.frames([])) == []
