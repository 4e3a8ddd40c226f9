from __future__ import annotations

import base64
import re
from pathlib import Path

import cv2
import numpy as np
import pytest

from singleshot.errors import CannotCreateError
from singleshot.reporting import page
from singleshot.reporting.page import Album, Html, reduced

HOSTILE = "<script>alert('x')</script>\x1b[2J"


def noise(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


def test_text_from_data_is_escaped_and_markup_is_not_escaped_twice() -> None:
    cell = page.text(HOSTILE)
    assert "<script" not in cell and "\x1b" not in cell and page.text(cell) == cell
    assert page.element("b", Html("<i>x</i>")) == "<b><i>x</i></b>"


def test_every_part_of_a_page_escapes() -> None:
    parts = [
        page.paragraph(HOSTILE),
        page.tiles([(HOSTILE, HOSTILE)]),
        page.table((HOSTILE,), [(HOSTILE,)]),
        page.matrix((HOSTILE,), HOSTILE, HOSTILE, [[1, 0], [0, 2]]),
        page.figure(Html("<img>"), HOSTILE),
    ]
    made = page.document(HOSTILE, page.paragraph(HOSTILE), [page.section(HOSTILE, *parts)])
    assert "<script" not in made and "&lt;script&gt;" in made


def test_a_page_needs_nothing_from_outside_and_runs_nothing() -> None:
    made = page.document("t", Html(""), [])
    assert "default-src 'none'" in made
    assert not any(word in made for word in ("http://", "https://", "<script", "<link", "@import", "url("))


def test_numbers_are_shown_as_numbers() -> None:
    assert page.table(("a", "b"), [("x", 0.12345), ("y", None), ("z", 7)], sums=1).count("<tr") == 4
    assert "0.123" in page.table(("a", "b"), [("x", 0.12345)])
    assert page.table(("a",), []).count("<td") == 0


def test_a_cell_of_a_matrix_is_shaded_by_its_share_of_the_row() -> None:
    made = page.matrix(("a", "b"), "", "", [[3, 1], [0, 0]])
    assert "0.56" in made and "75.0%" in made and "25.0%" in made  # 0.75 · 3 / 4


def test_another_file_stays_and_a_report_is_replaced(tmp_path: Path) -> None:
    mine = tmp_path / "mine.html"
    mine.write_text("<html>")
    with pytest.raises(CannotCreateError, match="no report of ours"):
        page.check_target(mine)
    page.check_target(mine, overwrite=True)
    ours = page.write(tmp_path / "r.html", page.document("t", Html(""), []))
    page.check_target(ours)
    page.check_target(tmp_path / "new.html")
    with pytest.raises(CannotCreateError, match="folder"):
        page.check_target(tmp_path, overwrite=True)


def test_an_image_is_in_the_page_itself() -> None:
    image = np.full((30, 60, 3), (250, 20, 20), np.uint8)
    data = re.search("base64,([^']*)'", Album().image(image, "<b>"))
    assert data is not None
    back = cv2.imdecode(np.frombuffer(base64.b64decode(data[1]), np.uint8), cv2.IMREAD_COLOR_RGB)
    assert back.shape == image.shape and np.abs(back.astype(int) - image).max() < 12, "red stays red"


def test_an_image_is_not_loaded_lazily_so_that_a_printed_report_has_it() -> None:
    assert "lazy" not in Album().image(noise(9, 9), "a")


def test_images_stay_within_the_budget_and_the_rest_is_named() -> None:
    album = Album(left_bytes=100_000)
    images = [album.image(noise(200, 300), f"n{place}") for place in range(8)]
    shown = sum("base64" in image for image in images)
    assert 0 < shown < 8 and album.left_bytes >= 0
    assert "not shown" in images[-1] and "n7" in images[-1]
    assert sum(map(len, images)) < 100_000 * 1.4 + 8_000


def test_an_image_is_reduced_and_never_enlarged() -> None:
    assert reduced(noise(100, 1000), 200).shape == (20, 200, 3)
    assert reduced(noise(1000, 100), 200).shape == (300, 30, 3)
    assert reduced(noise(10, 20), 200).shape == (10, 20, 3)
